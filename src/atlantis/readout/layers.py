"""Where in the model is the map? The degrees protocol's probe at every layer and position of the prompt, one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atlantis import artifacts, trust
from atlantis import config as configs
from atlantis.data.encoding import after_first
from atlantis.errors import UserError
from atlantis.model.checkpoint import checkpoint_folders
from atlantis.names import REAL
from atlantis.progress import bar
from atlantis.readout.files import Tables, write_tables
from atlantis.readout.placed import metrics
from atlantis.readout.ridge import Sums, solve_ridge
from atlantis.readout.source import Source, open_source
from atlantis.readout.splits import degrees_split, virtual_regions
from atlantis.readout.threads import side_by_side
from atlantis.settings import ProbeConfig
from atlantis.tasks import Form
from atlantis.vocabulary import Vocabulary
from atlantis.world import World
from atlantis.world.of_run import world_of

MOST_BYTES = 2**30


def positions_of(form: Form, vocabulary: Vocabulary) -> list[str]:
    """The last tokens of a probe's prompt, where the city is known: its last digit or own token, and what follows.

    `digit , c _` for distances. A character that comes twice has its place behind it.
    """
    names = ["digit" if vocabulary.kind == "characters" else "city", *after_first(form, vocabulary)]
    return [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names)]


def layer_table(source: Source, world: World, config: ProbeConfig) -> pd.DataFrame:
    """One row per layer of the source, position and group: the scores of `placed.metrics`.

    Each probe is a ridge regression of raw degrees on one layer's state at one position, with the degrees protocol's
    split and penalty. Groups are the real cities tested on, and each virtual region.
    """
    train, test = degrees_split(world, config)
    truth = np.stack([world.lon, world.lat], axis=1)
    scored = {REAL: test} | {region: world.ids_of(region) for region in virtual_regions(world)}
    layers, positions = source.layers, positions_of(source.task.form, source.vocabulary)

    def read(cell: tuple[int, int]) -> list[dict[str, Any]]:
        layer, position = cell
        features = states[:, position, layer].astype(np.float64)
        predicted = solve_ridge(Sums.of(features[train], truth[train]), config.alpha).predict(features)
        where = {"layer": some[layer], "position": positions[position]}
        return [where | {"group": name} | metrics(*truth[ids].T, *predicted[ids].T) for name, ids in scored.items()]

    at_once = max(1, MOST_BYTES // (len(world) * len(positions) * source.width * 4))
    rows = []
    for start in range(0, len(layers), at_once):
        some = layers[start : start + at_once]
        states = source.states(np.arange(len(world)), some, len(positions))
        rows += side_by_side(read, np.ndindex(len(some), len(positions)))
    return pd.DataFrame([row for part in rows for row in part])


def layer_tables(table: pd.DataFrame) -> Tables:
    """Its files: the same rows as CSV and as Parquet."""
    return {"layers.csv": table, "layers.parquet": table}


def run_layer_table(run: Path) -> tuple[pd.DataFrame, list[UserError]]:
    """The table of a run's checkpoints that can be read, with a column `step`; and what was wrong with the others.

    The table is also written to the run's `analysis/layers/`. Raises UserError for what is no run, and, with nothing
    written, the first problem if no checkpoint can be read.
    """
    config = configs.load_of_run(run)
    with artifacts.lock(run):
        world, checkpoints = world_of(run, config), checkpoint_folders(run)
        seals = trust.read_record(run).get("checkpoints", {})
        tables, problems = [], []
        if not checkpoints:
            raise UserError(f"{run}: no checkpoint to probe in {run / 'checkpoints'}")
        with bar("layers and positions", len(checkpoints)) as progress:
            for step, checkpoint in checkpoints.items():
                progress.advance(note=f"step {step}")
                try:
                    if wrong := trust.exchanged(checkpoint, step, seals):
                        raise UserError(wrong)
                    table = layer_table(open_source(checkpoint, world), world, config.probe)
                except UserError as problem:
                    problems.append(problem)
                    continue
                table.insert(0, "step", step)
                tables.append(table)
        if not tables:
            raise problems[0]
        every = pd.concat(tables, ignore_index=True)
        with artifacts.new_folder(run / "analysis" / "layers", kind="analysis", overwrite=True) as aside:
            write_tables(layer_tables(every), aside)
    return every, problems
