"""Places that are spread over more columns than a latitude and a longitude, and places that look like something else.

A column of hemispheres, minutes or seconds beside degrees that have no sign would be lost in silence, and every city of
the south and the west would stand on the other side. Such a file is refused, and one that only looks odd is told about.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from atlantis.errors import UserError
from atlantis.world.columns import plain
from atlantis.world.table import TextTable

_AXIS = r"(?:lat|lon|lng|long|latitude|longitude)"
_HEMISPHERE = re.compile(rf"n(?:or)?s|e(?:or)?w|{_AXIS}(?:ns|ew|hemi|hemisphere|dir|direction|ref|cardinal)|hemisphere")
_MINUTES = re.compile(rf"{_AXIS}(?:min|mins|minute|minutes|sec|secs|second|seconds)")
_SOUTH_OR_WEST = re.compile(r"[sw]|south|west|süd", re.I)
_ZERO = re.compile(r"0*\.?0*", re.ASCII)
_FEWEST = 5
"""Cities from which on an odd pattern is told about."""


def refuse_parts(table: TextTable, taken: dict[str, int]) -> None:
    """UserError for a latitude or longitude of which a part stands in a column that would not be read."""
    if "lat" not in taken or "lon" not in taken:
        return
    degrees = [*table.column(taken["lat"]), *table.column(taken["lon"])]
    signed = any(
        text.strip().startswith(("-", "\u2212")) or text.strip()[-1:].upper() in ("S", "W") for text in degrees
    )
    names = {plain(name) for name in table.header}
    for index, name in enumerate(table.header):
        texts = [text.strip() for text in table.column(index)]
        if _HEMISPHERE.fullmatch(plain(name)) and not signed and any(map(_SOUTH_OR_WEST.fullmatch, texts)):
            what, form = "the hemispheres", "33.87S, or -33.87"
        elif (
            _MINUTES.fullmatch(plain(name))
            and re.sub("min.*", "max", plain(name)) not in names  # a corner of a box
            and not all(map(_ZERO.fullmatch, texts))
        ):
            what, form = "a part of the degrees", "48 51.2 N, or 48.853"
        else:
            continue
        raise UserError(
            f"{table.source}, column {name!r}: holds {what}, which are read from one column with the degrees; write "
            f"{form}, and leave this column out"
        )


def strange_places(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> list[str]:
    """What speaks for the numbers lon, lat (n,) being no degrees, or being cut at a decimal comma."""
    if len(lon) < _FEWEST:
        return []
    if np.all(lon == np.rint(lon)) and np.all(lat == np.rint(lat)):
        return ["all places are whole degrees; see whether decimal commas have split them into two columns"]
    if np.abs(lat).max() <= np.pi / 2 and np.abs(lon).max() <= np.pi:
        return ["all places lie within a few degrees of 0, 0; see whether they are radians"]
    return []
