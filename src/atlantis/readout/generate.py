"""Greedy answers to many prompts at once, with a key-value cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from atlantis.data.pairs import Pairs
from atlantis.model import Transformer
from atlantis.model.fast import kernels
from atlantis.model.fast.tree import greedy
from atlantis.tasks import distance
from atlantis.tokens import EOS, MAX_KM_DIGITS, PAD, Vocabulary

BATCH = 2048


@torch.no_grad()
def answer_tokens(model: Transformer, vocabulary: Vocabulary, pairs: Pairs, batch: int = BATCH) -> np.ndarray:
    """Greedy completions of the pairs' prompts: int tokens (n, 6), `<pad>` after `<eos>`.

    The same tokens as transformers' `generate(do_sample=False)`. On a CPU prompts are sorted, and what neighbours have
    in common is computed once (`model.fast.tree`). Else rows are grouped by the length of their prompt, so that no row
    is padded; a group's keys and values are kept, and each further token costs one position.
    """
    encoded = vocabulary.encode_pairs(pairs.first, pairs.second, pairs.km)
    device = model.embedding.weight.device
    prefix = torch.tensor(vocabulary.prefix(), device=device)
    answers = np.full((len(pairs), MAX_KM_DIGITS + 1), PAD, dtype=np.int64)
    if device.type == "cpu" and kernels.library() is not None:
        order = np.lexsort((pairs.second, pairs.first))
        for start in range(0, len(pairs), batch):
            rows = order[start : start + batch]
            inside = np.arange(encoded.tokens.shape[1]) < encoded.prompt_length[rows, None]
            own = np.where(inside, encoded.tokens[rows], -1)
            shared = np.broadcast_to(vocabulary.prefix(), (len(rows), len(prefix)))
            answers[rows] = greedy(model, np.concatenate([shared, own], axis=1), MAX_KM_DIGITS + 1)
        return answers
    for rows, length in same_length(encoded.prompt_length, batch):
        prompts = torch.as_tensor(encoded.tokens[rows, :length], device=device).long()
        answers[rows] = _decode(model, prefix, prompts).cpu().numpy()
    return answers


def same_length(lengths: np.ndarray, batch: int) -> Iterator[tuple[np.ndarray, int]]:
    """Batches of rows (their indices) that have the same length, and that length."""
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        for start in range(0, len(rows), batch):
            yield rows[start : start + batch], int(length)


def _decode(model: Transformer, prefix: Tensor, prompts: Tensor) -> Tensor:
    """Completions (B, 6) of prompts (B, T) that all have the same length and continue `prefix` (P,)."""
    n_rows, last = len(prompts), [len(model.blocks) - 1]
    _, cache = model.extend(prefix[None], last)
    (x,), cache = model.extend(prompts, last, cache, rows=torch.zeros_like(prompts[:, 0]))
    answer = torch.full((n_rows, MAX_KM_DIGITS + 1), PAD, device=prompts.device)
    open_rows = torch.ones(n_rows, dtype=torch.bool, device=prompts.device)
    for i in range(MAX_KM_DIGITS + 1):
        token = model.logits(x[:, -1]).argmax(-1)
        answer[:, i] = torch.where(open_rows, token, PAD)
        open_rows &= token != EOS
        if i == MAX_KM_DIGITS or not open_rows.any():
            break
        (x,), cache = model.extend(token[:, None], last, cache)
    return answer


def answers_km(model: Transformer, vocabulary: Vocabulary, pairs: Pairs, batch: int = BATCH) -> np.ndarray:
    """Greedy answers in km, int64 (n,); -1 where the answer cannot be parsed."""
    texts = vocabulary.decode(answer_tokens(model, vocabulary, pairs, batch))
    return np.array([-1 if (km := distance.parse(text)) is None else km for text in texts], dtype=np.int64)
