"""What a method costs: seconds beside plain fine-tuning, and the old pairs that must be at hand; per point of volume.

A point is a hundredth of volume. Seconds are of runs on a machine that may have done other things, so they are rough;
`make bench ONLY=strategies` measures side by side.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from atlantis.bench.standing import Standing

A_POINT = 0.01


def seconds_beside(standing: Standing, naive: Standing | None) -> float | None:
    """The median over seeds of a run's seconds over plain fine-tuning's of the same seed; None where one lacks them."""
    if naive is None:
        return None
    mine, its = _seconds(standing), _seconds(naive)
    ratios = [mine[seed] / its[seed] for seed in mine if its.get(seed)]
    return float(np.median(ratios)) if ratios else None


def _seconds(standing: Standing) -> dict[int, float]:
    """By seed, of all runs of a case; what a seed has several of is averaged."""
    of_seeds: dict[int, list[float]] = {}
    for record in standing.records:
        if record.seconds is not None:
            of_seeds.setdefault(record.seed, []).append(record.seconds)
    return {seed: float(np.mean(seconds)) for seed, seconds in of_seeds.items()}


def old_pairs(standing: Standing) -> int | Literal["all"] | None:
    """How many old pairs the method keeps; None where its record does not say."""
    return standing.records[0].old_pairs


def minutes_per_point(standing: Standing) -> float | None:
    """Minutes of a run for each point of volume; None without seconds or volume."""
    seconds, volume = list(_seconds(standing).values()), standing.volumes.mean()
    return float(np.median(seconds)) / 60 / (volume / A_POINT) if seconds and volume > 0 else None


def pairs_per_point(standing: Standing) -> float | None:
    """Old pairs kept for each point of volume; None where all are kept, or nothing is said, or there is no volume."""
    pairs, volume = old_pairs(standing), standing.volumes.mean()
    return pairs / (volume / A_POINT) if isinstance(pairs, int) and volume > 0 else None
