"""Where is the damage? The displacement of each city's predicted place, seen from a virtual region.

The places are those of one frozen probe, at the first step and at a later one. Distances to one compact region pin
down only how far away a city is: a model that learns them may let its cities slide around that region at a constant
distance. If that is what happens, the displacement is mostly tangential.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from atlantis.sphere import bearing, haversine_km, lon_lat

N_CENTRES = 500


class Displacement(NamedTuple):
    """From one place to another, on the sphere: length in km, and direction in degrees clockwise from north, (n,)."""

    lon: np.ndarray
    lat: np.ndarray
    km: np.ndarray
    bearing: np.ndarray

    @classmethod
    def between(cls, lon1: np.ndarray, lat1: np.ndarray, lon2: np.ndarray, lat2: np.ndarray) -> Displacement:
        """The great-circle arcs from points 1 to points 2, as they leave points 1."""
        return cls(lon1, lat1, haversine_km(lon1, lat1, lon2, lat2), bearing(lon1, lat1, lon2, lat2))

    def of(self, rows: slice | np.ndarray) -> Displacement:
        """Those of some of the points."""
        return Displacement(self.lon[rows], self.lat[rows], self.km[rows], self.bearing[rows])

    def about(self, lon: np.ndarray | float, lat: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Radial and tangential parts in km, (n,) or as the centres (lon, lat) broadcast with it.

        Split in the plane that touches the sphere where the displacement begins: radial is positive away from the
        centre, tangential is positive clockwise as seen from it. Their squares add up to those of the length.
        """
        angle = np.radians(self.bearing - bearing(self.lon, self.lat, lon, lat))
        return -self.km * np.cos(angle), -self.km * np.sin(angle)


def tangential_share(radial: np.ndarray, tangential: np.ndarray) -> float:
    """Share of the squared displacement that is tangential: 1/2 if directions are isotropic, 1 if nothing is radial.

    NaN if nothing moved.
    """
    total = float((radial**2).sum() + (tangential**2).sum())
    return float((tangential**2).sum()) / total if total > 0 else float("nan")


def share_about_anywhere(moved: Displacement, seed: int, n_centres: int = N_CENTRES) -> tuple[float, float]:
    """The middle 95 % of the tangential shares about centres drawn uniformly from the sphere: the null's spread.

    The mean of these shares is 1/2 for any displacement, since bearings to a uniform centre are uniform. Their spread
    is not that of independent cities: neighbours move together, and a probe has few degrees of freedom.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    lon, lat = lon_lat(rng.normal(size=(n_centres, 3)))
    shares = [tangential_share(*moved.about(*centre)) for centre in zip(lon, lat, strict=True)]
    low, high = np.percentile(shares, [2.5, 97.5])
    return float(low), float(high)


def rank_correlation(x: np.ndarray, y: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Spearman's rank correlation of x and y (n,), with its interval; NaN where one of them does not vary.

    The interval is Fisher's, with the standard error sqrt((1 + r^2 / 2) / (n - 3)) of Bonett and Wright (2000).
    """
    nan = float("nan")
    if len(x) < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return nan, nan, nan
    r = float(stats.spearmanr(x, y).statistic)  # type: ignore[attr-defined]
    half = stats.norm.ppf(0.5 + confidence / 2) * np.sqrt((1 + r**2 / 2) / (len(x) - 3))
    z = np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15))
    return r, float(np.tanh(z - half)), float(np.tanh(z + half))
