"""Geometry against an independent implementation: PROJ on a sphere of the same radius."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyproj import Geod

from atlantis.sphere import (
    EARTH_RADIUS_KM,
    HALF_CIRCUMFERENCE_KM,
    destination,
    haversine_km,
    lon_lat,
    unit_vectors,
    wrap_longitude,
)

SPHERE = Geod(a=EARTH_RADIUS_KM * 1000, b=EARTH_RADIUS_KM * 1000)

longitudes = st.floats(-180, 180)
latitudes = st.floats(-90, 90)
bearings = st.floats(0, 360)


def reference_km(lon1: float, lat1: float, lon2: float, lat2: float) -> float:
    return SPHERE.inv(lon1, lat1, lon2, lat2)[2] / 1000


@given(longitudes, latitudes, longitudes, latitudes)
def test_haversine_agrees_with_proj(lon1: float, lat1: float, lon2: float, lat2: float) -> None:
    # near the antipode the haversine form loses half its digits: about 0.2 m
    assert haversine_km(lon1, lat1, lon2, lat2) == pytest.approx(reference_km(lon1, lat1, lon2, lat2), abs=2e-3)


def check_destination(lon: float, lat: float, bearing: float, km: float) -> None:
    lon2, lat2, _ = SPHERE.fwd(lon, lat, bearing, km * 1000)
    found_lon, found_lat = destination(lon, lat, bearing, km)
    assert reference_km(float(found_lon), float(found_lat), lon2, lat2) < 1e-3
    assert -180 <= found_lon < 180 and -90 <= found_lat <= 90


@given(longitudes, st.floats(-89.999, 89.999), bearings, st.floats(0, HALF_CIRCUMFERENCE_KM))
def test_destination_agrees_with_proj(lon: float, lat: float, bearing: float, km: float) -> None:
    check_destination(lon, lat, bearing, km)


@pytest.mark.parametrize("lat", [90.0, -90.0])
def test_destination_from_a_pole(lat: float) -> None:
    for bearing in (0.0, 30.0, 135.0, 270.0):
        check_destination(20.0, lat, bearing, 1000.0)


@given(longitudes, latitudes, bearings, st.floats(0, HALF_CIRCUMFERENCE_KM))
def test_destination_is_as_far_as_asked(lon: float, lat: float, bearing: float, km: float) -> None:
    assert haversine_km(lon, lat, *destination(lon, lat, bearing, km)) == pytest.approx(km, abs=2e-3)


@given(longitudes, latitudes)
def test_unit_vectors_and_back(lon: float, lat: float) -> None:
    vector = unit_vectors(lon, lat)
    assert vector.shape == (3,) and np.linalg.norm(vector) == pytest.approx(1.0)
    for length in (1.0, 0.2, 7.0):
        assert haversine_km(lon, lat, *lon_lat(length * vector)) < 1e-3


def test_unit_vectors_have_the_axes_that_they_promise() -> None:
    found = unit_vectors([0, 90, 0, 180], [0, 0, 90, 0])
    np.testing.assert_allclose(found, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0]], atol=1e-15)


@given(st.floats(-1e4, 1e4), st.floats(-90, 90))
@example(float(np.nextafter(-180, -181)), 0.0)
def test_wrapping_a_longitude_moves_nothing(lon: float, lat: float) -> None:
    wrapped = wrap_longitude(lon)
    assert -180 <= wrapped < 180
    assert haversine_km(lon, lat, wrapped, lat) < 1e-3


def test_known_distances() -> None:
    assert haversine_km(0, 0, 180, 0) == pytest.approx(HALF_CIRCUMFERENCE_KM)
    assert haversine_km(0, -90, 123, 90) == pytest.approx(HALF_CIRCUMFERENCE_KM)
    assert haversine_km(179.5, 0, -179.5, 0) == pytest.approx(EARTH_RADIUS_KM * np.pi / 180)
    assert haversine_km(10, 50, 10, 50) == 0


def test_arrays_broadcast() -> None:
    lon, lat = np.array([0.0, 10.0, 20.0]), np.array([0.0, 10.0, 20.0])
    table = haversine_km(lon[:, None], lat[:, None], lon, lat)
    assert table.shape == (3, 3)
    np.testing.assert_array_equal(table, table.T)
    assert unit_vectors(lon.reshape(3, 1), lat.reshape(3, 1)).shape == (3, 1, 3)


def test_the_sphere_is_close_to_the_ellipsoid() -> None:
    # the module and SPEC say 0.15 % on average and 0.55 % at most
    uniform = np.random.Generator(np.random.PCG64(1)).random((4, 20_000))
    lon1, lon2 = 360 * uniform[:2] - 180
    lat1, lat2 = np.degrees(np.arcsin(2 * uniform[2:] - 1))
    exact = np.asarray(Geod(ellps="WGS84").inv(lon1, lat1, lon2, lat2)[2]) / 1000
    error = np.abs(haversine_km(lon1, lat1, lon2, lat2) / exact - 1)
    assert error.mean() < 0.002 and error.max() < 0.0057
