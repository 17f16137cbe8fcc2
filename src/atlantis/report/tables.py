"""The run in one table: a row per checkpoint, step 0 first. As data and on the terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from rich.markup import escape
from rich.table import Table

from atlantis.names import PROTOCOLS, REAL, SLICES
from atlantis.progress import printable
from atlantis.readout.catalogue import METRICS, Metric
from atlantis.readout.files import rows_where
from atlantis.report.run_data import RunData, load

ABSENT = "–"

EXPLAINED = {
    "task": "task km: mean error of the answers, by cities asked about",
    "answers": "skill: of the answers, 1 is exact and 0 the best constant answer",
    "probe": "probe: held-out real cities; virtual cities",
}
"""What the columns of a source are, below the table."""

PAIRS = {
    SLICES[0]: "only real cities",
    SLICES[1]: "real and virtual cities",
    SLICES[2]: "only virtual cities",
}
"""What a slice of any task asks about."""


class Sheet(NamedTuple):
    """A table for people: `digits` are the decimals of its columns of numbers, None where each row has its own unit."""

    rows: pd.DataFrame
    digits: Mapping[str, int | None]
    title: str = ""

    def cells(self) -> list[list[str]]:
        """Its rows as text; every column holds numbers."""
        columns = [self.digits[name] for name in self.rows.columns]
        return [
            [cell(value, digits) for value, digits in zip(row, columns, strict=True)]
            for row in self.rows.itertuples(index=False)
        ]


class Column(NamedTuple):
    """A column of the run's table. source: "training", "task", "answers" or "probe"; group: a slice, a region."""

    name: str
    metric: Metric
    source: str
    group: str
    values: Any
    """A number by step, a Series."""
    slice: str = ""
    """Of the task, if it is about one."""

    @property
    def heading(self) -> str:
        """The column's name for people: with the kinds of a slice's cities. The name itself is the one in files."""
        if self.source == "task":
            return f"task {self.group} {self.metric.unit}"
        return f"{self.group} {self.metric.title}" if self.source == "answers" else self.name

    @property
    def explanation(self) -> str:
        """What the catalogue says of its numbers, and what a slice is."""
        metric = METRICS["task_km"] if self.source == "task" else self.metric
        about = f"{self.group}: {PAIRS[self.slice]}" if self.slice in PAIRS else ""
        return ". ".join(filter(None, (metric.what, metric.reading, about)))


def run_columns(run: RunData) -> list[Column]:
    """The loss; the answers by slice; the probe on held-out real cities and on each virtual region.

    Of answers the mean error in km, and beside it the skill of all tasks where there are others than distance.
    """
    loss, km = METRICS["loss"], METRICS["mean_km"]
    columns = [Column("loss", loss, "training", "validation", run.evaluations.set_index("step")["loss"])]
    for name in run.slices:
        errors = rows_where(run.task, run.task["slice"] == name).set_index("step")["mean_km"]
        file_name = f"task {slice_title(name, run)} {km.unit}"
        columns.append(Column(file_name, km, "task", pair_title(name, run), errors, name))
    for (task, name), rows in run.skills().items() if run.other_tasks else ():
        metric, group = METRICS["skill"], f"{task} {pair_title(name, run)}"
        file_name = f"{task} {slice_title(name, run)} {metric.title}"
        columns.append(Column(file_name, metric, "answers", group, rows.set_index("step")["value"], name))
    if probe := run.probes.get("degrees"):
        real = probe.group(REAL)
        for metric in (METRICS["lon_r2"], METRICS["lat_r2"]):
            columns.append(Column(metric.title, metric, "probe", REAL, real[metric.name]))
        for group in (REAL, *probe.virtual_regions):
            columns.append(Column(f"{group} {km.unit}", km, "probe", group, probe.group(group)[km.name]))
    return columns


def run_sheet(run: RunData | Path | str) -> Sheet:
    """One row per evaluated or probed step, with a column for each of `run_columns`; NaN where there is no number."""
    run = run if isinstance(run, RunData) else load(run)
    columns, probe = run_columns(run), run.probes.get("degrees")
    steps = set(run.evaluations["step"]) | (set(probe.dynamics["step"]) if probe else set())
    rows = pd.DataFrame(index=pd.Index(sorted(steps), name="step"))
    for column in columns:
        rows[column.name] = column.values
    return Sheet(rows.reset_index(), {"step": 0} | {column.name: column.metric.digits for column in columns})


def slice_title(name: str, run: RunData) -> str:
    """A slice as files have it: "world-atlantis" with the name of the run's one virtual region, if it has one."""
    return name.replace("atlantis", _virtual_title(run, unknown="Atlantis"))


def pair_title(name: str, run: RunData) -> str:
    """A slice as people say it, by the kinds of its cities: "real–Atlantis". What is no slice keeps its name."""
    if name not in SLICES:
        return name
    kinds = {"world": REAL, "atlantis": _virtual_title(run, unknown="virtual")}
    return "–".join(kinds[part] for part in name.split("-"))


def _virtual_title(run: RunData, unknown: str) -> str:
    """The run's one virtual region, or "virtual" for several; `unknown` where no probe or setting says which."""
    virtual = next((probe.virtual_regions for p in PROTOCOLS if (probe := run.probes.get(p))), _virtual_settings(run))
    return virtual[0] if len(virtual) == 1 else "virtual" if virtual else unknown


def _virtual_settings(run: RunData) -> list[str]:
    """The virtual regions that a run was given, by `run.json`; none in a record of an older version."""
    config = run.about.get("config")
    settings = config.items() if isinstance(config, dict) else ()
    return [str(value) for key, value in settings if re.fullmatch(r"world\.regions\.\d+\.name", key)]


def cell(value: float, digits: int | None) -> str:
    """A number with so many decimals; with None, as many as its size calls for."""
    if pd.isna(value):
        return ABSENT
    return significant(value) if digits is None else f"{value:z,.{digits}f}"


def ends(low: float, high: float) -> str:
    """An interval in words; `ABSENT` where there is none."""
    return ABSENT if pd.isna(low) or pd.isna(high) else f"{low:,.0f} to {high:,.0f}"


def significant(value: float) -> str:
    """As many decimals as its size calls for."""
    size = abs(value)
    return f"{value:z,.{0 if size >= 100 else 1 if size >= 10 else 3}f}"


def _heading(column: Column) -> str:
    """For a narrow column: one word or pair a line."""
    if column.source == "training":
        return column.name
    if column.source == "task":
        first, _, second = column.group.partition("–")
        return f"task {column.metric.unit}\n{first}" + (f"\n{second}" if second else "")
    if column.source == "answers":
        return f"{column.metric.title}\n" + column.group.replace(" ", "\n")
    if column.metric.unit:
        return f"probe {column.metric.unit}\n{column.group}"
    return "probe R²\n" + ("lon" if column.metric.name == "lon_r2" else "lat")


def run_table(run: RunData | Path | str) -> Table:
    """The table for a terminal of 100 columns. Raises `UserError` as `run_data.load` does."""
    run = run if isinstance(run, RunData) else load(run)
    columns, sheet = run_columns(run), run_sheet(run)
    sources = [source for source in EXPLAINED if any(column.source == source for column in columns)]
    caption = (
        ". ".join(EXPLAINED[source] for source in sources)
        if run.probes
        else f"not probed yet: atlantis probe {run.path}"
    )
    layout: dict[str, Any] = {"title_justify": "left", "caption_justify": "left", "header_style": "bold"}
    shown = Table(title=escape(printable(run.name)), caption=escape(printable(caption)), **layout)
    for heading in ("step", *map(_heading, columns)):
        shown.add_column(escape(printable(heading)), justify="right", vertical="bottom", no_wrap=True)
    for step, cells in zip(sheet.rows["step"], sheet.cells(), strict=True):
        shown.add_row(*cells, style="bold" if step == 0 else None)
    return shown
