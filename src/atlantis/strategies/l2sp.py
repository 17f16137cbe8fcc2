"""L2-SP: a pull of every weight back to where it started (Li, Grandvalet and Davoine, 2018).

    penalty = weight / 2 * ||theta - base||^2

Default: 0.1, the order of the paper's alpha (1e-3 to 1 searched, 0.1 the usual choice). Cost: one pass over the weights
per step, and a copy of the base.
"""

from __future__ import annotations

from pydantic import Field

from atlantis.settings import StrategySettings
from atlantis.strategies.common.anchor import Anchor
from atlantis.strategies.common.interface import Context


class L2SP(Anchor):
    """The same pull for every weight."""

    class Settings(StrategySettings):
        name: str = "l2sp"
        weight: float = Field(default=0.1, gt=0)

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.weight = settings.weight
