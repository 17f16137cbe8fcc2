"""The training loss: cross-entropy of the answer's tokens."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from atlantis.vocabulary import PAD


def completion_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the cross-entropies (nats) of the answers' tokens, and how many tokens these are.

    logits (B, C, O), targets (B, C) with `<pad>` where there is nothing to predict.
    """
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="sum")
    return loss, (targets != PAD).sum()
