"""Tables of real cities: the one that is shipped, or the user's own CSV file.

A user's file needs a header, a name, and a position: either two columns or one that holds "lat,lon". Column names
are compared without case, spaces and punctuation; see `ACCEPTED`. What is wrong in a file is refused with its line
and column. Nothing is guessed, filled in or dropped: two exceptions are an absent or empty population (0) and an absent
or empty country ("").
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from atlantis.errors import UserError
from atlantis.progress import printable
from atlantis.reading import read_bytes
from atlantis.world.virtual import rounded

SHIPPED = Path(__file__).with_name("cities.csv")

ACCEPTED: dict[str, tuple[str, ...]] = {
    "name": ("name", "city", "city_name", "ascii_name", "city_ascii", "place_name", "place"),
    "lat": ("lat", "latitude"),
    "lon": ("lon", "lng", "long", "longitude"),
    "coordinates": ("coordinates", "coords", "lat_lon", "lat_lng", "geo_point", "geo_point_2d"),
    "country": ("country_code", "iso2", "iso_a2", "country"),
    "population": ("population", "pop"),
    "id": ("id",),
    "region": ("region",),
    "is_virtual": ("is_virtual",),
}
"""What each column may be called; the first that a file has is taken."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WITHOUT_CONTROLS = re.compile(r"[^\x00-\x1f\x7f-\x9f]*")
_MAX_POPULATION = 10**12
MAX_LENGTH = 200
"""Characters of a name."""


def shipped_cities() -> pd.DataFrame:
    """The 5,075 cities of GeoNames that come with the package, most populous first; columns as `read_cities_csv`."""
    return read_cities_csv(SHIPPED)


def read_cities_csv(path: Path | str) -> pd.DataFrame:
    """A table of cities in file order: columns name, lon, lat (degrees, 5 decimals), country, population (int64).

    `id` and `region` are there too if the file has them; ids are unique.
    Raises UserError naming file, line and column.
    """
    file = CsvText.read(Path(path))
    column = _find_columns(file)
    names = file.column(column["name"])
    file.require(column["name"], names, str.strip, "is empty")
    for role in ("name", "country", "region"):
        if role in column:
            texts = file.column(column[role])
            file.require(column[role], texts, _WITHOUT_CONTROLS.fullmatch, "holds a control character")
            file.require(column[role], texts, lambda text: len(text) <= MAX_LENGTH, f"is longer than {MAX_LENGTH}")
    lon, lat = _positions(file, column)
    nothing = [""] * len(names)
    table = {
        "name": names,
        "lon": rounded(lon),
        "lat": rounded(lat),
        "country": list(map(str.strip, file.column(column["country"]))) if "country" in column else nothing,
        "population": _populations(file, column.get("population")),
    }
    if "id" in column:
        table["id"] = _ids(file, column["id"])
    if "region" in column:
        table["region"] = list(map(str.strip, file.column(column["region"])))
    if "is_virtual" in column:
        file.require(
            column["is_virtual"],
            file.column(column["is_virtual"]),
            lambda s: s.strip().lower() in ("", "0", "false"),
            "is a virtual city: a table of real cities is wanted; load the folder of a built world as a world",
        )
    return pd.DataFrame(table)


@dataclass(frozen=True)
class CsvText:
    """The fields of a CSV file as text, with the line on which the header and each record start."""

    path: Path
    header: list[str]
    header_line: int
    records: list[tuple[str, ...]]
    lines: list[int]

    @classmethod
    def read(cls, path: Path) -> CsvText:
        """Read UTF-8 with or without a BOM, separated by `,` `;` or tab. Raises UserError for anything else."""
        text = _text(path)
        delimiter = _delimiter(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        records: list[tuple[str, ...]] = []
        lines: list[int] = []
        start = 1
        try:
            for record in reader:
                if len(record) > 1 or (record and record[0].strip()):
                    records.append(tuple(record))  # which the garbage collector soon leaves alone, unlike a list
                    lines.append(start)
                start = reader.line_num + 1
        except csv.Error as error:
            raise UserError(f"{path}, line {start}: not readable as CSV ({error}); check the quotes there") from error
        if not records:
            raise UserError(f"{path}: the file is empty; a header and at least one city are needed")
        header, records = [name.strip() for name in records[0]], records[1:]
        header_line, lines = lines[0], lines[1:]
        wrong = next((k for k, n in enumerate(map(len, records)) if n != len(header)), None)
        if wrong is not None:
            raise UserError(
                f"{path}, line {lines[wrong]}: {len(records[wrong])} fields where the header has {len(header)}; "
                f"a field that contains {_spell(delimiter)} must stand in double quotes"
            )
        if not records:
            raise UserError(f"{path}: a header and no cities; add at least one line")
        return cls(path, header, header_line, records, lines)

    def column(self, index: int) -> list[str]:
        return [record[index] for record in self.records]

    def require(self, index: int, values: Sequence[str], right: Callable[[str], object], problem: str) -> None:
        """UserError for the first value of a column that is not `right` (truthy), and how many more are not."""
        if not all(map(right, values)):
            self.refuse_rows(index, [k for k, value in enumerate(values) if not right(value)], problem)

    def refuse_rows(self, index: int, rows: Sequence[int] | NDArray[np.intp], problem: str) -> None:
        """The same for rows already found wrong."""
        if len(rows) == 0:
            return
        value = self.records[rows[0]][index]
        shown = printable(repr(value if len(value) <= 60 else value[:57] + "..."))
        more = f" (and so {_count(len(rows) - 1, 'more line')})" if len(rows) > 1 else ""
        raise UserError(
            f"{self.path}, line {self.lines[rows[0]]}, column {self.header[index]!r}: {shown} {problem}{more}"
        )


def _text(path: Path) -> str:
    try:
        data = read_bytes(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = len((data[: error.start] + b"x").splitlines())
        raise UserError(
            f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8 and try again"
        ) from error


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


_ROLE = {_plain(name): (role, rank) for role, names in ACCEPTED.items() for rank, name in enumerate(names)}


def _delimiter(text: str) -> str:
    """The separator that makes the most of the header: most known columns, then most columns."""
    first = next((line for line in text.splitlines() if line.strip()), "")

    def worth(delimiter: str) -> tuple[int, int]:
        try:
            names = next(csv.reader([first], delimiter=delimiter), [])
        except csv.Error:  # a field beyond the reader's limit
            return 0, 0
        return sum(_plain(name) in _ROLE for name in names), len(names)

    return max(",;\t", key=worth)


def _find_columns(file: CsvText) -> dict[str, int]:
    """Role -> index of the column that plays it."""
    column: dict[str, int] = {}
    best: dict[str, int] = {}
    seen: dict[str, str] = {}
    for index, name in enumerate(file.header):
        plain = _plain(name)
        if plain not in _ROLE:
            continue
        if plain in seen:
            names = f"{seen[plain]!r} and {name!r}"
            raise UserError(f"{file.path}, line {file.header_line}: columns {names} have the same name; keep one")
        seen[plain] = name
        role, rank = _ROLE[plain]
        if role not in best or rank < best[role]:
            column[role], best[role] = index, rank
    missing = [role for role in ("name", "lat", "lon") if role not in column]
    if "coordinates" in column:
        missing = [role for role in missing if role == "name"]
    if missing:
        wanted = "; ".join(f"{role}: {', '.join(ACCEPTED[role])}" for role in missing)
        either = "" if missing == ["name"] else "; or one column 'Coordinates' that holds \"lat,lon\""
        found = ", ".join(map(repr, file.header))
        raise UserError(
            f"{file.path}, line {file.header_line}: no column for {' and '.join(missing)}. "
            f"Found: {found}. Accepted names: {wanted}{either}"
        )
    return column


def _positions(file: CsvText, column: dict[str, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if "lat" in column and "lon" in column:
        where_lat, where_lon = column["lat"], column["lon"]
        lats, lons = file.column(where_lat), file.column(where_lon)
    else:
        where_lat = where_lon = column["coordinates"]
        both = file.column(where_lat)
        file.require(where_lat, both, str.strip, "is empty")
        file.require(where_lat, both, lambda s: s.count(",") == 1, 'is not of the form "lat,lon"')
        lats, lons = map(list, zip(*(s.split(",") for s in both), strict=True))
    lat = _numbers(file, where_lat, lats, "a latitude")
    lon = _numbers(file, where_lon, lons, "a longitude")
    file.refuse_rows(where_lat, np.flatnonzero(np.abs(lat) > 90.0), "is a latitude outside -90 to 90 degrees")
    file.refuse_rows(where_lon, np.flatnonzero(np.abs(lon) > 180.0), "is a longitude outside -180 to 180 degrees")
    return lon, lat


def _numbers(file: CsvText, index: int, texts: list[str], what: str) -> NDArray[np.float64]:
    texts = list(map(str.strip, texts))
    file.require(index, texts, len, f"is empty; {what} is needed")
    file.require(index, texts, _NUMBER.fullmatch, f"is not a number; {what} is written like 48.85341")
    return np.array(texts, dtype=np.float64)


def _populations(file: CsvText, index: int | None) -> NDArray[np.int64]:
    if index is None:
        return np.zeros(len(file.records), dtype=np.int64)
    texts = [s.strip() or "0" for s in file.column(index)]
    file.require(index, texts, _NUMBER.fullmatch, "is not a number; leave it empty if not known")
    people = np.array(texts, dtype=np.float64)
    file.refuse_rows(index, np.flatnonzero((people < 0) | (people > _MAX_POPULATION)), "is not a possible population")
    return np.rint(people).astype(np.int64)


def _ids(file: CsvText, index: int) -> NDArray[np.int64]:
    advice = "drop or rename the column to have ids given"
    texts = list(map(str.strip, file.column(index)))
    n = len(texts)
    file.require(index, texts, re.compile(r"\d{1,18}", re.ASCII).fullmatch, f"is not an id (0, 1, 2, ...); {advice}")
    ids = np.array(texts, dtype=np.int64)
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[inverse] != np.arange(n))
    if len(repeated):
        before = file.lines[first[inverse[repeated[0]]]]
        file.refuse_rows(index, repeated, f"is a duplicate id, first used on line {before}; {advice}")
    return ids


def _spell(delimiter: str) -> str:
    return {",": "a comma", ";": "a semicolon", "\t": "a tab"}[delimiter]


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
