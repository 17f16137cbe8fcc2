"""Repair: the last steps train the upper blocks alone, on what the base's last block says about old names.

    steps 0 .. start * total:  plain fine-tuning
    then:  trained = the upper `blocks` blocks;  all below, and the output layer, stay as they are
           penalty = weight * mean |h - b|^2 / mean |b - mean b|^2

h and b are the last block's states of the model and of the base, at the targets of old prompts, answered by the base.
The mean is over prompts, targets and the states' numbers. (This project's own; not published elsewhere.)

It follows from a measurement: after a fine-tuning, an affine map from the lower blocks' states to the base's is enough
for the base's upper blocks to answer old questions (docs/mechanism.md). So what old answers need is still there below,
and the upper blocks are taught to read it again. It needs old names without any answer, and the base's weights.

Cost: in the steps of the repair a pass over r prompts by the base and by the model, in plain PyTorch, and a copy of the
lower weights. Defaults: the second half of the run; the upper three of the study's six blocks; as many prompts per step
as `distill` has; a weight at which a state that is wrong by its own spread costs as much as ten nats per token.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from atlantis.data.rows import Batch
from atlantis.errors import UserError
from atlantis.fields import Positive, Seed, StrategySettings
from atlantis.model import Transformer
from atlantis.strategies.common.context import Context
from atlantis.strategies.common.old import answered, old_prompts, recalled, remembered, whole_rows_beside
from atlantis.strategies.common.row_stream import RowStream
from atlantis.strategies.common.strategy import Strategy
from atlantis.vocabulary import PAD

LOWER = "lower."


def target_states(model: Transformer, batch: Batch) -> Tensor:
    """The last block's states (M, D) at the M targets of a batch that are not `<pad>`."""
    (x,) = model.hidden_states(batch.whole(), [len(model.blocks) - 1])
    at = len(batch.prefix) + batch.positions
    rows = torch.arange(len(at), device=at.device)[:, None]
    return x[rows, at][batch.targets != PAD]


def distance(states: Tensor, base: Tensor) -> Tensor:
    """Mean squared distance of states (M, D) from the base's, over the mean square of the base's around their mean."""
    return (states - base).square().mean() / (base - base.mean(0)).square().mean()


class Repair(Strategy):
    """Upper blocks that learn to read the changed lower ones."""

    class Settings(StrategySettings):
        name: str = "repair"
        start: float = Field(default=0.5, ge=0, lt=1, description="of the steps, when the repair begins")
        blocks: Positive = Field(default=3, description="from the last back, that are repaired")
        weight: float = Field(default=10.0, gt=0, description="of the penalty")
        share: float = Field(default=0.1, gt=0, lt=1, description="of old prompts among all rows of a step")
        prompts: Positive = Field(default=10_000, description="drawn once, then repeated")
        seed: Seed = Field(default=42, description="of the prompts and their answers")

    settings: Settings
    needs = frozenset({"old prompts", "base weights"})
    prepares_for_length = True
    owns = frozenset({"after_update"})

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        n_blocks = len(context.model.blocks)
        if settings.blocks > n_blocks:
            raise UserError(f"strategy: repair has {settings.blocks} blocks to repair, but the model has {n_blocks}")
        self.first_step = round(settings.start * context.total)
        upper = tuple(f"blocks.{i}." for i in range(n_blocks - settings.blocks, n_blocks))
        self.lower = {n: p for n, p in context.model.named_parameters() if not n.startswith(upper)}
        size = whole_rows_beside(context.config.training.batch_size, settings.share)
        self.n = min(settings.prompts, size * max(1, context.total - self.first_step))
        self.stream = RowStream(self.n, size, settings.seed, purpose=9)

    @property
    def repairing(self) -> bool:
        return self.step >= self.first_step

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        prompts = old_prompts(self.context, self.n, self.settings.seed)
        batch = answered(self.context, prompts, self.settings.seed)
        self.memory = remembered(batch)
        if self.first_step == 0:
            self._keep_lower()

    def penalty(self) -> Tensor | None:
        if not self.repairing:
            return None
        rows = torch.as_tensor(self.stream.rows(self.step), device=self.context.device)
        batch = recalled(self.memory, rows)
        with torch.no_grad():
            base = target_states(self.context.base, batch)
        return self.settings.weight * distance(target_states(self.context.model, batch), base)

    def gradients(self) -> None:
        if self.repairing:
            if not any(key.startswith(LOWER) for key in self.memory):  # fp16 left out the step before the first repair
                self._keep_lower()
            for parameter in self.lower.values():
                if parameter.grad is not None:
                    parameter.grad.zero_()

    def after_update(self) -> None:
        if self.repairing:  # AdamW's decay and its first moments move a weight that has no gradient, too
            for name, parameter in self.lower.items():
                parameter.copy_(self.memory[LOWER + name])
        elif self.step + 1 == self.first_step:
            self._keep_lower()

    def _keep_lower(self) -> None:
        self.memory |= {LOWER + name: parameter.detach().clone() for name, parameter in self.lower.items()}
