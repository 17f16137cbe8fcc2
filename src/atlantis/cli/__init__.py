"""The command line: one file per group of commands, registered in `app`; `entry` runs one, `failures` words its end."""

from __future__ import annotations

from collections.abc import Sequence

from atlantis import signals

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (see `app.HELP`). Console script `atlantis`, and `python -m atlantis`.

    Signals are answered from here on, before anything slow is imported.
    """
    with signals.handled(signals.leave, signals.ours()):
        from atlantis.cli.entry import main as run

        return run(arguments)
