"""The signals by which people, terminals and clusters ask a command to stop.

- SIGINT (Ctrl-C) and SIGTERM always count. A second one leaves at once, if it comes more than a second after the first:
  a cluster sends the same signal to a command and to what the command has started, which passes it on.
- SIGHUP (a closed terminal), SIGUSR1 and SIGUSR2 (SLURM, some time before it ends a job) count where nobody else has
  laid a hand on them: `nohup` has SIGHUP ignored, and a program that calls this library may wait for SIGUSR1 itself.
  Repeated, they ask for nothing new.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

URGENT = (signal.SIGINT, signal.SIGTERM)
NOTICES = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))
STOPS = (*URGENT, *NOTICES)
ONCE_S = 1.0
"""Seconds within which a second signal is taken for the first one, sent twice."""

Handler = Callable[[int, FrameType | None], Any]

ending: list[int] = []
"""The signals by which `leave` was to end this command."""


def leave(number: int, frame: FrameType | None = None) -> NoReturn:
    """End a command by an exception, so that what is half made is removed on the way out.

    An import is broken off without one: some libraries swallow an exception in the middle of it, and others end by
    SIGABRT. What was half made around it is removed by the next command, as after a SIGKILL.
    """
    if _is_importing(frame):
        say_stopped(number)
        os._exit(128 + number)
    ending.append(number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def leave_if_ending() -> None:
    """Call this before long work: libraries may have swallowed the exception that broke off their import."""
    if ending:
        leave(ending[0])


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def say_stopped(number: int) -> None:
    """The last line of a command that a signal has ended; under torchrun one process speaks for all."""
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError, RuntimeError):  # the terminal has gone, or is being written to
            text = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
            print(text, file=sys.stderr, flush=True)


_own: list[Handler] = []
"""The handlers that are ours, of all blocks that have begun and not ended."""


def counting(signals: Sequence[int] = STOPS) -> list[int]:
    """Those of the signals that count here, as this module's first lines have it."""
    free = [signal.SIG_DFL, *_own]
    return [number for number in signals if number in URGENT or signal.getsignal(number) in free]


def ours() -> list[int]:
    """The signals that a command answers: all that ask to stop; Ctrl-C where Python or this module has it."""
    is_ours = signal.getsignal(signal.SIGINT) in (signal.default_int_handler, leave)
    return [*([signal.SIGINT] if is_ours else []), signal.SIGTERM, *NOTICES]


@contextmanager
def handled(handler: Handler, signals: Sequence[int] = STOPS) -> Iterator[None]:
    """While the block runs, `handler` gets those of the signals that count. In other threads than the main one nothing
    changes: the caller handles signals."""
    numbers, before = counting(signals), {}
    try:
        for number in numbers:
            before[number] = signal.signal(number, handler)
    except ValueError:  # not the main thread
        yield
        return
    _own.append(handler)
    try:
        yield
    finally:
        _own.remove(handler)
        for number, was in before.items():
            signal.signal(number, was)


@contextmanager
def requests(begin: Callable[[int], None], at_once: Callable[[int], None] | None = None) -> Iterator[list[int]]:
    """A list that receives the first signal that asks to stop, with which `begin` is called.

    `at_once` is called with a second one that is urgent; by default that gets the treatment it had before the block.
    """
    leave_if_ending()
    received: list[int] = []
    first = 0.0
    before = {number: signal.getsignal(number) for number in URGENT}

    def receive(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not received:
            received.append(number)
            first = time.monotonic()
            for urgent in URGENT:
                signal.signal(urgent, again)
            begin(number)

    def again(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - first < ONCE_S:
            return
        for urgent, was in before.items():
            signal.signal(urgent, was)
        if at_once is None:
            os.kill(os.getpid(), number)
        else:
            at_once(number)

    with handled(receive):
        yield received
