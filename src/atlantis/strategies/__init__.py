"""Strategies against forgetting: one file each, named as in a config (`strategy: {name: l2sp, weight: 0.1}`).

A strategy is a subclass of `Strategy` (common/strategy.py) with its own `Settings`. Adding one is adding a file here;
one of a user's own is named `my_module:MyStrategy`, and its module is looked for in the current folder too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlantis.fields import StrategySettings
from atlantis.strategies.common.strategy import Need, Strategy
from atlantis.strategies.registry import find, known

if TYPE_CHECKING:
    from atlantis.strategies.common.context import Context

__all__ = ["Context", "Need", "Strategy", "StrategySettings", "find", "known"]


def __getattr__(name: str) -> Any:
    """`Context`, which needs PyTorch; settings are read without it."""
    if name != "Context":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from atlantis.strategies.common.context import Context

    return Context
