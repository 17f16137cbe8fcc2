"""Scores of answers, tidy: one value of one metric, for one slice of one task.

    Score(task="distance", slice="world-atlantis", metric="mean", value=412.7, unit="km", n=512)

mean, median, std, min and max are of the errors, an unreadable answer included with the task's penalty. parsed is the
share of readable answers. skill is 1 - mean / mean error of the best constant answer: 1 is exact, 0 no better than
always giving one and the same answer. It has no unit, so tasks share an axis by it. A task's own scores follow, such as
`own_exact`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from atlantis.errors import UserError
from atlantis.names import ALL, SLICES
from atlantis.tasks.checking import TOO_LARGE, called, errors_of
from atlantis.tasks.form import Ints
from atlantis.tasks.questions import Questions
from atlantis.tasks.task import Task

ERRORS = ("mean", "median", "std", "min", "max")
OLD_TASK, OLD_UNIT = "distance", "km"
"""Of records that were written before there was a second task."""
CANDIDATES = 200


class Score(NamedTuple):
    """A value of one metric; `unit` is None for what has none, n is the number of answers."""

    task: str
    slice: str
    metric: str
    value: float | None
    unit: str | None
    n: int


def score(answers: Ints, questions: Questions) -> list[Score]:
    """Scores of `answers` (n,), -1 for an unreadable one: for each task, by slice and over "all".

    `skill` is None where every constant answer is wrong by nothing.
    """
    scores = []
    for task, rows in questions.by_task():
        mine, given = questions[rows], np.asarray(answers)[rows]
        errors = errors_of(task, given, mine.answer)
        chosen = {name: mine.slice == i for i, name in enumerate(SLICES)} | {ALL: np.ones(len(mine), bool)}
        for name, part in chosen.items():
            if part.any():
                scores += _of_slice(task, name, errors[part], given[part], mine.answer[part])
    return scores


def _of_slice(task: Task, name: str, errors: np.ndarray, given: Ints, true: Ints) -> list[Score]:
    constant = constant_error(task, true, true)
    values = {metric: float(getattr(np, metric)(errors)) for metric in ERRORS}
    units: dict[str, str | None] = dict.fromkeys(ERRORS, task.unit)
    values["parsed"] = float((given >= 0).mean())
    skill = 1 - values["mean"] / constant if constant > 0 else None
    return [
        Score(task.name, name, metric, value, units.get(metric), len(errors))
        for metric, value in {**values, "skill": skill, **_own(task, given, true)}.items()
    ]


def _own(task: Task, given: Ints, true: Ints) -> dict[str, float | None]:
    """The scores of the task's own; their names begin with `own_`, so that they are no other's.

    None for what is no finite number: as of too few answers. Raises UserError for what is no number at all.
    """
    found = called(task, "scores", lambda: {name: float(value) for name, value in task.scores(given, true).items()})
    if wrong := [name for name in found if not (isinstance(name, str) and re.fullmatch(r"[a-z]\w{0,39}", name))]:
        raise UserError(
            f"task {task.name}: its scores() named one {wrong[0]!r}; use a-z, 0-9 and _, such as within_100"
        )
    return {f"own_{name}": value if abs(value) < TOO_LARGE else None for name, value in found.items()}


def constant_error(task: Task, seen: Ints, true: Ints) -> float:
    """The mean error, on the answers `true` (n,), of the constant answer that is best on the answers `seen` (m,).

    For an error that is a difference that is their median; else the best of up to 200 of the answers seen.
    """
    if type(task).error is Task.error:
        return float(np.abs(true - np.median(seen)).mean())
    values = np.unique(seen)
    values = values[np.unique(np.linspace(0, len(values) - 1, CANDIDATES).round().astype(int))]
    best = min(values, key=lambda value: errors_of(task, np.full_like(seen, value), seen).mean())
    return float(errors_of(task, np.full_like(true, best), true).mean())


def scores_of(row: Mapping[str, Any]) -> list[Score]:
    """The scores in a row of metrics.jsonl or in eval_results.json, new or old (`slices`, with mean_km and so on).

    Raises ValueError for scores that are neither.
    """
    if "scores" in row:
        return [_read(entry) for entry in row["scores"]] if isinstance(row["scores"], list) else _refuse(row["scores"])
    slices = row.get("slices", {})
    if not isinstance(slices, Mapping) or not all(isinstance(values, Mapping) for values in slices.values()):
        _refuse(slices)
    units = {metric: OLD_UNIT for metric in ERRORS} | {"parsed": None}
    return [
        _read(Score(OLD_TASK, name, metric, values[key], unit, values.get("n", 0))._asdict())
        for name, values in slices.items()
        for metric, unit in units.items()
        if (key := f"{metric}_km" if unit else metric) in values
    ]


def _read(entry: Any) -> Score:
    if not isinstance(entry, Mapping) or set(entry) != set(Score._fields):
        _refuse(entry)
    texts = [entry[key] for key in ("task", "slice", "metric")]
    n, value = entry["n"], entry["value"]
    numbers = type(n) is int and n >= 0 and (value is None or (type(value) in (int, float) and abs(value) < TOO_LARGE))
    if not all(isinstance(text, str) for text in texts) or not numbers or not isinstance(entry["unit"], str | None):
        _refuse(entry)
    return Score(**entry)


def _refuse(entry: Any) -> Any:
    raise ValueError(f"not a score: {str(entry)[:100]}")


def named(score: Score) -> str:
    """A metric with its unit, as columns and trackers call it: mean_km, parsed."""
    return score.metric if score.unit is None else f"{score.metric}_{score.unit}"


def by_slice(scores: Iterable[Score], task: str = OLD_TASK) -> dict[str, dict[str, float | None]]:
    """One task's scores as a table: for each slice n, and the values of its metrics by their names with units."""
    table: dict[str, dict[str, float | None]] = {}
    for score in scores:
        if score.task == task:
            table.setdefault(score.slice, {"n": score.n})[named(score)] = score.value
    return table
