"""Statistics against scipy, brute force and cases worked by hand; intervals against planted data they should cover."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from atlantis.scales import BELOW_ONE, IDENTITY, LOG, SHARE, Scale
from atlantis.statistics import (
    bootstrap_interval,
    cell_bootstrap,
    cells_of,
    holm,
    hypervolume,
    interquartile_mean,
    interval,
    log_normal_mean,
    mean_over_cities,
    pareto,
    probability_of_improvement,
    seed_interval,
    sign_flip_p,
)
from scripts import statistics_page

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
    for few in (x[:1], x[:3], x[:7]):
        assert np.isnan(bootstrap_interval(few, np.random.Generator(np.random.PCG64(1)))).all(), "it would not cover"


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


# --- intervals

INSIDE = {IDENTITY: (-5.0, 5.0), LOG: (1e-3, 1e4), BELOW_ONE: (-20.0, 0.999), SHARE: (0.001, 0.999)}
anywhere = st.one_of(st.floats(-3, 3), st.sampled_from([0.0, 1.0, -1e200, 1e200, 1e-300, float("nan"), float("inf")]))


@pytest.mark.parametrize("scale", INSIDE, ids=lambda scale: scale.name)
def test_an_interval_is_students_on_the_scale(scale: Scale) -> None:
    low, high = INSIDE[scale]
    x = np.random.Generator(np.random.PCG64(3)).uniform(low, high, 4)
    y = np.asarray(scale.forward(x))
    half = stats.t.ppf(0.975, 3) * y.std(ddof=1) / 2
    ends = sorted(np.asarray(scale.back(scale.forward(np.float64(x.mean())) + np.array([-half, half]))))
    assert seed_interval(x, scale)[:2] == pytest.approx(tuple(ends), rel=1e-9)
    wider = interval(x, scale, shared=0.75, value=float(x[0]))
    ends = sorted(np.asarray(scale.back(y[0] + np.array([-2 * half, 2 * half]))))
    assert wider[:2] == pytest.approx(tuple(ends), rel=1e-9)


def test_an_interval_by_hand() -> None:
    # t(0.975, 2) = 4.303; the logarithms of 100, 1000 and 10000 have a standard deviation of log 10
    low, high, n, why = interval([100.0, 1_000.0, 10_000.0], LOG, value=1_000.0)
    assert (n, why) == (3, "") and high == pytest.approx(1_000 * 10 ** (4.3026527 / 3**0.5))
    assert low * high == pytest.approx(1e6)
    r2 = seed_interval([0.9, 0.99, 0.999], BELOW_ONE)
    assert r2.low < 0.963 < r2.high < 1, "Student's t on R2 itself would go to 1.1"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", INSIDE, ids=lambda scale: scale.name)
@given(values=st.lists(anywhere, max_size=6), shared=st.floats(0, 4))
def test_an_interval_holds_its_number_within_the_bounds_or_says_why_not(
    scale: Scale, values: list[float], shared: float
) -> None:
    for around in (interval(values, scale, shared), mean_over_cities(values * 3, scale, list(range(len(values))) * 3)):
        if around.exists:
            mean = np.mean(values)
            assert scale.low <= around.low <= mean * (1 + 1e-12 * np.sign(mean)) + 1e-12
            assert mean - 1e-12 <= around.high * (1 + 1e-12 * np.sign(around.high)) and around.high <= scale.high
        else:
            assert around.why and np.isnan([around.low, around.high]).all()


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([], "no values"), ([1.0], "one value"), ([1.0, 2.0], "two values"), ([5.0] * 4, "all values are the same"),
        ([0.1 + 0.2, 0.3, 0.3], "all values are the same"), ([0.0, 1.0, 2.0], "a value is at or beyond its bound"),
        ([float("nan"), 1.0, 2.0], "a value is missing"),
    ],
)  # fmt: skip
def test_no_interval_and_a_word_why(values: list[float], why: str) -> None:
    assert seed_interval(values, LOG).why == why


def test_a_mean_over_cities_without_cells_is_students() -> None:
    x = np.random.Generator(np.random.PCG64(4)).exponential(size=30)
    low, high = stats.t.interval(0.95, 29, loc=x.mean(), scale=stats.sem(x))
    assert mean_over_cities(x)[:2] == pytest.approx((low, high))
    half = (high - low) / 2 / x.mean()
    assert mean_over_cities(x, LOG)[:2] == pytest.approx((x.mean() * np.exp(-half), x.mean() * np.exp(half)))
    pairs = mean_over_cities(np.repeat(x, 2), IDENTITY, np.repeat(np.arange(30), 2))
    assert pairs[:3] == pytest.approx((low, high, 30)), "two cities that are one count once"
    assert mean_over_cities(x, IDENTITY, np.arange(30) % 7).why == "the cities are neighbours"
    assert mean_over_cities(np.append(np.zeros(900), x), IDENTITY, np.append(np.zeros(900), np.arange(30))).why, (
        "nearly all cities in one of 30 cells"
    )


def test_cells_are_neighbours_of_about_one_area() -> None:
    rng = np.random.Generator(np.random.PCG64(5))
    lon, lat = rng.uniform(-180, 180, 200_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 200_000)))
    cell, sizes = np.unique(cells_of(lon, lat, 10.0), return_counts=True)
    assert 400 < len(cell) < 430 and sizes.min() / sizes.mean() > 0.5 and sizes.max() / sizes.mean() < 1.5
    near = cells_of([11.0, 19.0, 21.0], [1.0, 9.0, 9.0], 10.0)
    assert near[0] == near[1] != near[2]


# --- how often they cover


@pytest.fixture(scope="module")
def measured() -> dict[str, float]:
    return json.loads(statistics_page.RECORD.read_text(encoding="utf-8"))


def test_what_is_promised_is_kept(measured: dict[str, float]) -> None:
    assert all(90 <= measured[name] <= 98 for name in statistics_page.PROMISED)
    assert all(measured[name] < 90 for name in ("bootstrap_3", "bootstrap_5", "virtual_plain", "cities_plain"))
    assert measured["bootstrap_8"] > 87


@pytest.mark.parametrize("name", [name for name in statistics_page.SIMULATIONS if name != "resampled_cells"])
def test_coverage_is_as_recorded(name: str, measured: dict[str, float]) -> None:
    for kind, share in statistics_page.coverage(name, 250, seed=1).items():
        assert share == pytest.approx(measured[kind], abs=10 if measured[kind] < 90 else 5)


def test_the_page_is_that_of_the_measurements(measured: dict[str, float]) -> None:
    prose = statistics_page.PROSE.read_text(encoding="utf-8")
    page = statistics_page.PAGE.read_text(encoding="utf-8")
    assert page == statistics_page.page(prose, measured), "run scripts/statistics_page.py"


# --- cells of neighbouring cities


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


def test_the_mean_of_log_normal_values_by_hand() -> None:
    found = log_normal_mean([100.0, 1_000.0, 10_000.0])  # the logarithms' variance is log(10)^2
    variance = np.log(10) ** 2
    half = stats.t.ppf(0.975, 2) * np.sqrt(variance / 3 + variance**2 / 4)
    assert found[:3] == pytest.approx((3_700 * np.exp(-half), 3_700 * np.exp(half), 3))
