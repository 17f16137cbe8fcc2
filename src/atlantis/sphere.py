"""Geometry on a spherical Earth: arrays in, arrays out.

Angles are degrees at every boundary (longitude first, as in `lon, lat`), distances are kilometres.
The Earth is a sphere of radius 6371 km; against WGS84 geodesics that is off by 0.15 % on average.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

EARTH_RADIUS_KM = 6371.0
HALF_CIRCUMFERENCE_KM = float(np.pi * EARTH_RADIUS_KM)

Floats = NDArray[np.float64]


def haversine_km(lon1: ArrayLike, lat1: ArrayLike, lon2: ArrayLike, lat2: ArrayLike) -> Floats:
    """Great-circle distance in km between points in degrees; the arguments broadcast.

    The haversine form (Sinnott, "Virtues of the Haversine", Sky & Telescope 68, 1984) keeps its
    precision for small distances. Longitudes need not be wrapped; latitudes are used as they come.
    """
    lon1, lat1, lon2, lat2 = (np.radians(np.asarray(x, dtype=np.float64)) for x in (lon1, lat1, lon2, lat2))
    h = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    # Between antipodes rounding may take h above 1.
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(h, 0.0, 1.0)))


def destination(lon: ArrayLike, lat: ArrayLike, bearing: ArrayLike, distance_km: ArrayLike) -> tuple[Floats, Floats]:
    """Where one arrives from (lon, lat) after `distance_km` along the great circle that starts at `bearing`.

    Bearings are degrees clockwise from north. Returns (lon, lat) with lon in [-180, 180).
    """
    lon, lat, bearing = (np.radians(np.asarray(x, dtype=np.float64)) for x in (lon, lat, bearing))
    angle = np.asarray(distance_km, dtype=np.float64) / EARTH_RADIUS_KM
    x = np.cos(lat) * np.cos(angle) - np.sin(lat) * np.sin(angle) * np.cos(bearing)
    y = np.sin(angle) * np.sin(bearing)
    z = np.sin(lat) * np.cos(angle) + np.cos(lat) * np.sin(angle) * np.cos(bearing)
    # Not arcsin(z), which loses half of the digits near a pole.
    return wrap_longitude(np.degrees(lon + np.arctan2(y, x))), np.degrees(np.arctan2(z, np.hypot(x, y)))


def bearing(lon1: ArrayLike, lat1: ArrayLike, lon2: ArrayLike, lat2: ArrayLike) -> Floats:
    """Direction in which the great circle leaves point 1 for point 2: degrees clockwise from north, in [-180, 180]."""
    lon1, lat1, lon2, lat2 = (np.radians(np.asarray(x, dtype=np.float64)) for x in (lon1, lat1, lon2, lat2))
    east = np.sin(lon2 - lon1) * np.cos(lat2)
    north = np.cos(lat1) * np.sin(lat2) - np.sin(lat1) * np.cos(lat2) * np.cos(lon2 - lon1)
    return np.degrees(np.arctan2(east, north))


def wrap_longitude(lon: ArrayLike) -> Floats:
    """Longitude brought into [-180, 180)."""
    turn = (np.asarray(lon, dtype=np.float64) + 180.0) % 360.0
    return np.where(turn == 360.0, 0.0, turn) - 180.0  # rounding makes 360 of what lies just below 0


def unit_vectors(lon: ArrayLike, lat: ArrayLike) -> Floats:
    """Points in degrees as unit vectors: shape (..., 3), x towards (0, 0), z towards the north pole."""
    lon, lat = (np.radians(np.asarray(x, dtype=np.float64)) for x in (lon, lat))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def lon_lat(vectors: ArrayLike) -> tuple[Floats, Floats]:
    """The inverse of `unit_vectors` for vectors of any length > 0: (lon, lat) in degrees, shape (...)."""
    v = np.asarray(vectors, dtype=np.float64)
    return np.degrees(np.arctan2(v[..., 1], v[..., 0])), np.degrees(
        np.arctan2(v[..., 2], np.hypot(v[..., 0], v[..., 1]))
    )
