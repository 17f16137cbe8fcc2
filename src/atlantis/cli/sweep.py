"""`atlantis sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlantis.cli.backend import (
    Address,
    Backend,
    BuildBase,
    GpusPerRun,
    Retries,
    SlurmSettings,
    Threads,
    Workers,
    backend_of,
    name_failures,
)
from atlantis.cli.folders import ConfigsOutputRoot, with_root
from atlantis.cli.output import print_shown


def sweep(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML with grid: or seeds:, or Python with runs().")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="Settings on top of every run's config.")
    ] = None,
    backend: Backend = "local",
    workers: Workers = None,
    threads: Threads = 1,
    gpus_per_run: GpusPerRun = None,
    retries: Retries = 2,
    address: Address = None,
    slurm: SlurmSettings = None,
    build_base: BuildBase = False,
    output_root: ConfigsOutputRoot = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the runs.")] = False,
) -> None:
    """Carry out many runs, side by side, and gather their numbers as one table.

    A YAML file is a config with the keys grid: (settings and the values they take; every combination is a run) and
    seeds: (each sets the seeds of data, weights and order). A Python file defines runs(), which returns RunConfigs.
    All is checked before anything runs. What the runs share (worlds, datasets, bases) is made once, first.

    Each run is a process of its own. What is finished is skipped, what died goes on where its state was saved, and a
    run that fails stops no other: it is named at the end, and the exit code is 1. Ctrl-C lets the runs save their state
    and stops; the same command goes on.

    Writes the runs to outputs/experiments/, and to outputs/sweeps/NAME/: results.parquet (a row per run, step, group
    and metric; its path is the last line printed), sweep.json, failures.csv, and the runs' configs/ and logs/. It
    writes no pages: `atlantis report` makes them.

    \b
    Examples:
      atlantis sweep rates.yaml --workers 2
      atlantis sweep rates.yaml training.max_steps=50 name=short --dry-run
      atlantis sweep rates.yaml --backend ray --address auto --gpus-per-run 0.25
      atlantis sweep rates.yaml --backend slurm --slurm partition=gpu --slurm time=120 --gpus-per-run 1
    """
    from atlantis import sweep as sweeps
    from atlantis.artifacts import refuse_file
    from atlantis.sweep.display import run_list, summary

    planned = sweeps.read(file, with_root(overrides, output_root), build_base)
    refuse_file(planned.folder, "output_root")
    if dry_run:
        print_shown(run_list(planned))
        return
    where = backend_of(backend, planned.folder / "slurm", workers, gpus_per_run, address, slurm or [])
    outcomes = sweeps.carry_out(planned, where, threads=threads, retries=retries)
    print_shown(summary(planned, outcomes))
    print(planned.results)
    name_failures(outcomes)
