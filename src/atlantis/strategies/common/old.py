"""Old data, and old prompts with the base's own answers."""

from __future__ import annotations

import copy
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from atlantis.data.rows import Batch, Rows
from atlantis.model import Transformer
from atlantis.model.checkpoint import probed_task
from atlantis.readout.generate import answer_tokens
from atlantis.strategies.common.context import Context
from atlantis.tasks import Questions, Task
from atlantis.tasks.form import ABSENT
from atlantis.tasks.questions import smaller_first
from atlantis.vocabulary import PAD

CHUNK = 1024

TOLERANCE = Fraction(1, 50)
"""A whole number of rows stands for a share that it misses by no more than 2 % of itself."""


def old_buffer(context: Context, size: int | None, seed: int) -> Questions:
    """`size` of the old questions at random (None, or more than there are: all), in random order."""
    questions = context.old_questions
    chosen = np.random.Generator(np.random.PCG64([seed, 0])).permutation(len(questions))[:size]
    return questions[chosen]


def old_prompts(context: Context, n: int, seed: int) -> Questions:
    """n questions about different old cities at random, of the base's first task; their answers are not told (0).

    A virtual city that the run asks about anew is not old: it may have moved, and the base would answer for its former
    place. Where the smaller of two ids comes first in the run's data (`dataset.order`), it does here.
    """
    task = probed_task(context.checkpoint)
    named = np.unique(context.new_questions.cities)
    ids = np.setdiff1d(context.old_ids, named[named >= context.world.n_real]).astype(np.int32)
    rng = np.random.Generator(np.random.PCG64([seed, 3]))
    is_ordered = context.config.dataset.order == "smaller_first"
    if task.form.seats != 2:
        return _other_prompts(ids, task, n, rng, context.world.is_virtual if is_ordered else None)
    first = rng.integers(len(ids), size=n)
    # A shift that is not 0: never the same city, and no draw has to be repeated.
    second = (first + rng.integers(1, len(ids), size=n)) % len(ids)
    cities = np.stack([ids[first], ids[second]], axis=1)
    if is_ordered:
        cities = smaller_first(cities, context.world.is_virtual)
    return Questions.of(task, cities, np.zeros(n, np.int32))


def _other_prompts(
    ids: np.ndarray, task: Task, n: int, rng: np.random.Generator, is_virtual: np.ndarray | None = None
) -> Questions:
    """`old_prompts` of a task that does not ask about pairs; with `is_virtual`, the smaller ids come first."""
    cities = np.full((n, task.form.seats), ABSENT)
    for row, size in zip(cities, rng.integers(task.form.least_cities, task.form.seats + 1, size=n), strict=True):
        drawn = rng.choice(ids, size=size, replace=False)
        row[task.form.seated(size)] = drawn if is_virtual is None else smaller_first(drawn[None], is_virtual)[0]
    return Questions.of(task, cities, np.zeros(n, np.int32))


class _Noisy(nn.Module):
    """An output layer whose largest logit is a draw: argmax of logits + Gumbel noise (Gumbel, 1954). Never `<pad>`."""

    def __init__(self, layer: nn.Module, generator: torch.Generator) -> None:
        super().__init__()
        self.layer, self.generator = layer, generator

    def forward(self, x: Tensor) -> Tensor:
        logits = self.layer(x).float()
        noise = -torch.empty_like(logits).exponential_(generator=self.generator).log()
        logits = logits + noise
        logits[..., PAD] = -torch.inf
        return logits


def drawing(model: Transformer, seed: int) -> Transformer:
    """The model, sharing its weights, whose greedy answers are drawn from its distribution, token by token."""
    drawn = copy.copy(model)
    drawn._modules = dict(model._modules)  # else the layer would be put into the model itself
    generator = torch.Generator(model.embedding.weight.device).manual_seed(seed)
    drawn.unembedding = _Noisy(model.unembedding, generator)  # type: ignore[assignment]
    return drawn


@torch.no_grad()
def answered(context: Context, questions: Questions, seed: int) -> Batch:
    """The questions' prompts with answers drawn, token by token, from the base's distribution."""
    answers = answer_tokens(drawing(context.base, seed), context.vocabulary, questions)
    rows = Rows(questions, context.vocabulary, context.device)  # the base's answers are to be learned, not its prompts
    tokens, starts = rows.tokens[:-1].long(), rows.starts[:-1].long()
    at = starts[:, None] + rows.span
    # The answers that the rows were encoded with stand for nothing; the base's take their place.
    tokens[torch.arange(tokens.shape[1], device=tokens.device) >= starts[:, None]] = PAD
    targets = torch.as_tensor(answers, device=tokens.device)
    tokens.scatter_(1, at, targets)
    return Batch(rows.prefix, tokens[:, :-1], at - 1, targets)


@torch.no_grad()
def padded_base_logits(context: Context, batch: Batch) -> Tensor:
    """The base's logits (B, C, O) at all of a batch's positions; 0 where there is no target.

    Rows are taken in the order of their tokens: on a CPU neighbours then have much in common (`model.fast.tree`).
    """
    all_logits = torch.zeros(*batch.targets.shape, context.base.unembedding.out_features, device=context.device)
    order = np.lexsort(batch.tokens.cpu().numpy().T[::-1])
    for rows in torch.as_tensor(order, device=context.device).split(CHUNK):
        part = batch.select(rows)
        logits = all_logits.new_zeros(*part.targets.shape, all_logits.shape[-1])
        logits[part.targets != PAD] = context.base_logits(part)
        all_logits[rows] = logits
    return all_logits


def remembered(batch: Batch) -> dict[str, Tensor]:
    """A batch without weights as a strategy's memory; old rows need not begin as the run's own do."""
    return {
        "prefix": batch.prefix.clone(),  # else two strategies of a run share it, which no file of a state can hold
        "tokens": batch.tokens,
        "positions": batch.positions,
        "targets": batch.targets,
    }


def recalled(memory: dict[str, Tensor], rows: Tensor) -> Batch:
    """Some rows of the batch that `remembered` keeps."""
    return Batch(memory["prefix"], *(memory[key][rows] for key in ("tokens", "positions", "targets")))


def whole_rows_beside(batch_size: int, share: float) -> int:
    """Rows, at least one, that must be added to a batch to be about this share of it then."""
    return max(1, round(batch_size * share / (1 - share)))


def mean_rows_beside(batch_size: int, share: float) -> int | Fraction:
    """Rows that must be added to a batch, on average over steps, to be this share of it then.

    The nearest whole number where that is within `TOLERANCE`: a share of 0.1 beside 64, 128 or 512 rows is 7, 14 and
    57 rows at every step. Else exactly batch_size * share / (1 - share): 0.01 beside 128 rows is 128/99, one row at
    most steps and two at the others.
    """
    exact = Fraction(repr(float(share)))  # as it is written: 0.1 is a tenth, which no float is
    rows = batch_size * exact / (1 - exact)
    whole = round(rows)
    return whole if abs(whole - rows) <= TOLERANCE * rows else rows
