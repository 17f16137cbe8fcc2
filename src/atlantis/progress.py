"""Progress: a bar on a terminal; in a pipe or a log a line now and then, so that no work is silent for long."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console


class Bar(Protocol):
    """One task's bar."""

    def advance(self, steps: int = 1, note: str = "") -> None: ...


LINE_EVERY_S = 300.0
"""Without a terminal, seconds between two lines of a bar."""


class _Lines:
    """A bar for a log: a line every few minutes, none for what is done sooner."""

    def __init__(self, label: str, total: int, done: int) -> None:
        self.what, self.total, self.begun_at, self.done = label, total, done, done
        self.began = self.last = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        now = time.monotonic()
        if now - self.last < LINE_EVERY_S:
            return
        self.last = now
        left = (now - self.began) / (self.done - self.begun_at) * (self.total - self.done)
        parts = [f"{self.done:,} of {self.total:,}", *([note] if note else []), f"{duration(left)} left"]
        say(f"{self.what}: {', '.join(parts)}")


def duration(seconds: float) -> str:
    """A time in words for people: "under a minute", "about 3 minutes", "about 2 h 10 min", "about 3 days 4 h"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "under a minute"
    if minutes < 60:
        return f"about {minutes} minute{'s' if minutes > 1 else ''}"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"about {hours} h {minutes} min"
    return f"about {hours // 24} days {hours % 24} h"


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


def for_log(message: str) -> None:
    """A line for a pipe or a log, of what a bar shows on a terminal."""
    if not console().is_terminal:
        say(message)


def heading(message: str) -> None:
    """What begins now, among several things; on a terminal only."""
    from rich.text import Text

    screen = console()
    if screen.is_terminal:
        screen.rule(Text(printable(message)), align="left")


@contextmanager
def bar(label: str, total: int, done: int = 0) -> Iterator[Bar]:
    """A bar of `total` steps named `label`, of which `done` are behind us."""
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
        yield _Lines(label, total, done)
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
        task = progress.add_task(escape(printable(label)), total=total, completed=done, note="")

        class Shown:
            def advance(self, steps: int = 1, note: str = "") -> None:
                if note:
                    progress.update(task, note=note)
                progress.advance(task, steps)

        yield Shown()
