"""Freezing: a part of the base is not trained (Howard and Ruder, 2018; Lee et al., 2023, "surgical fine-tuning").

    trained = all parameters - embedding and bottom blocks - top blocks and output layer - attention - MLPs, as asked

Default: the embedding and the bottom half of the study's six blocks, below the blocks 3 and 4 in which the map is read.
Cost: less than a naive step, since nothing is computed for frozen weights and no moments are kept for them.
"""

from __future__ import annotations

from pydantic import Field

from atlantis.errors import UserError
from atlantis.fields import Count, StrategySettings
from atlantis.strategies.common.context import Context, Parameters
from atlantis.strategies.common.strategy import Strategy


class Freeze(Strategy):
    """Parts that keep the base's weights."""

    class Settings(StrategySettings):
        name: str = "freeze"
        bottom: Count = Field(default=3, description="blocks from the first on; with any, the embedding too")
        top: Count = Field(default=0, description="blocks from the last back; with any, the final norm and output too")
        attention: bool = Field(default=False, description="all attention layers and the norms before them")
        mlp: bool = Field(default=False, description="all MLPs and the norms before them")

    settings: Settings

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        n = len(context.model.blocks)
        if settings.bottom + settings.top > n:
            raise UserError(f"strategy: bottom + top is {settings.bottom + settings.top}, but the model has {n} blocks")

    def parameters(self, trained: Parameters) -> Parameters:
        kept = {name: parameter for name, parameter in trained.items() if not self._frozen(name)}
        for name in trained.keys() - kept.keys():
            trained[name].requires_grad_(False)
        return kept

    def _frozen(self, name: str) -> bool:
        settings, n = self.settings, len(self.context.model.blocks)
        if name.startswith("embedding."):
            return settings.bottom > 0
        if not name.startswith("blocks."):
            return settings.top > 0
        _, block, layer, _ = name.split(".")
        if int(block) < settings.bottom or int(block) >= n - settings.top:
            return True
        return settings.attention if layer in ("norm1", "qkv", "out") else settings.mlp
