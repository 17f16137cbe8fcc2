"""WiSE-FT: what is evaluated and saved lies between the base and the fine-tuned weights (Wortsman et al., 2022).

    shown = (1 - alpha) * base + alpha * theta

Training itself is the naive run's; `atlantis interpolate RUN` draws the whole curve over alpha for any finished run.
Cost: none per step; a copy of the base. Default: 0.5, which the paper recommends where nothing is tuned.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from atlantis.fields import StrategySettings
from atlantis.strategies.common.strategy import Strategy


def interpolated(base: dict[str, Tensor], other: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """(1 - alpha) * base + alpha * other, exactly one of them at 0 and 1."""
    return {name: torch.lerp(value, other[name], alpha) for name, value in base.items()}


class WiSE(Strategy):
    """The weights shown are interpolated."""

    class Settings(StrategySettings):
        name: str = "wise"
        alpha: float = Field(default=0.5, ge=0, le=1, description="0: the base's weights; 1: the fine-tuned ones")

    settings: Settings
    needs = frozenset({"base weights"})

    def shown(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return interpolated(dict(self.context.base.named_parameters()), weights, self.settings.alpha)
