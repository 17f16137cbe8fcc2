"""What became of the map, checkpoint by checkpoint: every measure beyond the two protocols, as tidy rows.

One row per step, layer, group and metric; docs/metrics.md says what each one means and how to read it. A function with
`@measure` takes a checkpoint beside the run's first (`Compared`) and yields rows of metrics that the catalogue has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from typing import NamedTuple

import numpy as np
import pandas as pd

from atlantis.data.draw import Order
from atlantis.errors import UserError
from atlantis.model import Transformer
from atlantis.names import ANSWERS, OLD, REAL
from atlantis.readout.catalogue import METRICS
from atlantis.readout.compared import ENERGY, Compared, Constants, First, mean
from atlantis.readout.damage import Shift, rank_correlations, share_about_anywhere, tangential_share
from atlantis.readout.integration import constellation_disparity, mean_of_islands, place_unseen, ratio
from atlantis.readout.layout import LAYOUT
from atlantis.readout.outputs import kl_per_token
from atlantis.readout.ridge import Ridge
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
    Estimate,
    around_folds,
    mlp_probe,
    over_folds,
    predict_held_out,
    shares_of_fall,
    skills,
    turn_back,
)
from atlantis.readout.splits import groups
from atlantis.settings import ModelConfig, ProbeConfig
from atlantis.sphere import haversine_km, lon_lat, unit_vectors
from atlantis.tasks import Task
from atlantis.tasks.distance import DISTANCE
from atlantis.tasks.score import Score
from atlantis.vocabulary import Vocabulary
from atlantis.world import World

INITIAL_STD = ModelConfig().init_std

VERSION = 2
"""Of what the metrics mean; what an earlier version wrote is not added to. 2: the shift is taken out of `turned` and of
all displacements."""


class Row(NamedTuple):
    """A number, with its interval if it is an `Estimate`; by default of all real cities and of the probe's layers."""

    metric: str
    value: Estimate | float
    group: str = REAL
    layer: str | None = None


Measure = Callable[[Compared], Iterator[Row]]
MEASURES: list[Measure] = []
"""In the order of their rows."""


def measure(function: Measure) -> Measure:
    """Have the function read every checkpoint. Each metric that it yields needs an entry in the catalogue."""
    MEASURES.append(function)
    return function


class Measures:
    """Reads the checkpoints of one run, the first one first: its probes are the frozen ones, its states where it began.

    rows: what `measures.parquet` holds; cities: one table per step for `cities.parquet`. Once the first checkpoint is
    read, copies of this (`another`) read the others, in any order and in threads of their own, and `add` gathers them.
    """

    def __init__(
        self,
        world: World,
        config: ProbeConfig,
        task: Task = DISTANCE,
        std: float = INITIAL_STD,
        order: Order = "fair",
    ) -> None:
        """`std`: of the weights that the run's model began with; `order`: of the cities in what it was trained on."""
        self.constants = Constants(world, config, task, std, order)
        self.first: First | None = None
        self.step = 0
        self.rows: list[tuple] = []
        self.cities: list[pd.DataFrame] = []

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
        compared = Compared(self.constants, step, model, vocabulary, states, fits, self.first)
        self.first = compared.first
        for function in MEASURES:
            for row in function(compared):
                self._add(row)
        self.cities.append(compared.cities())

    def add_scores(self, scores: Iterable[Score]) -> None:
        """Add the mean error of answered distances per slice, as the last checkpoint read was saved with."""
        for score in scores:
            if (score.task, score.metric) == (DISTANCE.name, "mean") and score.value is not None:
                self._add(Row("task_km", Estimate(score.value, n=score.n), score.slice, ANSWERS))

    def table(self) -> pd.DataFrame:
        """All rows so far."""
        return pd.DataFrame(self.rows, columns=list(LAYOUT))

    def _add(self, row: Row) -> None:
        """One row; a number that is not one is left out."""
        if row.metric not in METRICS:
            raise UserError(f"metric {row.metric}: has no entry in readout/catalogue.py; add one")
        value = row.value if isinstance(row.value, Estimate) else Estimate(row.value, n=self.constants.world.n_real)
        if np.isfinite(value.value):
            self.rows.append((self.step, row.layer or self.constants.layer, row.group, row.metric, *value))


# --- lost, bent, turned or shifted?


@measure
def chance(at: Compared) -> Iterator[Row]:
    """Once, at the first step: what a probe reaches where there is no map."""
    if at.step == at.first.step:
        for name, null in at.first.chance.items():
            yield Row(f"km_{name}", over_folds(null.km[at.real], at.fold))
            for key, value in null.r2.items():
                yield Row(f"{key}_{name}", value)


@measure
def readings(at: Compared) -> Iterator[Row]:
    """Errors and skill of every reading of the map, and the parts of the fall of the first step's probe."""
    constants, real, first = at.constants, at.real, at.first.clouds[at.constants.layer]

    def km(directions: np.ndarray) -> np.ndarray:
        return haversine_km(constants.lon, constants.lat, *lon_lat(directions))

    turned = turn_back(at.cloud, first, at.fold)
    alphas = [fit.alpha for fit in at.fits]
    errors = {
        "frozen": at.frozen.km[real],
        "shifted": at.shifted.km[real],
        "turned": km(predict_held_out(turned, at.first.fits, at.fold)),
        "refit": at.refit.km[real],
        "mlp": km(mlp_probe(at.cloud, constants.targets, at.fold, alphas, at.config.seed)),
    }
    untrained = at.first.chance["untrained"].km[real]
    for name, skill in skills(errors, untrained, at.fold).items():
        yield Row(f"skill_{name}", skill)
    for name, share in shares_of_fall(at.first.places.km[real], errors, untrained, at.fold).items():
        yield Row(name, share)
    for name in ("turned", "mlp"):
        yield Row(f"km_{name}", over_folds(errors[name], at.fold))
    for name, places in (("frozen", at.frozen), ("shifted", at.shifted), ("refit", at.refit)):
        for group, ids in groups(at.world):
            yield Row(f"km_{name}", at.over(places.km, ids, f"km_{name}"), group)


# --- have the new cities joined the map?


@measure
def off_manifold(at: Compared) -> Iterator[Row]:
    constants, features = at.constants, at.features
    # One fold is left out: cities that a subspace was fitted on lie in it, whatever they are.
    inside = Cloud.of(features[at.real][at.fold != 0])
    basis = principal_subspace(inside.gram, ENERGY)

    def row(group: str, ids: np.ndarray, cell: np.ndarray) -> Row:
        shares = off_subspace(features[ids] - inside.mean, basis)
        return Row("off_manifold", mean("off_manifold", shares, cell[ids]), group)

    yield row(REAL, np.flatnonzero(at.fold == 0), constants.cell)
    for region in at.world.virtual_regions:
        yield row(region.name, at.world.ids_of(region.name), constants.small_cell)


@measure
def integration(at: Compared) -> Iterator[Row]:
    """The errors of a probe that was fitted on real cities alone."""
    constants, features, real = at.constants, at.features, at.real
    for region in at.world.virtual_regions:
        ids, islands = at.world.ids_of(region.name), constants.islands.get(region.name, [])
        placed = place_unseen(features[real], constants.targets, constants.lon, constants.lat, features[ids], islands)
        lon, lat = at.world.lon[ids], at.world.lat[ids]
        away = haversine_km(lon, lat, *lon_lat(placed.virtual))
        km = mean("integration_km", away, constants.small_cell[ids])
        yield Row("integration_km", km, region.name)
        disparity = constellation_disparity(unit_vectors(lon, lat), placed.virtual)
        yield Row("constellation_disparity", Estimate(disparity, n=len(ids)), region.name)
        if islands:
            reference = mean_of_islands(placed.island_km)
            yield Row("integration_reference_km", reference, region.name)
            yield Row("integration_ratio", ratio(km, reference), region.name)


# --- drift from the first step


@measure
def drift(at: Compared) -> Iterator[Row]:
    for layer, now in at.clouds.items():
        first, subspace = at.first.clouds[layer], at.first.subspaces[layer]
        cross = first.x.T @ now.x
        yield Row("cka", linear_cka(first, now, cross), layer=layer)
        yield Row("procrustes", procrustes_disparity(first, now, cross), layer=layer)
        angles = principal_angles(subspace, leading_subspace(now.gram, subspace.shape[1]))
        yield Row("angle_mean", float(angles.mean()), layer=layer)
        yield Row("angle_max", float(angles.max()), layer=layer)


@measure
def answers(at: Compared) -> Iterator[Row]:
    yield Row("kl_old", mean("kl_old", kl_per_token(at.first.answers, at.answers)), OLD, ANSWERS)


# --- where is the damage?


@measure
def shift(at: Compared) -> Iterator[Row]:
    """What all of the frozen probe's predictions moved by in common."""
    seen = [places.directions[at.real] for places in (at.first.places, at.frozen, at.shifted)]
    whole = Shift.between(*seen)
    by_fold = [Shift.between(*(x[at.fold == k] for x in seen)) for k in np.unique(at.fold)]
    lengths, shares = [part.length for part in by_fold], [part.share for part in by_fold]
    yield Row("shift_length", around_folds(whole.length, lengths, "shift_length", at.world.n_real))
    yield Row("shift_share", around_folds(whole.share, shares, "shift_share", at.world.n_real))
    yield Row("shift_lon", whole.lon)
    yield Row("shift_lat", whole.lat)


@measure
def displacements(at: Compared) -> Iterator[Row]:
    """How far cities moved beyond the shift, and along and across the circles to the nearest virtual centre."""
    for group, ids in groups(at.world):
        yield Row("moved_km", at.over(at.moved.km, ids, "moved_km"), group)
    if not at.constants.compact:
        return
    radial, tangential = at.parts
    for group, ids in groups(at.world):
        if ids[0] < at.world.first_virtual:
            yield Row("radial_km", at.over(np.abs(radial), ids, "radial_km"), group)
            yield Row("tangential_km", at.over(np.abs(tangential), ids, "tangential_km"), group)
    real = at.moved.of(at.real)
    null = Estimate(0.5, *share_about_anywhere(real, at.config.seed), at.world.n_real)
    splits = {REAL: (radial[at.real], tangential[at.real])}
    splits |= {region.name: real.about(region.lon, region.lat) for region in at.constants.compact}
    for group, (away, across) in splits.items():
        by_fold = [tangential_share(away[at.fold == k], across[at.fold == k]) for k in np.unique(at.fold)]
        share = around_folds(tangential_share(away, across), by_fold, "tangential_share", at.world.n_real)
        yield Row("tangential_share", share, group)
        if np.isfinite(share.value):
            yield Row("tangential_share_isotropic", null, group)


@measure
def causes(at: Compared) -> Iterator[Row]:
    """What the movement of a city goes with."""
    constants, cities = at.constants, at.world.cities
    against = {
        "population": cities["population"].to_numpy(),
        "digits": cities["id"].astype(str).str.len().to_numpy(),
    }
    if constants.compact:
        against["distance"] = at.from_centre_km.min(0)
    moved, of_real = at.moved.km[at.real], {name: x[at.real] for name, x in against.items()}
    correlations = rank_correlations(moved, of_real, constants.lon, constants.lat, at.config.seed)
    for name, correlation in correlations.items():
        yield Row(f"damage_by_{name}", Estimate(*correlation, at.world.n_real))
    if constants.anywhere and np.isfinite(correlations["distance"][0]):
        null = Estimate(*constants.anywhere.correlations(moved), at.world.n_real)
        yield Row("damage_by_distance_anywhere", null)
