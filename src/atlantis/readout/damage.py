"""Where is the damage? The displacement of each city's predicted place, seen from a virtual region.

The places are those of one frozen probe, at the first step and at a later one, where the hidden states' mean was moved
back first. Without that, one vector that all predictions have in common would be most of the displacement; it says
nothing about any city and is reported once, as the `Shift`.

Distances to one compact region pin down only how far away a city is: a model that learns them may let its cities slide
around that region at a constant distance. If that is what happens, the displacement is mostly tangential.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num
from scipy import stats

from atlantis.sphere import bearing, haversine_km, lon_lat, unit_vectors
from atlantis.statistics import cell_bootstrap

N_CENTRES = 500
N_RESAMPLES, AT_ONCE = 500, 50
RANKED_AT_ONCE = 1 << 20  # distances


class Shift(NamedTuple):
    """What all of a probe's predictions moved by in common: one vector in the space of its targets, the unit sphere.

    length: in radii of the Earth; lon, lat: the place on the sphere that it points towards, degrees (NaN for no shift);
    share: how much of the predictions' mean squared change it is, 1 at most (NaN where nothing changed).
    """

    length: float
    lon: float
    lat: float
    share: float

    @classmethod
    def between(
        cls, first: Num[np.ndarray, "n 3"], now: Num[np.ndarray, "n 3"], moved_back: Num[np.ndarray, "n 3"]
    ) -> Shift:
        """From predictions at the first step, now, and now with the states' mean moved back."""
        vector, changed = (now - moved_back).mean(0), float(((now - first) ** 2).sum())
        length, nan = float(np.linalg.norm(vector)), float("nan")
        lon, lat = map(float, lon_lat(vector)) if length > 0 else (nan, nan)
        share = 1 - float(((moved_back - first) ** 2).sum()) / changed if changed > 0 else nan
        return cls(length, lon, lat, share)


class Displacement(NamedTuple):
    """From one place to another, on the sphere: length in km, and direction in degrees clockwise from north, (n,)."""

    lon: np.ndarray
    lat: np.ndarray
    km: np.ndarray
    bearing: np.ndarray

    @classmethod
    def between(
        cls,
        lon1: Num[np.ndarray, " n"],
        lat1: Num[np.ndarray, " n"],
        lon2: Num[np.ndarray, " n"],
        lat2: Num[np.ndarray, " n"],
    ) -> Displacement:
        """The great-circle arcs from points 1 to points 2, as they leave points 1."""
        return cls(lon1, lat1, haversine_km(lon1, lat1, lon2, lat2), bearing(lon1, lat1, lon2, lat2))

    def of(self, rows: slice | np.ndarray) -> Displacement:
        """Those of some of the points."""
        return Displacement(self.lon[rows], self.lat[rows], self.km[rows], self.bearing[rows])

    def vectors(self) -> Float[np.ndarray, "n 3"]:
        """The same as vectors of the space that the sphere lies in: as long as they are in km, and tangent."""
        lon, lat, angle = (np.radians(x) for x in (self.lon, self.lat, self.bearing))
        east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)], axis=1)
        north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)], axis=1)
        return self.km[:, None] * (np.sin(angle)[:, None] * east + np.cos(angle)[:, None] * north)

    def about(self, lon: np.ndarray | float, lat: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Radial and tangential parts in km, (n,) or as the centres (lon, lat) broadcast with it.

        Split in the plane that touches the sphere where the displacement begins: radial is positive away from the
        centre, tangential is positive clockwise as seen from it. Their squares add up to those of the length.
        """
        angle = np.radians(self.bearing - bearing(self.lon, self.lat, lon, lat))
        return -self.km * np.cos(angle), -self.km * np.sin(angle)


def tangential_share(radial: Num[np.ndarray, " n"], tangential: Num[np.ndarray, " n"]) -> float:
    """Share of the squared displacement that is tangential: 1/2 if directions are isotropic, 1 if nothing is radial.

    NaN if nothing moved.
    """
    total = float((radial**2).sum() + (tangential**2).sum())
    return float((tangential**2).sum()) / total if total > 0 else float("nan")


def share_about_anywhere(moved: Displacement, seed: int, n_centres: int = N_CENTRES) -> tuple[float, float]:
    """The middle 95 % of the tangential shares about centres drawn uniformly from the sphere: the null's spread.

    The mean of these shares is 1/2 for any displacement, since bearings to a uniform centre are uniform. Their spread
    is not that of independent cities: neighbours move together, and a probe has few degrees of freedom. NaN if nothing
    moved.
    """
    total = float((moved.km**2).sum())
    if total == 0:
        return float("nan"), float("nan")
    rng = np.random.Generator(np.random.PCG64(seed))
    centres = unit_vectors(*lon_lat(rng.normal(size=(n_centres, 3))))
    # The radial part: of the displacement as a vector, what lies along the direction towards a centre, in the plane
    # that touches the sphere. `about` has the same from bearings, one centre at a time.
    sine = np.sqrt((1 - (unit_vectors(moved.lon, moved.lat) @ centres.T) ** 2).clip(min=1e-12))  # (n, centres)
    radial = moved.vectors() @ centres.T / sine
    low, high = np.percentile(1 - (radial**2).sum(0) / total, [2.5, 97.5])
    return float(low), float(high)


def rank_correlation(x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"]) -> float:
    """Spearman's rank correlation; NaN for fewer than three, or where one of them does not vary."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(stats.spearmanr(x, y).statistic)  # type: ignore[attr-defined]


def rank_correlations(
    y: Num[np.ndarray, " n"],
    against: dict[str, Num[np.ndarray, " n"]],
    lon: Num[np.ndarray, " n"],
    lat: Num[np.ndarray, " n"],
    seed: int,
) -> dict[str, tuple[float, float, float]]:
    """`rank_correlation` of y with each x of `against`, and its interval, by name.

    The interval is a bootstrap over cells of 10 degrees of the cities at lon, lat: neighbours are displaced alike,
    and count as one draw.
    """
    values = {name: rank_correlation(x, y) for name, x in against.items()}
    varying = [name for name, value in values.items() if np.isfinite(value)]
    intervals = np.full((2, len(values)), np.nan)
    if varying:
        ranked = [_Ranked.of(x) for x in (y, *(against[name] for name in varying))]

        def resampled(weights: np.ndarray) -> np.ndarray:
            parts = [weights[i : i + AT_ONCE] for i in range(0, len(weights), AT_ONCE)]  # to stay within a cache
            return np.concatenate([_weighted_correlations(part, *ranked) for part in parts])

        rng = np.random.Generator(np.random.PCG64(seed))
        ends = cell_bootstrap(lon, lat, resampled, rng, n_resamples=N_RESAMPLES)
        intervals[:, [name in varying for name in values]] = ends
    return {
        name: (value, float(intervals[0, i]), float(intervals[1, i])) for i, (name, value) in enumerate(values.items())
    }


class _Ranked(NamedTuple):
    """Values in ascending order: `order` (n,), where each group of equal ones begins, and the group of each value."""

    order: np.ndarray
    begins: np.ndarray
    group: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> _Ranked:
        _, group, sizes = np.unique(x, return_inverse=True, return_counts=True)
        return cls(np.argsort(group, kind="stable"), np.cumsum(sizes) - sizes, group)

    def ranks(self, weights: np.ndarray) -> np.ndarray:
        """Mean ranks (b, n) where each value stands as often as `weights` (b, n) say."""
        sizes = np.add.reduceat(weights[:, self.order], self.begins, axis=1)
        return (np.cumsum(sizes, axis=1) - sizes / 2)[:, self.group]


def _weighted_correlations(weights: np.ndarray, y: _Ranked, *against: _Ranked) -> np.ndarray:
    """Spearman's correlation of y with each of the others, for each row of weights (b, n): (b, len(against))."""
    total = weights.sum(1, keepdims=True)

    def centred(values: _Ranked) -> tuple[np.ndarray, np.ndarray]:
        ranks = values.ranks(weights)
        ranks -= total / 2  # their mean
        return ranks, np.einsum("bn,bn,bn->b", weights, ranks, ranks)

    of_y, spread_y = centred(y)
    of_y *= weights
    columns = []
    for ranks, spread in map(centred, against):
        size = np.sqrt(spread * spread_y)
        columns.append(np.where(size > 0, np.einsum("bn,bn->b", of_y, ranks), np.nan) / np.where(size > 0, size, 1))
    return np.stack(columns, axis=1)


class Anywhere:
    """The null of a rank correlation with the distance to a centre: the same about centres that mean nothing.

    lon, lat (n,) are the cities; `n_regions` centres are drawn uniformly from the sphere, as often as `N_CENTRES`, and
    the nearest counts. Neighbours are displaced alike, so about most points of a sphere there is some correlation.
    """

    def __init__(self, lon: np.ndarray, lat: np.ndarray, n_regions: int, seed: int) -> None:
        rng = np.random.Generator(np.random.PCG64(seed))
        self._ranks = np.empty((N_CENTRES, len(lon)), dtype=np.float32)
        at_once = max(1, RANKED_AT_ONCE // len(lon))
        for rows in np.split(self._ranks, range(at_once, N_CENTRES, at_once)):
            km = np.empty(rows.shape)
            for row in km:
                centres = lon_lat(rng.normal(size=(n_regions, 3)))
                row[:] = haversine_km(centres[0][:, None], centres[1][:, None], lon, lat).min(0)
            rows[:] = [_standard(ranks) for ranks in stats.rankdata(km, axis=1)]

    def correlations(self, y: np.ndarray) -> tuple[float, float, float]:
        """The mean and the middle 95 % of the correlations of y (n,) with the distances; NaN if y does not vary."""
        if len(y) < 3 or np.ptp(y) == 0:
            return float("nan"), float("nan"), float("nan")
        null = self._ranks @ _standard(stats.rankdata(y)).astype(np.float32)
        low, high = np.percentile(null, [2.5, 97.5])
        return float(null.mean()), float(low), float(high)


def _standard(ranks: np.ndarray) -> np.ndarray:
    """Ranks (n,) about their mean and of length 1: the product of two such is Spearman's correlation."""
    ranks = ranks - ranks.mean()
    return ranks / (np.linalg.norm(ranks) or 1.0)
