"""What the columns of other people's tables are called, and which of them plays which part.

Names are compared without case, spaces and punctuation. For each part the first name of its row in `ACCEPTED` that a
file has is taken. A country may stand in several columns, because databases leave gaps: all of them are taken, in
order, and each city's country is the first that can be read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from atlantis.errors import UserError
from atlantis.world.table import TextTable

ACCEPTED: dict[str, tuple[str, ...]] = {
    "name": (
        *("accent_city", "name", "city_label", "place_label", "town_label", "item_label", "settlement_label"),
        *(
            "municipality_label",
            "capital_label",
            "city",
            "city_name",
            "ascii_name",
            "city_ascii",
            "name_en",
            "place_name",
            "place",
        ),
        *("town", "municipality", "settlement", "locality", "urban_agglomeration", "toponym"),
        *("toponym_name", "stadt", "ort", "ortsname", "gemeinde", "ville", "nom", "nom_commune", "commune", "ciudad"),
        *("nombre", "municipio", "localidad", "cidade", "nome", "comune", "plaats", "miasto", "город", "城市", "都市"),
        *("capital_name", "name_wo_diacritics", "title", "label"),
    ),
    "lat": (
        *("lat", "latitude", "latitude_deg", "lat_deg", "latitud", "latitudine", "breitengrad", "breite"),
        *("geographische_breite", "breedtegraad", "szerokość", "широта", "纬度", "緯度", "intptlat"),
    ),
    "lon": (
        *("lon", "lng", "long", "longitude", "longitude_deg", "lon_deg", "longitud", "longitudine", "längengrad"),
        *("laengengrad", "länge", "laenge", "lengtegraad", "długość", "долгота", "经度", "経度", "intptlong"),
    ),
    "coordinates": (
        *("coordinates", "coords", "lat_lon", "lat_lng", "geo_point", "geo_point_2d", "coord", "coordinate"),
        *("coordinate_location", "lat_long", "latitude_longitude", "location", "geolocation", "geo_location", "geo"),
        *("geometry", "geom", "the_geom", "wkt", "wkt_geom", "point", "position", "gps", "koordinaten", "coordenadas"),
        *("coordonnées", "lon_lat", "lng_lat", "long_lat"),
    ),
    "country": (
        *("country_code", "iso2", "iso_a2", "country", "iso_a2_eh", "iso_country", "country_iso", "country_iso2"),
        *("country_iso_code", "country_code2", "country_alpha2", "alpha2", "alpha_2", "cc", "addr_country"),
        *("is_in_country_code", "iso3", "iso_a3", "iso_a3_eh", "country_iso3", "country_code3", "country_alpha3"),
        *(
            "alpha3",
            "alpha_3",
            "adm0_a3",
            "sov_a3",
            "country_etc",
            "country_label",
            "country_name",
            "country_name_en",
            "country_en",
        ),
        *("cou_name_en", "cntry_name", "adm0_name", "admin0_name", "sov0_name", "country_or_area", "is_in_country"),
        *("country_or_territory", "nation", "land", "staat", "pays", "país", "pais", "paese", "kraj", "страна"),
        *("国家", "国", "iso_n3", "country_numeric"),
    ),
    "population": (
        *("population", "pop", "pop_max", "population_total", "total_population", "pop_total", "population_max"),
        *("city_population", "population_proper", "pop_est", "population_estimate", "inhabitants", "einwohner"),
        *("einwohnerzahl", "bevölkerung", "población", "poblacion", "população", "populacao", "popolazione"),
        *("habitants", "inwoners", "ludność", "население", "人口", "pop_min"),
    ),
    "id": ("id",),
    "region": ("region",),
    "is_virtual": ("is_virtual",),
    "kind": ("feature_class",),
    "date": ("dt", "date", "year", "month", "timestamp"),
}
"""What each column may be called; the first that a file has is taken."""

LAST_COUNTED = 2030
"""The last year whose population is taken for a count; those of later years are projections."""

NEEDED = ("name", "lat", "lon", "coordinates")
_SHOWN = 12
"""Accepted names in a message; the page `docs/cities.md` has a table of all files."""
_LAT, _LON = ("lat", "latitude"), ("lon", "lng", "long", "longitude")
_BOX = {"min", "max", "north", "south", "east", "west", "ne", "sw", "nw", "se", "rad", "radians", "utm"}
_DIGITS = re.compile(r"-?\d+\.?\d*", re.ASCII)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def plain(name: str) -> str:
    """A column's name without case, spaces and punctuation."""
    return "".join(c for c in name.casefold() if c.isalnum())


_ROLE = {plain(name): (role, rank) for role, names in ACCEPTED.items() for rank, name in reversed([*enumerate(names)])}
_YEAR = re.compile(r"(?:population|pop)((?:19|20)\d\d)(?:est|estimate|census)?")


def role_of(name: str) -> str | None:
    """The part that a column of this name plays."""
    return _ROLE[plain(name)][0] if plain(name) in _ROLE else None


def n_known(header: Sequence[str]) -> int:
    """How many columns have a name that is known."""
    return sum(plain(name) in _ROLE for name in header)


def usable(header: Sequence[str]) -> bool:
    """Whether a header has a name and a place."""
    return not _missing(_chosen(header, {}))


@dataclass(frozen=True)
class Columns:
    """Which columns were taken, by index."""

    taken: dict[str, int]
    countries: list[int] = field(default_factory=list)


def find_columns(table: TextTable) -> Columns:
    """Role -> column. Raises UserError where a name or a place has none, or two of one name."""
    doubles: dict[int, list[int]] = {}
    taken = _chosen(table.header, doubles)
    missing = _missing(taken)
    if missing:
        raise UserError(f"{_at_header(table)}: {_what_is_missing(table, missing)}")
    if "lat" in taken and "lon" in taken:
        taken.pop("coordinates", None)
    else:
        taken = {role: index for role, index in taken.items() if role not in ("lat", "lon")}
    for role in NEEDED:
        for other in doubles.get(taken.get(role, -1), []):
            names = f"{table.header[taken[role]]!r} and {table.header[other]!r}"
            raise UserError(f"{_at_header(table)}: columns {names} have the same name; keep one")
    ranked = [(_ROLE[plain(n)][1], k) for k, n in enumerate(table.header) if role_of(n) == "country"]
    taken.pop("country", None)
    return Columns(taken, [k for _, k in sorted(ranked)])


def _at_header(table: TextTable) -> str:
    return f"{table.source}, line {table.header_line}" if table.unit == "line" else table.source


def _chosen(header: Sequence[str], doubles: dict[int, list[int]]) -> dict[str, int]:
    """Role -> index of the first column of the best name; `doubles` gets the others of that name."""
    taken: dict[str, int] = {}
    first: dict[str, int] = {}
    for index, name in enumerate(header):
        if plain(name) not in _ROLE:
            continue
        if plain(name) in first:
            doubles.setdefault(first[plain(name)], []).append(index)
            continue
        first[plain(name)] = index
        role, rank = _ROLE[plain(name)]
        if role not in taken or rank < _ROLE[plain(header[taken[role]])][1]:
            taken[role] = index
    if not ("lat" in taken and "lon" in taken):
        taken |= _pair(header)
    if "name" not in taken:
        taken |= _label(header, first)
    if "population" not in taken:
        years = {match[1]: k for k, name in enumerate(header) if (match := _YEAR.fullmatch(plain(name)))}
        counted = [year for year in years if int(year) <= LAST_COUNTED]
        if years:
            taken["population"] = years[max(counted, default=min(years))]
    return taken


def _pair(header: Sequence[str]) -> dict[str, int]:
    """The only two columns like `capital_latitude` and `capital_longitude`, alike but for that word; or x and y."""
    pairs: dict[tuple[str, ...], dict[str, int]] = {}
    for index, name in enumerate(header[:1000]):
        words = tuple(word.lower() for word in _WORD.findall(name[:100]))
        for axis, spellings in (("lat", _LAT), ("lon", _LON)):
            if any(word in spellings for word in words) and not _BOX.intersection(words):
                rest = tuple(word for word in words if word not in spellings)
                pairs.setdefault(rest, {})[axis] = index
    whole = [pair for pair in pairs.values() if len(pair) == 2]
    if len(whole) == 1:
        return whole[0]
    plane = {plain(name): index for index, name in enumerate(header)}
    for x, y in (("x", "y"), ("xcoord", "ycoord"), ("pointx", "pointy")):
        if {x, y} <= plane.keys() and not pairs:
            return {"lon": plane[x], "lat": plane[y]}
    return {}


def _label(header: Sequence[str], first: dict[str, int]) -> dict[str, int]:
    """A column `<x>Label` beside a column `<x>`, as the Wikidata query service names them."""
    names = [plain(name) for name in header]
    labels = [k for k, n in enumerate(names) if n.endswith("label") and n[:-5] in names and n not in first]
    return {"name": labels[0]} if labels else {}


def _missing(taken: dict[str, int]) -> list[str]:
    needed = ("name",) if "coordinates" in taken else ("name", "lat", "lon")
    return [role for role in needed if role not in taken]


def _what_is_missing(table: TextTable, missing: Sequence[str]) -> str:
    accepted = "; ".join(f"{role}: {', '.join(_some(ACCEPTED[role]))}" for role in missing)
    either = "" if missing == ["name"] else "; or one column 'Coordinates' that holds \"lat,lon\""
    names = ", ".join(name if len(name) <= 40 else f"{name[:38]}..'" for name in map(repr, table.header[:40]))
    more = f" and {len(table.header) - 40:,} more" if len(table.header) > 40 else ""
    first = " The first line must name the columns." if any(map(_DIGITS.fullmatch, table.header)) else ""
    return f"no column for {' and '.join(missing)}. Found: {names}{more}.{first} Accepted names: {accepted}{either}"


def _some(names: tuple[str, ...]) -> list[str]:
    """The accepted names that a message lists, without those of single databases."""
    return [name for name in names if name.isascii() and "label" not in name][:_SHOWN]
