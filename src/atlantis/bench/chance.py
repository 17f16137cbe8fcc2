"""Chance, region by region: where a probe of an untrained model puts each ocean, and how far off that is.

A probe that is fitted on real cities and has nothing to go by answers with about their common centre. How wrong that is
depends on where a region lies: 6,100 km on average for the real cities themselves, 18,000 km for an ocean on the other
side of the globe. So each region has a chance of its own.

    km = untrained_km(checkpoint, world, probe, seed)      # {"real": ..., "Atlantis": ..., ...}

A run's table has the untrained model's error on its real cities alone (`km_untrained`). For the records that were made
before regions were kept apart, `chance.json` holds what was measured afterwards
(experiments/2026-11-27_chance_by_region).
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from atlantis.names import REAL
from atlantis.readout.activations import probe_features
from atlantis.readout.compared import SeenPlaces, like
from atlantis.readout.probes import read_sphere
from atlantis.readout.source import open_checkpoint
from atlantis.readout.splits import folds
from atlantis.settings import ModelConfig, ProbeConfig
from atlantis.sphere import haversine_km, lon_lat, unit_vectors
from atlantis.world import World

FILE = "chance.json"


def untrained_km(checkpoint: Path, world: World, probe: ProbeConfig, seed: int) -> dict[str, float]:
    """Mean error in km, by region, of a probe of a model that has the shape of `checkpoint` and random weights.

    These are drawn with `seed`; of a base that was trained with that seed they are its own first ones. The probes are
    those of `km_refit`: fitted on real cities, each read on cities that it has not seen. Real cities together are
    `real`; beside them stands every virtual region of the world. The same seed gives the same numbers.
    Raises UserError for a checkpoint that cannot be read or is of another world.
    """
    source = open_checkpoint(checkpoint, world)
    assert source.model is not None
    new = like(source.model, ModelConfig().init_std, seed)  # as chance.json has it
    ids, form = np.arange(len(world)), source.task.form
    features = probe_features(new, source.vocabulary, ids, probe.layers, form=form).astype(np.float64)
    return _by_region(world, features, probe)


def constant_km(world: World) -> dict[str, float]:
    """The same of the one best answer for all: the direction of the real cities' mean."""
    real = unit_vectors(world.lon[: world.n_real], world.lat[: world.n_real])
    lon, lat = lon_lat(real.mean(0, keepdims=True))
    km = haversine_km(world.lon, world.lat, lon, lat)
    return {name: float(km[ids].mean()) for name, ids in _regions(world).items()}


def _by_region(world: World, features: np.ndarray, probe: ProbeConfig) -> dict[str, float]:
    places = SeenPlaces(world, features, read_sphere(features, world, probe).fits, folds(world, probe))
    return {name: float(places.km[ids].mean()) for name, ids in _regions(world).items()}


def _regions(world: World) -> dict[str, np.ndarray]:
    virtual = {region.name: world.ids_of(region.name) for region in world.virtual_regions}
    return {REAL: np.arange(world.n_real), **virtual}


# --- what was measured for records that lack it


@cache
def _measured() -> dict[str, Any]:
    return json.loads(files("atlantis.bench").joinpath(FILE).read_text(encoding="utf-8"))


def measured_chance_km(seed: int) -> dict[str, float] | None:
    """An untrained model's error by region, of the oceans whose cities were drawn with `seed`; None: not measured."""
    return _measured()["untrained_km"].get(str(seed))


def measured_answers_km(base: str) -> float | None:
    """The error of a shipped base's answers to held-out pairs of real cities; None: not measured."""
    return _measured()["old_answers_km"].get(base)
