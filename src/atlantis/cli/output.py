"""What the commands print."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PIPE_WIDTH = 80  # columns of a table that does not go to a terminal


def show_folder(path: Path) -> None:
    """Print what is at `path`; raises UserError after it for what could not be read."""
    from atlantis import show

    problem = None
    try:
        shown = show.summary(path)
    except show.Unread as error:
        shown, problem = error.shown, error
    print_shown(shown)
    if problem is not None:
        raise problem


def console() -> Console:
    """Rich output: colours and the terminal's width on a terminal, plain text of a fixed width in a pipe."""
    from rich.console import Console

    plain = Console()
    return plain if plain.is_terminal or "COLUMNS" in os.environ else Console(width=PIPE_WIDTH)


def print_shown(*parts: RenderableType) -> None:
    """Print tables and what else is to be looked at, as wide as the terminal."""
    from rich.text import Text

    from atlantis.cli.fitted import fitted

    screen = console()
    for part in parts:
        screen.print(fitted(part, screen), soft_wrap=isinstance(part, Text))  # a config's lines are YAML


def command_line() -> str:
    """The command that runs, as one would type it."""
    import shlex

    return shlex.join(["atlantis", *sys.argv[1:]])
