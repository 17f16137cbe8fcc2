"""Rows of a split as integers on the device; a batch is an index selection."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from atlantis.data.encoding import common_length, encode_questions
from atlantis.tasks import Questions
from atlantis.vocabulary import PAD, Vocabulary


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

    def whole(self) -> Tensor:
        """The rows with what they begin with, (B, P + T)."""
        return torch.cat([self.prefix.expand(len(self.tokens), -1), self.tokens], dim=1)

    def join(self, other: Batch) -> Batch:
        """The rows of both; those of a batch without weights count 1 beside weighted ones."""
        weights = None
        if self.weights is not None or other.weights is not None:
            both = (self, other)
            weights = torch.cat(
                [torch.ones(len(b.tokens), device=b.tokens.device) if b.weights is None else b.weights for b in both]
            )
        mine, theirs = (self, other) if self.is_alike(other) else aligned(self, other)
        tokens, positions, targets = (torch.cat(pair) for pair in zip(mine[1:4], theirs[1:4], strict=True))
        return Batch(mine.prefix, tokens, positions, targets, weights)

    def is_alike(self, other: Batch) -> bool:
        """Whether both have the same prefix and as many columns, as all batches of one task have."""
        same = self.prefix is other.prefix or torch.equal(self.prefix, other.prefix)
        return same and [x.shape[1] for x in self[1:4]] == [x.shape[1] for x in other[1:4]]

    def widened(self, n_prefix: int, width: int, n_targets: int) -> Batch:
        """The same rows with a shorter shared prefix: the rest of it moves into `tokens`.

        `tokens` are padded to `width` columns, `positions` and `targets` to `n_targets`.
        """
        suffix = self.prefix[n_prefix:].expand(len(self.tokens), -1)
        tokens = torch.cat([suffix, self.tokens], dim=1)
        tokens = functional.pad(tokens, (0, width - tokens.shape[1]), value=PAD)
        missing = (0, n_targets - self.targets.shape[1])
        positions = functional.pad(self.positions + suffix.shape[1], missing)
        targets = functional.pad(self.targets, missing, value=PAD)
        return Batch(self.prefix[:n_prefix], tokens, positions, targets, self.weights)


def aligned(*batches: Batch) -> tuple[Batch, ...]:
    """Batches of different tasks with the longest prefix that all share, and with as many columns."""
    prefixes = [batch.prefix.tolist() for batch in batches]
    n_prefix = common_length(prefixes)
    width = max(len(prefix) - n_prefix + batch.tokens.shape[1] for prefix, batch in zip(prefixes, batches, strict=True))
    n_targets = max(batch.targets.shape[1] for batch in batches)
    return tuple(batch.widened(n_prefix, width, n_targets) for batch in batches)


@lru_cache(maxsize=64)
def _on_device(prefix: tuple[int, ...], device: torch.device) -> Tensor:
    """One tensor for all rows with this prefix, so that batches of one task are known as such by it."""
    return torch.tensor(prefix, dtype=torch.long, device=device)


LossOn = Literal["answer", "row"]


class Rows:
    """All rows of one split, encoded once: n rows of L tokens without the prefix that all share.

    Targets are the answer's tokens or, `loss_on="row"`, all that follow `<bos>`; then no prefix is left out.
    """

    def __init__(
        self,
        questions: Questions,
        vocabulary: Vocabulary,
        device: torch.device | str = "cpu",
        loss_on: LossOn = "answer",
    ) -> None:
        shared, encoded = encode_questions(questions, vocabulary)
        prefix, before = (shared, []) if loss_on == "answer" else ([], shared)
        self.prefix = _on_device(tuple(prefix), torch.device(device))
        # One more row, all padding: the filler of incomplete batches.
        n, length = len(encoded.tokens), len(before) + encoded.tokens.shape[1]
        tokens = np.full((n + 1, length), PAD, dtype=encoded.tokens.dtype)
        tokens[:n, : len(before)], tokens[:n, len(before) :] = before, encoded.tokens
        self.tokens = torch.as_tensor(tokens, device=device)
        # The filler has padding for targets. They begin at 1, so that the column before the first of them exists.
        starts = np.append(encoded.prompt_length, 1) if loss_on == "answer" else np.ones(n + 1)
        self.starts = torch.as_tensor(starts.astype(np.int16), device=device)  # where the targets begin
        most = max(task.form.answer_length for task in questions.tasks) if loss_on == "answer" else length - 1
        self.span = torch.arange(most, device=device)

    def __len__(self) -> int:
        return len(self.tokens) - 1

    def batch(self, rows: Tensor) -> Batch:
        """The batch of `rows` (B,), where index n stands for a filler."""
        tokens = self.tokens[rows].long()
        at = self.starts[rows].long()[:, None] + self.span
        inside = at < tokens.shape[1]
        # Past the end of a row any column will do: there is no target.
        at = at.clamp_(max=tokens.shape[1] - 1)
        targets = torch.where(inside, tokens.gather(1, at), PAD)
        return Batch(self.prefix, tokens[:, :-1], at - 1, targets)
