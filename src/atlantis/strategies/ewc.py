"""Elastic weight consolidation: weights that mattered for the old data are held (Kirkpatrick et al., 2017).

    penalty = weight / 2 * sum_i F_i * (theta_i - base_i)^2
    F_i = mean over old prompts x, answers y drawn from the base, of (d log p(y | x) / d theta_i)^2

This is the true Fisher information: one gradient per sample, with labels from the model, not squared gradients of
batches or of given labels (Kunstner et al., 2019; Benzing, 2022). It takes old prompts but no old answers. Cost:
`samples` backward passes of one row at the beginning, then a pass over the weights per step; two numbers per weight.

Default weight: Laplace's approximation would have old rows / new targets, about 1,000,000 / 460,000 in the study; being
diagonal, the approximation is rough, and the weight is one to tune (`common/anchor.py` says what AdamW makes of it).
1,000 samples: the diagonal's sum is then known to a few per cent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from atlantis.fields import Positive, Seed, StrategySettings
from atlantis.strategies.common.anchor import Anchor
from atlantis.strategies.common.context import Context
from atlantis.strategies.common.old import answered, old_prompts
from atlantis.vocabulary import PAD


def diagonal_fisher(parameters: Mapping[str, Tensor], losses: Iterable[Tensor]) -> dict[str, Tensor]:
    """Mean squared gradient of each parameter over samples, each given by its own negative log-likelihood."""
    total, n = {name: torch.zeros_like(value) for name, value in parameters.items()}, 0
    for n, loss in enumerate(losses, start=1):  # noqa: B007
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        for square, gradient in zip(total.values(), gradients, strict=True):
            square.addcmul_(gradient, gradient)
    return {name: value / n for name, value in total.items()}


class ElasticWeightConsolidation(Anchor):
    """The Fisher information as importance."""

    class Settings(StrategySettings):
        name: str = "ewc"
        weight: float = Field(default=2.0, gt=0)
        samples: Positive = 1_000
        seed: Seed = 42

    settings: Settings
    needs = frozenset({"old prompts", "base weights"})

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.weight = settings.weight

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        trained = {name: p for name, p in self.context.model.named_parameters() if p.requires_grad}
        self.memory = diagonal_fisher(trained, self._losses())

    def _losses(self) -> Iterator[Tensor]:
        """-log p(y | x) of one sampled row after the other."""
        prompts = old_prompts(self.context, self.settings.samples, self.settings.seed)
        batch = answered(self.context, prompts, self.settings.seed)
        for i in range(len(prompts)):
            row = batch.select(slice(i, i + 1))
            yield F.cross_entropy(self.context.logits(row), row.targets[row.targets != PAD], reduction="sum")
