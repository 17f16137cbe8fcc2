"""The state from which a run can go on: `state/state-<step>/`, complete or absent, of which only the newest is kept.

It holds the weights, AdamW's moments, the memory of a strategy and how far the metric log had come, exactly.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from atlantis import artifacts
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
            shutil.rmtree(other)


def state_steps(run: Path) -> dict[int, Path]:
    """Complete states of a run by step, ascending."""
    found = {
        int(path.name.removeprefix("state-")): path
        for path in (run / "state").glob("state-*")
        if path.name.removeprefix("state-").isdigit() and artifacts.is_complete(path)
    }
    return dict(sorted(found.items()))


def load_state(folder: Path, engine: Engine) -> dict[str, Any]:
    """Put a saved state into an engine; returns its progress. Raises UserError for a damaged one."""
    artifacts.verify(folder)
    tensors: dict[str, Tensor] = load_file(folder / "state.safetensors")
    engine.model.load_state_dict(part(tensors, "model."))
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
    return json.loads((folder / "progress.json").read_text(encoding="utf-8"))


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
