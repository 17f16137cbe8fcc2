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
