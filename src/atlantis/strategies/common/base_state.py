"""What the run that made the base left beside its weights: AdamW's moments, and the memory of its strategies."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from atlantis import artifacts
from atlantis import config as configs
from atlantis.errors import UserError
from atlantis.reading import by_step
from atlantis.strategies.common.context import Context


def base_state(context: Context) -> dict[str, Tensor]:
    """All tensors of the last saved state of the base's run, by name; empty where there is none (a shipped base)."""
    folders = list(by_step(_run(context) / "state", "state-").values())
    if not folders or context.checkpoint.name != "final":
        return {}
    artifacts.verify(folders[-1])
    return load_file(folders[-1] / "state.safetensors")


def strategy_memory(context: Context, name: str) -> dict[str, Tensor]:
    """The memory of the strategy `name` in the base's run; empty if that run had no such strategy.

    Raises UserError where it had one, and what it remembered is not there any more.
    """
    if not configs.is_run(_run(context)):
        return {}
    for i, settings in enumerate(configs.load_of_run(_run(context)).strategies):
        if settings.name == name:
            prefix = f"strategy.{i}."
            state = base_state(context)
            found = {key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)}
            if not found:
                raise UserError(
                    f"strategy: {name} goes on from the base's run {_run(context)}, whose memory of it is not there: "
                    "start from its checkpoints/final and keep its state/, or take ewc"
                )
            return found
    return {}


def _run(context: Context) -> Path:
    return context.checkpoint.parent.parent
