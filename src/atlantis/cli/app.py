"""All commands, in the order of the help.

A command's file is imported when that command is called: `atlantis --help` imports none of them, and nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
import typer.core
import typer.main

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

Exit codes: 0 done; 1 some part failed, or an unexpected error, memory that ran out, or a pipe that was closed;
2 a mistake in what was asked for, or something else to fix (a damaged file, a full disk), named in one message;
130 stopped by Ctrl-C; 143 stopped by SIGTERM; 128 + N by another signal N that clusters and terminals send
(SIGHUP, SIGUSR1, SIGUSR2). The same command then goes on (`train` with --resume). ATLANTIS_DEBUG=1 shows the
full traceback of an error.
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


GROUPS = {
    "One run": {
        "train": ("train:train", "Train, evaluate and probe a run; what it needs is built first."),
        "report": ("report:report", "Write the page, pictures and tables of one run or several."),
        "show": ("report:show", "Say what a run, base, config, dataset or world is."),
        "new": ("new:new", "Write a config to start from, with what is changed most."),
    },
    "Read a model": {
        "evaluate": ("readout:evaluate", "Score a model's answers, slice by slice."),
        "probe": ("readout:probe", "Read the map out of every checkpoint of a run."),
        "interpolate": ("readout:interpolate", "Score weights between a run's base and its last ones."),
        "stitch": ("readout:stitch", "Find where a fine-tuning broke the old answers."),
        "intervene": ("readout:intervene", "Find whether a model answers from its map."),
    },
    "Many runs": {
        "sweep": ("sweep:sweep", "A grid of runs, side by side, and one table of numbers."),
        "study": ("study:study", "Every run of the study, with several seeds."),
        "bench": ("bench:bench", "Score strategies against forgetting, side by side."),
    },
    "Worlds and data": {
        "list": ("list:list_names", "What there is: configs, bases, strategies, tasks, regions, metrics."),
        "data": ("data:data", "Draw a dataset: pairs of cities and their distances."),
        "world": ("world:app", "Build a world: real cities and the virtual regions after them."),
    },
}
"""Every command under its heading: the file of this package and the function there, and the command's line."""

_FUNCTIONS = {name: function for commands in GROUPS.values() for name, (function, _) in commands.items()}
_SETTINGS: dict[str, Any] = {"rich_markup_mode": None}


class LazyCommands(typer.core.TyperGroup):
    """Imports and makes a command when it is first called. The help lists them all, under their headings."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        names: dict[str, Any] = dict.fromkeys(_FUNCTIONS)  # typer names the nearest of them for one that is not there
        self.commands = names

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in _FUNCTIONS and self.commands[cmd_name] is None:
            self.commands[cmd_name] = _made(cmd_name)
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for heading, commands in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, line) for name, (_, line) in commands.items()])


def _made(name: str) -> Any:
    """The command of this name, or the group of commands."""
    file, _, attribute = _FUNCTIONS[name].partition(":")
    target = getattr(import_module(f"atlantis.cli.{file}"), attribute)
    if isinstance(target, typer.Typer):
        return typer.main.get_command(target)
    alone = typer.Typer(add_completion=False, **_SETTINGS)
    alone.command(name, no_args_is_help=name == "data")(target)
    return typer.main.get_command(alone)


app = typer.Typer(
    help=HELP,
    cls=LazyCommands,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    **_SETTINGS,
)


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
