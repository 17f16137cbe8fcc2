"""The whole study as one command: for every seed the base run, then the fine-tunes from it, and a record of each.

    outcomes = carry_out(plan(seeds=[42, 43], only=["base", "cross"]))

- A seed changes `SEEDED` and nothing else: the world, the evaluation's and the probe's seeds stay as the configs say.
  With a base that is given (`base="shipped"`), the seeds therefore share their starting point.
- A run that has a record is done. One that was interrupted goes on where it stopped. One that fails is reported, and
  the others go on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atlantis import config as configs
from atlantis.errors import Interrupted, UserError
from atlantis.names import REAL
from atlantis.progress import heading, say
from atlantis.report import run_data
from atlantis.report.record import (
    RUNS,
    SEEDED,
    SEEDS,
    Origin,
    Record,
    command,
    evaluations_of,
    portable,
    portable_config,
    read_record,
    write_record,
)
from atlantis.settings import RunConfig

if TYPE_CHECKING:
    from rich.table import Table

    from atlantis.training.base import Base

OWN = ("name", "base", "base_config", "output_root", *SEEDED)  # set here, so not by an override
SHIPPED = f"pretrained/{RUNS['base']}"


@dataclass(frozen=True)
class Planned:
    """One run to be: its short name and seed, its config, and what --base and the overrides said."""

    run: str
    seed: int
    config: RunConfig
    base: str | None
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        assert self.config.name is not None
        return self.config.name

    @property
    def folder(self) -> Path:
        return Path(self.config.output_root) / "experiments" / self.name

    @property
    def record(self) -> Path:
        return records_folder(Path(self.config.output_root)) / f"{self.name}.json"


@dataclass(frozen=True)
class Outcome:
    """What became of a planned run: its record, whether that was there before, or the error that stopped the run."""

    planned: Planned
    record: Record | None = None
    was_there: bool = False
    error: Exception | None = None


def records_folder(output_root: Path) -> Path:
    """Where the study below `output_root` keeps its records."""
    return output_root / "study" / "records"


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
) -> list[Planned]:
    """The runs of a study in their order. Nothing is read but the configs, and nothing written.

    `base`: None for the seed's own base run, "shipped", or the path of a run or checkpoint. Raises UserError for an
    unknown run, a base run asked for beside a given base, or a mistake in an override.
    """
    if only is None:
        only = [run for run in RUNS if run != "base" or base is None]
    if unknown := [run for run in only if run not in RUNS]:
        raise UserError(f"--only: {unknown[0]!r} is not one of the study's runs, {', '.join(RUNS)}")
    if base is not None and "base" in only:
        raise UserError("--only base and --base: a given base is not trained; leave one of them out")
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in OWN:
            option = {"base": "--base", "output_root": "--output-root"}.get(key, "--seeds" if key in SEEDED else "")
            raise UserError(f"{override}: the study sets {key} itself" + (f"; use {option}" if option else ""))
    runs = [run for run in RUNS if run in only]
    return [_planned(run, seed, base, str(output_root), overrides) for seed in dict.fromkeys(seeds) for run in runs]


def _planned(run: str, seed: int, base: str | None, output_root: str, overrides: Sequence[str]) -> Planned:
    settings = [*overrides, *(f"{key}={seed}" for key in SEEDED)]
    config = configs.load(configs.find(RUNS[run]), settings)
    own_base = f"{RUNS['base']}_seed{seed}"
    name, start = RUNS[run], None
    if run != "base" and base is not None:
        name += "_from_" + re.sub(r"[^\w.+=-]", "-", Path(base).name)
    if run != "base":
        start = {None: own_base, "shipped": SHIPPED}.get(base, base)
    of_the_study = {"name": f"{name}_seed{seed}", "base": start, "base_config": None, "output_root": output_root}
    config = config.model_copy(update=of_the_study)
    return Planned(run, seed, config, base, tuple(overrides))


# --- carry out


def carry_out(runs: Sequence[Planned]) -> list[Outcome]:
    """Make every planned run that has no record yet, and write its record.

    A run that fails does not stop the others; its error is in its outcome. Raises UserError for a given base that is
    not there, and Interrupted after a signal: the same plan, carried out again, goes on.
    """
    for planned in runs:
        if planned.base is not None and not planned.record.is_file():
            _check_base(planned)
    outcomes = []
    for number, planned in enumerate(runs, start=1):
        heading(f"{number} of {len(runs)}: {planned.name}")
        try:
            outcomes.append(_carry_out(planned))
        except Interrupted as stop:
            message = f"{planned.name}: stopped, its state is saved; the same command goes on"
            raise Interrupted(message, stop.signum) from None
        except Exception as error:
            say(f"{planned.name}: failed, the others go on: {error}")
            outcomes.append(Outcome(planned, error=error))
    return outcomes


def _carry_out(planned: Planned) -> Outcome:
    if planned.record.is_file():
        record = read_record(planned.record)
        if difference := configs.difference(record.config, portable_config(planned.config)):
            raise UserError(
                f"{planned.record}: is the record of another config; give another --output-root, or move it away. "
                "The difference:\n  " + "\n  ".join(difference)
            )
        return Outcome(planned, record, was_there=True)
    from atlantis.training import train

    _check_base(planned)
    train(planned.config, resume=True)
    record = record_of(planned)
    write_record(planned.record, record)
    return Outcome(planned, record)


def _check_base(planned: Planned) -> None:
    from atlantis.training.base import find_base

    if planned.config.base is not None and find_base(planned.config) is None:
        said = "have it made first (--only base; if only its record is left, move that away)"
        said = "--base names no run and no checkpoint" if planned.base else said
        raise UserError(f"{planned.name}: its base {planned.config.base} is not there; {said}")


def summary(outcomes: Sequence[Outcome]) -> Table:
    """A row for each run: what became of it, and the probe's error on real cities at its first and its last step."""
    from rich.table import Table

    table = Table("run", "seed", "", "steps", "probe km\nreal cities", title="study", title_justify="left")
    for outcome in outcomes:
        record = outcome.record
        state = "failed" if record is None else "was done" if outcome.was_there else "done"
        steps = "" if record is None else f"{record.steps:,}"
        ends = () if record is None else (record.evaluations[0], record.evaluations[-1])
        km = " -> ".join(f"{row.seed[REAL].mean_km:,.0f}" for row in ends if REAL in row.seed)
        table.add_row(outcome.planned.run, str(outcome.planned.seed), state, steps, km)
    return table


# --- record


def record_of(planned: Planned) -> Record:
    """The record of a finished run, from its folder."""
    from atlantis.training.base import find_base
    from atlantis.training.schedule import total_steps

    config = planned.config
    run = run_data.load(planned.folder)
    about = run.about
    base = None if config.base is None else find_base(config)
    training = config.training.model_copy(update={"max_steps": None})
    return Record(
        run=planned.run,
        name=planned.name,
        seed=planned.seed,
        seeds=about["seeds"],
        command=_command(planned, base),
        config_digest=configs.digest(portable_config(config)),
        config=portable_config(config),
        base=None if base is None else _origin(planned, base),
        dataset=about["dataset"],
        world=about["digests"]["world"],
        device=about["device"],
        versions=about["versions"],
        commit=about["commit"],
        steps=about["steps"],
        full_steps=total_steps(training, sum(about["dataset"]["counts"]["train"].values())),
        seconds=about["training_seconds"],
        evaluations=evaluations_of(run),
        intervals=2,
    )


def _command(planned: Planned, base: Base | None) -> str:
    """What makes this run in an empty folder: with its base run, if the same overrides make that too."""
    only = [planned.run]
    if base is not None and planned.base is None:
        own = _planned("base", planned.seed, None, planned.config.output_root, planned.overrides).config
        if base.config is not None:  # measures are of no effect on a base's weights
            probe = own.probe.model_copy(update={"measures": base.config.probe.measures})
            same = not configs.difference(base.config, own.model_copy(update={"probe": probe}))
            only = ["base", *only] if same else only
    pairs = [override.partition("=") for override in planned.overrides]
    overrides = [f"{key}={portable(value)}" for key, _, value in pairs]
    return command(only, [planned.seed], planned.base and portable(planned.base), overrides)


def _origin(planned: Planned, base: Base) -> Origin:
    with open(base.checkpoint / "model.safetensors", "rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    return Origin(
        option=planned.base and portable(planned.base),
        name=portable(str(planned.config.base)),
        weights=weights,
        config=None if base.config is None else portable_config(base.config),
    )
