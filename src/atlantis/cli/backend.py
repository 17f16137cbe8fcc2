"""Where the runs of a sweep go: the options that its commands share."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from atlantis.errors import PART_FAILED, UserError
from atlantis.progress import printable

Workers = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Runs at a time.  [default: as cores or GPUs allow]")
]
GpusPerRun = Annotated[
    float | None, typer.Option(metavar="SHARE", min=0, help="Of one GPU.  [default: 1 if there is a GPU; slurm: none]")
]
Backend = Annotated[str, typer.Option(metavar="NAME", help="Where the runs go: local, ray or slurm.")]
Threads = Annotated[int, typer.Option(metavar="N", min=1, help="CPU threads of each run.")]
Retries = Annotated[int, typer.Option(metavar="N", min=0, help="How often a run that died is taken up.")]
Address = Annotated[str | None, typer.Option(metavar="A", help="Of a Ray cluster; or auto.  [default: a new one here]")]
SlurmSettings = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="For SLURM, such as partition=gpu; repeatable.")
]
BuildBase = Annotated[
    bool, typer.Option("--build-base", help="Train a base that is missing, even under a name of your own.")
]


def name_failures(outcomes: Sequence[Any]) -> None:
    """Say which runs of a sweep failed, if any, and leave with the exit code for that."""
    failed = [outcome for outcome in outcomes if not outcome.finished]
    for outcome in failed:
        print(printable(f"failed: {outcome.name}: {outcome.message}"), file=sys.stderr)
    if failed:
        raise typer.Exit(PART_FAILED)


def backend_of(
    name: str, folder: Path, workers: int | None, gpus: float | None, address: str | None, slurm: list[str]
) -> Any:
    """The backend that these options describe; jobs of SLURM are written to `folder`. Raises UserError."""
    from atlantis.sweep import Local, Ray, Slurm

    if name not in ("local", "ray", "slurm"):
        raise UserError(f"--backend {name}: is none of local, ray, slurm")
    if address is not None and name != "ray":
        raise UserError(f"--address {address}: is for --backend ray")
    if slurm and name != "slurm":
        raise UserError(f"--slurm {slurm[0]}: is for --backend slurm")
    for setting in slurm:
        if not all(setting.partition("=")):
            raise UserError(f"--slurm {setting}: write key=value, such as partition=gpu")
    if name == "ray":
        return Ray(address, workers, gpus)
    if name == "slurm":
        return Slurm(folder, dict(setting.split("=", 1) for setting in slurm), workers, gpus)
    return Local(workers, gpus)
