"""Learning without forgetting: on the new prompts, stay close to what the base says there (Li and Hoiem, 2016).

    loss = cross-entropy + weight * T^2 * KL(softmax(base / T) || softmax(model / T)),  both at the new rows' targets

Needs neither old data nor old prompts. Cost: a forward pass of the base per step; the model's own pass is shared with
the task's loss. Defaults: T = 2 and weight 1 as in the paper (T^2 keeps the gradient's size: Hinton et al., 2015).
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from atlantis.data.rows import Batch
from atlantis.settings import StrategySettings
from atlantis.strategies.common.interface import Strategy
from atlantis.strategies.distill import kl_to


class LearningWithoutForgetting(Strategy):
    """The base's distributions on new prompts."""

    class Settings(StrategySettings):
        name: str = "lwf"
        weight: float = Field(default=1.0, gt=0)
        temperature: float = Field(default=2.0, gt=0)

    settings: Settings
    needs = frozenset({"base weights"})

    def output_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        t = self.settings.temperature
        return self.settings.weight * t**2 * kl_to(self.context.base_logits(batch) / t, logits / t)
