"""The state from which a run can go on: `state/state-<step>/`, complete or absent, of which the two newest are kept.

It holds the weights, AdamW's moments, the memory of a strategy and how far the metric log had come, exactly. A run
goes on from the newest state that is as it was written; so are then the metric log up to there and every checkpoint
before it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from atlantis import artifacts, trust
from atlantis.errors import UserError, without_remedy
from atlantis.model.checkpoint import FACTS
from atlantis.progress import say
from atlantis.reading import by_step, read_json
from atlantis.training.provenance import changes
from atlantis.training.step import Engine

KEPT = 2
PROGRESS, STATE = "progress.json", "state.safetensors"


def save_state(run: Path, engine: Engine, progress: Mapping[str, Any]) -> None:
    """Write `state/state-<step>`, then remove all but the two newest.

    `progress` has at least `step` and `log_bytes`, the length of the metric log; it comes back as it is. It should have
    `origin`, digests of what the run is made from, and `checkpoints`, the seals of those written so far.
    """
    log = (run / "metrics.jsonl").read_bytes()[: progress["log_bytes"]] if progress["log_bytes"] else b""
    progress = {**progress, "log_sha256": hashlib.sha256(log).hexdigest()}
    folder = run / "state" / f"state-{progress['step']}"
    if not artifacts.is_complete(folder):
        tensors = {f"model.{name}": value for name, value in engine.model.state_dict().items()}
        for name, parameter in engine.trained.items():
            for key, value in engine.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
        if engine.scaling is not None:
            tensors |= {f"scaling.{name}": value for name, value in engine.scaling.state.items()}
        if engine.strategy is not None:
            tensors |= {f"strategy.{name}": value for name, value in engine.strategy.memory.items()}
        with artifacts.new_folder(folder, kind="state", overwrite=True) as aside:
            plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
            artifacts.write_bytes(aside / STATE, save(plain))
            artifacts.write_text(aside / PROGRESS, json.dumps(progress) + "\n")
    keep_newest(run, KEPT)


def keep_newest(run: Path, n: int) -> None:
    """Remove all complete states of a run but the `n` newest."""
    for folder in list(state_steps(run).values())[:-n]:
        artifacts.remove(folder, "state")


def state_steps(run: Path) -> dict[int, Path]:
    """Complete states of a run by step, ascending."""
    return {step: path for step, path in by_step(run / "state", "state-").items() if artifacts.is_complete(path)}


def usable_state(run: Path, strict: bool, origin: Mapping[str, str] | None = None) -> Path | None:
    """The newest state from which the run at `run` can go on; None: from its beginning.

    Usable is a state that is as it was written, if the metric log up to there and every earlier checkpoint are so too.
    Damaged folders are reported and moved aside, and are made again as the run goes on. With `strict` the first that is
    damaged is a UserError instead, and nothing is touched. So is, always, a whole state that was made from something
    else than `origin`: digests by their names, of config and data.
    """
    wrong: dict[Path, str] = {}
    first_wrong = math.inf
    states = by_step(run / "state", "state-")
    problems = {step: _problem(folder, PROGRESS, step) for step, folder in states.items()}
    whole = [states[step] for step, problem in problems.items() if problem is None]
    for folder in whole:
        _refuse_other_origin(folder, origin or {})
    seals = _progress(whole[-1]).get("checkpoints", {}) if whole else {}
    for step, folder in by_step(run / "checkpoints", "checkpoint-").items():
        if problem := _problem(folder, FACTS, step) or trust.exchanged(folder, step, seals):
            wrong[folder], first_wrong = problem, min(step, first_wrong)
    final = run / "checkpoints" / "final"
    if final.exists() and (problem := artifacts.damage(final)):
        wrong[final] = problem
    usable, late = None, []
    for step, folder in reversed(states.items()):
        if problem := problems[step]:
            wrong[folder] = problem
        elif problem := _log_problem(run / "metrics.jsonl", folder):
            wrong[run / "metrics.jsonl"] = problem
            late.append(folder)
        elif step >= first_wrong:
            late.append(folder)
        elif usable is None:
            usable = folder
    if not wrong:
        return usable
    if strict:
        raise UserError(f"{next(iter(wrong.values()))} (without --strict the run goes on from before it)")
    start = "the run's beginning" if usable is None else usable.name
    for problem in wrong.values():
        say(f"damaged: {without_remedy(problem)}")
    say(f"{run}: going on from {start}; what is damaged is kept as damaged-* and made again")
    for folder in [folder for folder in wrong if folder.is_dir()]:
        artifacts.set_aside(folder)
    for folder in late:
        artifacts.remove(folder, "state")
    return usable


def _problem(folder: Path, facts: str, step: int) -> str | None:
    """What is wrong with a state or checkpoint; its own file `facts` must say the step that its name does."""
    if problem := artifacts.damage(folder):
        return problem
    try:
        noted = _progress(folder)["step"] if facts == PROGRESS else read_json(folder / facts).get("step")
    except UserError as error:
        return str(error)
    return None if noted == step and type(noted) is int else f"{folder}: is of step {noted}; it has been renamed"


def _progress(state: Path) -> dict[str, Any]:
    """What `save_state` noted. Raises UserError for anything else."""
    progress = read_json(state / PROGRESS)
    kinds = {"step": int, "log_bytes": int, "losses": list, "log_sha256": str, "origin": dict, "checkpoints": dict}
    complete = {"log_sha256": "", "origin": {}, "checkpoints": {}, **progress}  # older versions had fewer
    kinds_there = {key: type(value) for key, value in complete.items()}
    if kinds_there != kinds or min(complete["step"], complete["log_bytes"]) < 0:
        raise UserError(f"{state / PROGRESS}: is not as it was written; remove {state}, or start anew")
    if not all(type(loss) is float for loss in complete["losses"]):
        raise UserError(f"{state / PROGRESS}: losses must be numbers; remove {state}, or start anew")
    return progress


def _refuse_other_origin(state: Path, origin: Mapping[str, str]) -> None:
    """UserError if a whole state is that of a run with another config or with other data."""
    before = _progress(state).get("origin", {})
    if lines := changes(before, origin):
        raise UserError(
            f"{state}: was saved by a run with another config or other data; bring that back, or choose another name=. "
            "The difference, in digests:\n  " + "\n  ".join(lines)
        )


def _log_problem(log: Path, state: Path) -> str | None:
    """Whether the metric log up to a state is what it was then."""
    progress = _progress(state)
    data = log.read_bytes()[: progress["log_bytes"]] if log.is_file() else b""
    digest = progress.get("log_sha256", "")  # not in states of older versions
    if len(data) < progress["log_bytes"] or digest not in ("", hashlib.sha256(data).hexdigest()):
        return f"{log}: has been changed since {state.name} was written"
    return None


def load_state(folder: Path, engine: Engine) -> dict[str, Any]:
    """Put a saved state into an engine; returns its progress. Raises UserError for a damaged one."""
    artifacts.verify(folder)
    try:
        tensors: dict[str, Tensor] = load_file(folder / STATE)
        progress = _progress(folder)
        _refuse_other_kinds(folder, engine, tensors)
        engine.model.load_state_dict(part(tensors, "model."))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{folder}: is not the state of this run ({reason}); remove it, or start anew") from None
    for key in ("log_sha256", "origin"):
        progress.pop(key, None)
    for name, parameter in engine.trained.items():
        moments = {
            key: tensors[f"optimizer.{key}.{name}"]
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"optimizer.{key}.{name}" in tensors
        }
        if moments:
            engine.optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in moments.items()}
    if engine.scaling is not None:
        engine.scaling.restore(part(tensors, "scaling."))
    if engine.strategy is not None:
        memory = part(tensors, "strategy.")
        try:
            engine.strategy.restore({name: value.to(engine.device) for name, value in memory.items()})
        except (KeyError, RuntimeError) as error:
            raise UserError(f"{folder}: is not the state of this strategy ({error}); start anew") from None
    return progress


def _refuse_other_kinds(folder: Path, engine: Engine, tensors: Mapping[str, Tensor]) -> None:
    """UserError unless weights have the types, and moments the types and shapes, of what is to be restored."""
    expected = {f"model.{name}": (value.dtype, value.shape) for name, value in engine.model.state_dict().items()}
    for name, parameter in engine.trained.items():
        keys = [f"optimizer.{key}.{name}" for key in ("step", "exp_avg", "exp_avg_sq")]
        if any(key in tensors for key in keys):  # one that never had a gradient has none
            kinds = [(torch.float32, torch.Size()), *[(parameter.dtype, parameter.shape)] * 2]
            expected |= dict(zip(keys, kinds, strict=True))
    if engine.scaling is not None:
        scaling = engine.scaling.state
        expected |= {f"scaling.{name}": (value.dtype, value.shape) for name, value in scaling.items()}
    stored = {name: (value.dtype, value.shape) for name, value in tensors.items() if not name.startswith("strategy.")}
    wrong = [name for name in stored.keys() | expected.keys() if stored.get(name) != expected.get(name)]
    if wrong:
        raise UserError(f"{folder}: is not the state of this run ({min(wrong)}); remove it, or start anew")


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
