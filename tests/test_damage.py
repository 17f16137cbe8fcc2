"""Displacements that were planted radial or tangential must be read as such."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from scipy.stats import spearmanr

from atlantis.readout.damage import Displacement, rank_correlation, share_about_anywhere, tangential_share
from atlantis.sphere import bearing, destination, lon_lat

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


def test_rank_correlation_is_scipys_with_an_interval_that_covers() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        x = rng.normal(size=60)
        y = x + rng.normal(size=60) * 2
        r, low, high = rank_correlation(x, np.exp(y))
        assert r == pytest.approx(spearmanr(x, y)[0])
        covered += low < 6 / math.pi * math.asin(1 / math.sqrt(5) / 2) < high  # the normal distribution's own value
    assert 0.92 < covered / 300 < 0.98
    assert all(math.isnan(v) for v in rank_correlation(np.ones(9), np.arange(9.0)))
    assert rank_correlation(np.arange(9.0), np.arange(9.0))[0] == pytest.approx(1)
