"""Displacements that were planted radial or tangential must be read as such."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from scipy.stats import spearmanr

from atlantis.readout.damage import (
    Anywhere,
    Displacement,
    Shift,
    rank_correlation,
    rank_correlations,
    share_about_anywhere,
    tangential_share,
)
from atlantis.sphere import bearing, destination, haversine_km, lon_lat, unit_vectors

CENTRE = (-35.0, 35.0)
degrees = st.tuples(st.floats(-179, 179), st.floats(-85, 85))


def cities(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    return lon_lat(np.random.default_rng(0).normal(size=(n, 3)))


def moved(turn: float | np.ndarray, km: float | np.ndarray) -> Displacement:
    """All cities go `km` at an angle of `turn` degrees from the direction to the centre."""
    lon, lat = cities()
    return Displacement.between(lon, lat, *destination(lon, lat, bearing(lon, lat, *CENTRE) + turn, km))


@given(degrees, degrees)
@settings(max_examples=100)
def test_bearings_are_pyprojs(a: tuple[float, float], b: tuple[float, float]) -> None:
    forward, _, metres = Geod(a=6_371_000, b=6_371_000).inv(*a, *b)
    if 1_000 < metres < 19_900_000:
        assert abs((bearing(*a, *b) - forward + 180) % 360 - 180) < 1e-6


def test_a_planted_direction_is_found() -> None:
    planted = ((0, -300, 0), (180, 300, 0), (90, 0, -300), (-90, 0, 300), (60, -150, -260))
    for turn, radial, tangential in planted:
        found = moved(turn, 300.0).about(*CENTRE)
        np.testing.assert_allclose(found[0], radial, atol=1)
        np.testing.assert_allclose(found[1], tangential, atol=1)
    assert tangential_share(*moved(90, 300.0).about(*CENTRE)) == pytest.approx(1)
    assert tangential_share(*moved(180, 300.0).about(*CENTRE)) == pytest.approx(0)


def test_the_parts_are_those_of_the_whole() -> None:
    found = moved(np.linspace(0, 700, 400), np.linspace(0, 9_000, 400))
    radial, tangential = found.about(*CENTRE)
    np.testing.assert_allclose(np.hypot(radial, tangential), found.km)
    assert math.isnan(tangential_share(np.zeros(3), np.zeros(3)))


def test_clockwise_is_as_seen_from_the_centre() -> None:
    """East of a centre on the equator, clockwise is southwards."""
    south = Displacement.between(np.array([10.0]), np.array([0.0]), np.array([10.0]), np.array([-1.0]))
    radial, tangential = south.about(0.0, 0.0)
    assert tangential[0] == pytest.approx(111.19, abs=0.01) and radial[0] == pytest.approx(0, abs=1e-6)


def test_isotropic_displacement_is_half_tangential() -> None:
    rng = np.random.default_rng(1)
    found = moved(rng.uniform(0, 360, 400), rng.exponential(300, 400))
    assert tangential_share(*found.about(*CENTRE)) == pytest.approx(0.5, abs=0.08)
    low, high = share_about_anywhere(found, seed=0)
    assert 0.35 < low < 0.5 < high < 0.65


def test_the_nulls_spread_knows_that_neighbours_move_together() -> None:
    """The whole map turned about an axis: one degree of freedom, and shares far from 1/2 are nothing special."""
    lon, lat = cities()
    low, high = share_about_anywhere(Displacement.between(lon, lat, lon + 5, lat), seed=0)
    assert low < 0.4 and high > 0.6
    assert (low, high) == share_about_anywhere(Displacement.between(lon, lat, lon + 5, lat), seed=0)


def test_the_share_about_anywhere_is_that_about_each_centre() -> None:
    """The vectors' shortcut and the bearings' long way, centre by centre."""
    found = moved(np.linspace(0, 700, 400), np.linspace(0, 9_000, 400))
    lon, lat = lon_lat(np.random.Generator(np.random.PCG64(3)).normal(size=(40, 3)))
    shares = [tangential_share(*found.about(*centre)) for centre in zip(lon, lat, strict=True)]
    assert share_about_anywhere(found, seed=3, n_centres=40) == pytest.approx(tuple(np.percentile(shares, [2.5, 97.5])))
    still = Displacement.between(*cities(), *cities())
    assert np.isnan(share_about_anywhere(still, seed=0)).all()


def test_a_planted_shift_is_found_and_is_all_that_changed() -> None:
    first = unit_vectors(*cities())
    now = first + 0.5 * unit_vectors(40.0, -20.0)
    shift = Shift.between(first, now, first)
    assert shift == pytest.approx((0.5, 40.0, -20.0, 1.0))
    other = np.random.default_rng(0).normal(size=first.shape) * 0.5 / math.sqrt(3)
    half = Shift.between(first, now + other, first + other)
    assert half.length == pytest.approx(0.5) and half.share == pytest.approx(0.5, abs=0.05)
    none = Shift.between(first, first, first)
    assert none.length == 0 and np.isnan([none.lon, none.lat, none.share]).all()


def clustered(rng: np.random.Generator, n_clusters: int = 60, size: int = 5) -> tuple[np.ndarray, ...]:
    """lon, lat, and two unrelated numbers, of places in clusters, each of which shares most of its numbers."""
    centres = np.repeat(rng.normal(size=(n_clusters, 3)), size, axis=0)
    lon, lat = lon_lat(centres / np.linalg.norm(centres, axis=1, keepdims=True) + rng.normal(size=centres.shape) * 0.02)
    x, y = (np.repeat(rng.normal(size=n_clusters), size) + 0.3 * rng.normal(size=n_clusters * size) for _ in range(2))
    return lon, lat, x, y


def test_the_interval_of_a_correlation_knows_that_neighbours_are_alike() -> None:
    """Of planted pairs that are unrelated, 95 % or so hold 0; with intervals as of independent cities half do."""
    rng = np.random.default_rng(2)
    covered = as_independent = 0
    for seed in range(150):
        lon, lat, x, y = clustered(rng)
        found = rank_correlations(y, {"x": x}, lon, lat, seed)
        r, low, high = found["x"]
        assert r == pytest.approx(spearmanr(x, y)[0]) and low < r < high
        covered += low < 0 < high
        as_independent += abs(r) < 1.96 / math.sqrt(len(x))
    assert 0.9 <= covered / 150 <= 0.98 and as_independent / 150 < 0.7


def test_resampled_ranks_are_those_of_the_repeated_cities() -> None:
    """A bootstrap by weights is one by repetition, ties included: cells of two cities each, resampled by hand."""
    rng = np.random.default_rng(4)
    lon, lat = np.repeat(np.arange(-175.0, 180, 30), 2), np.zeros(24)  # in the order of their cells
    x, y = rng.integers(4, size=24).astype(float), rng.normal(size=24)
    drawn = np.random.Generator(np.random.PCG64(7)).multinomial(12, np.full(12, 1 / 12), size=500)
    rows = [np.repeat(np.arange(24), np.repeat(weights, 2)) for weights in drawn]
    values = [spearmanr(x[row], y[row])[0] for row in rows]
    _, low, high = rank_correlations(y, {"x": x}, lon, lat, 7)["x"]
    assert (low, high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_a_correlation_about_centres_that_mean_nothing() -> None:
    """Displacement that falls off from a place correlates with the distance to many other places too."""
    lon, lat = cities()
    away = haversine_km(lon, lat, *CENTRE)
    anywhere = Anywhere(lon, lat, 1, seed=0)
    mean, low, high = anywhere.correlations(-away)
    assert abs(mean) < 0.1 and low < -0.9 and high > 0.9
    noise = np.random.default_rng(5).normal(size=len(lon))
    mean, low, high = anywhere.correlations(noise)
    assert abs(mean) < 0.02 and -0.2 < low < 0 < high < 0.2
    assert Anywhere(lon, lat, 2, seed=0).correlations(noise) == Anywhere(lon, lat, 2, seed=0).correlations(noise)
    assert np.isnan(anywhere.correlations(np.ones(len(lon)))).all()


@pytest.mark.filterwarnings("error")
def test_what_does_not_vary_has_no_correlation_and_what_is_small_no_interval() -> None:
    lon, lat = cities(9)
    away = np.arange(9.0)
    found = rank_correlations(away, {"same": away, "constant": np.ones(9)}, lon, lat, 0)
    assert found["same"][0] == pytest.approx(1) and np.isnan(found["constant"]).all()
    assert np.isnan([*rank_correlations(np.ones(9), {"x": away}, lon, lat, 0)["x"]]).all()
    near = rank_correlations(away, {"x": away[::-1]}, lon / 100, lat / 100, 0)["x"]
    assert near[0] == pytest.approx(-1) and np.isnan(near[1:]).all(), "all in one cell"
    assert math.isnan(rank_correlation(np.arange(2.0), np.arange(2.0)))
