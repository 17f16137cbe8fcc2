"""What all records have in common: small JSON files with a line per fact, which can be committed.

A record holds no absolute path and no name of a machine. `study_record` is of a run of the study, `bench.record` of a
method of the benchmark.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from atlantis import artifacts
from atlantis.errors import UserError
from atlantis.reading import read_json
from atlantis.settings import RunConfig


def portable(path: str) -> str:
    """A path as it may stand in a record: an absolute one relative to here, or only its last part."""
    absolute, here = Path(path), Path.cwd()
    if not absolute.is_absolute():
        return path
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else absolute.name


def portable_config(config: RunConfig) -> RunConfig:
    """The config without the paths of a machine: of the user's cities only the file's name is kept."""
    cities = config.world.cities and Path(config.world.cities).name
    world = config.world.model_copy(update={"cities": cities})
    paths = {"base": config.base and portable(config.base), "base_config": None, "output_root": "outputs"}
    return config.model_copy(update={"world": world, **paths})


def made_with(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """From the `run.json` of runs, one after the other: what the last was made with, steps and seconds of all."""
    last = runs[-1]
    seconds = sum(run["training_seconds"] for run in runs)
    facts = {key: last[key] for key in ("device", "versions", "commit")}
    return facts | {"steps": sum(run["steps"] for run in runs), "seconds": seconds}


def rounded(value: float, digits: int) -> float | None:
    """A number with so many significant digits, a whole number as such; None for what is no number."""
    if isinstance(value, int):
        return value
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def write_facts(file: Path, facts: Mapping[str, Any], **texts: str) -> None:
    """Write a record, a line for each fact; last those that are JSON `texts` already."""
    lines = {key: json.dumps(value) for key, value in facts.items()} | texts
    body = ",\n ".join(f"{json.dumps(key)}: {text}" for key, text in lines.items())
    artifacts.write_text(file, f"{{\n {body}\n}}\n")


def read_facts(file: Path) -> dict[str, Any]:
    """The facts in a record. Raises UserError if it is none."""
    try:
        return read_json(file)
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such record") from None
    except UserError as error:
        raise UserError(f"{error}; restore it, or remove it to have it written again") from None


def record_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The records among files and in folders of them. Raises UserError for a folder that has none."""
    for path in paths:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise UserError(f"{path}: no record (*.json) in it")
        yield from files
