"""`atlantis evaluate`, `probe`, `interpolate`, `stitch` and `intervene`: what is read out of a trained model."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from atlantis.cli import complete
from atlantis.cli.folders import OUTPUTS, OutputRoot, at_home, dataset_of, last_checkpoint, refuse_owned
from atlantis.cli.output import print_shown
from atlantis.errors import Interrupted, PartFailed, UserError


@contextmanager
def _interruptible(what: str, written: str = "nothing new was written, and what was there is kept") -> Iterator[None]:
    """Ctrl-C while the block runs says what is `written` by then, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            f"{what}: stopped by Ctrl-C; {written}. The same command begins anew", signal.SIGINT
        ) from None


def evaluate(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A run or a shipped base, by name; or a checkpoint's folder.",
            autocompletion=complete.model_names,
        ),
    ],
    dataset: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATASET",
            help="A dataset, by name or folder.  [default: the model's own]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the numbers to this JSON file as well.", callback=at_home),
    ] = None,
    output_root: OutputRoot = OUTPUTS,
) -> None:
    """Let a model answer a dataset's test prompts and score the answers, slice by slice.

    Of a run, the model is its last checkpoint. Without DATASET it is asked about what it was trained on.

    The error of a distance is |answer - true| in km; an answer that is no number counts as half the Earth's
    circumference. Shown are the errors' mean, median, standard deviation and extremes, the share of answers that can be
    read (parsed), and skill: 1 - mean / mean error of the best constant answer. Nothing is written without --out.

    \b
    Examples:
      atlantis evaluate demo
      atlantis evaluate outputs/experiments/demo/checkpoints/checkpoint-50 cross --out scores.json
    """
    from atlantis.lookup import model_folder
    from atlantis.readout.evaluate import evaluate_checkpoint
    from atlantis.show import score_table

    if out is not None:
        _refuse_other_file(out)
    folder = model_folder(checkpoint, output_root)
    with _interruptible(str(folder)):
        scores = evaluate_checkpoint(last_checkpoint(folder), dataset_of(folder, dataset, output_root))
    if out is not None:
        from atlantis.artifacts import write_json

        write_json(out, {"scores": [score._asdict() for score in scores]})
    print_shown(score_table(scores))


def _refuse_other_file(out: Path) -> None:
    """UserError unless scores may be written to this file: a new one, or one of scores, in no folder of ours."""
    from atlantis.reading import read_json

    if not out.name or out.is_dir():
        raise UserError(f"--out {out}: is a folder; give the name of a file, such as scores.json")
    refuse_owned(out)
    if os.path.lexists(out):
        try:
            is_scores = list(read_json(out)) == ["scores"]
        except (OSError, UserError):
            is_scores = False
        if not is_scores:
            raise UserError(f"--out {out}: is there already, and is no file of scores; give another name")


def probe(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="A run or a shipped base, by name or folder; or any model's folder.",
            autocompletion=complete.model_names,
        ),
    ],
    table: Annotated[
        bool, typer.Option("--table", help="Also every layer and position of the prompt, one by one.")
    ] = False,
    measures: Annotated[
        bool | None,
        typer.Option(
            "--measures/--no-measures",
            help="A run: with or without map/.  [default: as its config says]",
            show_default=False,
        ),
    ] = None,
    world: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A model's folder: its saved world.  [default: shipped cities and Atlantis]",
            callback=at_home,
        ),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(metavar="N,...", help="A model's folder: blocks to read, from 0.  [default: 3,4]")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A model's folder: the task (or my_module:MyTask) whose prompts name cities.  [default: its first]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A model's folder: where results go.  [default: nowhere]", callback=at_home),
    ] = None,
    output_root: OutputRoot = OUTPUTS,
) -> None:
    """Read the map out of every checkpoint of a run, again or for the first time; or out of one model.

    A linear probe predicts each city's longitude and latitude from the model's hidden states. Writes the run's
    analysis/ by two protocols: degrees/ (the study's, to compare with it) and sphere/ (without its flaws), in each
    representation_dynamics.csv (per step and region, with intervals) and predictions.parquet (per city). With --table,
    layers/ has R2 and km at every layer and position of the prompt. map/ says what became of the map since the first
    step (docs/metrics.md): lost, bent, turned or shifted, drift, damage; it takes most of the time, and a run whose
    config has probe.measures: false has none until --measures asks for it. A checkpoint that cannot be read is named at
    the end.

    RUN may be any transformers folder whose tokenizer reads the task's texts as ours does: a checkpoint, or a causal
    language model of any architecture, saved with save_pretrained. Its world, layers, task and --out are said here.

    \b
    Examples:
      atlantis probe demo
      atlantis probe outputs/experiments/demo --table
      atlantis probe my_llama --world outputs/worlds/mine --layers 1,2 --out outputs/my_llama
    """
    from atlantis import show
    from atlantis.config import is_run
    from atlantis.lookup import model_folder
    from atlantis.report.tables import run_table

    unread = None
    folder = model_folder(path, output_root)
    given = {"--world": world, "--layers": layers, "--task": task, "--out": out}
    options = [name for name, value in given.items() if value is not None]
    is_model = (folder / "config.json").is_file()
    if is_model or (folder.is_dir() and options and not is_run(folder)):
        if measures is not None:
            raise UserError("--measures: is for a run; one model has nothing to be compared with")
        with _interruptible(str(folder)):
            by_layer = _probe_model(folder, world, layers, task, out, table)
    elif options:
        raise UserError(f"{options[0]}: is for the folder of one model; a run has its own in its config.yaml")
    else:
        with _interruptible(str(folder), "tables that were complete are written, and nothing is half-written"):
            by_layer, unread = _probe_run(folder, table, measures)
        print_shown(run_table(folder), show.region_table(folder))
    if by_layer is not None:
        print_shown(show.layer_table(by_layer))
    if unread is not None:
        raise unread


def _probe_run(folder: Path, by_layer: bool, measures: bool | None) -> tuple[Any, PartFailed | None]:
    """Probe a run; returns its layer table, if asked for, and what names the checkpoints that could not be read."""
    from atlantis.readout.analysis import probe_run
    from atlantis.readout.layers import run_layer_table

    unread = None
    try:
        probe_run(folder, measures)
    except PartFailed as problem:  # what can be read is written
        unread = problem
    if not by_layer:
        return None, unread
    table, problems = run_layer_table(folder)
    return table, unread or (PartFailed("; ".join(map(str, problems))) if problems else None)


def _probe_model(
    folder: Path, world: Path | None, layers: str | None, task: str | None, out: Path | None, by_layer: bool
) -> Any:
    """Probe one transformers folder and print what was read; returns its layer table, if asked for."""
    from atlantis import show
    from atlantis.config import checked
    from atlantis.readout.analysis import probe_folder
    from atlantis.settings import ProbeConfig
    from atlantis.world import World
    from atlantis.yaml12 import scalar

    settings = {"layers": [scalar(text) for text in layers.split(",")]} if layers is not None else {}
    config = checked(ProbeConfig, settings, f"--layers {layers}")
    the_world = World.load(world) if world else World.build()
    readings, layers_table = probe_folder(folder, the_world, config, out, by_layer, task)
    print_shown(show.reading_table(readings, folder.name if task is None else f"{folder.name}, asked as {task}"))
    return layers_table


def interpolate(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A finished run's folder, or its name.", autocompletion=complete.run_names),
    ],
    alphas: Annotated[
        str, typer.Option(metavar="A,...", help="From 0, the base, to 1, fine-tuned.")
    ] = "0,0.2,0.4,0.6,0.8,1",
    output_root: OutputRoot = OUTPUTS,
) -> None:
    """Score and probe weights between a run's base and its fine-tuned ones.

    They are (1 - A) * base + A * fine-tuned. Nothing is trained, and any finished run will do. Writes
    analysis/interpolation/ of the run: scores.csv (errors of answers per slice) and probe.csv (the map).

    \b
    Example:
      atlantis interpolate demo --alphas 0,0.25,0.5,0.75,1
    """
    from rich.table import Table

    from atlantis.interpolate import alphas_in
    from atlantis.interpolate import interpolate as interpolate_run
    from atlantis.lookup import run_folder
    from atlantis.report.tables import cell

    folder = run_folder(run, output_root)
    with _interruptible(str(folder)):
        scores = interpolate_run(folder, alphas_in(alphas))
    table = Table(*scores.columns)
    for alpha, *errors in scores.itertuples(index=False):
        table.add_row(f"{alpha:g}", *(cell(error, None) for error in errors))
    for column in table.columns:
        column.justify = "right"
    print_shown(table)


def stitch(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="A finished fine-tuning's folder, or its name.", autocompletion=complete.run_names
        ),
    ],
    steps: Annotated[
        str | None, typer.Option(metavar="N,...", help="Which checkpoints.  [default: the last]", show_default=False)
    ] = None,
    items: Annotated[int, typer.Option(metavar="N", min=2, help="Questions of each slice.")] = 128,
    rows: Annotated[int, typer.Option(metavar="N", min=100, help="Rows that each map is fitted on.")] = 2_000,
    output_root: OutputRoot = OUTPUTS,
) -> None:
    """Find where a fine-tuning broke the old answers: join its lower blocks to the base's upper blocks.

    If the joined model still answers, what the answers need is still computed below the cut. Between the two stands
    nothing, a constant shift, or an affine map for each position, fitted on cities that no question names. The base's
    lower blocks are joined to the fine-tuned upper ones as well. Then each part of the model is put back to the base's
    weights, or alone keeps the fine-tuned ones.

    Shown is the mean error of answers about real cities. Writes analysis/stitching/ of the run: stitched.csv and
    parts.csv, with every slice. Two controls: "permuted" is a map that was fitted on rows in the wrong order, and
    "untrained" is a model with random weights below (of evaluation.seed; of a base trained with that seed, its own
    first weights).

    \b
    Examples:
      atlantis stitch demo
      atlantis stitch demo --steps 20,50,200
    """
    from atlantis.lookup import run_folder
    from atlantis.stitch import old_answers, old_parts
    from atlantis.stitch import stitch as stitch_run

    folder = run_folder(run, output_root)
    with _interruptible(str(folder)):
        tables = stitch_run(folder, _steps_in(steps), items, rows)
    print_shown(
        _table(old_answers(tables["stitched"]), "answers about real cities, mean error: lower blocks up to the cut"),
        _table(old_parts(tables["parts"]), "the same, with parts of the fine-tuned model put back, or alone"),
    )


def intervene(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A finished run's folder, or its name.", autocompletion=complete.run_names),
    ],
    steps: Annotated[
        str | None,
        typer.Option(metavar="N,...", help="Which checkpoints.  [default: first and last]", show_default=False),
    ] = None,
    items: Annotated[int, typer.Option(metavar="N", min=10, help="Questions of each group.")] = 100,
    output_root: OutputRoot = OUTPUTS,
) -> None:
    """Find whether a model answers from its map: change the states of a city, and read the answer.

    A question asks for the distance from A to C. Behind each block, the states at A's tokens are changed as if B had
    been named: by B's own states (interchange), or along the few directions in which the states of cities tell their
    places. Shown is how far the answer goes from the model's answer about A to that about B: 1 is the whole way.

    Writes analysis/interventions/ of the run: interventions.csv, with intervals, more metrics, the second city of a
    question, and new cities. docs/mechanism.md explains the columns.

    \b
    Example:
      atlantis intervene demo --steps 0,50,200
    """
    from atlantis.intervene import intervene as intervene_run
    from atlantis.intervene import ways
    from atlantis.lookup import run_folder

    folder = run_folder(run, output_root)
    with _interruptible(str(folder)):
        table = intervene_run(folder, _steps_in(steps), items)
    print_shown(_table(ways(table), "first city, real: share of the way from the answer about A to that about B"))


def _table(frame: Any, title: str) -> Any:
    """A data frame as it is printed: errors without decimals, shares with three, a dash for what was not read."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in frame.columns:
        table.add_column(column, justify="right")
    for row in frame.itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if value != value:  # the control is made at the last step alone
        return "–"
    return f"{value:,.3f}" if abs(value) < 2 else f"{value:,.0f}"


def _steps_in(text: str | None) -> list[int] | None:
    """The steps in `20,50`. Raises UserError for what is none."""
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise UserError(f"--steps {text}: write steps with commas between them, such as 20,50,200")
    return [int(part) for part in parts]
