"""The state from which a run can go on: `state/state-<step>/`, complete or absent, of which only the newest is kept.

It holds the weights, AdamW's moments and how far the metric log had come, exactly.
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
from atlantis.model import Transformer


def save_state(run: Path, model: Transformer, optimizer: torch.optim.Optimizer, progress: Mapping[str, Any]) -> None:
    """Write `state/state-<step>` and then remove older ones. `progress` has at least `step`; it comes back as it is."""
    folder = run / "state" / f"state-{progress['step']}"
    if not artifacts.is_complete(folder):
        tensors = {f"model.{name}": value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        for name, parameter in model.named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
        with artifacts.new_folder(folder, kind="state", overwrite=True) as aside:
            save_file(tensors, aside / "state.safetensors")
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


def load_state(folder: Path, model: Transformer, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put a saved state into model and optimizer; returns its progress. Raises UserError for a damaged one."""
    artifacts.verify(folder)
    tensors: dict[str, Tensor] = load_file(folder / "state.safetensors")
    model.load_state_dict(
        {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    )
    for name, parameter in model.named_parameters():
        moments = {
            key: tensors[f"optimizer.{key}.{name}"]
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"optimizer.{key}.{name}" in tensors
        }
        if moments:
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in moments.items()}
    return json.loads((folder / "progress.json").read_text(encoding="utf-8"))
