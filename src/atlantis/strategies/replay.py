"""Experience replay: some of the old data comes along in every batch (Robins, 1995; Chaudhry et al., 2019).

    batch = B new rows + r old ones,  r = B * share / (1 - share),  loss = mean over all targets

The new rows of each step are those of the naive run; the old ones are added, not put in their place, so that runs
compare at equal steps and equal new data. The buffer is a fixed random subset of the pairs that the base was trained
on; the rows not in it never come. Cost: (B + r) / B of a naive step.

Where r is no whole number, steps have the one below it or the one above, so that old rows have the share over many
steps: one per cent beside 128 new rows is one old row at most steps and two at the others. Which steps those are
follows from the step's number. A whole number that misses r by no more than 2 % is taken at every step instead: 14 rows
for 14.2. (Until 2026-11-28 r was always rounded, and at least 1: one per cent was 0.78 % of batches of 128.)

Defaults: a share of 0.1 lies between what is found to do in language models (1 % in Scialom et al., 2022; 5 % and more
in Ibrahim et al., 2024); 20,000 pairs are the old part of the study's mixed dataset.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from atlantis.data.rows import Batch
from atlantis.errors import UserError
from atlantis.fields import Positive, Seed, StrategySettings
from atlantis.strategies.common.context import Context
from atlantis.strategies.common.old import mean_rows_beside, old_buffer
from atlantis.strategies.common.row_stream import RowStream
from atlantis.strategies.common.strategy import Strategy


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
        batch_size = context.config.training.batch_size
        self.stream = RowStream(len(self.old), mean_rows_beside(batch_size, settings.share), settings.seed, purpose=1)
        if not self.stream.before(context.total):
            raise UserError(
                f"strategy.share: {settings.share:g} beside batches of {batch_size} is not one old row in "
                f"{context.total:,} steps; ask for a larger share"
            )

    def batch(self, batch: Batch, rows: Tensor) -> Batch:
        drawn = self.stream.rows(self.step)
        # A batch has the same shape at every step, or it would be compiled again: a filler stands for a missing row.
        fillers = np.full(math.ceil(self.stream.size) - len(drawn), len(self.old))
        places = torch.as_tensor(np.concatenate([drawn, fillers]), device=self.context.device)
        return batch.join(self.old.batch(places))
