"""The strategies of a run as one: each hook of each in turn, in the order of the config."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from atlantis.data.rows import Batch
from atlantis.errors import UserError
from atlantis.fields import StrategySettings
from atlantis.strategies.common.context import Context, Parameters
from atlantis.strategies.common.strategy import Hook, Strategy
from atlantis.strategies.registry import find

DECIDED: dict[Hook, str] = {
    "parameters": "which weights are trained",
    "batch": "which rows a step trains on",
    "after_update": "what the weights are after a step",
    "shown": "which weights are evaluated and saved",
}


def _has(part: Strategy, hook: str) -> bool:
    """Whether a strategy has a hook of its own."""
    return getattr(type(part), hook) is not getattr(Strategy, hook)


def _decides(part: Strategy, hook: Hook) -> bool:
    return _has(part, hook) and hook not in part.only_reads


class Composed:
    """Several strategies with the hooks of one."""

    def __init__(self, settings: list[StrategySettings], context: Context) -> None:
        self.model = context.model
        self.parts: list[Strategy] = [find(entry.name)(entry, context) for entry in settings]
        self._check_owned()
        self._check_order()
        self.chooses_rows = any("batch" in part.owns for part in self.parts)
        self.has_output_loss = any(_has(part, "output_loss") for part in self.parts)

    def _check_owned(self) -> None:
        for owner in self.parts:
            for hook in sorted(owner.owns):
                others = [part.settings.name for part in self.parts if part is not owner and _decides(part, hook)]
                if others:
                    raise UserError(
                        f"strategy: {owner.settings.name} alone decides {DECIDED[hook]}, and {others[0]} would too; "
                        "leave one of them out"
                    )

    def _check_order(self) -> None:
        for i, part in enumerate(self.parts):
            for hook in sorted(part.first_at):
                if before := [earlier.settings.name for earlier in self.parts[:i] if _decides(earlier, hook)]:
                    raise UserError(
                        f"strategy: {part.settings.name} drops what {before[0]} says about {DECIDED[hook]}; put "
                        f"{part.settings.name} before it"
                    )

    def at(self, step: int) -> None:
        """The step that begins."""
        for part in self.parts:
            part.step = step

    @property
    def memory(self) -> dict[str, Tensor]:
        return {f"{i}.{key}": value for i, part in enumerate(self.parts) for key, value in part.memory.items()}

    def restore(self, memory: dict[str, Tensor]) -> None:
        for i, part in enumerate(self.parts):
            prefix = f"{i}."
            part.restore({key.removeprefix(prefix): value for key, value in memory.items() if key.startswith(prefix)})

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        for part in self.parts:
            part.begin(optimizer)

    def parameters(self, trained: Parameters) -> Parameters:
        for part in self.parts:
            trained = part.parameters(trained)
        return trained

    def rate(self, rate: float) -> float:
        for part in self.parts:
            rate = part.rate(rate)
        return rate

    def batch(self, batch: Batch, rows: Tensor) -> Batch:
        for part in self.parts:
            batch = part.batch(batch, rows)
        return batch

    def output_loss(self, logits: Tensor, batch: Batch) -> Tensor | None:
        terms = [term for part in self.parts if (term := part.output_loss(logits, batch)) is not None]
        return torch.stack(terms).sum() if terms else None

    def penalties(self) -> float:
        """Add the gradients of all penalties; returns their sum."""
        total = 0.0
        for part in self.parts:
            if (term := part.penalty()) is not None:
                if not term.requires_grad:
                    raise UserError(f"strategy: {part.settings.name} holds nothing that is trained here; freeze less")
                term.backward()
                total += term.item()
        return total

    def gradients(self) -> None:
        for part in self.parts:
            part.gradients()

    def after_update(self) -> None:
        """Those that only read the weights come last: they read what the others leave."""
        with torch.no_grad():
            for part in sorted(self.parts, key=lambda part: "after_update" in part.only_reads):
                part.after_update()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """For the time of the block the model has the weights that are evaluated and saved."""
        trained: dict[str, Any] = {name: value.detach() for name, value in self.model.named_parameters()}
        weights = trained
        with torch.no_grad():
            for part in self.parts:
                weights = part.shown(weights)
            # By identity: what no strategy replaced is neither copied nor put back.
            changed = {name: value for name, value in weights.items() if value is not trained[name]}
            before = {name: trained[name].clone() for name in changed}
            for name, value in changed.items():
                trained[name].copy_(value)
        try:
            yield
        finally:
            for name, value in before.items():
                trained[name].copy_(value)
