"""Rivals for the tests of the benchmarks, in a module that a new process imports in no time."""

from __future__ import annotations

from checks.benchmarks.common import Lap


def holds(lap: Lap, megabytes: int) -> None:
    """Holds so much memory in every round."""
    lap()
    while True:
        lap(len(bytearray(b"1") * (megabytes * 1_000_000)))


def fails(lap: Lap) -> None:
    """Breaks off in its first round."""
    lap()
    raise ValueError("a planted mistake")
