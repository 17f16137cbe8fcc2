"""Experience replay: some of the old data comes along in every batch (Robins, 1995; Chaudhry et al., 2019).

    batch = B new rows + r old ones,  r = round(B * share / (1 - share)),  loss = mean over all targets

The new rows of each step are those of the naive run; the old ones are added, not put in their place, so that runs
compare at equal steps and equal new data. The buffer is a fixed random subset of the pairs that the base was trained
on; the rows not in it never come. Cost: (B + r) / B of a naive step.

Defaults: a share of 0.1 lies between what is found to do in language models (1 % in Scialom et al., 2022; 5 % and more
in Ibrahim et al., 2024); 20,000 pairs are the old part of the study's mixed dataset.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from atlantis.data.rows import Batch
from atlantis.settings import Positive, Seed, StrategySettings
from atlantis.strategies.common.interface import Context, Strategy
from atlantis.strategies.common.old import n_beside, old_buffer
from atlantis.strategies.common.streams import Stream


class Replay(Strategy):
    """Old pairs in every batch."""

    class Settings(StrategySettings):
        name: str = "replay"
        share: float = Field(default=0.1, gt=0, lt=1, description="of old rows in a batch")
        buffer: Positive | None = Field(default=20_000, description="old pairs kept; null: all")
        seed: Seed = Field(default=42, description="of the buffer and the order of its rows")

    settings: Settings
    needs = frozenset({"old data"})

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.old = context.encode(old_buffer(context, settings.buffer, settings.seed))
        n_old = n_beside(context.config.training.batch_size, settings.share)
        self.stream = Stream(len(self.old), n_old, settings.seed, purpose=1)

    def batch(self, batch: Batch, rows: Tensor) -> Batch:
        drawn = self.stream.rows(self.step)
        return batch.join(self.old.batch(torch.as_tensor(drawn, device=self.context.device)))
