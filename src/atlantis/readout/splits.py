"""Which cities a probe is fitted on, which it is scored on, and whether a world has enough of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from atlantis.errors import UserError
from atlantis.names import REAL
from atlantis.readout.placed import LEAST_SPREAD
from atlantis.settings import ProbeConfig
from atlantis.world import World

FEWEST = 10
"""Real cities that a world must have to be probed."""


def check_probe(world: World, config: ProbeConfig) -> None:
    """UserError if the world has too few real cities for a probe with these settings, by either protocol."""
    degrees_split(world, config)
    folds(world, config)


def _check_size(world: World) -> None:
    if world.n_real < FEWEST:
        raise UserError(f"a probe needs at least {FEWEST} real cities; this world has {world.n_real}")


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


def folds(world: World, config: ProbeConfig) -> Int[np.ndarray, " n_real"]:
    """Which of `repeats` folds (at least 2) each real city is in, (n_real,): drawn with the probe's seed.

    Raises UserError for a world with fewer than `FEWEST` real cities, or fewer than 2 for each fold.
    """
    _check_size(world)
    n_folds = max(2, config.repeats)
    if world.n_real < 2 * n_folds:
        raise UserError(f"probe.repeats={n_folds}: too many folds for {world.n_real} real cities; at least 2 in each")
    return np.random.Generator(np.random.PCG64(config.seed)).permutation(world.n_real) % n_folds


def groups(world: World) -> Iterator[tuple[str, np.ndarray]]:
    """What is scored on its own: all real cities together, every real region, every virtual one; with its ids."""
    yield REAL, np.arange(world.n_real)
    for region in world.regions:
        yield region, world.ids_of(region)


def virtual_regions(world: World) -> list[str]:
    """Names of the virtual regions."""
    return [region.name for region in world.virtual_regions]


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
