"""Dark experience replay, DER++: old rows with the base's logits, and old rows with their answers (Buzzega et al.,
2020).

    penalty = alpha * mean (logits - base's logits)^2  over r rows' targets  +  beta * cross-entropy of r other rows

The paper's reservoir runs over the whole stream; here the stream's first part, the base's training, is over, and the
buffer is a fixed random subset of it with the base's logits. Cost: that of 2 r more rows per step; at the beginning a
pass of the base over the old rows whose logits will be asked for.

Defaults: alpha and beta 0.5, the paper's usual values; the buffer as in replay; `share` of r rows among B + r, to the
nearest row, and one at least.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from atlantis.fields import Positive, Seed, StrategySettings
from atlantis.strategies.common.context import Context
from atlantis.strategies.common.old import old_buffer, padded_base_logits, recalled, remembered, whole_rows_beside
from atlantis.strategies.common.row_stream import RowStream
from atlantis.strategies.common.strategy import Strategy
from atlantis.vocabulary import PAD


class DarkExperienceReplay(Strategy):
    """Old rows' logits and answers."""

    class Settings(StrategySettings):
        name: str = "der"
        share: float = Field(default=0.1, gt=0, lt=1, description="r old rows of B + r; r with logits, r with answers")
        buffer: Positive = Field(default=20_000, description="old pairs kept")
        alpha: float = Field(default=0.5, ge=0, description="of the base's logits")
        beta: float = Field(default=0.5, ge=0, description="of the answers")
        seed: Seed = Field(default=42, description="of the buffer and the order of its rows")

    settings: Settings
    needs = frozenset({"old data", "base weights"})
    prepares_for_length = True

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.old = old_buffer(context, settings.buffer, settings.seed)
        size = whole_rows_beside(context.config.training.batch_size, settings.share)
        self.dark, self.light = (RowStream(len(self.old), size, settings.seed, purpose) for purpose in (5, 6))
        self.asked = self.dark.all_rows(context.total)  # sorted: the places in `old` of the rows in memory
        self.rows = context.encode(self.old)

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        batch = self.rows.batch(torch.as_tensor(self.asked, device=self.context.device))
        self.memory = remembered(batch) | {"outputs": padded_base_logits(self.context, batch)}

    def penalty(self) -> Tensor:
        rows = torch.as_tensor(np.searchsorted(self.asked, self.dark.rows(self.step)), device=self.context.device)
        dark = recalled(self.memory, rows)
        base = self.memory["outputs"][rows][dark.targets != PAD]
        light = self.rows.batch(torch.as_tensor(self.light.rows(self.step), device=self.context.device))
        logits = self.context.logits(dark.join(light))
        error = F.mse_loss(logits[: len(base)], base)
        answers = F.cross_entropy(logits[len(base) :], light.targets[light.targets != PAD])
        return self.settings.alpha * error + self.settings.beta * answers
