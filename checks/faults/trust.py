"""What decides a number is sealed: files edited or exchanged, between stop and resume and after a run has finished.

Each attack must be refused with one message, or got over with the bytes of a run that nothing disturbed. None of the
damage is random, and most of it is valid: a config that loads, a log of whole lines, a checkpoint with its manifest.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlantis import artifacts
from checks.faults.cases import kernels, surroundings
from checks.faults.cases.surroundings import one_message, stop_at, with_threads
from checks.faults.common import (
    RUN,
    TRAIN,
    Options,
    Tally,
    copy,
    counted,
    not_clean,
    not_recovered,
    run,
    whole_artifacts,
)
from checks.faults.damage import stopped_run

AGAIN = ("train", str(RUN / "config.yaml"), "--resume", "--no-report")
SHOW, REPORT = ("show", str(RUN)), ("report", str(RUN), "--out", "page.html")
Attack = Callable[[Path], None]


def suite(lab: Path, options: Options) -> dict[str, Any]:
    """Tallies by what is attacked; `quick` takes every sixth attack of each kind."""
    stopped, every = stopped_run(lab), 6 if options.quick else 1
    other = _other_seed(lab)
    results = {
        "config": _config(lab, stopped, every),
        "record": _record(lab, stopped, every),
        "log": _log(lab, every),
        "checkpoints": _checkpoints(lab, stopped, other, every),
        "states": _states(lab, stopped, other),
        "base": _base(lab, other, every),
        "kernels": kernels.tally(every),
        "conditions": _conditions(lab, stopped),
        "surroundings": surroundings.tally(lab, every),
    }
    return {name: tally.as_dict() for name, tally in results.items()}


def _other_seed(lab: Path) -> Path:
    """The small run with another order of rows, finished."""
    folder = copy(lab / "new", "other")
    text = (folder / "small.yaml").read_text().replace("warmup_steps: 3", "warmup_steps: 3, seed: 7")
    (folder / "small.yaml").write_text(text)
    outcome = run(folder, *TRAIN)
    assert outcome.code == 0, outcome.said
    return folder


# --- verdicts


def refused(folder: Path, arguments: tuple[str, ...], says: str) -> list[str]:
    """Why a command was not refused with one message that matches `says`."""
    before = whole_artifacts(folder)
    outcome = run(folder, *arguments)
    reasons = not_clean(outcome, folder, before)
    return reasons + ([] if re.search(says, outcome.said) else [f"{says!r} is not said: {outcome.said[-300:]}"])


def recovered(folder: Path, arguments: tuple[str, ...], reference: dict[str, str], says: str) -> list[str]:
    """Why a command did not end with the bytes of `reference`, or did not say what it made again."""
    outcome = run(folder, *arguments)
    reasons = not_recovered(outcome, folder, reference)
    return reasons + ([] if re.search(says, outcome.said) else [f"{says!r} is not said: {outcome.said[-300:]}"])


def _edited(name: str, old: str, new: str) -> Attack:
    """Replace `old` by `new` where it stands first in a file of the run."""

    def attack(folder: Path) -> None:
        text = (folder / RUN / name).read_text()
        assert re.search(old, text), f"{name} has no {old}"
        (folder / RUN / name).write_text(re.sub(old, new, text, count=1))

    return attack


# --- config.yaml

CONFIG_EDITS = {
    "training.learning_rate": ("learning_rate: .*", "learning_rate: 0.02"),
    "training.batch_size": ("batch_size: .*", "batch_size: 16"),
    "training.seed": (r"(training:(\n  .*)*?\n  seed:) .*", r"\1 9"),
    "dataset.n_train": ("n_train: .*", "n_train: 150"),
    "model.init_std": ("init_std: .*", "init_std: 0.2"),
    "probe.layers": (r"(probe:(\n  .*)*?\n  layers:) .*", r"\1 [0]"),
    "evaluation.n_items": ("n_items: .*", "n_items: 4"),
    "world.seed": (r"(world:(\n  .*)*?\n  seed:) .*", r"\1 9"),
}


def _config(lab: Path, stopped: Path, every: int) -> Tally:
    tally = Tally()
    for key, (old, new) in list(CONFIG_EDITS.items())[::every]:
        for start in (stopped, lab / "done"):
            trial = copy(start, "trial")
            _edited("config.yaml", old, new)(trial)
            says = rf"config\.yaml: has been changed.*\n  {re.escape(key)}: .* -> "
            commands = [AGAIN] if start == stopped else [AGAIN, SHOW, REPORT, ("interpolate", str(RUN))]
            tally.add([f"{key}: {reason}" for command in commands for reason in refused(trial, command, says)])
    trial = copy(stopped, "trial")  # the record gone, too: the states know
    _edited("config.yaml", "learning_rate: .*", "learning_rate: 0.02")(trial)
    (trial / RUN / "run.json").unlink()
    tally.add(refused(trial, AGAIN, "another config or other data"))
    moved = copy(stopped, "trial/elsewhere/deeper")  # nothing has changed but the place
    tally.add(recovered(moved, TRAIN, counted(lab / "done"), ""))
    return tally


# --- run.json


def _json(**facts: Any) -> Attack:
    def attack(folder: Path) -> None:
        file = folder / RUN / "run.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | facts))

    return attack


def _unsealed(**facts: Any) -> Attack:
    def attack(folder: Path) -> None:
        file = folder / RUN / "run.json"
        found = json.loads(file.read_text()) | facts
        file.write_text(json.dumps({key: value for key, value in found.items() if key != "seal"}))

    return attack


def _torn(folder: Path) -> None:
    file = folder / RUN / "run.json"
    file.write_bytes(file.read_bytes()[:-40])


RECORD_EDITS: dict[str, Attack] = {
    "finished by hand": _json(status="finished", steps=9),
    "steps": _json(steps=8),
    "digests of no dict": _json(digests=[1, 2]),
    "seconds of text": _json(training_seconds="long"),
    "seconds below 0": _json(training_seconds=-1),
    "stretches of numbers": _json(stretches=[1]),
    "status null": _json(status=None),
    "another rate": _json(config={"training.learning_rate": 1.0}),
    "without the seal": _unsealed(steps=8),
    "torn": _torn,
    "a note of the user's": _json(note="my best run"),
}


def _record(lab: Path, stopped: Path, every: int) -> Tally:
    tally = Tally()
    for name, attack in list(RECORD_EDITS.items())[::every]:
        for start in (stopped, lab / "done"):
            trial = copy(start, "trial")
            attack(trial)
            for command in (AGAIN, SHOW):
                tally.add([f"{name}: {reason}" for reason in refused(trial, command, r"run\.json")])
        trial = copy(stopped, "trial")  # the advice helps
        attack(trial)
        (trial / RUN / "run.json").unlink()
        tally.add([f"{name}, removed: {reason}" for reason in recovered(trial, AGAIN, counted(lab / "done"), "")])
    return tally


# --- metrics.jsonl of a finished run


def _cut(folder: Path) -> None:
    file = folder / RUN / "metrics.jsonl"
    file.write_bytes(file.read_bytes()[:-20])


def _without_last(folder: Path) -> None:
    file = folder / RUN / "metrics.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))


def _appended(folder: Path) -> None:
    with open(folder / RUN / "metrics.jsonl", "a") as file:
        file.write('{"step": 16, "kind": "eval", "loss": 0.1}\n')


def _emptied(folder: Path) -> None:
    (folder / RUN / "metrics.jsonl").write_bytes(b"")


MENDED: dict[str, Attack] = {
    "torn": _cut,
    "last row gone": _without_last,
    "a row too many": _appended,
    "an evaluation edited": _edited("metrics.jsonl", r'(?<="mean_km": )\d', "1.0"),
    "a step edited": _edited("metrics.jsonl", r'"step": 8, "kind": "eval"', '"step": 9, "kind": "eval"'),
}
LOST: dict[str, Attack] = {"a training row edited": _edited("metrics.jsonl", r'(?<="lr": )', "1"), "emptied": _emptied}


def _log(lab: Path, every: int) -> Tally:
    tally, reference = Tally(), counted(lab / "done")
    for name, attack in [*MENDED.items(), *LOST.items()][::every]:
        trial = copy(lab / "done", "trial")
        attack(trial)
        for command in (SHOW, REPORT, (*AGAIN, "--strict")):
            reasons = one_message(run(trial, *command), r"metrics\.jsonl: has been changed")
            tally.add([f"{name}: {reason}" for reason in reasons])
        if name in MENDED:
            reasons = recovered(trial, AGAIN, reference, "damaged: .*made again from the checkpoints")
        else:
            reasons = refused(trial, AGAIN, "which nothing else holds")
        tally.add([f"{name}: {reason}" for reason in reasons])
    return tally


# --- checkpoints and states


def _replaced(source: Path, name: str) -> Attack:
    """A folder of the run gives way to the whole one of another run."""

    def attack(folder: Path) -> None:
        shutil.rmtree(folder / RUN / name)
        shutil.copytree(source / RUN / name, folder / RUN / name)

    return attack


def _removed(*names: str) -> Attack:
    def attack(folder: Path) -> None:
        for name in names:
            shutil.rmtree(folder / RUN / name)

    return attack


def _flipped(name: str) -> Attack:
    def attack(folder: Path) -> None:
        file = folder / RUN / name
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 4
        file.write_bytes(data)

    return attack


def _checkpoints(lab: Path, stopped: Path, other: Path, every: int) -> Tally:
    tally, reference = Tally(), counted(lab / "done")
    last, final = "checkpoints/checkpoint-15", "checkpoints/final"
    attacks: dict[str, Attack] = {
        "final removed": _removed(final),
        "final flipped": _flipped(f"{final}/model.safetensors"),
        "final without its manifest": lambda folder: (folder / RUN / final / artifacts.MANIFEST).unlink(),
        "final of another run": _replaced(other, final),
        "last flipped": _flipped(f"{last}/model.safetensors"),
        "last of another run": _replaced(other, last),
        "last scores flipped": _flipped(f"{last}/eval_results.json"),
    }
    for name, attack in list(attacks.items())[::every]:
        trial = copy(lab / "done", "trial")
        attack(trial)
        tally.add([f"{name}: {reason}" for reason in refused(trial, (*AGAIN, "--strict"), "checkpoints")])
        tally.add([f"{name}: {reason}" for reason in recovered(trial, AGAIN, reference, "damaged: .*made again")])
    trial = copy(lab / "done", "trial")  # the last checkpoint is gone too, which may be a wish: from the state
    _removed(final, last)(trial)
    kept = {name: digest for name, digest in reference.items() if last not in name}
    tally.add(recovered(trial, AGAIN, kept, "made again from the last state"))
    trial = copy(lab / "done", "trial")
    _removed(final, last, "state")(trial)
    tally.add(refused(trial, AGAIN, "cannot be made again"))
    trial = copy(lab / "done", "trial")
    _removed(final)(trial)
    tally.add(refused(trial, ("interpolate", str(RUN)), "--resume"))
    trial = copy(stopped, "trial")  # between stop and resume, an earlier one of another run
    _replaced(other, "checkpoints/checkpoint-3")(trial)
    tally.add(recovered(trial, AGAIN, reference, "is not the checkpoint that this run wrote"))
    trial = copy(lab / "done", "trial")
    _replaced(other, "checkpoints/checkpoint-3")(trial)
    outcome = run(trial, *AGAIN)
    tally.add([] if outcome.code == 0 and "is not the checkpoint" in outcome.said else [outcome.said[-300:]])
    return tally


def _states(lab: Path, stopped: Path, other: Path) -> Tally:
    """The last state of a finished run with another seed, in a stopped run; and of that run in itself."""
    tally, trial = Tally(), copy(stopped, "trial")
    shutil.copytree(other / RUN / "state/state-15", trial / RUN / "state/state-15")
    tally.add(refused(trial, AGAIN, "another config or other data"))
    trial = copy(stopped, "trial")
    shutil.copytree(lab / "done" / RUN / "state/state-15", trial / RUN / "state/state-15")
    outcome = run(trial, *AGAIN)  # its log is longer than what is there
    tally.add(not_recovered(outcome, trial, counted(lab / "done")))
    return tally


# --- bases


def _base(lab: Path, other: Path, every: int) -> Tally:
    """A folder of the user's own, without a manifest, is another one when the run goes on."""
    tally = Tally()
    start = copy(lab / "new", "based")
    shutil.copytree(lab / "done" / RUN / "checkpoints/final", start / "mine")
    shutil.copy(lab / "done" / RUN / "config.yaml", start / "mine")
    for name in (artifacts.MANIFEST, "atlantis.json"):
        (start / "mine" / name).unlink()
    command = (*TRAIN, "base=mine")
    outcome = stop_at(start, 9, command)
    tally.add([] if outcome.code == 143 else [f"not stopped: {outcome.said[-300:]}"])
    finished = copy(start, "based-finished")
    tally.add([] if run(finished, *command).code == 0 else ["the undisturbed one did not end"])
    weights = other / RUN / "checkpoints/final/model.safetensors"
    attacks: dict[str, Callable[[Path], object]] = {
        "weights": lambda folder: shutil.copy(weights, folder / "mine"),
        "config.yaml": lambda folder: _sub(folder / "mine/config.yaml", "n_train: .*", "n_train: 150"),
        "config.json": lambda folder: _sub(
            folder / "mine/config.json", '"attention_dropout": 0.0', '"attention_dropout": 0.5'
        ),
    }
    for name, attack in list(attacks.items())[::every]:
        trial = copy(start, "trial")
        attack(trial)
        tally.add([f"{name}: {reason}" for reason in refused(trial, command, r"other data.*\n  base\w*: \w+ -> ")])
    trial = copy(lab / "done", "trial")  # a base that is a run, and its final is damaged: the advice helps
    _flipped("checkpoints/final/model.safetensors")(trial)
    command = (*TRAIN, "name=tuned", "base=small")
    tally.add(refused(trial, command, r"config\.yaml --resume"))
    run(trial, *AGAIN)
    tally.add([] if (outcome := run(trial, *command)).code == 0 else [outcome.said[-300:]])
    return tally


def _sub(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert re.search(old, text), f"{file.name} has no {old}"
    file.write_text(re.sub(old, new, text))


# --- conditions


def _conditions(lab: Path, stopped: Path) -> Tally:
    """Another number of threads, or no kernels, from stop to resume: recorded, said, and refused with --strict."""
    tally = Tally()
    trial = copy(stopped, "trial")
    before = whole_artifacts(trial)
    outcome = with_threads(trial, 2, (*AGAIN, "--strict"))
    tally.add(not_clean(outcome, trial, before) + ([] if "threads: 1 -> 2" in outcome.said else [outcome.said[-300:]]))
    outcome = with_threads(trial, 2, AGAIN)
    record = json.loads((trial / RUN / "run.json").read_text())
    stretches = [(stretch["from"], stretch["threads"]) for stretch in record["stretches"]]
    tally.add([] if outcome.code == 0 and "threads: 1 -> 2" in outcome.said else [outcome.said[-300:]])
    tally.add([] if stretches == [(0, 1), (9, 2)] else [f"stretches {stretches}"])
    trial = copy(stopped, "trial")
    outcome = run(trial, *AGAIN, "--strict")
    tally.add(not_recovered(outcome, trial, counted(lab / "done")))
    return tally
