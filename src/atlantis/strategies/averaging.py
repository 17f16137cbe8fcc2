"""Averaging with the base during training: every few steps the weights go part of the way back (Kleiman et al., 2025).

    every `every` steps:  theta <- (1 - pull) * theta + pull * base

The trained weights themselves move, unlike in `wise` and `ema`; AdamW's moments are kept. Cost: none between, a pass
over the weights at these steps; a copy of the base. Defaults: half of the way, as WiSE-FT has it at the end; every 20
steps, so that it happens often in a run of hundreds.
"""

from __future__ import annotations

from pydantic import Field

from atlantis.fields import Positive, StrategySettings
from atlantis.strategies.common.context import Context
from atlantis.strategies.common.strategy import Strategy


class Averaging(Strategy):
    """The trained weights go back towards the base now and then."""

    class Settings(StrategySettings):
        name: str = "averaging"
        every: Positive = Field(default=20, description="steps from one pull to the next")
        pull: float = Field(default=0.5, gt=0, le=1, description="share of the way back to the base")

    settings: Settings
    needs = frozenset({"base weights"})

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.anchors = dict(context.base.named_parameters())

    def after_update(self) -> None:
        if (self.step + 1) % self.settings.every == 0:
            for name, parameter in self.context.model.named_parameters():
                parameter.lerp_(self.anchors[name], self.settings.pull)
