"""Template pseudo-replay with distillation: old prompts, answered by the frozen base (Robins, 1995; Shin et al., 2017).

    penalty = weight * mean over r prompts' targets of KL(base || model)

Needs no old data: prompts are `dist(c_i,c_j)=` with random old ids; answers are drawn once from the base, token by
token, and its whole distributions along them are kept. Beside B new rows, r old ones are `share` of all, to the nearest
row, and one at least.
Cost: that of r more rows per step; at the beginning the base answers the prompts, but no more than will come.

Defaults: `share` as in replay; weight 1: the old rows' mean counts as much as the new rows' (in replay it counts
share / (1 - share) times as much).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from atlantis.fields import Positive, Seed, StrategySettings
from atlantis.strategies.common.context import Context
from atlantis.strategies.common.old import (
    answered,
    old_prompts,
    padded_base_logits,
    recalled,
    remembered,
    whole_rows_beside,
)
from atlantis.strategies.common.row_stream import RowStream
from atlantis.strategies.common.strategy import Strategy
from atlantis.vocabulary import PAD


def kl_to(base: Tensor, logits: Tensor) -> Tensor:
    """Summed KL(softmax(base) || softmax(logits)) in nats of logits (M, O)."""
    return torch.nn.functional.kl_div(logits.log_softmax(-1), base.log_softmax(-1), reduction="sum", log_target=True)


class Distill(Strategy):
    """The base's answers to old prompts."""

    class Settings(StrategySettings):
        name: str = "distill"
        share: float = Field(default=0.1, gt=0, lt=1, description="of old prompts among all rows")
        weight: float = Field(default=1.0, gt=0, description="of the penalty")
        prompts: Positive = Field(default=10_000, description="drawn once, then repeated")
        seed: Seed = Field(default=42, description="of the prompts and their answers")

    settings: Settings
    needs = frozenset({"old prompts", "base weights"})
    prepares_for_length = True

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        size = whole_rows_beside(context.config.training.batch_size, settings.share)
        self.n = min(settings.prompts, size * context.total)  # no more than will come
        self.stream = RowStream(self.n, size, settings.seed, purpose=4)

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        prompts = old_prompts(self.context, self.n, self.settings.seed)
        batch = answered(self.context, prompts, self.settings.seed)
        self.memory = remembered(batch) | {"outputs": padded_base_logits(self.context, batch)}

    def penalty(self) -> Tensor:
        rows = torch.as_tensor(self.stream.rows(self.step), device=self.context.device)
        batch = recalled(self.memory, rows)
        base = self.memory["outputs"][rows][batch.targets != PAD]
        return self.settings.weight * kl_to(base, self.context.logits(batch)) / len(base)
