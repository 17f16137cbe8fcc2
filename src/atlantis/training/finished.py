"""A finished run, opened to be read: what it was trained on, and what it is evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atlantis import artifacts, trust
from atlantis import config as configs
from atlantis.errors import UserError
from atlantis.model.checkpoint import checkpoint_steps
from atlantis.settings import RunConfig
from atlantis.training.base import find_base, whole_base
from atlantis.training.inputs import Inputs, load_inputs
from atlantis.world import World
from atlantis.world.of_run import world_of


@dataclass(frozen=True)
class FinishedRun:
    """A run that began at step 0 and has ended."""

    folder: Path
    config: RunConfig
    world: World
    inputs: Inputs
    checkpoints: dict[int, Path]
    """By step, from 0 on."""

    @property
    def final(self) -> Path:
        return self.folder / "checkpoints" / "final"

    def chosen(self, steps: Sequence[int]) -> list[int]:
        """These steps, in order. Raises UserError for one without a checkpoint."""
        if missing := [step for step in steps if step not in self.checkpoints]:
            there = ", ".join(map(str, self.checkpoints))
            raise UserError(f"--steps {missing[0]}: {self.folder} has no such checkpoint; there are {there}")
        return sorted({int(step) for step in steps})


def open_finished(run: Path) -> FinishedRun:
    """The finished run in a folder.

    Raises UserError if it is none, has been damaged, holds a checkpoint of another run, or has no checkpoint-0, with
    which all else is compared.
    """
    final = run / "checkpoints" / "final"
    record = trust.checked_record(run)
    if not configs.is_run(run) or not (final.is_dir() or record.get("status") == "finished"):
        raise UserError(f"{run}: not the folder of a finished run; give one, such as outputs/experiments/demo")
    if wrong := artifacts.damage(final) or trust.foreign_final(final, record):
        raise UserError(f"{wrong} (atlantis train {run / 'config.yaml'} --resume)")
    config, steps = configs.load_of_run(run), checkpoint_steps(run)
    if run.absolute().parent.name == "experiments":  # where the run lies now, and its base beside it
        config = config.model_copy(update={"output_root": str(run.absolute().parent.parent)})
    if 0 not in steps:
        raise UserError(f"{run}: has no checkpoint-0, the weights that it began with")
    seals = record.get("checkpoints", {})
    if wrong := next(filter(None, (trust.exchanged(folder, step, seals) for step, folder in steps.items())), None):
        raise UserError(wrong)
    world = world_of(run, config)
    base = None if config.base is None else whole_base(config, find_base(config))
    # Finished models are read on the CPU, wherever they were trained.
    training = config.training.model_copy(update={"device": "cpu"})
    inputs = load_inputs(config.model_copy(update={"training": training}), world, base)
    return FinishedRun(run, config, world, inputs, steps)
