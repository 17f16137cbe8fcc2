"""Memory-aware synapses: weights to which the outputs are sensitive are held (Aljundi et al., 2018).

    penalty = weight / 2 * sum_i O_i * (theta_i - base_i)^2
    O_i = mean over old prompts, with answers drawn from the base, of |d ||logits||^2 / d theta_i|

||.||^2 is the mean square over a row's targets and symbols, so that the weight does not depend on their number. It
takes old prompts but no old answers. Cost: as EWC. Defaults: weight 1 as in the paper; samples as in EWC.
"""

from __future__ import annotations

import torch
from pydantic import Field

from atlantis.settings import Positive, Seed, StrategySettings
from atlantis.strategies.common.anchor import Anchor
from atlantis.strategies.common.interface import Context
from atlantis.strategies.common.old import answered, old_prompts


class MemoryAwareSynapses(Anchor):
    """The outputs' sensitivity as importance."""

    class Settings(StrategySettings):
        name: str = "mas"
        weight: float = Field(default=1.0, gt=0)
        samples: Positive = 1_000
        seed: Seed = 42

    settings: Settings
    needs = frozenset({"old prompts", "base weights"})

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.weight = settings.weight

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        context, n = self.context, self.settings.samples
        batch = answered(context, old_prompts(context, n, self.settings.seed), self.settings.seed)
        trained = {name: p for name, p in context.model.named_parameters() if p.requires_grad}
        self.memory = {name: torch.zeros_like(p) for name, p in trained.items()}
        for i in range(n):
            size = context.logits(batch.select(slice(i, i + 1))).square().mean()
            gradients = torch.autograd.grad(size, list(trained.values()))
            for importance, gradient in zip(self.memory.values(), gradients, strict=True):
                importance.add_(gradient.abs(), alpha=1 / n)
