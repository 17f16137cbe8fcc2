"""All commands, in the order of the help.

Nothing heavy is imported at the top of this package: `--help` answers at once.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from atlantis.cli.bench import bench
from atlantis.cli.data import data
from atlantis.cli.readout import evaluate, interpolate, probe, stitch
from atlantis.cli.report import report, show
from atlantis.cli.study import study
from atlantis.cli.sweep import sweep
from atlantis.cli.train import train
from atlantis.cli.world import world_build

HELP = """What happens to a transformer's map of the world when it learns cities that never existed.

A world (real cities, and Atlantis) gives datasets of distances; a run trains a small transformer on one of them and
reads, checkpoint by checkpoint, the map inside it; a report shows what became of the map.

\b
  atlantis train demo                            the whole experiment, in minutes
  atlantis train demo name=mine training.max_steps=50
  atlantis show outputs/experiments/demo         what is in a folder
  atlantis study --base shipped                  every run of the study, with several seeds
  atlantis sweep rates.yaml                      a grid of runs, and one table of their numbers
  atlantis bench --tier smoke                    every strategy against forgetting, scored side by side
  atlantis world build --out outputs/worlds/default
  atlantis data cross --out outputs/datasets/cross

Exit codes: 0 done; 1 some part failed; 2 a mistake in what was asked for, or something else to mend (a
damaged file, a full disk), named in one message; 130 stopped by Ctrl-C; 143 stopped by SIGTERM; 128 + N by
another signal N that clusters and terminals send (SIGHUP, SIGUSR1, SIGUSR2). The same command then goes on
(`train` with --resume). ATLANTIS_DEBUG=1 shows the full traceback of an error.
"""

_SETTINGS: dict[str, Any] = {"rich_markup_mode": None, "no_args_is_help": True, "add_completion": False}
app = typer.Typer(help=HELP, context_settings={"help_option_names": ["-h", "--help"]}, **_SETTINGS)
world_app = typer.Typer(help="Build a world: real cities and the virtual regions after them.", **_SETTINGS)
world_app.command("build")(world_build)
app.add_typer(world_app, name="world")
app.command(no_args_is_help=True)(data)
for command in (train, evaluate, probe, interpolate, stitch, report, show, study, sweep, bench):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from atlantis.artifacts import version

        print(f"atlantis {version()}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
