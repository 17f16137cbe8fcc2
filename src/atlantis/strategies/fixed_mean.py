"""Fixed mean: on average, the hidden states of old prompts stay where the base had them.

    penalty = weight * mean over blocks and tokens of |mean h - mean b|^2 / mean |b - mean b|^2

h and b are the states of the model and of the base behind each block, at the last tokens of the same old prompts; the
means are over the prompts. So a single state may go anywhere, and only what all of them do together costs something.
(This project's own; not published elsewhere.)

It follows from a measurement: most of what a probe loses that was fitted before the fine-tuning is one shift, the same
for all cities (docs/metrics.md, *shifted*). Takes old prompts without any answer, and the base's weights. Cost: a pass
over `prompts` prompts by the base and by the model per step, in plain PyTorch.

Defaults: 64 prompts, whose mean then errs by an eighth of the states' spread; a weight at which a shift by the whole
spread costs as much as one nat per token.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from atlantis.data.encoding import encode, prefix
from atlantis.fields import MAX_COUNT, Int, Seed, StrategySettings
from atlantis.model import Transformer
from atlantis.strategies.common.context import Context
from atlantis.strategies.common.old import old_prompts
from atlantis.strategies.common.row_stream import RowStream
from atlantis.strategies.common.strategy import Strategy

POOL = 100
"""Batches of prompts that are drawn; then they come again, in another order."""


def last_states(model: Transformer, tokens: Tensor, lengths: Tensor, n: int) -> Tensor:
    """States (B, n, blocks, D) behind every block at the last n tokens of rows (B, T) of these lengths (B,)."""
    at = lengths[:, None] - n + torch.arange(n, device=tokens.device)
    rows = torch.arange(len(tokens), device=tokens.device)[:, None]
    return torch.stack([x[rows, at] for x in model.hidden_states(tokens, range(len(model.blocks)))], dim=2)


def shift(states: Tensor, base: Tensor) -> Tensor:
    """How far the mean of states (B, ...) is from the base's, squared, in units of the base's variance."""
    mean = base.mean(0)
    return ((states.mean(0) - mean).square().mean(-1) / (base - mean).square().mean((0, -1))).mean()


class FixedMean(Strategy):
    """The mean of old states is held."""

    class Settings(StrategySettings):
        name: str = "fixed_mean"
        weight: float = Field(default=1.0, gt=0, description="of the penalty")
        prompts: Annotated[Int, Field(ge=2, le=MAX_COUNT)] = Field(
            default=64, description="per step; one alone has no spread"
        )
        seed: Seed = Field(default=42, description="of the prompts")

    settings: Settings
    needs = frozenset({"old prompts", "base weights"})
    prepares_for_length = True

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        asked = old_prompts(context, settings.prompts * min(POOL, max(1, context.total)), settings.seed)
        form = asked.tasks[0].form
        encoded, start = encode(form, context.vocabulary, asked.cities, asked.answer), prefix(form, context.vocabulary)
        whole = np.concatenate([np.tile(start, (len(asked), 1)), encoded.tokens], axis=1)
        self.lengths = torch.as_tensor(encoded.prompt_length + len(start), device=context.device).long()
        self.tokens = torch.as_tensor(whole[:, : int(self.lengths.max())], device=context.device).long()
        self.n_last = int(encoded.prompt_length.min())
        self.stream = RowStream(len(asked), settings.prompts, settings.seed, purpose=10)

    def penalty(self) -> Tensor:
        rows = torch.as_tensor(self.stream.rows(self.step), device=self.context.device)
        tokens, lengths = self.tokens[rows], self.lengths[rows]
        with torch.no_grad():
            base = last_states(self.context.base, tokens, lengths, self.n_last)
        return self.settings.weight * shift(last_states(self.context.model, tokens, lengths, self.n_last), base)
