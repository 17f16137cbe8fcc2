"""Markdown that is written by a program: tables, prose with named places, and a part of a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import signature

from atlantis.errors import UserError

PLACE = re.compile(r"\{\{([^{}]+)\}\}")
_BAR = re.compile(r"(?<!\\)\|")


def table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "", narrow: bool = False) -> str:
    """A table, without a newline at its end. A bar within a cell is escaped, unless it is already.

    `align`: a letter for each column, `l` or `r`; default: all to the left. `narrow`: no blanks in the line below the
    header.
    """
    rule = [{"l": "---", "r": "---:"}[letter] for letter in align or "l" * len(header)]
    lines = [" | ".join(_BAR.sub(r"\\|", cell) for cell in cells) for cells in (header, *rows)]
    return "\n".join(
        [f"| {lines[0]} |", f"|{'|'.join(rule)}|" if narrow else f"| {' | '.join(rule)} |"]
        + [f"| {line} |" for line in lines[1:]]
    )


def fill(place: re.Match[str], kinds: Mapping[str, Callable[..., str]]) -> str:
    """What stands in a place `{{kind|argument|...}}`. Raises UserError for one that means nothing."""
    kind, *arguments = place[1].split("|")
    if kind not in kinds or len(signature(kinds[kind]).parameters) != len(arguments):
        raise UserError(f"{place[0]}: no such place; there are {', '.join(kinds)}, each with its arguments after |")
    return kinds[kind](*arguments)


def with_part(page: str, begin: str, end: str, text: str) -> str:
    """A page with what stands between `begin` and `end` replaced. Raises UserError where one of them is missing."""
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise UserError(f"the page has no {begin.strip()!r} that is followed by {end!r}")
    return before + begun + text + ended + after
