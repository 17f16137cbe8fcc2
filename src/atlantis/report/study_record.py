"""A run's record: all that the results page says about a run of the study. `atlantis.study` writes one for each."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from atlantis import artifacts
from atlantis.config import BOOKKEEPING, as_before, checked
from atlantis.errors import UserError
from atlantis.names import REAL, protocol_named
from atlantis.readout.files import rows_where
from atlantis.report.record import read_facts, record_files, rounded, write_facts
from atlantis.report.run_data import RunData
from atlantis.settings import SEEDED, RunConfig, Settings

DIGITS = 6
"""Significant ones of the numbers."""

RUNS = {
    "base": "dist_100k_1M_20epochs",
    "cross": "atlantis_cross_finetune",
    "cross_bs64": "atlantis_cross_finetune_bs64",
    "inter": "atlantis_inter_finetune",
    "inter_bs64": "atlantis_inter_finetune_bs64",
    "mixed": "mixed_dist20k_cross100k_finetune",
}
"""The study's runs, in their order: a short name for each, and its config in `configs/`."""

SEEDS = (42, 43, 44)


class TaskScore(Settings):
    """How far off the answers to `n` items are; `parsed` is the share of readable ones."""

    n: int
    mean_km: float
    median_km: float
    parsed: float


class MapScore(Settings):
    """Where the probe sees `n` cities. The interval of the mean is over folds (sphere) or splits (degrees)."""

    n: int
    lon_r2: float | None = None
    lat_r2: float | None = None
    mean_km: float
    median_km: float
    mean_km_low: float | None = None
    mean_km_high: float | None = None


class Evaluation(Settings):
    """One step: validation loss, task by slice, and by each probe protocol the map by group.

    The groups are `REAL` and the virtual regions; at the first and the last step the real regions too.
    """

    step: int
    loss: float | None = None
    task: dict[str, TaskScore]
    degrees: dict[str, MapScore]
    sphere: dict[str, MapScore]

    @model_validator(mode="before")
    @classmethod
    def _named_anew(cls, value: Any) -> Any:
        return {protocol_named(key): scores for key, scores in value.items()} if isinstance(value, dict) else value


class Origin(Settings):
    """The base a run started from. `option` is what --base said (null: the base run of the same seed)."""

    option: str | None
    name: str
    weights: str  # SHA-256 of model.safetensors
    config: RunConfig | None  # of the run that made it; null: not known


class StudyRecord(Settings):
    """One finished run."""

    format: Literal[1] = 1
    run: str
    name: str
    seed: int
    seeds: dict[str, Any]
    command: str
    config_digest: str
    config: RunConfig
    base: Origin | None
    dataset: dict[str, Any]
    world: str  # its digest
    device: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    steps: int
    full_steps: int  # without training.max_steps
    seconds: float  # training and task evaluation; not the probes
    evaluations: list[Evaluation]
    intervals: Literal[1, 2] = 1
    """2: those of the evaluations are as `atlantis.statistics` has them. 1: the folds' are too narrow."""

    @property
    def where(self) -> str:
        """Device and precision."""
        name, threads = self.device["name"], self.device["threads"]
        cores = f", {threads} thread{'s' * (threads > 1)}" if name == "CPU" else ""
        return f"{name}{cores}, {self.device['precision']}"

    @property
    def virtual_regions(self) -> list[str]:
        return [region.name for region in self.config.world.regions]

    def setup(self, bases: Collection[str] = ()) -> str:
        """Digest of all that counts but the study's seeds: settings, world, precision, and how the base was made.

        A base that was given, or whose weights are among `bases`, counts as those weights.
        """
        start = None
        if self.base is not None:
            config = self.base.config if self.base.option is None and self.base.weights not in bases else None
            start = self.base.weights if config is None else _without_seeds(config)
        facts = {"world": self.world, "precision": self.device["precision"], "base": start}
        return artifacts.digest_of({"settings": _without_seeds(self.config), **facts})


def _without_seeds(config: RunConfig) -> dict[str, Any]:
    """The settings that count, but for `SEEDED`, those recorded apart (world, base, device), and those of no effect."""
    settings = config.model_dump(mode="json", exclude={*BOOKKEEPING, "world", "base"})
    for key in (*SEEDED, "training.device", "training.compile", "training.precision", "probe.measures"):
        stage, _, name = key.partition(".")
        del settings[stage][name]
    return as_before(settings)


def command(only: Sequence[str], seeds: Iterable[int], base: str | None = None, overrides: Sequence[str] = ()) -> str:
    """The command that makes the runs `only` with these seeds. A record's command of one seed begins so too."""
    bases = [] if base is None else ["--base", base]
    options = ["--seeds", ",".join(map(str, seeds)), "--only", ",".join(only), *bases]
    return shlex.join(["atlantis", "study", *options, *overrides])


def evaluations_of(run: RunData) -> list[Evaluation]:
    """What a record holds of a run's steps."""
    evaluations = []
    for step, loss in zip(run.evaluations["step"], run.evaluations["loss"], strict=True):
        task = rows_where(run.task, run.task["step"] == step).to_dict("records")
        regions = step in (run.evaluations["step"].iloc[0], run.evaluations["step"].iloc[-1])
        evaluations.append(
            Evaluation(
                step=int(step),
                loss=rounded(loss, DIGITS),
                task={row["slice"]: TaskScore.model_validate(_numbers(row, TaskScore)) for row in task},
                degrees=_map(run, "degrees", step, regions),
                sphere=_map(run, "sphere", step, regions),
            )
        )
    return evaluations


def _map(run: RunData, protocol: str, step: int, regions: bool) -> dict[str, MapScore]:
    """Scores on cities that the probe was not fitted on; of the real regions only if `regions`."""
    if protocol not in run.probes:
        return {}
    probe = run.probes[protocol]
    rows = rows_where(probe.dynamics, probe.dynamics["step"] == step)
    rows = rows_where(rows, rows["split"].isin(["test", "virtual"]))
    kept = {REAL, *probe.virtual_regions}
    return {
        row["group"]: MapScore.model_validate(_numbers(row, MapScore))
        for row in rows.to_dict("records")
        if regions or row["group"] in kept
    }


def _numbers(row: dict[str, Any], model: type[Settings]) -> dict[str, Any]:
    """The fields of `model` that are in `row`."""
    return {key: rounded(row[key], DIGITS) for key in model.model_fields if key in row}


def write_record(file: Path, record: StudyRecord) -> None:
    """Write `record` as JSON with a line for each of its facts and of its evaluations."""
    rows = ",\n  ".join(row.model_dump_json(exclude_none=True) for row in record.evaluations)
    write_facts(file, record.model_dump(mode="json", exclude={"evaluations"}), evaluations=f"[\n  {rows}\n ]")


def read_record(file: Path) -> StudyRecord:
    """The record in `file`. Raises UserError if it is none."""
    data = read_facts(file)
    if data.get("run") not in list(RUNS):
        raise UserError(f"{file}: not a record of one of the study's runs ({', '.join(RUNS)})")
    return checked(StudyRecord, data, str(file))


def read_records(paths: Iterable[Path]) -> list[StudyRecord]:
    """The records in files, and in folders of them, in the order of run and seed. Raises UserError for none at all."""
    order = list(RUNS)
    records = [read_record(file) for file in record_files(paths)]
    return sorted(records, key=lambda record: (order.index(record.run), record.seed, record.setup()))
