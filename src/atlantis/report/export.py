"""Every table of a run, for papers and for other programs: as rows, as CSV, as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from atlantis.names import REAL, SLICES
from atlantis.readout.catalogue import METRICS, title_of
from atlantis.readout.files import rows_where
from atlantis.report.map_data import WHEN_COLUMNS, MapData
from atlantis.report.probe_data import Probe
from atlantis.report.run_data import RunData
from atlantis.report.tables import ABSENT, Sheet, cell, run_sheet, slice_title

KM = METRICS["mean_km"].digits
CHANGES: dict[str, int | None] = {"cities": 0, "first km": KM, "last km": KM, "change km": KM}


def run_tables(run: RunData) -> dict[str, Sheet]:
    """By name, each table that the run has numbers for, with its title."""
    sheets = {"checkpoints": run_sheet(run)._replace(title="checkpoints")}
    for protocol, probe in run.probes.items():
        sheets[f"regions_{protocol}"] = Sheet(region_rows(probe), CHANGES, f"regions, {protocol} probe")
    if len(run.variants):
        sheets["variants"] = Sheet(variant_rows(run), CHANGES, "other probes of the same states")
    if run.map is not None and len(run.map.when):
        sheets["when"] = when_sheet(run.map, run)
    if len(run.stitched):
        sheets["answers"] = answers_sheet(run)
    return sheets


def region_rows(probe: Probe, step: int | None = None) -> pd.DataFrame:
    """Mean km of all real cities and of each region: at the first step, at the last, and their difference.

    With `step`, what was read up to that step alone.
    """
    rows = []
    for name in (REAL, *probe.real_regions, *probe.virtual_regions):
        group = _up_to(probe.group(name), step)
        if len(group):
            n = group["n"].iloc[0] if "n" in group else np.nan
            rows.append({"group": name, "cities": n} | _first_and_last(group))
    return pd.DataFrame(rows)


def variant_rows(run: RunData, step: int | None = None) -> pd.DataFrame:
    """The same for the variants of the study's probe."""
    rows = []
    for variant, group, all_steps in each_variant(run):
        table = _up_to(all_steps, step)
        rows.append({"variant": variant, "group": group, "cities": table["n"].iloc[0]} | _first_and_last(table))
    return pd.DataFrame(rows)


def each_variant(run: RunData) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Each variant and group that it is scored on, with its rows by step."""
    for variant, group in run.variants[["variant", "group"]].drop_duplicates().itertuples(index=False):
        rows = rows_where(run.variants, (run.variants["variant"] == variant) & (run.variants["group"] == group))
        yield variant, group, rows.drop_duplicates("step", keep="last").set_index("step").sort_index()


def _up_to(table: pd.DataFrame, step: int | None) -> pd.DataFrame:
    return table if step is None else rows_where(table, table.index <= step)


def _first_and_last(table: pd.DataFrame) -> dict[str, float]:
    first, last = table["mean_km"].iloc[0], table["mean_km"].iloc[-1]
    return {"first km": first, "last km": last, "change km": last - first}


def when_sheet(data: MapData, run: RunData, title: Callable[[str, RunData], str] = slice_title) -> Sheet:
    """`when.csv` with metrics and columns as people say them, and its slices by `title`."""
    when = pd.DataFrame({name: data.when[name] for name in WHEN_COLUMNS})
    when["metric"] = [title_of(str(name)) for name in when["metric"]]
    when["group"] = [title(str(name), run) for name in when["group"]]
    for name in WHEN_COLUMNS[2:]:
        when[name] = pd.to_numeric(when[name], errors="coerce")
    digits = {"first": None, "final": None, "worst": None, "worst at step": 0, "half done at step": 0, "recovered": 2}
    named = when.rename(columns={"worst_step": "worst at step", "half_damage_step": "half done at step"})
    return Sheet(named, digits, "when it happened")


def answers_sheet(run: RunData) -> Sheet:
    """Where the answers went: a row per cut, at the last stitched step, and a column for each way to join two models.

    Mean km of answers about real cities, or the mean error of the run's first task.
    """
    table = run.stitched
    chosen = (table["step"] == table["step"].max()) & (table["slice"] == SLICES[0])
    rows = rows_where(table, chosen).drop_duplicates(["lower", "cut", "between"])
    wide = rows.pivot(index="cut", columns=["lower", "between"], values="mean").sort_index()
    titles = {"tuned": "fine-tuned below", "base": "base below", "untrained": "untrained below"}
    ways = {"nothing": "as it is", "shift": "a shift", "affine": "an affine map", "permuted": "a permuted map"}
    columns: dict[str, Any] = {"cut after block": wide.index.to_series().replace(-1, "embedding").astype(str)}
    for lower, title in titles.items():
        columns |= {f"{title}: {way}": wide[lower, kind] for kind, way in ways.items() if (lower, kind) in wide}
    digits: dict[str, int | None] = dict.fromkeys(list(columns)[1:], KM if set(table["unit"]) == {"km"} else None)
    return Sheet(pd.DataFrame(columns).reset_index(drop=True), digits, "where the answers went")


def comparison_sheet(runs: Sequence[RunData]) -> Sheet:
    """One row per run: its last checkpoint's numbers, and beside the probe's km that of its first."""
    rows: list[dict[str, Any]] = []
    digits: dict[str, int | None] = {"last step": 0}
    for run in runs:
        sheet, row = run_sheet(run), {"run": run.name}
        if len(sheet.rows):
            first, last = sheet.rows.iloc[0], sheet.rows.iloc[-1]
            row |= {"last step": int(last["step"]), **last.drop("step")}
            digits |= sheet.digits
            if "real km" in last:
                row |= {"real km at first": first["real km"], "change of real km": last["real km"] - first["real km"]}
                digits |= {"real km at first": KM, "change of real km": KM}
        rows.append(row)
    return Sheet(pd.DataFrame(rows), digits, "The runs side by side")


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
    """CSV with six significant digits, and never fewer than a number has before the point: a step stays as it is.

    An absent number is an empty field, a line break in a text a space.

    A text that a spreadsheet would run as a formula (after any white space it begins with `=`, `+`, `-` or `@`) gets
    an apostrophe before it.
    """
    harmless = rows.rename(columns=_harmless)
    for name in harmless.columns:
        if not pd.api.types.is_numeric_dtype(harmless[name]):
            harmless[name] = harmless[name].map(_harmless)
    return harmless.to_csv(index=False, float_format=_csv_number, lineterminator="\n")


def _csv_number(value: float) -> str:
    """A column of steps holds floats as soon as one run has no step."""
    return f"{value:.0f}" if 1e5 <= abs(value) < 2**53 else f"{value:.6g}"


def _harmless(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    line = re.sub(r"[\t\r\n\x00]", " ", value)
    return f"'{line}" if line.lstrip().startswith(("=", "+", "-", "@")) else line


def latex_text(sheet: Sheet) -> str:
    """A `tabular` in the style of booktabs, with its title as a comment; every text is shown as it is."""
    rows = sheet.rows
    numeric = [pd.api.types.is_numeric_dtype(rows[name]) for name in rows.columns]
    lines = [f"% {' '.join(sheet.title.split())}", r"% \usepackage{booktabs}"]
    lines += [rf"\begin{{tabular}}{{{''.join('r' if is_number else 'l' for is_number in numeric)}}}", r"\toprule"]
    lines += [" & ".join(_latex_heading(name) for name in rows.columns) + r" \\", r"\midrule"]
    for values in rows.itertuples(index=False):
        cells = zip(rows.columns, numeric, values, strict=True)
        texts = (
            _latex_number(value, sheet.digits[name]) if is_number else latex_escape(str(value))
            for name, is_number, value in cells
        )
        lines.append(" & ".join(texts) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_heading(name: str) -> str:
    """A column's name; only the R2 at its end is a symbol, since a region may have R2 in its name."""
    return re.sub(r"\bR2$", lambda _: "$R^2$", latex_escape(name))


def _latex_number(value: float, digits: int | None) -> str:
    text = cell(value, digits)
    return "--" if text == ABSENT else text.replace("-", "$-$").replace(",", "{,}")


def latex_escape(text: str) -> str:
    """A text whose every character stands for itself in LaTeX; white space of any kind is one space."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
