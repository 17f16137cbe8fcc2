"""How well cities are placed: the scores of predicted places, for a group of cities at a time.

A new score is a function with `@score` and an entry in the catalogue. It then has a column in the probes' tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Num

from atlantis.sphere import haversine_km

LEAST_SPREAD = 0.01
"""Degrees, about a kilometre, which is the least that the task tells apart: within less, R2 has no meaning."""


@dataclass(frozen=True)
class Placed:
    """True and predicted places of n cities, degrees, all arrays (n,)."""

    lon: np.ndarray
    lat: np.ndarray
    pred_lon: np.ndarray
    pred_lat: np.ndarray

    @cached_property
    def km(self) -> np.ndarray:
        """Great-circle errors."""
        return haversine_km(self.lon, self.lat, self.pred_lon, np.clip(self.pred_lat, -90.0, 90.0))


SCORES: dict[str, Callable[[Placed], float]] = {}
"""By name, in the order of the columns."""


def score(function: Callable[[Placed], float]) -> Callable[[Placed], float]:
    """Have the function score every group of cities, by its name, which needs an entry in the catalogue."""
    SCORES[function.__name__] = function
    return function


@score
def lon_r2(places: Placed) -> float:
    return r2(places.lon, places.pred_lon)


@score
def lat_r2(places: Placed) -> float:
    return r2(places.lat, places.pred_lat)


@score
def lon_mae(places: Placed) -> float:
    return _mean(np.abs(places.lon - places.pred_lon))


@score
def lat_mae(places: Placed) -> float:
    return _mean(np.abs(places.lat - places.pred_lat))


@score
def mean_km(places: Placed) -> float:
    return _mean(places.km)


@score
def median_km(places: Placed) -> float:
    return float(np.median(places.km)) if len(places.km) else float("nan")


def variant_columns() -> list[str]:
    """Those of `variants.csv`."""
    return ["variant", "group", "n", *SCORES]


def metrics(
    lon: Num[np.ndarray, " n"],
    lat: Num[np.ndarray, " n"],
    pred_lon: Num[np.ndarray, " n"],
    pred_lat: Num[np.ndarray, " n"],
) -> dict[str, float]:
    """`n` and all `SCORES` of predicted places in degrees.

    R2 = 1 - residual / total sum of squares of longitude and of latitude (NaN where the truth hardly varies); mean
    absolute errors in degrees; mean and median great-circle error in km. Inside a tight group R2 means little: read
    its km. A group of no cities gives NaN throughout.
    """
    places = Placed(lon, lat, pred_lon, pred_lat)
    return {"n": len(lon), **{name: function(places) for name, function in SCORES.items()}}


def r2(true: Num[np.ndarray, " n"], predicted: Num[np.ndarray, " n"]) -> float:
    """Coefficient of determination of degrees.

    NaN for fewer than two values, and for a truth that varies by less than `LEAST_SPREAD`, as on a parallel: rounding
    errors alone would then give any number.
    """
    if len(true) < 2 or np.ptp(true) < LEAST_SPREAD:
        return float("nan")
    total = float(((true - true.mean()) ** 2).sum())
    return 1.0 - float(((true - predicted) ** 2).sum()) / total


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
