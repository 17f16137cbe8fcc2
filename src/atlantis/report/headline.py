"""The finding of a run, or of runs that differ in their seed alone, as one sentence with its numbers.

What it says comes from the skill of two probes (readout/skill.py): the first step's, kept, and one fitted anew at the
last checkpoint. Without them the sentence is about the error of the study's probe, and without that there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

NO_CHANGE, LITTLE, MOST = 0.05, 0.2, 0.75
"""A change of skill below the first is none; of the map, up to LITTLE may be lost where it was moved."""

ELSEWHERE = {"3ae13e7c41a3": (0.126, 0.354)}
"""By the digest of a config: where the skill of the first step's probe ended on other processors, least and greatest.

The demo's, from experiments/2026-11-28_demo/records/earlier.json.
"""


Estimate = tuple[float, float, float]
"""A value and the ends of its interval, which are NaN where there is none."""


class Course(NamedTuple):
    """One metric of the real cities at the first and the last step at which all runs of a group have it."""

    metric: str
    steps: tuple[int, int]
    first: Estimate
    last: Estimate

    @property
    def change(self) -> float:
        return self.last[0] - self.first[0]


def headlines(runs: Sequence[RunData]) -> list[dict[str, str]]:
    """title, verdict, text and seeds for each run, or for all that differ in their seed alone; none for some.

    A mean over seeds is of the steps that all of them have. With fewer than two such steps, each run has a sentence.
    """
    sentences = []
    for group in seed_groups(runs):
        together = _headline(group)
        alone = [_headline([run]) for run in group] if together is None and len(group) > 1 else []
        sentences += [sentence for sentence in (together, *alone) if sentence is not None]
    return sentences


def _headline(group: Sequence[RunData]) -> dict[str, str] | None:
    names = [run.name for run in group]
    base = {"title": names[0] if len(names) == 1 else ", ".join(names), "seeds": _seeds(group)}
    if skills := _courses(group, "skill_frozen", "skill_refit"):
        frozen, refit = skills
        return base | {"verdict": _verdict(frozen, refit), "text": _of_skill(frozen, refit)}
    if not (kilometres := _courses(group, "mean_km")):
        return None
    (plain,) = kilometres
    first, last = plain.steps
    text = (
        f"The mean error of a new probe (degrees) on held-out real cities goes from {_number(plain, plain.first)} to "
        f"{_number(plain, plain.last)} at step {last:,}."
    )
    return base | {"verdict": f"The map's cities lie {_way(plain)} at step {first:,}.", "text": text}


def _way(errors: Course) -> str:
    """How the cities lie, by the errors as they are shown: what reads as the same number is no change."""
    before, after = (cell(value, METRICS[errors.metric].digits) for value, *_ in (errors.first, errors.last))
    if before == after:
        return "as far from their true places as"
    return f"{'nearer to' if errors.change < 0 else 'farther from'} their true places than"


def _verdict(frozen: Course, refit: Course) -> str:
    """What became of the map that there was, in one plain sentence."""
    if refit.change > NO_CHANGE and refit.first[0] < max(NO_CHANGE, LITTLE * refit.last[0]):
        return "A map has formed."
    if max(refit.first[0], refit.last[0]) < NO_CHANGE:
        return "No map has formed."
    if -frozen.change < NO_CHANGE:
        return "The map has stayed where it was."
    lost = -refit.change / max(refit.first[0], NO_CHANGE)
    if lost <= LITTLE:
        return "The map was moved rather than erased."
    return "The map was erased." if lost >= MOST else "The map was partly erased and partly moved."


def _of_skill(frozen: Course, refit: Course) -> str:
    first, last = frozen.steps
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


def _by_step(run: RunData, metric: str) -> dict[int, Estimate]:
    """The metric at each step that has a number. Skills are of the map's measures, the rest of the study's probe."""
    probe = run.probes.get("degrees") or next(iter(run.probes.values()), None)
    if probe is None:
        return {}
    if metric.startswith("skill"):
        if run.map is None:
            return {}
        rows, columns = run.map.rows(metric), ["value", "low", "high"]
    else:
        rows, columns = probe.group(REAL), [metric, f"{metric}_low", f"{metric}_high"]
    numbers = rows.reindex(columns=columns).to_numpy(np.float64)
    return {
        int(step): (float(value), float(low), float(high))
        for step, (value, low, high) in zip(rows.index, numbers, strict=True)
        if np.isfinite(value)
    }


def _courses(group: Sequence[RunData], *metrics: str) -> list[Course]:
    """Each metric over the steps at which all runs have all metrics; none if there are fewer than two such steps."""
    by_step = {metric: [_by_step(run, metric) for run in group] for metric in metrics}
    steps = sorted(set.intersection(*(set(values) for of_runs in by_step.values() for values in of_runs)))
    if len(steps) < 2:
        return []
    ends = (steps[0], steps[-1])
    return [Course(name, ends, *(_mean(name, of_runs, step) for step in ends)) for name, of_runs in by_step.items()]


def _mean(metric: str, of_runs: Sequence[Mapping[int, Estimate]], step: int) -> Estimate:
    """Of one run with its own interval; of several the mean, with the interval over seeds."""
    if len(of_runs) == 1:
        return of_runs[0][step]
    values = [by_step[step][0] for by_step in of_runs]
    around = seed_interval(values, scale_of(metric))
    return fmean(values), around.low, around.high


def _number(course: Course, ends: Estimate) -> str:
    """`0.154 (0.008 to 0.279)`, with its unit; the number alone where there is no interval."""
    metric = METRICS[course.metric]
    value, low, high = ends
    digits = metric.digits if metric.unit else 2
    text = cell(value, digits) + suffix(metric.unit)
    return text if pd.isna(low) or pd.isna(high) else f"{text} ({cell(low, digits)} to {cell(high, digits)})"
