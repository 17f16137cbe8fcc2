"""Records of equal setup, one for each seed, and their mean with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from atlantis.errors import UserError
from atlantis.readout.probes import t_interval
from atlantis.report.record import RUNS, SEEDS, Evaluation, Record, command
from atlantis.report.study_numbers import StudyMap
from atlantis.report.tables import ABSENT

NOT_RUN = "not run"
NEAR = 0.05
"""An evaluated step stands for the study's if it is within this share of it."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone; without records, a run of the study that was not made."""

    run: str
    number: int
    records: tuple[Record, ...] = ()

    @property
    def first(self) -> Record:
        return self.records[0]

    @property
    def given_base(self) -> bool:
        return bool(self.records) and self.first.base is not None and self.first.base.option is not None

    @property
    def shortened(self) -> bool:
        return bool(self.records) and self.first.steps < self.first.full_steps

    @property
    def label(self) -> str:
        return self.run + ", given base" * self.given_base + ", shortened" * self.shortened

    @property
    def command(self) -> str:
        if not self.records:
            return command([self.run] if self.run == "base" else ["base", self.run], SEEDS)
        seeds = ",".join(str(record.seed) for record in self.records)
        return self.first.command.replace(f"--seeds {self.first.seed} ", f"--seeds {seeds} ", 1)

    @property
    def seeds(self) -> str:
        seeds = ", ".join(str(record.seed) for record in self.records)
        if len(self.records) < 2:
            return f"{seeds} (one seed)" if seeds else NOT_RUN
        return f"{seeds} (n = {len(self.records)}{', one base' if self.given_base else ''})"

    @property
    def tail(self) -> list[str]:
        """The last two cells of every row: seeds, and the command's number."""
        return [self.seeds, f"[{self.number}](#commands)"]

    @property
    def last(self) -> int:
        return self.first.evaluations[-1].step

    @property
    def ends(self) -> list[int]:
        """Step 0 and the last one."""
        return [0, self.last]

    def near(self, study: StudyMap) -> int | None:
        """The evaluated step that stands for the study's, if this run is as long as the study's was planned to be."""
        if study.run != self.run or study.step is None or study.total != self.first.full_steps:
            return None
        steps = [evaluation.step for evaluation in self.first.evaluations]
        off, step = min((abs(step - study.step), step) for step in steps)
        return step if off <= NEAR * study.step else None

    def over_seeds(
        self, step: int, pick: Callable[[Evaluation], float | None], digits: int = 0, since: int | None = None
    ) -> str:
        """Mean over the seeds of what `pick` takes at a step, less that at step `since`, with its interval."""
        values = [_at(record, step, pick) for record in self.records]
        if since is not None:
            before = [_at(record, since, pick) for record in self.records]
            values = [None if a is None or b is None else b - a for a, b in zip(before, values, strict=True)]
        return mean_and_interval(values, digits)


def pairs_of(one: Group, other: Group) -> list[tuple[Record, Record]]:
    """Records of both that have the same seed and start from the same weights; none if a group is shortened."""
    if not (one.records and other.records) or one.shortened or other.shortened:
        return []
    beside = {record.seed: record for record in other.records}
    pairs = [(record, beside[record.seed]) for record in one.records if record.seed in beside]
    return [(a, b) for a, b in pairs if a.base is not None and b.base is not None and a.base.weights == b.base.weights]


def _at(record: Record, step: int, pick: Callable[[Evaluation], float | None]) -> float | None:
    return next((pick(row) for row in record.evaluations if row.step == step), None)


def mean_and_interval(values: Sequence[float | None], digits: int) -> str:
    """`mean (low to high)` with the 95 % interval of Student's t; `ABSENT` if a value is missing.

    One value has no interval, and neither have values that are all the same.
    """
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return ABSENT
    text = number(fmean(known), digits)
    if len(set(known)) == 1:
        return text
    low, high = t_interval(known)
    return f"{text} ({number(low, digits)} to {number(high, digits)})"


def groups_of(records: Iterable[Record]) -> list[Group]:
    """Records by run and setup, in the order of `RUNS`; a group without records for a run that has none."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        found.setdefault((record.run, record.setup), []).append(record)
    for same in found.values():
        seed, n = Counter(record.seed for record in same).most_common(1)[0]
        if n > 1:
            raise UserError(f"{same[0].name}: {n} records of this run with seed {seed}; give one of them")
    groups: list[Group] = []
    for run in RUNS:
        of_run = [tuple(same) for key, same in sorted(found.items()) if key[0] == run] or [()]
        groups += [Group(run, len(groups) + i, same) for i, same in enumerate(of_run, start=1)]
    return groups


def number(value: float, digits: int) -> str:
    """With a comma between thousands."""
    return f"{value:,.{digits}f}"
