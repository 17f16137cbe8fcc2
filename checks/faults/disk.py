"""Disks that are full, limited or read-only: CLEAN, and RECOVER once there is room. Needs a tmpfs, so to be root."""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from checks.faults.common import (
    RUN,
    TRAIN,
    Options,
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

POINTS = 20
PAGE = 4096
ROOMY = 64 << 20
WORLD, DATA = "outputs/worlds/mine", "outputs/datasets/mine"
DATASET = ("data", "distance", "--world", WORLD, "--out", DATA, "--n-train", "200", "--n-val", "8", "--n-test", "8")


def suite(lab: Path, options: Options) -> dict[str, Any] | None:
    with_world, trained = copy(lab / "new", "with_world"), copy(lab / "done", "trained")
    world = ("world", "build", "--cities", "cities.csv", "--out", WORLD)
    assert run(with_world, *world).code == 0
    prepared = copy(lab / "done", "prepared")
    shutil.rmtree(prepared / RUN)
    writers = {
        "world": (lab / "new", world),
        "dataset": (with_world, DATASET),
        "training": (prepared, TRAIN),
        "probing": (trained, ("probe", str(RUN))),
    }
    if options.quick:
        writers = {"dataset": writers["dataset"]}
    points = 2 if options.quick else POINTS
    (disk := lab / "disk").mkdir()
    results: dict[str, Any] = {"full": {}, "limited": {}, "read-only": {}}
    try:
        for name, (start, arguments) in writers.items():
            whole = copy(start, "whole")
            assert (outcome := run(whole, *arguments)).code == 0, outcome.said
            reference = counted(whole)
            results["full"][name] = _full(disk, start, whole, arguments, reference, points)
            results["read-only"][name] = _read_only(disk, start, arguments, reference)
            results["limited"][name] = _limited(start, whole, arguments, reference, points // 2)
    except subprocess.CalledProcessError:
        return None
    return results


@contextmanager
def tmpfs(disk: Path, size: int) -> Iterator[None]:
    _mount("-t", "tmpfs", "-o", f"size={size}", "none", disk)
    try:
        yield
    finally:
        subprocess.run(["umount", str(disk)], check=True, capture_output=True)


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


def room(folder: Path) -> int:
    """Bytes that a copy of the folder takes on a tmpfs, in whole pages."""
    return sum(-(-file.stat().st_size // PAGE) * PAGE for file in folder.rglob("*") if file.is_file()) + PAGE


def _full(
    disk: Path, start: Path, whole: Path, arguments: tuple[str, ...], reference: dict[str, str], points: int
) -> dict[str, Any]:
    """The disk is full after so many pages, spread evenly from none to all that the command writes."""
    clean, recovered, before_, after_ = Tally(), Tally(), room(start), room(whole)
    for point in range(points):
        size = before_ + (after_ - before_) * point // (points + 2) // PAGE * PAGE
        with tmpfs(disk, ROOMY):
            trial = copy(start, "trial", disk)
            before = whole_artifacts(trial)
            _mount("-o", f"remount,size={size}", disk)
            outcome = run(trial, *arguments)
            clean.add([f"{size} bytes: {reason}" for reason in not_clean(outcome, trial, before)])
            _mount("-o", f"remount,size={ROOMY}", disk)
            outcome = run(trial, *arguments)
            recovered.add([f"{size} bytes: {reason}" for reason in not_recovered(outcome, trial, reference)])
    return {"clean": clean.as_dict(), "recovered": recovered.as_dict()}


def _read_only(disk: Path, start: Path, arguments: tuple[str, ...], reference: dict[str, str]) -> dict[str, Any]:
    clean, recovered = Tally(), Tally()
    with tmpfs(disk, ROOMY):
        trial = copy(start, "trial", disk)
        before = whole_artifacts(trial)
        _mount("-o", "remount,ro", disk)
        outcome = run(trial, *arguments)
        clean.add(not_clean(outcome, trial, before))
        _mount("-o", "remount,rw", disk)
        recovered.add(not_recovered(run(trial, *arguments), trial, reference))
    return {"clean": clean.as_dict(), "recovered": recovered.as_dict()}


def _limited(
    start: Path, whole: Path, arguments: tuple[str, ...], reference: dict[str, str], points: int
) -> dict[str, Any]:
    """No file may be larger than so many bytes (RLIMIT_FSIZE), up to the largest that the command writes."""
    clean, recovered = Tally(), Tally()
    old = {file.relative_to(start) for file in start.rglob("*")}
    largest = max(
        file.stat().st_size for file in whole.rglob("*") if file.is_file() and file.relative_to(whole) not in old
    )
    for point in range(1, points + 1):
        limit = largest * point // (points + 1)

        def limited(limit: int = limit) -> int:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            return command(*arguments)()

        trial = copy(start, "trial")
        before = whole_artifacts(trial)
        outcome = fork(limited, trial).wait()
        clean.add([f"limit {limit}: {reason}" for reason in not_clean(outcome, trial, before)])
        outcome = run(trial, *arguments)
        recovered.add([f"limit {limit}: {reason}" for reason in not_recovered(outcome, trial, reference)])
    return {"clean": clean.as_dict(), "recovered": recovered.as_dict()}
