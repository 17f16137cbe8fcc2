"""What a run was and what came of it, in words: for the page's head and its last section."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from atlantis.names import REAL
from atlantis.readout.catalogue import suffix
from atlantis.report.run_data import RunData
from atlantis.report.tables import cell, run_columns, run_sheet

SMALL_FALL = 0.005
"""A fall in skill below this is not taken apart: its parts would be noise."""


def cards(run: RunData) -> list[dict[str, str]]:
    """What became of the map, in a few numbers: what, from the first checkpoint to the last, and a remark."""
    sheet = run_sheet(run)
    rows = sheet.rows
    if len(rows) < 2:
        return []
    first, last = rows.iloc[0], rows.iloc[-1]
    steps = f"step {first['step']:,.0f} → {last['step']:,.0f}"
    sentences, columns = [], run_columns(run)
    for name, metric, source, group, *_ in columns:
        if source == "training" or not metric.unit or pd.isna(first[name]) or pd.isna(last[name]):
            continue
        label, remark = f"{group}, new probe (degrees)", steps
        if source == "task":
            label = f"Answers, {group}"
        elif group == REAL:
            label = "Held-out real cities, new probe (degrees)"
            plain = [column for column in columns if column.source == "probe" and not column.metric.unit]
            before, after = (
                " / ".join(cell(row[column.name], column.metric.digits) for column in plain) for row in (first, last)
            )
            remark = f"{steps}; R² {before} → {after}"
        value = " → ".join(cell(row[name], metric.digits) for row in (first, last)) + suffix(metric.unit)
        sentences.append({"label": label, "value": value, "remark": remark})
    sentences.sort(key=lambda card: card["label"].startswith("Answers"))
    return [*sentences, *_kind_of_fall(run)]


def _kind_of_fall(run: RunData) -> list[dict[str, str]]:
    if run.map is None:
        return []
    frozen = run.map.rows("skill_frozen")["value"].dropna()
    names = ("lost", "bent", "turned", "shifted") if run.map.knows_shift else ("lost", "bent", "turned")
    parts = {name: run.map.rows(name)["value"].dropna() for name in names}
    if not run.map.knows_shift:
        parts["turned or shifted"] = parts.pop("turned")
    if len(frozen) < 2 or any(values.empty for values in parts.values()):
        return []
    fall = frozen.iloc[0] - frozen.iloc[-1]
    value = f"skill {frozen.iloc[0]:.3f} → {frozen.iloc[-1]:.3f}"
    remark = "hardly a fall to take apart"
    if fall >= SMALL_FALL:
        shares = ", ".join(f"{100 * values.iloc[-1] / fall:.0f} % {name}" for name, values in parts.items())
        remark = f"of the fall {shares}"
    steps = f"step {frozen.index[0]:,} → {frozen.index[-1]:,}"
    return [{"label": "The first step's probe, kept", "value": value, "remark": f"{steps}; {remark}"}]


def about(run: RunData) -> list[dict[str, Any]]:
    """Label and text of what `run.json` says; each part of it is optional."""
    about = run.about
    command = about.get("command")
    command = shlex.join(map(str, command)) if isinstance(command, list) else command
    dataset, base = _mapping(about.get("dataset")), _mapping(about.get("base"))
    path, note = _short_path(base.get("path")), base.get("note")
    base_parts = [note] if path and str(note).startswith(f"{path},") else [path, note]
    base_text = ", ".join(str(part) for part in base_parts if part) or about.get("base")
    lines = [
        ("To reproduce", _reproduce(about.get("commit"), command, bool(run.config))),
        ("Started from", base_text if isinstance(base_text, str) else None),
        ("Dataset", dataset.get("name")),
        ("Questions", _pairs(dataset.get("counts"))),
        ("Notes", "\n".join(map(str, notes)) if isinstance(notes := dataset.get("notes"), list) else notes),
        ("Device", _text(about.get("device"))),
        ("Commit", about.get("commit")),
        ("Begun", about.get("created")),
        ("Finished", about.get("finished")),
        ("Seeds", _pairs(about.get("seeds"))),
        ("Versions", _pairs(about.get("versions"))),
        ("Digests", _pairs(about.get("digests"))),
    ]
    return [{"label": label, "value": str(value), "code": label == "To reproduce"} for label, value in lines if value]


def _reproduce(commit: Any, command: Any, config: bool) -> str | None:
    """The commit and the command as recorded; without a command, the configuration that is on the page."""
    again = command or ("atlantis train config.yaml" if config else None)
    lines = [f"git checkout {commit}" if isinstance(commit, str) else None, again]
    return "\n".join(str(line) for line in lines if line) if again else None


def shown_path(path: Path) -> str:
    """A run's folder for a page that is shared."""
    return Path(_short_path(str(path))).as_posix()


def _short_path(path: Any) -> Any:
    """An absolute path's last three parts: a page that is shared need not tell where its maker keeps things."""
    absolute = isinstance(path, str) and Path(path).is_absolute()
    return Path(*Path(path).parts[-3:]).as_posix() if absolute else path


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> Any:
    return _pairs(value) if isinstance(value, dict) else value


def _pairs(value: Any) -> str | None:
    """{"a": 1, "b": {"c": 2}} as "a 1, b (c 2)"."""
    if not isinstance(value, dict):
        return None if value is None else str(value)
    texts = []
    for key, inner in value.items():
        if isinstance(inner, dict):
            texts.append(f"{key} ({_pairs(inner)})")
        else:
            large = isinstance(inner, int) and inner >= 10_000
            texts.append(f"{key} {inner:,}" if large else f"{key} {inner}")
    return ", ".join(texts)
