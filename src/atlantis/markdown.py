"""Tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

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
