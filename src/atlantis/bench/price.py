"""What a method costs: seconds beside plain fine-tuning, and the old pairs that must be at hand; per point of volume.

A point is a hundredth of volume. Seconds are the process's own where a CPU trained, whatever else the machine did; else
those of the clock. `make bench ONLY=strategies` measures side by side.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from atlantis.bench.standing import Standing

A_POINT = 0.01
CLOCKS = ("processor_seconds", "seconds")
"""Facts of a record that say how long its runs took; the first that all of what is compared have is used."""


def seconds_beside(standing: Standing, naive: Standing | None) -> float | None:
    """The median over seeds of a run's seconds over plain fine-tuning's of the same seed; None where one lacks them."""
    if naive is None:
        return None
    for clock in CLOCKS:
        mine, its = _seconds(standing, clock), _seconds(naive, clock)
        if ratios := [mine[seed] / its[seed] for seed in mine if its.get(seed)]:
            return float(np.median(ratios))
    return None


def _seconds(standing: Standing, clock: str) -> dict[int, float]:
    """By seed, of all runs of a case; what a seed has several of is averaged."""
    of_seeds: dict[int, list[float]] = {}
    for record in standing.records:
        if (seconds := getattr(record, clock)) is not None:
            of_seeds.setdefault(record.seed, []).append(seconds)
    return {seed: float(np.mean(seconds)) for seed, seconds in of_seeds.items()}


def old_pairs(standing: Standing) -> int | Literal["all"] | None:
    """How many old pairs the method keeps; None where its record does not say."""
    return standing.records[0].old_pairs


def minutes_per_point(standing: Standing) -> float | None:
    """Minutes of a run for each point of volume; None without seconds or volume."""
    volume = standing.volumes.mean()
    seconds = next((list(of_seeds.values()) for clock in CLOCKS if (of_seeds := _seconds(standing, clock))), [])
    return float(np.median(seconds)) / 60 / (volume / A_POINT) if seconds and volume > 0 else None


def pairs_per_point(standing: Standing) -> float | None:
    """Old pairs kept for each point of volume; None where all are kept, or nothing is said, or there is no volume."""
    pairs, volume = old_pairs(standing), standing.volumes.mean()
    return pairs / (volume / A_POINT) if isinstance(pairs, int) and volume > 0 else None
