"""A slow copy of the weights that starts at the base and follows: an exponential moving average (Polyak and Juditsky,
1992; Tarvainen and Valpola, 2017).

    slow <- decay * slow + (1 - decay) * theta  after every step;  the slow weights are evaluated and saved

It stays near the base for about 1 / (1 - decay) steps. Cost: one pass over the weights per step, one copy of them.
Default: 0.99, an average over the last 100 steps, half of the demo's run.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from atlantis.fields import StrategySettings
from atlantis.strategies.common.strategy import Strategy


class MovingAverage(Strategy):
    """The weights shown are slow ones."""

    class Settings(StrategySettings):
        name: str = "ema"
        decay: float = Field(default=0.99, ge=0, lt=1, description="share of the average that a step keeps")

    settings: Settings
    first_at = frozenset({"shown"})
    only_reads = frozenset({"after_update"})

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        self.memory = {name: p.detach().clone() for name, p in self.context.model.named_parameters()}

    def after_update(self) -> None:
        for name, parameter in self.context.model.named_parameters():
            self.memory[name].lerp_(parameter, 1 - self.settings.decay)

    def shown(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.memory
