"""Rows drawn step by step, without a state: what step s draws follows from the seed and s."""

from __future__ import annotations

import numpy as np


class Stream:
    """Rows 0 .. n - 1 in endless fresh permutations, `size` per step: no row comes twice before all have come."""

    def __init__(self, n: int, size: int, seed: int, purpose: int) -> None:
        self.n, self.size, self.seed = n, size, [seed, purpose]
        self.epochs: dict[int, np.ndarray] = {}

    def rows(self, step: int) -> np.ndarray:
        """Rows (size,) of step `step`."""
        start = step * self.size
        first, last = start // self.n, (start + self.size - 1) // self.n
        self.epochs = {epoch: self._epoch(epoch) for epoch in range(first, last + 1)}
        together = np.concatenate(list(self.epochs.values()))
        return together[start - first * self.n :][: self.size]

    def all_rows(self, steps: int) -> np.ndarray:
        """The different rows that come in this many steps, in ascending order."""
        if steps * self.size >= self.n:
            return np.arange(self.n)
        return np.sort(self._epoch(0)[: steps * self.size])

    def _epoch(self, epoch: int) -> np.ndarray:
        if epoch in self.epochs:
            return self.epochs[epoch]
        return np.random.Generator(np.random.PCG64([*self.seed, epoch])).permutation(self.n)
