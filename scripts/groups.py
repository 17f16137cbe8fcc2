"""Records of equal setup, one for each seed, and their mean with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

from atlantis.errors import UserError
from atlantis.names import REAL
from atlantis.readout.catalogue import scale_of
from atlantis.report.study_record import RUNS, SEEDS, Evaluation, Origin, StudyRecord, command
from atlantis.report.tables import ABSENT
from atlantis.scales import IDENTITY, Scale
from atlantis.statistics import seed_interval
from scripts.study_numbers import StudyMap

NOT_RUN = "not run"
NEAR = 0.05
"""An evaluated step stands for the study's if it is within this share of it."""


class Pick(NamedTuple):
    """A metric, and what takes it from an evaluation; None if it is not there."""

    metric: str
    take: Callable[[Evaluation], float | None]


def on_map(protocol: str, group: str, key: str) -> Pick:
    """Picks one number of a group of cities from an evaluation; None if it is not there."""
    return Pick(key, lambda row: getattr(getattr(row, protocol).get(group), key, None))


def on_task(name: str, key: str) -> Pick:
    return Pick(key, lambda row: getattr(row.task.get(name), key, None))


MAP_KM = on_map("degrees", REAL, "mean_km")
"""Real cities by the study's protocol."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone; without records, a run of the study that was not made."""

    run: str
    number: int
    records: tuple[StudyRecord, ...] = ()
    given: Origin | None = None
    """The base that all of them start from."""
    precision: str = ""
    """Where another group differs in nothing else."""

    @property
    def first(self) -> StudyRecord:
        return self.records[0]

    @property
    def shortened(self) -> bool:
        return bool(self.records) and self.first.steps < self.first.full_steps

    @property
    def label(self) -> str:
        words = [self.run, "given base" * bool(self.given), "shortened" * self.shortened, self.precision]
        return ", ".join(word for word in words if word)

    @property
    def command(self) -> str:
        if not self.records:
            return command([self.run] if self.run == "base" else ["base", self.run], SEEDS)
        seeds: dict[tuple[str, ...], list[int]] = {}
        for record in self.records:
            parts = tuple(record.command.split(f"--seeds {record.seed} ", 1))
            seeds.setdefault(parts, []).append(record.seed)
        lists = ((parts, ",".join(map(str, dict.fromkeys(same)))) for parts, same in seeds.items())
        return "; ".join(f"--seeds {given} ".join(parts) for parts, given in lists)

    @property
    def seeds(self) -> str:
        seeds = ", ".join(str(record.seed) for record in self.records)
        if len(self.records) < 2:
            return f"{seeds} (one seed)" if seeds else NOT_RUN
        return f"{seeds} (n = {len(self.records)}{', one base' if self.given else ''})"

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

    def over_seeds(self, step: int, pick: Pick, digits: int = 0, since: int | None = None) -> str:
        """Mean over the seeds of what `pick` takes at a step, less that at step `since`, with its interval."""
        values = [_at(record, step, pick.take) for record in self.records]
        if since is None:
            return mean_and_interval(values, digits, scale_of(pick.metric))
        before = [_at(record, since, pick.take) for record in self.records]
        values = [None if a is None or b is None else b - a for a, b in zip(before, values, strict=True)]
        return mean_and_interval(values, digits)


def pairs_of(group: Group, other: Group) -> list[tuple[StudyRecord, StudyRecord]]:
    """Records of both that have the same seed and start from the same weights.

    None if one is shortened, unless both have as many steps: a shortened run's schedule ends with it.
    """
    if not (group.records and other.records):
        return []
    if (group.shortened or other.shortened) and group.first.steps != other.first.steps:
        return []
    by_seed = {record.seed: record for record in other.records}
    pairs = [(record, by_seed[record.seed]) for record in group.records if record.seed in by_seed]
    return [(a, b) for a, b in pairs if a.base is not None and b.base is not None and a.base.weights == b.base.weights]


def _at(record: StudyRecord, step: int, pick: Callable[[Evaluation], float | None]) -> float | None:
    return next((pick(row) for row in record.evaluations if row.step == step), None)


def mean_and_interval(values: Sequence[float | None], digits: int, scale: Scale = IDENTITY) -> str:
    """`mean (low to high)` with the 95 % interval of `seed_interval`; `ABSENT` if a value is missing.

    The mean alone where there is no interval: fewer than three values, equal ones, or one at its bound.
    """
    present = [value for value in values if value is not None]
    if not present or len(present) < len(values):
        return ABSENT
    text, around = number(fmean(present), digits), seed_interval(present, scale)
    return f"{text} ({number(around.low, digits)} to {number(around.high, digits)})" if around.exists else text


def groups_of(records: Iterable[StudyRecord]) -> list[Group]:
    """Records by run and setup, in the order of `RUNS`; a group without records for a run that has none.

    A base that one record was given and another made itself (the same weights) is a given one for both. Raises
    UserError for two records of one run and seed, unless they were made on different devices: of a base these are two.
    """
    records = sorted(records, key=lambda record: (record.seed, record.device["name"]))
    origins = [record.base for record in records if record.base is not None]
    given = {origin.weights: origin for origin in origins if origin.option is not None}
    by_setup: dict[tuple[str, str], list[StudyRecord]] = {}
    for record in records:
        by_setup.setdefault((record.run, record.setup(given)), []).append(record)
    for same in by_setup.values():
        of_seed = Counter((record.seed, record.device["name"] if record.run == "base" else "") for record in same)
        (seed, _), n = of_seed.most_common(1)[0]
        if n > 1:
            raise UserError(f"{same[0].name}: {n} records of this run with seed {seed}; give one of them")
    groups: list[Group] = []
    for run in RUNS:
        found = [(tuple(same), same[0].base) for key, same in sorted(by_setup.items()) if key[0] == run]
        of_run = [Group(run, 0, same, given.get(base.weights) if base else None) for same, base in found]
        of_run.sort(key=lambda group: (group.given is not None, group.shortened, group.first.device["precision"]))
        groups += of_run or [Group(run, 0, (), None)]
    groups = [replace(group, number=number) for number, group in enumerate(groups, start=1)]
    labels = Counter(group.label for group in groups)
    return [
        replace(group, precision=group.first.device["precision"]) if labels[group.label] > 1 else group
        for group in groups
    ]


def number(value: float, digits: int) -> str:
    """With a comma between thousands."""
    return f"{value:,.{digits}f}"
