"""The command line: thin. Each command reads its arguments, calls one function of the library and shows the result.

Nothing heavy is imported at the top: `--help` answers at once.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from atlantis import home, limits, signals
from atlantis.errors import (
    INTERRUPTED,
    OK,
    PART_FAILED,
    REMEDIES,
    USER_MISTAKE,
    Interrupted,
    PartFailed,
    UserError,
    is_out_of_memory,
)
from atlantis.progress import printable

if TYPE_CHECKING:
    from rich.console import Console

    from atlantis.settings import VirtualRegionConfig

_SURROGATE = re.compile("[\ud800-\udfff]")
PIPE_WIDTH = 100  # columns of a table that does not go to a terminal

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
data_app = typer.Typer(help="Draw a dataset: pairs of cities and their distances.", **_SETTINGS)
app.add_typer(world_app, name="world")
app.add_typer(data_app, name="data")


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


# --- world


@world_app.command("build")
def world_build(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to make.")],
    config: Annotated[
        str | None,
        typer.Argument(metavar="CONFIG", help="Take the world of this config (a file, or a name in configs/)."),
    ] = None,
    cities: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your own file of cities, for the 5,075 shipped ones.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Of the shuffle that gives real cities their ids.  [default: 42]"),
    ] = None,
    region: Annotated[
        list[str] | None, typer.Option(metavar="SPEC", help="A virtual region, for Atlantis; repeat for more.")
    ] = None,
    real_only: Annotated[bool, typer.Option("--real-only", help="No virtual region at all.")] = False,
) -> None:
    """Build a world and save it.

    Writes into --out: cities.csv (id, name, lon, lat, country, region, population, is_virtual), world.json, a map
    (map.png) and a card (README.md). The same request gives the same bytes.

    A file of your own needs a name and a place for every city, and may have countries and populations. It may be CSV
    with any usual separator and encoding, GeoJSON or other JSON, or Parquet, and packed as .gz or .zip. The files of
    GeoNames, SimpleMaps, Natural Earth, Wikidata, OpenStreetMap, MaxMind and Berkeley Earth are read as they are. One
    line on standard error says which columns were taken for what, and which were not used. docs/start.md lists all
    known files.

    A region's SPEC is NAME:CODE:LON:LAT:SPREAD_KM:COUNT, with a seed after one more colon if you like, or the name of
    a ready-made one: atlantic (Atlantis, the default), north_pacific, south_pacific, indian, southern.

    \b
    Examples:
      atlantis world build --out outputs/worlds/default
      atlantis world build --cities my_cities.csv --out outputs/worlds/mine
      atlantis world build --cities cities15000.zip --out outputs/worlds/geonames
      atlantis world build --region atlantic --region Lemuria:XX1:75:-20:400:50 --out outputs/worlds/two
    """
    from atlantis.artifacts import clear_leftovers, is_complete, verify
    from atlantis.config import RunConfig, WorldConfig, checked, find, load
    from atlantis.world import World

    asked = (load(find(config), own_code=False) if config else RunConfig()).world.model_dump()
    if region and real_only:
        raise UserError("--region and --real-only: give one or the other")
    if region or real_only:
        asked["regions"] = [_region(spec).model_dump() for spec in region or []]
    asked |= {key: value for key, value in (("cities", cities and str(cities)), ("seed", seed)) if value is not None}
    world = World.from_config(checked(WorldConfig, asked))
    clear_leftovers(out.parent, out.name)
    if is_complete(out, world.digest):
        verify(out)
        print(f"{out}: this world is already there; nothing to do")
    else:
        world.save(out)
    _show(out)


def _region(spec: str) -> VirtualRegionConfig:
    """A virtual region from `NAME:CODE:LON:LAT:SPREAD_KM:COUNT[:SEED]` or the name of a ready-made one."""
    from dataclasses import asdict

    from atlantis.settings import VirtualRegionConfig
    from atlantis.world import OCEANS

    if spec in OCEANS:
        return VirtualRegionConfig(**asdict(OCEANS[spec]))
    from atlantis.config import checked
    from atlantis.yaml12 import scalar

    keys = ("name", "code", "lon", "lat", "spread_km", "count", "seed")
    parts = spec.split(":")
    if len(parts) not in (len(keys) - 1, len(keys)):
        raise UserError(
            f"--region {spec}: write NAME:CODE:LON:LAT:SPREAD_KM:COUNT, such as Lemuria:XX1:75:-20:400:50, "
            f"or one of {', '.join(OCEANS)}"
        )
    values = {key: text if key in ("name", "code") else scalar(text) for key, text in zip(keys, parts, strict=False)}
    return checked(VirtualRegionConfig, values, f"--region {spec}")


# --- data

Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder to make.")]
NTrain = Annotated[int, typer.Option(metavar="N", min=1, help="Training pairs.")]
NVal = Annotated[int, typer.Option(metavar="N", min=0, help="Validation pairs.")]
NTest = Annotated[int, typer.Option(metavar="N", min=0, help="Test pairs.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of the draw; independent of the world's.")]
InterRatio = Annotated[
    float, typer.Option(metavar="SHARE", min=0, max=1, help="Share of pairs with both cities virtual.")
]
Offset = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="First virtual id.  [default: found from the world]")
]
FirstCity = Annotated[
    Literal["fair", "smaller_first"],
    typer.Option("--order", help="Which city is first: a coin decides, or the smaller id (real and virtual: a coin)."),
]
WorldFolder = Annotated[
    Path | None, typer.Option("--world", metavar="DIR", help="Saved world.  [default: shipped cities and Atlantis]")
]
Sibling = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="Dataset of the same world: shared pairs are counted; repeatable."),
]

WRITES = """

    Writes into --out a folder that datasets.load_from_disk reads (prompt, completion, text, first, second, km, slice),
    with a card (README.md) and the counts per split and slice (dataset.json). Pairs are unordered, drawn without
    replacement, none in two splits. The same request gives the same bytes. Asking for more pairs than exist is
    refused, naming the maximum, before anything is written.

"""


@data_app.command("distance")
def data_distance(
    out: Out,
    n_train: NTrain = 1_000_000,
    n_val: NVal = 128,
    n_test: NTest = 10_000,
    seed: Seed = 42,
    order: FirstCity = "fair",
    world: WorldFolder = None,
    sibling: Sibling = None,
) -> None:
    """Pairs of real cities.
    {WRITES}
    \b
    Example:
      atlantis data distance --n-train 100000 --out outputs/datasets/dist_100k
    """
    _build_data("distance", out, world, sibling, n_train=n_train, n_val=n_val, n_test=n_test, seed=seed, order=order)


@data_app.command("inter")
def data_inter(
    out: Out,
    n_train: NTrain = 4_000,
    n_val: NVal = 128,
    n_test: NTest = 500,
    seed: Seed = 42,
    order: FirstCity = "fair",
    offset: Offset = None,
    world: WorldFolder = None,
    sibling: Sibling = None,
) -> None:
    """Pairs with both cities in Atlantis (in virtual regions).
    {WRITES}
    \b
    Example:
      atlantis data inter --out outputs/datasets/inter
    """
    sizes = {"n_train": n_train, "n_val": n_val, "n_test": n_test}
    _build_data("inter", out, world, sibling, **sizes, seed=seed, order=order, first_virtual=offset)


@data_app.command("cross")
def data_cross(
    out: Out,
    n_train: NTrain = 100_000,
    n_val: NVal = 128,
    n_test: NTest = 10_000,
    seed: Seed = 42,
    order: FirstCity = "fair",
    inter_ratio: InterRatio = 0.1,
    offset: Offset = None,
    world: WorldFolder = None,
    sibling: Sibling = None,
) -> None:
    """Pairs with at least one city in Atlantis.

    A share of --inter-ratio has both cities there; when fewer such pairs exist, all of them are used, and that is said.
    {WRITES}
    \b
    Example:
      atlantis data cross --world outputs/worlds/two --inter-ratio 0.05 --out outputs/datasets/cross
    """
    sizes = {"n_train": n_train, "n_val": n_val, "n_test": n_test}
    _build_data(
        "cross", out, world, sibling, **sizes, seed=seed, order=order, inter_ratio=inter_ratio, first_virtual=offset
    )


@data_app.command("mixed")
def data_mixed(
    out: Out,
    n_train: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Training pairs, a sixth of them old.  [default: 120000]")
    ] = None,
    n_distance: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Old training pairs, both cities real.  [default: 20000]")
    ] = None,
    n_cross: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="New training pairs.  [default: 100000]")
    ] = None,
    n_val: NVal = 128,
    n_test: NTest = 0,
    seed: Seed = 42,
    order: FirstCity = "fair",
    inter_ratio: InterRatio = 0.1,
    offset: Offset = None,
    world: WorldFolder = None,
    sibling: Sibling = None,
) -> None:
    """Old data and new: pairs of real cities together with cross pairs.

    Say how many with --n-train (shared 1 : 5, as in the study) or with --n-distance and --n-cross.
    {WRITES}
    \b
    Example:
      atlantis data mixed --n-distance 50000 --n-cross 50000 --out outputs/datasets/half_and_half
    """
    parts = {"n_distance": n_distance, "n_cross": n_cross}
    if n_train is not None:
        if n_distance is not None or n_cross is not None:
            raise UserError("--n-train: give it, or --n-distance and --n-cross, not both")
        old = round(n_train / 6)
        parts = {"n_distance": old, "n_cross": n_train - old}
    parts = {key: value for key, value in parts.items() if value is not None}
    sizes = {"n_val": n_val, "n_test": n_test, **parts}
    _build_data(
        "mixed", out, world, sibling, **sizes, seed=seed, order=order, inter_ratio=inter_ratio, first_virtual=offset
    )


def _build_data(kind: str, out: Path, world: Path | None, siblings: list[Path] | None, **settings: Any) -> None:
    from atlantis.artifacts import clear_leftovers, is_complete, verify
    from atlantis.config import DatasetConfig, checked
    from atlantis.data.dataset import Dataset
    from atlantis.world import World

    name = re.sub(r"[^\w.+=-]", "_", out.resolve().name)[:120]
    config = checked(DatasetConfig, {"kind": kind, "name": name, **settings})
    the_world = World.load(world) if world else World.build()
    dataset = Dataset.build(the_world, config)
    others = [Dataset.load(folder) for folder in siblings or []]
    for folder, other in zip(siblings or [], others, strict=True):
        if other.world_digest != dataset.world_digest:
            raise UserError(f"--sibling {folder}: is a dataset of another world; its cities have other ids")
    clear_leftovers(out.parent, out.name)
    if is_complete(out, dataset.digest):
        verify(out)
        print(f"{out}: this dataset is already there; nothing to do")
    else:
        dataset.save(out, siblings=others, command=_command_line())
    _show(out)


for _command in (data_distance, data_inter, data_cross, data_mixed):
    _command.__doc__ = (_command.__doc__ or "").replace("    {WRITES}\n", WRITES)  # none under PYTHONOPTIMIZE=2


# --- runs


@app.command()
def train(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or the bare name of one in configs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="Settings on top of it.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    report: Annotated[bool, typer.Option(help="Write the run's pictures and page at the end.")] = True,
    leashed: Annotated[bool, typer.Option("--leashed", hidden=True)] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse what is damaged; do not make it again.")] = False,
    fork: Annotated[bool, typer.Option("--fork", help="Go on with a run that other code has begun.")] = False,
) -> None:
    """Train, evaluate and probe the run that CONFIG describes, and write its report.

    What the run needs and is missing is built first: the world, the dataset, the base it starts from. Ctrl-C saves and
    stops; the same command with --resume goes on and ends with the same weights. A run that is finished is not trained
    again: its report is written anew. What has been damaged on disk is found by its hash; the run goes back to where
    everything was as written, and says so.

    Writes outputs/experiments/NAME/: config.yaml (every setting), run.json, metrics.jsonl, checkpoints/ (from step 0
    on, each a folder for transformers), analysis/ (probes) and report/ (page, pictures, tables). The path of the
    report's page is the last line printed.

    \b
    Settings often changed (see configs/ and any run's config.yaml for all of them):
      name=mine                       the run's folder; else the config's name
      output_root=/big/disk           in place of outputs
      training.max_steps=50           stop early
      training.batch_size=64  training.learning_rate=1e-4  training.seed=1
      dataset.inter_ratio=0.05  dataset.kind=inter  world.cities=my_cities.csv
      strategy.name=replay strategy.share=0.2   against forgetting: docs/strategies.md
    \b
    Examples:
      atlantis train demo
      atlantis train configs/atlantis_cross_finetune.yaml name=cross_seed1 training.seed=1
      atlantis train from_scratch --resume
      torchrun --standalone --nproc-per-node 4 -m atlantis train demo  (batch_size: of all together)
    """
    from atlantis.config import find, load

    if leashed:
        _stop_when_stdin_ends()
    asked = load(find(config), overrides or ())  # a mistake in it is said before PyTorch is imported
    from atlantis.training import train as run_training

    run = run_training(asked, resume, strict, fork)
    if not report:
        print(run)
        return
    try:
        _report([run], None)
    except OSError:
        raise
    except Exception as error:  # the run is not lost to what only reads it
        reason = _judge(error)[1]
        raise PartFailed(
            f"{run}: the run is trained and finished, but has no report: {reason}. `atlantis report {run}` tries again"
        ) from error


@app.command()
def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint's folder, or a run's (its last checkpoint).")
    ],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset's folder, as `atlantis data` makes.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the numbers to this JSON file as well.")
    ] = None,
) -> None:
    """Let a checkpoint answer a dataset's test prompts and score the answers, slice by slice.

    The errors of distances are |answer - true| in km: mean, median, standard deviation and extremes. One that is no
    number counts as half the Earth's circumference; parsed is the share that are, and skill is 1 - mean / mean error of
    the best constant answer. Nothing is written unless --out is given.

    \b
    Example:
      atlantis evaluate outputs/experiments/demo/checkpoints/final outputs/datasets/cross --out scores.json
    """
    from atlantis.data.dataset import Dataset
    from atlantis.readout.evaluate import evaluate_checkpoint
    from atlantis.show import score_table

    scores = evaluate_checkpoint(_last_checkpoint(_run_folder(checkpoint)), Dataset.load(dataset))
    if out is not None:
        from atlantis.artifacts import write_json

        write_json(out, {"scores": [score._asdict() for score in scores]})
    _console().print(score_table(scores))


@app.command()
def probe(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A run's folder, or its name in outputs/experiments/; or one model's folder."
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
        typer.Option(metavar="DIR", help="A model's folder: its saved world.  [default: shipped cities and Atlantis]"),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(metavar="N,...", help="A model's folder: blocks to read, from 0.  [default: 3,4]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A model's folder: where results go.  [default: nowhere]")
    ] = None,
) -> None:
    """Read the map out of every checkpoint of a run, again or for the first time; or out of one model.

    A linear probe predicts each city's longitude and latitude from the model's hidden states. Writes the run's
    analysis/ by two protocols: seed/ (the study's, to compare with it) and sphere/ (without its flaws), in each
    representation_dynamics.csv (per step and region, with intervals) and predictions.parquet (per city). With --table,
    layers/ has R2 and km at every layer and position of the prompt. map/ says what became of the map since the first
    step (docs/metrics.md): lost, bent, turned or shifted, drift, damage; it takes most of the time, and a run whose
    config has probe.measures: false has none until --measures asks for it. A checkpoint that cannot be read is named at
    the end.

    PATH may be any transformers folder whose tokenizer reads the task's texts as ours does: a checkpoint, or a causal
    language model of any architecture, saved with save_pretrained. Its world, layers and --out are then said here.

    \b
    Examples:
      atlantis probe outputs/experiments/demo
      atlantis probe demo --table
      atlantis probe my_llama --world outputs/worlds/mine --layers 1,2 --out outputs/my_llama
    """
    from atlantis import show
    from atlantis.report.tables import run_table

    unread = None
    folder = _run_folder(path)
    given = [name for name, value in (("--world", world), ("--layers", layers), ("--out", out)) if value is not None]
    if (folder / "config.json").is_file() or (folder.is_dir() and given and not (folder / "config.yaml").is_file()):
        if measures is not None:
            raise UserError("--measures: is for a run; one model has nothing to be compared with")
        by_layer = _probe_model(folder, world, layers, out, table)
    elif given:
        raise UserError(f"{given[0]}: is for the folder of one model; a run has its own in its config.yaml")
    else:
        by_layer, unread = _probe_run(folder, table, measures)
        _console().print(run_table(folder), show.region_table(folder))
    if by_layer is not None:
        _console().print(show.layer_table(by_layer))
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


def _probe_model(folder: Path, world: Path | None, layers: str | None, out: Path | None, by_layer: bool) -> Any:
    """Probe one transformers folder and print what was read; returns its layer table, if asked for."""
    from atlantis import show
    from atlantis.config import ProbeConfig, checked
    from atlantis.readout.analysis import probe_folder
    from atlantis.world import World
    from atlantis.yaml12 import scalar

    asked = {"layers": [scalar(text) for text in layers.split(",")]} if layers is not None else {}
    config = checked(ProbeConfig, asked, f"--layers {layers}")
    the_world = World.load(world) if world else World.build()
    readings, found = probe_folder(folder, the_world, config, out, by_layer)
    _console().print(show.reading_table(readings, folder.name))
    return found


@app.command()
def interpolate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder, or its name.")],
    alphas: Annotated[
        str, typer.Option(metavar="A,...", help="From 0, the base, to 1, fine-tuned.")
    ] = "0,0.2,0.4,0.6,0.8,1",
) -> None:
    """Score and probe weights between a run's base and its fine-tuned ones.

    They are (1 - A) * base + A * fine-tuned. Nothing is trained, and any finished run will do. Writes
    analysis/interpolation/ of the run: scores.csv (errors in km per slice) and probe.csv (the map).

    \b
    Example:
      atlantis interpolate demo --alphas 0,0.25,0.5,0.75,1
    """
    from rich.table import Table

    from atlantis.interpolate import alphas_in
    from atlantis.interpolate import interpolate as interpolate_run

    found = interpolate_run(_run_folder(run), alphas_in(alphas))
    table = Table("alpha", *(f"{name} km" for name in found.columns[1:-1]), "map of real cities km")
    for row in found.itertuples(index=False):
        table.add_row(*(f"{value:g}" if i == 0 else f"{value:,.0f}" for i, value in enumerate(row)))
    _console().print(table)


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, or names in outputs/experiments/.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Folder, or a file .html for the page alone.")
    ] = None,
) -> None:
    """Write the report of a run, or of several on the same axes: a page, and pictures and tables for papers.

    The page is one file that works offline, from disk: the map with a slider over the checkpoints and a switch between
    the probes, curves, what became of the map, tables that sort, settings and the command to reproduce. Its path is
    the last line printed. A run that is still training, or has not been probed, gets what there is.

    \b
    Writes, to RUN/report/ (several runs: report/comparison/ of the first) or to --out:
      index.html                the page
      figures/  *.png *.svg     curves, what became of the map, first and last map; evolution.gif
      tables/   *.csv *.tex     checkpoints, regions by each probe, variants, when it happened
      (several runs: both in a folder for each run, and comparison.csv, comparison.tex)
    \b
    Examples:
      atlantis report demo                                   a name in outputs/experiments/, or a folder
      atlantis report demo half_rate --out outputs/compared
      atlantis report demo --out demo.html                   the page alone, to send to someone
    """
    _report([_run_folder(run) for run in runs], out)


@app.command()
def show(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder of a run, checkpoint, dataset or world; or a config file.")
    ],
) -> None:
    """Say what is in a folder: a run, a checkpoint, a dataset, a world; or what a config comes to. Writes nothing.

    \b
    Examples:
      atlantis show outputs/experiments/demo
      atlantis show outputs/datasets/cross
      atlantis show configs/demo.yaml
    """
    _show(path)


@app.command()
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
    output_root: Annotated[Path, typer.Option(metavar="DIR", help="Where runs and records go.")] = Path("outputs"),
) -> None:
    """Make the whole study: for every seed the base run, and the five fine-tunes that start from it.

    Each run is trained, evaluated and probed from step 0 on, as its config in configs/ says: base
    (dist_100k_1M_20epochs), cross and inter (batch 512), cross_bs64 and inter_bs64 (batch 64), mixed. Their names end
    in the seed.

    A seed sets dataset.seed (the pairs drawn), model.seed (the initial weights) and training.seed (the order of
    batches). It does not set the world's, the evaluation's or the probe's seed.

    The base run takes a minute or two on a GPU and many hours on a CPU. With --base shipped every fine-tune, of every
    seed, starts from the base in pretrained/ instead, and the base run is left out; seeds then vary the data and their
    order alone. With probe.measures=false both probe protocols are kept, which is all that a record holds, and
    analysis/map is left out, which takes most of a probe's time.

    The same command goes on where it was stopped. What is recorded is not made again: to have that, move the record and
    the run's folder away. A run that fails does not stop the others; it is named at the end, and the exit code is 1.
    Other settings for the same runs need another --output-root.

    Writes the runs to outputs/experiments/ and a small record of each, with all its numbers, to
    outputs/study/records/, whose path is the last line printed. scripts/results_page.py makes a page of records.

    \b
    Examples:
      atlantis study
      atlantis study --seeds 42 --only base,cross probe.measures=false
      atlantis study --base shipped --only cross,inter training.max_steps=200 --output-root outputs/short
    """
    from atlantis import study as the_study
    from atlantis.artifacts import refuse_file

    refuse_file(output_root, "--output-root")
    runs = the_study.plan(
        the_study.seeds_in(seeds), ",".join(only).split(",") if only else None, base, output_root, overrides or ()
    )
    outcomes = the_study.carry_out(runs)
    _console().print(the_study.summary(outcomes))
    print(the_study.records_folder(output_root))
    failed = [(outcome.planned.name, outcome.error) for outcome in outcomes if outcome.error is not None]
    for name, error in failed:
        print(printable(f"failed: {name}: {_judge(error)[1]}"), file=sys.stderr)
    if failed:
        raise typer.Exit(PART_FAILED)


def _stop_when_stdin_ends() -> None:
    """SIGTERM to ourselves when standard input ends, as it does when the process that started us is killed."""
    import threading

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML with grid: or seeds:, or Python with runs().")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="Settings on top of every run's config.")
    ] = None,
    backend: Annotated[str, typer.Option(metavar="NAME", help="Where the runs go: local, ray or slurm.")] = "local",
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Runs at a time.  [default: as cores or GPUs allow]")
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="CPU threads of each run.")] = 1,
    gpus_per_run: Annotated[
        float | None, typer.Option(metavar="SHARE", min=0, help="Of one GPU.  [default: 1 if there is a GPU]")
    ] = None,
    retries: Annotated[int, typer.Option(metavar="N", min=0, help="How often a run that died is taken up.")] = 2,
    address: Annotated[
        str | None, typer.Option(metavar="A", help="Of a Ray cluster; or auto.  [default: a new one here]")
    ] = None,
    slurm: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="For SLURM, such as partition=gpu; repeatable.")
    ] = None,
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
    from atlantis.sweep.board import run_list, summary

    planned = sweeps.read(file, overrides or ())
    refuse_file(planned.folder, "output_root")
    if dry_run:
        _console().print(run_list(planned))
        return
    where = _backend(backend, planned.folder / "slurm", workers, gpus_per_run, address, slurm or [])
    outcomes = sweeps.carry_out(planned, where, threads=threads, retries=retries)
    _console().print(summary(planned, outcomes))
    print(planned.results)
    failed = [outcome for outcome in outcomes if not outcome.finished]
    for outcome in failed:
        print(f"failed: {outcome.name}: {outcome.message}", file=sys.stderr)
    if failed:
        raise typer.Exit(PART_FAILED)


@app.command()
def bench(
    tier: Annotated[str, typer.Option(metavar="NAME", help="smoke (minutes), cpu (hours) or gpu (days).")],
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="SCENARIO/METHOD", help="Some of it: A1/replay, A1, /replay; commas for several."),
    ] = None,
    enter: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A method of your own, as YAML; repeatable.")
    ] = None,
    output_root: Annotated[Path, typer.Option(metavar="DIR", help="Where everything goes.")] = Path("outputs"),
    backend: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where the runs go: local, ray, slurm.  [default: local]"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Runs at a time.  [default: as cores or GPUs allow]")
    ] = None,
    gpus_per_run: Annotated[
        float | None, typer.Option(metavar="SHARE", min=0, help="Of one GPU.  [default: 1 if there is a GPU]")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="A", help="Of a Ray cluster; or auto.  [default: a new one here]")
    ] = None,
    slurm: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="For SLURM, such as partition=gpu; repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what there is to do.")] = False,
) -> None:
    """Score strategies against forgetting: the old map kept, the new cities learned, both on one map.

    By the protocol of docs/benchmark.md: every method is tuned by the same number of trials on an ocean that is used
    for nothing else, and then runs on every scenario with every seed. Both parts are sweeps: what is finished is
    skipped, what died goes on, a run that fails is reported and stops no other (exit code 1). Ctrl-C lets the runs
    save their state; the same command goes on.

    Writes the runs to outputs/experiments/, and to outputs/bench/TIER/: records/ (a small file per method, task and
    seed), leaderboard.md (its path is the last line printed) and images/.

    \b
    Examples:
      atlantis bench --tier smoke
      atlantis bench --tier cpu --only A1/replay
      atlantis bench --tier cpu --only /mine --enter mine.yaml
      atlantis bench --tier gpu --backend ray --address auto --gpus-per-run 0.25
    """
    from atlantis import bench as benchmark
    from atlantis.artifacts import refuse_file, write_text

    refuse_file(output_root, "--output-root")
    entered = {str(file): benchmark.read_method(file) for file in enter or ()}
    if only and len(only) > 1:
        raise UserError("--only: give it once, with commas in each part, such as A1,A2/naive,replay; or run it again")
    plan = benchmark.Plan.of(tier, only[0] if only else None, output_root, entered)
    if dry_run:
        trials, runs = benchmark.counts(plan)
        print(f"{trials} trials for tuning, {runs} runs that count")
        return

    def where(folder: Path) -> Any:
        found = _backend(backend or "local", folder / "slurm", workers, gpus_per_run, address, slurm or [])
        return benchmark.Pool(workers) if tier == "smoke" and backend is None else found

    records, n_failed = benchmark.carry_out(plan, where)
    everything = benchmark.read_records([plan.folder / "records"])
    benchmark.write_pictures(everything, plan.folder / "images")
    write_text(plan.folder / "leaderboard.md", benchmark.page(everything))
    for record in records:
        if record.error is not None:
            print(printable(f"failed: {record.file_name.removesuffix('.json')}: {record.error}"), file=sys.stderr)
    print(plan.folder / "leaderboard.md")
    if n_failed:
        raise typer.Exit(PART_FAILED)


def _backend(
    name: str, folder: Path, workers: int | None, gpus: float | None, address: str | None, slurm: list[str]
) -> Any:
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


def _run_folder(run: Path) -> Path:
    """`run` as a path, or else as the name of a run in the default place."""
    by_name = Path("outputs") / "experiments" / run
    return by_name if not run.exists() and by_name.is_dir() else run


def _last_checkpoint(folder: Path) -> Path:
    """The checkpoint in `folder`, or the last one of the run that is there."""
    from atlantis.model.checkpoint import checkpoint_folders

    if (folder / "config.json").is_file():
        return folder
    final = folder / "checkpoints" / "final"
    last = list(checkpoint_folders(folder).values())[-1:]
    if not final.is_dir() and not last and (folder / "config.yaml").is_file():
        raise UserError(f"{folder}: this run has no checkpoint yet; train it first")
    return final if final.is_dir() else last[0] if last else folder


def _report(folders: Sequence[Path], out: Path | None) -> None:
    from atlantis.report.page import left_out, load_all, write_report
    from atlantis.report.tables import run_table

    runs, unread = load_all(folders)
    page = write_report(runs, out)
    console = _console()
    for run in runs:
        console.print(run_table(run))
    print(page)
    if unread:
        raise left_out(unread, "the page has the others")


def _show(path: Path) -> None:
    from atlantis import show

    problem = None
    try:
        shown = show.summary(path)
    except show.Unread as error:
        shown, problem = error.shown, error
    _console().print(shown)
    if problem is not None:
        raise problem


def _console() -> Console:
    """Rich output: colours and the terminal's width on a terminal, plain text of a fixed width in a pipe."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=PIPE_WIDTH)


def _command_line() -> str:
    import shlex

    return shlex.join(["atlantis", *sys.argv[1:]])


# --- the way in, and every way out


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (see HELP). Console script `atlantis`, and `python -m atlantis`.

    Under torchrun with more than one process, rank 0 runs it and the others help it train.
    """
    _open_standard_streams()
    home.prepare(os.environ)
    limits.limit_threads(os.environ)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("WORLD_SIZE") == "1":
        return _run(arguments)
    from atlantis.training.distributed import together

    together(lambda: _run(arguments), _explain)


def _open_standard_streams() -> None:
    """Put /dev/null where a standard stream is closed: else the next file would be opened in its place, and written."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115


def _run(arguments: Sequence[str] | None) -> int:
    try:
        with signals.handled(_leave, (signal.SIGTERM, *signals.NOTICES)):
            code = app(args=arguments, prog_name="atlantis", standalone_mode=False)
            sys.stdout.flush()
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return code if isinstance(code, int) else OK
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: say nothing at exit
        return PART_FAILED
    except Interrupted as stop:
        print(printable(str(stop)), file=sys.stderr)
        return 128 + stop.signum
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # typer's: the message is the help
            print(error, file=sys.stderr)
            return USER_MISTAKE
        return _explain(error)


def _explain(error: Exception) -> int:
    """Print what a command raised, in one line; returns the exit code."""
    if os.environ.get("ATLANTIS_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error)
    code, message = _judge(error)
    one = re.sub(r"\n(?!  )", r"\\n", message)  # a new line begins a line of a list, not one of a file's name
    print(f"error: {printable(one)}", file=sys.stderr)
    return code


def _judge(error: Exception) -> tuple[int, str]:
    """Exit code and message for what a command raised."""
    if not _has_current_folder():
        return USER_MISTAKE, "the current folder has been removed; change to one that is there (cd) and run it again"
    if isinstance(error, UserError):
        return PART_FAILED if isinstance(error, PartFailed) else USER_MISTAKE, str(error)
    if hasattr(error, "format_message"):  # typer's own: a wrong option or argument
        context = getattr(error, "ctx", None)
        hint = f"; see `{context.command_path} --help`" if context is not None else ""
        return USER_MISTAKE, f"{error.format_message().rstrip('.')}{hint}"  # type: ignore[attr-defined]
    if isinstance(error, OSError) and str(error.strerror).startswith("No usable temporary directory"):
        return USER_MISTAKE, f"{error.strerror}; set TMPDIR to a folder that can be written to"
    if isinstance(error, OSError) and error.strerror and (error.filename is not None or error.errno in REMEDIES):
        where = "" if error.filename is None else f"{error.filename}: "
        remedy = f"; {REMEDIES[error.errno]}" if error.errno in REMEDIES else ""
        return USER_MISTAKE, f"{where}{error.strerror}{remedy}"
    if isinstance(error, UnicodeEncodeError) and _SURROGATE.search(error.object):
        return (
            USER_MISTAKE,
            f"{error.object[:200].strip()}: the name of a file or folder is not UTF-8 text; rename it and run it again",
        )
    if is_out_of_memory(error):
        return PART_FAILED, "out of memory; ask for fewer pairs or smaller batches"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return PART_FAILED, f"unexpected {what} ({where}); run again with ATLANTIS_DEBUG=1 for the traceback"


def _leave(number: int, frame: Any) -> NoReturn:
    """A signal ends the command by an exception, so that what is half made is removed on the way out."""
    raise SystemExit(128 + number)


def _has_current_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True
