"""Probes and scores against planted answers and scikit-learn."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.metrics import r2_score
from threadpoolctl import threadpool_limits
from transformers import AutoModelForCausalLM

from atlantis.data.encoding import probe_prompt
from atlantis.model import Transformer, save_model
from atlantis.model.fast import kernels
from atlantis.readout.activations import probe_features, probe_states
from atlantis.readout.evaluate import shared_questions
from atlantis.readout.placed import LEAST_SPREAD, metrics, r2
from atlantis.readout.probes import read as read_any
from atlantis.readout.probes import read_degrees, read_sphere
from atlantis.readout.ridge import ALPHAS, Sums, fit_ridge, solve_ridge
from atlantis.readout.splits import degrees_split, folds
from atlantis.readout.threads import as_they_come, side_by_side
from atlantis.settings import DatasetConfig, ProbeConfig
from atlantis.sphere import HALF_CIRCUMFERENCE_KM, haversine_km, lon_lat, unit_vectors
from atlantis.tasks import Questions
from atlantis.tasks.distance import DISTANCE
from atlantis.tasks.score import by_slice, score, scores_of
from atlantis.vocabulary import Vocabulary
from atlantis.world import VirtualRegion, World
from tests.distances import FORM

CONFIG = ProbeConfig(n_cities=800, n_train=500)


@pytest.fixture(scope="module")
def world() -> World:
    return World.build()


def noise(world: World, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(world), width))


def row(table, group: str, split: str) -> dict[str, float]:
    return table[(table["group"] == group) & (table["split"] == split)].iloc[0].to_dict()


@pytest.mark.parametrize("shape", [(200, 30), (30, 200), (60, 60)])
def test_ridge_equals_scikit_learn(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=shape) * 3 + 1
    y = x @ rng.normal(size=(shape[1], 2)) + rng.normal(size=(shape[0], 2)) * 10
    ours, theirs = fit_ridge(x, y), RidgeCV(ALPHAS).fit(x, y)
    assert ours.alpha == pytest.approx(theirs.alpha_)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), atol=1e-6)
    fixed, sklearn = fit_ridge(x, y, [10.0]), SklearnRidge(alpha=10.0).fit(x, y)
    np.testing.assert_allclose(fixed.predict(x), sklearn.predict(x), atol=1e-6)
    np.testing.assert_allclose(fixed.coefficients, sklearn.coef_.T, atol=1e-6)


def test_sums_of_rows_add_up_and_can_be_taken_away() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(300, 40)) * 5 + 100, rng.normal(size=(300, 3))
    part, rest = slice(0, 90), slice(90, 300)
    by_rows = fit_ridge(x[rest], y[rest])
    for sums in (Sums.of(x, y) - Sums.of(x[part], y[part]), Sums.of(x[90:120], y[90:120]) + Sums.of(x[120:], y[120:])):
        by_sums = fit_ridge(x[rest], y[rest], sums=sums)
        assert by_sums.alpha == by_rows.alpha
        np.testing.assert_allclose(by_sums.predict(x), by_rows.predict(x), rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="two rows, not 1"):
        solve_ridge(Sums.of(x[:1], y[:1]), 10.0)


def test_no_penalty_is_least_squares_also_where_features_repeat() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    expected = LinearRegression().fit(x, y).predict(x)
    for features in (x, np.hstack([x, x]), np.hstack([x, np.full((50, 1), 3.0)])):
        np.testing.assert_allclose(fit_ridge(features, y, [0.0]).predict(features), expected, atol=1e-9)


@pytest.mark.parametrize("by_tree", [True, False])
@pytest.mark.parametrize("kind", ["characters", "city"])
def test_features_are_transformers_hidden_states(
    kind: str, by_tree: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For ids of one to four digits, in any order, over batches that end anywhere."""
    if by_tree and kernels.compiler() is None:
        pytest.skip("needs a C++ compiler")
    if not by_tree:
        monkeypatch.setattr(kernels, "library", lambda: None)
    vocabulary = Vocabulary(kind, 1_234)  # type: ignore[arg-type]
    model = Transformer(vocabulary.size, 44, width=32, n_layers=3, n_heads=2, mlp_width=64)
    model.initialise(0.1, torch.Generator().manual_seed(0))
    save_model(model, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids = np.array([1_233, 0, 7, 10, 99, 123, 124, 1_000, 1_230, 1_231, 45])
    features = probe_features(model, vocabulary, ids, [0, 1], batch=3)
    tokens, last = probe_prompt(FORM, vocabulary, ids)
    states = theirs(torch.as_tensor(tokens).long(), output_hidden_states=True).hidden_states
    both = torch.cat([states[1], states[2]], dim=-1).detach().numpy()
    expected = [both[row, end - 2 : end + 1].flatten() for row, end in enumerate(last)]
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)
    embedded = probe_states(model, vocabulary, ids, [-1, 1], n_positions=4, batch=3)
    found = torch.stack([states[0], states[2]], dim=2).detach().numpy()
    expected = [found[row, end - 3 : end + 1] for row, end in enumerate(last)]
    np.testing.assert_allclose(embedded, expected, rtol=1e-5, atol=1e-5)


def test_hidden_states_that_are_coordinates_probe_to_one(world: World) -> None:
    planted = np.column_stack([world.lon, world.lat, noise(world, 20)])
    test = row(read_degrees(planted, world, CONFIG).dynamics, "real", "test")
    assert test["lon_r2"] > 0.9999 and test["lat_r2"] > 0.9999 and test["mean_km"] < 5
    rotated = np.column_stack([unit_vectors(world.lon, world.lat), noise(world, 5)]) @ rotation(8)
    reading = read_sphere(rotated, world, CONFIG)
    assert row(reading.dynamics, "real", "test")["mean_km"] < 5
    assert row(reading.dynamics, "Oceania", "test")["mean_km"] < 10, "no seam at 180 degrees"
    assert row(reading.dynamics, "Atlantis", "virtual")["mean_km"] < 5, "Atlantis lies on the planted map"


def rotation(n: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(2).normal(size=(n, n)))[0]


def test_shuffled_cities_fall_to_chance(world: World) -> None:
    order = np.random.default_rng(3).permutation(len(world))
    shuffled = np.column_stack([world.lon, world.lat, noise(world, 5)])[order]
    for read in (read_degrees, read_sphere):
        test = row(read(shuffled, world, CONFIG).dynamics, "real", "test")
        assert test["lat_r2"] < 0.05 and test["lon_r2"] < 0.05
        assert test["mean_km"] > 4_000


def test_atlantis_is_probed_by_its_own_rows(world: World) -> None:
    """The study probed ids 0..99 for Atlantis. Here only the rows of ids 5075..5174 may matter."""
    planted = np.column_stack([world.lon, world.lat, noise(world, 5)])
    good = row(read_degrees(planted, world, CONFIG).dynamics, "Atlantis", "virtual")
    spoiled = planted.copy()
    spoiled[world.first_virtual :, :2] = np.random.default_rng(4).uniform(-90, 90, (world.n_virtual, 2))
    bad = row(read_degrees(spoiled, world, CONFIG).dynamics, "Atlantis", "virtual")
    assert good["n"] == bad["n"] == 100
    assert good["mean_km"] < 5 and bad["mean_km"] > 2_000


def test_a_region_left_out_is_not_fitted_on(world: World) -> None:
    """A feature that only tells Japan's cities where they are is of no use when Japan is left out."""
    planted = np.column_stack([world.lon, world.lat]) * 0.0 + noise(world, 2) * 0.01
    japan = world.ids_of("Japan")
    planted[japan] = np.column_stack([world.lon[japan], world.lat[japan]])
    reading = read_degrees(planted, world, ProbeConfig())
    assert reading.variants is not None
    left_out = reading.variants[reading.variants["group"] == "Japan"].set_index("variant")["mean_km"]
    assert row(reading.dynamics, "Japan", "test")["mean_km"] < 1_500 < left_out["region left out"]


def test_the_pool_may_hold_atlantis(world: World) -> None:
    """A feature that only Atlantis has is learned when part of Atlantis is in the pool, and not otherwise."""
    planted = noise(world, 10) * 0.1
    planted[:, 0] = world.is_virtual * 10.0
    reading = read_degrees(planted, world, CONFIG)
    assert reading.variants is not None
    pooled = reading.variants[(reading.variants["variant"] == "virtual in the pool")].set_index("group")["mean_km"]
    assert pooled["Atlantis"] < 1_500 < row(reading.dynamics, "Atlantis", "virtual")["mean_km"]


def test_the_seed_split_is_the_studys(world: World) -> None:
    train, test = degrees_split(world, ProbeConfig())
    assert (len(train), len(test)) == (3_000, 2_000)
    assert not set(train) & set(test)
    assert max(train.max(), test.max()) < 5_075
    assert np.array_equal(train, degrees_split(world, ProbeConfig())[0])
    assert not np.array_equal(train, degrees_split(world, ProbeConfig(seed=1))[0])


def test_further_splits_give_the_interval_and_leave_the_studys_numbers_alone(world: World) -> None:
    planted = np.column_stack([unit_vectors(world.lon, world.lat), noise(world, 3) * 0.3])
    one, five = (read_degrees(planted, world, ProbeConfig(repeats=n)).dynamics for n in (1, 5))
    assert "mean_km_low" in five and one["mean_km_low"].isna().all()
    assert one["mean_km"].tolist() == five["mean_km"].tolist()
    values = []
    for repeat in range(5):
        train, test = degrees_split(world, ProbeConfig(), repeat)
        ridge = SklearnRidge(alpha=10.0).fit(planted[train], np.column_stack([world.lon, world.lat])[train])
        values.append(metrics(world.lon[test], world.lat[test], *ridge.predict(planted[test]).T)["mean_km"])
    assert len(set(values)) == 5
    real = row(five, "real", "test")
    assert real["mean_km"] == pytest.approx(values[0])
    half = 2.776445 * np.std(np.log(values), ddof=1) * math.sqrt(1 / 5 + 2 / 3)
    ends = np.mean(values) * np.exp([-half, half])
    assert (real["mean_km_low"], real["mean_km_high"]) == pytest.approx(tuple(ends), rel=1e-6)


@pytest.mark.parametrize("read", [read_degrees, read_sphere])
def test_intervals_hold_the_score_and_keep_its_bounds(read, world: World) -> None:
    """A map so good that R2 is near 1, and one that is not there; regions of hundreds of cities, and of a dozen."""
    for spread in (0.02, 3.0):
        planted = np.column_stack([world.lon, world.lat, noise(world, 8)]) + noise(world, 10, 1) * 90 * spread
        table = read(planted, world, ProbeConfig()).dynamics.query("split != 'train'")
        for key, bound in (("lon_r2", 1.0), ("lat_r2", 1.0), ("mean_km", np.inf), ("median_km", np.inf)):
            low, value, high = (table[name].to_numpy() for name in (f"{key}_low", key, f"{key}_high"))
            known = np.isfinite(low)
            assert known.sum() >= 12 and np.array_equal(known, np.isfinite(high))
            assert (low <= value)[known].all() and (value <= high)[known].all() and (high <= bound)[known].all()
            assert key.endswith("r2") or (low > 0)[known].all()


def test_folds_have_the_correction_too(world: World) -> None:
    """And the virtual cities, which every fold's probe sees, the jackknife's: no fold of cities is independent."""
    planted = np.column_stack([unit_vectors(world.lon, world.lat), noise(world, 3) * 0.3])
    reading = read_sphere(planted, world, CONFIG)
    fold, real = folds(world, CONFIG), row(reading.dynamics, "real", "test")
    km = reading.predictions["error_km"].to_numpy()[: world.n_real]
    spread = np.std(np.log([km[fold == k].mean() for k in range(5)]), ddof=1)
    half = 2.776445 * spread * math.sqrt(1 / 5 + 1 / 4)
    ends = real["mean_km"] * np.exp([-half, half])
    assert (real["mean_km_low"], real["mean_km_high"]) == pytest.approx(tuple(ends), rel=1e-5)
    ids = np.arange(world.first_virtual, len(world))
    seen = [np.stack(lon_lat(fit.predict(planted[ids])), axis=1) for fit in reading.fits]
    of_fits = [haversine_km(world.lon[ids], world.lat[ids], *places.T).mean() for places in seen]
    half = 2.776445 * np.std(np.log(of_fits), ddof=1) * math.sqrt(16 / 5)
    atlantis = row(reading.dynamics, "Atlantis", "virtual")
    assert atlantis["mean_km_high"] == pytest.approx(atlantis["mean_km"] * math.exp(half), rel=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("read", [read_degrees, read_sphere])
@pytest.mark.parametrize("repeats", [2, 5])
def test_what_has_no_interval_has_none(read, repeats: int) -> None:
    """Two folds; a region of two cities; a region on one parallel, whose latitudes do not vary."""
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-60, 60, 60), rng.uniform(-60, 60, 60)
    groups = np.array(["many"] * 46 + ["two"] * 2 + ["parallel"] * 12)
    lat[48:] = 10.0
    features = unit_vectors(lon, lat) + rng.normal(size=(60, 3)) * 0.1
    protocol = "degrees" if read is read_degrees else "sphere"
    config = ProbeConfig(n_cities=60, n_train=36, repeats=repeats)
    table = read_any(features, lon, lat, groups, protocol, config).dynamics.query("split == 'test'").set_index("group")
    ends = [name for name in table.columns if name.endswith(("_low", "_high"))]
    if repeats == 2:
        assert table[ends].isna().to_numpy().all()
        return
    assert table.loc["real", ends].notna().all() and table.loc["many", ["mean_km_low", "mean_km_high"]].notna().all()
    assert "two" not in table.index or table.loc["two", ends].isna().all()
    assert np.isnan(table.loc["parallel", "lat_r2_low"]) and np.isfinite(table.loc["parallel", "mean_km_low"])


def test_side_by_side_is_in_order_and_does_not_hide_an_error() -> None:
    assert side_by_side(lambda n: n**2, range(20)) == [n**2 for n in range(20)]
    assert side_by_side(lambda n: n, []) == []
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda n: 1 // n, [1, 0])


def test_pieces_of_pieces_share_the_threads_and_find_the_same() -> None:
    at_once, most_at_once, lock = set(), [], threading.Lock()

    def inner(n: int) -> float:
        with lock:
            at_once.add(threading.get_ident())
            most_at_once.append(len(at_once))
        found = float(np.linalg.eigh(squares[n % 3])[0].sum())
        with lock:
            at_once.discard(threading.get_ident())
        return found

    def outer(n: int) -> list[float]:
        assert torch.get_num_threads() == 1
        return side_by_side(inner, range(n, n + 3))

    random = np.random.default_rng(0)
    squares = [a @ a.T for a in random.normal(size=(3, 200, 200))]
    n_torch = torch.get_num_threads()
    found = {}
    for n_threads in (1, 2, 5):
        with threadpool_limits(n_threads, user_api="blas"):
            most_at_once.clear()
            found[n_threads] = list(as_they_come(outer, range(4), most=2))
            assert max(most_at_once) <= n_threads
    assert found[1] == found[2] == found[5]
    assert torch.get_num_threads() == n_torch


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), min_size=2, max_size=20))
@settings(max_examples=50)
def test_r2_is_scikit_learns(points: list[tuple[float, float]]) -> None:
    true, predicted = np.array(points).T
    if np.ptp(true) >= LEAST_SPREAD:
        assert r2(true, predicted) == pytest.approx(r2_score(true, predicted), rel=1e-6, abs=1e-9)


def test_metrics_by_hand() -> None:
    found = metrics(np.array([0.0, 10.0]), np.array([0.0, 0.0]), np.array([1.0, 10.0]), np.array([0.0, 95.0]))
    degree = HALF_CIRCUMFERENCE_KM / 180
    assert found["lon_mae"] == 0.5 and found["n"] == 2
    assert found["mean_km"] == pytest.approx(degree * (1 + 90) / 2), "a latitude beyond the pole is the pole"
    assert math.isnan(found["lat_r2"]), "latitudes do not vary"


def test_unreadable_answers_count_with_the_penalty() -> None:
    cities, slices = np.arange(8).reshape(4, 2), np.array([0, 0, 1, 2], np.uint8)
    pairs = Questions.of(DISTANCE, cities, np.full(4, 1_000), slices)
    tidy = score(np.array([1_000, 900, -1, 1_300]), pairs)
    scores = by_slice(tidy)
    assert scores_of({"scores": [entry._asdict() for entry in tidy]}) == tidy, "as it is recorded"
    assert scores["world-world"]["mean_km"] == 50 and scores["world-world"]["parsed"] == 1
    assert scores["world-atlantis"]["mean_km"] == HALF_CIRCUMFERENCE_KM and scores["world-atlantis"]["parsed"] == 0
    assert scores["atlantis-atlantis"]["median_km"] == 300
    assert scores["all"]["n"] == 4 and scores["all"]["parsed"] == 0.75
    assert scores["all"]["max_km"] == HALF_CIRCUMFERENCE_KM and scores["all"]["min_km"] == 0


def test_a_pool_is_scored_on_the_virtual_cities_that_are_not_in_it() -> None:
    world, config = World.build(), ProbeConfig(n_cities=800, n_train=500)
    variants = read_degrees(np.random.default_rng(0).normal(size=(len(world), 4)), world, config).variants
    pooled = variants[(variants["variant"] == "virtual in the pool") & (variants["group"] == "Atlantis")]
    assert pooled["n"].tolist() == [100 - round(100 * 500 / 800)]


def test_the_interval_of_virtual_cities_has_the_share_of_the_probes() -> None:
    world = World.build()
    rng = np.random.default_rng(0)
    planted = np.column_stack([unit_vectors(world.lon, world.lat), rng.normal(size=(len(world), 3)) * 0.3])
    row = read_degrees(planted, world, ProbeConfig()).dynamics.query("group == 'Atlantis'").iloc[0]
    truth, values = np.stack([world.lon, world.lat], axis=1), []
    virtual = np.arange(world.first_virtual, len(world))
    for repeat in range(5):
        ids, _ = degrees_split(world, ProbeConfig(), repeat)
        predicted = fit_ridge(planted[ids], truth[ids], [10.0]).predict(planted[virtual])
        values.append(metrics(*truth[virtual].T, *predicted.T)["mean_km"])
    half = 2.776445 * np.std(np.log(values), ddof=1) * np.sqrt(1 / 5 + 3_000 / 2_075)
    assert (row["mean_km_low"], row["mean_km_high"]) == pytest.approx(
        tuple(np.mean(values) * np.exp([-half, half])), rel=1e-5
    )


def test_a_city_that_lies_farther_north_is_another_city() -> None:
    theirs, ours = (World.build(regions=[VirtualRegion(kind="flat", lat=lat, count=12)]) for lat in (35.0, 20.0))
    assert (theirs.lon == ours.lon).all() and (theirs.lat != ours.lat).any()
    config = DatasetConfig(kind="cross", n_train=500, n_val=5, n_test=50)
    assert len(shared_questions(ours, config, theirs)) == 0
