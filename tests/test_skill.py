"""Lost, bent or turned: each of the three, planted, must be found as what it is."""

from __future__ import annotations

import numpy as np
import pytest

from atlantis.readout.probes import folds, read_sphere
from atlantis.readout.similarity import Cloud
from atlantis.readout.skill import (
    mlp_probe,
    over_folds,
    predict_held_out,
    shares_of_fall,
    skills,
    turn_back,
)
from atlantis.settings import ProbeConfig
from atlantis.sphere import haversine_km, lon_lat, unit_vectors
from atlantis.world import World, shipped_cities

CONFIG = ProbeConfig(repeats=4)
WIDTH = 24


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    file = tmp_path_factory.mktemp("skill") / "cities.csv"
    shipped_cities().head(600).to_csv(file, index=False)
    return World.build(file, regions=[])


@pytest.fixture(scope="module")
def truth(world: World) -> np.ndarray:
    return unit_vectors(world.lon, world.lat)


@pytest.fixture(scope="module")
def first(truth: np.ndarray) -> np.ndarray:
    """A map in three of 24 directions, which are all mixed, with other things of the same size beside it."""
    rng = np.random.default_rng(0)
    plain = np.hstack([truth + rng.normal(size=truth.shape) * 0.02, rng.normal(size=(len(truth), WIDTH - 3))])
    return plain @ rotation(1) + 3.0


def rotation(seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(WIDTH, WIDTH)))[0]


def decomposed(world: World, truth: np.ndarray, first: np.ndarray, now: np.ndarray) -> dict[str, float]:
    """lost, bent and turned of `now`, and the skills."""
    fold = folds(world, CONFIG)
    fits0, fits = (read_sphere(x, world, CONFIG).fits for x in (first, now))
    turned = turn_back(Cloud.of(now), Cloud.of(first), fold)

    def km(directions: np.ndarray) -> np.ndarray:
        return haversine_km(world.lon, world.lat, *lon_lat(directions))

    errors = {
        "frozen": km(predict_held_out(now, fits0, fold)),
        "turned": km(predict_held_out(turned, fits0, fold)),
        "refit": km(predict_held_out(now, fits, fold)),
        "mlp": km(mlp_probe(Cloud.of(now), truth, fold, [fit.alpha for fit in fits], 0)),
    }
    untrained = np.full(len(world), 6_000.0)
    before = km(predict_held_out(first, fits0, fold))
    found = skills(errors, untrained, fold) | shares_of_fall(before, errors, untrained, fold)
    assert all(not estimate.high < estimate.value and not estimate.value < estimate.low for estimate in found.values())
    numbers = {name: estimate.value for name, estimate in found.items()}
    whole = skills({"first": before}, untrained, fold)["first"].value - numbers["frozen"]
    assert numbers["lost"] + numbers["bent"] + numbers["turned"] == pytest.approx(whole)
    return numbers


def test_the_same_states_lose_nothing(world: World, truth: np.ndarray, first: np.ndarray) -> None:
    found = decomposed(world, truth, first, first)
    assert found["frozen"] == found["refit"] > 0.9
    assert found["lost"] == 0 and abs(found["bent"]) < 1e-9 and abs(found["turned"]) < 1e-9


def test_a_rotation_is_turned(world: World, truth: np.ndarray, first: np.ndarray) -> None:
    found = decomposed(world, truth, first, first @ rotation(2) - 5.0)
    assert found["turned"] > 0.5
    assert abs(found["bent"]) < 0.01 and abs(found["lost"]) < 0.01


def test_a_linear_map_is_bent(world: World, truth: np.ndarray, first: np.ndarray) -> None:
    """Some directions are stretched and others squeezed, which no rotation undoes and any new probe does."""
    stretch = rotation(3).T @ np.diag(np.geomspace(0.2, 5, WIDTH)) @ rotation(3)
    found = decomposed(world, truth, first, first @ stretch)
    assert found["bent"] > 0.2 and found["bent"] > 10 * abs(found["lost"])
    assert abs(found["lost"]) < 0.02


@pytest.mark.parametrize("size", [0.0, 0.3])
def test_an_erased_map_is_lost(world: World, truth: np.ndarray, first: np.ndarray, size: float) -> None:
    """The map's own directions are wiped out, or replaced by noise."""
    plain = (first - 3.0) @ rotation(1).T
    plain[:, :3] = plain[:, :3].mean(0) + np.random.default_rng(4).normal(size=(len(plain), 3)) * size
    found = decomposed(world, truth, first, plain @ rotation(1) + 3.0)
    assert found["lost"] > 0.7 and abs(found["bent"]) < 0.2 and abs(found["turned"]) < 0.2
    assert found["mlp"] < 0.2, "nor does a network find what is not there"


def test_the_turn_is_fitted_on_other_cities(first: np.ndarray) -> None:
    """What is carried back does not change when the other cities of its own fold do."""
    fold = np.arange(len(first)) % 4
    now = first @ rotation(2)
    spoiled = first.copy()
    spoiled[fold == 0] = np.random.default_rng(5).normal(size=spoiled[fold == 0].shape) * 9
    honest, told = (turn_back(Cloud.of(now), Cloud.of(x), fold)[fold == 0] for x in (first, spoiled))
    np.testing.assert_allclose(honest, first[fold == 0], atol=1e-6)
    np.testing.assert_allclose(told, honest, atol=1e-6)


def test_the_network_reads_what_is_not_linear() -> None:
    """A target that is the product of two features; and its own fold's answers do not reach it."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(1_500, 10))
    y = np.stack([x[:, 0] * x[:, 1], x[:, 2]], axis=1)
    fold = np.arange(len(x)) % 3
    predicted = mlp_probe(Cloud.of(x), y, fold, [1.0] * 3, seed=0)
    left = ((predicted - y) ** 2).mean(0)
    assert left[0] < 0.5 and left[1] < 0.05, "a linear probe leaves 1 of the product"
    spoiled = np.where(fold[:, None] == 0, 0.0, y)
    again = mlp_probe(Cloud.of(x), spoiled, fold, [1.0] * 3, seed=0)
    np.testing.assert_array_equal(again[fold == 0], predicted[fold == 0])


def test_intervals_are_over_folds() -> None:
    values, fold = np.array([1.0, 3.0, 2.0, 4.0, 6.0, 6.0]), np.array([0, 0, 1, 1, 2, 2])
    found = over_folds(values, fold)
    assert found.value == pytest.approx(22 / 6) and found.n == 6
    half = 4.302653 * np.std(np.log([2, 3, 6]), ddof=1) * np.sqrt(1 / 3 + 1 / 2)
    assert (found.low, found.high) == pytest.approx(tuple(22 / 6 * np.exp([-half, half])))
    assert np.isnan(over_folds(values[:4], fold[:4]).low), "two folds have no interval"


@pytest.mark.filterwarnings("error")
def test_skills_below_chance_and_of_no_chance_have_bounds_too() -> None:
    fold, rng = np.arange(50) % 5, np.random.default_rng(0)
    untrained = rng.uniform(5_000, 7_000, 50)
    errors = {name: untrained * factor for name, factor in (("frozen", 2.0), ("turned", 1.0), ("refit", 0.1))}
    errors = {name: km * rng.uniform(0.9, 1.1, 50) for name, km in errors.items()}
    below = skills(errors, untrained, fold)
    assert below["frozen"].low < below["frozen"].value < below["frozen"].high < 0
    assert below["refit"].low < 0.9 < below["refit"].high < 1
    perfect = skills({"refit": np.zeros(50)}, untrained, fold)["refit"]
    assert perfect.value == 1 and np.isnan(perfect.low), "at its bound"
    none = skills(errors, np.zeros(50), fold) | shares_of_fall(untrained, errors, np.zeros(50), fold)
    assert all(np.isnan(found.value) and np.isnan(found.low) for found in none.values())
