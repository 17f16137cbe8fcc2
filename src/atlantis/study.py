"""The whole study as one command: for every seed the base run, then the fine-tunes from it, and a record of each.

    outcomes = make(plan(seeds=[42, 43], only=["base", "cross"]), Local(workers=2))

It is a sweep (`atlantis.sweep`) that keeps a record of each run instead of one table of all.

- A seed changes `SEEDED` and nothing else: the world, the evaluation's and the probe's seeds stay as the configs say.
  With a base that is given (`base="shipped"`), the seeds therefore share their starting point.
- Fine-tunes begin as soon as the base run of their seed is trained; those from a given base begin at once.
- A run that has a record is done. One that was interrupted goes on where it stopped. One that fails is reported, and
  the others go on.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atlantis import artifacts
from atlantis import config as configs
from atlantis import sweep as sweeps
from atlantis.errors import UserError
from atlantis.names import REAL
from atlantis.progress import say
from atlantis.report import run_data
from atlantis.report.record import made_with, portable, portable_config
from atlantis.report.study_record import (
    RUNS,
    SEEDS,
    Origin,
    StudyRecord,
    command,
    evaluations_of,
    read_record,
    write_record,
)
from atlantis.settings import SEEDED
from atlantis.sweep import Backend, Outcome, Planned, Sweep

if TYPE_CHECKING:
    from rich.table import Table

    from atlantis.training.base import Base

OWN = ("name", "base", "base_config", "output_root", *SEEDED)  # set here, so not by an override
SHIPPED = f"pretrained/{RUNS['base']}"
FOLDER = "study"
"""In the output root: what a sweep keeps, and records/."""


@dataclass(frozen=True, kw_only=True)
class StudyRun(Planned):
    """A run of the study: its short name and seed, and what --base and the overrides were."""

    run: str
    seed: int
    base: str | None
    overrides: tuple[str, ...]

    @property
    def record(self) -> Path:
        return records_folder(Path(self.config.output_root)) / f"{self.name}.json"


def records_folder(output_root: Path) -> Path:
    """Where the study below `output_root` keeps its records."""
    return output_root / FOLDER / "records"


# --- plan


def seeds_in(text: str) -> list[int]:
    """The seeds in text such as `42,43`. Raises UserError for anything else."""
    if not re.fullmatch(r"\d{1,18}(,\d{1,18})*", text):
        raise UserError(f"--seeds {text}: write whole numbers from 0 on, separated by commas, such as 42,43,44")
    return [int(seed) for seed in text.split(",")]


def plan(
    seeds: Sequence[int] = SEEDS,
    only: Sequence[str] | None = None,
    base: str | None = None,
    output_root: Path | str = "outputs",
    overrides: Sequence[str] = (),
    build_base: bool = False,
) -> list[StudyRun]:
    """The runs of a study in their order. Nothing is read but the configs, and nothing written.

    `base`: None for the seed's own base run, "shipped", or the path of a run or checkpoint. `build_base` plans the base
    runs even where `only` leaves them out. Raises UserError for an unknown run, a base run asked for beside a given
    base, or a mistake in an override.
    """
    if only is None:
        only = [run for run in RUNS if run != "base" or base is None]
    if unknown := [run for run in only if run not in RUNS]:
        raise UserError(f"--only: {unknown[0]!r} is not one of the study's runs, {', '.join(RUNS)}")
    if build_base and base is not None:
        raise UserError("--build-base and --base: a given base is not trained; leave one of them out")
    only = ["base", *only] if build_base else only
    if base is not None and "base" in only:
        raise UserError("--only base and --base: a given base is not trained; leave one of them out")
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in OWN:
            option = {"base": "--base", "output_root": "--output-root"}.get(key, "--seeds" if key in SEEDED else "")
            raise UserError(f"{override}: the study sets {key} itself" + (f"; use {option}" if option else ""))
    runs = [run for run in RUNS if run in only]
    return [_planned(run, seed, base, str(output_root), overrides) for seed in dict.fromkeys(seeds) for run in runs]


def _planned(run: str, seed: int, base: str | None, output_root: str, overrides: Sequence[str]) -> StudyRun:
    settings = [*overrides, *(f"{key}={seed}" for key in SEEDED)]
    config = configs.load(configs.find(RUNS[run]), settings)
    base_of_seed = f"{RUNS['base']}_seed{seed}"
    name, start, after = RUNS[run], None, None
    if run != "base" and base is not None:
        name += "_from_" + re.sub(r"[^\w.+=-]", "-", Path(base).name)
    if run != "base":
        start = {None: base_of_seed, "shipped": SHIPPED}.get(base, base)
        after = base_of_seed if base is None else None
    of_the_study = {"name": f"{name}_seed{seed}", "base": start, "base_config": None, "output_root": output_root}
    config = config.model_copy(update=of_the_study)
    factors = {"run": run, "seed": seed}
    return StudyRun(config, factors, after, run=run, seed=seed, base=base, overrides=tuple(overrides))


def sweep_of(runs: Sequence[StudyRun]) -> Sweep:
    """The runs as a sweep, whose folder is that of the study."""
    return Sweep("study", runs, place=FOLDER)


# --- make


def make(runs: Sequence[StudyRun], backend: Backend, threads: int = 1, retries: int = 2) -> list[Outcome]:
    """Make every planned run that has no record yet, each in its own process, and write its record.

    `threads`, `retries`: see `sweep.carry_out`. A run that fails does not stop the others; its message is in its
    outcome. Raises UserError for a given base that is not there, and Interrupted after a signal: the same plan, carried
    out again, goes on.
    """
    names = {run.name for run in runs if not run.record.is_file()}
    for run in runs:
        if run.base is not None and run.name in names:
            _check_base(run)
    finished = [outcome for run in runs if (outcome := _known(run, names)) is not None]
    if len(finished) == len(runs):
        return finished
    records = {run.name: run for run in runs}
    return sweeps.carry_out(
        sweep_of(runs), backend, threads, retries, finished, record=lambda run: _write_record(records[run.name])
    )


def _known(run: StudyRun, due: Collection[str]) -> Outcome | None:
    """What became of a run that is not to be made: it has a record, or its base is neither there nor due."""
    try:
        if run.name not in due:
            _check_record(run)
            return Outcome(run.name, "was done")
        if run.after not in due:
            _check_base(run)
    except UserError as error:
        say(f"{run.name}: failed, the others go on: {error}")
        return Outcome(run.name, "failed", str(error))
    return None


def _check_record(run: StudyRun) -> None:
    """UserError if the record that is there is that of another config."""
    record = read_record(run.record)
    if difference := configs.difference(record.config, portable_config(run.config)):
        raise UserError(
            f"{run.record}: is the record of another config; give another --output-root, or move it away. "
            "The difference:\n  " + "\n  ".join(difference)
        )


def _check_base(run: StudyRun) -> None:
    from atlantis.training.base import find_base

    if run.config.base is not None and find_base(run.config) is None:
        advice = "have it made first (--build-base, or --only base; if only its record is left, move that away)"
        advice = "--base names no run and no checkpoint" if run.base else advice
        raise UserError(f"{run.name}: its base {run.config.base} is not there; {advice}")


def _write_record(run: StudyRun) -> None:
    write_record(run.record, record_of(run))


def summary(runs: Sequence[StudyRun], outcomes: Sequence[Outcome]) -> Table:
    """A row for each run: what became of it, and the probe's error on real cities at its first and its last step."""
    from rich.table import Table

    table = Table("run", "seed", "", "steps", "probe km\nreal cities", title="study", title_justify="left")
    for column in (table.columns[1], *table.columns[3:]):
        column.justify = "right"
    for run, outcome in zip(runs, outcomes, strict=True):
        record = read_record(run.record) if outcome.finished else None
        steps = "" if record is None else f"{record.steps:,}"
        ends = () if record is None else (record.evaluations[0], record.evaluations[-1])
        km = " -> ".join(f"{row.degrees[REAL].mean_km:,.0f}" for row in ends if REAL in row.degrees)
        table.add_row(run.run, str(run.seed), outcome.state, steps, km)
    return table


# --- record


def record_of(run: StudyRun) -> StudyRecord:
    """The record of a finished run, from its folder."""
    from atlantis.training.base import find_base
    from atlantis.training.schedule import total_steps

    config = run.config
    data = run_data.load(run.folder)
    about = data.about
    base = None if config.base is None else find_base(config)
    training = config.training.model_copy(update={"max_steps": None})
    return StudyRecord(
        run=run.run,
        name=run.name,
        seed=run.seed,
        seeds=about["seeds"],
        command=_command(run, base),
        config_digest=configs.digest(portable_config(config)),
        config=portable_config(config),
        base=None if base is None else _origin(run, base),
        dataset=about["dataset"],
        world=about["digests"]["world"],
        full_steps=total_steps(training, sum(about["dataset"]["counts"]["train"].values())),
        evaluations=evaluations_of(data),
        intervals=2,
        **made_with([about]),
    )


def _command(run: StudyRun, base: Base | None) -> str:
    """What makes this run in an empty folder: with its base run, if the same overrides make that too."""
    only = [run.run]
    if base is not None and run.base is None:
        made = _planned("base", run.seed, None, run.config.output_root, run.overrides).config
        if base.config is not None:  # measures are of no effect on a base's weights
            probe = made.probe.model_copy(update={"measures": base.config.probe.measures})
            same = not configs.difference(base.config, made.model_copy(update={"probe": probe}))
            only = ["base", *only] if same else only
    pairs = [override.partition("=") for override in run.overrides]
    overrides = [f"{key}={portable(value)}" for key, _, value in pairs]
    return command(only, [run.seed], run.base and portable(run.base), overrides)


def _origin(run: StudyRun, base: Base) -> Origin:
    return Origin(
        option=run.base and portable(run.base),
        name=portable(str(run.config.base)),
        weights=artifacts.sha256(base.checkpoint / "model.safetensors"),
        config=None if base.config is None else portable_config(base.config),
    )
