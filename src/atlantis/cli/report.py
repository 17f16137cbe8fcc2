"""`atlantis report` and `show`: what a person looks at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from atlantis.cli import complete
from atlantis.cli.folders import OUTPUTS, OutputRoot, at_home
from atlantis.cli.output import print_shown, show_folder
from atlantis.errors import UserError


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Runs, by name or folder.", autocompletion=complete.run_names)
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Folder, or a file .html for the page alone.", callback=at_home),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    output_root: OutputRoot = OUTPUTS,
) -> None:
    """Write the report of a run, or of several on the same axes: a page, and pictures and tables for papers.

    The page is one file that works offline, from disk: the map with a slider over the checkpoints and a switch between
    the probes, curves, what became of the map, tables that sort, settings and the command to reproduce. Its path is
    the last line printed. A run that is still training, or has not been probed, gets what there is.

    \b
    Writes, to RUN/report/ (several runs: report/comparison/ of the first) or to --out:
      index.html                the page
      figures/  *.png *.svg     curves, what became of the map, first and last map; evolution.gif
      tables/   *.csv *.tex     checkpoints, regions by probe, variants, when it happened, answers
      (several runs: both in a folder for each run, and comparison.csv, comparison.tex)
    \b
    Examples:
      atlantis report demo                                   a name in outputs/experiments/, or a folder
      atlantis report demo half_rate --out outputs/compared
      atlantis report demo --open                            and look at it
      atlantis report demo --out demo.html                   the page alone, to send to someone
    """
    from atlantis.lookup import run_folder

    folders = [run_folder(run, output_root) for run in runs]
    if twice := [folder for i, folder in enumerate(folders) if folder.resolve() in {f.resolve() for f in folders[:i]}]:
        raise UserError(f"{twice[0]}: is named twice; a page shows a run once")
    write_report_of(folders, out, open_page)


def show(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A run, a shipped base or a config, by name; or a folder of a run, checkpoint, dataset or world.",
            autocompletion=complete.all_names,
        ),
    ],
    output_root: OutputRoot = OUTPUTS,
) -> None:
    """Say what is in a folder: a run, a checkpoint, a dataset, a world; or what a config comes to. Writes nothing.

    A name means the run of that name if there is one, else the shipped base, else the config.

    \b
    Examples:
      atlantis show demo
      atlantis show outputs/datasets/cross
      atlantis show configs/demo.yaml
    """
    from atlantis.lookup import anything

    show_folder(anything(path, output_root))


def write_report_of(folders: Sequence[Path], out: Path | None, open_page: bool = False) -> None:
    """Write the page of these runs, and open it; raises PartFailed that names those which could not be read."""
    from atlantis.config import require_run
    from atlantis.report.page import left_out, load_all, write_report
    from atlantis.report.tables import run_table

    for folder in filter(Path.is_dir, folders):
        require_run(folder)  # another tool's folder may have a metrics.jsonl too, and would be written into
    runs, unread = load_all(folders)
    page = write_report(runs, out)
    for run in runs:
        print_shown(run_table(run))
    print(page)
    if open_page:
        _open(page)
    if unread:
        raise left_out(unread, "the page has the others")


def _open(page: Path) -> None:
    """Show a page in the browser. Raises UserError where there is none, as on a server: the page is written."""
    import webbrowser

    if not webbrowser.open(page.absolute().as_uri()):
        raise UserError(f"--open: there is no browser here; open {page} where there is one")
