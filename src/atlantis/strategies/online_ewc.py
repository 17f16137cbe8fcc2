"""Online EWC: over several runs one Fisher, in which older runs fade (Schwarz et al., 2018; Huszár, 2018).

    penalty = weight / 2 * sum_i F*_i * (theta_i - base_i)^2,   F* = F(base) + decay * F* of the run that made the base

The earlier F* is read from the state of the base's run. If that run had no such strategy, this is EWC. Cost: as EWC.
Defaults: as EWC; decay 0.95 forgets half of a run's Fisher in 14 runs (the paper tunes it below 1).
"""

from __future__ import annotations

import torch
from pydantic import Field

from atlantis.strategies.common.base_state import strategy_memory
from atlantis.strategies.ewc import ElasticWeightConsolidation


class OnlineEWC(ElasticWeightConsolidation):
    """EWC with the Fisher of earlier runs."""

    class Settings(ElasticWeightConsolidation.Settings):
        name: str = "online_ewc"
        decay: float = Field(default=0.95, ge=0, le=1, description="of the earlier runs' Fisher information")

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        super().begin(optimizer)
        assert isinstance(self.settings, OnlineEWC.Settings)
        earlier = strategy_memory(self.context, "online_ewc")
        for name, importance in self.memory.items():
            if name in earlier:  # the city vocabulary may have grown; what is new has no past
                importance[: len(earlier[name])] += self.settings.decay * earlier[name].to(importance.device)
