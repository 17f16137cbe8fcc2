"""Joint training: old and new data together, what a memory of everything can do (Caruana, 1997).

    batch = B rows, drawn without replacement from all old and all new pairs

The run goes on from the base, has the steps that its config gives the new data alone, and no larger batches: at equal
steps it sees fewer new rows than the naive run, in the proportion n_new / (n_old + n_new), and may have learned little
of them. Given enough steps it is an upper bound. Cost: that of a naive step, and all old rows in memory.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from atlantis.data.rows import Batch
from atlantis.fields import Seed, StrategySettings
from atlantis.strategies.common.context import Context
from atlantis.strategies.common.row_stream import RowStream
from atlantis.strategies.common.strategy import Strategy
from atlantis.tasks import Questions


class Joint(Strategy):
    """Every batch from old and new data pooled."""

    class Settings(StrategySettings):
        name: str = "joint"
        seed: Seed = Field(default=42, description="of the order of the pooled rows")

    settings: Settings
    needs = frozenset({"old data"})
    owns = frozenset({"batch"})

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)
        self.pool = context.encode(Questions.concatenate([context.old_questions, context.new_questions]))
        self.stream = RowStream(len(self.pool), context.config.training.batch_size, settings.seed, purpose=2)

    def batch(self, batch: Batch, rows: Tensor) -> Batch:
        return self.pool.batch(torch.as_tensor(self.stream.rows(self.step), device=self.context.device))
