"""Integration: new cities are to live in the space of the old ones' map. (This project's own; not published elsewhere.)

    f(c)     hidden states of city c, at the probe's layers and positions, side by side: p numbers
    mu, U    mean of f over old cities under the base, and the principal directions that hold `energy` of its variance
    penalty  weight * mean over some new cities c of  |r - U U' r|^2 / |r|^2,  r = f(c) - mu

A new city whose states lie outside that subspace can be told from the old ones, but a linear map fitted on the old
cities cannot place it. The penalty is the share of its state that the map does not see: 0 inside, 1 outside. It says
nothing about where in the subspace the city belongs, which is the task's part, nor does it hold the old cities in
place; combine it with a strategy that does. Takes old prompts (without a second city). Cost: a forward and backward
pass, up to the probe's highest layer, over `cities` prompts of about a dozen tokens; at the beginning a pass over the
old cities.

Defaults: 95 % of the variance, the usual cut; 32 cities per step, a third of Atlantis; weight 1, so that a city wholly
outside costs as much as one nat per token.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from atlantis.data.encoding import probe_prompt
from atlantis.errors import UserError
from atlantis.fields import Positive, Seed, StrategySettings
from atlantis.model import Transformer
from atlantis.readout.activations import N_POSITIONS
from atlantis.strategies.common.context import Context
from atlantis.strategies.common.row_stream import RowStream
from atlantis.strategies.common.strategy import Strategy

CHUNK = 512


def states(model: Transformer, context: Context, ids: np.ndarray) -> Tensor:
    """The probe's features (n, p) of cities, as `readout.activations.probe_features` has them, with their gradients."""
    tokens, last = probe_prompt(context.new_questions.tasks[0].form, context.vocabulary, ids)
    hidden = model.hidden_states(torch.as_tensor(tokens, device=context.device).long(), context.config.probe.layers)
    at = torch.as_tensor(last, device=context.device)[:, None] + torch.arange(1 - N_POSITIONS, 1, device=context.device)
    side_by_side = torch.cat(hidden, dim=-1)
    return side_by_side[torch.arange(len(ids), device=context.device)[:, None], at].flatten(1)


def principal(features: Tensor, energy: float) -> tuple[Tensor, Tensor]:
    """Mean (p,) of features (n, p), and their first principal directions (p, k) with this share of the variance."""
    mean = features.mean(dim=0)
    _, size, directions = torch.linalg.svd((features - mean).double(), full_matrices=False)
    held = size.square().cumsum(0) / size.square().sum()
    return mean, directions[: int((held < energy).sum()) + 1].T.to(features.dtype).contiguous()


def share_outside(features: Tensor, mean: Tensor, directions: Tensor) -> Tensor:
    """Mean share of |f - mean|^2 of features (n, p) that lies outside the directions (p, k)."""
    r = features - mean
    inside = (r @ directions).square().sum(dim=1)
    return (1 - inside / r.square().sum(dim=1)).mean()


class Integration(Strategy):
    """New cities' states inside the old cities' subspace."""

    class Settings(StrategySettings):
        name: str = "integration"
        weight: float = Field(default=1.0, gt=0, description="of the penalty")
        energy: float = Field(default=0.95, gt=0, lt=1, description="share of the old states' variance that U holds")
        cities: Positive = Field(default=32, description="new cities per step")
        seed: Seed = Field(default=42, description="of the cities of each step")

    settings: Settings
    needs = frozenset({"old prompts", "base weights"})

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        named = np.unique(context.new_questions.cities)
        self.new_ids = named[named >= context.world.n_real]
        if not len(self.new_ids):
            raise UserError("strategy: integration needs virtual cities, but the dataset names real ones alone")
        self.old_ids = np.setdiff1d(context.old_ids, self.new_ids)  # a city that moves is new, though the base knows it
        size = min(settings.cities, len(self.new_ids))
        self.stream = RowStream(len(self.new_ids), size, settings.seed, purpose=8)

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        base, old = self.context.base, self.old_ids
        with torch.no_grad():
            parts = [states(base, self.context, old[i : i + CHUNK]) for i in range(0, len(old), CHUNK)]
        self.memory["mean"], self.memory["directions"] = principal(torch.cat(parts), self.settings.energy)

    def penalty(self) -> Tensor:
        features = states(self.context.model, self.context, self.new_ids[self.stream.rows(self.step)])
        return self.settings.weight * share_outside(features, self.memory["mean"], self.memory["directions"])
