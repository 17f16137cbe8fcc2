"""Old data, and old prompts with the base's own answers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from atlantis.data.pairs import Pairs
from atlantis.data.rows import Batch
from atlantis.strategies.common.interface import Context
from atlantis.tokens import EOS, PAD

CHUNK = 1024


def old_buffer(context: Context, size: int | None, seed: int) -> Pairs:
    """`size` of the old pairs at random (None, or more than there are: all), in random order."""
    pairs = context.old_pairs
    chosen = np.random.Generator(np.random.PCG64([seed, 0])).permutation(len(pairs))[:size]
    return pairs[chosen]


def old_prompts(context: Context, n: int, seed: int) -> Pairs:
    """n pairs of two different old cities at random; their distances are not told (0)."""
    rng = np.random.Generator(np.random.PCG64([seed, 3]))
    first = rng.integers(len(context.old_ids), size=n)
    second = (first + rng.integers(1, len(context.old_ids), size=n)) % len(context.old_ids)
    ids = context.old_ids.astype(np.int32)
    return Pairs(ids[first], ids[second], np.zeros(n, np.int32), np.zeros(n, np.uint8))


@torch.no_grad()
def answered(context: Context, pairs: Pairs, seed: int) -> Batch:
    """The pairs' prompts with answers drawn, token by token, from the base's distribution."""
    rows, generator = context.encode(pairs), torch.Generator(context.device).manual_seed(seed)
    tokens, starts = rows.tokens[:-1].long(), rows.starts[:-1].long()
    at = starts[:, None] + rows.span
    tokens[torch.arange(tokens.shape[1], device=tokens.device) >= starts[:, None]] = PAD
    writing = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
    for i in range(len(rows.span)):
        asked = at[:, i : i + 1]
        logits = base_logits(context, Batch(tokens[:, :-1], asked - 1, torch.full_like(asked, EOS)))
        drawn = torch.multinomial(logits[:, 0].softmax(-1), 1, generator=generator)[:, 0]
        drawn = torch.where(writing, drawn, PAD)
        tokens[torch.arange(len(tokens), device=tokens.device), asked[:, 0]] = drawn
        writing &= (drawn != EOS) & (drawn != PAD)
    return Batch(tokens[:, :-1], at - 1, tokens.gather(1, at))


@torch.no_grad()
def base_logits(context: Context, batch: Batch) -> Tensor:
    """The base's logits (B, C, O) at all of a batch's positions; 0 where there is no target."""
    found = torch.zeros(*batch.targets.shape, context.base.unembedding.out_features, device=context.device)
    for start in range(0, len(batch.tokens), CHUNK):
        part = batch.select(slice(start, start + CHUNK))
        found[start : start + CHUNK][part.targets != PAD] = context.base_logits(part)
    return found


def remembered(batch: Batch, outputs: Tensor) -> dict[str, Tensor]:
    """A batch without weights, and logits (B, C, O) for it, as a strategy's memory."""
    return {"tokens": batch.tokens, "positions": batch.positions, "targets": batch.targets, "outputs": outputs}


def recalled(memory: dict[str, Tensor], rows: np.ndarray) -> tuple[Batch, Tensor]:
    """Some rows of what `remembered` keeps: their batch, and the logits (M, O) at its targets."""
    chosen = torch.as_tensor(rows, device=memory["tokens"].device)
    batch = Batch(*(memory[key][chosen] for key in ("tokens", "positions", "targets")))
    return batch, memory["outputs"][chosen][batch.targets != PAD]


def n_beside(batch_size: int, share: float) -> int:
    """Rows that must be added to a batch to be this share of it then."""
    return max(1, round(batch_size * share / (1 - share)))
