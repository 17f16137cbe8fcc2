"""Greedy answers to many prompts at once, with a key-value cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from atlantis.data.pairs import Pairs
from atlantis.model.transformer import Transformer, attend, attend_shared
from atlantis.tasks import distance
from atlantis.tokens import EOS, MAX_KM_DIGITS, PAD, Vocabulary

BATCH = 2048


@torch.no_grad()
def answer_tokens(model: Transformer, vocabulary: Vocabulary, pairs: Pairs, batch: int = BATCH) -> np.ndarray:
    """Greedy completions of the pairs' prompts: int tokens (n, 6), `<pad>` after `<eos>`.

    The same tokens as transformers' `generate(do_sample=False)`. Rows are grouped by the length of their prompt, so
    no row is padded; a group's keys and values are kept, and each further token costs one position.
    """
    encoded = vocabulary.encode_pairs(pairs.first, pairs.second, pairs.km)
    device = model.embedding.weight.device
    prefix = torch.tensor(vocabulary.prefix(), device=device)
    answers = np.full((len(pairs), MAX_KM_DIGITS + 1), PAD, dtype=np.int64)
    for rows, length in _groups(encoded.prompt_length, batch):
        prompts = torch.as_tensor(encoded.tokens[rows, :length], device=device).long()
        answers[rows] = _decode(model, prefix, prompts).cpu().numpy()
    return answers


def _groups(lengths: np.ndarray, batch: int) -> Iterator[tuple[np.ndarray, int]]:
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        for start in range(0, len(rows), batch):
            yield rows[start : start + batch], int(length)


def _decode(model: Transformer, prefix: Tensor, prompts: Tensor) -> Tensor:
    """Completions (B, 6) of prompts (B, T) that all have the same length and continue `prefix` (P,)."""
    n, (n_rows, length) = len(prefix), prompts.shape
    p, x = model.embedding(prefix), model.embedding(prompts)
    cos, sin, mask = model.tables(p, x)
    shared, own = [], []
    for block in model.layers:
        pq, pk, pv = block.heads(p, cos[:n], sin[:n])
        q, k, v = block.heads(x, cos[n:], sin[n:])
        shared.append((pk, pv))
        own.append((k, v))
        p = block.finish(p, attend(pq[None], pk[None], pv[None], mask[:n, :n])[0])
        x = block.finish(x, attend_shared(q, k, v, pk, pv, mask[:length, :length]))
    answer = torch.full((n_rows, MAX_KM_DIGITS + 1), PAD, device=prompts.device)
    open_rows = torch.ones(n_rows, dtype=torch.bool, device=prompts.device)
    for i in range(MAX_KM_DIGITS + 1):
        token = model.logits(x[:, -1]).argmax(-1)
        answer[:, i] = torch.where(open_rows, token, PAD)
        open_rows &= token != EOS
        if i == MAX_KM_DIGITS or not open_rows.any():
            break
        x = _one_more(model, token, n + length + i, shared, own)
    return answer


def _one_more(
    model: Transformer,
    token: Tensor,
    position: int,
    shared: list[tuple[Tensor, Tensor]],
    own: list[tuple[Tensor, Tensor]],
) -> Tensor:
    """Outputs (B, 1, D) of the last block for one more token (B,) at `position`; the caches in `own` grow by it."""
    x = model.embedding(token[:, None])
    cos, sin = model.cos[position : position + 1], model.sin[position : position + 1]
    for i, block in enumerate(model.layers):
        q, k, v = block.heads(x, cos, sin)
        own[i] = (torch.cat([own[i][0], k], dim=1), torch.cat([own[i][1], v], dim=1))
        keys, values = own[i]
        everything = torch.ones(1, keys.shape[1], dtype=torch.bool, device=x.device)
        x = block.finish(x, attend_shared(q, keys, values, *shared[i], everything))
    return x


def answers_km(model: Transformer, vocabulary: Vocabulary, pairs: Pairs, batch: int = BATCH) -> np.ndarray:
    """Greedy answers in km, int64 (n,); -1 where the answer cannot be parsed."""
    texts = vocabulary.decode(answer_tokens(model, vocabulary, pairs, batch))
    return np.array([-1 if (km := distance.parse(text)) is None else km for text in texts], dtype=np.int64)
