"""Tables of real cities: the one that is shipped, or a file of the user's.

A user's file needs a name and a place for every city; see docs/cities.md for the files that are known. What is wrong in
a name or a place is refused with its line and column, and no city is dropped or moved in silence. What no number needs
(populations, ids of a database) stops no file. How a file was read is told in notes, which `World.build` prints.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from atlantis.progress import say
from atlantis.world.columns import Columns, find_columns, plain
from atlantis.world.containers import read_table
from atlantis.world.countries import NOTHING, countries_of
from atlantis.world.degrees import places_of
from atlantis.world.nearest import NEAR_KM, exchanged, nearest_regions
from atlantis.world.parts import refuse_parts, strange_places
from atlantis.world.populations import populations
from atlantis.world.regions import OTHER, region_of_country
from atlantis.world.table import TextTable, counted, shown
from atlantis.world.virtual import rounded

SHIPPED = Path(__file__).with_name("cities.csv")

_WITHOUT_CONTROLS = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*")
MAX_LENGTH = 200
"""Characters of a name."""
_CODE = re.compile(r"(?P<sure>0\d|[A-Z]{2}-[A-Z0-9]{1,3})|[A-Z]{0,2}\d{1,3}", re.ASCII)
_DATE = re.compile(r"\d{4}(?:[-/.]\d\d){0,2}(?:[T ].*)?", re.ASCII)
MANY_PARTS = 20
"""Regions that a file must have before they are taken for parts of countries, such as states or provinces."""


@dataclass(frozen=True)
class CityFile:
    """A user's table of cities, and what to tell about how it was read."""

    source: str
    cities: pd.DataFrame
    notes: list[str]

    def tell(self) -> None:
        """Print the notes to standard error, once for a file in a process."""
        for note in self.notes:
            _say_once(note)


@cache
def _say_once(note: str) -> None:
    say(note)


@cache
def _shipped() -> pd.DataFrame:
    return _cities_of(read_table(SHIPPED)).cities


def shipped_cities() -> pd.DataFrame:
    """The 5,075 cities of GeoNames that come with the package, most populous first; columns as `read_cities`."""
    return _shipped().copy()


def read_cities(path: Path | str) -> CityFile:
    """A table of cities in file order: columns name, lon, lat (degrees, 5 decimals), country, population (int64).

    `country` is an alpha-2 code, the file's own text where that names no country, or "". `region` is there too if the
    file has regions of its own, and `id` if it has ids 0 to n-1. Raises UserError naming file, line and column.
    """
    return _cities_of(read_table(Path(path)))


def with_regions(file: CityFile) -> CityFile:
    """The same cities, each with a region: the file's own, else its country's, else that of the nearest shipped city.

    The last is told in a note, and so is what speaks for latitude and longitude having been exchanged.
    """
    cities, notes = file.cities, list(file.notes)
    by_country = np.array([region_of_country.get(code, "") for code in cities["country"]], dtype=object)
    named = cities["region"].to_numpy(dtype=object) if "region" in cities else by_country
    region = np.where(named == "", by_country, named)
    lon, lat = cities["lon"].to_numpy(), cities["lat"].to_numpy()
    unknown = np.flatnonzero(region == "")
    if len(unknown):
        region[unknown] = nearest_regions(lon[unknown], lat[unknown], _shipped())
        far = int((region[unknown] == OTHER).sum())
        notes.append(
            f"{file.source}: {counted(len(unknown), 'city')} without a country that is known; the region is that of "
            f"the nearest shipped city within {NEAR_KM:g} km"
            + (f", and {OTHER!r} for {far:,} with none" if far else "")
        )
    if exchanged(lon, lat, cities["country"].tolist(), _shipped()):
        notes.append(
            f"{file.source}: most places lie in their country only if latitude and longitude are exchanged; "
            "see whether the columns have the right names"
        )
    return CityFile(file.source, cities.assign(region=region), notes)


def _cities_of(table: TextTable) -> CityFile:
    columns = find_columns(table)
    taken, notes = columns.taken, []
    table = _places_only(table, columns, notes)
    table = _once_each(table, columns, notes)
    names = table.column(taken["name"])
    table.require(taken["name"], names, str.strip, "is empty")
    _texts(table, taken["name"])
    refuse_parts(table, taken)
    lon, lat, form = places_of(table, taken)
    for index in columns.countries[:1]:
        _texts(table, index)
    country, unknown = countries_of(table, columns)
    cities = {"name": names, "lon": rounded(lon), "lat": rounded(lat), "country": country}
    cities["population"] = _people(table, taken, notes)
    if n_twice := int(pd.DataFrame(cities)[["name", "lon", "lat"]].duplicated().sum()):
        rows = counted(n_twice, table.unit)
        notes.append(f"{table.source}: {rows} with the name and the place of an earlier one; each is a city of its own")
    notes += [f"{table.source}: {reason}" for reason in strange_places(lon, lat)]
    if "is_virtual" in taken:
        table.require(
            taken["is_virtual"],
            table.column(taken["is_virtual"]),
            lambda s: s.strip().lower() in ("", "0", "false"),
            "is a virtual city: a table of real cities is wanted; load the folder of a built world as a world",
        )
    unused: dict[int, str] = {}
    if "id" in taken and (ids := _positions(table, taken["id"], unused)) is not None:
        cities["id"] = ids
    if "region" in taken and (region := _own_regions(table, taken["region"], country, unused)) is not None:
        cities["region"] = region
    if unknown:
        notes.append(_unknown_countries(table, unknown))
    first = f"{table.source}: {counted(len(names), 'city')}; {_what_was_taken(table, columns, form, unused)}"
    return CityFile(table.source, pd.DataFrame(cities), [first, *notes])


def _texts(table: TextTable, index: int) -> list[str]:
    """A column of words, which must be fit to be printed."""
    texts = table.column(index)
    table.require(index, texts, _WITHOUT_CONTROLS.fullmatch, "holds a control character, or half of a character")
    table.require(index, texts, lambda text: len(text) <= MAX_LENGTH, f"is longer than {MAX_LENGTH}")
    return list(map(str.strip, texts))


def _places_only(table: TextTable, columns: Columns, notes: list[str]) -> TextTable:
    """GeoNames has mountains and rivers among its places: where it tells them apart, only populated places stay."""
    if "kind" not in columns.taken:
        return table
    populated = np.array([text.strip() == "P" for text in table.column(columns.taken["kind"])])
    if populated.all() or not populated.any():
        return table
    notes.append(
        f"{table.source}: left out {counted(int((~populated).sum()), table.unit)} with something else than a "
        f"populated place (column {table.header[columns.taken['kind']]!r} is not 'P')"
    )
    return table.rows(populated)


def _once_each(table: TextTable, columns: Columns, notes: list[str]) -> TextTable:
    """A city once, where a file has it on many dates, or once for each value that Wikidata knows of it."""
    item = next((k for k, text in enumerate(table.records[0]) if text.startswith("http://www.wikidata.org/")), None)
    if "date" not in columns.taken and item is None:
        return table
    keys = [columns.taken[r] for r in ("name", "lat", "lon", "coordinates") if r in columns.taken]
    keys += columns.countries if item is None else []
    dates = table.column(columns.taken["date"]) if "date" in columns.taken else []
    sortable = bool(dates) and all(map(_DATE.fullmatch, dates))
    best: dict[tuple[str, ...], int] = {}
    for k, record in enumerate(table.records):
        before = best.setdefault(_key(record, keys), k)
        if sortable and dates[k] > dates[before]:
            best[_key(record, keys)] = k
    kept = np.isin(np.arange(len(table.records)), list(best.values()))
    if kept.all():
        return table
    why = "the same cities on other dates" if item is None else "the same cities once more"
    why += "; the latest is taken" if sortable else ""
    notes.append(f"{table.source}: left out {counted(int((~kept).sum()), table.unit)} with {why}")
    return table.rows(kept)


def _key(record: tuple[str, ...], keys: list[int]) -> tuple[str, ...]:
    return tuple(record[k] for k in keys)


def _people(table: TextTable, taken: dict[str, int], notes: list[str]) -> NDArray[np.int64]:
    if "population" not in taken:
        return np.zeros(len(table.records), dtype=np.int64)
    people, unread = populations(table.column(taken["population"]))
    if unread:
        text = table.records[unread[0]][taken["population"]]
        notes.append(
            f"{table.source}: population (column {_short(table.header[taken['population']])}): {len(unread):,} of "
            f"{len(people):,} not readable and taken as not known (0), first on {table.unit} {table.lines[unread[0]]}: "
            f"{shown(text)}"
        )
    return people


def _positions(table: TextTable, index: int, unused: dict[int, str]) -> NDArray[np.int64] | None:
    """Ids that are 0 to n-1, each once. Others are those of a database, and cannot name cities here."""
    texts = [text.strip() for text in table.column(index)]
    if all(map(re.compile(r"\d{1,9}", re.ASCII).fullmatch, texts)):
        ids = np.array(texts, dtype=np.int64)
        if np.array_equal(np.sort(ids), np.arange(len(ids))):
            return ids
    unused[index] = "ids that are not 0 to n-1"
    return None


def _own_regions(table: TextTable, index: int, country: list[str], unused: dict[int, str]) -> list[str] | None:
    """The user's regions of the world; not the codes and the parts of countries that databases call regions."""
    texts = [text.strip() for text in table.column(index)]
    parts: dict[str, set[str]] = {}
    for text, code in zip(texts, country, strict=True):
        if text:
            parts.setdefault(text, set()).add(code)
    codes = [match for text in parts if (match := _CODE.fullmatch(text))]
    coded = len(codes) > 0.5 * len(parts) and (len(parts) >= MANY_PARTS or any(match["sure"] for match in codes))
    nested = all(len(countries) == 1 for countries in parts.values())
    maxmind = any(plain(name) == "accentcity" for name in table.header)
    if maxmind or (any(country) and coded):
        unused[index] = "codes, not regions of the world"
    elif any(country) and nested and len(parts) >= max(MANY_PARTS, len(set(country)) + 1):
        unused[index] = "parts of countries, not regions of the world"
    else:
        return ["" if text.lower() in NOTHING else text for text in _texts(table, index)]
    return None


def _unknown_countries(table: TextTable, unknown: Counter[str]) -> str:
    listed = ", ".join(f"{shown(name)} ({n:,})" for name, n in unknown.most_common(8))
    more = f" and {len(unknown) - 8:,} more" if len(unknown) > 8 else ""
    return f"{table.source}: no country is known by the name {listed}{more}"


def _what_was_taken(table: TextTable, columns: Columns, form: str, unused: dict[int, str]) -> str:
    """One line: which columns were read as what, and which were not."""
    words = {"lat": "latitude", "lon": "longitude", "coordinates": "place", "kind": "kind of place"}
    read = {k: role for role, k in columns.taken.items() if role not in ("date", "is_virtual") and k not in unused}
    parts = [
        f"{words.get(role, role)} from {_short(table.header[k])}"
        + (f" ({form})" if role == "coordinates" and form else "")
        for k, role in read.items()
    ]
    if columns.countries:
        parts.append("country from " + ", ".join(_short(table.header[k]) for k in columns.countries))
    left = [
        _short(name) + (f" ({unused[k]})" if k in unused else "")
        for k, name in enumerate(table.header)
        if k not in read and k not in columns.countries and name
    ]
    more = f" and {len(left) - 30:,} more" if len(left) > 30 else ""
    notices = "".join(f"; {notice}" for notice in table.notes)
    return f"{', '.join(parts)}; not used: {', '.join(left[:30]) or 'nothing'}{more}{notices}"


def _short(name: str) -> str:
    return repr(name if len(name) <= 40 else name[:37] + "...")
