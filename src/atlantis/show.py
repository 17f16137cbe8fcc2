"""What a folder holds, said on the terminal: a run, a checkpoint, a dataset, a world; or what a config comes to.

Reads only, and of the large files no more than their headers.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from atlantis import artifacts
from atlantis.errors import UserError
from atlantis.names import REAL
from atlantis.progress import printable
from atlantis.reading import by_step, read_json
from atlantis.readout.catalogue import title_of
from atlantis.tasks.score import Score, scores_of
from atlantis.trust import read_record


class Unread(UserError):
    """The numbers of a run cannot be read; `shown` is what can be said of it all the same."""

    def __init__(self, message: str, shown: RenderableType) -> None:
        super().__init__(message)
        self.shown = shown


def summary(path: Path | str) -> RenderableType:
    """A rich renderable about what is at `path`. Raises UserError if it is nothing of ours, or cannot be read.

    For a run whose numbers cannot be read, while the rest can, that is an `Unread`.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: there is nothing there")
    if path.is_file():
        if path.suffix in (".yaml", ".yml"):
            return _config(path)
        raise UserError(f"{path}: give a config file (.yaml) or the folder of a run, checkpoint, dataset or world")
    kind = (artifacts.manifest(path) or {}).get("kind")
    if kind == "world" or (path / "world.json").is_file():
        return _world(path)
    if kind == "dataset" or (path / "dataset.json").is_file():
        return _dataset(path)
    if (path / "metrics.jsonl").is_file() or (path / "run.json").is_file():
        return _run(path)
    if (path / "config.json").is_file() and (path / "model.safetensors").is_file():
        return _checkpoint(path)
    raise UserError(f"{path}: not a run, checkpoint, dataset or world")


def score_table(scores: Sequence[Score]) -> RenderableType:
    """Scores of answers: a table for each task, with a row per slice."""
    return Group(*(_score_table(scores, task) for task in dict.fromkeys(score.task for score in scores)))


def _score_table(scores: Sequence[Score], task: str) -> Table:
    mine = {(score.slice, score.metric): score for score in scores if score.task == task}
    units = {score.metric: score.unit for score in mine.values()}
    titles = [f"{title_of(metric)} {unit or ''}".rstrip() for metric, unit in units.items()]
    table = Table("slice", "n", *map(printable, titles), title=printable(f"{task} scores"))
    for column in table.columns[1:]:
        column.justify = "right"
    for name in dict.fromkeys(score.slice for score in mine.values()):
        row = [mine.get((name, metric)) for metric in units]
        n = next(score.n for score in row if score)
        table.add_row(Text(printable(name)), f"{n:,}", *map(_score_text, row))
    return table


def _score_text(score: Score | None) -> str:
    if score is None or score.value is None:
        return "-"
    if score.metric == "parsed":
        return f"{score.value:.1%}"
    return f"{score.value:.4g}" if score.unit is None else f"{score.value:,.1f}"


def _results(path: Path) -> RenderableType:
    """What `eval_results.json` holds. Raises UserError for scores that are none."""
    row = _json(path)
    facts = {key: _number(value) for key, value in row.items() if isinstance(value, int | float)}
    try:
        table = score_table(scores_of(row))
    except ValueError as error:
        raise UserError(f"{path}: {error}; the checkpoint is damaged") from None
    return Group(_facts(facts), table)


def reading_table(readings: Mapping[str, Any], title: str) -> RenderableType:
    """Where the probe sees each group's cities that it was not fitted on, by both protocols (`probe_checkpoint`).

    `tested` and the numbers up to `km` are of the degrees protocol, `cities` and those behind it of the sphere's.
    """
    from atlantis.report.tables import ends

    seed, sphere = (
        {row["group"]: row for row in readings[name].dynamics.to_dict("records") if row["split"] != "train"}
        for name in ("degrees", "sphere")
    )
    headings = ("group", "tested", "lon\nR²", "lat\nR²", "km", "cities", "km,\nsphere", "95 %\ninterval")
    table = _right_aligned(Text(title), headings)
    for group, row in sphere.items():
        found = seed.get(group, {})
        r2 = [_digits(found.get(key), 3) for key in ("lon_r2", "lat_r2")]
        by_degrees = [_digits(found.get("n")), *r2, _digits(found.get("mean_km"))]
        interval = ends(row["mean_km_low"], row["mean_km_high"])
        table.add_row(Text(group), *by_degrees, f"{row['n']:,}", _digits(row["mean_km"]), interval)
    return table


def _digits(value: float | None, decimals: int = 0) -> str:
    """A number with so many decimals; a dash for what is absent or no number, such as R2 on one parallel."""
    return "-" if value is None or math.isnan(value) else f"{value:,.{decimals}f}"


def region_table(run: Path | str) -> RenderableType:
    """Mean km per group at the run's first step and at its last, and the change; by the degrees protocol's probe."""
    from atlantis.report.run_data import load

    probe = load(run).probe("degrees")
    table = _right_aligned(Text("mean km by group"), ("group", "cities", "first step", "last step", "change"))
    for group in (REAL, *probe.real_regions, *probe.virtual_regions):
        km = probe.group(group)["mean_km"]
        if km.empty:  # a small region of which the study's protocol drew no city
            continue
        first, last, n = km.iloc[0], km.iloc[-1], int(probe.group(group)["n"].iloc[-1])
        table.add_row(Text(group), f"{n:,}", f"{first:,.0f}", f"{last:,.0f}", f"{last - first:+,.0f}")
    return table


def layer_table(rows: Any) -> RenderableType:
    """R2 of longitude and latitude, and mean km, of real cities at each layer and position; the last step's."""
    rows = rows[rows["group"] == REAL]
    title = "lon R², lat R² and mean km of held-out real cities, by layer and position"
    if "step" in rows:
        title += f", step {rows['step'].max():,}"
        rows = rows[rows["step"] == rows["step"].max()]
    positions = list(dict.fromkeys(rows["position"]))
    table = _right_aligned(Text(title), ("layer", *positions))
    for layer in dict.fromkeys(rows["layer"]):
        cells = rows[rows["layer"] == layer].set_index("position").loc[positions].to_dict("records")
        texts = ((_digits(c["lon_r2"], 3), _digits(c["lat_r2"], 3), _digits(c["mean_km"])) for c in cells)
        table.add_row(layer, *map(" ".join, texts))
    return table


def _right_aligned(title: Text, headings: Sequence[str]) -> Table:
    table = Table(*headings, title=title, title_justify="left", pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _config(path: Path) -> RenderableType:
    from atlantis.config import dump, load

    return Text(printable(dump(load(path, own_code=False)).rstrip()), no_wrap=True, overflow="ignore")


def _world(path: Path) -> RenderableType:
    from atlantis.world import World

    world = World.load(path)
    regions = Table("region", "cities", title="regions")
    regions.columns[1].justify = "right"
    for name in world.regions:
        regions.add_row(Text(printable(name)), f"{len(world.ids_of(name)):,}")
    virtual = f"{world.n_virtual:,}, ids {world.first_virtual} to {len(world) - 1}" if world.n_virtual else "none"
    facts = {
        "world": str(path),
        "real cities": f"{world.n_real:,}, ids 0 to {world.n_real - 1}",
        "virtual cities": virtual,
        "source": world.source,
        "seed": world.seed,
        "digest": world.digest,
    }
    return Group(_facts(facts), regions)


def _dataset(path: Path) -> RenderableType:
    from atlantis.data.dataset import read_record as read_dataset_record

    artifacts.verify_some(path, ["dataset.json"])
    record = read_dataset_record(path)
    counts: dict[str, dict[str, int]] = record["counts"]
    slices = list(dict.fromkeys(name for row in counts.values() for name in row))
    table = Table("split", *(escape(printable(name)) for name in slices), "all", title="pairs")
    for column in table.columns[1:]:
        column.justify = "right"
    for split, row in counts.items():
        total = sum(row.values())
        shares = [f"{n:,} ({n / total:.1%})" if n else "0" for n in (row.get(name, 0) for name in slices)]
        table.add_row(split, *shares, f"{total:,}")
    facts = {
        "dataset": str(path),
        "name": record["name"],
        "kind": record["kind"],
        "seed": record["config"].get("seed", "-"),
        "world": record["world_digest"],
    }
    notes = [Text(printable(f"note: {note}")) for note in record["notes"]]
    overlaps = [
        Text(printable(f"note: {n:,} {mine} pairs are {theirs} pairs of {name}"))
        for name, by_split in record["overlaps"].items()
        for mine, others in by_split.items()
        for theirs, n in others.items()
        if n
    ]
    return Group(_facts(facts), table, *notes, *overlaps)


def _run(path: Path) -> RenderableType:
    from atlantis.config import is_run, load_of_run

    facts: dict[str, Any] = {"run": str(path)}
    if is_run(path):
        config = load_of_run(path)
        facts |= {"description": config.description} if config.description else {}
        facts |= {
            "base": config.base or "none (from scratch)",
            "dataset": f"{config.dataset.kind}, seed {config.dataset.seed}",
            "vocabulary": config.tokenizer.kind,
        }
    steps = sorted(_steps(path))
    facts["checkpoints"] = f"{len(steps)}, steps {steps[0]:,} to {steps[-1]:,}" if steps else "none"
    record = read_record(path)
    if extends := record.get("extends"):
        facts["goes on from"] = f"step {extends.get('from')} of {extends.get('run')}"
    facts["state"] = "finished" if record.get("status") == "finished" else "not finished; go on with --resume"
    page = path / "report" / "index.html"
    facts |= {"page": str(page)} if page.is_file() else {}
    if not (path / "metrics.jsonl").is_file():
        return _facts(facts)
    from atlantis.report.tables import run_table

    try:
        return Group(_facts(facts), run_table(path))
    except UserError as error:
        raise Unread(str(error), _facts(facts)) from None


def _steps(run: Path) -> list[int]:
    return list(by_step(run / "checkpoints", "checkpoint-"))


def _checkpoint(path: Path) -> RenderableType:
    artifacts.verify_some(path, ["config.json", "eval_results.json"])
    config = _json(path / "config.json")
    shape = [config.get(key) for key in ("num_hidden_layers", "hidden_size", "num_attention_heads")]
    facts = {
        "checkpoint": str(path),
        "architecture": "{}, {} blocks of {}, {} heads".format(config.get("model_type"), *shape),
        "parameters": f"{_parameters(path / 'model.safetensors'):,}",
        "tokens": config.get("vocab_size"),
    }
    if not (path / "eval_results.json").is_file():
        return _facts(facts)
    return Group(_facts(facts), _results(path / "eval_results.json"))


def _parameters(file: Path) -> int:
    """Number of numbers in a safetensors file, from its header: 8 bytes of length, then JSON."""
    try:
        with open(file, "rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, 100_000_000)))
        return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file}: not a whole safetensors file; make the checkpoint again") from None


def _facts(facts: Mapping[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for key, value in facts.items():
        grid.add_row(Text(printable(key), style="bold"), Text(printable(str(value)), overflow="fold"))
    return grid


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _json(file: Path) -> dict[str, Any]:
    try:
        return read_json(file)
    except FileNotFoundError:
        raise UserError(f"{file}: is missing") from None
