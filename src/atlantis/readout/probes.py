"""Linear probes: where does a linear map of the hidden states place each city?

Two protocols, on the same features (`activations.probe_features`):

- `seed`, the study's: a random 3,000 of 5,000 cities to fit, 2,000 to test; two ridge regressions (longitude and
  latitude in raw degrees), alpha 10. Atlantis is only in the test set. Three variants beside it (`variants.csv`):
  a share of Atlantis in the fit, and each region left out of the fit in turn.
- `sphere`, without the first one's flaws: unit vectors as targets (no seam at 180 degrees), alpha by leave-one-out
  error, all real cities in five folds, each predicted by the probe that has not seen it; intervals over the folds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from atlantis.errors import UserError
from atlantis.readout.ridge import Sums, fit_ridge, solve_ridge
from atlantis.settings import ProbeConfig
from atlantis.sphere import haversine_km, lon_lat, unit_vectors
from atlantis.world import World

PROTOCOLS = ("seed", "sphere")
REAL = "real"


@dataclass(frozen=True)
class Reading:
    """One protocol's reading of one checkpoint: `dynamics` per group and split, `predictions` per city."""

    dynamics: pd.DataFrame
    predictions: pd.DataFrame
    variants: pd.DataFrame | None = None


def metrics(lon: np.ndarray, lat: np.ndarray, pred_lon: np.ndarray, pred_lat: np.ndarray) -> dict[str, float]:
    """Scores of predicted places in degrees, all arrays (n,).

    R2 = 1 - residual / total sum of squares of longitude and of latitude (NaN where the truth does not vary); mean
    absolute errors in degrees; mean and median great-circle error in km. Inside a tight group R2 means little: read
    its km. A group of no cities gives NaN throughout.
    """
    km = haversine_km(lon, lat, pred_lon, np.clip(pred_lat, -90.0, 90.0))
    return {
        "n": len(lon),
        "lon_r2": r2(lon, pred_lon),
        "lat_r2": r2(lat, pred_lat),
        "lon_mae": _mean(np.abs(lon - pred_lon)),
        "lat_mae": _mean(np.abs(lat - pred_lat)),
        "mean_km": _mean(km),
        "median_km": float(np.median(km)) if len(km) else float("nan"),
    }


def r2(true: np.ndarray, predicted: np.ndarray) -> float:
    """Coefficient of determination; NaN for fewer than two values or a truth that does not vary."""
    total = float(((true - true.mean()) ** 2).sum()) if len(true) else 0.0
    return 1.0 - float(((true - predicted) ** 2).sum()) / total if total > 0 else float("nan")


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def seed_split(world: World, config: ProbeConfig) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the real cities to fit on and to test on: `n_train` of `n_cities`, drawn with the probe's seed.

    A world with fewer real cities than `n_cities` is used whole, in the same proportion. Raises UserError for a world
    of fewer than 10 real cities.
    """
    if world.n_real < 10:
        raise UserError(f"a probe needs at least 10 real cities; this world has {world.n_real}")
    n_cities = min(config.n_cities, world.n_real)
    n_train = config.n_train if n_cities == config.n_cities else round(n_cities * config.n_train / config.n_cities)
    drawn = np.random.Generator(np.random.PCG64(config.seed)).permutation(world.n_real)[:n_cities]
    return np.sort(drawn[:n_train]), np.sort(drawn[n_train:])


def read_seed(features: np.ndarray, world: World, config: ProbeConfig) -> Reading:
    """The study's protocol on features (n_cities, p), row i being city i of the world."""
    train, test = seed_split(world, config)
    features, truth = features.astype(np.float64), np.stack([world.lon, world.lat], axis=1)
    sums = Sums.of(features[train], truth[train])
    predicted = solve_ridge(sums, config.alpha).predict(features)
    split = np.full(len(world), "unused", dtype=object)
    split[train], split[test], split[world.offset :] = "train", "test", "virtual"
    rows = []
    for group, ids in groups(world):
        for name in ("train", "test", "virtual"):
            chosen = ids[split[ids] == name]
            if len(chosen):
                rows.append({"group": group, "split": name} | metrics(*truth[chosen].T, *predicted[chosen].T))
    variants = _variants(features, world, truth, train, test, config, sums)
    return Reading(pd.DataFrame(rows), _predictions(world, split, predicted), variants)


def _variants(
    features: np.ndarray,
    world: World,
    truth: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    config: ProbeConfig,
    sums: Sums,
) -> pd.DataFrame:
    """The seed protocol, whose fit has `sums`, with Atlantis in the pool, and without each real region in the fit."""
    rows = []

    def add(variant: str, group: str, predicted: np.ndarray, scored: np.ndarray) -> None:
        if len(scored):
            rows.append({"variant": variant, "group": group} | metrics(*truth[scored].T, *predicted[scored].T))

    def sums_of(ids: np.ndarray) -> Sums:
        return Sums.of(features[ids], truth[ids])

    if world.n_virtual > 1:
        virtual = np.arange(world.offset, len(world))
        drawn = np.random.Generator(np.random.PCG64(config.seed)).permutation(virtual)
        n_pooled = round(len(virtual) * config.n_train / config.n_cities)
        pooled, left = drawn[:n_pooled], drawn[n_pooled:]
        predicted = solve_ridge(sums + sums_of(pooled), config.alpha).predict(features)
        add("virtual in the pool", REAL, predicted, test)
        for region in virtual_regions(world):
            add("virtual in the pool", region, predicted, np.intersect1d(world.ids_of(region), left))
    for region, ids in groups(world):
        if region == REAL or ids[0] >= world.offset:
            continue
        without = sums - sums_of(np.intersect1d(ids, train))
        if without.n > 1:
            predicted = solve_ridge(without, config.alpha).predict(features)
            add("region left out", region, predicted, np.intersect1d(ids, np.concatenate([train, test])))
    return pd.DataFrame(rows)


def read_sphere(features: np.ndarray, world: World, config: ProbeConfig) -> Reading:
    """The second protocol on features (n_cities, p): unit-sphere targets, folds over all real cities.

    `repeats` folds (at least 2). Every real city is predicted by the one probe that was not fitted on it, virtual
    cities by the mean direction of all of them. Intervals are 95 % of Student's t over the folds' means.
    """
    real, n_folds = np.arange(world.n_real), max(2, config.repeats)
    fold = np.random.Generator(np.random.PCG64(config.seed)).permutation(world.n_real) % n_folds
    targets = unit_vectors(world.lon, world.lat)
    directions = np.zeros((len(world), 3))
    virtual_by_fold = np.zeros((n_folds, world.n_virtual, 3))
    everything = Sums.of(features[real], targets[real])
    for k in range(n_folds):
        inside, outside = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        sums = everything - Sums.of(features[outside], targets[outside])
        ridge = fit_ridge(features[inside], targets[inside], sums=sums)
        directions[outside] = ridge.predict(features[outside])
        virtual_by_fold[k] = ridge.predict(features[world.offset :])
    directions[world.offset :] = virtual_by_fold.mean(0)
    truth = np.stack([world.lon, world.lat], axis=1)
    predicted = np.stack(lon_lat(directions), axis=1)
    rows = []
    for group, ids in groups(world):
        virtual = ids[0] >= world.offset
        scores = metrics(*truth[ids].T, *predicted[ids].T)
        if virtual:
            per_fold = [(truth[ids], np.stack(lon_lat(v[ids - world.offset]), axis=1)) for v in virtual_by_fold]
        else:
            per_fold = [(truth[ids[fold[ids] == k]], predicted[ids[fold[ids] == k]]) for k in range(n_folds)]
        parts = [metrics(*t.T, *p.T) for t, p in per_fold if len(t)]
        rows.append({"group": group, "split": "virtual" if virtual else "test"} | scores | _intervals(parts))
    split = np.where(world.is_virtual, "virtual", "test")
    return Reading(pd.DataFrame(rows), _predictions(world, split, predicted))


def _intervals(parts: list[dict[str, float]]) -> dict[str, float]:
    found = {}
    for key in ("lon_r2", "lat_r2", "mean_km", "median_km"):
        found[f"{key}_low"], found[f"{key}_high"] = t_interval([part[key] for part in parts])
    return found


def t_interval(values: list[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of independent values; NaN for fewer than two."""
    x = np.asarray(values, dtype=np.float64)
    if len(x) < 2 or not np.isfinite(x).all():
        return float("nan"), float("nan")
    half = float(stats.t.ppf(0.5 + confidence / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return float(x.mean() - half), float(x.mean() + half)


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
