"""Rows drawn step by step, without a state: what step s draws follows from the seed and s.

A strategy's draws do not depend on another's: each kind has a number, its `purpose`, beside the seed. Taken are 0 the
buffer of old rows and 3 old prompts (both in old.py), 1 replay, 2 joint, 4 distill, 5 and 6 der, 7 agem,
8 integration, 9 repair and 10 fixed_mean.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np


class RowStream:
    """Rows 0 .. n - 1 in endless fresh permutations, `size` per step: no row comes twice before all have come.

    A `size` that is no whole number is reached on average: s steps draw floor(s * size) rows together, so each draws
    the whole number below it or the one above, and perhaps none.
    """

    def __init__(self, n: int, size: int | Fraction, seed: int, purpose: int) -> None:
        self.n, self.size, self.seed = n, size, [seed, purpose]
        self.epochs: dict[int, np.ndarray] = {}

    def rows(self, step: int) -> np.ndarray:
        """Rows of step `step`: `size` of them, or the whole number below or above."""
        start, end = self.before(step), self.before(step + 1)
        if start == end:
            return np.empty(0, dtype=np.int64)
        first, last = start // self.n, (end - 1) // self.n
        # Kept from step to step, for hundreds of steps draw from the same permutation.
        self.epochs = {epoch: self._epoch(epoch) for epoch in range(first, last + 1)}
        together = np.concatenate(list(self.epochs.values()))
        return together[start - first * self.n :][: end - start]

    def before(self, step: int) -> int:
        """How many rows the steps before `step` draw together; exact, whatever the number of steps."""
        return step * self.size.numerator // self.size.denominator

    def all_rows(self, steps: int) -> np.ndarray:
        """The different rows that come in this many steps, in ascending order."""
        drawn = self.before(steps)
        return np.arange(self.n) if drawn >= self.n else np.sort(self._epoch(0)[:drawn])

    def _epoch(self, epoch: int) -> np.ndarray:
        if epoch in self.epochs:
            return self.epochs[epoch]
        return np.random.Generator(np.random.PCG64([*self.seed, epoch])).permutation(self.n)
