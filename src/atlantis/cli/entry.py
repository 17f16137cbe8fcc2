"""What `atlantis` does around a command: streams, caches, threads, and the exit code of every way out."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import typer

from atlantis import home, limits, signals
from atlantis.cli.app import app
from atlantis.cli.failures import explain
from atlantis.errors import INTERRUPTED, OK, PART_FAILED, USER_MISTAKE, Interrupted
from atlantis.progress import printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    Under torchrun with more than one process, rank 0 runs it and the others help it train.
    """
    _open_standard_streams()
    try:
        home.prepare(os.environ)
        limits.limit_threads(os.environ)
    except KeyboardInterrupt:
        return _stopped(signal.SIGINT)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("WORLD_SIZE") == "1":
        return _run(arguments)
    from atlantis.training.distributed import together

    together(lambda: _run(arguments), explain)


def _open_standard_streams() -> None:
    """Put /dev/null where a standard stream is closed: else the next file would be opened in its place, and written."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115


def _run(arguments: Sequence[str] | None) -> int:
    try:
        with signals.handled(signals.leave, signals.ours()):  # again: under torchrun SIGTERM is ignored by now
            code = app(args=arguments, prog_name="atlantis", standalone_mode=False)
            sys.stdout.flush()
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return code if isinstance(code, int) else OK
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: say nothing at exit
        return PART_FAILED
    except Interrupted as stop:
        print(printable(str(stop)), file=sys.stderr)
        return 128 + stop.signum
    except SystemExit:
        if signals.ending:
            return _stopped(signals.ending[0])
        raise
    except (KeyboardInterrupt, typer.Abort):
        return _stopped(signal.SIGINT)
    except Exception as error:
        if signals.ending:  # libraries make errors of their own of a signal that broke off their import
            return _stopped(signals.ending[0])
        if type(error).__name__ == "NoArgsIsHelpError":  # typer's: the message is the help
            print(error, file=sys.stderr)
            return USER_MISTAKE
        return explain(error)
    finally:
        signals.ending.clear()


def _stopped(number: int) -> int:
    """The exit code of a command that a signal has ended, which it says."""
    signals.say_stopped(number)
    return 128 + number
