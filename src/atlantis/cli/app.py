"""All commands, in the order of the help.

Nothing heavy is imported at the top of this package: `--help` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
import typer.core

from atlantis.cli.bench import bench
from atlantis.cli.data import data
from atlantis.cli.list import list_names
from atlantis.cli.new import new
from atlantis.cli.readout import evaluate, interpolate, intervene, probe, stitch
from atlantis.cli.report import report, show
from atlantis.cli.study import study
from atlantis.cli.sweep import sweep
from atlantis.cli.train import train
from atlantis.cli.world import world_build

HELP = """What happens to a transformer's map of the world when it learns cities that never existed.

A world (real cities, and Atlantis) gives datasets of distances; a run trains a small transformer on one of them and
reads, checkpoint by checkpoint, the map inside it; a report shows what became of the map.

\b
  atlantis train demo                   the whole experiment, in minutes
  atlantis train demo name=mine training.max_steps=50
  atlantis report demo --open           look at it
  atlantis study --base shipped         every run of the study, several seeds
  atlantis sweep rates.yaml             a grid of runs, one table of numbers
  atlantis bench --tier smoke           every strategy against forgetting
  atlantis world build --out outputs/worlds/default
  atlantis data cross --out outputs/datasets/cross
  atlantis list                         configs, bases, strategies, metrics ...
  atlantis new mine                     a config of your own, to start from

Runs, bases and configs are given by their names (demo) or by a path.

Exit codes: 0 done; 1 some part failed; 2 a mistake in what was asked for, or something else to mend (a
damaged file, a full disk), named in one message; 130 stopped by Ctrl-C; 143 stopped by SIGTERM; 128 + N by
another signal N that clusters and terminals send (SIGHUP, SIGUSR1, SIGUSR2). The same command then goes on
(`train` with --resume). ATLANTIS_DEBUG=1 shows the full traceback of an error.
"""

FIRST = """atlantis: what happens to a transformer's map of the world when it learns
cities that never existed.

Begin with:
  atlantis train demo           the whole experiment, in minutes on a CPU
  atlantis report demo --open   the map, before and after, in your browser
  atlantis show demo            its numbers

Then change something:
  atlantis train demo name=mine training.max_steps=50

  atlantis --help               every command
"""


class GroupedCommands(typer.core.TyperGroup):
    """Lists the commands under the headings with which they are registered."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            if not command.hidden:
                heading = getattr(command, "rich_help_panel", None) or "Commands"
                groups.setdefault(heading, []).append((name, command.get_short_help_str(formatter.width)))
        for heading, rows in groups.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


_SETTINGS: dict[str, Any] = {"rich_markup_mode": None}
app = typer.Typer(
    help=HELP,
    cls=GroupedCommands,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    **_SETTINGS,
)

GROUPS: dict[str, dict[Callable[..., Any], str]] = {
    "One run": {
        train: "Train, evaluate and probe a run; what it needs is built first.",
        report: "Write the page, pictures and tables of one run or several.",
        show: "Say what a run, base, config, dataset or world is.",
        new: "Write a config to start from, every setting explained.",
    },
    "Read a model": {
        evaluate: "Score a model's answers, slice by slice.",
        probe: "Read the map out of every checkpoint of a run.",
        interpolate: "Score weights between a run's base and its last ones.",
        stitch: "Find where a fine-tuning broke the old answers.",
        intervene: "Find whether a model answers from its map.",
    },
    "Many runs": {
        sweep: "A grid of runs, side by side, and one table of numbers.",
        study: "Every run of the study, with several seeds.",
        bench: "Score strategies against forgetting, side by side.",
    },
    "Worlds and data": {
        list_names: "What there is: configs, bases, strategies, tasks, regions, metrics.",
        data: "Draw a dataset: pairs of cities and their distances.",
    },
}
"""Every command, under the heading of the help, with its line there."""

for heading, commands in GROUPS.items():
    for command, line in commands.items():
        name = "list" if command is list_names else None
        app.command(name, rich_help_panel=heading, short_help=line, no_args_is_help=command is data)(command)
world_app = typer.Typer(
    help="Build a world: real cities and the virtual regions after them.",
    no_args_is_help=True,
    add_completion=False,
    **_SETTINGS,
)
world_app.command("build")(world_build)
app.add_typer(world_app, name="world", rich_help_panel="Worlds and data")


def _print_version(wanted: bool) -> None:
    if wanted:
        from atlantis.artifacts import version

        print(f"atlantis {version()}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(FIRST, end="")
