"""What every suite shares: a small laboratory, children that are forked and may be killed, and the two verdicts.

CLEAN: a documented exit code; one message naming file, line or key and the remedy, no traceback; nothing half-made
under a final name; every earlier artifact unchanged by hash.

RECOVER: the same command again ends with the datasets, weights, optimizer state and metric log of an uninterrupted run,
byte for byte, and leaves nothing behind.

A child is forked from a process that has made the slow imports, with one thread: it starts in milliseconds, and a
SIGKILL ends it as it would end any process.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atlantis import artifacts, cli, signals
from atlantis.errors import INTERRUPTED, OK, PART_FAILED, TERMINATED, USER_MISTAKE

RECORDS = Path(__file__).with_name("records")
DOCUMENTED = (OK, PART_FAILED, USER_MISTAKE, INTERRUPTED, TERMINATED, *(128 + n for n in signals.NOTICES))
RUN = Path("outputs/experiments/small")
TRAIN = ("train", "small.yaml", "--resume", "--no-report")
REMEDIES = re.compile(r"; |choose|make |remove|use |go on|wait|run |with another|--\w+|restore|Lower", re.I)

CONFIG = """\
name: small
output_root: outputs
world: {cities: cities.csv, regions: [{count: 4}]}
dataset: {kind: distance, n_train: 160, n_val: 16, n_test: 16}
model: {hidden_size: 16, n_layers: 2, n_heads: 2, mlp_size: 32}
training: {batch_size: 32, epochs: 3.0, learning_rate: 3.0e-3, warmup_steps: 3, compile: "no"}
evaluation: {n_items: 8, steps: [0, 3], fractions: [0.5, 1.0], probe: false}
probe: {layers: [0, 1]}
"""
"""15 steps in 3 epochs; checkpoints at 0, 3, 8 and 15."""


@dataclass(frozen=True)
class Options:
    """`n`: trials, where a suite draws them at random; `quick`: a small part of everything, for the tests."""

    n: int = 1000
    quick: bool = False
    seed: int = 1


# --- children


@dataclass
class Outcome:
    """How a child ended: its exit code (negative: the signal), what it said on standard error, the seconds it took."""

    code: int
    said: str
    seconds: float


@dataclass
class Child:
    """A forked process at work in `folder`."""

    pid: int
    log: Path
    started: float = field(default_factory=time.monotonic)

    def kill(self, signum: int = signal.SIGKILL) -> None:
        os.kill(self.pid, signum)

    def wait(self, timeout: float = 120.0) -> Outcome:
        """How it ended; after `timeout` seconds it is killed, and its code is -9."""
        deadline = time.monotonic() + timeout
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                deadline = float("inf")
            time.sleep(0.001)
        seconds = time.monotonic() - self.started
        said = self.log.read_text(encoding="utf-8", errors="replace")
        self.log.unlink()
        return Outcome(os.waitstatus_to_exitcode(ended[1]), said, seconds)


def fork(work: Callable[[], int | None], folder: Path) -> Child:
    """Start `work` in a process of its own whose current folder is `folder`."""
    log = Path(tempfile.mkstemp(prefix="said-", dir=scratch())[1])
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return Child(pid, log)
    code = 70
    try:
        os.chdir(folder)
        said, nowhere = os.open(log, os.O_WRONLY | os.O_APPEND), os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)
        os.dup2(said, 2)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        code = work() or 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def command(*arguments: str | Path) -> Callable[[], int]:
    """The command line, for a child."""
    return lambda: cli.main([str(argument) for argument in arguments])


def run(folder: Path, *arguments: str | Path) -> Outcome:
    return fork(command(*arguments), folder).wait()


def preload() -> None:
    """The slow imports, once; and one thread, so that a fork inherits no pool."""
    import matplotlib

    matplotlib.use("Agg")
    import sklearn.linear_model  # noqa: F401
    import torch
    import torch._dynamo  # every optimizer imports it, and it takes seconds

    torch.set_num_threads(1)
    import atlantis.report.figures
    import atlantis.report.page
    import atlantis.training  # noqa: F401


# --- the laboratory


_scratch: list[Path] = []


def scratch() -> Path:
    """The folder in which all of this happens; removed at the end of `laboratory`."""
    return _scratch[-1]


@contextmanager
def laboratory(parent: Path | None = None, quick: bool = False, like: Path | None = None) -> Iterator[Path]:
    """A scratch folder with `new/` (config and cities) and `done/` (the same after an uninterrupted run).

    `quick`: the world is in `new/` already, for to draw its map takes half of a run's time. `like`: another laboratory
    that nobody has worked in, of which this one is a copy.
    """
    from atlantis.world.cities import shipped_cities

    preload()
    with tempfile.TemporaryDirectory(prefix="faults-", dir=parent) as name:
        _scratch.append(Path(name))
        try:
            if like is not None:
                shutil.copytree(like, scratch(), dirs_exist_ok=True)
                yield scratch()
                return
            new = scratch() / "new"
            new.mkdir()
            shipped_cities().head(30).to_csv(new / "cities.csv", index=False)
            (new / "small.yaml").write_text(CONFIG)
            done = copy(new, "done")
            outcome = run(done, *TRAIN)
            assert outcome.code == 0, outcome.said
            if quick:
                shutil.copytree(done / "outputs/worlds", new / "outputs/worlds")
            yield scratch()
        finally:
            _scratch.pop()


def copy(folder: Path, name: str, parent: Path | None = None) -> Path:
    """A fresh copy of a folder for one trial."""
    target = (parent or scratch()) / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target, symlinks=True)
    return target


# --- verdicts


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its relative name."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def counted(folder: Path) -> dict[str, str]:
    """`hashes` of what RECOVER compares: all but times (run.json), pictures, locks and what is kept as damaged."""
    return {name: value for name, value in hashes(folder).items() if not NOT_COUNTED.search(name)}


NOT_COUNTED = re.compile(
    r"(^|/)(run\.json|sweep\.json|\.lock|not_finite\.json|events\.out.*)$|(^|/)damaged-|/report/|/figures/|/logs/"
)


def leftovers(folder: Path) -> list[str]:
    found = (file for file in folder.rglob(".*") if artifacts.LEFTOVER.fullmatch(file.name))
    return sorted(file.relative_to(folder).as_posix() for file in found)


def not_recovered(outcome: Outcome, folder: Path, reference: Mapping[str, str]) -> list[str]:
    """Why this is not RECOVER; `outcome` is that of the last command, `reference` the `counted` of an unbroken run."""
    reasons = [f"exit code {outcome.code}: {outcome.said[-400:]}"] if outcome.code else []
    after = counted(folder)
    reasons += [f"missing: {name}" for name in reference.keys() - after.keys()]
    reasons += [f"other bytes: {name}" for name in reference.keys() & after.keys() if reference[name] != after[name]]
    reasons += [f"too much: {name}" for name in after.keys() - reference.keys()]
    return reasons + [f"left over: {name}" for name in leftovers(folder)]


FINAL_NAMES = ("worlds/*", "datasets/*", "experiments/*/checkpoints/*", "experiments/*/state/*")


def whole_artifacts(folder: Path) -> dict[str, str]:
    """The digest of each artifact below a folder, by its relative name; "" for one that is not whole."""
    made = {entry for pattern in FINAL_NAMES for entry in folder.glob(f"outputs/{pattern}")}
    made |= {file.parent for file in folder.rglob(artifacts.MANIFEST)}
    named = {entry.relative_to(folder).as_posix(): entry for entry in sorted(made)}
    return {
        name: hashlib.sha256((entry / artifacts.MANIFEST).read_bytes()).hexdigest() if artifacts.is_whole(entry) else ""
        for name, entry in named.items()
        if "/." not in f"/{name}" and not entry.name.startswith("damaged-")
    }


def not_clean(
    outcome: Outcome, folder: Path, before: Mapping[str, str], codes: tuple[int, ...] = (USER_MISTAKE,)
) -> list[str]:
    """Why this is not CLEAN; `before` is `whole_artifacts(folder)` before the command."""
    reasons = [] if outcome.code in codes else [f"exit code {outcome.code}"]
    errors = [line for line in outcome.said.splitlines() if line.startswith("error: ")]
    if "Traceback" in outcome.said or "Exception ignored" in outcome.said:
        reasons.append("traceback")
    if USER_MISTAKE in codes and outcome.code == USER_MISTAKE:
        reasons += [] if len(errors) == 1 else [f"{len(errors)} messages"]
        message = outcome.said[outcome.said.find("error: ") + 7 :]
        reasons += [] if ":" in message and REMEDIES.search(message) else ["no file or key, or no remedy"]
    after = whole_artifacts(folder)
    for name, digest in before.items():
        rotated = name not in after and "/state/" in name and any("/state/" in other for other in after)
        if digest and after.get(name) != digest and not rotated:
            reasons.append(f"earlier artifact changed: {name}")
    reasons += [f"half-made: {name}" for name, digest in after.items() if not digest and name not in before]
    for log in folder.glob("outputs/experiments/*/metrics.jsonl"):
        if (data := log.read_bytes()) and not data.endswith(b"\n"):
            reasons.append(f"half a line: {log.name}")
    return reasons + [f"{reason}: {outcome.said[-300:]}" for reason in reasons[:1]]


@dataclass
class Tally:
    """Trials of one kind, how many held, and the first few reasons of those that did not."""

    trials: int = 0
    held: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, reasons: list[str]) -> bool:
        self.trials += 1
        self.held += not reasons
        if reasons and len(self.reasons) < 5:
            self.reasons.append(" | ".join(reasons)[:600])
        return not reasons

    def as_dict(self) -> dict[str, Any]:
        plain = [reason.replace(str(_scratch[-1]) if _scratch else "\0", "...") for reason in self.reasons]
        return {"trials": self.trials, "held": self.held, "reasons": plain}
