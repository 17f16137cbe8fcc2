"""Rows of a split as integers on the device; a batch is an index selection."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from atlantis.data.pairs import Pairs
from atlantis.tokens import MAX_KM_DIGITS, PAD, PairTokens, Vocabulary


class Batch(NamedTuple):
    """B rows that all begin with `prefix` (P,) and go on with their `tokens` (B, T).

    positions (B, C): the columns of `tokens` that predict the targets (B, C), of which `<pad>` is none.
    weights (B,): what the loss of each row counts; None: all the same.
    """

    prefix: Tensor
    tokens: Tensor
    positions: Tensor
    targets: Tensor
    weights: Tensor | None = None

    def select(self, rows: slice | Tensor) -> Batch:
        """The batch of some of its rows."""
        tokens, positions, targets = (part[rows].contiguous() for part in (self.tokens, self.positions, self.targets))
        weights = None if self.weights is None else self.weights[rows].contiguous()
        return Batch(self.prefix, tokens, positions, targets, weights)

    def join(self, other: Batch) -> Batch:
        """The rows of both; those of a batch without weights count 1 beside weighted ones."""
        weights = None
        if self.weights is not None or other.weights is not None:
            both = (self, other)
            weights = torch.cat(
                [torch.ones(len(b.tokens), device=b.tokens.device) if b.weights is None else b.weights for b in both]
            )
        tokens, positions, targets = (torch.cat(pair) for pair in zip(self[1:4], other[1:4], strict=True))
        return Batch(self.prefix, tokens, positions, targets, weights)


class Rows:
    """All rows of one split, encoded once: n rows of L tokens without the prefix that all share."""

    def __init__(self, pairs: Pairs, vocabulary: Vocabulary, device: torch.device | str = "cpu") -> None:
        self.prefix = torch.tensor(vocabulary.prefix(), device=device)
        encoded: PairTokens = vocabulary.encode_pairs(pairs.first, pairs.second, pairs.km)
        # One more row, all padding: the filler of incomplete batches.
        n, length = encoded.tokens.shape
        tokens = np.full((n + 1, length), PAD, dtype=encoded.tokens.dtype)
        tokens[:n] = encoded.tokens
        self.tokens = torch.as_tensor(tokens, device=device)
        starts = np.append(encoded.prompt_length, 1).astype(np.int16)
        self.starts = torch.as_tensor(starts, device=device)  # where the completion begins
        self.span = torch.arange(MAX_KM_DIGITS + 1, device=device)

    def __len__(self) -> int:
        return len(self.tokens) - 1

    def batch(self, rows: Tensor) -> Batch:
        """The batch of `rows` (B,), where index n stands for a filler."""
        tokens = self.tokens[rows].long()
        at = self.starts[rows].long()[:, None] + self.span
        inside = at < tokens.shape[1]
        at = at.clamp_(max=tokens.shape[1] - 1)
        targets = torch.where(inside, tokens.gather(1, at), PAD)
        return Batch(self.prefix, tokens[:, :-1], at - 1, targets)
