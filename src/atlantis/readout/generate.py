"""Greedy answers to many prompts at once, with a key-value cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from atlantis.data.encoding import encode, prefix, read_answers
from atlantis.model import Transformer
from atlantis.model.fast import kernels
from atlantis.model.fast.cache import extend
from atlantis.model.fast.tree import greedy
from atlantis.tasks import Questions, Task
from atlantis.vocabulary import EOS, PAD, Vocabulary

BATCH = 2048


@torch.no_grad()
def answer_tokens(
    model: Transformer, vocabulary: Vocabulary, questions: Questions, batch: int = BATCH
) -> Int[np.ndarray, "n C"]:
    """Greedy completions of the questions' prompts: int tokens (n, C), `<pad>` after `<eos>`; C = 6 for distances.

    The same tokens as transformers' `generate(do_sample=False)`. On a CPU prompts are sorted, and what neighbours have
    in common is computed once (`model.fast.tree`). Else rows are grouped by the length of their prompt, so that no row
    is padded; a group's keys and values are kept, and each further token costs one position.
    """
    width = max(task.form.answer_length for task in questions.tasks)
    answers = np.full((len(questions), width), PAD, dtype=np.int64)
    for task, rows in questions.by_task():
        answers[rows, : task.form.answer_length] = _of_task(model, vocabulary, questions[rows], task, batch)
    return answers


def _of_task(model: Transformer, vocabulary: Vocabulary, questions: Questions, task: Task, batch: int) -> np.ndarray:
    """`answer_tokens` for questions of one task."""
    n_tokens, start = task.form.answer_length, prefix(task.form, vocabulary)
    cities = questions.cities[:, : task.form.seats]
    encoded = encode(task.form, vocabulary, cities, questions.answer)
    device = model.embedding.weight.device
    answers = np.full((len(questions), n_tokens), PAD, dtype=np.int64)
    longest_prompt = encoded.tokens.shape[1] - n_tokens
    if device.type == "cpu" and kernels.takes(len(start) + encoded.tokens.shape[1]):
        # Neighbours in this order have more of their prompts in common, so a batch makes a smaller tree.
        order = np.lexsort(cities.T[::-1])
        for first in range(0, len(questions), batch):
            rows = order[first : first + batch]
            inside = np.arange(longest_prompt) < encoded.prompt_length[rows, None]
            prompts = np.where(inside, encoded.tokens[rows, :longest_prompt], -1)
            shared = np.broadcast_to(start, (len(rows), len(start)))
            answers[rows] = greedy(model, np.concatenate([shared, prompts], axis=1), n_tokens)
        return answers
    for rows, length in same_length(encoded.prompt_length, batch):
        prompts = torch.as_tensor(encoded.tokens[rows, :length], device=device).long()
        answers[rows] = _decode(model, torch.tensor(start, device=device), prompts, n_tokens).cpu().numpy()
    return answers


def same_length(lengths: np.ndarray, batch: int) -> Iterator[tuple[np.ndarray, int]]:
    """Batches of rows (their indices) that have the same length, and that length."""
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        for start in range(0, len(rows), batch):
            yield rows[start : start + batch], int(length)


def _decode(
    model: Transformer, start: Int[Tensor, " P"], prompts: Int[Tensor, "B T"], n_tokens: int
) -> Int[Tensor, "B n_tokens"]:
    """Completions (B, n_tokens) of prompts (B, T) that all have the same length and continue `start` (P,)."""
    n_rows, last = len(prompts), [len(model.blocks) - 1]
    _, cache = extend(model, start[None], last)
    (x,), cache = extend(model, prompts, last, cache, rows=torch.zeros_like(prompts[:, 0]))
    answer = torch.full((n_rows, n_tokens), PAD, device=prompts.device)
    open_rows = torch.ones(n_rows, dtype=torch.bool, device=prompts.device)
    for i in range(n_tokens):
        token = model.logits(x[:, -1]).argmax(-1)
        answer[:, i] = torch.where(open_rows, token, PAD)
        open_rows &= token != EOS
        if i == n_tokens - 1 or not open_rows.any():
            break
        (x,), cache = extend(model, token[:, None], last, cache)
    return answer


def answers(model: Transformer, vocabulary: Vocabulary, questions: Questions, batch: int = BATCH) -> np.ndarray:
    """Greedy answers, int64 (n,); -1 where the answer cannot be read."""
    tokens = answer_tokens(model, vocabulary, questions, batch)
    values = np.full(len(questions), -1, np.int64)
    for task, rows in questions.by_task():
        values[rows] = read_answers(task.form, tokens[rows])
    return values
