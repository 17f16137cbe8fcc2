"""The lock of a folder: one process works in it at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from atlantis.artifacts import flock, leases
from atlantis.artifacts.disk import make_folders
from atlantis.artifacts.files import open_own
from atlantis.artifacts.leftovers import LEFTOVER
from atlantis.errors import UserError

LOCK = ".lock"
BUSY = "is working in this folder"


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the folder `path` (made if missing) for this process; it is free again however the process ends.

    Raises UserError if another process holds it.
    """
    path = Path(path)
    make_folders(path)
    with open_own(path / LOCK, "a+b") as file, contextlib.ExitStack() as stack:
        try:
            stack.enter_context(flock.held(path / LOCK, file.fileno(), record=True))
        except flock.Busy as busy:
            raise UserError(f"{path}: another process ({busy.holder}) {BUSY}; wait for it to end") from None
        except OSError as error:
            error.filename = error.filename or str(path / LOCK)
            raise
        yield


def is_locked(path: Path) -> bool:
    """Whether another process holds the folder `path`."""
    try:
        with open(Path(path) / LOCK, "rb") as file:
            return flock.is_held(Path(path) / LOCK, file.fileno())
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_passing(name: str) -> bool:
    """Whether a file of this name is a lock, or what a killed process left: it makes no folder one that is in use."""
    return name == LOCK or any(pattern.fullmatch(name) for pattern in (LEFTOVER, leases.CLAIM))
