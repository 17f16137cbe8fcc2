"""The order in which a run sees its rows.

It is a pure function of (seed, epoch), so a run can go on from any step without replaying the ones before. The last
batch of an epoch is filled up with rows that have no answer, so that every batch has the same shape.
"""

from __future__ import annotations

import numpy as np

from atlantis.training.schedule import steps_per_epoch


class Order:
    """Which rows each step trains on: every epoch is a fresh permutation of n rows, drawn from (seed, epoch)."""

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.per_epoch = steps_per_epoch(n, batch_size)
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def rows(self, step: int) -> np.ndarray:
        """Rows of step `step` (counted from 0): exactly `batch_size` indices, n for fillers."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.PCG64([self.seed, epoch]))
            self._epoch, self._permutation = epoch, generator.permutation(self.n)
        rows = self._permutation[place * self.batch_size : (place + 1) * self.batch_size]
        return np.concatenate([rows, np.full(self.batch_size - len(rows), self.n, dtype=rows.dtype)])
