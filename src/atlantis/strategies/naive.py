"""Nothing: plain fine-tuning on the new data, the lower bound that every other strategy is compared with."""

from __future__ import annotations

from atlantis.strategies.common.strategy import Strategy


class Naive(Strategy):
    """Plain fine-tuning. The loop treats a run whose only strategy is this one as a run without any."""
