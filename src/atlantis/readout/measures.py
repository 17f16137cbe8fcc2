"""What became of the map, checkpoint by checkpoint: every measure beyond the two protocols, as tidy rows.

One row per step, layer, group and metric; docs/metrics.md says what each one means and how to read it. What does not
change from step to step (the frozen probes, the first clouds, the islands, chance) is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import pandas as pd
import torch

from atlantis.model import Transformer
from atlantis.model.folder import new_model, qwen2_config
from atlantis.names import ANSWERS, OLD, REAL
from atlantis.readout.activations import probe_features
from atlantis.readout.damage import (
    Anywhere,
    Displacement,
    Shift,
    rank_correlations,
    share_about_anywhere,
    tangential_share,
)
from atlantis.readout.integration import (
    Island,
    constellation_disparity,
    find_islands,
    mean_of_islands,
    place_unseen,
    ratio,
)
from atlantis.readout.outputs import answer_distributions, kl_per_token, old_prompts
from atlantis.readout.probes import folds, groups, metrics, read_sphere, seed_split
from atlantis.readout.ridge import Ridge, Sums, solve_ridge
from atlantis.readout.similarity import (
    Cloud,
    leading_subspace,
    linear_cka,
    off_subspace,
    principal_angles,
    principal_subspace,
    procrustes_disparity,
)
from atlantis.readout.skill import (
    KINDS,
    SHARES,
    Estimate,
    mlp_probe,
    over_folds,
    predict_held_out,
    shares_of_fall,
    shift_back,
    skills,
    turn_back,
)
from atlantis.settings import ModelConfig, ProbeConfig
from atlantis.sphere import haversine_km, lon_lat, unit_vectors
from atlantis.statistics import SCALES, cells_of, interval, mean_over_cities, splits_share
from atlantis.tokens import Vocabulary
from atlantis.world import World

ENERGY = 0.99
"""Share of the real cities' variance that their principal subspace holds."""

TOLD = tuple(f"{unit}_{reading}" for unit in ("skill", "km") for reading in KINDS)
TOLD += (*SHARES, "cka", "procrustes", "angle_mean", "angle_max", "kl_old", "shift_length", "moved_km", "task_km")
"""Metrics that have a bad direction: `when.csv` tells their course."""

REGION_CELLS = 3.0
"""Degrees of the cells in which a virtual region's cities are drawn for an interval: those of the world, 10 degrees,
would put most of a region into one."""

VERSION = 2
"""Of what the metrics mean; what an earlier version wrote is not added to. 2: the shift is taken out of `turned` and of
all displacements."""

COLUMNS = ("step", "layer", "group", "metric", "value", "low", "high", "n")


def layer_name(layers: Sequence[int]) -> str:
    """What the table calls the probe's blocks: "3+4"."""
    return "+".join(str(i) for i in layers)


def block_features(states: np.ndarray, layers: Sequence[int]) -> np.ndarray:
    """The probe's features (n, 3 * len(layers) * D), float64, from the states (n, 3, blocks, D) of all blocks."""
    return states[:, :, list(layers)].reshape(len(states), -1).astype(np.float64)


class Places:
    """Where the probes of all folds, `fits`, see the cities: directions (n, 3), lon, lat and error `km` (n,).

    A real city is seen by the one probe that was not fitted on it; a virtual one by all, and their mean counts.
    """

    def __init__(self, world: World, features: np.ndarray, fits: Sequence[Ridge], fold: np.ndarray) -> None:
        virtual = np.mean([fit.predict(features[world.offset :]) for fit in fits], axis=0)
        held_out = predict_held_out(features[: world.offset], fits, fold)
        self.directions = np.concatenate([held_out, virtual])
        self.lon, self.lat = lon_lat(self.directions)
        self.km = haversine_km(world.lon, world.lat, self.lon, self.lat)


class Measures:
    """Reads the checkpoints of one run, the first one first: its probes are the frozen ones, its states where it began.

    rows: what `measures.parquet` holds; cities: one table per step for `cities.parquet`. Once the first checkpoint is
    read, copies of this (`another`) read the others, in any order and in threads of their own, and `add` gathers them.
    """

    def __init__(self, world: World, config: ProbeConfig, initial_std: float | None = None) -> None:
        """`initial_std`: of the weights that the model began with; None: a new model's."""
        self.world, self.config = world, config
        self.initial_std = ModelConfig().init_std if initial_std is None else initial_std
        self.rows: list[dict[str, Any]] = []
        self.cities: list[pd.DataFrame] = []
        self.clouds: dict[str, Cloud] = {}
        self.layer = layer_name(config.layers)
        self.fold = folds(world, config)
        self.cell, self.small_cell = (cells_of(world.lon, world.lat, degrees) for degrees in (10.0, REGION_CELLS))
        self.real = slice(0, world.n_real)
        self.lon, self.lat = world.lon[self.real], world.lat[self.real]
        self.targets = unit_vectors(self.lon, self.lat)
        self.prompts = old_prompts(world, config.seed)
        self.compact = [region for region in world.virtual_regions if region.kind != "scattered"]
        self.anywhere = Anywhere(self.lon, self.lat, len(self.compact), config.seed) if self.compact else None
        self.islands: dict[str, list[Island]] = {}
        for region in self.compact:
            ids = world.ids_of(region.name)
            places, centre = (world.lon[ids], world.lat[ids]), (region.lon, region.lat)
            self.islands[region.name] = find_islands(self.lon, self.lat, places, centre)

    def another(self) -> Measures:
        """With what was kept of the first checkpoint, and no rows."""
        copied = copy(self)
        copied.rows, copied.cities = [], []
        return copied

    def add(self, other: Measures) -> None:
        """Take over the rows of one that read other checkpoints."""
        self.rows += other.rows
        self.cities += other.cities

    def read(
        self, step: int, model: Transformer, vocabulary: Vocabulary, states: np.ndarray, fits: tuple[Ridge, ...]
    ) -> None:
        """Add the rows of one checkpoint: its states (n, 3, blocks, D) and the probes that were fitted on them."""
        self.step = step
        features = block_features(states, self.config.layers)
        answers = answer_distributions(model, vocabulary, self.prompts)
        refit = Places(self.world, features, fits, self.fold)
        if not self.clouds:
            self._begin(model, vocabulary, states, answers, fits, refit, features)
        frozen = Places(self.world, features, self.fits, self.fold)
        cloud = Cloud.of(features[self.real])
        moved_back = shift_back(self.fits, cloud, self.clouds[self.layer], self.fold)
        shifted = Places(self.world, features, moved_back, self.fold)
        self._skill(cloud, frozen, shifted, refit, [fit.alpha for fit in fits])
        self._integration(features, cloud)
        self._drift(states, cloud)
        kl = kl_per_token(self.answers, answers)
        self._add("kl_old", _mean("kl_old", kl), OLD, ANSWERS)
        self._shift(frozen, shifted)
        self._damage(frozen, shifted)

    def add_scores(self, slices: dict[str, dict[str, float]]) -> None:
        """Add the task's mean error per slice, as the last checkpoint read was saved with."""
        for name, scores in slices.items():
            self._add("task_km", Estimate(scores["mean_km"], n=int(scores["n"])), name, ANSWERS)

    def table(self) -> pd.DataFrame:
        """All rows so far."""
        return pd.DataFrame(self.rows, columns=list(COLUMNS))

    def _add(self, metric: str, found: Estimate | float, group: str = REAL, layer: str | None = None) -> None:
        """One row; a number that is not one is left out."""
        found = found if isinstance(found, Estimate) else Estimate(found, n=self.world.n_real)
        if np.isfinite(found.value):
            row = (self.step, layer or self.layer, group, metric, *found)
            self.rows.append(dict(zip(COLUMNS, row, strict=True)))

    def _begin(
        self,
        model: Transformer,
        vocabulary: Vocabulary,
        states: np.ndarray,
        answers: np.ndarray,
        fits: tuple[Ridge, ...],
        places: Places,
        features: np.ndarray,
    ) -> None:
        """Keep what later steps are compared with, and measure chance."""
        self.fits, self.answers, self.first = fits, answers, places
        real = states[self.real]
        self.clouds = {self.layer: Cloud.of(features[self.real])}
        self.clouds |= {str(i): Cloud.of(block_features(real, [i])) for i in range(states.shape[2])}
        self.subspaces = {name: principal_subspace(cloud.gram, ENERGY) for name, cloud in self.clouds.items()}
        shuffled = np.random.Generator(np.random.PCG64(self.config.seed)).permutation(self.world.n_real)
        permuted = np.concatenate([features[shuffled], features[self.world.offset :]])
        new = like(model, self.initial_std, self.config.seed)
        untrained = probe_features(new, vocabulary, np.arange(len(features)), self.config.layers).astype(np.float64)
        for name, null in (("permuted", permuted), ("untrained", untrained)):
            chance = Places(self.world, null, read_sphere(null, self.world, self.config).fits, self.fold)
            self._add(f"km_{name}", over_folds(chance.km[self.real], self.fold))
            for key, value in self._seed_r2(null).items():
                self._add(f"{key}_{name}", value)
        self.untrained_km = chance.km[self.real]

    def _seed_r2(self, features: np.ndarray) -> dict[str, Estimate]:
        """R2 of both coordinates by the seed protocol."""
        train, test = seed_split(self.world, self.config)
        truth = np.stack([self.world.lon, self.world.lat], axis=1)
        fit = solve_ridge(Sums.of(features[train], truth[train]), self.config.alpha)
        found = metrics(*truth[test].T, *fit.predict(features[test]).T)
        return {key: Estimate(found[key], n=len(test)) for key in ("lon_r2", "lat_r2")}

    def _over(self, values: np.ndarray, ids: np.ndarray) -> Estimate:
        """Mean of the values (n_cities,) of a group: over the folds, or over cells of a virtual region's cities."""
        if ids[0] < self.world.offset:
            return over_folds(values[ids], self.fold[ids])
        return _mean("mean_km", values[ids], self.small_cell[ids])

    def _skill(self, cloud: Cloud, frozen: Places, shifted: Places, refit: Places, alphas: list[float]) -> None:
        def km(directions: np.ndarray) -> np.ndarray:
            return haversine_km(self.lon, self.lat, *lon_lat(directions))

        turned = turn_back(cloud, self.clouds[self.layer], self.fold)
        errors = {
            "frozen": frozen.km[self.real],
            "shifted": shifted.km[self.real],
            "turned": km(predict_held_out(turned, self.fits, self.fold)),
            "refit": refit.km[self.real],
            "mlp": km(mlp_probe(cloud, self.targets, self.fold, alphas, self.config.seed)),
        }
        for name, skill in skills(errors, self.untrained_km, self.fold).items():
            self._add(f"skill_{name}", skill)
        for name, share in shares_of_fall(self.first.km[self.real], errors, self.untrained_km, self.fold).items():
            self._add(name, share)
        for name in ("turned", "mlp"):
            self._add(f"km_{name}", over_folds(errors[name], self.fold))
        for name, places in (("frozen", frozen), ("shifted", shifted), ("refit", refit)):
            for group, ids in groups(self.world):
                self._add(f"km_{name}", self._over(places.km, ids), group)

    def _integration(self, features: np.ndarray, cloud: Cloud) -> None:
        fit, held_out = self.fold != 0, self.fold == 0
        inside = Cloud.of(features[self.real][fit])
        basis = principal_subspace(inside.gram, ENERGY)

        def off_manifold(group: str, ids: np.ndarray, cell: np.ndarray) -> None:
            shares = off_subspace(features[ids] - inside.mean, basis)
            self._add("off_manifold", _mean("off_manifold", shares, cell[ids]), group)

        off_manifold(REAL, np.flatnonzero(held_out), self.cell)
        for region in self.world.virtual_regions:
            ids, islands = self.world.ids_of(region.name), self.islands.get(region.name, [])
            off_manifold(region.name, ids, self.small_cell)
            placed = place_unseen(features[self.real], self.targets, self.lon, self.lat, features[ids], islands)
            lon, lat = self.world.lon[ids], self.world.lat[ids]
            km = _mean("integration_km", haversine_km(lon, lat, *lon_lat(placed.virtual)), self.small_cell[ids])
            self._add("integration_km", km, region.name)
            disparity = constellation_disparity(unit_vectors(lon, lat), placed.virtual)
            self._add("constellation_disparity", Estimate(disparity, n=len(ids)), region.name)
            if islands:
                reference = mean_of_islands(placed.reference)
                self._add("integration_reference_km", reference, region.name)
                self._add("integration_ratio", ratio(km, reference), region.name)

    def _drift(self, states: np.ndarray, cloud: Cloud) -> None:
        clouds = {self.layer: cloud}
        clouds |= {str(i): Cloud.of(block_features(states[self.real], [i])) for i in range(states.shape[2])}
        for name, now in clouds.items():
            first, subspace = self.clouds[name], self.subspaces[name]
            cross = first.x.T @ now.x
            self._add("cka", linear_cka(first, now, cross), layer=name)
            self._add("procrustes", procrustes_disparity(first, now, cross), layer=name)
            angles = principal_angles(subspace, leading_subspace(now.gram, subspace.shape[1]))
            self._add("angle_mean", float(angles.mean()), layer=name)
            self._add("angle_max", float(angles.max()), layer=name)

    def _shift(self, frozen: Places, shifted: Places) -> None:
        """What all of the frozen probe's predictions moved by in common."""
        first, now, moved_back = (places.directions[self.real] for places in (self.first, frozen, shifted))
        whole = Shift.between(first, now, moved_back)
        by_fold = [Shift.between(*(x[self.fold == k] for x in (first, now, moved_back))) for k in np.unique(self.fold)]
        for name in ("length", "share"):
            metric, value, of_folds = f"shift_{name}", getattr(whole, name), [getattr(shift, name) for shift in by_fold]
            around = interval(of_folds, SCALES[metric], splits_share(1, max(1, len(by_fold) - 1)), value)
            self._add(metric, Estimate(value, around.low, around.high, self.world.n_real))
        self._add("shift_lon", whole.lon)
        self._add("shift_lat", whole.lat)

    def _damage(self, frozen: Places, shifted: Places) -> None:
        """How far cities moved beyond what all moved by in common, and what that goes with."""
        moved = Displacement.between(self.first.lon, self.first.lat, shifted.lon, shifted.lat)
        for group, ids in groups(self.world):
            self._add("moved_km", self._over(moved.km, ids), group)
        cities = self.world.cities
        against = {
            "population": cities["population"].to_numpy(),
            "digits": cities["id"].astype(str).str.len().to_numpy(),
        }
        radial = tangential = np.full(len(self.world), np.nan)
        if self.compact:
            lon = np.array([region.lon for region in self.compact])
            lat = np.array([region.lat for region in self.compact])
            away = haversine_km(lon[:, None], lat[:, None], self.world.lon, self.world.lat)  # (regions, n)
            nearest, against["distance"] = away.argmin(0), away.min(0)
            radial, tangential = moved.about(lon[nearest], lat[nearest])
            self._directions(moved, radial, tangential)
        of_real = {name: x[self.real] for name, x in against.items()}
        found = rank_correlations(moved.km[self.real], of_real, self.lon, self.lat, self.config.seed)
        for name, correlation in found.items():
            self._add(f"damage_by_{name}", Estimate(*correlation, self.world.n_real))
        if self.anywhere and np.isfinite(found["distance"][0]):
            null = Estimate(*self.anywhere.correlations(moved.km[self.real]), self.world.n_real)
            self._add("damage_by_distance_anywhere", null)
        table = {"frozen_lon": frozen.lon, "frozen_lat": frozen.lat, "frozen_error_km": frozen.km}
        table |= {"shifted_lon": shifted.lon, "shifted_lat": shifted.lat, "shifted_error_km": shifted.km}
        table |= {"radial_km": radial, "tangential_km": tangential}
        small = pd.DataFrame({key: column.astype(np.float32) for key, column in table.items()})
        small.insert(0, "id", np.arange(len(self.world)))
        small.insert(0, "step", self.step)
        self.cities.append(small)

    def _directions(self, moved: Displacement, radial: np.ndarray, tangential: np.ndarray) -> None:
        """How far cities moved along and across the circles to the nearest virtual centre, and which it was mostly."""
        for group, ids in groups(self.world):
            if ids[0] < self.world.offset:
                self._add("radial_km", over_folds(np.abs(radial[ids]), self.fold[ids]), group)
                self._add("tangential_km", over_folds(np.abs(tangential[ids]), self.fold[ids]), group)
        real = moved.of(self.real)
        null = Estimate(0.5, *share_about_anywhere(real, self.config.seed), self.world.n_real)
        splits = {REAL: (radial[self.real], tangential[self.real])}
        splits |= {region.name: real.about(region.lon, region.lat) for region in self.compact}
        for group, (away, across) in splits.items():
            by_fold = [tangential_share(away[self.fold == k], across[self.fold == k]) for k in np.unique(self.fold)]
            value, shared = tangential_share(away, across), splits_share(1, max(1, len(by_fold) - 1))
            around = interval(by_fold, SCALES["tangential_share"], shared, value)
            found = Estimate(value, around.low, around.high, self.world.n_real)
            self._add("tangential_share", found, group)
            if np.isfinite(found.value):
                self._add("tangential_share_isotropic", null, group)


def _mean(metric: str, values: np.ndarray, cell: np.ndarray | None = None) -> Estimate:
    """The mean of values (n,) with its interval; those of cities move together within their `cell` (n,)."""
    around = mean_over_cities(values, SCALES[metric], cell)
    return Estimate(float(values.mean()), around.low, around.high, len(values))


def like(model: Transformer, std: float, seed: int) -> Transformer:
    """An untrained model of the same shape, its weights drawn as a new one's with `model.init_std` at `std`."""
    new = new_model(qwen2_config(model))
    new.initialise(std, torch.Generator().manual_seed(seed))
    return new
