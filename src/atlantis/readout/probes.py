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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Num
from numpy.typing import ArrayLike

from atlantis.errors import UserError
from atlantis.names import PROTOCOLS, REAL, protocol_named
from atlantis.readout.catalogue import METRICS
from atlantis.readout.estimator import Regressor, fitted
from atlantis.readout.files import Tables
from atlantis.readout.placed import SCORES, metrics, variant_columns
from atlantis.readout.ridge import Ridge, Sums, fit_ridge, solve_ridge
from atlantis.readout.splits import degrees_split, folds, groups, virtual_regions
from atlantis.readout.threads import side_by_side
from atlantis.settings import ProbeConfig
from atlantis.sphere import haversine_km, lon_lat, unit_vectors
from atlantis.statistics import FEWEST_VALUES, fold_probes_share, interval, probes_share, splits_share
from atlantis.world import World


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
    # A fold's fit has the sums of all cities less its own: the features are multiplied once, not once for each fold.
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


def _predictions(world: World, split: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    cities = world.cities
    table = pd.DataFrame({key: cities[key] for key in ("id", "name", "region", "is_virtual", "lon", "lat")})
    lat = np.clip(predicted[:, 1], -90.0, 90.0)
    table.insert(4, "split", split)
    table["pred_lon"], table["pred_lat"] = predicted[:, 0].astype(np.float32), lat.astype(np.float32)
    table["error_km"] = haversine_km(world.lon, world.lat, predicted[:, 0], lat).astype(np.float32)
    return table
