"""Probing a run: every checkpoint, both protocols, written to the run's `analysis/`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from atlantis import artifacts
from atlantis import config as configs
from atlantis.errors import UserError
from atlantis.model.checkpoint import check_world, checkpoint_steps, load_checkpoint
from atlantis.progress import bar
from atlantis.readout.activations import probe_features
from atlantis.readout.probes import Reading, read_seed, read_sphere
from atlantis.settings import ProbeConfig
from atlantis.tokens import Vocabulary
from atlantis.world import World

READERS = {"seed": read_seed, "sphere": read_sphere}


def probe_checkpoint(checkpoint: Path | str, world: World, config: ProbeConfig | None = None) -> dict[str, Reading]:
    """Both protocols' readings of one checkpoint, by name.

    Raises UserError if the checkpoint cannot be read, was trained on another world, or lacks the layers.
    """
    config, checkpoint = config or ProbeConfig(), Path(checkpoint)
    check_world(checkpoint, world)
    model, vocabulary = load_checkpoint(checkpoint)
    if max(config.layers) >= len(model.blocks):
        raise UserError(
            f"probe.layers: block {max(config.layers)} does not exist; "
            f"{checkpoint} has blocks 0 to {len(model.blocks) - 1}"
        )
    if vocabulary.kind == "city" and vocabulary.n_cities < len(world):
        raise UserError(
            f"{checkpoint}: has tokens for {vocabulary.n_cities:,} cities, this world has {len(world):,}; "
            "probe it on the world it was trained on"
        )
    vocabulary = Vocabulary(vocabulary.kind, max(vocabulary.n_cities, len(world)))  # characters can name any city
    features = probe_features(model, vocabulary, np.arange(len(world)), config.layers)
    return {name: read(features, world, config) for name, read in READERS.items()}


def probe_checkpoints(run: Path, world: World, config: ProbeConfig, again: bool = False) -> None:
    """Probe every checkpoint of a run and write `analysis/<protocol>/`; what is complete is kept unless `again`."""
    checkpoints = checkpoint_steps(run)
    if not checkpoints:
        raise UserError(f"{run}: no checkpoint to probe in {run / 'checkpoints'}")
    digest = artifacts.digest_of({"probe": config.model_dump(), "steps": list(checkpoints)})
    folders = {name: run / "analysis" / name for name in READERS}
    if not again and all(artifacts.is_complete(folder, digest) for folder in folders.values()):
        return
    readings: dict[int, dict[str, Reading]] = {}
    with bar("probing checkpoints", len(checkpoints)) as progress:
        for step, checkpoint in checkpoints.items():
            readings[step] = probe_checkpoint(checkpoint, world, config)
            progress.advance(note=f"step {step}")
    for name, folder in folders.items():
        with artifacts.new_folder(folder, kind="analysis", digest=digest, overwrite=True) as aside:
            _write(aside, {step: reading[name] for step, reading in readings.items()})


def _write(folder: Path, readings: dict[int, Reading]) -> None:
    def all_steps(part: str) -> pd.DataFrame:
        tables = []
        for step, reading in readings.items():
            table = getattr(reading, part).copy()
            table.insert(0, "step", step)
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    all_steps("dynamics").to_csv(folder / "representation_dynamics.csv", index=False, float_format="%.6g")
    all_steps("predictions").to_parquet(folder / "predictions.parquet", index=False)
    if next(iter(readings.values())).variants is not None:
        all_steps("variants").to_csv(folder / "variants.csv", index=False, float_format="%.6g")


def probe_run(run: Path | str) -> None:
    """Probe every checkpoint of a run again, by the run's own settings. Raises UserError for what is no run."""
    run = Path(run)
    if not run.is_dir():
        raise UserError(f"{run}: no such folder; give a run's folder, such as outputs/experiments/demo")
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run}: no config.yaml in it, so it is not the folder of a run")
    config = configs.load(run / "config.yaml")
    with artifacts.lock(run):
        probe_checkpoints(run, World.from_config(config.world), config.probe, again=True)
