"""The run in one table: a row per checkpoint, step 0 first. As data, on the terminal, as Markdown and CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.markup import escape
from rich.table import Table

from atlantis.progress import printable
from atlantis.report.map_data import WHEN_COLUMNS
from atlantis.report.run_data import PROTOCOLS, Probe, Run, load, rows_where

ABSENT = "–"


def run_rows(run: Run | Path | str, protocol: str = "seed") -> pd.DataFrame:
    """One row per evaluated or probed step; NaN where the run has no such number.

    Columns: step; loss (validation, nats per token); `task <slice> km` for each slice (mean error of the answers);
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
    if probe:
        real = probe.group("real")
        rows["lon R2"], rows["lat R2"], rows["real km"] = real["lon_r2"], real["lat_r2"], real["mean_km"]
        for region in probe.virtual_regions:
            rows[f"{region} km"] = probe.group(region)["mean_km"]
    return rows.reset_index()


def slice_title(name: str, run: Run) -> str:
    """A slice as people say it: "world-atlantis" with the name of the run's one virtual region, if it has one."""
    virtual = next((probe.virtual_regions for p in PROTOCOLS if (probe := run.probes.get(p))), [])
    return name.replace("atlantis", virtual[0] if len(virtual) == 1 else "virtual" if virtual else "Atlantis")


def _cell(column: str, value: float) -> str:
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
        cells = [_cell(column, value) for column, value in zip(rows.columns, values, strict=True)]
        table.add_row(*cells, style="bold" if values[0] == 0 else None)
    return table


def markdown(run: Run | Path | str, protocol: str = "seed") -> str:
    """The same as a Markdown table, ending in a newline."""
    rows = run_rows(run, protocol)
    titles = [column.replace("|", "\\|").replace("R2", "R²") for column in rows.columns]
    lines = [f"| {' | '.join(titles)} |", "|" + "---:|" * len(titles)]
    for values in rows.itertuples(index=False):
        cells = (_cell(column, value) for column, value in zip(rows.columns, values, strict=True))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def csv(run: Run | Path | str, protocol: str = "seed") -> str:
    """The same as CSV, for another program (see `csv_text`)."""
    return csv_text(run_rows(run, protocol))


# --- every table of a run, for papers and for other programs


def run_tables(run: Run) -> dict[str, tuple[str, pd.DataFrame]]:
    """Name -> title and rows of each table that the run has numbers for."""
    found = {"checkpoints": ("checkpoints", run_rows(run))}
    for protocol, probe in run.probes.items():
        found[f"regions_{protocol}"] = (f"regions, {protocol} probe", region_rows(probe))
    if len(run.variants):
        found["variants"] = ("other probes of the same states", variant_rows(run))
    if run.map is not None and len(run.map.when):
        found["when"] = ("when it happened", when_rows(run))
    return found


def region_rows(probe: Probe) -> pd.DataFrame:
    """Mean km of all real cities and of each region: at the first step, at the last, and their difference."""
    rows = []
    for name in ("real", *probe.real_regions, *probe.virtual_regions):
        group = probe.group(name)
        if len(group):
            n = group["n"].iloc[0] if "n" in group else np.nan
            rows.append({"group": name, "cities": n} | _first_and_last(group["mean_km"]))
    return pd.DataFrame(rows)


def variant_rows(run: Run) -> pd.DataFrame:
    """The same for the variants of the study's probe."""
    rows = []
    for (variant, group), table in run.variants.groupby(["variant", "group"], sort=False):
        table = table.sort_values("step").set_index("step")
        rows.append(
            {"variant": variant, "group": group, "cities": table["n"].iloc[0]} | _first_and_last(table["mean_km"])
        )
    return pd.DataFrame(rows)


def _first_and_last(km: pd.Series) -> dict[str, float]:
    return {"first km": km.iloc[0], "last km": km.iloc[-1], "change km": km.iloc[-1] - km.iloc[0]}


def when_rows(run: Run) -> pd.DataFrame:
    """`when.csv` with metrics and columns as people say them."""
    if run.map is None:
        return pd.DataFrame()
    when = run.map.when[list(WHEN_COLUMNS)].copy()
    when["metric"] = [metric_title(name) for name in when["metric"]]
    when["group"] = [slice_title(str(name), run) for name in when["group"]]
    for name in WHEN_COLUMNS[2:]:
        when[name] = pd.to_numeric(when[name], errors="coerce")
    return when.rename(columns={"worst_step": "worst at step", "half_damage_step": "half done at step"})


_WORDS = {
    "cka": "CKA",
    "kl": "KL",
    "r2": "R2",
    "mlp": "small network",
    "refit": "new probe",
    "frozen": "first probe",
}


def metric_title(name: str) -> str:
    """A metric's name in words: "km_frozen" as "km first probe", "lon_r2" as "lon R2"."""
    known = {
        "cka": "CKA",
        "kl": "KL",
        "r2": "R2",
        "mlp": "small network",
        "refit": "new probe",
        "frozen": "first probe",
    }
    return " ".join(known.get(word, word) for word in name.split("_"))


def comparison_rows(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run: its last checkpoint's numbers, and beside the probe's km that of its first."""
    rows = []
    for run in runs:
        table = run_rows(run)
        row: dict[str, Any] = {"run": run.name}
        if len(table):
            first, last = table.iloc[0], table.iloc[-1]
            row |= {"last step": last["step"], **{name: last[name] for name in table.columns if name != "step"}}
            if "real km" in table:
                row |= {"real km at first": first["real km"], "change of real km": last["real km"] - first["real km"]}
        rows.append(row)
    return pd.DataFrame(rows)


# --- as text

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def csv_text(rows: pd.DataFrame) -> str:
    """CSV with six significant digits; an absent number is an empty field, a line break in a text a space.

    A text that a spreadsheet would run as a formula (after any white space it begins with `=`, `+`, `-` or `@`) gets
    an apostrophe before it.
    """
    harmless = rows.rename(columns=_harmless)
    for name in harmless.columns:
        if not pd.api.types.is_numeric_dtype(harmless[name]):
            harmless[name] = harmless[name].map(_harmless)
    return harmless.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _harmless(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    line = re.sub(r"[\t\r\n\x00]", " ", value)
    return f"'{line}" if line.lstrip().startswith(("=", "+", "-", "@")) else line


def latex_text(rows: pd.DataFrame, title: str) -> str:
    """A `tabular` in the style of booktabs, with the title as a comment; every text is shown as it is."""
    numeric = [pd.api.types.is_numeric_dtype(rows[name]) for name in rows.columns]
    lines = [f"% {' '.join(title.split())}", r"% \usepackage{booktabs}"]
    lines += [rf"\begin{{tabular}}{{{''.join('r' if one else 'l' for one in numeric)}}}", r"\toprule"]
    lines += [" & ".join(latex_escape(name).replace("R2", "$R^2$") for name in rows.columns) + r" \\", r"\midrule"]
    for values in rows.itertuples(index=False):
        cells = zip(rows.columns, numeric, values, strict=True)
        lines.append(" & ".join(_latex_cell(*cell) for cell in cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_cell(column: str, numeric: bool, value: Any) -> str:
    if not numeric:
        return latex_escape(str(value))
    text = _cell(column, value)
    return "--" if text == ABSENT else text.replace("-", "$-$").replace(",", "{,}")


def latex_escape(text: str) -> str:
    """A text whose every character stands for itself in LaTeX; white space of any kind is one space."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
