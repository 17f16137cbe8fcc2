"""New rows only: of the whole model, the embeddings of the new cities are trained and nothing else.

    trained = E[c's token] for new cities c;  all other weights, and all other rows of E, stay the base's bit for bit

For the city vocabulary, where a new city is a new token (Artetxe, Ruder and Yogatama, 2020, learn the embeddings of a
new language under a frozen model; Lester, Al-Rfou and Constant, 2021, those of a prompt). With one symbol per character
a new city has no row of its own, and this is refused. Nothing old can be lost: whatever does not name a new city is
answered as before. What it costs is learning: a city has `width` numbers to say where it lies. Cost: less than a naive
step, since no other weight has a gradient or moments.

Default: 20 times the schedule's rate. AdamW moves a weight by about the rate per step; a new row begins as noise of
size 0.1, and at 20 * 5e-5 it can travel that far within a hundred steps.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from atlantis.errors import UserError
from atlantis.fields import StrategySettings
from atlantis.strategies.common.context import Context, Parameters
from atlantis.strategies.common.strategy import Strategy
from atlantis.tasks.form import ABSENT


class NewRows(Strategy):
    """Embeddings of the new cities, by an optimizer that knows no other weight."""

    class Settings(StrategySettings):
        name: str = "new_rows"
        factor: float = Field(default=20.0, gt=0, description="of the schedule's rate")

    settings: Settings
    vocabulary = "city"
    owns = frozenset({"parameters", "after_update"})

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        if context.vocabulary.kind != "city":
            raise UserError(
                "strategy: new_rows trains the embedding rows of new cities, and with tokenizer.kind characters there "
                "are none; use tokenizer.kind=city with a base of that kind, or another strategy"
            )
        new = np.setdiff1d(context.new_questions.cities, [ABSENT, *context.old_ids])
        if not len(new):
            raise UserError("strategy: new_rows needs new cities, but the dataset names only those the base knows")
        self.tokens = torch.as_tensor(context.vocabulary.first_city + new, device=context.device)
        self.rows = nn.Parameter(self.embedding.detach()[self.tokens].clone())

    @property
    def embedding(self) -> Tensor:
        return self.context.model.embedding.weight

    def parameters(self, trained: Parameters) -> Parameters:
        for parameter in trained.values():
            parameter.requires_grad_(parameter is self.embedding)
        return {"embedding.new_rows": self.rows}

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        self.memory = {"rows": self.rows.data}

    def restore(self, memory: dict[str, Tensor]) -> None:
        self.rows.data.copy_(memory["rows"])
        self.memory = {"rows": self.rows.data}

    def rate(self, rate: float) -> float:
        return self.settings.factor * rate

    def gradients(self) -> None:
        assert self.embedding.grad is not None
        self.rows.grad = self.embedding.grad[self.tokens]
        # The optimizer does not know the embedding, so nothing else would clear this before the next step.
        self.embedding.grad = None

    def after_update(self) -> None:
        self.embedding[self.tokens] = self.rows
