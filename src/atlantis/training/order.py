"""The order in which a run sees its rows.

It is a pure function of (seed, epoch), so a run can go on from any step without replaying the ones before. The last
batch of an epoch is filled up with rows that have no answer, so that every batch has the same shape.
"""

from __future__ import annotations

import numpy as np

from atlantis.errors import UserError
from atlantis.settings import AnchorsConfig, TrainingConfig
from atlantis.tasks import Questions
from atlantis.tasks.form import ABSENT
from atlantis.training.schedule import steps_per_epoch


class Order:
    """Which rows each step trains on: every epoch is a fresh permutation of n rows, drawn from (seed, epoch).

    With `early`, the steps before step `until` see these rows alone, in epochs of their own; the steps from there on
    are those of an order without.
    """

    def __init__(self, n: int, batch_size: int, seed: int, early: np.ndarray | None = None, until: int = 0) -> None:
        self.n, self.batch_size, self.seed, self.until = n, batch_size, seed, until
        self.per_epoch = steps_per_epoch(n, batch_size)
        # The early order counts its own rows; the number of its filler stands for that of all rows, n.
        self._early = None if early is None else (np.append(early, n), Order(len(early), batch_size, seed))
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def rows(self, step: int) -> np.ndarray:
        """Rows of step `step` (counted from 0): exactly `batch_size` indices, n for fillers."""
        if self._early is not None and step < self.until:
            rows, order = self._early
            return rows[order.rows(step)]
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.PCG64([self.seed, epoch]))
            self._epoch, self._permutation = epoch, generator.permutation(self.n)
        rows = self._permutation[place * self.batch_size : (place + 1) * self.batch_size]
        return np.concatenate([rows, np.full(self.batch_size - len(rows), self.n, dtype=rows.dtype)])


def order_of(training: TrainingConfig, questions: Questions) -> Order:
    """The order in which a run with these settings sees the questions. UserError for more anchors than cities."""
    n, anchors = len(questions), training.anchors
    if anchors is None:
        return Order(n, training.batch_size, training.seed)
    return Order(n, training.batch_size, training.seed, anchored(anchors, questions, training.seed), anchors.steps)


def anchored(anchors: AnchorsConfig, questions: Questions, seed: int) -> np.ndarray:
    """Rows [m] of the questions that have at least one of `anchors.cities` cities, drawn from (seed, their number)."""
    cities = np.setdiff1d(questions.cities, ABSENT)
    if anchors.cities > len(cities):
        raise UserError(
            f"training.anchors.cities: {anchors.cities:,} anchors, but the training pairs have {len(cities):,} cities; "
            "ask for fewer"
        )
    generator = np.random.Generator(np.random.PCG64([seed, anchors.cities]))
    chosen = generator.permutation(cities)[: anchors.cities]
    return np.flatnonzero(np.isin(questions.cities, chosen).any(axis=1))
