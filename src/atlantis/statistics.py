"""Statistics of a benchmark whose methods share their seeds: pure functions, arrays in, numbers out.

Seeds are few, so nothing here assumes a normal distribution, and a small number of seeds shows: intervals from three
seeds are rough, and no p-value of three pairs is below 0.25.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

Name = TypeVar("Name")
MAX_EXACT = 16
"""Up to so many pairs, a sign-flip test goes through all signs."""


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of the middle half of values (n,): a quarter is cut from either end, in fractions where n / 4 is none.

    IQM of Agarwal et al. (2021, "Deep reinforcement learning at the edge of the statistical precipice"). Raises
    ValueError for no values.
    """
    x = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if not len(x):
        raise ValueError("the interquartile mean of no values")
    ends = np.arange(len(x) + 1) / len(x)  # value i stands for the quantiles from ends[i] to ends[i + 1]
    inside = np.clip(ends[1:], 0.25, 0.75) - np.clip(ends[:-1], 0.25, 0.75)
    return float(inside @ x / 0.5)


def bootstrap_interval(
    values: ArrayLike,
    rng: np.random.Generator,
    statistic: Callable[[np.ndarray], float] | None = None,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron, 1979) of a statistic (the mean) of values (n,), one for each seed.

    For two methods that share their seeds give the differences seed by seed: the bootstrap is then paired. NaN for
    fewer than two values.
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) < 2:
        return float("nan"), float("nan")
    drawn = x[rng.integers(len(x), size=(n_resamples, len(x)))]
    found = drawn.mean(1) if statistic is None else np.array([statistic(row) for row in drawn])
    low, high = np.quantile(found, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def sign_flip_p(differences: ArrayLike, rng: np.random.Generator | None = None, n_flips: int = 10_000) -> float:
    """Two-sided p-value of a mean paired difference, by the signs it might as well have had (Fisher, 1935).

    Exact up to 16 pairs: the share of all 2^n sign patterns whose mean is at least as far from 0. Beyond, from
    `n_flips` drawn patterns and the observed one, for which `rng` is needed. The least p of n pairs is 2 / 2^n. 1 for
    no pairs.
    """
    d = np.asarray(differences, dtype=np.float64)
    if len(d) <= MAX_EXACT:
        signs = np.array(list(product([1.0, -1.0], repeat=len(d))))
    else:
        if rng is None:
            raise ValueError(f"more than {MAX_EXACT} pairs need a random generator")
        signs = np.vstack([np.ones(len(d)), rng.choice([1.0, -1.0], size=(n_flips, len(d)))])
    sums = np.abs(signs @ d)
    return float((sums >= sums[0] * (1 - 1e-12)).mean())  # the observed pattern is the first


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Adjusted p-values that bound the chance of any false finding among them (Holm, 1979), in the order given."""
    adjusted: dict[Name, float] = {}
    highest = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def probability_of_improvement(ours: ArrayLike, theirs: ArrayLike) -> float:
    """Chance that a run of ours scores higher than one of theirs, a tie counting half (Mann and Whitney, 1947).

    Over all pairs of runs, as in Agarwal et al. (2021). Where lower is better, give the scores negated.
    """
    a, b = np.asarray(ours, dtype=np.float64)[:, None], np.asarray(theirs, dtype=np.float64)[None, :]
    return float(((a > b) + 0.5 * (a == b)).mean())


def hypervolume(points: ArrayLike) -> float:
    """Volume that points (n, k) dominate above the origin, every coordinate a score from 0 up, higher better.

    The measure of the union of the boxes from 0 to each point (Zitzler and Thiele, 1999); one point gives the product
    of its scores. Scores below 0 count as 0.
    """
    scores = np.asarray(points, dtype=np.float64)
    scores = scores.reshape(-1, scores.shape[-1]).clip(min=0.0)
    if scores.shape[1] == 1:
        return float(scores.max(initial=0.0))
    volume, below = 0.0, 0.0
    for height in np.unique(scores[:, -1]):  # slice by slice of the last score
        volume += (height - below) * hypervolume(scores[scores[:, -1] >= height, :-1])
        below = height
    return float(volume)


def pareto(points: ArrayLike) -> np.ndarray:
    """Which of points (n, k), higher better in every score, no other point beats or equals while beating it in one."""
    scores = np.asarray(points, dtype=np.float64)
    no_worse = np.all(scores[None] >= scores[:, None], axis=2)
    better = np.any(scores[None] > scores[:, None], axis=2)
    return ~np.any(no_worse & better, axis=1)


FEWEST_CELLS = 8
"""Fewer cells than that, counted by their effective number, give no interval."""


def cells_of(lon: ArrayLike, lat: ArrayLike, degrees: float) -> np.ndarray:
    """Which cell of about `degrees` by `degrees` each place at lon, lat (n,) lies in: numbers from 0, (n,).

    Bands of latitude, cut into as many cells as make them about as wide as high.
    """
    lon, lat = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
    n_bands = max(1, round(180 / degrees))
    band = ((lat + 90) / 180 * n_bands).astype(int).clip(0, n_bands - 1)
    middle = np.radians((band + 0.5) * 180 / n_bands - 90)
    n_cells = np.maximum(1, np.round(2 * n_bands * np.cos(middle)).astype(int))
    column = ((lon + 180) % 360 / 360 * n_cells).astype(int).clip(0, n_cells - 1)
    return np.unique(band * 4 * n_bands + column, return_inverse=True)[1]


def cell_bootstrap(
    lon: ArrayLike,
    lat: ArrayLike,
    statistic: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
    degrees: float = 10.0,
    n_resamples: int = 1_000,
    confidence: float = 0.95,
) -> np.ndarray:
    """Percentile bootstrap interval (low, high) of a statistic of places at lon, lat (n,), drawn by cells.

    Errors of neighbouring places are alike, so places are no independent draws; cells of them nearly are. Whole cells
    are drawn with replacement. `statistic` takes weights (resamples, n), how often each place was drawn, and gives a
    value for each resample, (resamples,), or several, (resamples, k): the interval is (2,) or (2, k). Resamples without
    a value (NaN) do not count.

    NaN where the cells are fewer than 8, counted by their effective number: (sum of sizes)^2 / sum of sizes^2; and
    where half of the resamples have no value.
    """
    cell = cells_of(lon, lat, degrees)
    sizes = np.bincount(cell)
    few = not len(cell) or sizes.sum() ** 2 < FEWEST_CELLS * (sizes**2).sum()
    drawn = rng.multinomial(len(sizes), np.full(len(sizes), 1 / max(1, len(sizes))), size=1 if few else n_resamples)
    values = statistic(drawn[:, cell].astype(np.float64))
    missing = np.isnan(values).mean(0) > 0.5
    ends = [0.5 - confidence / 2, 0.5 + confidence / 2]
    return np.where(few | missing, np.nan, np.nanquantile(np.where(missing, 0.0, values), ends, axis=0))
