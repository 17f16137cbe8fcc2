"""FLOW: new rows that the base finds hard count less (Sanyal et al., 2025, "Upweighting easy samples in fine-tuning").

    w_i = exp(-l_i / T),  T = median of all l_i,  divided by the mean of w;   loss = mean of w_i * loss_i

l_i is the base's mean cross-entropy of row i, computed once. Weights of mean 1, unlike the paper's, keep the size of
the gradient. Needs nothing but the base. Cost: a forward pass of the base over the new data, then none; one number per
row.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from atlantis.data.rows import Batch
from atlantis.fields import StrategySettings
from atlantis.strategies.common.context import Context
from atlantis.strategies.common.old import padded_base_logits
from atlantis.strategies.common.strategy import Strategy
from atlantis.vocabulary import PAD

CHUNK = 1 << 15


def row_losses(context: Context, batch: Batch) -> Tensor:
    """The base's mean cross-entropy (B,) of each row's targets."""
    losses = F.cross_entropy(padded_base_logits(context, batch).transpose(1, 2), batch.targets, reduction="none")
    has_target = batch.targets != PAD
    return (losses * has_target).sum(dim=1) / has_target.sum(dim=1)


def weights_of(losses: Tensor) -> Tensor:
    """exp(-l / median), of mean 1."""
    weights = torch.exp(-losses / losses.median())
    return weights / weights.mean()


class Flow(Strategy):
    """Fixed weights of the new rows, from the base's losses."""

    class Settings(StrategySettings):
        name: str = "flow"

    needs = frozenset({"base weights"})

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        rows = self.context.rows
        places = torch.arange(len(rows), device=self.context.device).split(CHUNK)
        losses = torch.cat([row_losses(self.context, rows.batch(chunk)) for chunk in places])
        self.memory["weights"] = weights_of(losses)

    def batch(self, batch: Batch, rows: Tensor) -> Batch:
        weights = torch.cat([self.memory["weights"], self.memory["weights"].new_zeros(1)])  # fillers have none
        beside = batch.tokens.new_ones(len(batch.tokens) - len(rows), dtype=weights.dtype)  # rows that others put there
        return batch._replace(weights=torch.cat([weights[rows], beside]))
