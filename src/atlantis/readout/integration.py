"""Have new cities joined the map? A probe that never saw them is asked where they are, and so are their equals.

A probe that is fitted on real cities has to place a virtual region across an empty sea. How far off it may be is said
by *islands*: real cities that are left out of the fit just as the virtual ones are. An island has as many cities as
the region, at the same distances from a centre, and around it real cities are left out of the fit as well, until the
nearest that take part are as far away, on average, as they are from the virtual cities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Num
from scipy.spatial import procrustes

from atlantis.readout.ridge import Sums, fit_ridge, solve_ridge
from atlantis.readout.skill import Estimate
from atlantis.readout.splits import FEWEST
from atlantis.readout.threads import side_by_side
from atlantis.sphere import haversine_km, lon_lat
from atlantis.statistics import log_normal_mean

N_ISLANDS, N_CENTRES, MISMATCH = 12, 500, 0.1


class Island(NamedTuple):
    """Real cities that stand for a virtual region, and how well.

    cities: their ids, (m,); left_out: ids that the probe may not be fitted on, these and the void around them;
    mismatch: mean difference between their distances from the centre and those of the region's cities, as a share of
    the latter's mean; gap_km: mean distance of its cities from the nearest city of the fit.
    """

    cities: np.ndarray
    left_out: np.ndarray
    mismatch: float
    gap_km: float


def find_islands(
    lon: Num[np.ndarray, " n"],
    lat: Num[np.ndarray, " n"],
    region: tuple[Num[np.ndarray, " m"], Num[np.ndarray, " m"]],
    centre: tuple[float, float],
) -> list[Island]:
    """Islands among the real cities at lon, lat for a region of m cities (lon, lat) about its centre; 12 at most.

    Up to 500 cities are tried as centres, and cities are assigned from the centre outwards, each to the next of the
    region's distances. An island is kept if these differ by at most 10 % on average, if it shares no city with an
    earlier one, and if at least half of the real cities are left for the fit.
    """
    distances = np.sort(haversine_km(*centre, *region))
    wanted_gap = mean_gap_km(*region, lon, lat)
    islands: list[Island] = []
    taken = np.zeros(len(lon), bool)
    for i in np.unique(np.linspace(0, len(lon) - 1, N_CENTRES).round().astype(int)):
        away = haversine_km(lon[i], lat[i], lon, lat)
        order = np.argsort(away, kind="stable")
        rank = np.arange(len(distances))
        rank = np.maximum.accumulate(np.searchsorted(away[order], distances) - rank) + rank  # no city twice
        if rank[-1] >= len(lon) or len(islands) == N_ISLANDS:
            continue
        cities = order[rank]
        mismatch = float(np.abs(away[cities] - distances).mean() / max(distances.mean(), 1e-9))
        if mismatch > MISMATCH or taken[cities].any():
            continue
        left_out, gap = _void(lon, lat, cities, away, wanted_gap)
        if left_out.sum() <= len(lon) / 2:
            taken[cities] = True
            islands.append(Island(cities, np.flatnonzero(left_out), mismatch, gap))
    return islands


def mean_gap_km(
    lon: Num[np.ndarray, " m"],
    lat: Num[np.ndarray, " m"],
    others_lon: Num[np.ndarray, " n"],
    others_lat: Num[np.ndarray, " n"],
) -> float:
    """Mean distance in km from points to the nearest of others."""
    return float(haversine_km(lon[:, None], lat[:, None], others_lon, others_lat).min(axis=1).mean())


def _void(
    lon: np.ndarray, lat: np.ndarray, cities: np.ndarray, away: np.ndarray, gap_km: float
) -> tuple[np.ndarray, float]:
    """Which cities to leave out around an island, as a mask (n,), so that its mean gap is about `gap_km`; and the gap.

    All within a radius of the centre, `away` (n,) being the distances from it; each step corrects the radius by what
    the gap lacks.
    """
    radius, left_out, gap = gap_km, np.zeros(len(lon), bool), 0.0
    for _ in range(4):
        left_out = away < radius
        left_out[cities] = True
        if left_out.all():
            break
        gap = mean_gap_km(lon[cities], lat[cities], lon[~left_out], lat[~left_out])
        radius = max(0.0, radius + gap_km - gap)
    return left_out, gap


class UnseenPlaces(NamedTuple):
    """`virtual`: the probe's directions (m, 3) for the virtual cities; `island_km`: mean error in km on each island."""

    virtual: np.ndarray
    island_km: np.ndarray


def place_unseen(
    x: Num[np.ndarray, "n p"],
    y: Num[np.ndarray, "n 3"],
    lon: Num[np.ndarray, " n"],
    lat: Num[np.ndarray, " n"],
    virtual: Num[np.ndarray, "m p"],
    islands: Sequence[Island],
) -> UnseenPlaces:
    """Where probes fitted without them place virtual cities and islands.

    x are the features of the real cities at lon, lat, y their unit vectors, `virtual` the features of the virtual
    cities. All fits have one penalty, chosen by leave-one-out error on the cities of no island; on all
    where hardly any is of none, as in a small world.
    """
    calm = np.delete(np.arange(len(x)), np.concatenate([island.cities for island in islands]) if islands else [])
    calm = calm if len(calm) >= FEWEST else np.arange(len(x))
    alpha = fit_ridge(x[calm], y[calm]).alpha
    sums = Sums.of(x, y)

    def error_km(island: Island) -> float:
        probe = solve_ridge(sums - Sums.of(x[island.left_out], y[island.left_out]), alpha)
        placed = lon_lat(probe.predict(x[island.cities]))
        return float(haversine_km(lon[island.cities], lat[island.cities], *placed).mean())

    return UnseenPlaces(solve_ridge(sums, alpha).predict(virtual), np.array(side_by_side(error_km, islands)))


def mean_of_islands(km: Num[np.ndarray, " k"]) -> Estimate:
    """Mean error of islands from the errors `km` of each, with an interval on the log scale.

    Islands' errors are positive and skewed: a few are several times the median, as log-normal values are. No interval
    for fewer than three islands, equal errors, or an error of 0.
    """
    interval = log_normal_mean(km)
    return Estimate(float(km.mean()), interval.low, interval.high, len(km))


def ratio(km: Estimate, reference: Estimate) -> Estimate:
    """A region's mean error divided by the islands', with an interval on the log scale that has the errors of both.

    The two are independent, so that on either side the squares of log(value / limit) add up (Zou and Donner, 2008).
    NaN limits where one of the two has none, and NaN altogether where islands have no error to compare with, as where
    all real cities are in one place. `n` is the number of islands.
    """
    if reference.value < 1e-9:
        return Estimate(float("nan"), n=reference.n)
    value = km.value / reference.value
    below = np.hypot(np.log(km.value / km.low), np.log(reference.high / reference.value))
    above = np.hypot(np.log(km.high / km.value), np.log(reference.value / reference.low))
    return Estimate(value, float(value * np.exp(-below)), float(value * np.exp(above)), reference.n)


def constellation_disparity(true: Num[np.ndarray, "m 3"], predicted: Num[np.ndarray, "m 3"]) -> float:
    """How unlike the shape of the predicted constellation is to the true one: Procrustes disparity, from 0 to 1.

    Both are directions, brought to length 1. What is moved, turned, mirrored or scaled as a whole keeps its
    shape (Gower, 1975). NaN for fewer than three cities, or where all are predicted in one place.
    """
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True).clip(min=1e-12) for v in (true, predicted))
    if len(a) < 3 or min(np.ptp(a, axis=0).max(), np.ptp(b, axis=0).max()) == 0:
        return float("nan")
    return float(procrustes(a, b)[2])
