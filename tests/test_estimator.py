"""Probes with a regressor of the user's own, against the project's ridge regression."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.svm import SVR

from atlantis.errors import UserError
from atlantis.readout.probes import read_degrees, read_sphere
from atlantis.settings import ProbeConfig
from atlantis.sphere import unit_vectors
from atlantis.world import World

CONFIG = ProbeConfig(n_cities=300, n_train=200)


@pytest.fixture(scope="module")
def world() -> World:
    return World.build()


@pytest.fixture(scope="module")
def features(world: World) -> np.ndarray:
    """Places on the sphere, turned into 12 features with noise."""
    rng = np.random.default_rng(0)
    return unit_vectors(world.lon, world.lat) @ rng.normal(size=(3, 12)) + rng.normal(size=(len(world), 12)) * 0.05


def test_the_same_ridge_regression_reads_the_same(features: np.ndarray, world: World) -> None:
    ours = read_degrees(features, world, CONFIG)
    theirs = read_degrees(features, world, CONFIG, Ridge(alpha=CONFIG.alpha))
    assert theirs.variants is None and ours.variants is not None
    numbers = ours.dynamics.select_dtypes("number").columns
    np.testing.assert_allclose(ours.dynamics[numbers], theirs.dynamics[numbers], rtol=1e-6)


def test_another_regressor_is_read_by_both_protocols(features: np.ndarray, world: World) -> None:
    neighbours = KNeighborsRegressor(5)
    for read in (read_degrees, read_sphere):
        reading = read(features, world, CONFIG, neighbours)
        real = reading.dynamics.query("group == 'real' and split == 'test'").iloc[0]
        assert real["mean_km_low"] < real["mean_km"] < real["mean_km_high"] and 0.8 < real["lat_r2"] < 1
        assert reading.fits == ()
    assert not hasattr(neighbours, "n_samples_fit_"), "the user's own object was fitted, and not a copy"


def test_what_is_no_regressor_of_several_targets_is_refused(features: np.ndarray, world: World) -> None:
    with pytest.raises(UserError, match=r"SVR\(\) cannot be fitted: ValueError: y should be a 1d array"):
        read_sphere(features, world, CONFIG, SVR())
    with pytest.raises(UserError, match="cannot be fitted: TypeError"):
        read_sphere(features, world, CONFIG, object())  # type: ignore[arg-type]
