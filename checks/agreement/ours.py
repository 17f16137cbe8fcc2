"""Our side: a small model, fixed rows, and one step of a strategy by the engine that trains.

Base and data follow from seeds alone, so that every machine has the same. The model that learns is not at the base but
a fixed distance away, as after some training: at the base, most penalties are zero.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlantis.data.dataset import Dataset
from atlantis.data.rows import Batch, Rows
from atlantis.model import Transformer
from atlantis.settings import DatasetConfig, RunConfig
from atlantis.strategies.common.composed import Composed
from atlantis.strategies.common.context import Context
from atlantis.tasks import Questions
from atlantis.training.step import Engine
from atlantis.vocabulary import Vocabulary
from atlantis.world import World
from checks.agreement import papers

N_NEW, N_OLD = 12, 4
SHARE = N_OLD / (N_NEW + N_OLD)
MODEL: dict[str, Any] = {
    "model": {"hidden_size": 32, "n_layers": 3, "n_heads": 2, "mlp_size": 64},
    "probe": {"layers": [0]},
}
STD, DISTANCE = 0.3, 0.05
"""Of the base's weights, and of what is added to each for the model that learns."""
N_TARGETS = 6
"""Columns of targets: five digits of a distance and the end of the answer, at most."""


@dataclass(frozen=True)
class Scene:
    """What all cases share."""

    world: World
    vocabulary: Vocabulary
    base: Transformer
    old: Questions
    new: Questions


@cache
def scene() -> Scene:
    """The planted base, and pairs of real cities and of Atlantis."""
    world = World.build()
    vocabulary = Vocabulary("characters", len(world))
    sizes = RunConfig.model_validate(MODEL).model
    base = Transformer(
        vocabulary.size,
        vocabulary.first_city,
        width=sizes.hidden_size,
        n_layers=sizes.n_layers,
        n_heads=sizes.n_heads,
        mlp_width=sizes.mlp_size,
        context=sizes.context,
    )
    base.initialise(STD, torch.Generator().manual_seed(0))

    def pairs(kind: str, n: int) -> Questions:
        settings = DatasetConfig.model_validate({"kind": kind, "n_train": n, "n_val": 0, "n_test": 0})
        return Dataset.build(world, settings).splits["train"]

    return Scene(world, vocabulary, base, pairs("distance", 200), pairs("cross", 640))


class OurSide:
    """An engine with one strategy (or `naive`), which has begun at the base; the model is then moved away from it."""

    def __init__(self, name: str, n_new: int = N_NEW, **settings: Any) -> None:
        planted = scene()
        training = {"batch_size": n_new, "max_grad_norm": None, "weight_decay": 0.0, "device": "cpu"}
        config = RunConfig.model_validate(
            MODEL | {"base": "planted", "training": training, "strategy": {"name": name, **settings}}
        )
        self.engine = Engine(copy.deepcopy(planted.base), config.training, torch.device("cpu"))
        self.model = self.engine.model
        self.rows = Rows(planted.new, planted.vocabulary)
        self.context = Context(
            config=config,
            world=planted.world,
            vocabulary=planted.vocabulary,
            model=self.model,
            new_questions=planted.new,
            rows=self.rows,
            checkpoint=Path("planted"),
            load_base=lambda: copy.deepcopy(planted.base),
            old_ids=np.arange(planted.world.n_real),
            load_old_questions=lambda: planted.old,
            total=1_000,
            logits_of=self.engine.logits,
        )
        self.composed = Composed(config.strategies, self.context)
        self.strategy: Any = next(iter(self.composed.parts), None)
        self.engine.adopt(self.composed)
        self.composed.begin(self.engine.optimizer)
        self.move()

    def move(self) -> None:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(DISTANCE * torch.randn(parameter.shape, generator=generator))

    @property
    def new(self) -> Batch:
        """The new rows of every step."""
        return self.rows.batch(torch.arange(N_NEW))

    def gradient(self, new: Batch | None = None) -> papers.Weights:
        """What the optimizer is given in step 0, by weight; the model stays where it is."""
        self.composed.at(0)
        batch = self.composed.batch(self.new if new is None else new, torch.arange(N_NEW))
        self.engine.step(batch, 0.0)
        return {name: p.grad.double() for name, p in self.model.named_parameters() if p.grad is not None}

    def after(self, steps: int, rate: float) -> papers.Weights:
        """The weights after so many steps of AdamW, each on the next N_NEW rows."""
        for step in range(steps):
            rows = torch.arange(step * N_NEW, (step + 1) * N_NEW)
            self.composed.at(step)
            self.engine.step(self.composed.batch(self.rows.batch(rows), rows), rate)
        return self.weights

    @property
    def weights(self) -> papers.Weights:
        return weights_of(self.model)

    @property
    def base(self) -> papers.Weights:
        return weights_of(scene().base)


def weights_of(model: Transformer) -> papers.Weights:
    """In double precision, by name."""
    return {name: value.detach().double().clone() for name, value in model.named_parameters()}


def plain(*batches: Batch) -> papers.Rows:
    """The rows of batches, whole, without what is special to our engine: no shared prefix, one width."""
    context = scene().base.context
    parts = []
    for batch in batches:
        tokens, at = batch.whole(), batch.positions + len(batch.prefix)
        missing = N_TARGETS - batch.targets.shape[1]
        pad = torch.nn.functional.pad
        parts.append(
            (pad(tokens, (0, context - tokens.shape[1])), pad(at, (0, missing)), pad(batch.targets, (0, missing)))
        )
    return papers.Rows(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


@cache
def double_base() -> Transformer:
    """The base in double precision."""
    return copy.deepcopy(scene().base).double()


def logits(weights: papers.Weights, rows: papers.Rows) -> Tensor:
    """Logits (N, C, O) of the model as it is written (transformer.py), under any weights."""
    whole = torch.func.functional_call(double_base(), weights, (rows.tokens,))
    return whole.gather(1, rows.at[..., None].expand(-1, -1, whole.shape[-1]))


def old_rows(ours: OurSide) -> Batch:
    """All rows of a strategy's buffer, in its order."""
    rows: Any = ours.strategy.rows if hasattr(ours.strategy, "rows") else ours.strategy.old
    return rows.batch(torch.arange(len(rows)))
