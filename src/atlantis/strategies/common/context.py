"""The run that a strategy is part of, as it sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from atlantis.data.rows import Batch, Rows
from atlantis.model import Transformer
from atlantis.settings import RunConfig
from atlantis.tasks import Questions
from atlantis.vocabulary import PAD, Vocabulary
from atlantis.world import World

Parameters = dict[str, nn.Parameter]
LogitsOf = Callable[[Transformer, Batch], Tensor]


@dataclass
class Context:
    """The run that a strategy is part of."""

    config: RunConfig
    world: World
    vocabulary: Vocabulary
    model: Transformer
    """That learns."""
    new_questions: Questions
    """The training questions."""
    rows: Rows
    """The same as tokens."""
    checkpoint: Path
    """The base's, in its run's folder if it has one."""
    load_base: Callable[[], Transformer]
    old_ids: np.ndarray
    """Cities that the base has learned."""
    load_old_questions: Callable[[], Questions]
    total: int
    """Steps of the run."""
    logits_of: LogitsOf
    """Logits (M, O) of a model, by the fast path, at the M targets of a batch that are not `<pad>`."""

    @cached_property
    def base(self) -> Transformer:
        """The base as it was, frozen; one copy for all strategies of the run."""
        return self.load_base().to(self.device).requires_grad_(False)

    @cached_property
    def old_questions(self) -> Questions:
        """All that the base, and the bases before it, were trained on; their dataset is made if it is missing."""
        return self.load_old_questions()

    @property
    def device(self) -> torch.device:
        return self.model.embedding.weight.device

    def encode(self, questions: Questions) -> Rows:
        return Rows(questions, self.vocabulary, self.device, self.config.training.loss)

    def logits(self, batch: Batch) -> Tensor:
        """Of the model that learns, (M, O)."""
        return self.logits_of(self.model, batch)

    @torch.no_grad()
    def base_logits(self, batch: Batch) -> Tensor:
        """Of the base, (M, O)."""
        return self.logits_of(self.base, batch)

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy (nats) of a batch's targets under the model that learns."""
        return nn.functional.cross_entropy(self.logits(batch), batch.targets[batch.targets != PAD])
