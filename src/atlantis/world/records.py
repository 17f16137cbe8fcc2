"""JSON and Parquet -> table: GeoJSON, lists of records, JSON lines, what Overpass and Wikidata answer.

A record is flattened by one rule: what stands inside an object becomes columns of its own. Numbers remain the text that
they are in the file. A point of GeoJSON becomes a column `geometry` of the form `POINT(lon lat)` and is the place of
its record, whatever columns of degrees there are beside it.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any

from atlantis.errors import UserError
from atlantis.world.columns import n_known, role_of
from atlantis.world.table import MAX_ROWS, TextTable

GEOMETRY = "geometry"
MAX_COLUMNS = 10_000
MAX_OBJECTS = 4_000_000
"""Objects and lists in a JSON text: each takes many times the memory of its two characters."""
_LISTS = ("features", "elements", "records", "results", "bindings", "data", "cities", "geonames", "rows", "items")
"""Under which of its keys an object holds its records."""


def read_json(text: str, source: str) -> TextTable:
    """The table of a JSON file. Raises UserError with the number of the record that is wrong."""
    if text.count("{") + text.count("[") > MAX_OBJECTS:
        raise UserError(f"{source}: more than {MAX_OBJECTS:,} objects and lists, which no file of cities should have")
    try:
        try:
            records = _records(_loads(text))
        except json.JSONDecodeError as error:
            records = _json_lines(text, source, error)
    except RecursionError:
        raise UserError(f"{source}: not valid JSON (nested too deeply)") from None
    if records is None or not all(isinstance(record, dict) for record in records):
        raise UserError(f"{source}: holds no list of cities; export it as CSV or GeoJSON (points)")
    if not records:
        raise UserError(f"{source}: a list without a city in it")
    flat: list[dict[str, str]] = []
    for number, record in enumerate(records, start=1):
        fields: dict[str, str] = {}
        try:
            _flatten(record, fields)
        except ValueError as error:
            raise UserError(f"{source}, record {number}: {error}; cities are points") from None
        flat.append(fields)
    return _table(flat, source)


def _loads(text: str) -> Any:
    return json.loads(text, parse_float=str, parse_int=str, parse_constant=str)


def _json_lines(text: str, source: str, error: json.JSONDecodeError) -> list[Any]:
    """The objects of a file that has one a line; record separators of GeoJSON text sequences are passed over."""
    records: list[Any] = []
    for number, line in enumerate(text.replace("\x1e", "").split("\n"), start=1):
        try:
            records += [_loads(line)] if line.strip() else []
        except json.JSONDecodeError as wrong:
            # A file whose first line is whole is one of lines; in another the first error tells more.
            place, message = (number, wrong.msg) if records else (error.lineno, error.msg)
            raise UserError(f"{source}, line {place}: not valid JSON ({message})") from None
    return records


def _records(value: Any) -> list[Any] | None:
    """The list of records in a JSON value."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return None
    if value.get("type") == "Feature":
        return [value]
    columns, data = value.get("columns"), value.get("data")
    if isinstance(columns, list) and isinstance(data, list):  # as pandas splits a table
        names = list(map(str, columns))
        return [dict(zip(names, row, strict=False)) if isinstance(row, list) else row for row in data]
    for key in _LISTS:
        if isinstance(value.get(key), list | dict) and (inner := _records(value[key])) is not None:
            return inner
    if n_known(list(value)) >= 2:
        # pandas: {"name": {"0": ...}, "lat": {"0": ...}}, or lists in place of the inner objects
        columns = [list(v.values()) if isinstance(v, dict) else v for v in value.values()]
        if all(isinstance(c, list) and len(c) == len(columns[0]) for c in columns):
            return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
        return [value]
    return None


def _flatten(record: dict[str, Any], fields: dict[str, str]) -> None:
    """Fields of a record as text; of two with one name the outer is kept. ValueError for what is no point."""
    inner: list[tuple[str, Any]] = []
    for key, value in record.items():
        if isinstance(value, dict):
            inner.append((key, value))
        elif isinstance(value, str):
            fields.setdefault(key, value)
        elif value is None and key == GEOMETRY:
            continue  # the place may stand in other columns
        elif isinstance(value, bool) or value is None:
            fields.setdefault(key, "" if value is None else str(value))
        elif isinstance(value, list) and role_of(key) == "coordinates" and len(value) == 2:
            fields.setdefault(key, str(value))  # which is the longitude is not said: refused if it is needed
    for key, value in inner:
        if "coordinates" in value and "type" in value:
            fields[GEOMETRY] = _point(value)
        elif isinstance(value.get("value"), str) and value.keys() & {"type", "datatype"}:
            fields.setdefault(key, value["value"])  # as SPARQL answers
        else:
            _flatten(value, fields)


def _point(geometry: dict[str, Any]) -> str:
    xy, kind = geometry["coordinates"], geometry["type"]
    if kind == "MultiPoint" and isinstance(xy, list) and len(xy) == 1:
        xy, kind = xy[0], "Point"
    if kind != "Point":
        raise ValueError(f"its geometry is a {str(kind)[:40]!r}")
    if not (isinstance(xy, list) and len(xy) >= 2 and all(isinstance(x, str) for x in xy[:2])):
        raise ValueError("its point is not two numbers")
    return f"POINT({xy[0]} {xy[1]})"


def _table(flat: list[dict[str, str]], source: str) -> TextTable:
    header = list(dict.fromkeys(key for fields in flat for key in fields))
    lines, notes = list(range(1, len(flat) + 1)), []
    if GEOMETRY in header:
        flat = [_with_point(fields) for fields in flat]
        header = [key for key in header if role_of(key) not in ("lat", "lon", "coordinates") or key == GEOMETRY]
        lines = [line for line, fields in zip(lines, flat, strict=True) if fields.get(GEOMETRY)]
        if len(lines) < len(flat):
            notes.append(f"left out {len(flat) - len(lines):,} without a place")
            flat = [fields for fields in flat if fields.get(GEOMETRY)]
        if not flat:
            raise UserError(f"{source}: no record has a place; a geometry is a point of two numbers")
    if len(header) > MAX_COLUMNS or len(header) * len(flat) > 20 * MAX_ROWS:
        # Records that share no keys would make a table much larger than the file.
        header = [key for key in header if role_of(key) is not None]
    records = [tuple(fields.get(key, "") for key in header) for fields in flat]
    return TextTable(source, header, 1, records, lines, unit="record", notes=notes)


def _with_point(fields: dict[str, str]) -> dict[str, str]:
    """A record whose geometry is null has the place of its other columns, if it has one there."""
    if fields.get(GEOMETRY):
        return fields
    axes = {role: fields[key] for key in fields if (role := role_of(key)) in ("lat", "lon") and fields[key]}
    return fields | {GEOMETRY: f"POINT({axes['lon']} {axes['lat']})"} if len(axes) == 2 else fields


def read_parquet(data: bytes, source: str, limit: int) -> TextTable:
    """The table of a Parquet file: columns of text and numbers, and of WKB points. Raises UserError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(io.BytesIO(data))
        words = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
        file = pq.ParquetFile(io.BytesIO(data), read_dictionary=words)
        size = sum(file.metadata.row_group(k).total_byte_size for k in range(file.metadata.num_row_groups))
        if file.metadata.num_rows > MAX_ROWS or size > 4 * limit:
            raise UserError(f"{source}: {file.metadata.num_rows:,} rows, more than a world can have")
        twice = [name for name, n in Counter(file.schema_arrow.names).items() if n > 1]
        if twice:
            raise UserError(f"{source}: two columns are called {twice[0]!r}; give each a name of its own")
        columns = [field for field in file.schema_arrow if _is_flat(field.type) or field.name == GEOMETRY]
        columns = [field for field in columns if role_of(field.name) or file.metadata.num_columns <= 100]
        table = file.read(columns=[field.name for field in columns])
        texts = {field.name: _texts(table[field.name]) for field in columns}
    except UserError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise UserError(f"{source}: not readable as Parquet ({str(error).splitlines()[0][:200]})") from None
    if not table.num_rows:
        raise UserError(f"{source}: a table without a city in it")
    records = list(zip(*texts.values(), strict=True)) if texts else [()] * table.num_rows
    return TextTable(source, list(texts), 1, records, list(range(1, table.num_rows + 1)), unit="row")


def _is_flat(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = (types.is_string, types.is_large_string, types.is_string_view, types.is_integer, types.is_floating)
    return any(test(kind) for test in (*tests, types.is_boolean, types.is_decimal, types.is_date, types.is_timestamp))


def _texts(column: Any) -> list[str]:
    """The values of a column as text; nothing and NaN are empty."""
    import pyarrow.types as types

    if types.is_dictionary(column.type):
        # A value is made once and shared: a few long ones must not fill the memory a million times.
        values: list[str] = []
        for chunk in column.chunks:
            words = ["" if word is None else str(word) for word in chunk.dictionary.to_pylist()]
            values += ["" if index is None else words[index] for index in chunk.indices.to_pylist()]
        return values
    values = column.to_pylist()
    return [_wkb(v) if isinstance(v, bytes) else "" if v is None or v != v else str(v) for v in values]


def _wkb(data: bytes) -> str:
    """A point of GeoParquet: a byte for the order of bytes, the kind 1, then longitude and latitude."""
    import struct

    if len(data) < 21 or data[0] > 1:
        return ""
    order = "<" if data[0] else ">"
    kind, x, y = struct.unpack_from(f"{order}Idd", data, 1)
    return f"POINT({x!r} {y!r})" if kind & 0xFF == 1 else ""
