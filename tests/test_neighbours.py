"""The nearest cities in the hidden states: against all distances, and as a probed run has them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from atlantis.readout import analysis, neighbours
from atlantis.readout.analysis import probe_run
from atlantis.readout.source import open_checkpoint
from atlantis.settings import RunConfig
from atlantis.world import World


@pytest.mark.parametrize(("n", "k"), [(40, 5), (3_000, 5), (4, 5), (2, 5), (1, 5)])
def test_they_are_those_of_the_least_distances(n: int, k: int) -> None:
    features = np.random.default_rng(0).normal(size=(n, 7)) + 30
    found = neighbours.nearest(features, k)
    assert found.shape == (n, max(0, min(k, n - 1)))
    if n > 1:
        away = cdist(features, features)
        np.fill_diagonal(away, np.inf)
        assert (found == away.argsort(axis=1)[:, : found.shape[1]]).all()


def test_planted_pairs_find_each_other_and_no_city_itself() -> None:
    pairs = np.repeat(np.random.default_rng(1).normal(size=(50, 16)), 2, axis=0)
    found = neighbours.nearest(pairs + 1e-3 * np.arange(100)[:, None] % 2)
    assert (found[:, 0] == np.arange(100) ^ 1).all()
    assert not (found == np.arange(100)[:, None]).any()


def test_a_larger_world_has_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MOST_CITIES", 9)
    assert len(neighbours.neighbour_table(3, np.eye(9))) == 45
    table = neighbours.neighbour_table(3, np.eye(10))
    assert table.empty and tuple(table.columns) == neighbours.COLUMNS


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_run, tmp_path / "run"))


def test_a_run_has_those_of_its_first_and_last_step(run: Path, small_config: RunConfig) -> None:
    table = pd.read_parquet(run / "analysis" / "map" / analysis.NEIGHBOURS_FILE)
    world = World.from_config(small_config.world)
    assert list(table["step"].unique()) == [0, 20] and len(table) == 2 * len(world) * neighbours.NEIGHBOURS
    for step, rows in table.groupby("step"):
        source = open_checkpoint(run / "checkpoints" / f"checkpoint-{step}", world)
        features = source.features(world, small_config.probe.layers)
        away = cdist(features, features)
        np.fill_diagonal(away, np.inf)
        wide = rows.pivot(index="id", columns="rank", values="neighbour")
        assert (wide[1] == away.argmin(axis=1)).mean() > 0.9  # the rest are ties, in float32


def test_a_last_step_of_before_is_left_out(run: Path, small_config: RunConfig) -> None:
    file = run / "analysis" / "map" / analysis.NEIGHBOURS_FILE
    whole = file.read_bytes()
    shutil.move(run / "checkpoints" / "checkpoint-20", run / "aside")
    probe_run(run)
    assert list(pd.read_parquet(file)["step"].unique()) == [0, 10]
    shutil.move(run / "aside", run / "checkpoints" / "checkpoint-20")
    analysis.probe_checkpoints(run, World.from_config(small_config.world), small_config.probe)
    assert file.read_bytes() == whole


def test_an_analysis_without_the_file_is_added_to(run: Path, small_config: RunConfig) -> None:
    """It was written before there was one."""
    file = run / "analysis" / "map" / analysis.NEIGHBOURS_FILE
    whole = file.read_bytes()
    shutil.move(run / "checkpoints" / "checkpoint-3", run / "aside")
    probe_run(run)
    tables = analysis._tables_of(run, small_config.probe)
    assert tables is not None
    del tables["map"][analysis.NEIGHBOURS_FILE]
    analysis._write(run, small_config.probe, tables)
    assert not file.exists()
    shutil.move(run / "aside", run / "checkpoints" / "checkpoint-3")
    world = World.from_config(small_config.world)
    analysis.probe_checkpoints(run, world, small_config.probe)
    assert list(pd.read_parquet(file)["step"].unique()) == [0], "the last step was not read again"
    probe_run(run)
    assert file.read_bytes() == whole
