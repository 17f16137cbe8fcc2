"""`atlantis study`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from atlantis.cli.backend import (
    Address,
    Backend,
    BuildBase,
    GpusPerRun,
    Retries,
    SlurmSettings,
    Workers,
    backend_of,
    name_failures,
)
from atlantis.cli.folders import OUTPUTS, OutputRoot
from atlantis.cli.output import print_shown


def study(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="Settings on top of every run's config.")
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="N,...", help="Seeds, comma-separated.")] = "42,43,44",
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="RUN,...", help="Some of base,cross,cross_bs64,inter,inter_bs64,mixed.  [default: all]"),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Start every fine-tune from this run or checkpoint, or from the `shipped` base."
        ),
    ] = None,
    output_root: OutputRoot = OUTPUTS,
    backend: Backend = "local",
    workers: Workers = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="CPU threads of each run.  [default: a share of all]")
    ] = None,
    gpus_per_run: GpusPerRun = None,
    retries: Retries = 2,
    address: Address = None,
    slurm: SlurmSettings = None,
    build_base: BuildBase = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the runs.")] = False,
) -> None:
    """Make the whole study: for every seed the base run, and the five fine-tunes that start from it.

    Each run is trained, evaluated and probed from step 0 on, as its config in configs/ says: base
    (dist_100k_1M_20epochs), cross and inter (batch 512), cross_bs64 and inter_bs64 (batch 64), mixed. Their names end
    in the seed.

    A seed sets dataset.seed (the pairs drawn), model.seed (the initial weights) and training.seed (the order of
    batches). It does not set the world's, the evaluation's or the probe's seed.

    A seed's fine-tunes start from its base run. Where --only leaves that out and it is not there, they fail;
    --build-base trains it first.

    The base run takes a minute or two on a GPU and many hours on a CPU. With --base shipped every fine-tune, of every
    seed, starts from the shipped base `dist_100k_1M_20epochs` instead, and the base run is left out; seeds then vary
    the data and their order alone. With probe.measures=false both probe protocols are kept, which is all that a record
    holds, and analysis/map is left out, which takes most of a probe's time.

    Each run is a process of its own, as in `atlantis sweep`: --workers says how many at a time, --backend where. The
    fine-tunes of a seed begin when its base run is trained, and at once where the base is given.

    The same command goes on where it was stopped. What is recorded is not made again: to have that, move the record and
    the run's folder away. A run that fails does not stop the others; it is named at the end, and the exit code is 1.
    Other settings for the same runs need another --output-root.

    Writes the runs to outputs/experiments/, and to outputs/study/: records/ (a small file per run, with all its
    numbers; its path is the last line printed), sweep.json, failures.csv, and the runs' configs/ and logs/.
    `python -m scripts.results_page` makes a page of records, in a clone of the repository.

    \b
    Examples:
      atlantis study
      atlantis study --seeds 42 --only base,cross probe.measures=false
      atlantis study --workers 3 --gpus-per-run 0.33 --threads 6
      atlantis study --base shipped --only cross,inter training.max_steps=200 --output-root outputs/short
    """
    from atlantis import study as the_study
    from atlantis.artifacts import refuse_file
    from atlantis.sweep.display import run_list
    from atlantis.sweep.local import shared_threads

    refuse_file(output_root, "--output-root")
    runs = the_study.plan(
        the_study.seeds_in(seeds),
        ",".join(only).split(",") if only else None,
        base and os.path.expanduser(base),
        output_root,
        overrides or (),
        build_base,
    )
    planned = the_study.sweep_of(runs)
    if dry_run:
        print_shown(run_list(planned))
        return
    where = backend_of(backend, planned.folder / "slurm", workers, gpus_per_run, address, slurm or [])
    if threads is None:
        threads = shared_threads(workers, gpus_per_run) if backend == "local" else 1
    outcomes = the_study.make(runs, where, threads, retries)
    print_shown(the_study.summary(runs, outcomes))
    print(the_study.records_folder(output_root))
    name_failures(outcomes)
