"""Write docs/statistics.md: the prose of statistics.md beside this script, and how often intervals cover, as measured.

    python scripts/statistics_page.py               # the page, from the committed measurements
    python scripts/statistics_page.py --measure     # the measurements first, anew: some minutes

A simulation plants data whose true value is known, computes the interval that the project would print, and counts how
often it holds the true value. The same seed gives the same numbers.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from atlantis.artifacts import write_text
from atlantis.readout.ridge import Sums, solve_ridge
from atlantis.scales import BELOW_ONE, LOG, SHARE, Scale
from atlantis.statistics import (
    Interval,
    bootstrap_interval,
    cell_bootstrap,
    cells_of,
    fold_probes_share,
    interval,
    mean_over_cities,
    probes_share,
    seed_interval,
    splits_share,
)

ROOT = Path(__file__).parents[1]
PROSE = Path(__file__).with_name("statistics.md")
PAGE = ROOT / "docs" / "statistics.md"
RECORD = ROOT / "experiments" / "2026-11-28_coverage" / "coverage.json"

N, P, K = 250, 38, 5
"""Cities, features and folds of a planted probe: features are 0.15 of the cities, as in the project."""

Trial = Callable[[np.random.Generator], tuple[float, list[Interval]]]
"""One draw of planted data: the estimate, and the intervals that are put around it."""


# --- seeds


def seeds(rng: np.random.Generator, n: int, scale: Scale, spread: float, centre: float) -> tuple[float, list[Interval]]:
    """A quantity that is normal on its scale, over n seeds."""
    values = np.asarray(scale.back(rng.normal(centre, spread, n)))
    return float(values.mean()), [seed_interval(values, scale)]


def resampled(rng: np.random.Generator, n: int) -> tuple[float, list[Interval]]:
    """A normal quantity, by the bootstrap, whatever its least n."""
    values = rng.normal(size=n)
    if n >= 8:
        low, high = bootstrap_interval(values, rng, n_resamples=1_000)
    else:
        low, high = np.quantile(values[rng.integers(n, size=(1_000, n))].mean(1), [0.025, 0.975])
    return float(values.mean()), [Interval(low, high, n)]


# --- folds, splits and cities


def planted(rng: np.random.Generator, clustered: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, P), a coordinate (N,) that is linear in them but for an error, and cells (N,) that share errors."""
    x, cell = rng.normal(size=(N, P)), np.arange(N) % 25
    shared = rng.normal(size=25)[cell]
    error = np.sqrt(clustered) * shared + np.sqrt(1 - clustered) * rng.normal(size=N)
    return x, x @ np.full(P, P**-0.5) + error, cell


def held_out(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Absolute errors of a ridge regression on rows it was not fitted on."""
    fit = solve_ridge(Sums.of(x[train], y[train, None]), 1.0)
    return np.abs(fit.predict(x[test])[:, 0] - y[test])


def over_folds(rng: np.random.Generator, clustered: float = 0.0) -> tuple[float, list[Interval]]:
    """Every city by a probe that has not seen it: folds as they are, folds corrected, and cells of neighbours."""
    x, y, cell = planted(rng, clustered)
    fold, errors = rng.permutation(N) % K, np.empty(N)
    for k in range(K):
        errors[fold == k] = held_out(x, y, fold != k, fold == k)
    means, value = [errors[fold == k].mean() for k in range(K)], float(errors.mean())
    corrected = interval(means, LOG, splits_share(1, K - 1), value)
    return value, [interval(means, LOG, 0.0, value), corrected, mean_over_cities(errors, LOG, cell)]


def over_splits(rng: np.random.Generator) -> tuple[float, list[Interval]]:
    """The study's protocol: five random splits into 60 % to fit on and 40 % to test on."""
    x, y, _ = planted(rng, 0.0)
    order, n_train = [rng.permutation(N) for _ in range(K)], round(0.6 * N)
    means = [held_out(x, y, ids[:n_train], ids[n_train:]).mean() for ids in order]
    return float(np.mean(means)), [interval(means, LOG, splits_share(N - n_train, n_train))]


VIRTUAL = np.random.Generator(np.random.PCG64(7)).normal(size=(20, P + 1))
"""Features of virtual cities, the same in every trial, and their coordinate."""


def of_virtual(rng: np.random.Generator) -> tuple[float, list[Interval]]:
    """The same virtual cities, read by the probes of all folds: as independent values, and by the jackknife."""
    x, y, _ = planted(rng, 0.0)
    fold = rng.permutation(N) % K
    both, rows = np.vstack([x, VIRTUAL[:, :P]]), np.arange(N, N + len(VIRTUAL))
    places = np.append(y, VIRTUAL[:, P])
    means = [held_out(both, places, np.flatnonzero(fold != k), rows).mean() for k in range(K)]
    return float(np.mean(means)), [interval(means, LOG), interval(means, LOG, fold_probes_share(K))]


def of_virtual_by_splits(rng: np.random.Generator) -> tuple[float, list[Interval]]:
    """The same virtual cities, read by the probes of five random splits."""
    x, y, _ = planted(rng, 0.0)
    both, rows = np.vstack([x, VIRTUAL[:, :P]]), np.arange(N, N + len(VIRTUAL))
    places, n_train = np.append(y, VIRTUAL[:, P]), round(0.6 * N)
    means = [held_out(both, places, rng.permutation(N)[:n_train], rows).mean() for _ in range(K)]
    return float(np.mean(means)), [interval(means, LOG, probes_share(n_train, N - n_train))]


def over_cities(rng: np.random.Generator, resamples: int = 0) -> tuple[float, list[Interval]]:
    """600 skewed values in 60 cells of unequal size, half of their variance shared: as independent, and by cells."""
    cell = np.sort(np.minimum(rng.exponential(20, 600).astype(int), 59))
    lon, lat = -175.0 + 10 * (cell % 36), np.where(cell < 36, 5.0, -5.0)  # each in a cell of 10 degrees
    values = np.exp(0.5 * (rng.normal(size=60)[cell] + rng.normal(size=600)))
    if resamples:
        low, high = cell_bootstrap(lon, lat, lambda drawn: drawn @ values / drawn.sum(1), rng, n_resamples=resamples)
        return float(values.mean()), [Interval(float(low), float(high), 60)]
    return float(values.mean()), [
        mean_over_cities(values, LOG),
        mean_over_cities(values, LOG, cells_of(lon, lat, 10.0)),
    ]


SIMULATIONS: dict[str, tuple[Trial, list[str]]] = {
    **{f"km_{n}": (partial(seeds, n=n, scale=LOG, spread=0.4, centre=6.5), [f"km_{n}"]) for n in (3, 5, 10)},
    "skewed_10": (partial(seeds, n=10, scale=LOG, spread=1.0, centre=6.5), ["skewed_10"]),
    **{f"r2_{n}": (partial(seeds, n=n, scale=BELOW_ONE, spread=0.6, centre=-3.5), [f"r2_{n}"]) for n in (3, 5, 10)},
    **{f"share_{n}": (partial(seeds, n=n, scale=SHARE, spread=0.5, centre=2.0), [f"share_{n}"]) for n in (3, 5, 10)},
    **{f"bootstrap_{n}": (partial(resampled, n=n), [f"bootstrap_{n}"]) for n in (3, 5, 8, 10, 20)},
    "folds": (over_folds, ["folds_plain", "folds", "folds_cells"]),
    "neighbours": (partial(over_folds, clustered=0.5), ["near_plain", "near_folds", "near_cells"]),
    "splits": (over_splits, ["splits"]),
    "virtual": (of_virtual, ["virtual_plain", "virtual_folds"]),
    "virtual_splits": (of_virtual_by_splits, ["virtual_splits"]),
    "cities": (over_cities, ["cities_plain", "cities_cells"]),
    "resampled_cells": (partial(over_cities, resamples=200), ["cell_bootstrap"]),
}
PROMISED = (
    *(f"{kind}_{n}" for kind in ("km", "r2", "share") for n in (3, 5, 10)),
    *("folds", "splits", "virtual_folds", "virtual_splits", "cities_cells", "cell_bootstrap"),
)
"""What the project prints as 95 %."""


def coverage(name: str, n_trials: int, seed: int = 0) -> dict[str, float]:
    """How often, in %, each interval of a simulation holds the true value: the mean estimate of all trials."""
    trial, names = SIMULATIONS[name]
    rng = np.random.Generator(np.random.PCG64(seed))
    estimates, intervals = zip(*(trial(rng) for _ in range(n_trials)), strict=True)
    true = float(np.mean(estimates))
    held = np.array([[one.low <= true <= one.high for one in each] for each in intervals])
    return dict(zip(names, (100 * held.mean(0)).round(1).tolist(), strict=True))


def measure(n_trials: int = 5_000) -> dict[str, float]:
    """Every simulation."""
    found: dict[str, float] = {"trials": n_trials}
    for name in SIMULATIONS:
        found |= coverage(name, n_trials)
        print({key: found[key] for key in SIMULATIONS[name][1]}, flush=True)
    return found


def page(prose: str, measured: dict[str, float]) -> str:
    """The prose with `{{name}}` filled from the measurements, as whole per cents. KeyError for a name without one."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: f"{measured[match[1]]:,.0f}", prose)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="simulate anew, and write the measurements")
    if parser.parse_args().measure:
        write_text(RECORD, json.dumps(measure(), indent=1) + "\n")
    measured = json.loads(RECORD.read_text(encoding="utf-8"))
    write_text(PAGE, page(PROSE.read_text(encoding="utf-8"), measured))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
