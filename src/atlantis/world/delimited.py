"""Text -> table: CSV files, tab-separated files, and what spreadsheets and databases make of them.

The separator is that which makes the most of the header. What stands above the header, a `sep=;` of Excel or
comments, is passed over. Empty lines and surplus separators at the end of a line mean nothing. Everything else that is
not rectangular is refused with its line.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from atlantis.errors import UserError
from atlantis.world.columns import n_known, usable
from atlantis.world.table import MAX_ROWS, TextTable, counted

WITHOUT_HEADER: dict[str, tuple[str, dict[str, str]]] = {
    "GeoNames": (
        "geonameid name asciiname alternatenames latitude longitude feature_class feature_code country_code cc2 "
        "admin1_code admin2_code admin3_code admin4_code population elevation dem timezone modification_date",
        {"geonameid": r"\d+", "feature_class": "[A-Z]?", "country_code": "([A-Z]{2})?"},
    ),
    "postal codes of GeoNames": (
        "country_code postal_code place_name admin_name1 admin_code1 admin_name2 admin_code2 admin_name3 admin_code3 "
        "latitude longitude accuracy",
        {"country_code": "[A-Z]{2}", "accuracy": "[1-6]?"},
    ),
}
"""Files that come without a header: their columns, and what is written in some. The place is of decimal degrees."""

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_ABOVE = 30
"""Lines in which a header is looked for."""
_BEGINNING = 1_000_000
"""Characters in which they are looked for."""
_LINE_END = re.compile(r"\r\n|\r|\n")
_DEGREES = r"-?\d{1,3}(\.\d+)?"


def read_delimited(text: str, source: str) -> TextTable:
    """The table that a text holds. Raises UserError with the line of what is wrong."""
    lines = _LINE_END.split(text[:_BEGINNING])
    if headless := _without_header(lines):
        kind, delimiter = headless
        records, starts = _plain_records(text, 1) if delimiter == "\t" else _quoted_records(text, delimiter, source, 1)
        table = _rectangular(source, WITHOUT_HEADER[kind][0].split(), 0, records, starts, delimiter)
        table.notes.append(f"it has no header and is read as a file of {kind}")
        return table
    delimiter, above, notice = _dialect(lines)
    body = text if above == 0 else _LINE_END.split(text, maxsplit=above)[above]
    if delimiter == "\t" and _quotes_are_letters(body):
        notice += "; quotes in it are letters" if notice else "quotes in it are letters"
        records, starts = _plain_records(body, above + 1)
        records = _terms(records)
    else:
        records, starts = _quoted_records(body, delimiter, source, above + 1)
    if not records:
        raise UserError(f"{source}: the file is empty; a header and at least one city are needed")
    header = [name.strip() for name in records[0]]
    if header[0].startswith("#") and usable([header[0].lstrip("# "), *header[1:]]):
        header[0] = header[0].lstrip("# ")
    header, records = _row_names(header, records[1:])
    table = _rectangular(source, header, starts[0], records, starts[1:], delimiter)
    table.notes.extend([notice] if notice else [])
    return table


def _without_header(lines: list[str]) -> tuple[str, str] | None:
    """The kind of a file that has no header, and its separator."""
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    for kind, (names, shapes) in WITHOUT_HEADER.items():
        columns, shapes = names.split(), shapes | dict.fromkeys(("latitude", "longitude"), _DEGREES)
        for delimiter in SEPARATORS:
            fields = first.split("\t") if delimiter == "\t" else _fields(first, delimiter)
            record = dict(zip(columns, map(str.strip, fields), strict=False))
            if len(fields) == len(columns) and all(re.fullmatch(shapes[c], record[c], re.ASCII) for c in shapes):
                return kind, delimiter
    return None


def _dialect(lines: list[str]) -> tuple[str, int, str]:
    """The separator, how many lines stand above the header, and a notice if there is something in them."""
    above = next((k for k, line in enumerate(lines) if line.strip()), 0)
    if match := re.fullmatch(r'"?sep=(.)"?[,;\t|]*', lines[above].strip(" "), re.IGNORECASE):
        above = above + 1 if len(lines) > above + 1 else above
        if match[1] in SEPARATORS:
            return match[1], above, ""
    # In the order of SEPARATORS where two are worth the same: a comma is the usual one.
    best = max(SEPARATORS, key=lambda d: _worth(lines[above], d))
    if usable(_fields(lines[above], best)):
        return best, above, ""
    for k, line in enumerate(lines[above + 1 : above + _ABOVE], start=above + 1):
        delimiter = max(SEPARATORS, key=lambda d: _worth(line, d))
        if usable(_fields(line, delimiter)):
            return delimiter, k, f"the header is on line {k + 1}; what stands above it is passed over"
    return best, above, ""


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        fields = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:  # a field beyond the reader's limit
        return []
    if fields and fields[0].lstrip().startswith("#"):
        fields[0] = fields[0].lstrip("# ")
    return fields


def _worth(line: str, delimiter: str) -> tuple[int, int]:
    """A separator is worth known columns, then columns; a bar only the former."""
    fields = _fields(line, delimiter)
    return n_known(fields), len(fields) if delimiter != "|" else 0


def _quotes_are_letters(text: str) -> bool:
    """Whether a tab-separated file has a field with a quote on one side only: databases write names as they are.

    With quotes that enclose, such a pair would swallow the lines between. Where a field in quotes holds a tab or the
    end of a line, the lines are not of one width.
    """
    if '"' not in text:
        return False
    lines = [line for line in _LINE_END.split(text) if line.strip()]
    width = lines[0].rstrip("\t").count("\t")
    if any(not line.rstrip("\t").count("\t") <= width <= line.count("\t") for line in lines):
        return False
    quoted = [line for line in lines if '"' in line]
    if all(_enclosed_width(line) == lines[0].count("\t") + 1 for line in quoted):
        return False  # a field that holds a tab, in a line that ends in an empty one
    fields = (field for line in quoted for field in line.split("\t"))
    return any(field.startswith('"') != field.endswith('"') or field == '"' for field in fields)


def _enclosed_width(line: str) -> int | None:
    """How many fields a tab-separated line has if quotes enclose; None if they do not close on it."""
    try:
        return len(next(csv.reader([line], delimiter="\t", strict=True)))
    except csv.Error:
        return None


def _quoted_records(text: str, delimiter: str, source: str, start: int) -> tuple[list[tuple[str, ...]], list[int]]:
    """Records and the lines on which they start; quotes enclose."""
    spaced = f'{delimiter} "' in text  # R and SQL clients put a space before the quotes
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=spaced)
    records: list[tuple[str, ...]] = []
    lines: list[int] = []
    offset = start
    try:
        for record in reader:
            if record and (record[0].strip() or any(map(str.strip, record))):
                records.append(tuple(record))  # which the garbage collector soon leaves alone, unlike a list
                lines.append(start)
                if len(records) > MAX_ROWS:
                    raise UserError(f"{source}: more than {MAX_ROWS:,} lines, and a world can have a million cities")
            start = reader.line_num + offset
    except csv.Error as error:
        raise UserError(f"{source}, line {start}: not readable as CSV ({error}); check the quotes there") from error
    return records, lines


def _plain_records(text: str, start: int) -> tuple[list[tuple[str, ...]], list[int]]:
    """The same for tab-separated text in which quotes are letters."""

    numbered = enumerate(io.StringIO(text, newline=None), start=start)
    lines = [(tuple(line.rstrip("\n").split("\t")), number) for number, line in numbered if line.strip()]
    return [record for record, _ in lines], [number for _, number in lines]


_TERM = re.compile(r'"(.*)"(?:@[\w-]+|\^\^<[^>]*>)?|<([^>]*)>')


def _terms(records: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The values of SPARQL's answers in TSV, whose variables are written `?city`: `"Paris"@fr` is Paris."""
    if not records or not all(name.startswith("?") for name in records[0]):
        return records
    matches = ([(field, _TERM.fullmatch(field)) for field in record] for record in records)
    return [tuple((m[1] or m[2] or "") if m else field for field, m in record) for record in matches]


def _row_names(header: list[str], records: list[tuple[str, ...]]) -> tuple[list[str], list[tuple[str, ...]]]:
    """R writes the numbers of rows before each record, and nothing above them."""
    width = len(header) + 1
    if records and all(len(r) == width and r[0].strip() == str(k) for k, r in enumerate(records, start=1)):
        return ["", *header], records
    return header, records


def _rectangular(
    source: str,
    header: Sequence[str],
    header_line: int,
    records: list[tuple[str, ...]],
    lines: list[int],
    delimiter: str,
) -> TextTable:
    """Records as wide as the header: without empty ones, comments, and empty fields beyond the header's."""
    width = len(header)
    if all(len(record) == width and any(map(str.strip, record)) for record in records):
        kept, notes = records, []
    else:
        kept, lines, notes = _trimmed(width, records, lines)
    wrong = next((k for k, n in enumerate(map(len, kept)) if n != width), None)
    if wrong is not None:
        raise UserError(
            f"{source}, line {lines[wrong]}: {len(kept[wrong])} fields where the header has {width}; "
            f"a field that contains {SEPARATORS[delimiter]} must stand in double quotes"
        )
    if not kept:
        raise UserError(f"{source}: a header and no cities; add at least one line")
    return TextTable(source, list(header), header_line, kept, lines, notes=notes)


def _trimmed(
    width: int, records: list[tuple[str, ...]], lines: list[int]
) -> tuple[list[tuple[str, ...]], list[int], list[str]]:
    kept, where, comments = [], [], 0
    for record, line in zip(records, lines, strict=True):
        if not any(map(str.strip, record)):
            continue
        if len(record) != width and record[0].lstrip().startswith("#"):
            comments += 1
            continue
        if len(record) > width and not any(map(str.strip, record[width:])):
            record = record[:width]
        kept.append(record)
        where.append(line)
    return kept, where, [f"{counted(comments, 'comment')} passed over"] if comments else []
