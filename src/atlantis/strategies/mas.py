"""Memory-aware synapses: weights to which the outputs are sensitive are held (Aljundi et al., 2018).

    penalty = weight / 2 * sum_i O_i * (theta_i - base_i)^2
    O_i = mean over old prompts, with answers drawn from the base, of |d ||logits||^2 / d theta_i|

||.||^2 is the *mean* square over a row's targets and symbols, so that the weight does not depend on their number. The
paper's is the sum, and its penalty has no 1/2. A row has 5.3 targets of 44 symbols on average, so the importance is
about 230 times smaller than the paper's (measured on the shipped bases, 100 prompts), and a weight of 1 here is about
1/460 of a weight of 1 there. It takes old prompts but no old answers. Cost: as EWC. What `common/anchor.py` says about
AdamW holds here too.

Defaults: weight 1, a round number and not the paper's; it is one to tune. Samples as in EWC.
"""

from __future__ import annotations

import torch

from atlantis.strategies.common.anchor import SampledAnchor


class MemoryAwareSynapses(SampledAnchor):
    """The outputs' sensitivity as importance."""

    class Settings(SampledAnchor.Settings):
        name: str = "mas"

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        trained = self.trained()
        self.memory = {name: torch.zeros_like(p) for name, p in trained.items()}
        for row in self.sampled_rows():
            size = self.context.logits(row).square().mean()
            gradients = torch.autograd.grad(size, list(trained.values()))
            for importance, gradient in zip(self.memory.values(), gradients, strict=True):
                importance.add_(gradient.abs(), alpha=1 / self.settings.samples)
