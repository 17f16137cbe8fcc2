"""What a run leaves on disk as it goes: evaluated checkpoints, `final`, and the states from which it can go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from atlantis import artifacts, trust
from atlantis.errors import UserError
from atlantis.model import Transformer
from atlantis.model import checkpoint as ckpt
from atlantis.model.fast import kernels
from atlantis.progress import say
from atlantis.reading import read_json
from atlantis.readout.evaluate import mean_loss, results
from atlantis.readout.generate import answers
from atlantis.tasks.score import score
from atlantis.training import ranks, state
from atlantis.training.assemble import new_engine
from atlantis.training.base import find_base
from atlantis.training.device import release_freed_memory
from atlantis.training.inputs import Inputs, load_inputs
from atlantis.training.run import RunFolder
from atlantis.training.step import Engine, NotFinite
from atlantis.training.trackers import Trackers
from atlantis.world import World


def begin_or_go_on(run: RunFolder, engine: Engine) -> tuple[int, list[float]]:
    """Go back to the newest state, or begin; prints a message if conditions have changed (`strict`: UserError)."""
    now = conditions(engine)
    other = run.other_conditions(now) if state.state_steps(run.path) else []
    if other and run.strict:
        raise UserError(
            f"{run.path}: was stopped under other conditions, and would end with other weights than without a stop; go "
            "on where it was begun, or without --strict. The difference:\n  " + "\n  ".join(other)
        )
    step, window = _restore(run, engine)
    if other and step > 0:
        say(f"{run.path}: goes on under other conditions; sums may be rounded otherwise ({'; '.join(other)})")
    run.begin_stretch(step, now)
    return step, window


def _restore(run: RunFolder, engine: Engine) -> tuple[int, list[float]]:
    """Go back to the newest usable state, if there is one; returns its step and the losses not logged yet."""
    usable = state.usable_state(run.path, run.strict, run.from_what)
    if usable is None:
        if "extends" in run.record:  # its first steps may have had other rates than its own config gives them
            longer = f"make {run.record['extends']['run']} longer again with --extend"
            raise UserError(f"{run.path}: no whole state is left to go on from; remove the run, and {longer}")
        _say_lost(run)
        run.cut_log(0)
        run.seals = {}
        if engine.strategy is not None:
            engine.strategy.begin(engine.optimizer)
        return 0, []
    progress = state.load_state(usable, engine)
    run.cut_log(progress["log_bytes"])
    run.seals = dict(progress.get("checkpoints", {}))
    return progress["step"], progress["losses"]


def _say_lost(run: RunFolder) -> None:
    """A message if a run that has no state has been trained before (`strict`: a UserError)."""
    if last := max(ckpt.checkpoint_steps(run.path), default=0):
        lost = f"{run.path}: no state is left to go on from, though there is checkpoint-{last}"
        if run.strict:
            raise UserError(f"{lost}; bring state/ back, or start again from step 0 without --strict")
        say(f"{lost}: the run starts again from step 0")


def save_state(run: RunFolder, engine: Engine, step: int, window: list[float]) -> None:
    artifacts.refuse_moved(run.path)
    progress = {"step": step, "log_bytes": run.log_size(), "losses": window}
    progress |= {"origin": run.from_what, "checkpoints": run.seals}
    state.save_state(run.path, engine, progress)
    run.note_seconds()
    if engine.device.type == "cpu":
        release_freed_memory()


def evaluate_and_save(run: RunFolder, inputs: Inputs, engine: Engine, step: int, trackers: Trackers) -> dict[str, Any]:
    """Score the answers, write the checkpoint, log the row (which is returned), and save the state to go on from."""
    artifacts.refuse_moved(run.path)
    with torch.no_grad(), shown(engine) as model:
        loss = None if inputs.validation is None else mean_loss(model, inputs.validation)
        scores = score(answers(model, inputs.vocabulary, inputs.items), inputs.items)
        row = dict(results(scores, loss, step))
        facts = ckpt.facts_of(inputs.world, inputs.vocabulary, run.path.name, step, inputs.tasks)
        folder = run.checkpoints / f"checkpoint-{step}"
        ckpt.save_checkpoint(folder, model, inputs.vocabulary, facts, row)
    run.seals[str(step)] = trust.checkpoint_seal(folder) or ""
    run.log(row)
    trackers.log(row)
    save_state(run, engine, step, [])
    return row


def save_final(run: RunFolder, inputs: Inputs, engine: Engine, total: int) -> None:
    """Write `final`, the checkpoint of the last of `total` steps without its scores, unless it is there."""
    artifacts.refuse_moved(run.path)
    if not _is_final(run, total):
        _write_final(run, inputs, engine, total)


def _write_final(run: RunFolder, inputs: Inputs, engine: Engine, total: int) -> None:
    facts = ckpt.facts_of(inputs.world, inputs.vocabulary, run.path.name, total, inputs.tasks)
    with shown(engine) as model:
        ckpt.save_checkpoint(run.checkpoints / "final", model, inputs.vocabulary, facts, None)


def _is_final(run: RunFolder, total: int) -> bool:
    """Whether `final` is there, with the weights of the last step's checkpoint."""
    final, last = (artifacts.manifest(run.checkpoints / name) for name in ("final", f"checkpoint-{total}"))
    same = final and last and final["files"].get("model.safetensors") == last["files"].get("model.safetensors")
    return bool(same) and artifacts.is_complete(run.checkpoints / "final")


def final_from_state(run: RunFolder, world: World) -> None:
    """Write `final` of a finished run from the state of its last step. Raises UserError if that is not whole."""
    base = None if run.config.base is None else find_base(run.config)
    if base is None and run.config.base is not None:
        raise UserError(f"its base {run.config.base} is not there any more")
    total = run.record.get("steps", -1)
    step_state = state.state_steps(run.path).get(total)
    if step_state is None:
        raise UserError(f"there is neither a whole checkpoint-{total} nor a whole state-{total}")
    inputs = load_inputs(run.config, world, base)
    engine = new_engine(run.config, inputs, base, total)
    state.load_state(step_state, engine)
    _write_final(run, inputs, engine, total)


def not_finite(run: RunFolder, step: int, rows: list[int] | None, problem: str) -> NotFinite:
    """Record the batch (None: a strategy made it of other rows); the weights are still those before the step."""
    artifacts.write_json(run.path / "not_finite.json", {"step": step, "problem": problem, "training_rows": rows})
    run.note(status="not finite")
    folders = ckpt.checkpoint_folders(run.path)
    last = max([step for step, folder in folders.items() if _has_finite_loss(folder)] or folders, default=0)
    where = "The" if rows is None else "The new rows of the batch are in not_finite.json; the"
    return NotFinite(
        f"{run.path}: at step {step} {problem}; the weights were not updated. {where} "
        f"last good checkpoint is checkpoint-{last}. Lower training.learning_rate (now "
        f"{run.config.training.learning_rate:g}) or set training.max_grad_norm, under another name="
    )


def _has_finite_loss(checkpoint: Path) -> bool:
    try:
        loss = read_json(checkpoint / "eval_results.json")["loss"]
        return loss is None or isfinite(loss)
    except (OSError, UserError, KeyError, TypeError):
        return False


@contextmanager
def shown(engine: Engine) -> Iterator[Transformer]:
    """The model with the weights that are evaluated and saved."""
    with nullcontext() if engine.strategy is None else engine.strategy.shown():
        yield engine.model


def conditions(engine: Engine) -> dict[str, Any]:
    """What decides how the sums of a step are rounded, besides the code."""
    facts = {key: value for key, value in device_facts(engine).items() if key != "kernels"}
    facts |= {"kernels": kernels.library_digest() if engine.kernels else "none"}
    facts |= {"processor": kernels.processor_digest(), "torch": torch.__version__}
    return facts | {"processes": ranks.n_ranks()}


def device_facts(engine: Engine) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if engine.device.type == "cuda" else "CPU"
    facts = {"name": name, "threads": torch.get_num_threads(), "precision": engine.precision}
    facts |= {"compiled": engine.compiled, "kernels": engine.kernels}
    return facts if ranks.n_ranks() == 1 else facts | {"processes": ranks.n_ranks()}
