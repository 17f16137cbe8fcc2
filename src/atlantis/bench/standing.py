"""Methods side by side: per-seed means, paired comparisons, who is beaten by nobody. Records in, numbers out.

The unit is the seed: what a seed has several of (orders) is averaged first. A seed with a failure has no number and is
counted as failed. An interval is Student's t over seeds, on the scale of the quantity (statistics.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from atlantis.bench.methods import NEEDS, uses
from atlantis.bench.quantities import FRONT, POINT, SCORES, is_km, scale_of, value
from atlantis.bench.record import BenchRecord
from atlantis.scales import IDENTITY, SHARE
from atlantis.sphere import HALF_CIRCUMFERENCE_KM
from atlantis.statistics import Interval, hypervolume, pareto, probability_of_improvement, seed_interval

REFERENCES = ("naive", "replay_1pct")
"""What every other method is compared with."""


@dataclass(frozen=True)
class Standing:
    """One method in one variant of a scenario: the scores (n, k) of the n seeds that have them."""

    method: str
    needs: tuple[str, ...]
    seeds: tuple[int, ...]
    failed: tuple[int, ...]
    scores: np.ndarray
    records: tuple[BenchRecord, ...]

    @property
    def volumes(self) -> np.ndarray:
        """Hypervolume (n,) of each seed."""
        return np.array([hypervolume([point]) for point in self.scores])

    @property
    def uses(self) -> str:
        return uses(self.needs)

    @property
    def old_pairs(self) -> int | Literal["all"] | None:
        """How many old pairs the method keeps; None where its record does not say."""
        return self.records[0].old_pairs

    def by_seed(self, quantity: str) -> dict[int, float]:
        """A quantity of each seed that has a score; what a seed has several of (orders) is averaged first.

        A seed that lacks it in one of its orders is left out. Raises UserError for a quantity that there is not.
        """
        if quantity == "volume":  # of the mean scores, not the mean of volumes
            return dict(zip(self.seeds, self.volumes.tolist(), strict=True))
        of_seeds: dict[int, list[float | None]] = {seed: [] for seed in self.seeds}
        for record in self.records:
            number = value(record, quantity)
            if record.seed in of_seeds:
                of_seeds[record.seed].append(number)
        complete = {seed: [n for n in numbers if n is not None] for seed, numbers in of_seeds.items()}
        return {seed: float(np.mean(n)) for seed, n in complete.items() if n and len(n) == len(of_seeds[seed])}

    def array(self, quantity: str) -> np.ndarray:
        """`by_seed` without the seeds: (n,)."""
        return np.array(list(self.by_seed(quantity).values()))


@dataclass(frozen=True)
class Comparison:
    """A quantity of one row less that of another, on the n seeds that both have; `differences` (n,)."""

    differences: np.ndarray
    interval: Interval
    improvement: float
    """Chance that a seed of the one is higher than a seed of the other (Mann and Whitney)."""

    @property
    def difference(self) -> float:
        return float(self.differences.mean())

    @property
    def n(self) -> int:
        return len(self.differences)


def compared(ours: Standing, theirs: Standing, quantity: str) -> Comparison | None:
    """The paired comparison of two rows; None where they have no seed in common."""
    mine, its = ours.by_seed(quantity), theirs.by_seed(quantity)
    pairs = np.array([[mine[seed], its[seed]] for seed in mine if seed in its]).reshape(-1, 2)
    if not len(pairs):
        return None
    differences = pairs[:, 0] - pairs[:, 1]
    improvement = probability_of_improvement(pairs[:, 0], pairs[:, 1])
    return Comparison(differences, difference_interval(differences, quantity), improvement)


def difference_interval(differences: np.ndarray, quantity: str) -> Interval:
    """95 % interval of the mean of paired differences (n,) of a quantity; of two scores it is within -1 to 1."""
    most = 1.0 if scale_of(quantity) is SHARE else np.inf
    return seed_interval(differences, IDENTITY).within(-most, most)


@dataclass(frozen=True)
class Board:
    """One variant of a scenario: methods by what they may use, the largest volume first within each."""

    protocol: int
    tier: str
    scenario: str
    variant: str
    standings: tuple[Standing, ...]

    @property
    def title(self) -> str:
        return f"{self.scenario}, {self.variant}" if self.variant else self.scenario

    def of(self, method: str) -> Standing | None:
        return next((standing for standing in self.standings if standing.method == method), None)

    def complete(self) -> list[Standing]:
        """The methods that have every seed of the board, and failed in none."""
        seeds = {seed for standing in self.standings for seed in standing.seeds}
        return [s for s in self.standings if s.seeds and set(s.seeds) == seeds and not s.failed]

    def compared_with(self, reference: str) -> dict[str, Comparison]:
        """The volumes less the reference's by method, where both have seeds in common; empty if it has no record."""
        theirs = self.of(reference)
        if theirs is None:
            return {}
        comparisons = {
            standing.method: compared(standing, theirs, "volume")
            for standing in self.standings
            if standing is not theirs
        }
        return {name: comparison for name, comparison in comparisons.items() if comparison is not None}

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of the scores, in the order of `Standing.scores`."""
        return SCORES[self.protocol]

    def best(self) -> list[str]:
        """Methods with every seed whose means no other reaches in all of `POINT`; what a record lacks is left out."""
        return self.not_beaten(POINT[self.protocol])

    def front(self) -> list[str]:
        """Methods with every seed that no other beats in both of `FRONT`."""
        return self.not_beaten(FRONT)

    def not_beaten(self, wanted: Sequence[str]) -> list[str]:
        """Methods of which no other has means as high in all of these quantities and higher in one. None alone."""
        scored = self.complete()
        quantities = [q for q in wanted if all(len(standing.array(q)) == len(standing.seeds) for standing in scored)]
        if len(scored) < 2 or not quantities:
            return []
        kept = pareto(np.array([[standing.array(q).mean() for q in quantities] for standing in scored]))
        return [standing.method for standing, stays in zip(scored, kept, strict=True) if stays]

    def without_shares(self) -> list[str]:
        """Methods that have no part in shares of variance.

        A score whose mean is 0 has no logarithm. A method that keeps all old pairs (`joint`) is there for comparison.
        """
        return [
            s.method for s in self.standings if s.seeds and (s.old_pairs == "all" or (s.scores.mean(axis=0) <= 0).any())
        ]

    def variance_shares(self) -> dict[str, float]:
        """What the volume's order comes from: each score's share of the variance of log scores between methods.

        Of the means of the methods but those of `without_shares`; empty for fewer than three, or if they do not differ.
        """
        left_out = self.without_shares()
        scored = [s.scores.mean(axis=0) for s in self.standings if s.seeds and s.method not in left_out]
        return self._shares(np.array(scored).reshape(-1, len(self.scores)))

    def seed_shares(self, method: str) -> dict[str, float]:
        """What a method's volumes differ by from seed to seed: each score's share of the variance of log scores.

        Empty for fewer than three seeds, for a seed with a score of 0, or if they do not differ.
        """
        standing = self.of(method)
        return {} if standing is None or (standing.scores <= 0).any() else self._shares(standing.scores)

    def _shares(self, points: np.ndarray) -> dict[str, float]:
        """By score, of the variance of the logarithms of points (n, k)."""
        spread = np.log(points).var(axis=0) if len(points) >= 3 else np.zeros(len(self.scores))
        total = float(spread.sum())
        return {name: float(s) / total for name, s in zip(self.scores, spread, strict=True)} if total > 0 else {}


def mean_and_interval(values: np.ndarray, quantity: str) -> tuple[float, float, float]:
    """Mean over seeds (n,) of a quantity, and its interval; NaN where there is none.

    Of errors in km it ends at half the circumference, unless a value is beyond: an answer can be, a place cannot.
    """
    interval = seed_interval(values, scale_of(quantity))
    if is_km(quantity):
        interval = interval.within(0, max(HALF_CIRCUMFERENCE_KM, values.max()))
    return float(values.mean()), interval.low, interval.high


def boards(records: Sequence[BenchRecord]) -> list[Board]:
    """One for each variant of each scenario of each tier of each protocol, in the order of their names."""
    by_variant: dict[tuple[int, str, str, str], dict[str, list[BenchRecord]]] = {}
    for record in records:
        key = (record.protocol, record.tier, record.scenario, record.variant)
        by_variant.setdefault(key, {}).setdefault(record.method, []).append(record)
    built = []
    for key in sorted(by_variant, key=_place_order):
        standings = sorted((_standing(of_method) for of_method in by_variant[key].values()), key=_order)
        built.append(Board(*key, tuple(standings)))
    return built


def _place_order(key: tuple[int, str, str, str]) -> tuple[int, str, str, int, str]:
    protocol, tier, scenario, variant = key
    digits = variant.replace(",", "")
    return protocol, tier, scenario, int(digits) if digits.isdigit() else 0, variant


def _standing(records: list[BenchRecord]) -> Standing:
    records = sorted(records, key=lambda record: (record.seed, record.repeat))
    by_seed: dict[int, list[BenchRecord]] = {}
    for record in records:
        by_seed.setdefault(record.seed, []).append(record)
    points, failed = {}, []
    for seed, of_seed in by_seed.items():
        scored = [record.scores.point for record in of_seed if record.scores is not None]
        if len(scored) < len(of_seed):
            failed.append(seed)
        else:
            points[seed] = np.mean(scored, axis=0)
    scores = np.array(list(points.values())).reshape(-1, len(SCORES[records[0].protocol]))
    needs = tuple(records[0].needs)
    return Standing(records[0].method, needs, tuple(points), tuple(failed), scores, tuple(records))


def _order(standing: Standing) -> tuple[int, list[int], float, str]:
    """First those that may use least; within, the largest volume first and those without any last."""
    volume = standing.volumes.mean() if len(standing.seeds) else -1.0
    return len(standing.needs), [NEEDS.index(need) for need in standing.needs], -volume, standing.method
