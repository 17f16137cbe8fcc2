"""Every table of a run, for papers and for other programs: as rows, as CSV, as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from atlantis.names import REAL
from atlantis.report.map_data import WHEN_COLUMNS
from atlantis.report.probe_data import Probe, rows_where
from atlantis.report.run_data import Run
from atlantis.report.tables import ABSENT, cell, run_rows, slice_title


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
    for name in (REAL, *probe.real_regions, *probe.virtual_regions):
        group = probe.group(name)
        if len(group):
            n = group["n"].iloc[0] if "n" in group else np.nan
            rows.append({"group": name, "cities": n} | _first_and_last(group))
    return pd.DataFrame(rows)


def variant_rows(run: Run) -> pd.DataFrame:
    """The same for the variants of the study's probe."""
    rows = []
    for variant, group, table in each_variant(run):
        rows.append({"variant": variant, "group": group, "cities": table["n"].iloc[0]} | _first_and_last(table))
    return pd.DataFrame(rows)


def each_variant(run: Run) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Each variant and group that it is scored on, with its rows by step."""
    for variant, group in run.variants[["variant", "group"]].drop_duplicates().itertuples(index=False):
        rows = rows_where(run.variants, (run.variants["variant"] == variant) & (run.variants["group"] == group))
        yield variant, group, rows.drop_duplicates("step", keep="last").set_index("step").sort_index()


def _first_and_last(table: pd.DataFrame) -> dict[str, float]:
    first, last = table["mean_km"].iloc[0], table["mean_km"].iloc[-1]
    return {"first km": first, "last km": last, "change km": last - first}


def when_rows(run: Run) -> pd.DataFrame:
    """`when.csv` with metrics and columns as people say them."""
    if run.map is None:
        return pd.DataFrame()
    when = pd.DataFrame({name: run.map.when[name] for name in WHEN_COLUMNS})
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
    return " ".join(_WORDS.get(word, word) for word in name.split("_"))


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
        lines.append(" & ".join(_latex_cell(*one) for one in cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_cell(column: str, numeric: bool, value: Any) -> str:
    if not numeric:
        return latex_escape(str(value))
    text = cell(column, value)
    return "--" if text == ABSENT else text.replace("-", "$-$").replace(",", "{,}")


def latex_escape(text: str) -> str:
    """A text whose every character stands for itself in LaTeX; white space of any kind is one space."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
