"""The run in one table: a row per checkpoint, step 0 first. As data, on the terminal, as Markdown and CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from atlantis.names import PROTOCOLS, REAL
from atlantis.progress import printable
from atlantis.report.run_data import Run, load, rows_where

ABSENT = "–"


def run_rows(run: Run | Path | str, protocol: str = "seed") -> pd.DataFrame:
    """One row per evaluated or probed step; NaN where the run has no such number.

    Columns: step; loss (validation, nats per token); `task <slice> km` for each slice (mean error of the answers);
    `<task> <slice> skill` for each task and slice of a run with other tasks than distance;
    lon R2, lat R2, real km (probe on held-out real cities, mean error); `<region> km` for each virtual region.
    """
    run = run if isinstance(run, Run) else load(run)
    probe = run.probes.get(protocol)
    steps = set(run.evaluations["step"]) | (set(probe.dynamics["step"]) if probe else set())
    rows = pd.DataFrame(index=pd.Index(sorted(steps), name="step"))
    rows["loss"] = run.evaluations.set_index("step")["loss"]
    for name in run.slices:
        of_slice = rows_where(run.task, run.task["slice"] == name).set_index("step")
        rows[f"task {slice_title(name, run)} km"] = of_slice["mean_km"]
    for (task, name), skills in run.skills().items() if run.other_tasks else ():
        rows[f"{task} {slice_title(name, run)} skill"] = skills.set_index("step")["value"]
    if probe:
        real = probe.group(REAL)
        rows["lon R2"], rows["lat R2"], rows["real km"] = real["lon_r2"], real["lat_r2"], real["mean_km"]
        for region in probe.virtual_regions:
            rows[f"{region} km"] = probe.group(region)["mean_km"]
    return rows.reset_index()


def slice_title(name: str, run: Run) -> str:
    """A slice as people say it: "world-atlantis" with the name of the run's one virtual region, if it has one."""
    virtual = next((probe.virtual_regions for p in PROTOCOLS if (probe := run.probes.get(p))), [])
    return name.replace("atlantis", virtual[0] if len(virtual) == 1 else "virtual" if virtual else "Atlantis")


def cell(column: str, value: float) -> str:
    if pd.isna(value):
        return ABSENT
    digits = digits_of(column)
    return significant(value) if digits is None else f"{value:z,.{digits}f}"


def digits_of(column: str) -> int | None:
    """Decimals of a column's numbers: none for steps, counts and km; None where each row has its own unit."""
    if column in ("first", "final", "worst"):
        return None
    words = column.split()
    return 0 if column == "cities" or "step" in words or "km" in words else 2 if column == "recovered" else 3


def ends(low: float, high: float, digits: int = 0) -> str:
    """An interval in words; `ABSENT` where there is none."""
    return ABSENT if pd.isna(low) or pd.isna(high) else f"{low:,.{digits}f} to {high:,.{digits}f}"


def significant(value: float) -> str:
    """As many decimals as its size calls for."""
    size = abs(value)
    return f"{value:z,.{0 if size >= 100 else 1 if size >= 10 else 3}f}"


def _headings(columns: list[str]) -> list[str]:
    """Headings for narrow columns: one word or pair a line."""
    headings = []
    for column in columns:
        if column.startswith("task "):
            first, _, second = column.removeprefix("task ").removesuffix(" km").partition("-")
            headings.append(f"task km\n{first}" + (f"\n{second}" if second else ""))
        elif column.endswith(" km"):
            headings.append(f"probe km\n{column.removesuffix(' km')}")
        elif column.endswith(" R2"):
            headings.append(f"probe R²\n{column.removesuffix(' R2')}")
        else:
            headings.append(column)
    return headings


def run_table(run: Run | Path | str, protocol: str = "seed") -> Table:
    """The table for a terminal of 100 columns. Raises `UserError` as `run_data.load` does."""
    run = run if isinstance(run, Run) else load(run)
    rows = run_rows(run, protocol)
    caption = (
        "task km: mean error of the answers, by cities asked about. probe: held-out real cities; virtual cities"
        if run.probes
        else f"not probed yet: atlantis probe {run.path}"
    )
    layout: dict[str, Any] = {"title_justify": "left", "caption_justify": "left", "header_style": "bold"}
    table = Table(title=escape(printable(run.name)), caption=escape(printable(caption)), **layout)
    for heading in _headings(list(rows.columns)):
        table.add_column(escape(printable(heading)), justify="right", vertical="bottom", no_wrap=True)
    for values in rows.itertuples(index=False):
        cells = [cell(column, value) for column, value in zip(rows.columns, values, strict=True)]
        table.add_row(*cells, style="bold" if values[0] == 0 else None)
    return table


def markdown(run: Run | Path | str, protocol: str = "seed") -> str:
    """The same as a Markdown table, ending in a newline."""
    rows = run_rows(run, protocol)
    titles = [column.replace("|", "\\|").replace("R2", "R²") for column in rows.columns]
    lines = [f"| {' | '.join(titles)} |", "|" + "---:|" * len(titles)]
    for values in rows.itertuples(index=False):
        cells = (cell(column, value) for column, value in zip(rows.columns, values, strict=True))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
