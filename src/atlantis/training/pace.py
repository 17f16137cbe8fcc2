"""How fast a run goes, and what it says on the way: a line at the start and, without a terminal, one per evaluation."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from atlantis.progress import duration, for_log, say
from atlantis.training.run import RunFolder

TIMED_STEPS, TIMED_S = 10, 2.0
"""The time left is told once so many steps, or so many seconds of them, have been measured."""
DAY_S = 86_400


class Pace:
    """The time that steps and evaluations take, from which the time left is estimated.

    The first call of steps is not counted: it compiles kernels, or records a graph.
    """

    def __init__(self, run: RunFolder, due: Sequence[int], step: int, total: int) -> None:
        self.run, self.due, self.began_at, self.total = run, due, step, total
        self._steps = self._evaluations = 0
        self._steps_s = self._evaluations_s = 0.0
        self._first, self._told = True, False

    def took(self, n: int, seconds: float) -> None:
        """So many steps took so long."""
        if not self._first:
            self._steps += n
            self._steps_s += seconds
        self._first = False

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._evaluations += 1
        self._evaluations_s += time.monotonic() - began

    def left_s(self, step: int) -> float | None:
        """Seconds that are left after `step`, its evaluation included if it is due; None: not known yet."""
        if step >= self.total:
            return 0.0
        if self._steps == 0:
            return None
        evaluations = sum(later > step for later in self.due) * self._evaluations_s / max(1, self._evaluations)
        return (self.total - step) * self._steps_s / self._steps + evaluations

    def say_start(self) -> None:
        """The run's folder, how many steps it has, and what it runs on."""
        device = self.run.record["device"]
        begin = f" (from step {self.began_at:,})" if self.began_at else ""
        threads = f"{device['threads']} thread{'s' if device['threads'] > 1 else ''}"
        probe = ", then the probe" if self.run.config.evaluation.probe else ""
        say(f"{self.run.path}: training {self.total:,} steps{begin} on {device['name']}, {threads}{probe}")

    def say_duration(self, step: int) -> None:
        """Once the speed is known, how long the run takes from here on: the bar of a terminal says so by itself."""
        if self._told or (self._steps < TIMED_STEPS and self._steps_s < TIMED_S):
            return
        self._told = True
        left = self.left_s(step) or 0.0
        until = datetime.now() + timedelta(seconds=left)
        when = f"{until:%H:%M}" if left < DAY_S else f"{until:%Y-%m-%d}"
        for_log(f"{self.run.path.name}: {duration(left)} to go, until {when}")

    def say_evaluation(self, row: Mapping[str, Any], loss: float | None) -> None:
        """For a log: the step, the loss of the last training steps, that of the validation pairs, and the time left."""
        losses = {"loss": loss, "validation loss": row["loss"]}
        parts = [f"{name} {value:.3f}" for name, value in losses.items() if value is not None and math.isfinite(value)]
        left = self.left_s(row["step"])
        parts += [f"{duration(left)} left"] if left else []
        for_log(", ".join([f"{self.run.path.name}: step {row['step']:,} of {self.total:,}", *parts]))
