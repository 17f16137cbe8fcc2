"""Fine-tunes base by base: what one base's draws say on average, and what the bases say together.

A draw is the data and their order, from a base that is there; a base is a model of its own, with weights of its own.
Runs from one base say nothing about other bases, so an interval over bases has one value of each: the mean over its
draws. Two fine-tunes are compared draw by draw, from the same weights and with the same seed, and then base by base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from atlantis.report.study_record import Evaluation, StudyRecord

Take = Callable[[Evaluation], float | None]


@dataclass(frozen=True)
class Base:
    """A base's whole fine-tunes: by run, its records by seed."""

    weights: str
    runs: dict[str, dict[int, StudyRecord]]

    @property
    def records(self) -> list[StudyRecord]:
        return [record for of_run in self.runs.values() for record in of_run.values()]

    @property
    def label(self) -> str:
        """The path it was given by, or the seed it was trained with."""
        options = [record.base.name for record in self.records if record.base is not None and record.base.option]
        return f"`{options[0]}`" if options else f"that of seed {self.records[0].seed}"

    @property
    def seed(self) -> int:
        """The seed that it was trained with: its run's, where that is known, or that of the run which made it."""
        first = self.records[0]
        return first.base.config.training.seed if first.base and first.base.config else first.seed

    def start(self, pick: Take) -> float | None:
        """A number of the base itself: at step 0 of the first of its records that was evaluated there."""
        return next(iter(present([at_start(record, pick) for record in self.records])), None)

    def mean(self, run: str, value: Callable[[StudyRecord], float | None]) -> float | None:
        """Mean of a number over the draws of a run; None if there is none."""
        return _mean([value(record) for record in self.runs.get(run, {}).values()])

    def pairs(self, run: str, other: str) -> list[tuple[StudyRecord, StudyRecord]]:
        """Records of both runs with the same seed."""
        ours, theirs = self.runs.get(run, {}), self.runs.get(other, {})
        return [(ours[seed], theirs[seed]) for seed in sorted(ours) if seed in theirs]

    def difference(
        self, run: str, other: str, value: Callable[[StudyRecord, StudyRecord], float | None]
    ) -> float | None:
        """Mean over the draws that both runs have; None if there is none."""
        return _mean([value(*pair) for pair in self.pairs(run, other)])


def bases_of(records: Iterable[StudyRecord]) -> list[Base]:
    """The bases that the whole fine-tunes among the records started from, each seed of a run once; a given one last."""
    by_weights: dict[str, dict[str, dict[int, StudyRecord]]] = {}
    for record in sorted(records, key=lambda record: (record.run, record.seed, record.device["precision"])):
        if record.base is not None and record.steps == record.full_steps:
            of_base = by_weights.setdefault(record.base.weights, {})
            of_base.setdefault(record.run, {}).setdefault(record.seed, record)
    return sorted((Base(*item) for item in by_weights.items()), key=lambda base: (base.label[0] == "`", base.label))


def at_end(record: StudyRecord, pick: Take) -> float | None:
    return pick(record.evaluations[-1])


def at_start(record: StudyRecord, pick: Take) -> float | None:
    return pick(record.evaluations[0])


def added(record: StudyRecord, pick: Take) -> float | None:
    """What a run adds to a number from its step 0 to its end."""
    before, after = at_start(record, pick), at_end(record, pick)
    return None if before is None or after is None else after - before


def at_step(record: StudyRecord, step: int, pick: Take) -> float | None:
    """A number at a step, on the straight line between the evaluated steps around it; None beyond the last one."""
    known = [(row.step, value) for row in record.evaluations if (value := pick(row)) is not None]
    if not known or step > known[-1][0]:
        return None
    steps, values = zip(*known, strict=True)
    return float(np.interp(step, steps, values))


def less(record: StudyRecord, other: StudyRecord, pick: Take) -> float | None:
    """What the first ends with less what the second ends with."""
    ours, theirs = at_end(record, pick), at_end(other, pick)
    return None if ours is None or theirs is None else ours - theirs


def less_at_equal_steps(record: StudyRecord, other: StudyRecord, pick: Take) -> float | None:
    """The same after as many steps as the shorter of the two has."""
    steps = min(record.steps, other.steps)
    ours, theirs = at_step(record, steps, pick), at_step(other, steps, pick)
    return None if ours is None or theirs is None else ours - theirs


def _mean(values: Sequence[float | None]) -> float | None:
    return fmean(numbers) if (numbers := present(values)) else None


def present(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]
