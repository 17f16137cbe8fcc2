"""Averaged gradient episodic memory: no step may raise the loss on old data, to first order (Chaudhry et al., 2019).

    g_ref = gradient of the loss on `rows` old rows;  if <g, g_ref> < 0:  g <- g - <g, g_ref> / <g_ref, g_ref> * g_ref

A-GEM assumes that the update is -rate * g. AdamW's is not: it rescales each weight and adds its momentum, so a
projected gradient may still raise the old loss. With `project: update` the step d that AdamW took is projected itself:
if <d, g_ref> > 0, d <- d - <d, g_ref> / <g_ref, g_ref> * g_ref. Cost: a forward and backward pass over `rows` old rows
per step, and one copy of the gradient (of the weights too, for the update).

Defaults: the paper's gradient projection with 256 rows (its batch of memory); buffer as in replay.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from atlantis.errors import UserError
from atlantis.fields import Positive, Seed, StrategySettings
from atlantis.strategies.common.context import Context
from atlantis.strategies.common.old import old_buffer
from atlantis.strategies.common.row_stream import RowStream
from atlantis.strategies.common.strategy import Strategy


def projected(vectors: list[Tensor], reference: list[Tensor], sign: float) -> list[Tensor]:
    """`vectors`, as one vector, without their part along `reference` if the product of the two has this sign."""
    product = sum((a * b).sum() for a, b in zip(vectors, reference, strict=True))
    square = sum(b.square().sum() for b in reference)
    if sign * product <= 0 or square == 0:
        return vectors
    return [a - product / square * b for a, b in zip(vectors, reference, strict=True)]


class AveragedGEM(Strategy):
    """Gradients, or updates, that do not conflict with the old data's."""

    class Settings(StrategySettings):
        name: str = "agem"
        project: Literal["gradient", "update"] = Field(
            default="gradient", description="what is projected; update: AdamW's step"
        )
        rows: Positive = Field(default=256, description="old rows per step")
        buffer: Positive | None = Field(default=20_000, description="old pairs kept; null: all")
        seed: Seed = Field(default=42, description="of the buffer and the order of its rows")

    settings: Settings
    needs = frozenset({"old data"})

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.old = context.encode(old_buffer(context, settings.buffer, settings.seed))
        self.stream = RowStream(len(self.old), settings.rows, settings.seed, purpose=7)
        if settings.project == "gradient":
            self.only_reads = frozenset({"after_update"})
        self.reference: list[Tensor] = []
        self.before: list[Tensor] = []

    def trained(self) -> list[nn.Parameter]:
        return [p for p in self.context.model.parameters() if p.grad is not None]

    def gradients(self) -> None:
        drawn = torch.as_tensor(self.stream.rows(self.step), device=self.context.device)
        trained = self.trained()
        if not trained:
            raise UserError("strategy: agem finds no gradient, for a strategy before it has taken them; put agem first")
        self.reference = list(torch.autograd.grad(self.context.loss(self.old.batch(drawn)), trained))
        if self.settings.project == "update":
            self.before = [p.detach().clone() for p in trained]
            return
        for p, gradient in zip(trained, projected([_grad(p) for p in trained], self.reference, -1.0), strict=True):
            p.grad = gradient

    def after_update(self) -> None:
        if self.settings.project == "gradient":
            return
        trained = self.trained()
        steps = [p.detach() - before for p, before in zip(trained, self.before, strict=True)]
        kept = projected(steps, self.reference, 1.0)
        # `projected` gives back what it was given where nothing conflicts: then the weights stay as AdamW left them.
        if kept is not steps:
            for p, before, step in zip(trained, self.before, kept, strict=True):
                p.copy_(before + step)


def _grad(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
