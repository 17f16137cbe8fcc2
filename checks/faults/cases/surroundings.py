"""Closed streams, folders that go away or have no proper name, an interpreter without docstrings."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from checks.faults.common import RUN, TRAIN, Outcome, Tally, copy, counted, fork, leftovers, not_recovered


def stop_at(folder: Path, step: int, arguments: tuple[str, ...]) -> Outcome:
    """A command that gets SIGTERM as its `step`-th training step begins."""
    return at_step(folder, step, arguments, lambda: os.kill(os.getpid(), signal.SIGTERM))


def at_step(folder: Path, step: int, arguments: tuple[str, ...], act: Callable[[], object]) -> Outcome:
    """A command in which `act` is called as its `step`-th training step begins."""
    from atlantis.training.step import Engine

    take, n = Engine.step, 0

    def counting(self: Engine, *given: Any) -> float:
        nonlocal n
        n += 1
        if n == step:
            act()
        return take(self, *given)

    def work() -> int:
        from atlantis import cli

        Engine.step = counting  # type: ignore[method-assign]
        return cli.main(list(arguments))

    return fork(work, folder).wait()


def with_threads(folder: Path, threads: int, arguments: tuple[str, ...]) -> Outcome:
    """A command in a process with this many threads, as far as PyTorch says."""

    def work() -> int:
        import torch

        from atlantis import cli

        torch.get_num_threads = lambda: threads  # a fork cannot have more
        return cli.main(list(arguments))

    return fork(work, folder).wait()


def one_message(outcome: Outcome, says: str, codes: tuple[int, ...] = (2,)) -> list[str]:
    """Why this is not one message of what is wrong."""
    reasons = [] if outcome.code in codes else [f"exit code {outcome.code}"]
    reasons += ["traceback"] if "Traceback" in outcome.said or "Exception ignored" in outcome.said else []
    reasons += [] if len(re.findall("^error: ", outcome.said, re.M)) == 1 else ["not one message"]
    reasons += [] if re.search(says, outcome.said) else [f"{says!r} is not said"]
    return [*reasons, outcome.said[-300:]] if reasons else []


def tally(lab: Path, every: int) -> Tally:
    found = Tally()
    for attack in list(ATTACKS)[::every]:
        found.add([f"{attack.__name__}: {reason}" for reason in attack(lab)])
    return found


def _moved(lab: Path, act: Callable[[Path], object], stub: bool = False) -> list[str]:
    trial = copy(lab / "new", "trial")
    outcome = at_step(trial, 6, TRAIN, lambda: act(trial / RUN))
    reasons = one_message(outcome, "moved or removed")
    left = [path.name for path in (trial / RUN).rglob("*")] if (trial / RUN).exists() else None
    return reasons + ([] if left == ([] if stub else None) else [f"a stub is left: {left}"])


def moved(lab: Path) -> list[str]:
    reasons = _moved(lab, lambda folder: folder.rename(folder.with_name("elsewhere")))
    trial = lab / "trial"  # brought back, it goes on
    (trial / RUN).with_name("elsewhere").rename(trial / RUN)
    return reasons + not_recovered(fork(_command(TRAIN), trial).wait(), trial, counted(lab / "done"))


def removed(lab: Path) -> list[str]:
    return _moved(lab, shutil.rmtree)


def all_removed(lab: Path) -> list[str]:
    return _moved(lab, lambda folder: shutil.rmtree(folder.parents[1]))


def exchanged(lab: Path) -> list[str]:
    def act(folder: Path) -> None:
        folder.rename(folder.with_name("elsewhere"))
        folder.mkdir()

    return _moved(lab, act, stub=True)


def _command(arguments: tuple[str, ...]) -> Callable[[], int]:
    def work() -> int:
        from atlantis import cli

        return cli.main(list(arguments))

    return work


def _closed(lab: Path, *streams: int) -> list[str]:
    trial = copy(lab / "new", "trial")

    def work() -> int:
        from atlantis import cli

        for number in streams:
            os.close(number)
            setattr(sys, ("stdin", "stdout", "stderr")[number], None)
        return cli.main(list(TRAIN))

    return not_recovered(fork(work, trial).wait(), trial, counted(lab / "done"))


def output_closed(lab: Path) -> list[str]:
    return _closed(lab, 1)


def all_closed(lab: Path) -> list[str]:
    return _closed(lab, 0, 1, 2)


def nowhere(lab: Path) -> list[str]:
    """The current folder is gone."""
    trial = copy(lab / "new", "trial")
    reasons = []
    for arguments in (TRAIN, ("show", "small.yaml"), ("data", "inter", "--out", "here")):

        def work(arguments: tuple[str, ...] = arguments) -> int:
            os.makedirs("gone", exist_ok=True)
            os.chdir("gone")
            os.rmdir(os.getcwd())
            return _command(arguments)()

        reasons += one_message(fork(work, trial).wait(), "current folder has been removed")
    return reasons


def not_utf8(lab: Path) -> list[str]:
    """Folders whose names are no text, above everything and as the root of the outputs: one message, nothing left."""
    trial = Path(os.fsdecode(os.fsencode(lab / "trial") + b"-caf\xe9"))
    shutil.rmtree(trial, ignore_errors=True)
    shutil.copytree(lab / "new", trial)
    reasons = one_message(fork(_command(TRAIN), trial).wait(), "not UTF-8")
    root = os.fsdecode(b"out-\xe9")
    commands = [(*TRAIN, f"output_root={root}"), ("data", "inter", "--out", root), ("world", "build", "--out", root)]
    for arguments in commands:
        outcome = fork(_command(arguments), copy(lab / "new", "trial")).wait()
        reasons += [] if outcome.code == 0 else one_message(outcome, "not UTF-8|special characters")
        reasons += [f"left over: {name}" for name in leftovers(lab / "trial")]
    reasons += [f"left over: {name}" for name in leftovers(trial)]
    shutil.rmtree(trial)
    return reasons


def optimized(lab: Path) -> list[str]:
    """PYTHONOPTIMIZE=2, in a new interpreter: no docstrings, no asserts."""
    trial = copy(lab / "new", "trial")
    source = os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)
    environment = os.environ | {"PYTHONOPTIMIZE": "2", "PYTHONPATH": source}
    reasons = []
    for arguments in (("--help",), ("data", "cross", "--help"), TRAIN):
        done = subprocess.run(
            [sys.executable, "-m", "atlantis", *arguments], cwd=trial, env=environment, capture_output=True, text=True
        )
        reasons += [f"{arguments}: {done.stderr[-300:]}"] if done.returncode else []
    return reasons + not_recovered(Outcome(0, "", 0.0), trial, counted(lab / "done"))


ATTACKS = (moved, removed, all_removed, exchanged, output_closed, all_closed, nowhere, not_utf8, optimized)
