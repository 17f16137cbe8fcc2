"""The record of one method on one task with one seed: all that the leaderboard says about it, as a small JSON file.

It holds no path and no name of a machine. A failure has a record too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from atlantis import artifacts
from atlantis.bench.continual import Continual, SequenceErrors
from atlantis.bench.scores import Numbers, Scores
from atlantis.config import checked
from atlantis.errors import UserError
from atlantis.progress import say
from atlantis.reading import read_json
from atlantis.settings import Settings
from atlantis.strategies import Need


class Trial(Settings):
    """One value that was tried on the development ocean, and the volume it reached; None: it failed."""

    value: float
    volume: float | None
    error: str | None = None


class Record(Settings):
    """What became of it: `scores`, or the `error` that stopped it."""

    format: Literal[1, 2] = 2
    """1, until 2026-11-28: `continual` is of the skills 1 - E / C_0, without `sequence` and `answers_km_start`."""
    tier: str
    scenario: str
    variant: str
    repeat: int
    method: str
    needs: list[Need]
    seed: int
    setting: str
    value: float | None
    """Chosen by the trials; None where all of them failed."""
    trials: list[Trial]
    strategy: list[dict[str, Any]]
    command: str
    config_digest: str | None
    scores: Scores | None = None
    numbers: Numbers | None = None
    continual: Continual | None = None
    """Of sequences, from the skills of `sequence`."""
    sequence: SequenceErrors | None = None
    error: str | None = None
    steps: int | None = None
    seconds: float | None = None
    """Training and task evaluation of all the task's runs."""
    device: dict[str, Any] | None = None
    versions: dict[str, str] | None = None
    commit: str | None = None

    @model_validator(mode="after")
    def _one_outcome(self) -> Record:
        if (self.scores is None) == (self.error is None):
            raise ValueError("a record has either scores or an error")
        if self.scores is not None and not all(0 <= score <= 1 for score in self.scores.point):
            raise ValueError(f"scores: {self.scores.point} are not all from 0 to 1")
        if self.device is not None and not {"name", "precision"} <= set(self.device):
            raise ValueError("device: has no name or no precision")
        if self.versions is not None and "torch" not in self.versions:
            raise ValueError("versions: has no torch")
        return self

    @property
    def file_name(self) -> str:
        parts = [self.scenario, self.variant, str(self.repeat or ""), self.method, f"seed{self.seed}"]
        return "_".join(re.sub(r"[^\w+=-]+", "-", part) for part in parts if part) + ".json"


def write_record(folder: Path, record: Record) -> Path:
    """Write `record` into `folder`, a line for each of its facts. A failure takes no place of a record with scores."""
    file = folder / record.file_name
    if record.error is not None and file.is_file() and read_record(file).error is None:
        say(f"{file.name}: is left as it was, with its scores; this attempt failed: {record.error}")
        return file
    data = record.model_dump(mode="json")
    facts = ",\n ".join(f"{json.dumps(key)}: {json.dumps(_short(value))}" for key, value in data.items())
    artifacts.write_text(file, f"{{\n {facts}\n}}\n")
    return file


def _short(value: Any) -> Any:
    """Numbers with seven significant digits, wherever they stand."""
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_short(inner) for inner in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


def read_record(file: Path) -> Record:
    """The record in `file`. Raises UserError if it is none."""
    try:
        return checked(Record, read_json(file), str(file))
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such record") from None


def read_records(places: Iterable[Path]) -> list[Record]:
    """The records in files, and in folders of them. Raises UserError for none at all, and for two of the same run."""
    found: dict[tuple[Any, ...], Path] = {}
    records = []
    for place in places:
        files = sorted(place.glob("*.json")) if place.is_dir() else [place]
        if not files:
            raise UserError(f"{place}: no record (*.json) in it")
        for file in files:
            record = read_record(file)
            key = (record.tier, record.file_name)
            if key in found:
                raise UserError(f"{file}: {found[key]} is a record of the same run; leave one of them out")
            found[key] = file
            records.append(record)
    return records
