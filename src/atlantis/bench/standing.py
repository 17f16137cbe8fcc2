"""Methods side by side: per-seed means, paired comparisons, who is beaten by nobody. Records in, numbers out.

The unit is the seed: what a seed has several of (orders) is averaged first. A seed with a failure has no number and is
counted as failed. Every interval and p-value comes from generators that are made anew, so that the same records give
the same page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlantis.bench.methods import NEEDS
from atlantis.bench.records import Record
from atlantis.bench.scores import Scores
from atlantis.statistics import (
    bootstrap_interval,
    holm,
    hypervolume,
    interquartile_mean,
    pareto,
    probability_of_improvement,
    sign_flip_p,
)

REFERENCES = ("naive", "replay_1pct")
"""What every other method is compared with."""

SCORES = tuple(Scores.model_fields)


@dataclass(frozen=True)
class Standing:
    """One method in one variant of a scenario: scores (n, 3) of the n seeds that have them, in the order of `seeds`."""

    method: str
    needs: tuple[str, ...]
    seeds: tuple[int, ...]
    failed: tuple[int, ...]
    scores: np.ndarray
    records: tuple[Record, ...]

    @property
    def volumes(self) -> np.ndarray:
        """Hypervolume (n,) of each seed."""
        return np.array([hypervolume([point]) for point in self.scores])

    @property
    def uses(self) -> str:
        return " + ".join(self.needs) or "nothing"


@dataclass(frozen=True)
class Comparison:
    """A method's volume less a reference's, on the n seeds that both have; `p` is adjusted for all methods compared."""

    n: int
    difference: float
    low: float
    high: float
    improvement: float
    p: float


@dataclass(frozen=True)
class Board:
    """One variant of a scenario: methods by what they may use, the best first within each."""

    tier: str
    scenario: str
    variant: str
    standings: tuple[Standing, ...]

    @property
    def title(self) -> str:
        return f"{self.scenario}, {self.variant}" if self.variant else self.scenario

    def compared_with(self, reference: str) -> dict[str, Comparison]:
        """By method, where both have seeds in common; empty if the reference has no record."""
        theirs = next((one for one in self.standings if one.method == reference and one.seeds), None)
        if theirs is None:
            return {}
        pairs = {}
        for ours in self.standings:
            common = [seed for seed in ours.seeds if seed in theirs.seeds]
            if ours is not theirs and common:
                pairs[ours.method] = tuple(
                    one.volumes[[one.seeds.index(seed) for seed in common]] for one in (ours, theirs)
                )
        differences = {name: mine - its for name, (mine, its) in pairs.items()}
        adjusted = holm({name: sign_flip_p(d, np.random.default_rng(0)) for name, d in differences.items()})
        return {
            name: Comparison(
                len(d),
                float(d.mean()),
                *bootstrap_interval(d, np.random.default_rng(0)),
                probability_of_improvement(*pairs[name]),
                adjusted[name],
            )
            for name, d in differences.items()
        }

    def best(self) -> list[str]:
        """Methods whose mean scores no other method reaches in all three."""
        scored = [one for one in self.standings if len(one.seeds)]
        if not scored:
            return []
        kept = pareto(np.array([one.scores.mean(0) for one in scored]))
        return [one.method for one, stays in zip(scored, kept, strict=True) if stays]


def mean_and_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean over seeds (n,) and its bootstrap interval, NaN for one seed."""
    return float(values.mean()), *bootstrap_interval(values, np.random.default_rng(0))


def iqm(standing: Standing) -> float:
    return interquartile_mean(standing.volumes)


def boards(records: Sequence[Record]) -> list[Board]:
    """One for each variant of each scenario of each tier, in the order of their names."""
    places: dict[tuple[str, str, str], dict[str, list[Record]]] = {}
    for record in records:
        place = (record.tier, record.scenario, record.variant)
        places.setdefault(place, {}).setdefault(record.method, []).append(record)
    found = []
    for place in sorted(places, key=_place_order):
        standings = sorted((_standing(of_method) for of_method in places[place].values()), key=_order)
        found.append(Board(*place, tuple(standings)))
    return found


def _place_order(place: tuple[str, str, str]) -> tuple[str, str, int, str]:
    tier, scenario, variant = place
    digits = variant.replace(",", "")
    return tier, scenario, int(digits) if digits.isdigit() else 0, variant


def _standing(records: list[Record]) -> Standing:
    records = sorted(records, key=lambda record: (record.seed, record.repeat))
    by_seed: dict[int, list[Record]] = {}
    for record in records:
        by_seed.setdefault(record.seed, []).append(record)
    points, failed = {}, []
    for seed, of_seed in by_seed.items():
        scored = [record.scores.point for record in of_seed if record.scores is not None]
        if len(scored) < len(of_seed):
            failed.append(seed)
        else:
            points[seed] = np.mean(scored, axis=0)
    scores = np.array(list(points.values())).reshape(-1, len(SCORES))
    needs = tuple(records[0].needs)
    return Standing(records[0].method, needs, tuple(points), tuple(failed), scores, tuple(records))


def _order(one: Standing) -> tuple[int, list[int], float, str]:
    """First those that may use least; within, the largest volume first and those without any last."""
    volume = one.volumes.mean() if len(one.seeds) else -1.0
    return len(one.needs), [NEEDS.index(need) for need in one.needs], -volume, one.method
