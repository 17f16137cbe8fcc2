"""A lock made of ordinary files, for file systems that have no other: Lustre without flock, NFS without a lock daemon.

Whoever wants to lock `path` creates a claim beside it, a file whose name says which process on which machine made it.
Then it reads the folder. It has the lock if no other claim of a living process is there.

- Creating comes before reading, so of two processes at least one sees the other. Two never hold the lock.
- Where several see each other, the one whose claim sorts first waits and the others withdraw and come again.
- A claim's name is used once. Removing one whose process is gone can therefore never hit a newer claim: there is no
  race between two that take over from the dead.
- On this machine a process is known by its number and its start, counted by the kernel since boot; no clock is asked.
- The holder touches its claim every 20 seconds. Another machine's claim counts as abandoned when it is ten minutes old
  by the file system's clock (or lies in the future) *and* was not touched while we watched it for 90 seconds.

filelock's soft lock does not serve here: it takes over from a dead process by exchanging two names in one step, which
NFS refuses, and then waits for ever.
"""

from __future__ import annotations

import enum
import functools
import os
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from atlantis.errors import PART_FAILED
from atlantis.progress import say

BEAT_S, STALE_S, WATCH_S, POLL_S = 20.0, 600.0, 90.0, 0.02
CLAIM = re.compile(r"(.+)\.lease-([0-9a-f]{12})-(\d+)-(\d+)-[0-9a-f]{16}")
HELD = "held\n"


class Busy(BlockingIOError):
    """Another process holds the lock. `holder` says which, as far as it is known."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"held by another process ({holder})")
        self.holder = holder


# --- processes


@functools.cache
def machine() -> str:
    """What tells this machine, since it was started, from all others: 12 hexadecimal characters.

    A container with processes of its own counts as a machine of its own: their numbers mean nothing outside.
    """
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def started(pid: int) -> int:
    """When a process of this machine began, in the kernel's ticks since boot; 0 where that is not told."""
    try:
        return int(_status(pid)[19])
    except (OSError, IndexError, ValueError):
        return 0


def is_alive(pid: int, start: int = 0) -> bool:
    """Whether a process has this number (and began at `start`, if given).

    One that has ended and that nobody waits for, as in many a container, is not alive.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    try:
        status = _status(pid)
        return status[0] not in "ZX" and start in (0, int(status[19]))
    except (OSError, IndexError, ValueError):  # another system than Linux, or gone by now
        return True


def _status(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; a process's name, before it, may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


# --- claims


class Life(enum.Enum):
    """What is known of the process behind a claim."""

    ALIVE, DOUBTFUL, GONE = enum.auto(), enum.auto(), enum.auto()


@dataclass(frozen=True)
class Claim:
    """A file that says: this process wants, or has, the lock of `name` in this folder."""

    path: Path
    name: str
    machine: str
    pid: int
    start: int

    @classmethod
    def read(cls, path: Path) -> Claim | None:
        """The claim that a file's name states; None for any other file."""
        match = CLAIM.fullmatch(path.name)
        return None if match is None else cls(path, match[1], match[2], int(match[3]), int(match[4]))

    @classmethod
    def create(cls, path: Path) -> Claim:
        pid = os.getpid()
        name = f"{path.name}.lease-{machine()}-{pid}-{started(pid)}-{secrets.token_hex(8)}"
        claim = cls(path.with_name(name), path.name, machine(), pid, started(pid))
        claim.write()
        return claim

    def write(self, state: str = "") -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            os.write(descriptor, f"{socket.gethostname()}\n{state}".encode("utf-8", "replace"))
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        with suppress(FileNotFoundError):
            self.path.unlink()

    @property
    def is_held(self) -> bool:
        """Whether its process has the lock, and does not only want it."""
        return self._text().endswith(HELD)

    @property
    def holder(self) -> str:
        return f"pid {self.pid} on {self._text().partition(chr(10))[0] or 'another machine'}"

    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


_watched: dict[Path, tuple[float, float, bool]] = {}
"""Of another machine's claim: when it was touched last, since when we have watched that, and whether it was touched
while we watched."""


def life(claim: Claim, now: float | None = None) -> Life:
    """Whether a claim's process lives. `now`: the file system's time, as of a file just made; else this machine's."""
    if claim.machine == machine():
        return Life.ALIVE if is_alive(claim.pid, claim.start) else Life.GONE
    try:
        touched = claim.path.stat().st_mtime
    except OSError as error:
        return Life.GONE if isinstance(error, FileNotFoundError) else Life.DOUBTFUL
    if -BEAT_S <= (time.time() if now is None else now) - touched <= STALE_S:
        return Life.ALIVE
    before, since, beats = _watched.get(claim.path, (touched, time.monotonic(), False))
    if before != touched:
        since, beats = time.monotonic(), True
    if time.monotonic() - since >= WATCH_S:
        _watched.pop(claim.path, None)
        return Life.GONE
    _watched[claim.path] = (touched, since, beats)
    return Life.ALIVE if beats else Life.DOUBTFUL


def claims(path: Path) -> list[Claim]:
    """All claims to the lock of `path`, dead ones too, by name."""
    try:
        names = [entry for entry in os.listdir(path.parent) if entry.startswith(f"{path.name}.lease-")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    every = (Claim.read(path.with_name(name)) for name in sorted(names))
    return [claim for claim in every if claim is not None and claim.name == path.name]


def holder(path: Path) -> str | None:
    """Who holds, or is about to take, the lock of `path`; None if nobody does. Claims of the dead are removed."""
    for claim in claims(path):
        if life(claim) is not Life.GONE:
            return claim.holder
        with suppress(OSError):
            claim.remove()
    return None


def wait_for_the_doubtful(path: Path) -> None:
    """Return once nobody has, or is about to take, the lock of `path`; what seems to be gone is watched until it is.

    Raises Busy for a process that lives.
    """
    doubted: set[Path] = set()
    while others := _others(path, None, doubted):
        for claim in others:
            if life(claim) is Life.ALIVE:
                raise Busy(claim.holder)
        time.sleep(POLL_S)


def clear(folder: Path, of: re.Pattern[str]) -> None:
    """Remove the claims of the dead in `folder` to whatever has a name like `of`."""
    for path in sorted(Path(folder).glob(".*.lease-*")):
        claim = Claim.read(path)
        if claim is not None and of.fullmatch(claim.name) and life(claim) is Life.GONE:
            with suppress(OSError):
                claim.remove()


# --- the lock


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, which need not exist; its folder must. Raises Busy if another process has it."""
    claim = acquire(path)
    stop = threading.Event()
    threading.Thread(target=_keep, args=(claim, stop), name="lease", daemon=True).start()
    try:
        yield
    finally:
        stop.set()
        if os.getpid() == claim.pid:  # not in a fork
            claim.remove()


def acquire(path: Path) -> Claim:
    """A claim that holds the lock of `path`. Raises Busy if another process has it."""
    own: Claim | None = None
    doubted: set[Path] = set()
    try:
        while True:
            others = _others(path, own, doubted)
            if own is not None and not others:
                own.write(HELD)
                return own
            if own is None and not others:
                own = Claim.create(path)
                continue
            if own is not None and any(other.path.name < own.path.name for other in others):
                own.remove()
                own = None
            time.sleep(POLL_S)
    except BaseException:
        if own is not None:
            own.remove()
        raise


def _others(path: Path, own: Claim | None, doubted: set[Path]) -> list[Claim]:
    """The claims of others that may live. Raises Busy if one of them has the lock for certain."""
    now = None if own is None else own.path.stat().st_mtime
    others = []
    for claim in claims(path):
        if own is not None and claim.path == own.path:
            continue
        state = life(claim, now)
        if state is Life.GONE:
            claim.remove()
            continue
        others.append(claim)
        if state is Life.ALIVE and claim.is_held:
            raise Busy(claim.holder)
        if state is Life.DOUBTFUL and claim.path not in doubted:
            doubted.add(claim.path)
            say(f"{claim.path.parent}: {claim.holder} seems to be gone; waiting {WATCH_S:.0f} s for a sign of life")
    return others


def _keep(claim: Claim, stop: threading.Event) -> None:
    """Touch the claim again and again, so that other machines see that its process lives."""
    while not stop.wait(BEAT_S):
        try:
            os.utime(claim.path)
        except FileNotFoundError:
            if stop.is_set() or not claim.path.parent.is_dir():
                return
            _take_back(claim)
        except OSError:  # a server that does not answer now may do so at the next beat
            continue


def _take_back(claim: Claim) -> None:
    """Our claim was removed: put it back, or end at once if another process has the lock by now."""
    claim.write(HELD)
    for other in claims(claim.path.with_name(claim.name)):
        if other.path != claim.path and life(other) is not Life.GONE:
            claim.remove()
            say(f"{claim.path.parent}: {other.holder} has taken this folder while this process did not answer; leaving")
            sys.stderr.flush()
            os._exit(PART_FAILED)
