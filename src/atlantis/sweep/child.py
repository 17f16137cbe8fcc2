"""One run of a sweep: a child process that is started again when it dies, and what became of it.

This is all that a worker does, whichever backend it belongs to.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from atlantis import artifacts, signals
from atlantis.errors import OK, USER_MISTAKE

THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
LOOK_AGAIN_S = 0.5
STOPPED = re.compile(r"stopped by SIG\w+ after step ([\d,]+)")  # what a run says as it leaves
BEGINS = "--- "  # first characters of the line with which an attempt begins in the log


@dataclass(frozen=True)
class Job:
    """What a worker needs to carry out a run. All paths are absolute, and mean the same on every machine."""

    name: str
    config: Path
    folder: Path
    log: Path
    device: str = "auto"
    threads: int = 1
    retries: int = 2
    working_folder: Path = field(default_factory=Path.cwd)


@dataclass(frozen=True)
class Outcome:
    """What became of a run. `attempts` counts every start of it that its log knows; `seconds` are those of this time.

    `died`: it failed, but by no fault that it could name, and may succeed when it is started again.
    """

    name: str
    state: Literal["done", "was done", "failed", "stopped"]
    message: str = ""
    attempts: int = 0
    seconds: float = 0.0
    died: bool = False

    @property
    def finished(self) -> bool:
        return self.state in ("done", "was done")


@dataclass(frozen=True)
class Queue:
    """The jobs of a sweep. `due` gives those that may begin now, each once: a run waits for the base it starts from.

    A backend asks for what is due at first, and again whenever one of its outcomes has been taken. It has ended when
    nothing is due and nothing runs.
    """

    jobs: Sequence[Job]
    due: Callable[[], list[Job]]


class Runner:
    """Trains what jobs say, in as many threads as one likes; `stop` ends all of them, and those that were to begin."""

    def __init__(self) -> None:
        self.stopping = False
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.RLock()  # `stop` may be called by a signal's handler

    def stop(self, at_once: bool = False) -> None:
        """Let the children save their state and end, or end them at once."""
        with self._lock:
            self.stopping = True
            for child in self._children:
                child.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)

    def stop_and_wait(self) -> None:
        """`stop`, and return when the children have ended. Can be called by a signal's handler."""
        self.stop()
        for child in list(self._children):
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # `child.wait` may be what was interrupted

    def train(self, job: Job, environment: Mapping[str, str] | None = None) -> Outcome:
        """Train until the run is finished, fails by its own fault, or has died more than `job.retries` times.

        A run that was stopped by a signal and has saved its state is gone on with, and that counts as no death as long
        as it got further than the last time. A run that another process works on is waited for. What this process is
        told by an exception (Ctrl-C, a task that is cancelled), it tells its child, and waits for that to end.
        """
        began = time.monotonic()

        def outcome(state: Literal["done", "failed", "stopped"], message: str = "", died: bool = False) -> Outcome:
            return Outcome(job.name, state, message, attempts(job.log), time.monotonic() - began, died)

        died, saved, message = 0, -1, ""
        while died <= job.retries:
            while artifacts.is_locked(job.folder) and not self.stopping:
                time.sleep(LOOK_AGAIN_S)
            code, message = self._attempt(job, environment or {})
            if code == OK:
                return outcome("done")
            if self.stopping:
                return outcome("stopped")
            if code == USER_MISTAKE and artifacts.BUSY in message:
                continue
            if code == USER_MISTAKE:
                return outcome("failed", message)
            step = stopped_after(code, message)
            if step is not None and step > saved:
                saved = step
                continue
            died += 1
        again = f", started {died} times" if died > 1 else ""
        return outcome("failed", f"{message}{again}; its log is {job.log}", died=True)

    def _attempt(self, job: Job, environment: Mapping[str, str]) -> tuple[int | None, str]:
        """Exit code of one child process (None: not begun, for we are stopping), and its error message."""
        variables = {key: value for key, value in os.environ.items() if not key.startswith("TORCHELASTIC")}
        variables |= dict.fromkeys(THREAD_LIMITS, str(job.threads)) | dict(environment)
        command = [sys.executable, "-m", "atlantis", "train", str(job.config), "--resume", "--no-report", "--leashed"]
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("ab") as log:
            with self._lock:
                if self.stopping:
                    return None, ""
                log.write(
                    f"{BEGINS}{datetime.now(UTC).isoformat(timespec='seconds')} {socket.gethostname()}\n".encode()
                )
                log.flush()
                start = log.tell()
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,  # closes when we end, however we end: see --leashed
                    stdout=log,
                    stderr=log,
                    env=variables,
                    cwd=job.working_folder,
                    start_new_session=True,  # a terminal's Ctrl-C reaches it through us, once
                )
                self._children.add(child)
            try:
                code = None
                while code is None:  # in short waits, between which an exception can reach us: Ray's is no signal
                    with suppress(subprocess.TimeoutExpired):
                        code = child.wait(LOOK_AGAIN_S)
            except BaseException:
                child.terminate()
                child.wait()
                raise
            finally:
                with self._lock:
                    self._children.discard(child)
                    assert child.stdin is not None
                    child.stdin.close()
        return code, _said(job.log, start, code)


def stopped_after(code: int | None, message: str) -> int | None:
    """The step at which a child saved its state and left because a signal asked it to; None if it did not."""
    match = STOPPED.search(message)
    by_signal = code is not None and code - 128 in signals.STOPS
    return int(match[1].replace(",", "")) if by_signal and match is not None else None


def attempts(log: Path) -> int:
    """How often the run of this log was started."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return sum(line.startswith(BEGINS) for line in text.splitlines())


def _said(log: Path, start: int, code: int) -> str:
    """The error message at the end of an attempt's output, or else how the process ended."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    with log.open("rb") as file:
        file.seek(start)
        text = file.read().decode("utf-8", errors="replace").strip()
    before, marker, message = text.rpartition("error: ")
    if marker and (not before or before.endswith("\n")):
        return message
    return text.splitlines()[-1] if text else f"exit code {code}"
