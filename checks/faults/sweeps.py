"""Sweeps whose workers are killed, frozen and revived late, and whose coordinator is killed: each run exactly once.

`atlantis sweep` carries out four runs, two at a time. At random moments a worker (a run's process) or the coordinator
(the sweep's own) gets SIGKILL, or SIGSTOP and much later SIGCONT. When the coordinator has died, or has given a run up
that died too often, the same command is given again. It must end with the runs and the table of a sweep that nothing
disturbed and that had one worker; no two processes may ever have been at work on the same run; and the same command
once more must begin nothing.

Coordinator and workers are forked from a process that has made the imports. The coordinator asks a nursery for its
workers, which it forked before it had threads; they become its children, and all else is as in any sweep.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from atlantis import cli
from atlantis.errors import OK, PART_FAILED
from checks.faults.common import Child, Options, Outcome, Tally, copy, counted, fork, not_recovered

SWEEP = ("sweep", "rates.yaml", "--workers", "2")
GRID = "extends: small.yaml\ngrid: {training.learning_rate: [2e-3, 4e-3]}\nseeds: [1, 2]\n"
LOGS = "outputs/sweeps/rates/logs"
FAULTS = {
    ("kill", "worker"): 0.4,
    ("kill", "coordinator"): 0.2,
    ("freeze", "worker"): 0.25,
    ("freeze", "coordinator"): 0.15,
}
KILLS_PER_LIFE = 8
LIFE_S = 600.0  # only against waiting for ever
SUBREAPER = 36  # prctl: orphans of ours become our children


def suite(lab: Path, options: Options) -> dict[str, Any] | None:
    if not sys.platform.startswith("linux") or not _adopt_orphans():
        return None
    import joblib  # noqa: F401

    import atlantis.sweep.results  # noqa: F401

    start = copy(lab / "new", "sweep")
    (start / "rates.yaml").write_text(GRID)
    serial = copy(start, "serial")
    outcome = fork(lambda: _coordinate(lab / "serial_steps", "1"), serial).wait()
    assert outcome.code == OK, outcome.said
    reference, usual_s = counted(serial), outcome.seconds
    lives, random_, total = Tally(), random.Random(options.seed), dict[str, int]()
    n = 2 if options.quick else max(20, options.n // 5)
    while (kills := sum(count for what, count in total.items() if what.endswith("killed"))) < n:
        life = Life(copy(start, "trial"), lab / "steps", usual_s, random_)
        lives.add(life.lived(min(n - kills, KILLS_PER_LIFE), reference))
        for what, count in life.counts.items():
            total[what] = total.get(what, 0) + count
    runs = len(list((serial / "outputs/experiments").iterdir()))
    return {"runs of each sweep": runs, "faults": dict(sorted(total.items())), "sweeps": lives.as_dict()}


# --- one sweep, from its first command to its last


@dataclass
class Life:
    """A sweep in `trial` whose processes are killed and frozen until it is done; `steps` gets who did which step."""

    trial: Path
    steps: Path
    usual_s: float
    random_: random.Random
    counts: dict[str, int] = field(default_factory=dict)
    frozen: dict[int, float] = field(default_factory=dict)  # until when

    def lived(self, kills: int, reference: Mapping[str, str]) -> list[str]:
        """What is wrong at the end, if anything is."""
        shutil.rmtree(self.steps, ignore_errors=True)
        deadline = time.monotonic() + LIFE_S
        left, coordinator, ended = self.random_.randint(1, kills), self._begin(), None
        while ended is None:
            due = time.monotonic() + self.random_.uniform(0, self.usual_s / 2)
            while (ended := self._ended(coordinator)) is None and time.monotonic() < (due if left else deadline):
                self._revive(coordinator.pid)
                time.sleep(0.002)
            if time.monotonic() > deadline:
                self._end_all(coordinator)
                return [f"still not done after {LIFE_S:.0f} s"]
            if ended is None:
                what, whom = self.random_.choices(list(FAULTS), list(FAULTS.values()))[0]
                left -= self._strike(what, whom, coordinator)
            elif ended.code == -signal.SIGKILL or _only_kills(ended):
                coordinator, ended = self._begin(), None
        reasons = self._orphans_outlive(deadline) + not_recovered(ended, self.trial, reference) + self._two_at_work()
        before, attempts = self._trace(), self._attempts()
        again = self._begin().wait()
        if again.code or self._trace() != before or self._attempts() != attempts:
            reasons.append(f"the same command again: exit code {again.code}, or a run was begun again")
        return reasons

    def _begin(self) -> Child:
        return fork(lambda: _coordinate(self.steps, "2"), self.trial)

    def _ended(self, coordinator: Child) -> Outcome | None:
        """The coordinator's outcome; None while it lives."""
        found = os.waitid(os.P_PID, coordinator.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return None if found is None else coordinator.wait()

    def _strike(self, what: str, whom: str, coordinator: Child) -> bool:
        """Kill or freeze one; whether anybody was killed."""
        pids = [coordinator.pid] if whom == "coordinator" else workers(coordinator.pid)
        if what == "freeze":
            pids = [pid for pid in pids if pid not in self.frozen]
        if not pids:
            return False
        pid = self.random_.choice(pids)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if what == "kill" else signal.SIGSTOP)
        if what == "freeze":
            self.frozen[pid] = time.monotonic() + self.random_.uniform(0, 3 * self.usual_s)
        else:
            self.frozen.pop(pid, None)
        self._count(f"{whom}s {'killed' if what == 'kill' else 'frozen'}")
        return what == "kill"

    def _revive(self, coordinator: int, all_of_them: bool = False) -> None:
        for pid, until in list(self.frozen.items()):
            if all_of_them or time.monotonic() > until:
                with suppress(ProcessLookupError):
                    if pid != coordinator and _status(pid)[1] != coordinator:
                        self._count("workers revived when their coordinator was dead")
                    os.kill(pid, signal.SIGCONT)
                del self.frozen[pid]

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def _orphans_outlive(self, deadline: float) -> list[str]:
        """Wait for workers whose coordinator was killed; they end by themselves."""
        self._revive(0, all_of_them=True)
        while (found := workers(0)) and time.monotonic() < deadline:
            time.sleep(0.005)
        _reap(0)
        return [f"{len(found)} workers outlive their sweep"] if found else []

    def _end_all(self, coordinator: Child) -> None:
        for pid in (*workers(coordinator.pid), coordinator.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        coordinator.wait()
        self._orphans_outlive(time.monotonic() + 10)

    def _trace(self) -> dict[str, list[list[int]]]:
        """For each run the process and the number of every step that was ever done."""
        found = sorted(self.steps.glob("*"))
        return {file.name: [[int(word) for word in line.split()] for line in file.open()] for file in found}

    def _two_at_work(self) -> list[str]:
        """A process that goes on after another one has begun, or begins where no state can have been saved."""
        reasons = []
        for run, rows in self._trace().items():
            turns = [pid for k, (pid, _) in enumerate(rows) if k == 0 or rows[k - 1][0] != pid]
            reasons += [f"{run}: two processes at work"] if len(turns) > len(set(turns)) else []
            numbers = [step for _, step in rows]
            leaps = [k for k in range(1, len(rows)) if numbers[k] > max(numbers[:k]) + 1]
            reasons += [f"{run}: a step was left out"] if leaps or numbers[:1] != [1] else []
        return reasons

    def _attempts(self) -> dict[str, int]:
        from atlantis.sweep.child import attempts

        return {log.name: attempts(log) for log in (self.trial / LOGS).iterdir()}


def _only_kills(ended: Outcome) -> bool:
    """Whether the sweep gave runs up, and none for another reason than that it was killed again and again."""
    failures = [line for line in ended.said.splitlines() if line.startswith("failed: ")]
    return ended.code == PART_FAILED and all("ended by SIGKILL" in line for line in failures)


# --- processes


def _adopt_orphans() -> bool:
    return ctypes.CDLL(None, use_errno=True).prctl(SUBREAPER, 1, 0, 0, 0) == 0


def workers(coordinator: int) -> list[int]:
    """Living workers: leaders of their own session that are the coordinator's children, or ours as its orphans."""
    found = []
    _reap(coordinator)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, parent, session = _status(int(entry.name))
                if state not in "ZX" and session == int(entry.name) and parent in (coordinator, os.getpid()):
                    found.append(int(entry.name))
    return sorted(found)


def _status(pid: int) -> tuple[str, int, int]:
    """State, parent and session of a process. Raises ProcessLookupError."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    return fields[0], int(fields[1]), int(fields[3])


def _reap(coordinator: int) -> None:
    """Bury the orphans that have ended: workers and nurseries, but not the coordinator, who is waited for elsewhere."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != coordinator:
            with suppress(OSError):
                state, parent, _ = _status(int(entry.name))
                if state == "Z" and parent == os.getpid():
                    os.waitpid(int(entry.name), os.WNOHANG)


def _coordinate(steps: Path, workers_at_a_time: str) -> int:
    """The coordinator's side: `atlantis sweep`, whose workers come from a nursery."""
    from atlantis.sweep import child

    assert _adopt_orphans()
    steps.mkdir(exist_ok=True)
    nursery = _nursery(steps)
    warm = {"PIPE": subprocess.PIPE, "TimeoutExpired": subprocess.TimeoutExpired}
    child.subprocess = SimpleNamespace(  # type: ignore[attr-defined, assignment]
        Popen=lambda command, **options: Worker(nursery, command, **options), **warm
    )
    return cli.main([*SWEEP[:-1], workers_at_a_time])


class Worker:
    """What the coordinator uses of a Popen, for a process that the nursery forks."""

    def __init__(
        self, nursery: socket.socket, command: Sequence[str], *, stdout: IO[bytes], cwd: Path, env: Mapping[str, str],
        **options: Any,
    ) -> None:  # fmt: skip
        reading, writing = os.pipe()
        asked = json.dumps({"command": command[3:], "cwd": str(cwd), "env": dict(env)}).encode()
        socket.send_fds(nursery, [asked], [reading, stdout.fileno()])
        os.close(reading)
        self.stdin = os.fdopen(writing, "wb")
        self.pid, self.returncode = int(nursery.recv(32)), None

    def wait(self, timeout: float) -> int:
        end = time.monotonic() + timeout
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("train", timeout)
            time.sleep(0.002)
        self.returncode = os.waitstatus_to_exitcode(ended[1])
        return self.returncode

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


def _nursery(steps: Path) -> socket.socket:
    """A process that forks workers for whoever holds the other end of a socket, and ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        theirs.close()
        return ours
    ours.close()
    while True:
        asked, descriptors, _, _ = socket.recv_fds(theirs, 1 << 20, 2)
        if not asked:
            os._exit(0)
        born, tells = os.pipe()
        if (between := os.fork()) == 0:  # ends at once, so that the coordinator inherits what it forks
            if pid := os.fork():
                os.write(tells, str(pid).encode())
                os._exit(0)
            for descriptor in (theirs.fileno(), born, tells):
                os.close(descriptor)
            _work(json.loads(asked), descriptors, steps)
        os.waitpid(between, 0)
        with suppress(BrokenPipeError):
            theirs.send(os.read(born, 32))
        for descriptor in (born, tells, *descriptors):
            os.close(descriptor)


def _work(asked: Mapping[str, Any], descriptors: Sequence[int], steps: Path) -> None:
    """The worker's side: `atlantis train`, which notes every step that it does; never returns."""
    from atlantis.training import loop as of_a_run
    from atlantis.training.step import Engine

    code = 70
    try:
        os.setsid()
        for number, descriptor in enumerate((*descriptors, descriptors[1])):
            os.dup2(descriptor, number)
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        sys.argv = ["atlantis", *asked["command"]]
        trace = os.open(steps / Path(asked["command"][1]).stem, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        rate_of, step_of, number = of_a_run.learning_rate, Engine.step, 0

        def learning_rate(settings: Any, step: int, total: int) -> float:
            nonlocal number
            number = step + 1
            return rate_of(settings, step, total)

        def step(self: Engine, *arguments: Any) -> float:
            value = step_of(self, *arguments)
            os.write(trace, f"{os.getpid()} {number}\n".encode())
            return value

        of_a_run.learning_rate = learning_rate
        Engine.step = step  # type: ignore[method-assign, assignment]
        code = cli.main(asked["command"])
    finally:
        sys.stdout.flush()
        os._exit(code)
