"""The outline of the land, for every map of the project: Natural Earth 1:110m, public domain.

`scripts/build_coastlines.py` makes the table. It holds closed rings cut at the 180th meridian, so that they can be
filled on a flat map; the cuts themselves (and Antarctica's edge at the pole) are not coast and must not be drawn.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np


@cache
def _rings() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    table = json.loads(files("atlantis.world").joinpath("coastlines.json").read_text(encoding="utf-8"))
    rings = []
    for flat in table["rings"]:
        points = np.asarray(flat, dtype=np.float64).reshape(-1, 2)
        points.flags.writeable = False
        rings.append((points[:, 0], points[:, 1]))
    return tuple(rings)


def land() -> list[tuple[np.ndarray, np.ndarray]]:
    """Closed rings (lon [n], lat [n]) in degrees, to be filled with the even-odd rule; read-only arrays."""
    return list(_rings())


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
