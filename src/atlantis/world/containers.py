"""A file of any kind -> its table: unpacked if it is packed, told apart by its first bytes and not by its name.

Sizes are bounded before anything is unpacked, nothing is written, and no name inside an archive is a path.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from atlantis.errors import UserError
from atlantis.progress import printable
from atlantis.reading import MAX_BYTES, read_bytes
from atlantis.world.delimited import read_delimited
from atlantis.world.encodings import decoded
from atlantis.world.records import read_json, read_parquet
from atlantis.world.table import TextTable

STREAMS: dict[bytes, tuple[str, Callable]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ\x00": ("xz", lzma.open),
}
FOREIGN: dict[bytes, str] = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Excel workbook; save the sheet as CSV (UTF-8)",
    b"SQLite format 3\x00": "a database (SQLite or GeoPackage); export the table as CSV",
    b"\x00\x00\x27\x0a": "a shapefile; export it as CSV or GeoJSON",
    b"%PDF": "a PDF; a table is needed, such as a CSV file",
    b"\x89PNG": "a picture; a table is needed, such as a CSV file",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstandard file; unpack it first",
    b"ARROW1": "an Arrow or Feather file; save the table as Parquet or CSV",
    b"<": "HTML or XML, perhaps a page that says what went wrong; a table is needed, such as a CSV file",
    b"version https://git-lfs": "a pointer of git-lfs and not the file itself; `git lfs pull` brings it",
}
"""First bytes of what is no table, and what to do about it."""
DEPTH = 2
"""Layers of packing."""
_TABLES = (".csv", ".tsv", ".tab", ".parquet", ".geojson", ".json", ".jsonl", ".ndjson", ".geojsonl", ".txt")
_ABOUT = ("readme", "license", "licence", "copying", "attribution", "terms")


def read_table(path: Path) -> TextTable:
    """The table in a file, plain or packed. Raises UserError that names the file and the line of what is wrong."""
    try:
        data = read_bytes(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    source = str(path)
    for _ in range(DEPTH):
        packed, data, source = data, *_unpacked(data, source)
        if data is packed:
            break
    if data.startswith(b"PAR1"):
        return read_parquet(data, source, MAX_BYTES)
    for beginning, what in FOREIGN.items():
        if data.startswith(beginning):
            raise UserError(f"{source}: is {what}")
    if data[257:262] == b"ustar":
        raise UserError(f"{source}: is a tar archive; unpack it and give the table in it")
    text, notice = decoded(data, source)
    text = text.lstrip("\ufeff")
    first = text[:1000].lstrip(" \t\r\n\x1e")
    if first.startswith("<"):
        raise UserError(f"{source}: is {FOREIGN[b'<']}")
    table = read_json(text, source) if first[:1] in ("{", "[") else read_delimited(text, source)
    table.notes.extend([notice] if notice else [])
    return table


def _unpacked(data: bytes, source: str) -> tuple[bytes, str]:
    """The content of a packed file and what messages call it; any other file as it is."""
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _from_zip(data, source)
    for beginning, (kind, opened) in STREAMS.items():
        if data.startswith(beginning):
            try:
                with opened(io.BytesIO(data)) as file:
                    content = file.read(MAX_BYTES + 1)
            except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
                raise UserError(f"{source}: not readable as {kind} ({error}); is the download complete?") from None
            return _bounded(content, source), source
    return data, source


def _bounded(content: bytes, source: str) -> bytes:
    if len(content) > MAX_BYTES:
        raise UserError(f"{source}: is larger than {MAX_BYTES:,} bytes when unpacked, which no table here should be")
    return content


def _from_zip(data: bytes, source: str) -> tuple[bytes, str]:
    """The one table in a zip archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            member = _table_inside(archive, source)
            inside = f"{source} ({printable(member.filename)})"
            if member.flag_bits & 1:
                raise UserError(f"{inside}: has a password; unpack it first")
            with archive.open(member) as file:
                content = file.read(MAX_BYTES + 1)
    except UserError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        OSError,
        EOFError,
        ValueError,
        NotImplementedError,
    ) as error:
        raise UserError(f"{source}: not readable as a zip archive ({error}); is the download complete?") from None
    return _bounded(content, inside), inside


def _table_inside(archive: zipfile.ZipFile, source: str) -> zipfile.ZipInfo:
    members = [m for m in archive.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
    names = {member.filename for member in members}
    if "xl/workbook.xml" in names or "xl/workbook.bin" in names:
        raise UserError(f"{source}: is an Excel workbook; save the sheet as CSV (UTF-8)")
    if "content.xml" in names:
        raise UserError(f"{source}: is a spreadsheet or document of LibreOffice; save the sheet as CSV (UTF-8)")
    tables = [m for m in members if _rank(m) < len(_TABLES)]
    best = min(map(_rank, tables), default=0)
    # SimpleMaps has its licence beside the CSV file, GeoNames a readme beside the table, both of them as text.
    chosen = [m for m in tables if _rank(m) == best] if best == 0 else tables
    if len(chosen) == 1:
        return chosen[0]
    listed = ", ".join(printable(repr(m.filename[:60])) for m in (chosen or members)[:8]) or "nothing"
    if any(m.filename.lower().endswith(".shp") for m in members):
        raise UserError(f"{source}: is a shapefile; export it as CSV or GeoJSON")
    wrong = "several tables in it" if chosen else "no table in it"
    raise UserError(f"{source}: {wrong} ({listed}); unpack it and give the one with the cities")


def _rank(member: zipfile.ZipInfo) -> int:
    """The place of a member's kind in `_TABLES`; their number for what is no table."""
    path = PurePosixPath(member.filename.lower())
    name = path.name.removesuffix(".gz")
    if name.startswith((".", *_ABOUT)):
        return len(_TABLES)
    return next((k for k, ending in enumerate(_TABLES) if name.endswith(ending)), len(_TABLES))
