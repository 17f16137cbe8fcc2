"""What a method costs: seconds beside plain fine-tuning, and the old pairs that must be at hand; per point of volume.

A point is a hundredth of volume. Seconds are the process's own where all records have them, whatever else the machine
did; else those of the clock. `make bench ONLY=strategies` measures side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from atlantis.bench.standing import Board, Standing

A_POINT = 0.01


@dataclass(frozen=True)
class Clock:
    """Which fact of a record says how long its runs took, and the seeds that are read."""

    name: Literal["processor_seconds", "seconds"]
    seeds: frozenset[int]


def clock_of(board: Board) -> Clock:
    """The process's own seconds, in the seeds where every record has them; the clock's if a method has no such seed."""
    scored = [record for standing in board.standings for record in standing.records if record.seed in standing.seeds]
    seeds = frozenset(record.seed for record in scored)
    own = seeds - {record.seed for record in scored if record.processor_seconds is None}
    every = all(own.intersection(standing.seeds) for standing in board.standings if standing.seeds)
    return Clock("processor_seconds", own) if own and every else Clock("seconds", seeds)


def seconds_beside(standing: Standing, naive: Standing | None, clock: Clock) -> float | None:
    """The median over seeds of a run's seconds over plain fine-tuning's of the same seed; None where one lacks them."""
    if naive is None:
        return None
    mine, its = _seconds(standing, clock), _seconds(naive, clock)
    ratios = [mine[seed] / its[seed] for seed in mine if its.get(seed)]
    return float(np.median(ratios)) if ratios else None


def _seconds(standing: Standing, clock: Clock) -> dict[int, float]:
    """By seed, of all runs of a case; what a seed has several of is averaged."""
    of_seeds: dict[int, list[float]] = {}
    for record in standing.records:
        if record.seed in clock.seeds and (seconds := getattr(record, clock.name)) is not None:
            of_seeds.setdefault(record.seed, []).append(seconds)
    return {seed: float(np.mean(seconds)) for seed, seconds in of_seeds.items()}


def minutes_per_point(standing: Standing, clock: Clock) -> float | None:
    """Minutes of a run for each point of volume; None without seconds or volume."""
    seconds, volume = list(_seconds(standing, clock).values()), standing.volumes.mean()
    return float(np.median(seconds)) / 60 / (volume / A_POINT) if seconds and volume > 0 else None


def pairs_per_point(standing: Standing) -> float | None:
    """Old pairs kept for each point of volume; None where all are kept, or nothing is said, or there is no volume."""
    pairs, volume = standing.old_pairs, standing.volumes.mean()
    return pairs / (volume / A_POINT) if isinstance(pairs, int) and volume > 0 else None
