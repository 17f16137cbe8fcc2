"""Tables as wide as the terminal: numbers are never cut; columns that do not fit go below, beside the first one.

A title or caption on the left has the terminal's width too, however narrow its table is.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text, TextType

TEXT_WIDTH = 24
"""Columns that a text may be folded into, where a table is narrow."""


def fitted(shown: RenderableType, console: Console) -> RenderableType:
    """What is to be printed, with every table in it split so that it fits the console's width."""
    if isinstance(shown, Group):
        return Group(*(fitted(part, console) for part in shown.renderables))
    if not isinstance(shown, Table) or not shown.show_header:
        return shown
    return Group(*_pieces(shown, console))


def _pieces(table: Table, console: Console) -> list[RenderableType]:
    """The table, or several that each begin with its first column: title above the first, caption below the last."""
    if not table.columns:
        return [table]
    first, *others = table.columns
    groups: list[list[Column]] = [[]]
    for column in others:
        if groups[-1] and not _fits(_with_columns(table, [first, *groups[-1], column]), console):
            groups.append([])
        groups[-1].append(column)
    pieces = [_with_columns(table, [first, *group]) for group in groups]
    for piece in pieces[1:]:
        piece.title = None
    for piece in pieces[:-1]:
        piece.caption = None
    above = below = None
    if table.title_justify == "left":
        above, pieces[0].title = _line(table.title, "table.title"), None
    if table.caption_justify == "left":
        below, pieces[-1].caption = _line(table.caption, "table.caption"), None
    return [part for part in (above, *pieces, below) if part is not None]


def _line(text: TextType | None, style: str) -> Text | None:
    """A title or caption as a paragraph of its own."""
    if not text:
        return None
    line = Text.from_markup(text) if isinstance(text, str) else text.copy()
    line.style = style
    return line


def _with_columns(table: Table, columns: list[Column]) -> Table:
    """A copy with some of the columns. Numbers, which stand on the right, keep their width, and texts are folded."""
    piece = copy(table)
    piece.columns = [
        replace(column, _index=i, no_wrap=True)
        if column.justify == "right"
        else replace(column, _index=i, overflow="fold")
        for i, column in enumerate(columns)
    ]
    return piece


def _fits(table: Table, console: Console) -> bool:
    narrow = copy(table)
    narrow.columns = [column if column.no_wrap else replace(column, max_width=TEXT_WIDTH) for column in table.columns]
    narrow.title = narrow.caption = None
    return Measurement.get(console, console.options.update(max_width=10_000), narrow).maximum <= console.width
