"""A table of somebody else's, as text: its header, its records, and the line on which each of them stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from atlantis.errors import UserError
from atlantis.progress import printable

MAX_ROWS = 5_000_000
"""More than any file of at most a million cities needs, also where it has each of them on several dates."""


@dataclass(frozen=True)
class TextTable:
    """The fields of a file as text. A record has as many fields as the header; `refuse_rows` names file and line."""

    source: str
    """The file, and in an archive the file inside it: what a message begins with."""
    header: list[str]
    header_line: int
    records: list[tuple[str, ...]]
    lines: list[int]
    """Where each record starts, from 1."""
    unit: str = "line"
    """What `lines` counts: lines of a text, or records of a file that has no lines."""
    notes: list[str] = field(default_factory=list)
    """What the user should know about how the file was read."""

    def column(self, index: int) -> list[str]:
        return [record[index] for record in self.records]

    def rows(self, kept: NDArray[np.bool_]) -> TextTable:
        """The table of the records that are `kept`."""
        chosen = np.flatnonzero(kept).tolist()
        return replace(self, records=[self.records[k] for k in chosen], lines=[self.lines[k] for k in chosen])

    def require(self, index: int, values: Sequence[str], right: Callable[[str], object], problem: str) -> None:
        """UserError for the first value of a column that is not `right` (truthy), and how many more are not."""
        if not all(map(right, values)):
            self.refuse_rows(index, [k for k, value in enumerate(values) if not right(value)], problem)

    def refuse_rows(self, index: int, rows: Sequence[int] | NDArray[np.intp], problem: str) -> None:
        """The same for rows already found wrong."""
        if len(rows) == 0:
            return
        more = f" (and so {counted(len(rows) - 1, f'more {self.unit}')})" if len(rows) > 1 else ""
        raise UserError(
            f"{self.place(rows[0])}, column {self.header[index]!r}: "
            f"{shown(self.records[rows[0]][index])} {problem}{more}"
        )

    def place(self, row: int | np.integer) -> str:
        """File and line of a record."""
        return f"{self.source}, {self.unit} {self.lines[row]}"


def shown(text: str) -> str:
    """A field as a message may show it: quoted, on one line, of bounded length."""
    return printable(repr(text if len(text) <= 60 else text[:57] + "..."))


def counted(n: int, noun: str) -> str:
    """`1 line`, `2,000 lines`, `3 cities`."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{n:,} {noun if n == 1 else plural}"
