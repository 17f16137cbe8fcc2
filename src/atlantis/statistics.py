"""Intervals over seeds, folds and cities, and tests of methods that share their seeds. Arrays in, numbers out.

"95 %" has one meaning in the whole project: an interval of Student's t around the number that is shown, worked out on a
scale on which the quantity has no bound (`Scale`), so that neither end can pass one. The catalogue of metrics says
which has which. What the values are (seeds, folds, cities) decides how much their mean varies: docs/statistics.md has
the units, and the coverage as measured. Where there is no interval, its ends are NaN and `Interval.why` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from atlantis.scales import IDENTITY, Scale

Name = TypeVar("Name")
FEWEST_VALUES = 3
"""Values that an interval needs: of two, Student's t makes a span that says nothing."""

FEWEST_RESAMPLED = 8
"""Values that a bootstrap needs. Its percentiles cover 89 % at 8 where they promise 95, and 3 of 4 times at 3."""

FEWEST_CELLS = 8
"""Fewer cells than that, counted by their effective number, give no interval."""

TOO_FEW_CELLS = "the cities are neighbours"

MAX_EXACT = 16
"""Up to so many pairs, a sign-flip test goes through all signs."""

NAN = float("nan")
MIDDLE = [0.5 - 0.95 / 2, 0.5 + 0.95 / 2]  # not 0.025: the first has a rounding error that records were made with
"""The quantiles between which 95 % of resamples lie."""


# --- intervals


class Interval(NamedTuple):
    """Ends of a 95 % interval, of how many values, and, where both ends are NaN, why there is none."""

    low: float
    high: float
    n: int
    why: str = ""

    @property
    def exists(self) -> bool:
        return not self.why

    def holding(self, value: float) -> Interval:
        """The same, widened where it lies beside `value`."""
        if self.why or not np.isfinite(value):
            return self
        return self._replace(low=min(self.low, value), high=max(self.high, value))

    def within(self, low: float, high: float) -> Interval:
        """The same, cut to what the quantity can be. What is cut off holds no value: it covers as often as before."""
        return self if self.why else self._replace(low=max(self.low, low), high=min(self.high, high))


def seed_interval(values: ArrayLike, scale: Scale = IDENTITY) -> Interval:
    """95 % interval of the mean of values (n,), one of each seed (or base, or draw): Student's t on `scale`.

    It goes around the mean that is shown: forward(mean) -+ t * sd(forward(values)) / sqrt(n), taken back. So it holds
    the mean and stays within the bounds. No interval for fewer than 3 values, equal ones, or one at a bound.
    """
    return interval(values, scale)


def interval(values: ArrayLike, scale: Scale = IDENTITY, shared: float = 0.0, value: float | None = None) -> Interval:
    """95 % interval around `value` (the mean of values (n,)): Student's t on `scale`.

    `shared` is what the mean varies by beyond values that are independent, as a share of one value's variance: see
    `splits_share` and its like. The half width is t * sd * sqrt(1 / n + shared), all on the scale.
    """
    x = np.asarray(values, dtype=np.float64)
    why = _why_not(x, scale)
    if why:
        return Interval(NAN, NAN, len(x), why)
    centre = np.float64(x.mean() if value is None else value)
    if not scale.holds(centre):
        return Interval(NAN, NAN, len(x), "the number is at its bound")
    with np.errstate(over="ignore"):
        spread = scale.forward(x).std(ddof=1) * np.sqrt(1 / len(x) + shared)
    return _around(centre, spread, len(x) - 1, scale, len(x))


def splits_share(n_test: int, n_train: int) -> float:
    """`shared` of scores over repeated splits or folds of the same cities: n_test / n_train.

    The correction of Nadeau and Bengio (2003). Each score is of other cities than its probe was fitted on, but the
    probes have most of theirs in common. K folds have 1 / (K - 1).
    """
    return n_test / n_train


def probes_share(n_train: int, n_left: int) -> float:
    """`shared` of scores on the same cities by probes fitted on `n_train` of n_train + n_left others.

    Only the fit varies, and less from one draw to the next than over other cities: each has most of its cities in
    common with the rest.
    """
    return n_train / n_left


def fold_probes_share(n_folds: int) -> float:
    """`shared` of scores on the same cities by the probes of K folds: K - 2, the jackknife's (Tukey, 1958).

    The variance of their mean is sum((x - mean)^2) (K - 1) / K, leaving out a fold of the cities at a time.
    """
    return n_folds - 2.0


def mean_over_cities(values: ArrayLike, scale: Scale = IDENTITY, cell: ArrayLike | None = None) -> Interval:
    """95 % interval of the mean of many values (n,), which move together within a `cell` (n,); n counts cells.

    The sandwich estimate by clusters (Liang and Zeger, 1986), Student's t, taken to the scale by its slope at the mean
    (delta method). Degrees of freedom are those of cells of unequal size: (sum of sizes)^2 / (sum of squared sizes) - 1
    (after Carter, Schnepel and Steigerwald, 2017). Without `cell`, each value stands for itself.
    """
    x = np.asarray(values, dtype=np.float64)
    _, index, sizes = np.unique(np.arange(len(x)) if cell is None else cell, return_inverse=True, return_counts=True)
    n_cells = len(sizes)
    freedom = len(x) ** 2 / (sizes**2).sum() - 1 if n_cells else 0.0
    mean = x.mean() if n_cells else np.float64(NAN)
    why = "" if freedom >= FEWEST_CELLS - 1 else _few(n_cells) if cell is None else TOO_FEW_CELLS
    why = why or ("" if np.isfinite(x).all() else "a value is missing")
    why = why or ("" if scale.holds(mean) else "the number is at its bound")
    why = why or ("all values are the same" if _constant(x) else "")
    if why:
        return Interval(NAN, NAN, n_cells, why)
    sums = np.bincount(index, x - mean)
    with np.errstate(over="ignore"):
        error = np.sqrt(n_cells / (n_cells - 1) * (sums**2).sum()) / len(x)
    return _around(mean, error * abs(scale.slope(mean)), freedom, scale, n_cells)


def slope_interval(x: ArrayLike, y: ArrayLike) -> tuple[float, Interval]:
    """Slope through the origin of y on x, least squares, and its 95 % interval by Student's t; both (n,) or (n, d).

    The error allows for a spread of y that differs from row to row (White, 1980, with n / (n - 1)). The d values of a
    row may depend on each other: the row counts once (Liang and Zeger, 1986).
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (x, y))
    x, y = (values[:, None] if values.ndim == 1 else values for values in (x, y))
    size = float((x * x).sum())
    if len(x) < FEWEST_VALUES or size == 0:
        why = _few(len(x)) if len(x) < FEWEST_VALUES else "all values are the same"
        return NAN, Interval(NAN, NAN, len(x), why)
    slope = float((x * y).sum()) / size
    error = np.sqrt(len(x) / (len(x) - 1) * ((x * (y - slope * x)).sum(axis=1) ** 2).sum()) / size
    if error <= 1e-12 * max(abs(slope), 1.0):  # all on one line, up to rounding
        return slope, Interval(NAN, NAN, len(x), "all values are the same")
    return slope, _around(np.float64(slope), error, len(x) - 1, IDENTITY, len(x))


def log_normal_mean(values: ArrayLike) -> Interval:
    """The interval of the mean of log-normal values (k,), on the log scale.

    log(mean) has the standard error sqrt(s^2 / k + s^4 / (2 (k - 1))), s being the deviation of the values' logarithms
    (Cox's method, in Zhou and Gao, 1997), here with Student's t. No interval for fewer than three values, equal ones,
    or one of 0.
    """
    x = np.asarray(values, dtype=np.float64)
    k, mean = len(x), x.mean()
    if k < FEWEST_VALUES or x.min() <= 0 or np.ptp(x) <= 1e-9 * mean:
        return Interval(NAN, NAN, k, _few(k) if k < FEWEST_VALUES else "a value is 0, or all are the same")
    variance = float(np.log(x).var(ddof=1))
    half = stats.t.ppf(0.975, k - 1) * np.sqrt(variance / k + variance**2 / (2 * (k - 1)))
    return Interval(float(mean * np.exp(-half)), float(mean * np.exp(half)), k)


def _around(centre: np.float64, error: float, freedom: float, scale: Scale, n: int) -> Interval:
    half = stats.t.ppf(0.975, freedom) * error
    with np.errstate(over="ignore", invalid="ignore"):
        ends = [float(scale.back(scale.forward(centre) + side * half)) for side in (-1, 1)]
    if not np.isfinite(ends).all():
        return Interval(NAN, NAN, n, "the values differ too widely")
    low, high = min(ends), max(ends)
    return Interval(min(low, float(centre)), max(high, float(centre)), n)  # rounding may have moved an end past it


def _why_not(x: np.ndarray, scale: Scale) -> str:
    """Why values have no interval, or nothing."""
    if len(x) < FEWEST_VALUES:
        return _few(len(x))
    if not np.isfinite(x).all():
        return "a value is missing"
    if not scale.holds(x):
        return "a value is at or beyond its bound"
    return "all values are the same" if _constant(x) else ""


def _few(n: int) -> str:
    return {0: "no values", 1: "one value", 2: "two values"}.get(n, "too few values")


def _constant(x: np.ndarray) -> bool:
    """Whether values differ by no more than rounding."""
    return bool(np.ptp(x) <= 1e-12 * np.abs(x).max())


def bootstrap_interval(
    values: ArrayLike,
    rng: np.random.Generator,
    statistic: Callable[[np.ndarray], float] | None = None,
    n_resamples: int = 10_000,
) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron, 1979) of a statistic (the mean) of values (n,), one for each seed.

    For a statistic without a formula. NaN for fewer than 8 values, of which it would cover too little; it covers 89 %
    at 8 and at 10 where 95 % is promised (docs/statistics.md). For two methods that share their seeds give the
    differences.
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) < FEWEST_RESAMPLED:
        return NAN, NAN
    drawn = x[rng.integers(len(x), size=(n_resamples, len(x)))]
    of_resamples = drawn.mean(1) if statistic is None else np.array([statistic(row) for row in drawn])
    low, high = np.quantile(of_resamples, MIDDLE)
    return float(low), float(high)


# --- methods side by side


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of the middle half of values (n,): a quarter is cut from either end, in fractions where n / 4 is none.

    After the IQM that Agarwal et al. (2021, "Deep reinforcement learning at the edge of the statistical precipice")
    recommend, but not what their rliable prints: that cuts whole values (scipy's `trim_mean`), so of three it takes the
    plain mean, and of ten the middle six. The two are equal where n / 4 is whole. Raises ValueError for no values.
    """
    x = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if not len(x):
        raise ValueError("the interquartile mean of no values")
    ends = np.arange(len(x) + 1) / len(x)  # value i stands for the quantiles from ends[i] to ends[i + 1]
    inside = np.clip(ends[1:], 0.25, 0.75) - np.clip(ends[:-1], 0.25, 0.75)
    return float(inside @ x / 0.5)


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
    # Patterns whose sums are equal may differ by rounding, and must count as equal.
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
    # No band has more than 2 * n_bands cells, so cells of two bands never share a number.
    return np.unique(band * 4 * n_bands + column, return_inverse=True)[1]


def cell_bootstrap(
    lon: ArrayLike,
    lat: ArrayLike,
    statistic: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
    degrees: float = 10.0,
    n_resamples: int = 1_000,
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
    # Where there is no interval one draw is enough: it gives the result its shape.
    drawn = rng.multinomial(len(sizes), np.full(len(sizes), 1 / max(1, len(sizes))), size=1 if few else n_resamples)
    values = statistic(drawn[:, cell].astype(np.float64))
    missing = np.isnan(values).mean(0) > 0.5
    return np.where(few | missing, np.nan, np.nanquantile(np.where(missing, 0.0, values), MIDDLE, axis=0))
