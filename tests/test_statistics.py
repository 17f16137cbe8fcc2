"""Statistics against scipy, brute force and cases worked by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from atlantis.statistics import (
    bootstrap_interval,
    cell_bootstrap,
    cells_of,
    holm,
    hypervolume,
    interquartile_mean,
    pareto,
    probability_of_improvement,
    sign_flip_p,
)

scores = st.floats(-100, 100, allow_nan=False)


@given(arrays(float, st.integers(1, 8).map(lambda quarter: 4 * quarter), elements=scores))
def test_interquartile_mean_is_scipys_trimmed_mean_where_quarters_are_whole(x: np.ndarray) -> None:
    assert interquartile_mean(x) == pytest.approx(stats.trim_mean(x, 0.25), abs=1e-9)


def test_interquartile_mean_by_hand() -> None:
    assert interquartile_mean([1, 2, 9]) == pytest.approx((1 / 12 * 1 + 4 / 12 * 2 + 1 / 12 * 9) / 0.5)
    assert interquartile_mean([7]) == 7
    with pytest.raises(ValueError, match="no values"):
        interquartile_mean([])


def test_bootstrap_interval_is_scipys() -> None:
    x = np.random.Generator(np.random.PCG64(0)).exponential(size=12)
    ours = bootstrap_interval(x, np.random.Generator(np.random.PCG64(1)))
    theirs = stats.bootstrap((x,), np.mean, method="percentile", n_resamples=10_000, rng=2).confidence_interval
    assert ours == pytest.approx(tuple(theirs), abs=0.06)
    medians = bootstrap_interval(
        x, np.random.Generator(np.random.PCG64(1)), statistic=lambda row: float(np.median(row))
    )
    assert medians[0] <= np.median(x) <= medians[1]
    assert np.isnan(bootstrap_interval([1.0], np.random.Generator(np.random.PCG64(1)))).all()


@given(arrays(float, st.integers(2, 8), elements=scores.map(lambda x: round(x, 3))))
def test_sign_flip_p_is_scipys_exact_permutation_test(d: np.ndarray) -> None:
    def mean(x: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(x, axis=axis)

    peer = stats.permutation_test((d,), mean, permutation_type="samples", n_resamples=2**9, vectorized=True)
    assert sign_flip_p(d) == pytest.approx(min(1.0, peer.pvalue), abs=1e-12)


def test_sign_flip_p_of_few_and_of_many() -> None:
    assert sign_flip_p([1.0, 2.0, 3.0]) == 0.25
    rng = np.random.Generator(np.random.PCG64(0))
    assert sign_flip_p(rng.normal(3.0, 1.0, 30), rng) < 0.001
    assert sign_flip_p(rng.normal(0.0, 1.0, 30), rng) > 0.01
    with pytest.raises(ValueError, match="random generator"):
        sign_flip_p(np.ones(20))


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({}) == {}


@given(st.lists(scores, min_size=1, max_size=8), st.lists(scores, min_size=1, max_size=8))
def test_probability_of_improvement_is_mann_whitney(ours: list[float], theirs: list[float]) -> None:
    u = stats.mannwhitneyu(ours, theirs).statistic
    assert probability_of_improvement(ours, theirs) == pytest.approx(u / (len(ours) * len(theirs)))


@given(arrays(float, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.floats(-0.5, 1)))
def test_hypervolume_is_inclusion_and_exclusion(points: np.ndarray) -> None:
    clipped = points.clip(min=0)
    boxes = (
        (-1) ** (size + 1) * np.prod(np.min(clipped[list(chosen)], axis=0))
        for size in range(1, len(points) + 1)
        for chosen in combinations(range(len(points)), size)
    )
    assert hypervolume(points) == pytest.approx(sum(boxes), abs=1e-9)


def test_pareto_keeps_what_nothing_beats() -> None:
    points = [[1, 3], [2, 2], [3, 1], [1, 1], [2, 2], [2, 1]]
    assert pareto(points).tolist() == [True, True, True, False, True, False]


@given(st.floats(-180, 180), st.floats(-90, 90), st.sampled_from([3.0, 10.0, 45.0]))
def test_neighbours_are_in_few_cells(lon: float, lat: float, degrees: float) -> None:
    """A place and what is within a hundredth of a cell of it, over the antimeridian and near the poles too."""
    near = np.array([[dx, dy] for dx in (-1, 0, 1) for dy in (-1, 0, 1)]) * degrees / 100
    cells = cells_of((lon + near[:, 0] + 180) % 360 - 180, np.clip(lat + near[:, 1], -90, 90), degrees)
    assert len(set(cells.tolist())) <= 4 and cells.min() == 0


def test_cells_are_of_about_one_size() -> None:
    """Bands of 45 degrees have as many cells as make them about square: 3, 7, 7, 3."""
    v = np.random.default_rng(0).normal(size=(4_000, 3))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    sizes = np.bincount(cells_of(np.degrees(np.arctan2(v[:, 1], v[:, 0])), np.degrees(np.arcsin(v[:, 2])), 45.0))
    assert len(sizes) == 20 and sizes.min() > 150 and sizes.max() < 250


def weighted_mean(x: np.ndarray):
    return lambda weights: weights @ x / weights.sum(1)


def test_cells_are_drawn_as_wholes_and_the_interval_covers() -> None:
    """Places in a cell share their number: the interval is that of the cells' means, not of the places."""
    rng, covered, as_places = np.random.default_rng(1), 0, 0
    lon, lat = np.repeat(np.arange(-175.0, 180, 10), 20), np.zeros(720)
    for seed in range(300):
        x = np.repeat(rng.normal(size=36), 20) + 0.1 * rng.normal(size=720)
        low, high = cell_bootstrap(lon, lat, weighted_mean(x), np.random.default_rng(seed), n_resamples=400)
        covered += low < 0 < high
        as_places += abs(x.mean()) < 1.96 * x.std() / np.sqrt(720)
    assert 0.9 <= covered / 300 <= 0.98 and as_places / 300 < 0.5


@pytest.mark.filterwarnings("error")
def test_few_cells_and_resamples_without_a_value_give_no_interval() -> None:
    rng = np.random.default_rng(0)

    def interval(lon: np.ndarray, x: np.ndarray) -> np.ndarray:
        return cell_bootstrap(lon, np.zeros(len(lon)), weighted_mean(x), rng)

    assert np.isnan(interval(np.zeros(1), np.ones(1))).all()
    assert np.isnan(interval(np.arange(70.0), np.arange(70.0))).all(), "seven cells"
    assert np.isfinite(interval(np.arange(90.0), np.arange(90.0))).all()
    uneven = np.concatenate([np.zeros(100), np.arange(10, 120, 10.0)])
    assert np.isnan(interval(uneven, np.arange(111.0))).all(), "twelve cells, and one of them is nearly everything"
    assert interval(np.arange(90.0), np.ones(90)).tolist() == [1, 1]
    lon, lat = np.arange(0, 360.0, 10), np.zeros(36)
    none = cell_bootstrap(lon, lat, lambda weights: np.full(len(weights), np.nan), rng)
    some = cell_bootstrap(lon, lat, lambda weights: np.where(weights[:, 0] > 3, np.nan, weights.sum(1)), rng)
    assert np.isnan(none).all() and some.tolist() == [36, 36]
    both = cell_bootstrap(lon, lat, lambda weights: weights[:, :2], rng)
    assert both.shape == (2, 2) and (both[0] == 0).all()
