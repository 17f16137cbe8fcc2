"""Places as people write them: decimal degrees, degrees with minutes and seconds, and both of a place in one column.

Every form is read in one way only. What could mean two things is refused with its line: the letter O is east in German
and west in French, and of two bare numbers in brackets either may be the longitude.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from atlantis.world.columns import plain
from atlantis.world.table import TextTable

Floats = NDArray[np.float64]

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d*", re.ASCII)
_LETTER = r"[NSEWnsw]|(?<=[\s°'\"])e"
_WITH_LETTER = re.compile(rf"(?:(?P<before>[NSEWnsw])\s*(?P<a>.*)|(?P<b>.*?)\s*(?P<after>{_LETTER}))", re.ASCII)
_SEXAGESIMAL = re.compile(
    r"(?P<sign>[+-]?)(?P<d>\d{1,3})\s*(?P<mark>[°: -])\s*(?P<m>\d{1,2}(?:[.,]\d*)?)\s*"
    r"(?:['m: -]\s*(?:(?P<s>\d{1,2}(?:[.,]\d*)?)\s*(?:\"|s)?)?)?",
    re.ASCII,
)
_PACKED = re.compile(r"(\d{2,3})(\d\d)(\d\d)?", re.ASCII)
_SIGNS = str.maketrans(
    {"−": "-", "–": "-", "º": "°", "˚": "°", "′": "'", "’": "'", "‘": "'", "´": "'", "`": "'", "ʹ": "'", "″": '"'}
    | {"”": '"', "“": '"', "ʺ": '"', "\xa0": " ", "\u202f": " ", "\u2009": " ", "\ufeff": ""}
)
_LONGEST = 400
"""Characters of a place; patterns need not be tried on more."""
_AXES = {"lat": ("N", "S"), "lon": ("E", "W")}
_PACKED_WIDTH = {"lat": (4, 6), "lon": (5, 7)}


def degrees(text: str, axis: str) -> float | None:
    """Degrees of a latitude (axis "lat") or longitude ("lon"), north and east positive; None if it is not clear.

    >>> [degrees(text, "lat") for text in ("48.5", "48,5", "48.5S", "48°30'N", "S 48 30 0", "48.5E")]
    [48.5, 48.5, -48.5, 48.5, -48.5, None]
    """
    if len(text) > _LONGEST:
        return None
    text = text.translate(_SIGNS).strip().replace("''", '"').replace("deg", "°")
    letter = ""
    if match := _WITH_LETTER.fullmatch(text):
        letter = (match["before"] or match["after"]).upper()
        text = (match["a"] if match["before"] else match["b"]).strip()
        if letter not in _AXES[axis] or text.startswith("-"):
            return None
    value = _unsigned_form(text, axis, bool(letter))
    return -value if value is not None and letter in ("S", "W") else value


def _unsigned_form(text: str, axis: str, lettered: bool) -> float | None:
    """Degrees of a text without its letter."""
    bare = text.removesuffix("°").rstrip()
    if lettered and bare.isdecimal() and len(bare) in _PACKED_WIDTH[axis] and (match := _PACKED.fullmatch(bare)):
        width = len(bare) - (2 if len(bare) > 5 else 0) - 2  # 4851N is 48°51'N, as in UN/LOCODE
        match = re.fullmatch(rf"(\d{{{width}}})(\d\d)(\d\d)?", bare, re.ASCII) or match
        return _sum(match[1], match[2], match[3] or "0", "")
    if NUMBER.fullmatch(bare) or _COMMA.fullmatch(bare):
        return float(bare.replace(",", "."))
    match = _SEXAGESIMAL.fullmatch(text)
    # Bare "48 51" or "48:51" may be anything; a degree sign or a letter makes it a place.
    if match is None or not (lettered or match["mark"] == "°"):
        return None
    return _sum(match["d"], match["m"], match["s"] or "0", match["sign"])


def _sum(whole: str, minutes: str, seconds: str, sign: str) -> float | None:
    m, s = (float(part.replace(",", ".")) for part in (minutes, seconds))
    if m >= 60 or s >= 60 or (s and not m.is_integer()):
        return None
    value = int(whole) + m / 60 + s / 3600
    return -value if sign == "-" else value


def axis_of(table: TextTable, index: int, texts: list[str], axis: str) -> Floats:
    """The degrees of a column, shape (n,). Raises UserError with the line of what is none."""
    what = "a latitude" if axis == "lat" else "a longitude"
    texts = list(map(str.strip, texts))
    table.require(index, texts, len, f"is empty; {what} is needed")
    if all(map(NUMBER.fullmatch, texts)):
        return np.array(texts, dtype=np.float64)
    values = [degrees(text, axis) for text in texts]
    wrong = [k for k, value in enumerate(values) if value is None]
    table.refuse_rows(index, wrong, f"is not a number; {what} is written like 48.85341")
    commas = [k for k, text in enumerate(texts) if "," in text]
    if any("." in text for text in texts):
        # 2,345 among 2.345 is as likely a thousand as a decimal.
        table.refuse_rows(index, commas, "has a decimal comma where other lines have a point; write all in one way")
    return np.array(values, dtype=np.float64)


# --- both in one column

_N = r"[+-]?\d[\d.]*(?:[eE][+-]?\d+)?"
_POINT = re.compile(
    rf"(?:SRID=4326;)?\s*POINT\s*(?:ZM?|M)?\s*\(\s*(?P<lon>{_N})[\s,]+(?P<lat>{_N})(?:[\s,]+{_N}){{0,2}}\s*\)", re.I
)
_GEOJSON = re.compile(rf".*coordinates\W+\[\s*(?P<lon>{_N})\s*,\s*(?P<lat>{_N})\s*(?:,\s*{_N}\s*)?\].*", re.I | re.S)
_LAT_KEY, _LON_KEY = rf"lat(?:itude)?\W{{1,5}}(?P<lat>{_N})", rf"(?:lon|lng|long|longitude)\W{{1,5}}(?P<lon>{_N})"
_LETTERS = [
    re.compile(pattern, re.ASCII)
    for pattern in (
        r"(?P<lat>[^NSEW]+[NS])[\s,;/]*(?P<lon>[^NSEW]+[EW])",
        r"(?P<lon>[^NSEW]+[EW])[\s,;/]*(?P<lat>[^NSEW]+[NS])",
        r"(?P<lat>[NS][^NSEW]+?)[\s,;/]*(?P<lon>[EW][^NSEW]+)",
        r"(?P<lon>[EW][^NSEW]+?)[\s,;/]*(?P<lat>[NS][^NSEW]+)",
    )
]
_NAMED = [
    _POINT,
    _GEOJSON,
    re.compile(rf"\W*{_LAT_KEY}\W+{_LON_KEY}\W*", re.I),
    re.compile(rf"\W*{_LON_KEY}\W+{_LAT_KEY}\W*", re.I),
    *_LETTERS,
]
_LON_FIRST = ("lonlat", "lnglat", "longlat")


def split_places(table: TextTable, index: int) -> tuple[list[str], list[str], str]:
    """Texts of latitude and longitude of a column that holds both, and what the forms are. Raises UserError."""
    texts = [text.strip() for text in table.column(index)]
    table.require(index, texts, len, "is empty")
    lon_first = plain(table.header[index]) in _LON_FIRST
    pairs = [_split(text, lon_first) for text in texts]
    wrong = [k for k, pair in enumerate(pairs) if pair is None]
    table.refuse_rows(index, wrong, 'is not of the form "lat,lon"')
    points = sum(_POINT.fullmatch(text) is not None for text in texts)
    lats, lons = map(list, zip(*(pair for pair in pairs if pair), strict=True))
    return lats, lons, "longitude first" if lon_first or points else ""


def _split(text: str, lon_first: bool) -> tuple[str, str] | None:
    """(lat, lon) as text."""
    if len(text) > _LONGEST:
        return None
    text = text.translate(_SIGNS)
    for form in _NAMED:
        if match := form.fullmatch(text):
            return match["lat"], match["lon"]
    if " / " in text:
        return _split(text.split(" / ")[-1].strip(), lon_first)  # Wikipedia has a place in three forms
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1]
    for separator in (";", ", ", ","):
        if text.count(separator) == 1:
            first, second = (part.strip() for part in text.split(separator))
            return (second, first) if lon_first else (first, second)
        if separator in text and separator != ", ":
            return None
    return None


def places_of(table: TextTable, columns: dict[str, int]) -> tuple[Floats, Floats, str]:
    """Longitude and latitude of every record in degrees, shape (n,) each, and a notice. Raises UserError."""
    notice = ""
    if "lat" in columns and "lon" in columns:
        at_lat, at_lon = columns["lat"], columns["lon"]
        lats, lons = table.column(at_lat), table.column(at_lon)
    else:
        at_lat = at_lon = columns["coordinates"]
        lats, lons, notice = split_places(table, at_lat)
    lat, lon = axis_of(table, at_lat, lats, "lat"), axis_of(table, at_lon, lons, "lon")
    wide_lat, wide_lon = np.flatnonzero(np.abs(lat) > 90.0), np.flatnonzero(np.abs(lon) > 180.0)
    hint = ""
    if len(wide_lat) and (np.abs(lat) > 1000).mean() > 0.5:
        hint = "; these look like metres of a map projection: export degrees (EPSG:4326)"
    elif len(wide_lat) and not len(np.flatnonzero(np.abs(lon) > 90.0)):
        hint = "; are latitude and longitude exchanged?"
    table.refuse_rows(at_lat, wide_lat, f"is a latitude outside -90 to 90 degrees{hint}")
    table.refuse_rows(at_lon, wide_lon, "is a longitude outside -180 to 180 degrees")
    return lon, lat, notice
