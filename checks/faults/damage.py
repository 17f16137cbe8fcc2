"""Truncated, flipped, missing and swapped files: is each found before it is used, and does training get over it?

Finding is asked of the functions that everything loads by; a part of the damage is then given to `train --resume`,
which must say so and end with the bytes of an unbroken run, and to `train --resume --strict`, which must refuse.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlantis.errors import UserError
from checks.faults.common import (
    RUN,
    TRAIN,
    Options,
    Tally,
    copy,
    counted,
    fork,
    not_clean,
    not_recovered,
    run,
    whole_artifacts,
)

Check = Callable[[], object]


def suite(lab: Path, options: Options) -> dict[str, Any]:
    random_ = random.Random(options.seed)
    stopped = stopped_run(lab)
    target = copy(stopped, "target")
    kinds = _kinds(target)
    flips, percents = (40, range(5, 100, 45)) if options.quick else (10 * options.n, range(100))
    results: dict[str, Any] = {"flips": {}, "truncated": {}, "missing": {}, "swapped": {}}
    share = flips // len(kinds)
    for name, (folder, found) in kinds.items():
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        results["flips"][name] = _flipped(files, found, share, random_)
        results["truncated"][name] = _truncated(files, found, percents)
        results["missing"][name] = _missing(files, found)
    results["swapped"] = _swapped(target, kinds)
    results["resumed"], results["strict"] = _resumed(lab, stopped, 3 if options.quick else options.n // 20, random_)
    return results


def stopped_run(lab: Path) -> Path:
    """The small run, stopped after step 9 with states at 8 and 9."""
    import os
    import signal

    from atlantis.training.step import Engine

    folder = copy(lab / "new", "stopped")
    step, n = Engine.step, 0

    def stop(self: Engine, *arguments: Any) -> float:
        nonlocal n
        n += 1
        if n == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments)

    def work() -> int:
        from atlantis import cli

        Engine.step = stop  # type: ignore[method-assign]
        return cli.main(list(TRAIN))

    outcome = fork(work, folder).wait()
    assert outcome.code == 143, outcome
    return folder


def _kinds(stopped: Path) -> dict[str, tuple[Path, Check]]:
    """What may be damaged, and what finds it: each raises UserError."""
    from atlantis.data.dataset import Dataset
    from atlantis.model.checkpoint import load_checkpoint
    from atlantis.training.state import usable_state
    from atlantis.world import World

    run_, dataset = stopped / RUN, next((stopped / "outputs/datasets").iterdir())
    world, checkpoint = next((stopped / "outputs/worlds").iterdir()), run_ / "checkpoints/checkpoint-3"
    return {
        "checkpoint": (checkpoint, lambda: load_checkpoint(checkpoint)),
        "state": (run_ / "state/state-9", lambda: usable_state(run_, strict=True)),
        "dataset": (dataset, lambda: Dataset.load(dataset)),
        "world": (world, lambda: World.load(world)),
    }


def _found(check: Check) -> list[str]:
    """Nothing if the damage is found and said; else why not."""
    try:
        check()
    except UserError:
        return []
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    return ["not found"]


def _flipped(files: list[Path], found: Check, n: int, random_: random.Random) -> dict[str, Any]:
    """One bit of one byte, each byte of the folder being as likely as any other; small files get a tenth of all."""
    tally, sizes = Tally(), [file.stat().st_size for file in files]
    for k in range(n):
        file = random_.choice(files) if k % 10 == 0 else random_.choices(files, sizes)[0]
        data = file.read_bytes()
        place, bit = random_.randrange(len(data)), random_.randrange(8)
        flipped = bytes([data[place] ^ 1 << bit])
        with open(file, "r+b") as stream:
            stream.seek(place)
            stream.write(flipped)
        tally.add([f"{file.name} byte {place} bit {bit}: {reason}" for reason in _found(found)])
        file.write_bytes(data)
    return tally.as_dict()


def _truncated(files: list[Path], found: Check, percents: range) -> dict[str, Any]:
    tally = Tally()
    for file in files:
        data = file.read_bytes()
        for percent in percents:
            file.write_bytes(data[: len(data) * percent // 100])
            tally.add([f"{file.name} at {percent} %: {reason}" for reason in _found(found)])
        file.write_bytes(data)
    return tally.as_dict()


def _missing(files: list[Path], found: Check) -> dict[str, Any]:
    tally = Tally()
    for file in files:
        data = file.read_bytes()
        file.unlink()
        tally.add([f"{file.name}: {reason}" for reason in _found(found)])
        file.write_bytes(data)
    return tally.as_dict()


def _swapped(stopped: Path, kinds: dict[str, tuple[Path, Check]]) -> dict[str, Any]:
    """Files of two checkpoints, two states or two splits exchanged; and whole folders."""
    tally, run_ = Tally(), stopped / RUN
    state = kinds["state"][1]
    train, test = (kinds["dataset"][0] / split / "data-00000-of-00001.arrow" for split in ("train", "test"))
    weights = [run_ / f"checkpoints/checkpoint-{step}/model.safetensors" for step in (3, 8)]
    states = [run_ / f"state/state-{step}" for step in (8, 9)]
    cases: list[tuple[Path, Path, Check]] = [
        (train, test, kinds["dataset"][1]),
        (weights[0], weights[1], kinds["checkpoint"][1]),
        (states[0] / "state.safetensors", states[1] / "state.safetensors", state),
        (states[0] / "progress.json", states[1] / "progress.json", state),
        (states[0], states[1], state),
        (weights[0].parent, weights[1].parent, state),
    ]
    for one, other, found in cases:
        _exchange(one, other)
        tally.add([f"{one.name} and {other.name} exchanged: {reason}" for reason in _found(found)])
        _exchange(one, other)
    return tally.as_dict()


def _exchange(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def _resumed(lab: Path, stopped: Path, n: int, random_: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """Damage anything that a resumed run reads, and resume it; `--strict` first."""
    reference, resumed, strict = counted(lab / "done"), Tally(), Tally()
    for _ in range(n):
        trial = copy(stopped, "trial")
        damaged = spoil(_read_by_training(trial), random_)
        before = whole_artifacts(trial)
        outcome = run(trial, *TRAIN, "--strict")
        strict.add([f"{damaged}: {reason}" for reason in not_clean(outcome, trial, before)])
        outcome = run(trial, *TRAIN)
        reasons = not_recovered(outcome, trial, reference)
        reasons += [] if "damaged: " in outcome.said else ["nothing said"]
        resumed.add([f"{damaged}: {reason}" for reason in reasons])
    shutil.rmtree(stopped)
    return resumed.as_dict(), strict.as_dict()


def _read_by_training(trial: Path) -> list[Path]:
    found = [file for name in ("checkpoints", "state") for file in (trial / RUN / name).rglob("*")]
    found += list((trial / "outputs/datasets").rglob("*")) + list((trial / "outputs/worlds").rglob("*"))
    return sorted(file for file in [*found, trial / RUN / "metrics.jsonl"] if file.is_file())


def spoil(files: list[Path], random_: random.Random, kind: str = "") -> str:
    """Cut one of the files short (`kind` truncated) or flip one of its bits (flipped); what was done."""
    file = random_.choice(files)
    data = bytearray(file.read_bytes())
    if (kind or random_.choice(("truncated", "flipped"))) == "truncated":
        length = random_.randrange(len(data))
        file.write_bytes(data[:length])
        return f"{file.parent.name}/{file.name} cut to {length} bytes"
    place = random_.randrange(len(data))
    data[place] ^= 1 << random_.randrange(8)
    file.write_bytes(data)
    return f"{file.parent.name}/{file.name} flipped at {place}"
