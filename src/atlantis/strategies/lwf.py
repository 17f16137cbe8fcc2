"""Learning without forgetting: on the new prompts, stay close to what the base says there (Li and Hoiem, 2016).

    loss = cross-entropy + weight * T^2 * KL(softmax(base / T) || softmax(model / T)),  both at the batch's targets

Needs neither old data nor old prompts. Beside `replay` the old rows of a batch are held too; those of `der`, which are
in its penalty, are not. Cost: a forward pass of the base per step; the model's own pass is shared with the task's loss.

Two things differ from the paper. Its networks have an output head for each task, and the distillation holds the *old*
heads on the new inputs; the new head is free to learn. Here there is one head, and the distillation holds the very
tokens that the task wants to change. The two terms contradict each other, and the optimum lies between them: where the
base is sure of a wrong token, a large weight keeps it wrong. And T^2, which keeps the gradient's size at any T, is from
Hinton et al. (2015) and not in the paper: at T = 2, a weight of 1 here is a weight of 4 there.

Defaults: T = 2, the paper's; weight 1. That is strong. Where the base gives a wrong digit 0.90, the best compromise
gives the right one 0.18 at a weight of 3, 0.49 at 1, 0.77 at 0.3, 0.90 at 0.1 and 0.96 at 0.03 (ten digits; a test
computes it). In the short runs of the benchmark's first protocol nothing new was learned at 0.3 and above.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from atlantis.data.rows import Batch
from atlantis.fields import StrategySettings
from atlantis.strategies.common.strategy import Strategy
from atlantis.strategies.distill import kl_to


class LearningWithoutForgetting(Strategy):
    """The base's distributions on new prompts."""

    class Settings(StrategySettings):
        name: str = "lwf"
        weight: float = Field(default=1.0, gt=0, description="of the distance to the base")
        temperature: float = Field(default=2.0, gt=0, description="of both distributions")

    settings: Settings
    needs = frozenset({"base weights"})

    def output_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        t = self.settings.temperature
        return self.settings.weight * t**2 * kl_to(self.context.base_logits(batch) / t, logits / t)
