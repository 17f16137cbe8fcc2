"""The family of quadratic anchors: each weight is pulled back to the base, more strongly where it mattered.

    penalty  = weight / 2 * sum_i importance_i * (theta_i - base_i)^2
    gradient = weight * importance_i * (theta_i - base_i)

Members differ in the importance alone: 1 for L2-SP, the Fisher information for EWC, the sensitivity of the outputs for
MAS.

How strong the pull is does not follow from the formula alone:

- The penalty's gradient is added to the loss's before clipping, and AdamW divides the sum by the root of its own second
  moment. A weight whose gradients are small is therefore pulled as fast as one whose gradients are large, and doubling
  `weight` less than doubles the pull where the penalty rules the gradient.
- AdamW's weight decay (`training.weight_decay`) stays on, and pulls the same matrices towards zero while the penalty
  pulls them back to the base. The two meet between zero and the base. Set `training.weight_decay=0` to have the
  anchor alone.

So a weight that a paper found with SGD means nothing here, and has to be tuned.

Cost: one pass over the weights per step, and the memory of the base and (but for L2-SP) of one number per weight.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor, nn

from atlantis.data.rows import Batch
from atlantis.fields import Positive, Seed, StrategySettings
from atlantis.strategies.common.context import Context
from atlantis.strategies.common.old import answered, old_prompts
from atlantis.strategies.common.strategy import Strategy


class Anchor(Strategy):
    """The penalty; members fill `memory` with an importance for each parameter by name, or leave it empty for 1."""

    class Settings(StrategySettings):
        weight: float = Field(default=1.0, gt=0, description="of the penalty")

    needs = frozenset({"base weights"})

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.weight = settings.weight
        self.anchors = dict(context.base.named_parameters())

    def penalty(self) -> Tensor:
        terms = []
        for name, parameter in self.trained().items():
            squares = (parameter - self.anchors[name]).square()
            terms.append((self.memory[name] * squares if name in self.memory else squares).sum())
        return self.weight / 2 * torch.stack(terms).sum()

    def trained(self) -> dict[str, nn.Parameter]:
        """What the optimizer trains, by name."""
        return {name: p for name, p in self.context.model.named_parameters() if p.requires_grad}


class SampledAnchor(Anchor):
    """An anchor whose importance is a mean over old prompts, with answers drawn from the base."""

    class Settings(Anchor.Settings):
        samples: Positive = Field(default=1_000, description="rows that the importance is taken from")
        seed: Seed = Field(default=42, description="of these rows")

    settings: Settings
    needs = frozenset({"old prompts", "base weights"})

    def sampled_rows(self) -> Iterator[Batch]:
        """`samples` batches of one prompt and its answer each."""
        prompts = old_prompts(self.context, self.settings.samples, self.settings.seed)
        batch = answered(self.context, prompts, self.settings.seed)
        return (batch.select(slice(i, i + 1)) for i in range(len(prompts)))
