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

from collections.abc import Iterable, Mapping

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from atlantis.data.rows import Batch
from atlantis.strategies.common.anchor import SampledAnchor
from atlantis.vocabulary import PAD


def diagonal_fisher(parameters: Mapping[str, Tensor], losses: Iterable[Tensor]) -> dict[str, Tensor]:
    """Mean squared gradient of each parameter over samples, each given by its own negative log-likelihood."""
    total, n = {name: torch.zeros_like(value) for name, value in parameters.items()}, 0
    for n, loss in enumerate(losses, start=1):  # noqa: B007
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        for square, gradient in zip(total.values(), gradients, strict=True):
            square.addcmul_(gradient, gradient)
    return {name: value / n for name, value in total.items()}


class ElasticWeightConsolidation(SampledAnchor):
    """The Fisher information as importance."""

    class Settings(SampledAnchor.Settings):
        name: str = "ewc"
        weight: float = Field(default=2.0, gt=0, description="of the penalty")

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        self.memory = diagonal_fisher(self.trained(), map(self._loss, self.sampled_rows()))

    def _loss(self, row: Batch) -> Tensor:
        """-log p(y | x)."""
        return F.cross_entropy(self.context.logits(row), row.targets[row.targets != PAD], reduction="sum")
