"""The finding of a run, or of runs that differ in their seed alone, as one sentence with its numbers.

What it says comes from the skill of two probes (readout/skill.py): the first step's, kept, and one fitted anew at the
last checkpoint. Without them the sentence is about the error of the study's probe, and without that there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
import pandas as pd

from atlantis.names import REAL
from atlantis.readout.catalogue import METRICS, scale_of, suffix
from atlantis.report.run_data import RunData
from atlantis.report.seeds import seed_groups
from atlantis.report.tables import cell
from atlantis.statistics import FEWEST_VALUES, seed_interval

NO_CHANGE, LITTLE, MOST = 0.05, 0.25, 0.75
"""A change of skill below the first is none; of a fall, up to LITTLE may be lost where the map was moved."""

ELSEWHERE = {"3ae13e7c41a3": (0.126, 0.354)}
"""By the digest of a config: where the skill of the first step's probe ended on other processors, least and greatest.

The demo's, from experiments/2026-11-28_demo/records/earlier.json.
"""


class Course(NamedTuple):
    """One metric of the real cities at the first checkpoint and at the last, each with its interval, perhaps NaN."""

    metric: str
    first: tuple[float, float, float]
    last: tuple[float, float, float]

    @property
    def change(self) -> float:
        return self.last[0] - self.first[0]


def headlines(runs: Sequence[RunData]) -> list[dict[str, str]]:
    """title, verdict, text and seeds for each run, or for all that differ in their seed alone; none for some."""
    return [sentence for group in seed_groups(runs) if (sentence := _headline(group)) is not None]


def _headline(group: Sequence[RunData]) -> dict[str, str] | None:
    frozen, refit = (_over(group, f"skill_{name}") for name in ("frozen", "refit"))
    names = [run.name for run in group]
    base = {"title": names[0] if len(names) == 1 else ", ".join(names), "seeds": _seeds(group)}
    steps = _steps(group[0])
    if frozen and refit and steps:
        return base | {"verdict": _verdict(frozen, refit), "text": _of_skill(frozen, refit, steps)}
    plain = _over(group, "mean_km")
    if plain is None or not steps:
        return None
    way = "nearer to" if plain.change < 0 else "farther from"
    verdict = f"The map's cities lie {way} their true places than at step {steps[0]:,}."
    text = (
        f"The mean error of a new probe (degrees) on held-out real cities goes from {_number(plain, plain.first)} to "
        f"{_number(plain, plain.last)} at step {steps[1]:,}."
    )
    return base | {"verdict": verdict, "text": text}


def _verdict(frozen: Course, refit: Course) -> str:
    """What became of the map, in one plain sentence."""
    if refit.change > NO_CHANGE and refit.change > frozen.change:
        return "A map has formed."
    fall = -frozen.change
    if fall < NO_CHANGE:
        return "The map has stayed where it was."
    lost = -refit.change / fall
    if lost <= LITTLE:
        return "The map was moved rather than erased."
    return "The map was erased." if lost >= MOST else "The map was partly erased and partly moved."


def _of_skill(frozen: Course, refit: Course, steps: tuple[int, int]) -> str:
    first, last = steps
    return (
        f"The probe fitted at step {first:,} reads held-out real cities with a skill of "
        f"{_number(frozen, frozen.first)} there and of {_number(frozen, frozen.last)} at step {last:,}; a probe fitted "
        f"anew at step {last:,} reaches {_number(refit, refit.last)}. A skill of 1 is no error, 0 the error of a probe "
        "of an untrained model."
    )


def _seeds(group: Sequence[RunData]) -> str:
    """How many trainings the sentence rests on, and what is known of others."""
    n = len(group)
    if n > 1:
        means = "the interval is over them" if n >= FEWEST_VALUES else "too few for an interval"
        return f"Mean over {n} seeds; {means}."
    elsewhere = ELSEWHERE.get(str(group[0].about.get("config_digest")))
    if elsewhere:
        low, high = elsewhere
        return f"One seed, one processor; on others the first probe's skill ended at {low:.2f} to {high:.2f}."
    return "One seed: the intervals are over cities, and do not say how another training would come out."


def _steps(run: RunData) -> tuple[int, int] | None:
    """The first and the last probed step; None if there are not two."""
    steps = next((probe.steps for probe in run.probes.values()), [])
    return (steps[0], steps[-1]) if len(steps) > 1 else None


def _ends(run: RunData, metric: str) -> list[tuple[float, float, float]] | None:
    """value, low and high at the first step that has a number and at the last; None if fewer than two steps have one.

    Skills are of the map's measures, the rest of the study's probe.
    """
    if metric.startswith("skill"):
        if run.map is None:
            return None
        rows, columns = run.map.rows(metric), ["value", "low", "high"]
    else:
        probe = run.probes.get("degrees") or next(iter(run.probes.values()), None)
        if probe is None:
            return None
        rows, columns = probe.group(REAL), [metric, f"{metric}_low", f"{metric}_high"]
    numbers = rows.reindex(columns=columns).to_numpy(np.float64)
    numbers = numbers[np.isfinite(numbers[:, 0])]
    return None if len(numbers) < 2 else [(float(v), float(low), float(high)) for v, low, high in numbers[[0, -1]]]


def _over(group: Sequence[RunData], metric: str) -> Course | None:
    """Of one run with its own interval; of several the mean, with the interval over seeds."""
    ends = [numbers for run in group if (numbers := _ends(run, metric)) is not None]
    if len(ends) < len(group):
        return None
    if len(group) == 1:
        return Course(metric, *ends[0])
    means = []
    for at in (0, 1):
        values = [numbers[at][0] for numbers in ends]
        around = seed_interval(values, scale_of(metric))
        means.append((fmean(values), around.low, around.high))
    return Course(metric, *means)


def _number(course: Course, ends: tuple[float, float, float]) -> str:
    """`0.154 (0.008 to 0.279)`, with its unit; the number alone where there is no interval."""
    metric = METRICS[course.metric]
    value, low, high = ends
    digits = metric.digits if metric.unit else 2
    text = cell(value, digits) + suffix(metric.unit)
    return text if pd.isna(low) or pd.isna(high) else f"{text} ({cell(low, digits)} to {cell(high, digits)})"
