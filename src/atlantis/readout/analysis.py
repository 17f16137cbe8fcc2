"""Probing a run: every checkpoint, both protocols, written to the run's `analysis/`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from atlantis import artifacts
from atlantis import config as configs
from atlantis.errors import UserError
from atlantis.model.checkpoint import checkpoint_steps
from atlantis.progress import bar
from atlantis.readout.layers import layer_table, write_layer_table
from atlantis.readout.probes import Reading, read_seed, read_sphere
from atlantis.readout.source import open_source
from atlantis.settings import ProbeConfig
from atlantis.world import World

READERS = {"seed": read_seed, "sphere": read_sphere}


def probe_checkpoint(checkpoint: Path | str, world: World, config: ProbeConfig | None = None) -> dict[str, Reading]:
    """Both protocols' readings, by name, of one checkpoint, or of any transformers folder with our tokens.

    Raises UserError if the checkpoint cannot be read, was trained on another world, or lacks the layers.
    """
    config = config or ProbeConfig()
    features = open_source(checkpoint, world).features(world, config.layers)
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


def probe_folder(
    folder: Path, world: World, config: ProbeConfig, out: Path | None = None, by_layer: bool = False
) -> tuple[dict[str, Reading], pd.DataFrame | None]:
    """Both protocols' readings of one transformers folder, and its layer table if asked for.

    They are written to the new folder `out`, if given: seed/, sphere/, layers/. Raises UserError as
    `probe_checkpoint` does, and for an `out` that holds something already.
    """

    def read() -> tuple[dict[str, Reading], pd.DataFrame | None]:
        source = open_source(folder, world)
        features = source.features(world, config.layers)
        readings = {name: read(features, world, config) for name, read in READERS.items()}
        return readings, layer_table(source, world, config) if by_layer else None

    if out is None:
        return read()
    with artifacts.new_folder(out, kind="analysis") as aside:
        readings, table = read()
        for name, reading in readings.items():
            reading.write(aside / name)
        if table is not None:
            write_layer_table(table, aside / "layers")
    return readings, table
