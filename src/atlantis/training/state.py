"""The state from which a run can go on: `state/state-<step>/`, complete or absent, of which only the newest is kept.

It holds the weights, AdamW's moments, the memory of a strategy and how far the metric log had come, exactly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from atlantis import artifacts
from atlantis.errors import UserError
from atlantis.reading import by_step, read_json
from atlantis.training.engine import Engine


def save_state(run: Path, engine: Engine, progress: Mapping[str, Any]) -> None:
    """Write `state/state-<step>` and then remove older ones. `progress` has at least `step`; it comes back as it is."""
    folder = run / "state" / f"state-{progress['step']}"
    if not artifacts.is_complete(folder):
        tensors = {f"model.{name}": value for name, value in engine.model.state_dict().items()}
        for name, parameter in engine.trained.items():
            for key, value in engine.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
        if engine.strategy is not None:
            tensors |= {f"strategy.{name}": value for name, value in engine.strategy.memory.items()}
        with artifacts.new_folder(folder, kind="state", overwrite=True) as aside:
            plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
            save_file(plain, aside / "state.safetensors")
            (aside / "progress.json").write_text(json.dumps(dict(progress)) + "\n", encoding="utf-8")
    for step, other in state_steps(run).items():
        if step != progress["step"]:
            artifacts.remove(other, "state")


def state_steps(run: Path) -> dict[int, Path]:
    """Complete states of a run by step, ascending."""
    return {step: path for step, path in by_step(run / "state", "state-").items() if artifacts.is_complete(path)}


def load_state(folder: Path, engine: Engine) -> dict[str, Any]:
    """Put a saved state into an engine; returns its progress. Raises UserError for a damaged one."""
    artifacts.verify(folder)
    try:
        tensors: dict[str, Tensor] = load_file(folder / "state.safetensors")
        progress = read_json(folder / "progress.json")
        engine.model.load_state_dict(part(tensors, "model."))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{folder}: is not the state of this run ({reason}); remove it, or start anew") from None
    if {key: type(value) for key, value in progress.items()} != {"step": int, "log_bytes": int, "losses": list}:
        raise UserError(f"{folder / 'progress.json'}: is not as it was written; remove {folder}, or start anew")
    for name, parameter in engine.trained.items():
        moments = {
            key: tensors[f"optimizer.{key}.{name}"]
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"optimizer.{key}.{name}" in tensors
        }
        if moments:
            engine.optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in moments.items()}
    if engine.strategy is not None:
        memory = part(tensors, "strategy.")
        engine.strategy.restore({name: value.to(engine.device) for name, value in memory.items()})
    return progress


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
