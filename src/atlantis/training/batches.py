"""Training rows as integers on the device; a batch is an index selection.

The order is a pure function of (seed, epoch), so a run can go on from any step without replaying the ones before.
The last batch of an epoch is filled up with rows that have no answer, so that every batch has the same shape.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from atlantis.data.pairs import Pairs
from atlantis.tokens import MAX_KM_DIGITS, PAD, PairTokens, Vocabulary
from atlantis.training.schedule import steps_per_epoch


class Batch(NamedTuple):
    """B rows: input tokens (B, T), positions (B, C) that predict the targets (B, C); target `<pad>` counts for nothing."""

    tokens: Tensor
    positions: Tensor
    targets: Tensor


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
        return Batch(tokens[:, :-1], at - 1, targets)


class Order:
    """Which rows each step trains on: every epoch is a fresh permutation of n rows, drawn from (seed, epoch)."""

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.per_epoch = steps_per_epoch(n, batch_size)
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def rows(self, step: int) -> np.ndarray:
        """Rows of step `step` (counted from 0): exactly `batch_size` indices, n for fillers."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.PCG64([self.seed, epoch]))
            self._epoch, self._permutation = epoch, generator.permutation(self.n)
        rows = self._permutation[place * self.batch_size : (place + 1) * self.batch_size]
        return np.concatenate([rows, np.full(self.batch_size - len(rows), self.n, dtype=rows.dtype)])
