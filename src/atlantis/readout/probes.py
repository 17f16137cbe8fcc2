"""Linear probes: where does a linear map of the hidden states place each city?

Two protocols, on the same features (`activations.probe_features`):

- `degrees`, the study's: a random 3,000 of 5,000 cities to fit, 2,000 to test; two ridge regressions (longitude and
  latitude in raw degrees), alpha 10. Atlantis is only in the test set. Its numbers are those of that one split; the
  intervals beside them are over further splits. Two kinds of variants (`variants.csv`): a share of Atlantis in the
  fit ("virtual in the pool"; scored on the rest of it), and each region left out of the fit in turn.
- `sphere`, without the first one's flaws: unit vectors as targets (no seam at 180 degrees), alpha by leave-one-out
  error, all real cities in five folds, each predicted by the probe that has not seen it; intervals over the folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int, Num
from numpy.typing import ArrayLike

from atlantis.errors import UserError
from atlantis.names import PROTOCOLS, REAL, protocol_named
from atlantis.readout.catalogue import METRICS
from atlantis.readout.estimator import Regressor, fitted
from atlantis.readout.files import Tables
from atlantis.readout.ridge import Ridge, Sums, fit_ridge, solve_ridge
from atlantis.readout.threads import side_by_side
from atlantis.settings import ProbeConfig
from atlantis.sphere import haversine_km, lon_lat, unit_vectors
from atlantis.statistics import FEWEST_VALUES, fold_probes_share, interval, probes_share, splits_share
from atlantis.world import World

FEWEST = 10
"""Real cities that a world must have to be probed."""

LEAST_SPREAD = 0.01
"""Degrees, about a kilometre, which is the least that the task tells apart: within less, R2 has no meaning."""


@dataclass(frozen=True)
class Reading:
    """One protocol's reading of one checkpoint: `dynamics` per group and split, `predictions` per city."""

    dynamics: pd.DataFrame
    predictions: pd.DataFrame
    variants: pd.DataFrame | None = None
    fits: tuple[Ridge, ...] = ()
    """`sphere`: the probe of each of the `folds`, fitted on the other folds' cities."""

    def tables(self) -> Tables:
        """What is written, by file name."""
        tables = {"representation_dynamics.csv": self.dynamics, "predictions.parquet": self.predictions}
        return tables if self.variants is None else tables | {"variants.csv": self.variants}


@dataclass(frozen=True)
class Placed:
    """True and predicted places of n cities, degrees, all arrays (n,)."""

    lon: np.ndarray
    lat: np.ndarray
    pred_lon: np.ndarray
    pred_lat: np.ndarray

    @cached_property
    def km(self) -> np.ndarray:
        """Great-circle errors."""
        return haversine_km(self.lon, self.lat, self.pred_lon, np.clip(self.pred_lat, -90.0, 90.0))


SCORES: dict[str, Callable[[Placed], float]] = {}
"""By name, in the order of the columns."""


def score(function: Callable[[Placed], float]) -> Callable[[Placed], float]:
    """Have the function score every group of cities, by its name, which needs an entry in the catalogue."""
    SCORES[function.__name__] = function
    return function


@score
def lon_r2(places: Placed) -> float:
    return r2(places.lon, places.pred_lon)


@score
def lat_r2(places: Placed) -> float:
    return r2(places.lat, places.pred_lat)


@score
def lon_mae(places: Placed) -> float:
    return _mean(np.abs(places.lon - places.pred_lon))


@score
def lat_mae(places: Placed) -> float:
    return _mean(np.abs(places.lat - places.pred_lat))


@score
def mean_km(places: Placed) -> float:
    return _mean(places.km)


@score
def median_km(places: Placed) -> float:
    return float(np.median(places.km)) if len(places.km) else float("nan")


def variant_columns() -> list[str]:
    """Those of `variants.csv`."""
    return ["variant", "group", "n", *SCORES]


def metrics(
    lon: Num[np.ndarray, " n"],
    lat: Num[np.ndarray, " n"],
    pred_lon: Num[np.ndarray, " n"],
    pred_lat: Num[np.ndarray, " n"],
) -> dict[str, float]:
    """`n` and all `SCORES` of predicted places in degrees.

    R2 = 1 - residual / total sum of squares of longitude and of latitude (NaN where the truth hardly varies); mean
    absolute errors in degrees; mean and median great-circle error in km. Inside a tight group R2 means little: read
    its km. A group of no cities gives NaN throughout.
    """
    places = Placed(lon, lat, pred_lon, pred_lat)
    return {"n": len(lon), **{name: function(places) for name, function in SCORES.items()}}


def r2(true: Num[np.ndarray, " n"], predicted: Num[np.ndarray, " n"]) -> float:
    """Coefficient of determination of degrees.

    NaN for fewer than two values, and for a truth that varies by less than `LEAST_SPREAD`, as on a parallel: rounding
    errors alone would then give any number.
    """
    if len(true) < 2 or np.ptp(true) < LEAST_SPREAD:
        return float("nan")
    total = float(((true - true.mean()) ** 2).sum())
    return 1.0 - float(((true - predicted) ** 2).sum()) / total


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def read(
    features: ArrayLike,
    lon: ArrayLike,
    lat: ArrayLike,
    groups: ArrayLike | None = None,
    protocol: str = "sphere",
    config: ProbeConfig | None = None,
) -> Reading:
    """A linear probe's reading of any hidden states: features (n, p) of n places at lon, lat (n,) degrees.

    `groups`, one label per place, are scored on their own as well; "real" are all together. `protocol` is `sphere` or
    `degrees`; `config` sets the split and the penalty (fewer places than its `n_cities`: all, in the same proportion).
    To fit on some places and only look at others, build a `World` with virtual regions and use `read_degrees` or
    `read_sphere`. Raises UserError for arrays that do not fit together or hold what is no number or no place.
    """
    features = np.asarray(features)
    real = np.issubdtype(features.dtype, np.number) and not np.iscomplexobj(features)
    if features.ndim != 2 or not len(features) or not real:
        raise UserError(
            f"features must be real numbers of shape (n, p), not {features.dtype} of shape {features.shape}"
        )
    protocol = protocol_named(protocol)
    if protocol not in PROTOCOLS:
        raise UserError(f"there is no protocol {protocol!r}; use one of {', '.join(PROTOCOLS)}")
    world = World.of_places(lon, lat, groups)
    if len(world) != len(features):
        raise UserError(f"features has {len(features):,} rows and there are {len(world):,} places; give one row each")
    if not np.isfinite(features).all():
        row = np.flatnonzero(~np.isfinite(features).all(axis=1))[0]
        raise UserError(f"features: row {row} holds what is no finite number")
    reading = (read_degrees if protocol == "degrees" else read_sphere)(features, world, config or ProbeConfig())
    if groups is not None:
        return reading
    return Reading(reading.dynamics.query("group == @REAL"), reading.predictions)  # one group is all there is


def degrees_split(
    world: World, config: ProbeConfig, repeat: int = 0
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    """Ids of the real cities to fit on and to test on: `n_train` of `n_cities`, drawn with the probe's seed.

    The protocol's own split is the first; `repeat` 1, 2, ... are further ones, drawn with seeds derived from its seed.
    A world with fewer real cities than `n_cities` is used whole, in the same proportion. Raises UserError for a world
    of fewer than `FEWEST` real cities.
    """
    _check_size(world)
    n_cities = min(config.n_cities, world.n_real)
    n_train = config.n_train if n_cities == config.n_cities else round(n_cities * config.n_train / config.n_cities)
    seed = np.random.SeedSequence([config.seed, repeat]) if repeat else config.seed
    drawn = np.random.Generator(np.random.PCG64(seed)).permutation(world.n_real)[:n_cities]
    train, test = np.sort(drawn[:n_train]), np.sort(drawn[n_train:])
    if min(len(train), len(test)) < 2:
        raise UserError(
            f"probe.n_train={config.n_train} of probe.n_cities={config.n_cities}: of this world's {world.n_real} real "
            f"cities that leaves {len(train)} to fit on and {len(test)} to test on; both need at least 2"
        )
    return train, test


def _check_size(world: World) -> None:
    if world.n_real < FEWEST:
        raise UserError(f"a probe needs at least {FEWEST} real cities; this world has {world.n_real}")


def check_probe(world: World, config: ProbeConfig) -> None:
    """UserError if the world has too few real cities for a probe with these settings, by either protocol."""
    degrees_split(world, config)
    folds(world, config)


def without_r2(world: World) -> str | None:
    """Why a probe of this world has no R2 of a coordinate, in a sentence; None if it has both."""
    real = slice(0, world.n_real)
    named = (("longitude", world.lon[real], "meridian"), ("latitude", world.lat[real], "parallel"))
    flat = [(name, line) for name, degrees, line in named if np.ptp(degrees) < LEAST_SPREAD]
    if not flat:
        return None
    where = "in one place" if len(flat) == 2 else f"on one {flat[0][1]}"
    names = " and ".join(name for name, _ in flat)
    return f"all real cities lie {where}: R2 of {names} has no meaning and is left empty; read the km"


def read_degrees(
    features: Num[np.ndarray, "n_cities p"], world: World, config: ProbeConfig, estimator: Regressor | None = None
) -> Reading:
    """The study's protocol on features, row i being city i of the world.

    Intervals come from `repeats` splits, the protocol's own and further ones, which share most of their cities: see
    `splits_share`, and for virtual cities, which are the same in each, `probes_share`. With an `estimator` in place of
    the ridge regression there are no variants.
    """
    features, truth = features.astype(np.float64), np.stack([world.lon, world.lat], axis=1)

    def fit(split: tuple[np.ndarray, np.ndarray]) -> tuple[Sums | None, np.ndarray]:
        if estimator is not None:
            return None, np.asarray(fitted(estimator, features[split[0]], truth[split[0]]).predict(features))
        sums = Sums.of(features[split[0]], truth[split[0]])
        return sums, solve_ridge(sums, config.alpha).predict(features)

    splits = [degrees_split(world, config, repeat) for repeat in range(config.repeats)]
    fits = side_by_side(fit, splits)
    scored = [_scores(world, truth, predicted, *split) for (_, predicted), split in zip(fits, splits, strict=True)]
    (train, test), (sums, predicted) = splits[0], fits[0]
    shared = {
        "test": splits_share(len(test), len(train)),
        "virtual": probes_share(len(train), world.n_real - len(train)),
    }
    rows = []
    for (group, name), scores in scored[0].items():
        row = {"group": group, "split": name} | scores
        parts = [of_split[group, name] for of_split in scored if (group, name) in of_split]
        rows.append(row | (_intervals(scores, parts, shared[name], around_mean=True) if name != "train" else {}))
    variants = None if sums is None else _variants(features, world, truth, train, test, config, sums)
    return Reading(pd.DataFrame(rows), _predictions(world, _labels(world, train, test), predicted), variants)


def _labels(world: World, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """What the degrees protocol takes each city for."""
    split = np.full(len(world), "unused", dtype=object)
    split[train], split[test], split[world.first_virtual :] = "train", "test", "virtual"
    return split


def _scores(
    world: World, truth: np.ndarray, predicted: np.ndarray, train: np.ndarray, test: np.ndarray
) -> dict[tuple[str, str], dict[str, float]]:
    """Scores per group and split that have cities."""
    split, scores = _labels(world, train, test), {}
    for group, ids in groups(world):
        for name in ("train", "test", "virtual"):
            chosen = ids[split[ids] == name]
            if len(chosen):
                scores[group, name] = metrics(*truth[chosen].T, *predicted[chosen].T)
    return scores


def _variants(
    features: np.ndarray,
    world: World,
    truth: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    config: ProbeConfig,
    sums: Sums,
) -> pd.DataFrame:
    """The degrees protocol, whose fit has `sums`: with Atlantis in the pool, and without each real region."""

    def sums_of(ids: np.ndarray) -> Sums:
        return Sums.of(features[ids], truth[ids])

    def pooled() -> list[dict[str, Any]]:
        virtual = np.arange(world.first_virtual, len(world))
        drawn = np.random.Generator(np.random.PCG64(config.seed)).permutation(virtual)
        n_pooled = round(len(virtual) * config.n_train / config.n_cities)
        scored = {region: np.intersect1d(world.ids_of(region), drawn[n_pooled:]) for region in virtual_regions(world)}
        return scores("virtual in the pool", sums + sums_of(drawn[:n_pooled]), {REAL: test} | scored)

    def left_out(region: str, ids: np.ndarray) -> list[dict[str, Any]]:
        fitted = np.intersect1d(ids, train)
        if sums.n - len(fitted) < 2:
            return []
        scored = {region: np.intersect1d(ids, np.concatenate([train, test]))}
        return scores("region left out", sums - sums_of(fitted), scored)

    def scores(variant: str, fit: Sums, scored: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        predicted = solve_ridge(fit, config.alpha).predict(features)
        return [
            {"variant": variant, "group": group} | metrics(*truth[ids].T, *predicted[ids].T)
            for group, ids in scored.items()
            if len(ids)
        ]

    real = [(region, ids) for region, ids in groups(world) if region != REAL and ids[0] < world.first_virtual]
    work = [pooled] if world.n_virtual > 1 else []
    work += [partial(left_out, region, ids) for region, ids in real]
    all_rows = [row for rows in side_by_side(lambda part: part(), work) for row in rows]
    return pd.DataFrame(all_rows, columns=variant_columns())  # a world of one region has no rows, and these columns


def folds(world: World, config: ProbeConfig) -> Int[np.ndarray, " n_real"]:
    """Which of `repeats` folds (at least 2) each real city is in, (n_real,): drawn with the probe's seed.

    Raises UserError for a world with fewer than `FEWEST` real cities, or fewer than 2 for each fold.
    """
    _check_size(world)
    n_folds = max(2, config.repeats)
    if world.n_real < 2 * n_folds:
        raise UserError(f"probe.repeats={n_folds}: too many folds for {world.n_real} real cities; at least 2 in each")
    return np.random.Generator(np.random.PCG64(config.seed)).permutation(world.n_real) % n_folds


def read_sphere(
    features: Num[np.ndarray, "n_cities p"], world: World, config: ProbeConfig, estimator: Regressor | None = None
) -> Reading:
    """The second protocol on features: unit-sphere targets, folds over all real cities.

    `repeats` folds (at least 2). Every real city is predicted by the one probe that was not fitted on it, virtual
    cities by the mean direction of all of them. Intervals are over the folds, whose probes share most of their cities:
    see `splits_share`, and for virtual cities, which every fold's probe sees, `fold_probes_share`. An `estimator` in
    place of the ridge regression predicts the three coordinates; what it predicts need not have length 1.
    """
    fold = folds(world, config)
    n_folds = fold.max() + 1
    targets = unit_vectors(world.lon, world.lat)
    directions = np.zeros((len(world), 3))
    virtual_by_fold = np.zeros((n_folds, world.n_virtual, 3))
    members = [np.flatnonzero(fold == k) for k in range(n_folds)]
    sums = side_by_side(lambda ids: Sums.of(features[ids], targets[ids]), members)
    everything = reduce(add, sums)

    def read_fold(k: int) -> Ridge | None:
        inside = np.flatnonzero(fold != k)
        ridge = None
        if estimator is None:
            probe = ridge = fit_ridge(features[inside], targets[inside], sums=everything - sums[k])
        else:
            probe = fitted(estimator, features[inside], targets[inside])
        directions[members[k]] = probe.predict(features[members[k]])
        if world.n_virtual:
            virtual_by_fold[k] = probe.predict(features[world.first_virtual :])
        return ridge

    fits = tuple(ridge for ridge in side_by_side(read_fold, range(n_folds)) if ridge is not None)
    directions[world.first_virtual :] = virtual_by_fold.mean(0)
    truth = np.stack([world.lon, world.lat], axis=1)
    predicted = np.stack(lon_lat(directions), axis=1)
    rows = []
    for group, ids in groups(world):
        virtual = ids[0] >= world.first_virtual
        scores = metrics(*truth[ids].T, *predicted[ids].T)
        if virtual:
            per_fold = [(truth[ids], np.stack(lon_lat(v[ids - world.first_virtual]), axis=1)) for v in virtual_by_fold]
        else:
            per_fold = [(truth[ids[fold[ids] == k]], predicted[ids[fold[ids] == k]]) for k in range(n_folds)]
        parts = [metrics(*t.T, *p.T) for t, p in per_fold if len(t)]
        row = {"group": group, "split": "virtual" if virtual else "test"} | scores
        shared = fold_probes_share(n_folds) if virtual else splits_share(1, n_folds - 1)
        rows.append(row | _intervals(scores, parts, shared))
    split = np.where(world.is_virtual, "virtual", "test")
    return Reading(pd.DataFrame(rows), _predictions(world, split, predicted), fits=fits)


def _intervals(
    scores: dict[str, float], parts: Sequence[dict[str, float]], shared: float, around_mean: bool = False
) -> dict[str, float]:
    """Intervals of a group's scores from those of the splits or folds, around the scores or the mean of these.

    NaN where the group has fewer than `FEWEST_VALUES` cities: splits of so few do not tell how others would do.
    """
    ends = {}
    for key in SCORES:
        scale = METRICS[key].scale
        if scale is None:
            continue
        values = [part[key] for part in parts] if scores["n"] >= FEWEST_VALUES else []
        around = interval(values, scale, shared, None if around_mean else scores[key]).holding(scores[key])
        ends[f"{key}_low"], ends[f"{key}_high"] = around.low, around.high
    return ends


def virtual_regions(world: World) -> list[str]:
    """Names of the virtual regions."""
    return [region.name for region in world.virtual_regions]


def groups(world: World) -> Iterator[tuple[str, np.ndarray]]:
    """What is scored on its own: all real cities together, every real region, every virtual one; with its ids."""
    yield REAL, np.arange(world.n_real)
    for region in world.regions:
        yield region, world.ids_of(region)


def _predictions(world: World, split: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    cities = world.cities
    table = pd.DataFrame({key: cities[key] for key in ("id", "name", "region", "is_virtual", "lon", "lat")})
    lat = np.clip(predicted[:, 1], -90.0, 90.0)
    table.insert(4, "split", split)
    table["pred_lon"], table["pred_lat"] = predicted[:, 0].astype(np.float32), lat.astype(np.float32)
    table["error_km"] = haversine_km(world.lon, world.lat, predicted[:, 0], lat).astype(np.float32)
    return table
