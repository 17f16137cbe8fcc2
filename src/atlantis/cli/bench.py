"""`atlantis bench`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from atlantis.cli.backend import Address, Backend, GpusPerRun, Retries, SlurmSettings, Threads, Workers, backend_of
from atlantis.cli.folders import OUTPUTS, OutputRoot, all_at_home
from atlantis.errors import PART_FAILED, UserError
from atlantis.progress import printable


def bench(
    tier: Annotated[str, typer.Option(metavar="NAME", help="smoke (minutes), cpu (most of a day) or gpu (days).")],
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="SCENARIO/METHOD", help="Some of it: A1/replay, A1, /replay; commas for several."),
    ] = None,
    enter: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A method of your own, as YAML; repeatable.", callback=all_at_home),
    ] = None,
    records: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Records of this tier, or a folder: what they have is not made again; repeatable.",
            callback=all_at_home,
        ),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(metavar="N", help="Of the tier's seeds these; repeatable.")] = None,
    precision: Annotated[
        Literal["bf16", "fp32"] | None,
        typer.Option(help="Of training.  [default: the tier's; cpu: bf16 where the processor is fast in it]"),
    ] = None,
    output_root: OutputRoot = OUTPUTS,
    backend: Backend = "local",
    workers: Workers = None,
    threads: Threads = 1,
    gpus_per_run: GpusPerRun = None,
    address: Address = None,
    slurm: SlurmSettings = None,
    retries: Retries = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what there is to do.")] = False,
) -> None:
    """Score strategies against forgetting: old map and answers kept, new cities learned, both on one map.

    By the protocol of docs/benchmark.md: the strength of each method is chosen among five values, on an ocean that is
    used for nothing else, and then it runs on the tier's scenarios with their seeds. Both parts are sweeps: what is
    finished is skipped, what died goes on, a run that fails is reported and stops no other (exit code 1). Ctrl-C lets
    the runs save their state; the same command goes on. With --records it goes on from the records of another machine.

    Writes the runs to outputs/experiments/, and to outputs/bench/TIER/: records/ (a small file per method, scenario
    and seed), leaderboard.md (its path is the last line printed), leaderboard.html (to sort and filter) and images/.

    \b
    Examples:
      atlantis bench --tier smoke
      atlantis bench --tier cpu --only A1/naive --seed 42
      atlantis bench --tier cpu --records experiments/2026-11-28_benchmark_2/records
      atlantis bench --tier cpu --only A1/mine --enter mine.yaml
      atlantis bench --tier gpu --backend ray --address auto --gpus-per-run 0.25
    """
    from atlantis import bench as benchmark
    from atlantis.artifacts import refuse_file, write_text

    refuse_file(output_root, "--output-root")
    entered = {str(file): benchmark.read_method(file) for file in enter or ()}
    if only and len(only) > 1:
        raise UserError("--only: give it once, with commas in each part, such as A1,A2/naive,replay; or run it again")
    whole = benchmark.Plan.of(tier, only[0] if only else None, output_root, entered, seeds=seed, precision=precision)
    plan = replace(whole, threads=threads, retries=retries)
    given = benchmark.Given.read(records or (), plan)
    if dry_run:
        trials, runs = benchmark.counts(plan, given)
        print(f"{trials} trials for tuning, {runs} runs that count")
        return

    def where(folder: Path) -> Any:
        return backend_of(backend, folder / "slurm", workers, gpus_per_run, address, slurm or [])

    scored, n_failed = benchmark.score(plan, where, given)
    everything = benchmark.read_records([plan.folder / "records"])
    benchmark.write_pictures(everything, plan.folder / "images")
    write_text(plan.folder / "leaderboard.md", benchmark.page(everything))
    write_text(plan.folder / "leaderboard.html", benchmark.web_page(everything))
    for record in scored:
        if record.error is not None:
            print(printable(f"failed: {record.file_name.removesuffix('.json')}: {record.error}"), file=sys.stderr)
    print(plan.folder / "leaderboard.md")
    if n_failed:
        raise typer.Exit(PART_FAILED)
