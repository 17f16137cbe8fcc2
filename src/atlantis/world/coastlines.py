"""The outline of the land, for every map of the project: Natural Earth 1:110m, public domain.

A finer one, from 1:50m, is for maps that are zoomed. `scripts/build_coastlines.py` makes the tables. They hold closed
rings cut at the 180th meridian, so that they can be filled on a flat map; the cuts themselves (and Antarctica's edge at
the pole) are not coast and must not be drawn.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np


@cache
def _rings(name: str = "coastlines") -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    table = json.loads(files("atlantis.world").joinpath(f"{name}.json").read_text(encoding="utf-8"))
    rings = []
    for flat in table["rings"]:
        points = np.asarray(flat, dtype=np.float64).reshape(-1, 2)
        points.flags.writeable = False
        rings.append((points[:, 0], points[:, 1]))
    return tuple(rings)


def land(fine: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    """Closed rings (lon [n], lat [n]) in degrees, to be filled with the even-odd rule; read-only arrays.

    `fine`: five times as many points, right within 5 km or so, but without islands of less than 20 km.
    """
    return list(_rings("coastlines_fine" if fine else "coastlines"))


def coastlines() -> list[tuple[np.ndarray, np.ndarray]]:
    """Polylines (lon [n], lat [n]) in degrees, longitudes in [-180, 180], none jumping across the seam at 180.

    Read-only arrays. Edges of `land` that only follow the border of the map are left out.
    """
    lines = []
    for lon, lat in _rings():
        on_seam, on_pole = np.abs(lon) == 180.0, np.abs(lat) == 90.0
        drawn = ~((on_seam[:-1] & on_seam[1:]) | (on_pole[:-1] & on_pole[1:]))  # per segment, [n - 1]
        # 1 where a stretch of drawn segments begins, -1 where it ends; the zeros close those at either end.
        edges = np.diff(np.concatenate([[0], drawn.astype(np.int8), [0]]))
        for start, stop in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            lines.append((lon[start : stop + 1], lat[start : stop + 1]))
    return lines
