"""A run's model, its optimizer and its strategies, put together."""

from __future__ import annotations

import torch

from atlantis.model import Transformer
from atlantis.model import checkpoint as ckpt
from atlantis.settings import RunConfig
from atlantis.strategies.common.composed import Composed
from atlantis.strategies.common.context import Context
from atlantis.tasks import Questions
from atlantis.training.base import Base
from atlantis.training.device import choose_device
from atlantis.training.inputs import Inputs, saved_dataset
from atlantis.training.past import Past, checked_base
from atlantis.training.step import Engine
from atlantis.world import World


def new_engine(config: RunConfig, inputs: Inputs, base: Base | None, total: int) -> Engine:
    """The run's model, its optimizer and its strategies, for a run of `total` steps; no strategy has begun."""
    engine = Engine(first_model(config, inputs, base), config.training, choose_device(config.training.device))
    if not config.strategies:
        return engine
    base = checked_base(config, base)

    def questions_of(run: RunConfig, world: World) -> Questions:
        return saved_dataset(run.dataset, world, config.output_root).splits["train"]

    past = Past(base, config, inputs.world, questions_of)
    context = Context(
        config=config,
        world=inputs.world,
        vocabulary=inputs.vocabulary,
        model=engine.model,
        new_questions=inputs.questions,
        rows=inputs.rows,
        checkpoint=base.checkpoint,
        load_base=lambda: first_model(config, inputs, base),
        old_ids=past.city_ids(),
        load_old_questions=past.questions,
        total=total,
        logits_of=engine.logits,
    )
    engine.adopt(Composed(config.strategies, context))
    return engine


def first_model(config: RunConfig, inputs: Inputs, base: Base | None) -> Transformer:
    """A new model, or the base's with rows for the cities it does not know (city vocabulary)."""
    sizes = config.model
    if base is None:
        model = Transformer(
            inputs.vocabulary.size,
            inputs.vocabulary.first_city,
            width=sizes.hidden_size,
            n_layers=sizes.n_layers,
            n_heads=sizes.n_heads,
            mlp_width=sizes.mlp_size,
            rope_theta=sizes.rope_theta,
            context=sizes.context,
        )
        model.initialise(sizes.init_std, torch.Generator().manual_seed(sizes.seed))
        return model
    model, _ = ckpt.load_checkpoint(base.checkpoint)
    model.set_context(sizes.context)
    return ckpt.grow(model, inputs.vocabulary.size, sizes.init_std, sizes.seed)
