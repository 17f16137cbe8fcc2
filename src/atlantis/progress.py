"""Progress bars: on a terminal they say what is being done; in a pipe or a log they stay quiet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console


class Bar(Protocol):
    """One task's bar."""

    def advance(self, steps: int = 1, note: str = "") -> None: ...


class _Silent:
    def advance(self, steps: int = 1, note: str = "") -> None:
        pass


_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text as a terminal may have it: what would move its cursor, or turn the text around, is spelled out (`\\x1b`).

    New lines and tabs remain.
    """
    return _UNSEEN.sub(lambda match: ascii(match[0])[1:-1], text)


def console() -> Console:
    """Where progress and notices go: standard error, so that standard output stays for results."""
    from rich.console import Console

    return Console(stderr=True)


def say(message: str) -> None:
    """A notice that matters in a log too, such as a fall-back."""
    console().print(printable(message), highlight=False, soft_wrap=True, markup=False)


def heading(message: str) -> None:
    """What begins now, among several things; on a terminal only."""
    from rich.text import Text

    screen = console()
    if screen.is_terminal:
        screen.rule(Text(printable(message)), align="left")


@contextmanager
def bar(what: str, total: int, done: int = 0) -> Iterator[Bar]:
    """A bar of `total` steps named `what`, of which `done` are behind us."""
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    screen = console()
    if not screen.is_terminal:
        yield _Silent()
        return
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task(escape(printable(what)), total=total, completed=done, note="")

        class Shown:
            def advance(self, steps: int = 1, note: str = "") -> None:
                if note:
                    progress.update(task, note=note)
                progress.advance(task, steps)

        yield Shown()
