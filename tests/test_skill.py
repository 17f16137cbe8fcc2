"""Lost, bent, turned or shifted: each, planted, must be found as what it is, in made-up states and in a model's own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.linalg import svd

from atlantis.readout.ridge import fit_ridge
from atlantis.readout.similarity import Cloud
from atlantis.readout.skill import (
    DECAY,
    EVERY,
    HIDDEN,
    N_STEPS,
    RATE,
    SHARES,
    _network,
    mlp_probe,
    over_folds,
    predict_held_out,
    shares_of_fall,
    shift_back,
    skills,
    turn_back,
)
from atlantis.readout.source import open_source
from atlantis.scales import LOG
from atlantis.sphere import haversine_km, lon_lat, unit_vectors
from atlantis.statistics import interval, splits_share
from atlantis.world import World
from atlantis.world.cities import shipped_cities

BASE = Path(__file__).parents[1] / "src" / "atlantis" / "pretrained" / "dist_100k_1M_20epochs"
WIDTH = 24


class Map(NamedTuple):
    """States (n, p) of cities at lon, lat (n,), as they were at the first step."""

    states: np.ndarray
    lon: np.ndarray
    lat: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        return self.states.mean(0)

    def about_mean(self, change: np.ndarray) -> np.ndarray:
        """The states after a linear change (p, p) about their mean."""
        return (self.states - self.mean) @ change + self.mean


@pytest.fixture(scope="module")
def planted() -> Map:
    """A map in three of 24 directions, which are all mixed, with other things of the same size beside it."""
    rng, cities = np.random.default_rng(0), shipped_cities().head(600)
    lon, lat = cities["lon"].to_numpy(), cities["lat"].to_numpy()
    truth = unit_vectors(lon, lat)
    plain = np.hstack([truth + rng.normal(size=truth.shape) * 0.02, rng.normal(size=(len(truth), WIDTH - 3))])
    return Map(plain @ rotation(1) + 3.0, lon, lat)


@pytest.fixture(scope="module")
def real() -> Map:
    """An eighth of the real cities, as the shipped base's block 4 has them at the last two tokens."""
    world = World.build()
    states = open_source(BASE, world).states(np.arange(0, world.n_real, 8), [4], n_positions=2)
    rows = slice(0, world.n_real, 8)
    return Map(states.reshape(len(states), -1).astype(np.float64), world.lon[rows], world.lat[rows])


def rotation(seed: int, width: int = WIDTH) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


def decomposed(first: Map, now: np.ndarray, network: bool = False) -> dict[str, float]:
    """lost, bent, turned and shifted of `now`, how far skill `fell`, and the skills."""
    truth, fold = unit_vectors(first.lon, first.lat), np.random.default_rng(0).permutation(len(now)) % 4

    def km(directions: np.ndarray) -> np.ndarray:
        return haversine_km(first.lon, first.lat, *lon_lat(directions))

    fits0, fits = ([fit_ridge(x[fold != k], truth[fold != k]) for k in range(4)] for x in (first.states, now))
    cloud, cloud0 = Cloud.of(now), Cloud.of(first.states)
    errors = {
        "frozen": km(predict_held_out(now, fits0, fold)),
        "shifted": km(predict_held_out(now, shift_back(fits0, cloud, cloud0, fold), fold)),
        "turned": km(predict_held_out(turn_back(cloud, cloud0, fold), fits0, fold)),
        "refit": km(predict_held_out(now, fits, fold)),
    }
    if network:
        errors["mlp"] = km(mlp_probe(cloud, truth, fold, [fit.alpha for fit in fits], 0))
    untrained = np.full(len(now), 6_000.0)
    before = km(predict_held_out(first.states, fits0, fold))
    estimates = {f"skill_{name}": skill for name, skill in skills(errors, untrained, fold).items()}
    estimates |= (parts := shares_of_fall(before, errors, untrained, fold))
    assert all(not one.high < one.value and not one.value < one.low for one in estimates.values())
    fall = skills({"first": before}, untrained, fold)["first"].value - estimates["skill_frozen"].value
    assert sum(part.value for part in parts.values()) == pytest.approx(fall)
    return {name: estimate.value for name, estimate in estimates.items()}


def test_the_same_states_lose_nothing(planted: Map) -> None:
    parts = decomposed(planted, planted.states)
    assert parts["skill_frozen"] == parts["skill_shifted"] == parts["skill_refit"] > 0.9
    assert parts["lost"] == parts["shifted"] == 0 and abs(parts["bent"]) < 1e-9 and abs(parts["turned"]) < 1e-9


CASES = {
    # what is done to the states:   lost, bent, turned, shifted, as a range each
    "shift": ((0, 0), (0, 0), (0, 0), (1, 2)),
    "rotation": ((0, 0), (0, 0), (0.7, 2), (0, 0)),
    "scale": ((0, 0), (0.1, 0.4), (0, 0), (0, 0)),
    "stretch along principal axes": ((0, 0.02), (0.1, 0.6), (-0.05, 0.05), (0, 0)),
    "stretch along random axes": ((0, 0.02), (0.05, 0.4), (0.7, 2), (0, 0)),
    "scale about the origin": ((0, 0), (0.1, 0.4), (0, 0), (0.4, 2)),
}
"""Of a model's own states. A stretch along random axes reads as a turn, mostly: the nearest rotation is far from
none."""


def changed(first: Map, case: str) -> np.ndarray:
    rng, width = np.random.default_rng(1), first.states.shape[1]
    centred = first.states - first.mean
    factors = rng.permutation(np.geomspace(0.2, 5, width))
    if case == "shift":
        direction = rng.normal(size=width)
        return first.states + 3 * direction / np.linalg.norm(direction) * np.sqrt((centred**2).sum(1).mean())
    if case == "scale about the origin":
        return 3 * first.states
    axes = svd(centred, full_matrices=False)[2] if "principal" in case else rotation(2, width)
    changes = {"rotation": axes, "scale": 3 * np.eye(width)}
    return first.about_mean(changes[case] if case in changes else axes.T @ np.diag(factors) @ axes)


@pytest.mark.parametrize("case", CASES)
def test_each_rung_is_credited_with_what_it_undoes(real: Map, case: str) -> None:
    parts = decomposed(real, changed(real, case))
    for name, (low, high) in zip(SHARES, CASES[case], strict=True):
        assert low - 0.01 < parts[name] < high + 0.01, name


@pytest.mark.parametrize(
    ("case", "shares"),
    [
        ("shift", ["shifted"]),
        ("rotation", ["turned"]),
        ("stretch along random axes", ["bent", "turned"]),
    ],
)
def test_made_up_states_read_as_a_models_own_do(planted: Map, case: str, shares: list[str]) -> None:
    parts = decomposed(planted, changed(planted, case))
    for name in SHARES:
        assert parts[name] > 0.1 if name in shares else abs(parts[name]) < 0.02, name


def test_a_shift_is_not_seen_alone_where_the_states_turned_as_well(planted: Map) -> None:
    """Then to move the mean back may do nothing, or harm: together the two are what was done, and neither is bent."""
    parts = decomposed(planted, planted.states @ rotation(2) - 5.0)
    assert parts["turned"] > 1 and parts["turned"] + parts["shifted"] > 1 and abs(parts["shifted"]) < 0.2
    assert abs(parts["bent"]) < 0.01 and abs(parts["lost"]) < 0.01


@pytest.mark.parametrize("size", [0.0, 0.3])
def test_an_erased_map_is_lost(planted: Map, size: float) -> None:
    """The map's own directions are wiped out, or replaced by noise."""
    plain = (planted.states - 3.0) @ rotation(1).T
    plain[:, :3] = plain[:, :3].mean(0) + np.random.default_rng(4).normal(size=(len(plain), 3)) * size
    parts = decomposed(planted, plain @ rotation(1) + 3.0, network=True)
    assert parts["lost"] > 0.7 and abs(parts["turned"]) < 0.15 and abs(parts["shifted"]) < 0.01
    assert abs(parts["bent"]) < 0.1 + size, "noise in the map's place makes the first probe worse than chance"
    assert parts["skill_mlp"] < 0.2, "nor does a network find what is not there"


def test_the_means_are_those_of_other_cities(planted: Map) -> None:
    """What is moved back does not change when the states of its own fold do, at either step."""
    fold = np.arange(len(planted.states)) % 4
    now, spoiled = planted.states + 2.0, planted.states.copy()
    spoiled[fold == 0] += 100.0
    fits = [fit_ridge(planted.states, unit_vectors(planted.lon, planted.lat))] * 4
    shifts = [shift_back(fits, Cloud.of(now), Cloud.of(first), fold) for first in (planted.states, spoiled)]
    np.testing.assert_allclose(shifts[0][0].intercept, shifts[1][0].intercept)
    assert not np.allclose(shifts[0][1].intercept, shifts[1][1].intercept)
    np.testing.assert_allclose(shifts[0][0].predict(now), fits[0].predict(planted.states))


def test_the_turn_is_fitted_on_other_cities(planted: Map) -> None:
    """What is carried back does not change when the other cities of its own fold do."""
    first = planted.states
    fold = np.arange(len(first)) % 4
    now = first @ rotation(2)
    spoiled = first.copy()
    spoiled[fold == 0] = np.random.default_rng(5).normal(size=spoiled[fold == 0].shape) * 9
    honest, told = (turn_back(Cloud.of(now), Cloud.of(x), fold)[fold == 0] for x in (first, spoiled))
    np.testing.assert_allclose(honest, first[fold == 0], atol=1e-6)
    np.testing.assert_allclose(told, honest, atol=1e-6)


@pytest.mark.parametrize(("n", "width", "n_outputs"), [(60, 34, 3), (301, 66, 2)])
def test_the_network_is_trained_as_pytorch_trains_it(n: int, width: int, n_outputs: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, width)).astype(np.float32)
    y = (np.sin(2 * x[:, :n_outputs]) + x[:, 3:4] ** 2).astype(np.float32)
    parts = np.arange(n) % 5
    fit, check, held_out = parts > 1, parts == 1, parts == 0
    weight = torch.randn(width, HIDDEN, generator=torch.Generator().manual_seed(7)) / width**0.5
    zeros = torch.zeros(HIDDEN), torch.zeros(HIDDEN, n_outputs), torch.zeros(n_outputs)
    parameters = [parameter.requires_grad_() for parameter in (weight, *zeros)]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    errors, outputs = [float((targets[check] ** 2).mean())], [np.zeros((held_out.sum(), n_outputs))]

    def answers(rows: np.ndarray) -> torch.Tensor:
        hidden = torch.nn.functional.gelu(inputs[rows] @ parameters[0] + parameters[1])
        return hidden @ parameters[2] + parameters[3]

    for step in range(1, N_STEPS + 1):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(answers(fit), targets[fit]).backward()
        optimizer.step()
        if step % EVERY == 0:
            errors.append(torch.nn.functional.mse_loss(answers(check), targets[check]).item())
            outputs.append(answers(held_out).detach().numpy().astype(np.float64))
    best = outputs[int(np.argmin(errors))]
    rows = (np.flatnonzero(chosen) for chosen in (fit, check, held_out))
    assert np.abs(best).max() > 0.1 and np.array_equal(_network(x, y, *rows, seed=7), best)


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
    of_five = over_folds(values, fold, n_folds=5)
    assert of_five == pytest.approx((22 / 6, *interval([2, 3, 6], LOG, splits_share(1, 4), 22 / 6)[:2], 6))


@pytest.mark.filterwarnings("error")
def test_skills_below_chance_and_of_no_chance_have_bounds_too() -> None:
    fold, rng = np.arange(50) % 5, np.random.default_rng(0)
    untrained = rng.uniform(5_000, 7_000, 50)
    errors = {
        name: untrained * factor
        for name, factor in (("frozen", 2.0), ("shifted", 1.5), ("turned", 1.0), ("refit", 0.1))
    }
    errors = {name: km * rng.uniform(0.9, 1.1, 50) for name, km in errors.items()}
    below = skills(errors, untrained, fold)
    assert below["frozen"].low < below["frozen"].value < below["frozen"].high < 0
    assert below["refit"].low < 0.9 < below["refit"].high < 1
    perfect = skills({"refit": np.zeros(50)}, untrained, fold)["refit"]
    assert perfect.value == 1 and np.isnan(perfect.low), "at its bound"
    none = skills(errors, np.zeros(50), fold) | shares_of_fall(untrained, errors, np.zeros(50), fold)
    assert all(np.isnan(found.value) and np.isnan(found.low) for found in none.values())
