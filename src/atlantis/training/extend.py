"""A finished run made longer, as a new run that goes on from its last state.

    extend_run(Path("outputs/experiments/demo"), 100)   # -> outputs/experiments/demo_to_300

The new run begins as a copy: checkpoints, metric log and the last state, which holds the weights, the optimizer's
moments and the memory of a strategy. It has a config of its own, with more steps, and from there on it is a run like
any other. What a step does depends on the config and the step's number alone. So where the rates of the steps so far
do not depend on the run's length, as with a constant schedule, the new run has the bytes of one that was trained by its
config from the beginning.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlantis import artifacts, trust
from atlantis import config as configs
from atlantis.errors import UserError, without_remedy
from atlantis.fields import MAX_COUNT
from atlantis.model.checkpoint import FACTS, checkpoint_folders
from atlantis.progress import say
from atlantis.reading import read_json
from atlantis.settings import EvaluationConfig, RunConfig, TrainingConfig
from atlantis.strategies.registry import find
from atlantis.training.loop import train
from atlantis.training.run import RunFolder
from atlantis.training.schedule import evaluation_steps, learning_rate, steps_per_epoch
from atlantis.training.state import PROGRESS, STATE

ALLOWED = ("name", "description", "evaluation.steps", "evaluation.fractions", "evaluation.probe", "probe", "trackers")
"""What an extension may set anew: it changes no weights."""
QUARTERS = [0.25, 0.5, 0.75, 1.0]
"""Of the added steps: where a run is evaluated whose config has no `evaluation.fractions`."""
KEPT = ("digests", "code", "forks", "stretches", "training_seconds", "processor_seconds", "dataset", "base")
"""Facts of the finished run that hold for the longer one too."""


def extend_run(
    run: Path,
    steps: int,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    strict: bool = False,
    fork: bool = False,
) -> Path:
    """Make the finished run in a folder `steps` steps longer, as a new run beside it; returns the new folder.

    Its name is `<run>_to_<all steps>`, unless `overrides` has another; they may set what is in `ALLOWED`. It is
    evaluated where the run was, then at `evaluation.steps`, and at `evaluation.fractions` of the added steps, or at
    their quarters if there are none. `resume`, `strict` and `fork` are as in `train`.

    Raises UserError for a run that is not finished or not whole, for one without its last state, for a strategy that
    prepares for so many steps and no more, and what `train` raises.
    """
    if steps < 1:
        raise UserError(f"--extend {steps}: give at least 1 step more")
    config, facts = longer(run, steps, overrides)
    target = Path(config.output_root) / "experiments" / str(config.name)
    begun = (target / trust.CONFIG).is_file()
    origin = trust.read_record(target).get("extends", {}) if begun else facts
    if any(origin.get(key) != facts[key] for key in ("run", "from", "weights")):
        raise UserError(f"{target}: is there already, and is not {run} made longer; choose another name=")
    if not begun:
        _copy(run, target, config, facts)
        _say_schedule(config, facts)
        _say_missing(config, run)
        _say_epochs(config, configs.load_of_run(run))
    return train(config, resume=resume or not begun, strict=strict, fork=fork)


def longer(run: Path, steps: int, overrides: Sequence[str] = ()) -> tuple[RunConfig, dict[str, Any]]:
    """The config of a finished run with so many more steps, and what its record will say of where it comes from.

    Raises UserError as `extend_run` does.
    """
    run = Path(os.path.abspath(run)) if run.name in ("", "..") else run
    record = _checked(run)
    before, total = record["steps"], record["steps"] + steps
    if total > MAX_COUNT:
        raise UserError(
            f"--extend {steps}: {run.name} has {before:,} steps, and no run can have more than "
            f"{MAX_COUNT:,}; give at most {MAX_COUNT - before:,}"
        )
    config = configs.load(run / trust.CONFIG)
    _refuse_prepared(config, total)
    here = run.absolute().parent
    if here.name == "experiments" and Path(config.output_root).absolute() != here.parent:
        config = config.model_copy(update={"output_root": str(here.parent)})  # where the run lies now
    extended = record.get("extends", {})
    stem = re.sub(r"_to_\d+$", "", run.name) if extended else run.name
    fractions = config.evaluation.fractions or extended.get("fractions") or QUARTERS
    named = [f"name={stem}_to_{total}", f"evaluation.fractions={json.dumps(fractions)}"]
    config = configs.changed(config, [*named, *_allowed(overrides)])
    if not config.name:
        raise UserError("name: a run needs one; leave name= out to have one made")
    if any(override.startswith("evaluation.steps") for override in overrides):
        _check_steps(config.evaluation.steps, sorted(checkpoint_folders(run)), before, total)
    fractions = config.evaluation.fractions
    same = _same_rates(config.training, before, total) and extended.get("as_if_trained_at_once", True)
    rows = record.get("dataset", {}).get("counts", {}).get("train", {})
    config = config.model_copy(
        update={
            "training": _more_steps(config.training, total, sum(rows.values()) or config.dataset.sizes[0]),
            "evaluation": _evaluated(config.evaluation, sorted(checkpoint_folders(run)), before, total),
        }
    )
    facts = {"run": run.name, "from": before, "weights": record.get("weights"), "fractions": fractions}
    return config, facts | {"as_if_trained_at_once": same}


def _checked(run: Path) -> dict[str, Any]:
    """The record of a run that can be made longer: finished and whole, with its last state. UserError for another."""
    config = run / trust.CONFIG
    if not config.is_file():
        raise UserError(f"{run}: no {trust.CONFIG} in it, so it is not the folder of a run")
    record = trust.checked_record(run)
    if record.get("status") != "finished" or "steps" not in record:
        raise UserError(f"{run}: is not finished; finish it first, with `atlantis train {config} --resume`")
    seals = record.get("checkpoints", {})
    for step, folder in checkpoint_folders(run).items():
        if problem := artifacts.damage(folder) or trust.exchanged(folder, step, seals):
            raise UserError(
                f"{without_remedy(problem)}; `atlantis train {config} --resume` repairs it, or says why it cannot"
            )
    last = run / "state" / f"state-{record['steps']}"
    problem = artifacts.damage(last) if last.is_dir() else f"{last}: is missing"
    if problem is not None:
        raise UserError(
            f"{without_remedy(problem)}: that is the optimizer's state after the last step, and a longer run goes on "
            f"from it. Bring it back; or start a new run from the weights alone, with base={run.name} and another name="
        )
    return record


def _refuse_prepared(config: RunConfig, total: int) -> None:
    for strategy in config.strategies:
        if find(strategy.name).prepares_for_length:
            raise UserError(
                f"strategy.name: {strategy.name} prepares at step 0 what it needs for so many steps and no more; train "
                f"a new run with training.max_steps={total} and another name="
            )


def _allowed(overrides: Sequence[str]) -> list[str]:
    for override in overrides:
        key = override.partition("=")[0].strip()
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in ALLOWED):
            raise UserError(
                f"{override}: a run that is made longer goes on as it began; only {', '.join(ALLOWED)} can be set. For "
                "other settings start a new run from its weights, with base="
            )
    return list(overrides)


def _check_steps(steps: Sequence[int], had: Sequence[int], before: int, total: int) -> None:
    if wrong := [step for step in steps if step not in had and not before < step <= total]:
        raise UserError(
            f"evaluation.steps: {wrong[0]:,} is not among the steps that are added, {before + 1:,} to {total:,}"
        )


def _more_steps(training: TrainingConfig, total: int, n_rows: int) -> TrainingConfig:
    """The same settings for `total` steps, with as many epochs as that takes."""
    epochs = max(training.epochs, total / steps_per_epoch(n_rows, training.batch_size))
    return training.model_copy(update={"max_steps": total, "epochs": epochs})


def _evaluated(evaluation: EvaluationConfig, had: Sequence[int], before: int, total: int) -> EvaluationConfig:
    """Evaluations at the steps that have one, and in the added stretch; all written out, for they are no fractions of
    the whole any more."""
    stretch = {before + step for step in evaluation_steps(evaluation.model_copy(update={"steps": [0]}), total - before)}
    steps = sorted({*had, *evaluation.steps, *stretch})
    steps = [step for step in steps if step > before or step in had]
    return evaluation.model_copy(update={"steps": steps, "fractions": []})


def _same_rates(training: TrainingConfig, before: int, total: int) -> bool:
    """Whether every step so far had the learning rate that it has in a run of `total` steps."""
    return all(learning_rate(training, step, before) == learning_rate(training, step, total) for step in range(before))


def _say_schedule(config: RunConfig, facts: dict[str, Any]) -> None:
    training, before = config.training, facts["from"]
    total = training.max_steps
    assert total is not None
    if facts["as_if_trained_at_once"]:
        say(f"{config.name}: goes on from step {before:,} of {facts['run']}, as if it had had {total:,} steps at once")
        return
    ended, now = learning_rate(training, before, before), learning_rate(training, before, total)
    say(
        f"{config.name}: goes on from step {before:,} of {facts['run']}. Its schedule ({training.schedule}) had "
        f"come to an end there, at a rate of {ended:.3g}. That of {total:,} steps stands at {now:.3g} there, and goes "
        "on from that. A run of so many steps at once has other rates before, and ends with other weights"
    )


def _say_missing(config: RunConfig, run: Path) -> None:
    had, there = map(int, trust.read_record(run).get("checkpoints", {})), checkpoint_folders(run)
    if missing := sorted(set(had) - set(there)):
        steps = ", ".join(map(str, missing))
        say(f"{config.name}: {run} has no checkpoint of step {steps} any more, so this run has none either")


def _say_epochs(config: RunConfig, before: RunConfig) -> None:
    if config.training.epochs > before.training.epochs:
        say(
            f"{config.name}: {config.training.max_steps:,} steps are more than the {before.training.epochs:g} epochs "
            f"that were set, so training.epochs becomes {config.training.epochs:.4g}: rows are seen once more"
        )


def _copy(run: Path, target: Path, config: RunConfig, facts: dict[str, Any]) -> None:
    """Make the longer run's folder, complete or not at all, as it stands after the last step so far."""
    before = trust.read_record(run)
    with artifacts.new_folder(target, kind="run") as aside:
        artifacts.write_text(aside / trust.CONFIG, configs.dump(config))
        new = RunFolder(aside, config, resume=True)
        new.record |= {key: before[key] for key in KEPT if key in before}
        new.begin()
        new.note(name=target.name, status="running", steps=config.training.max_steps, extends=facts)
        for step, folder in checkpoint_folders(run).items():
            copied = new.checkpoints / folder.name
            _copy_checkpoint(folder, copied, target.name)
            new.seals[str(step)] = trust.checkpoint_seal(copied) or ""
        shutil.copyfile(run / trust.LOG, new.metrics)
        _copy_state(run / "state" / f"state-{facts['from']}", new)
        # It is read at `target`, which may lead through a link of the user's; `aside` does not.
        artifacts.write_text(aside / trust.CONFIG, configs.dump(config, target))
    (target / artifacts.MANIFEST).unlink()  # from now on the folder changes


def _copy_state(source: Path, new: RunFolder) -> None:
    """The same state as one of another run, with that one's config and checkpoints."""
    with artifacts.new_folder(new.path / "state" / source.name, kind="state") as aside:
        shutil.copyfile(source / STATE, aside / STATE)
        progress = read_json(source / PROGRESS) | {"origin": new.from_what, "checkpoints": new.seals}
        artifacts.write_text(aside / PROGRESS, json.dumps(progress) + "\n")


def _copy_checkpoint(source: Path, target: Path, run: str) -> None:
    """The same checkpoint as one of another run."""
    with artifacts.new_folder(target, kind="checkpoint", overwrite=True) as aside:
        for name in (artifacts.manifest(source) or {"files": {}})["files"]:
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, aside / name)
        artifacts.dump_json(aside / FACTS, read_json(source / FACTS) | {"run": run})
