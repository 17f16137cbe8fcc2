"""A run's steps: which rows, which learning rate, and one after the other or many at once."""

from __future__ import annotations

import time

import numpy as np
import torch

from atlantis.data.rows import Batch, Rows
from atlantis.errors import in_a_line, is_out_of_memory
from atlantis.progress import say
from atlantis.training import graph, memory
from atlantis.training.order import Order
from atlantis.training.schedule import learning_rate
from atlantis.training.step import Engine, NotFinite

MOMENT_S = 0.1
"""Steps that take less than this are taken together in twice the number."""


class Steps:
    """The steps of a run of `total`: a function of their number, the order of rows and what a strategy remembers."""

    def __init__(self, engine: Engine, rows: Rows, order: Order, total: int) -> None:
        self.engine, self.rows, self.order, self.total = engine, rows, order, total
        self.graph: graph.StepGraph | None = None
        self.at_once = 1
        self.recordable = graph.takes(engine, rows)

    def rate(self, step: int) -> float:
        """Learning rate of a step, by the schedule and the strategy."""
        rate = learning_rate(self.engine.training, step, self.total)
        return rate if self.engine.strategy is None else self.engine.strategy.rate(rate)

    def take(self, step: int, until: int) -> list[float]:
        """Carry out steps `step` to at most `until` (not included), at least one; returns their losses.

        On a GPU these are as many as take a moment, up to `graph.STEPS`, else one. Raises NotFinite as `Engine.step`
        does, and UserError, which names a batch size that fits, if memory runs out.
        """
        if self.recordable and self.graph is None:
            self._record(step)
        if self.graph is None:
            return [self._one(step)]
        steps = range(step, min(until, step + self.at_once))
        rates, started = np.array([self.rate(s) for s in steps]), time.monotonic()
        losses = self.graph.run(np.stack([self.order.rows(s) for s in steps]), rates)
        if len(steps) == self.at_once and time.monotonic() - started < MOMENT_S:  # signals and progress wait for them
            self.at_once = min(graph.STEPS, 2 * self.at_once)
        return losses

    def _one(self, step: int) -> float:
        engine, chosen = self.engine, self._chosen(step)
        batch = self.rows.batch(chosen)
        if engine.strategy is not None:
            engine.strategy.at(step)
            batch = engine.strategy.batch(batch, chosen)
        with memory.explained(engine, batch):
            return engine.step(batch, self.rate(step))

    def _record(self, step: int) -> None:
        """Record the step as a graph; where that fails, say so and go on without."""
        with memory.explained(self.engine, self._batch(step)):
            try:
                self.graph = graph.StepGraph(self.engine, self.rows, self.engine.training.batch_size)
            except NotFinite:
                raise
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                if isinstance(error.__context__, Exception) and is_out_of_memory(error.__context__):
                    raise error.__context__ from None  # the end of the recording failed because of it
                say(f"the step cannot be recorded ({in_a_line(error)}): it is taken kernel by kernel")
                self.recordable = False
                for group in self.engine.optimizer.param_groups:
                    group["capturable"] = False
                optimizer = self.engine.optimizer
                optimizer.found_inf = optimizer.grad_scale = None  # type: ignore[attr-defined]

    def _chosen(self, step: int) -> torch.Tensor:
        return torch.as_tensor(self.order.rows(step), device=self.engine.device)

    def _batch(self, step: int) -> Batch:
        return self.rows.batch(self._chosen(step))
