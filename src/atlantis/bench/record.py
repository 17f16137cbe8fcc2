"""The record of one method on one task with one seed: all that the leaderboard says about it, as a small JSON file.

A failure has a record too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from atlantis.bench.continual import Continual, SequenceErrors
from atlantis.bench.scores import FirstScores, Numbers, Scores, scores_of
from atlantis.config import checked
from atlantis.errors import UserError
from atlantis.progress import say
from atlantis.report.record import read_facts, record_files, rounded, write_facts
from atlantis.settings import Settings
from atlantis.strategies import Need

ROUNDING = 1e-5
"""Numbers in a record have seven digits."""


class Trial(Settings):
    """One value that was tried on the development ocean, and the volume it reached; None: it failed.

    `volume` is the mean over the development seeds, and `volumes` has each (the first protocol had one). `scores` has
    what each is the product of; it is empty in records made before 2026-11-29.
    """

    value: float
    volume: float | None
    volumes: list[float | None] = Field(default_factory=list)
    scores: list[Scores | None] = Field(default_factory=list)
    error: str | None = None


class BenchRecord(Settings):
    """What became of it: `scores`, or the `error` that stopped it."""

    format: Literal[1, 2] = 2
    """1, until 2026-11-28: `continual` is of the skills 1 - E / C_0, without `sequence` and `answers_km_start`."""
    protocol: Literal[1, 2] = 1
    """The first is of 2026-11-24 (docs/benchmark.md). Records of two protocols share no table."""
    tier: str
    scenario: str
    variant: str
    repeat: int
    method: str
    needs: list[Need]
    seed: int
    setting: str | None
    value: float | None
    """Chosen by the trials; None where all of them failed, and for a method without a setting."""
    rate: float = 1.0
    """A multiple of the scenario's learning rate. In the first protocol `setting` may have changed it instead."""
    old_pairs: int | Literal["all"] | None = None
    """How many old pairs are kept at hand; None in the first protocol's records."""
    trials: list[Trial]
    strategy: list[dict[str, Any]]
    command: str
    config_digest: str | None
    scores: Scores | FirstScores | None = None
    numbers: Numbers | None = None
    continual: Continual | None = None
    """Of sequences, from the skills of `sequence`."""
    sequence: SequenceErrors | None = None
    error: str | None = None
    steps: int | None = None
    seconds: float | None = None
    """Training and task evaluation of all the task's runs."""
    processor_seconds: float | None = None
    """The same of the process's own time; for runs on a CPU since 2026-11-28."""
    device: dict[str, Any] | None = None
    versions: dict[str, str] | None = None
    commit: str | None = None

    @model_validator(mode="after")
    def _one_outcome(self) -> BenchRecord:
        if (self.scores is None) == (self.error is None):
            raise ValueError("a record has either scores or an error")
        if self.scores is not None and self.numbers is None:
            raise ValueError("a record with scores has the numbers they are made of")
        if isinstance(self.scores, Scores):
            self._check_scores(self.scores)
        if self.scores is not None and isinstance(self.scores, FirstScores) != (self.protocol == 1):
            raise ValueError(f"scores: {', '.join(type(self.scores).model_fields)} are not protocol {self.protocol}'s")
        if self.scores is not None and not all(0 <= score <= 1 for score in self.scores.point):
            raise ValueError(f"scores: {self.scores.point} are not all from 0 to 1")
        if self.device is not None and not {"name", "precision"} <= set(self.device):
            raise ValueError("device: has no name or no precision")
        if self.versions is not None and "torch" not in self.versions:
            raise ValueError("versions: has no torch")
        return self

    def _check_scores(self, scores: Scores) -> None:
        """Raise ValueError for scores that are not those of the numbers."""
        assert self.numbers is not None
        try:
            right = scores_of(self.numbers)
        except (KeyError, ValueError, ZeroDivisionError) as error:
            raise ValueError(f"numbers: give no scores: {error!r}") from None
        if any(abs(a - b) > ROUNDING for a, b in zip(scores.point, right.point, strict=True)):
            raise ValueError(f"scores: {scores.point} are not those of its numbers, {right.point}")

    @property
    def file_name(self) -> str:
        parts = [self.scenario, self.variant, str(self.repeat or ""), self.method, f"seed{self.seed}"]
        return "_".join(re.sub(r"[^\w.+=-]+", "-", part) for part in parts if part) + ".json"


def write_record(folder: Path, record: BenchRecord) -> Path:
    """Write `record` into `folder`, a line for each of its facts. A failure takes no place of the same run's scores."""
    file = folder / record.file_name
    before = read_record(file) if record.error is not None and file.is_file() else None
    if before is not None and before.error is None and before.config_digest == record.config_digest:
        say(f"{file.name}: is left as it was, with its scores; this attempt failed: {record.error}")
        return file
    write_facts(file, _short(record.model_dump(mode="json")))
    return file


def _short(value: Any) -> Any:
    """Numbers with seven significant digits, wherever they stand."""
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_short(inner) for inner in value]
    return rounded(value, 7) if isinstance(value, float) else value


def read_record(file: Path) -> BenchRecord:
    """The record in `file`. Raises UserError if it is none."""
    return checked(BenchRecord, read_facts(file), str(file))


def read_records(paths: Iterable[Path]) -> list[BenchRecord]:
    """The records in files, and in folders of them. Raises UserError for none at all, and for two of the same run."""
    files: dict[tuple[str, int, str], Path] = {}
    records = []
    for file in record_files(paths):
        record = read_record(file)
        key = (record.tier, record.protocol, record.file_name)
        if key in files:
            raise UserError(f"{file}: {files[key]} is a record of the same run; leave one of them out")
        files[key] = file
        records.append(record)
    return records
