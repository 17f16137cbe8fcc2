"""How firm an order of methods is: what becomes of it without a score or a seed, and with a milder penalty; and power.

    for change in changes(board):          # Change("without map", tau=0.91, first="replay")

The order is that of the mean volumes of a board of the second protocol.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from atlantis.bench.choice import choose
from atlantis.bench.record import Trial
from atlantis.bench.scores import OLD_SLICE, Numbers, scores_of
from atlantis.bench.standing import Board, Standing

CONFIDENCE = 0.95
MILDER = 0.5
"""Of the penalty for an answer that cannot be read."""


@dataclass(frozen=True)
class Change:
    """`tau`: Kendall's tau-b between the order as it is and after the `change`; `first`: who then stands first."""

    change: str
    tau: float
    first: str


def changes(board: Board) -> list[Change]:
    """Without each score, without each seed, with a milder penalty; empty for fewer than three methods.

    A method that lacks a seed is left out.
    """
    complete = board.complete()
    return changes_among(complete, board.scores) if len(complete) >= 3 else []


def changes_among(standings: Sequence[Standing], scores: Sequence[str]) -> list[Change]:
    """The same of one method or more, which all have the same seeds; `scores` are the names of their scores."""
    points = np.stack([standing.scores for standing in standings])  # methods, seeds, scores
    names, seeds = [standing.method for standing in standings], standings[0].seeds
    whole = volumes(points)
    found = []
    for index, name in enumerate(scores):
        found.append(_change(f"without {name}", names, whole, volumes(np.delete(points, index, axis=2))))
    for index, seed in enumerate(seeds if len(seeds) > 1 else ()):
        found.append(_change(f"without seed {seed}", names, whole, volumes(np.delete(points, index, axis=1))))
    milder = [_points(standing, MILDER) for standing in standings]
    if all(of_method is not None for of_method in milder):
        found.append(_change("half of the penalty for unreadable answers", names, whole, volumes(np.stack(milder))))  # type: ignore[arg-type]
    return found


def volumes(points: np.ndarray) -> np.ndarray:
    """Mean volume (m,) over seeds of points (m, seeds, scores)."""
    return points.prod(axis=2).mean(axis=1)


def _change(change: str, names: list[str], whole: np.ndarray, other: np.ndarray) -> Change:
    tau = float(stats.kendalltau(whole, other).statistic)  # type: ignore[attr-defined]
    return Change(change, tau, names[int(other.argmax())])


def _points(standing: Standing, factor: float) -> np.ndarray | None:
    """The scores (seeds, k) with `factor` of the penalty for unreadable answers; None where it is not known.

    What a seed has several of is averaged, as ever.
    """
    rows = []
    for seed in standing.seeds:
        of_seed = [record.numbers for record in standing.records if record.seed == seed and record.numbers]
        milder = [with_penalty(numbers, factor) for numbers in of_seed]
        if any(numbers is None for numbers in milder):
            return None
        rows.append(np.mean([scores_of(numbers).point for numbers in milder if numbers], axis=0))
    return np.array(rows)


def with_penalty(numbers: Numbers, factor: float) -> Numbers | None:
    """The numbers if an unreadable answer counted `factor` times the penalty at the end; None if it is not known."""
    skill, old = numbers.answers_skill_end, numbers.task_km.get(OLD_SLICE)
    if numbers.penalty_km is None or skill is None or old is None or not set(numbers.task_km) <= set(numbers.readable):
        return None
    less = numbers.penalty_km * (1 - factor)
    km = {name: value - (1 - numbers.readable[name]) * less for name, value in numbers.task_km.items()}
    skill_end = 1 - (1 - skill) * km[OLD_SLICE] / old if old > 0 else skill
    return numbers.model_copy(update={"task_km": km, "answers_skill_end": skill_end})


def choices(trials: Sequence[Trial], default: float | None, scores: Sequence[str]) -> dict[str, float | None] | None:
    """By score that is left out of the volume: the value that trials then choose. None if they do not say."""
    if not trials or any(trial.volume is not None and not trial.scores for trial in trials):
        return None
    return {left_out: choose([_without(trial, left_out) for trial in trials], default) for left_out in scores}


def _without(trial: Trial, score: str) -> Trial:
    """The trial with volumes that leave a score out."""
    if trial.volume is None:
        return trial
    points = [of_seed.model_dump() for of_seed in trial.scores if of_seed is not None]
    mean = sum(math.prod(value for name, value in point.items() if name != score) for point in points) / len(points)
    return Trial(value=trial.value, volume=mean)


def least_differences(board: Board, reference: str) -> dict[str, float]:
    """Of the volume, by method: the least mean difference from `reference` whose 95 % interval leaves 0 out.

    Half the width of Student's t interval, with the standard deviation of the method's paired differences. Ascending,
    of the methods that have the most seeds. One whose difference has no interval is left out.
    """
    compared = board.compared_with(reference)
    of_methods = {name: c.differences for name, c in compared.items() if c.interval.exists}
    n = max(map(len, of_methods.values()), default=0)
    if not n:
        return {}
    t = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    least = {name: t * float(d.std(ddof=1)) / n**0.5 for name, d in of_methods.items() if len(d) == n}
    return dict(sorted(least.items(), key=lambda item: item[1]))
