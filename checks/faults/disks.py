"""File systems and homes of clusters: no flock, folders that cannot be flushed or renamed onto, and nobody at home.

What a file system refuses is planted in the child's own calls; each variant is tried with every errno by which file
systems say it. Two writers must never meet, with flock, without it, or some with and some without.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import random
import re
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from checks.faults.cases.kernels import copying_compiler
from checks.faults.common import (
    RUN,
    TRAIN,
    Options,
    Outcome,
    Tally,
    command,
    copy,
    counted,
    fork,
    not_clean,
    not_recovered,
    run,
    whole_artifacts,
)

NO_LOCKS = ("ENOLCK", "EOPNOTSUPP", "ENOSYS", "EINVAL", "ENOTSUP")
NO_FOLDER_FSYNC = ("EINVAL", "ENOTSUP", "EBADF", "ENOSYS")
NO_RENAME_ONTO = ("EEXIST", "ENOTEMPTY", "EISDIR", "EPERM", "EACCES")
TEN_YEARS_S = 10 * 365.25 * 86_400
WORLD = ("world", "build", "--cities", "cities.csv", "--out", "made")
WITH_KERNELS = (*TRAIN, "training.compile=auto")
Plant = Callable[[], None]


def suite(lab: Path, options: Options) -> dict[str, Any]:
    reference, random_ = counted(lab / "done"), random.Random(options.seed)
    rounds = 1 if options.quick else max(2, options.n // 500)
    codes = NO_LOCKS[:1] if options.quick else NO_LOCKS
    many = 4 if options.quick else 10
    return {
        "locks": {
            "no flock": _same(lab / "new", reference, {code: _no_flock(code) for code in codes}),
            "no flock, killed": _killed(lab / "new", reference, codes, rounds, random_),
            "no flock, ten at once": _together(lab / "new", reference, rounds, with_flock=0, without=many),
            "five with flock, five without": _together(
                lab / "new", reference, rounds, with_flock=many // 2, without=many // 2
            ),
        },
        "fsync": _fsync(lab, reference, options.quick),
        "rename": _rename(lab, reference, options.quick),
        "homes": _homes(lab, options.quick),
    }


# --- what is planted


def _error(code: str) -> OSError:
    number = getattr(errno, code)
    return OSError(number, os.strerror(number))


def _no_flock(code: str) -> Plant:
    def plant() -> None:
        def flock(descriptor: int, kind: int) -> None:
            raise _error(code)

        fcntl.flock = flock

    return plant


def _no_fsync(code: str, of: Callable[[int], bool]) -> Plant:
    """fsync fails for what has such a mode."""

    def plant() -> None:
        real = os.fsync

        def fsync(descriptor: int) -> None:
            if of(os.fstat(descriptor).st_mode):
                raise _error(code)
            real(descriptor)

        os.fsync = fsync

    return plant


def _no_rename(code: str, where: Callable[[Path], bool]) -> Plant:
    """Nothing is renamed to a path for which `where` holds."""

    def plant() -> None:
        for name in ("rename", "replace"):
            real = getattr(os, name)

            def renamed(source: Any, target: Any, real: Any = real, **more: Any) -> None:
                if where(Path(target)):
                    raise _error(code)
                real(source, target, **more)

            setattr(os, name, renamed)

    return plant


def _planted(plant: Plant, *arguments: str) -> Callable[[], int]:
    def work() -> int:
        plant()
        return command(*arguments)()

    return work


def _left(trial: Path) -> list[str]:
    """Claims that nobody took back."""
    return [f"left over: {file.name}" for file in trial.rglob(".*.lease-*")]


# --- trials


def _same(start: Path, reference: dict[str, str], plants: dict[str, Plant]) -> dict[str, Any]:
    """The run ends with the bytes of one that nothing disturbed."""
    tally = Tally()
    for name, plant in plants.items():
        trial = copy(start, "trial")
        outcome = fork(_planted(plant, *TRAIN), trial).wait()
        tally.add([f"{name}: {reason}" for reason in not_recovered(outcome, trial, reference) + _left(trial)])
    return tally.as_dict()


def _killed(
    start: Path, reference: dict[str, str], codes: Sequence[str], rounds: int, random_: random.Random
) -> dict[str, Any]:
    """A run is killed while it holds its lease, and every clock is ten years off: the next one needs no unlocking."""
    tally = Tally()
    for code in list(codes) * rounds:
        trial = copy(start, "trial")
        child = fork(_planted(_no_flock(code), *TRAIN), trial)
        deadline = time.monotonic() + 60
        while not list((trial / RUN).glob(".lock.lease-*")) and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(random_.uniform(0, 0.3))
        child.kill()
        child.wait()
        off = random_.choice((-TEN_YEARS_S, 0.0, TEN_YEARS_S))
        for claim in trial.rglob(".*.lease-*"):
            os.utime(claim, (time.time() + off, time.time() + off))
        outcome = fork(_planted(_no_flock(code), *TRAIN), trial).wait()
        tally.add([f"{code}: {reason}" for reason in not_recovered(outcome, trial, reference) + _left(trial)])
    return tally.as_dict()


def _together(start: Path, reference: dict[str, str], rounds: int, with_flock: int, without: int) -> dict[str, Any]:
    """Of so many at once, some with flock and some without, one works at most and the others are refused.

    With and without, all may be refused: each of two that come at the same moment may see the other. Then, as in the
    end whatever happened, the same command again ends with the run.
    """
    tally, refused = Tally(), 0
    for _ in range(rounds):
        trial = copy(start, "trial")
        work = [command(*TRAIN)] * with_flock + [_planted(_no_flock("ENOLCK"), *TRAIN)] * without
        outcomes = [child.wait() for child in [fork(one, trial) for one in work]]
        worked = [outcome for outcome in outcomes if outcome.code == 0 and "nothing to train" not in outcome.said]
        others = [outcome for outcome in outcomes if outcome.code != 0]
        refused += len(others)
        reasons = [reason for outcome in others for reason in not_clean(outcome, trial, {})]
        reasons += ["several worked"] if len(worked) > 1 else []
        reasons += ["nobody worked"] if not worked and not with_flock else []
        tally.add(reasons + not_recovered(run(trial, *TRAIN), trial, reference) + _left(trial))
    return tally.as_dict() | {"refused": refused}


def _fails_and_goes_on(
    start: Path, reference: dict[str, str], plants: dict[str, Plant], arguments: Sequence[str]
) -> dict[str, Any]:
    """The command is refused, CLEAN; without what was planted it ends as it should."""
    tally = Tally()
    for name, plant in plants.items():
        trial = copy(start, "trial")
        before = whole_artifacts(trial)
        outcome = fork(_planted(plant, *arguments), trial).wait()
        reasons = not_clean(outcome, trial, before)
        reasons += not_recovered(run(trial, *arguments), trial, reference)
        tally.add([f"{name}: {reason}" for reason in reasons])
    return tally.as_dict()


def _fsync(lab: Path, reference: dict[str, str], quick: bool) -> dict[str, Any]:
    codes = NO_FOLDER_FSYNC[:1] if quick else NO_FOLDER_FSYNC
    broken = {
        "a folder, EIO": _no_fsync("EIO", stat.S_ISDIR),
        "a file, EIO": _no_fsync("EIO", stat.S_ISREG),
        "a file, EINVAL": _no_fsync("EINVAL", stat.S_ISREG),
    }
    if quick:
        broken = {"a file, EIO": broken["a file, EIO"]}
    return {
        "no folder can be flushed": _same(
            lab / "new", reference, {code: _no_fsync(code, stat.S_ISDIR) for code in codes}
        ),
        "the disk fails": _fails_and_goes_on(lab / "new", reference, broken, TRAIN),
    }


def _rename(lab: Path, reference: dict[str, str], quick: bool) -> dict[str, Any]:
    tally = Tally()
    built = copy(lab / "new", "built")
    assert (outcome := run(built, *WORLD)).code == 0, outcome.said
    for code in NO_RENAME_ONTO[:1] if quick else NO_RENAME_ONTO:
        trial = copy(lab / "new", "trial")
        (trial / "made").mkdir()
        outcome = fork(_planted(_no_rename(code, Path.is_dir), *WORLD), trial).wait()
        tally.add([f"{code}: {reason}" for reason in not_recovered(outcome, trial, counted(built))])
    codes = ("EIO",) if quick else ("EXDEV", "EIO", "EPERM")
    broken = {code: _no_rename(code, lambda target: True) for code in codes}
    return {
        "onto an empty folder": tally.as_dict(),
        "refused": _fails_and_goes_on(lab / "new", reference, broken, TRAIN),
    }


def _homes(lab: Path, quick: bool) -> dict[str, Any]:
    """Wherever the home is, the kernels are used and the weights are the same; one notice says where they are."""
    usual = copy(lab / "new", "usual")
    (lab / "home").mkdir()
    assert (outcome := _at_home(usual, {"HOME": str(lab / "home")})).code == 0, outcome.said
    reference = counted(usual)
    (lab / "file").touch()
    if (library := next((lab / "home").rglob("*.so"), None)) is not None:  # else nothing was compiled
        copying_compiler(lab / "compiler", library)
    variants: dict[str, dict[str, str | None]] = {
        "no home, no name": {"HOME": None},
        "a home that cannot be made": {"HOME": "/proc/nobody"},
        "a home that cannot be written to": {"HOME": "/proc"},
        "a relative home": {"HOME": "some/where"},
        "a file": {"HOME": str(lab / "file")},
        "XDG_CACHE_HOME is a file": {"HOME": str(lab / "home"), "XDG_CACHE_HOME": str(lab / "file")},
        "XDG_CACHE_HOME cannot be written to": {"HOME": str(lab / "home"), "XDG_CACHE_HOME": "/proc/cache"},
        "XDG_CACHE_HOME is relative": {"HOME": str(lab / "home"), "XDG_CACHE_HOME": "cache"},
    }
    tally = Tally()
    for name, variables in list(variants.items())[: 2 if quick else None]:
        trial = copy(lab / "new", "trial")
        outcome = _at_home(trial, variables | {"PATH": f"{lab / 'compiler'}{os.pathsep}{os.environ['PATH']}"})
        reasons = not_recovered(outcome, trial, reference)
        reasons += _more_than_a_line(outcome.said)
        tally.add([f"{name}: {reason}" for reason in reasons])
    return {"the same weights": tally.as_dict()} | ({} if quick else {"new interpreters": _interpreters(lab)})


def _more_than_a_line(said: str) -> list[str]:
    """A reason if a command says more than one line about its home.

    What it took of the file of cities, and how far the run named small is, count as none.
    """
    lines = [
        line
        for line in said.splitlines()
        if line and not re.search(r"cities\.csv: |^small: |: training [0-9]+ steps", line)
    ]
    return [f"said: {said[-300:]}"] if len(lines) > 1 else []


def _at_home(trial: Path, variables: dict[str, str | None]) -> Outcome:
    """A run that uses the kernels, with these variables and no entry in the list of users."""

    def work() -> int:
        from atlantis import home
        from atlantis.model.fast import kernels

        def unknown(uid: int) -> Any:
            raise KeyError(f"getpwuid(): uid not found: {uid}")

        pwd.getpwuid = unknown
        for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME"):
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in variables.items() if value is not None})
        os.environ["TMPDIR"], tempfile.tempdir = str(trial.parent), None
        for cached in (home.cache_folder, home.private_folder, kernels.library):
            cached.cache_clear()
        return command(*WITH_KERNELS)()

    return fork(work, trial).wait()


def _interpreters(lab: Path) -> dict[str, Any]:
    """Whole commands, pictures included, from a new interpreter: nothing that is imported may ask for a home."""
    tally = Tally()
    code = "import pwd, runpy, sys\ndef none(uid): raise KeyError(uid)\npwd.getpwuid = none\n"
    code += "runpy.run_module('atlantis', run_name='__main__')"
    source = os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)
    lacking = ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "HF_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in lacking}
    for variables in ({}, {"HOME": "/proc/nobody"}):
        trial = copy(lab / "new", "trial")
        done = subprocess.run(
            [sys.executable, "-c", code, "train", "small.yaml"], cwd=trial, capture_output=True, text=True,
            env=environment | variables | {"PYTHONPATH": source, "TMPDIR": str(lab)},
        )  # fmt: skip
        reasons = [] if done.returncode == 0 else [f"exit code {done.returncode}: {done.stderr[-300:]}"]
        reasons += [] if (trial / RUN / "report" / "index.html").is_file() else ["no report"]
        reasons += _more_than_a_line(done.stderr)
        tally.add([f"{variables}: {reason}" for reason in reasons])
    return tally.as_dict()
