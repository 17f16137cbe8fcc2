"""One checkpoint beside the run's first: what every measure of measures.py reads.

What does not change from step to step (folds, cells, islands, prompts, centres drawn at random) is in `Constants`; what
is kept of the first checkpoint (its frozen probes, clouds and answers, and chance) in `First`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Int, Num

from atlantis.data.draw import Order
from atlantis.model import Transformer
from atlantis.model.folder import new_model, qwen2_config
from atlantis.readout.activations import probe_features
from atlantis.readout.catalogue import scale_of
from atlantis.readout.damage import Anywhere, Displacement
from atlantis.readout.integration import Island, find_islands
from atlantis.readout.outputs import answer_distributions, real_questions
from atlantis.readout.placed import metrics
from atlantis.readout.probes import read_sphere
from atlantis.readout.ridge import Ridge, Sums, solve_ridge
from atlantis.readout.similarity import Cloud, principal_subspace
from atlantis.readout.skill import Estimate, over_folds, predict_held_out, shift_back
from atlantis.readout.splits import degrees_split, folds
from atlantis.settings import ProbeConfig
from atlantis.sphere import haversine_km, lon_lat, unit_vectors
from atlantis.statistics import cells_of, mean_over_cities
from atlantis.tasks import Task
from atlantis.vocabulary import Vocabulary
from atlantis.world import World

ENERGY = 0.99
"""Share of the real cities' variance that their principal subspace holds."""

REGION_CELLS = 3.0
"""Degrees of the cells in which a virtual region's cities are drawn for an interval: those of the world, 10 degrees,
would put most of a region into one."""


def layer_name(layers: Sequence[int]) -> str:
    """What the table calls the probe's blocks: "3+4"."""
    return "+".join(str(i) for i in layers)


def block_features(
    states: Float[np.ndarray, "n positions blocks D"], layers: Sequence[int]
) -> Float64[np.ndarray, "n p"]:
    """The p = positions * len(layers) * D features of a probe from the states of all blocks."""
    return states[:, :, list(layers)].reshape(len(states), -1).astype(np.float64)


class SeenPlaces:
    """Where the probes of all folds, `fits`, see the cities: directions (n, 3), lon, lat and error `km` (n,).

    A real city is seen by the one probe that was not fitted on it; a virtual one by all, and their mean counts.
    """

    def __init__(self, world: World, features: np.ndarray, fits: Sequence[Ridge], fold: np.ndarray) -> None:
        virtual = np.mean([fit.predict(features[world.first_virtual :]) for fit in fits], axis=0)
        held_out = predict_held_out(features[: world.first_virtual], fits, fold)
        self.directions = np.concatenate([held_out, virtual])
        self.lon, self.lat = lon_lat(self.directions)
        self.km = haversine_km(world.lon, world.lat, self.lon, self.lat)


class Constants:
    """What is the same at every checkpoint of a run in `world`, probed by `config` on prompts of `task`.

    `initial_std`: of the weights that the run's model began with; `order`: of the cities in what it was trained on.
    """

    def __init__(
        self, world: World, config: ProbeConfig, task: Task, initial_std: float, order: Order = "fair"
    ) -> None:
        self.world, self.config, self.task, self.initial_std = world, config, task, initial_std
        self.layer = layer_name(config.layers)
        self.fold = folds(world, config)
        self.cell, self.small_cell = (cells_of(world.lon, world.lat, degrees) for degrees in (10.0, REGION_CELLS))
        self.real = slice(0, world.n_real)
        self.lon, self.lat = world.lon[self.real], world.lat[self.real]
        self.targets = unit_vectors(self.lon, self.lat)
        self.prompts = real_questions(world, config.seed, task, order)
        self.compact = [region for region in world.virtual_regions if region.kind != "scattered"]
        self.anywhere = Anywhere(self.lon, self.lat, len(self.compact), config.seed) if self.compact else None
        self.islands: dict[str, list[Island]] = {}
        for region in self.compact:
            ids = world.ids_of(region.name)
            places, centre = (world.lon[ids], world.lat[ids]), (region.lon, region.lat)
            self.islands[region.name] = find_islands(self.lon, self.lat, places, centre)


class Chance(NamedTuple):
    """What a probe reaches where there is no map: errors in km (n,), and R2 by the degrees protocol."""

    km: np.ndarray
    r2: dict[str, Estimate]


class First(NamedTuple):
    """What is kept of the first checkpoint; `chance` by its null, "permuted" and "untrained"."""

    step: int
    fits: tuple[Ridge, ...]
    answers: np.ndarray
    places: SeenPlaces
    clouds: dict[str, Cloud]
    subspaces: dict[str, np.ndarray]
    chance: dict[str, Chance]


class Compared:
    """A checkpoint at `step`, read beside `first`: its states (n, 3, blocks, D) and the probes `fits` fitted on them.

    Without `first`, it is the first one itself.
    """

    def __init__(
        self,
        constants: Constants,
        step: int,
        model: Transformer,
        vocabulary: Vocabulary,
        states: np.ndarray,
        fits: tuple[Ridge, ...],
        first: First | None = None,
    ) -> None:
        self.constants, self.step, self.fits = constants, step, fits
        self.world, self.config = constants.world, constants.config
        self.real, self.fold = constants.real, constants.fold
        self.features = block_features(states, self.config.layers)
        self.answers = answer_distributions(model, vocabulary, constants.prompts)
        self.clouds = {constants.layer: Cloud.of(self.features[self.real])}
        self.clouds |= {str(i): Cloud.of(block_features(states[self.real], [i])) for i in range(states.shape[2])}
        self.cloud = self.clouds[constants.layer]
        self.refit = self.places(fits)
        self.first = first or self._first(model, vocabulary)

    def _first(self, model: Transformer, vocabulary: Vocabulary) -> First:
        world, seed = self.world, self.config.seed
        shuffled = np.random.Generator(np.random.PCG64(seed)).permutation(world.n_real)
        # Virtual cities keep their states: they take no part in the fit, which is to learn nothing.
        permuted = np.concatenate([self.features[shuffled], self.features[world.first_virtual :]])
        new = like(model, self.constants.initial_std, seed)
        everywhere, form = np.arange(len(self.features)), self.constants.task.form
        untrained = probe_features(new, vocabulary, everywhere, self.config.layers, form=form)
        chance = {"permuted": self._chance(permuted), "untrained": self._chance(untrained.astype(np.float64))}
        subspaces = {name: principal_subspace(cloud.gram, ENERGY) for name, cloud in self.clouds.items()}
        return First(self.step, self.fits, self.answers, self.refit, self.clouds, subspaces, chance)

    def _chance(self, features: np.ndarray) -> Chance:
        world, config = self.world, self.config
        places = SeenPlaces(world, features, read_sphere(features, world, config).fits, self.fold)
        train, test = degrees_split(world, config)
        truth = np.stack([world.lon, world.lat], axis=1)
        fit = solve_ridge(Sums.of(features[train], truth[train]), config.alpha)
        scores = metrics(*truth[test].T, *fit.predict(features[test]).T)
        return Chance(places.km, {key: Estimate(scores[key], n=len(test)) for key in ("lon_r2", "lat_r2")})

    def places(self, fits: Sequence[Ridge]) -> SeenPlaces:
        """Where probes see this checkpoint's cities."""
        return SeenPlaces(self.world, self.features, fits, self.fold)

    @cached_property
    def frozen(self) -> SeenPlaces:
        """By the first checkpoint's probes."""
        return self.places(self.first.fits)

    @cached_property
    def shifted(self) -> SeenPlaces:
        """By the same, with the mean of the hidden states moved back to where it was."""
        first = self.first.clouds[self.constants.layer]
        return self.places(shift_back(self.first.fits, self.cloud, first, self.fold))

    @cached_property
    def moved(self) -> Displacement:
        """From where the first checkpoint's probes saw each city, once the shift is taken out."""
        places = self.first.places
        return Displacement.between(places.lon, places.lat, self.shifted.lon, self.shifted.lat)

    @cached_property
    def from_centre_km(self) -> Float[np.ndarray, "regions n"]:
        """Distance of every city from each compact virtual region's centre."""
        lon, lat = self._centres
        return haversine_km(lon[:, None], lat[:, None], self.world.lon, self.world.lat)

    @cached_property
    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Radial and tangential part of `moved`, about the nearest of these centres; NaN where there is none."""
        if not self.constants.compact:
            nowhere = np.full(len(self.world), np.nan)
            return nowhere, nowhere
        lon, lat = self._centres
        nearest = self.from_centre_km.argmin(0)
        return self.moved.about(lon[nearest], lat[nearest])

    @property
    def _centres(self) -> tuple[np.ndarray, np.ndarray]:
        compact = self.constants.compact
        return np.array([region.lon for region in compact]), np.array([region.lat for region in compact])

    def cities(self) -> pd.DataFrame:
        """The rows of `cities.parquet`."""
        table: dict[str, np.ndarray] = {}
        for name, places in (("frozen", self.frozen), ("shifted", self.shifted)):
            table |= {f"{name}_lon": places.lon, f"{name}_lat": places.lat, f"{name}_error_km": places.km}
        table |= dict(zip(("radial_km", "tangential_km"), self.parts, strict=True))
        small = pd.DataFrame({key: column.astype(np.float32) for key, column in table.items()})
        small.insert(0, "id", np.arange(len(self.world)))
        small.insert(0, "step", self.step)
        return small

    def over(self, values: Num[np.ndarray, " n_cities"], ids: Int[np.ndarray, " m"], metric: str) -> Estimate:
        """Mean of the values of a group: over the folds, or over cells of a virtual region's cities."""
        if ids[0] < self.world.first_virtual:
            return over_folds(values[ids], self.fold[ids], metric, n_folds=int(self.fold.max()) + 1)
        return mean(metric, values[ids], self.constants.small_cell[ids])


def mean(metric: str, values: Num[np.ndarray, " n"], cell: Int[np.ndarray, " n"] | None = None) -> Estimate:
    """The mean of values with the metric's interval; those of cities move together within their `cell`."""
    around = mean_over_cities(values, scale_of(metric), cell)
    return Estimate(float(values.mean()), around.low, around.high, len(values))


def like(model: Transformer, std: float, seed: int) -> Transformer:
    """An untrained model of the same shape, its weights drawn as a new one's with `model.init_std` at `std`.

    Beside a base that was trained from scratch with `model.seed` at `seed`, they are the base's own first weights.
    """
    new = new_model(qwen2_config(model))
    new.initialise(std, torch.Generator().manual_seed(seed))
    return new
