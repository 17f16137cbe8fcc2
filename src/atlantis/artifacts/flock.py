"""The lock of a folder or file: flock where the file system has it, else a lease (leases.py).

flock is released by the system however a process ends. On NFS one machine may have it and another not, so both kinds
look for each other: who has flock looks at the leases, and who has a lease reads what the holder of the lock file has
written. Each announces itself first and looks afterwards; so of two that come at once at least one sees the other.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from atlantis.artifacts import leases
from atlantis.artifacts.leases import Busy
from atlantis.errors import UserError
from atlantis.progress import say

try:
    import fcntl
except ImportError:  # Windows: said when a lock is wanted
    fcntl = None

REFUSED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
"""How file systems say that they have no flock."""

LONGEST = 512

MOMENT = 0.02
"""Seconds until a refused lock is tried again: who asks whether it is held (`is_held`) holds it for an instant."""

TRIES = 5

_said = False


@contextmanager
def held(path: Path, descriptor: int, record: bool = False) -> Iterator[None]:
    """Hold the lock of `path`, which `descriptor` has open. Raises Busy if another process holds it.

    `record`: it is a lock file, in which the holder's number and machine are written while it is held.
    """
    if not _flock(descriptor, shared=False):
        with leases.held(path):
            _say_once(path)
            if record and (holder := _recorded(descriptor)):
                raise Busy(f"{holder}, by flock, which fails here; if that is gone, remove {path}")
            yield
        return
    try:
        if record:
            _write(descriptor)
        leases.wait_for_the_doubtful(path)
        yield
    finally:
        if record:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)


def is_held(path: Path, descriptor: int) -> bool:
    """Whether another process holds the lock file `path`, which `descriptor` has open."""
    try:
        refused = not _flock(descriptor, shared=True)
    except Busy:
        return True
    return leases.holder(path) is not None or (refused and bool(_recorded(descriptor)))


def can_be_held(path: Path, descriptor: int) -> bool | None:
    """Whether nobody holds the lock of `path`; None if that cannot be told, for there is neither flock nor a lease."""
    was_claimed = bool(leases.claims(path))
    if leases.holder(path) is not None:
        return False
    try:
        return True if _flock(descriptor, shared=False) or was_claimed else None
    except Busy:
        return False


def _say_once(path: Path) -> None:
    global _said
    if not _said:
        say(f"{path.parent}: this file system has no locks (flock fails); a lease file takes their place")
    _said = True


def _flock(descriptor: int, shared: bool) -> bool:
    """Take the lock; False if the file system has none. Raises Busy if another process has it."""
    if fcntl is None:
        raise UserError("atlantis runs on Linux and macOS, and this system has no locks of theirs; on Windows use WSL")
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    for attempt in range(1 if shared else TRIES):
        if attempt:
            time.sleep(MOMENT)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            continue
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            return False
    raise Busy(_text(descriptor) or "unknown")


def _write(descriptor: int) -> None:
    """Write who we are, so that a machine without flock can read it at once."""
    holder = (str(os.getpid()), leases.machine(), str(leases.started(os.getpid())), socket.gethostname())
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, "\n".join(holder).encode("utf-8", "replace"), 0)
    os.fsync(descriptor)


def _read(descriptor: int) -> list[str]:
    try:
        return os.pread(descriptor, LONGEST, 0).decode("utf-8", "replace").splitlines()
    except OSError:  # a folder
        return []


def _text(descriptor: int) -> str:
    """The holder that a lock file names."""
    match _read(descriptor):
        case [pid, _, _, host]:
            return f"pid {pid} on {host}"
        case [pid, *_]:
            return f"pid {pid}"
    return ""


def _recorded(descriptor: int) -> str:
    """The holder that a lock file names, unless it is known to be gone."""
    match _read(descriptor):
        case [pid, machine, start, _] if pid.isdecimal() and start.isdecimal() and machine == leases.machine():
            return _text(descriptor) if leases.is_alive(int(pid), int(start)) else ""
        case [pid] if pid.isdecimal():  # of an earlier version
            return _text(descriptor) if leases.is_alive(int(pid)) else ""
        case [pid, _, _, _]:
            return _text(descriptor)
    return ""
