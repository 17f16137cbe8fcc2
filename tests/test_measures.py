"""The whole table of measures: same states, no change; every kind of world; checkpoints that cannot be read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from threadpoolctl import threadpool_limits

from atlantis import config as configs
from atlantis import trust
from atlantis.cli import main
from atlantis.errors import PartFailed, UserError
from atlantis.model import Transformer
from atlantis.readout import analysis
from atlantis.readout.activations import probe_states
from atlantis.readout.analysis import probe_run
from atlantis.readout.compared import SeenPlaces, block_features, like
from atlantis.readout.damage import Displacement
from atlantis.readout.initial import initial_std
from atlantis.readout.layers import run_layer_table
from atlantis.readout.layout import LAYOUT
from atlantis.readout.measures import Measures
from atlantis.readout.outputs import answer_distributions, kl_per_token, real_questions
from atlantis.readout.placed import metrics
from atlantis.readout.probes import read_sphere
from atlantis.readout.ridge import fit_ridge
from atlantis.readout.skill import SHARES
from atlantis.readout.source import Source
from atlantis.readout.splits import degrees_split, folds, groups
from atlantis.settings import ProbeConfig, RunConfig
from atlantis.sphere import haversine_km, unit_vectors
from atlantis.tasks.score import Score
from atlantis.training.finished import open_finished
from atlantis.vocabulary import Vocabulary
from atlantis.world import World
from atlantis.world.virtual import VirtualRegion

CONFIG = ProbeConfig(layers=[1, 2], repeats=3)
ATLANTIS = VirtualRegion(count=8)
MU = VirtualRegion(name="Mu", code="XX1", lon=-150.0, lat=38.0, count=6)
DUST = VirtualRegion(name="Dust", code="XX2", kind="scattered", count=5)


def new(vocabulary: Vocabulary, seed: int) -> Transformer:
    model = Transformer(vocabulary.size, 44, width=32, n_layers=3, n_heads=2, mlp_width=64)
    model.initialise(0.1, torch.Generator().manual_seed(seed))
    return model


def measured(
    world: World, kind: str = "characters", seeds: tuple[int, ...] = (0, 0, 1), config: ProbeConfig = CONFIG
) -> Measures:
    """Untrained models in place of checkpoints 0, 10, 20, ...; equal seeds are equal models."""
    vocabulary, measures = Vocabulary(kind, len(world)), Measures(world, config)  # type: ignore[arg-type]
    for i, seed in enumerate(seeds):
        model = new(vocabulary, seed)
        states = probe_states(model, vocabulary, np.arange(len(world)), range(3))
        fits = read_sphere(block_features(states, config.layers), world, config).fits
        measures.read(10 * i, model, vocabulary, states, fits)
    return measures


def at(table: pd.DataFrame, step: int, layer: str = "1+2", group: str = "real") -> pd.Series:
    rows = table[(table["step"] == step) & (table["layer"] == layer) & (table["group"] == group)]
    return rows.set_index("metric")["value"]


def test_the_same_states_have_not_changed_and_others_have(small_world: World) -> None:
    measures = measured(small_world)
    table = measures.table()
    assert tuple(table.columns) == LAYOUT and not table["value"].isna().any()
    assert not table.duplicated(["step", "layer", "group", "metric"]).any()
    same, other = at(table, 10), at(table, 20)
    for metric in ("procrustes", "angle_max", *SHARES, "moved_km", "shift_length"):
        assert same[metric] == pytest.approx(0, abs=1e-6) and abs(other[metric]) > 1e-3, metric
    assert same["skill_frozen"] == same["skill_shifted"] == same["skill_refit"] and same["cka"] == pytest.approx(1)
    assert at(table, 10, "answers", "old")["kl_old"] == pytest.approx(0, abs=1e-9)
    assert at(table, 20, "answers", "old")["kl_old"] > 0.01
    whole = at(table, 0)["skill_refit"] - other["skill_frozen"]
    assert sum(other[share] for share in SHARES) == pytest.approx(whole)
    assert 0 < other["shift_share"] < 1 and "shift_share" not in same and "shift_lon" not in same
    assert "damage_by_distance_anywhere" in other and "damage_by_distance" not in same
    assert "tangential_share" not in same and 0 < other["tangential_share"] < 1
    assert {"0", "1", "2", "1+2", "answers"} == set(table["layer"])
    chance = at(table, 0)
    assert {"km_untrained", "km_permuted", "lon_r2_untrained", "lat_r2_permuted"} <= set(chance.index)
    assert "km_untrained" not in same
    virtual = at(table, 20, group="Atlantis")
    assert {"integration_km", "off_manifold", "constellation_disparity", "km_frozen", "km_shifted", "moved_km"} <= set(
        virtual.index
    )
    cities = pd.concat(measures.cities)
    assert len(cities) == 3 * len(small_world)
    real = cities[(cities["step"] == 20) & (cities["id"] < small_world.n_real)]
    for probe in ("frozen", "shifted"):
        assert real[f"{probe}_error_km"].mean() == pytest.approx(other[f"km_{probe}"], rel=1e-5)
    whole = np.hypot(real["radial_km"], real["tangential_km"]).mean()
    assert whole == pytest.approx(other["moved_km"], rel=1e-5), "what moved is what moved beyond the shift"


@pytest.mark.parametrize("kind", ["characters", "city"])
@pytest.mark.parametrize("regions", [[], [DUST], [ATLANTIS, MU, DUST]], ids=["none", "scattered", "several"])
def test_every_kind_of_world(kind: str, regions: list[VirtualRegion], thirty_cities: Path) -> None:
    measures = measured(World.build(thirty_cities, regions), kind, seeds=(0, 1))
    table = measures.table()
    compact = {region.name for region in regions} - {"Dust"}
    assert set(table[table["metric"] == "integration_km"]["group"]) == {region.name for region in regions}
    assert set(table[table["metric"] == "tangential_share"]["group"]) == (compact | {"real"} if compact else set())
    assert ("damage_by_distance" in set(table["metric"])) == bool(compact)
    assert measures.cities[1]["radial_km"].isna().all() == (not compact)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 2])
def test_a_region_of_one_city_or_two_has_numbers_and_no_interval(count: int, thirty_cities: Path) -> None:
    """And thirty cities in two folds: what is too few for an interval has none, and nothing warns."""
    world = World.build(thirty_cities, [VirtualRegion(count=count)])
    table = measured(world, seeds=(0, 1), config=CONFIG.model_copy(update={"repeats": 2})).table()
    rows = table[table["group"] == "Atlantis"].set_index("metric")
    for metric in ("km_frozen", "km_refit", "integration_km", "moved_km"):
        assert (
            np.isfinite(rows.loc[metric, "value"]).all() and rows.loc[[metric], ["low", "high"]].isna().to_numpy().all()
        )
    finite = table[table["low"].notna() & ~table["metric"].str.contains("isotropic|anywhere")]
    assert (finite["low"] <= finite["high"]).all() and len(finite)


def test_an_untrained_model_of_the_same_shape_is_another_model() -> None:
    model = new(Vocabulary("characters", 30), 5)
    fresh = like(model, std=0.1, seed=0)
    assert {k: v.shape for k, v in fresh.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert not torch.equal(fresh.embedding.weight, model.embedding.weight)


def test_the_untrained_model_begins_as_the_runs_first_base_did(small_run: Path, tmp_path: Path) -> None:
    config = configs.load(small_run / "config.yaml")
    base, fine = tmp_path / "base", tmp_path / "fine"
    for folder, std, above in ((base, 0.05, None), (fine, 0.3, "base")):
        (folder / "checkpoints" / "final").mkdir(parents=True)
        model = config.model.model_copy(update={"init_std": std})
        asked = config.model_copy(update={"model": model, "base": above})
        (folder / "config.yaml").write_text(configs.dump(asked, folder))
    assert initial_std(base) == 0.05
    assert initial_std(fine) == 0.3, "where its base lies is not known"
    trust.write_record(fine, {"base": {"path": str(base / "checkpoints" / "final")}})
    assert initial_std(fine) == 0.05
    wide, narrow = (like(new(Vocabulary("characters", 30), 5), std, seed=0) for std in (0.1, 0.05))
    torch.testing.assert_close(wide.embedding.weight, 2 * narrow.embedding.weight)


def test_kl_by_hand() -> None:
    p, q = np.array([[[0.5, 0.5]] * 2]), np.array([[[0.25, 0.75], [0.5, 0.5]]])
    expected = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    assert kl_per_token(np.log(p), np.log(q))[0] == pytest.approx(expected / 2)
    past_the_end = np.concatenate([np.log(q), np.full((1, 1, 2), np.nan)], axis=1)
    before = np.concatenate([np.log(p), np.full((1, 1, 2), np.nan)], axis=1)
    assert kl_per_token(before, past_the_end)[0] == pytest.approx(expected / 2)


@pytest.fixture()
def run(small_run: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy that may be spoiled, beside the small run: its config names the cities from there."""
    yield shutil.copytree(small_run, small_run.with_name(tmp_path.name))
    shutil.rmtree(small_run.with_name(tmp_path.name))


def contents(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted((run / "analysis").rglob("*")) if p.is_file()}


def test_an_unreadable_checkpoint_does_not_stop_the_rest(
    run: Path, small_config: RunConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = contents(run)
    weights = run / "checkpoints" / "checkpoint-3" / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-4])
    assert main(["probe", str(run), "--table"]) == 1
    said, message = capsys.readouterr()
    assert message.count("\n") == 1 and "checkpoint-3" in message and "the other 3 of 4" in message
    assert "mean km by group" in said and "by layer and position" in said
    for table in (run / "analysis" / "map" / "measures.parquet", run / "analysis" / "layers" / "layers.parquet"):
        assert set(pd.read_parquet(table)["step"]) == {0, 10, 20}
    shutil.rmtree(run / "analysis" / "layers")
    weights.write_bytes(good)
    read: list[int] = []
    measure = analysis.Measures.read
    monkeypatch.setattr(
        analysis.Measures, "read", lambda self, step, *rest: (read.append(step), measure(self, step, *rest))
    )
    analysis.probe_checkpoints(run, World.from_config(small_config.world), small_config.probe)
    assert read == [0, 3], "the first step, which others are compared with, and what was missing"
    assert contents(run) == whole


def test_all_are_read_again_where_some_are_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, aside = contents(run), run.with_name(f"{run.name}_aside")
    shutil.move(run / "checkpoints" / "checkpoint-10", aside)
    probe_run(run)
    shutil.move(aside, run / "checkpoints" / "checkpoint-10")
    read: list[int] = []
    measure = analysis.Measures.read
    monkeypatch.setattr(
        analysis.Measures, "read", lambda self, step, *rest: (read.append(step), measure(self, step, *rest))
    )
    probe_run(run)
    assert sorted(read) == [0, 3, 10, 20] and contents(run) == whole


def test_states_that_are_no_numbers_do_not_stop_the_rest(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = Source.states

    def spoiled(self: Source, *given: Any) -> np.ndarray:
        if self.path.name == "checkpoint-3":
            raise UserError(f"{self.path}: its hidden states hold NaN")
        return states(self, *given)

    monkeypatch.setattr(Source, "states", spoiled)
    with pytest.raises(PartFailed, match=r"checkpoint-3.*the other 3 of 4"):
        probe_run(run)


def test_old_prompts_come_in_the_order_of_training(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.build()
    fair, in_order = real_questions(world, 42), real_questions(world, 42, order="smaller_first")
    assert 0.4 < (fair.cities[:, 0] < fair.cities[:, 1]).mean() < 0.6
    assert np.array_equal(in_order.cities, np.sort(fair.cities, axis=1))
    config = configs.load_of_run(run)
    ordered = config.model_copy(update={"dataset": config.dataset.model_copy(update={"order": "smaller_first"})})
    (run / "config.yaml").write_text(configs.dump(ordered, run))
    asked: list[Any] = []
    monkeypatch.setattr(analysis, "_read", lambda *given: (asked.append(given[-1]), ({}, {0: UserError("enough")}))[1])
    with pytest.raises(UserError, match="enough"):
        analysis.probe_checkpoints(run, World.from_config(config.world), config.probe, again=True)
    prompts = asked[0].constants.prompts.cities
    assert (prompts[:, 0] < prompts[:, 1]).all()


def test_another_checkpoint_in_a_steps_place_is_not_read(run: Path) -> None:
    """Whole as it may be: not by the table of layers, and not by what opens a finished run."""
    folders = run / "checkpoints"
    open_finished(run)
    shutil.rmtree(folders / "checkpoint-3")
    shutil.copytree(folders / "checkpoint-10", folders / "checkpoint-3")
    with pytest.raises(UserError, match="checkpoint-3: is not the checkpoint that this run wrote at step 3"):
        open_finished(run)
    table, problems = run_layer_table(run)
    assert set(table["step"]) == {0, 10, 20}
    assert len(problems) == 1 and "is not the checkpoint that this run wrote at step 3" in str(problems[0])
    shutil.rmtree(folders / "checkpoint-3")
    shutil.rmtree(folders / "final")
    shutil.copytree(folders / "checkpoint-0", folders / "final")
    with pytest.raises(UserError, match=r"final: is of another run \(atlantis train .* --resume\)"):
        open_finished(run)


def test_a_number_has_one_interval(thirty_cities: Path) -> None:
    """Of a region without a city in some of the folds: as the sphere protocol has it."""
    config = CONFIG.model_copy(update={"repeats": 8})
    world = World.build(thirty_cities)
    measures, fold = measured(world, seeds=(0,), config=config), folds(world, config)
    vocabulary = Vocabulary("characters", len(world))
    states = probe_states(new(vocabulary, 0), vocabulary, np.arange(len(world)), range(3))
    sphere = read_sphere(block_features(states, config.layers), world, config).dynamics.set_index("group")
    table = measures.table()
    km = table[table["metric"] == "km_refit"].set_index("group")
    real = [(region, ids) for region, ids in groups(world) if ids[0] < world.n_real]
    some = [region for region, ids in real if 3 <= len(np.unique(fold[ids])) < 8]
    assert some and km.loc[some, "low"].notna().any()
    for end in ("low", "high"):
        np.testing.assert_allclose(km.loc[some, end], sphere.loc[some, f"mean_km_{end}"], rtol=1e-6)


def test_numbers_of_another_version_are_made_again(
    run: Path, small_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their names may be the same and their meaning another, so that none of them is added to."""
    whole = contents(run)
    monkeypatch.setattr(analysis, "VERSION", analysis.VERSION + 1)
    analysis.probe_checkpoints(run, World.from_config(small_config.world), small_config.probe)
    again = contents(run)
    assert [name for name in whole if again[name] != whole[name]] == ["analysis/map/manifest.json"]


@pytest.mark.parametrize("n_threads", [1, 3])
def test_the_bytes_do_not_depend_on_the_number_of_threads(run: Path, n_threads: int) -> None:
    whole = contents(run)
    shutil.rmtree(run / "analysis")
    with threadpool_limits(n_threads, user_api="blas"):
        probe_run(run)
    assert contents(run) == whole


def test_without_measures_both_protocols_are_the_same_and_there_is_no_map(run: Path, small_config: RunConfig) -> None:
    whole = contents(run)
    shutil.rmtree(run / "analysis")
    config = small_config.probe.model_copy(update={"measures": False})
    world = World.from_config(small_config.world)
    analysis.probe_checkpoints(run, world, config)
    found = contents(run)
    assert set(found) == {name for name in whole if not name.startswith("analysis/map/")}
    assert all(found[name] == whole[name] for name in found)
    before = (run / "analysis" / "degrees" / "manifest.json").stat()
    analysis.probe_checkpoints(run, world, config)
    assert (run / "analysis" / "degrees" / "manifest.json").stat().st_mtime_ns == before.st_mtime_ns, "made again"
    analysis.probe_checkpoints(run, world, small_config.probe)
    assert contents(run) == whole, "asked for later, they are added"


def test_a_run_without_measures_gets_them_when_asked(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = contents(run)
    shutil.rmtree(run / "analysis" / "map")
    assert main(["probe", str(run), "--no-measures"]) == 0 and not (run / "analysis" / "map").exists()
    assert main(["probe", str(run), "--measures"]) == 0 and contents(run) == whole
    assert main(["probe", str(run), "--no-measures"]) == 0 and contents(run) == whole, "what is there stays"
    capsys.readouterr()
    final = str(run / "checkpoints" / "final")
    assert (
        main(["probe", final, "--measures"]) == 2
        and "one model has nothing to be compared with" in capsys.readouterr().err
    )


def test_a_checkpoint_that_was_taken_away_leaves_no_rows(run: Path) -> None:
    shutil.rmtree(run / "checkpoints" / "checkpoint-3")
    shutil.rmtree(run / "checkpoints" / "checkpoint-20")
    probe_run(run)
    for file in ("map/measures.parquet", "map/cities.parquet", "degrees/predictions.parquet"):
        assert set(pd.read_parquet(run / "analysis" / file)["step"]) == {0, 10}


def test_an_older_run_keeps_the_folder_of_the_protocol_s_old_name(run: Path, small_config: RunConfig) -> None:
    (run / "analysis" / "degrees").rename(run / "analysis" / "seed")
    assert analysis.is_probed(run, small_config.probe)
    shutil.rmtree(run / "checkpoints" / "checkpoint-3")
    assert not analysis.is_probed(run, small_config.probe)
    probe_run(run)
    assert set(pd.read_csv(run / "analysis" / "seed" / "representation_dynamics.csv")["step"]) == {0, 10, 20}
    assert not (run / "analysis" / "degrees").exists()


def test_nothing_readable_writes_nothing(run: Path) -> None:
    before = contents(run)
    for weights in (run / "checkpoints").rglob("model.safetensors"):
        weights.unlink()
    with pytest.raises(UserError, match="checkpoint-0") as raised:
        probe_run(run)
    assert not isinstance(raised.value, PartFailed)
    assert contents(run) == before


def test_a_run_of_another_world_is_refused_in_one_message(run: Path) -> None:
    config, whole = run / "config.yaml", contents(run)
    before, world = config.read_text().split("world:\n")
    config.write_text(before + "world:\n" + world.replace("seed: 42", "seed: 7", 1))
    with pytest.raises(UserError, match=r"world\.seed: 42 -> 7"):
        probe_run(run)
    record = json.loads((run / "run.json").read_text())
    older = {key: value for key, value in record.items() if key not in (*trust.WITH_SEAL, "seal")}
    (run / "run.json").write_text(json.dumps(older))
    probe_run(run)
    assert contents(run) == whole, "a run is read in the world that it was made in"
    del older["digests"]  # as of a version that recorded none
    (run / "run.json").write_text(json.dumps(older))
    with pytest.raises(UserError, match="trained on another world"):
        probe_run(run)


def planted(world: World, *states: np.ndarray, config: ProbeConfig = CONFIG) -> Measures:
    """Measures of planted states, steps 0, 10, ...; of the models only the answers count."""
    vocabulary, measures = Vocabulary("characters", len(world)), Measures(world, config)
    for i, of_step in enumerate(states):
        fits = read_sphere(block_features(of_step, config.layers), world, config).fits
        measures.read(10 * i, new(vocabulary, i), vocabulary, of_step, fits)
    return measures


def a_map(world: World, seed: int = 0) -> np.ndarray:
    """States that are places, with a little noise."""
    states = 0.01 * np.random.default_rng(seed).normal(size=(len(world), 3, 3, 32)).astype(np.float32)
    states[..., :3] += 10 * unit_vectors(world.lon, world.lat)[:, None, None].astype(np.float32)
    return states


def test_a_map_of_permuted_cities_is_none(small_world: World) -> None:
    first = at(planted(small_world, a_map(small_world)).table(), 0)
    assert first["km_refit"] < 500 and first["km_permuted"] > 4_000


def test_chance_is_scored_on_cities_that_the_probe_has_not_seen(small_world: World) -> None:
    measures = planted(small_world, a_map(small_world))
    train_ids, test = degrees_split(small_world, CONFIG)
    shuffled = np.random.Generator(np.random.PCG64(CONFIG.seed)).permutation(small_world.n_real)
    features = block_features(a_map(small_world), CONFIG.layers)[shuffled]
    truth = np.stack([small_world.lon, small_world.lat], axis=1)
    fit = fit_ridge(features[train_ids], truth[train_ids], [CONFIG.alpha])
    expected = metrics(*truth[test].T, *fit.predict(features[test]).T)
    assert at(measures.table(), 0)["lat_r2_permuted"] == pytest.approx(expected["lat_r2"], rel=1e-4)


def test_a_shift_alone_moves_no_city_beyond_it(small_world: World) -> None:
    states = a_map(small_world)
    table = planted(small_world, states, states + np.float32(2.0)).table()
    assert at(table, 10)["shift_length"] > 0.1 and at(table, 10)["moved_km"] < 5 < at(table, 10)["km_frozen"]


def test_off_manifold_is_read_on_cities_that_the_subspace_has_not_seen(small_world: World) -> None:
    noise = np.random.default_rng(0).normal(size=(len(small_world), 3, 3, 32)).astype(np.float32)
    assert at(planted(small_world, noise).table(), 0)["off_manifold"] > 0.5, "192 directions, and 20 cities to fit on"


def test_kl_is_from_the_first_answers_to_those_of_now(small_world: World) -> None:
    states, vocabulary = a_map(small_world), Vocabulary("characters", len(small_world))
    table = planted(small_world, states, states).table()
    prompts = real_questions(small_world, CONFIG.seed)
    first, now = (answer_distributions(new(vocabulary, i), vocabulary, prompts) for i in (0, 1))
    assert at(table, 10, "answers", "old")["kl_old"] == pytest.approx(kl_per_token(first, now).mean())


@pytest.fixture(scope="module")
def two_regions(thirty_cities: Any) -> tuple[World, Measures]:
    world = World.build(thirty_cities, [ATLANTIS, MU])
    return world, planted(world, a_map(world), a_map(world) + 0.5 * a_map(world, 1)[:, :, :, ::-1])


def test_what_goes_with_the_distance_to_the_nearest_region(two_regions: tuple[World, Measures]) -> None:
    world, measures = two_regions
    table, cities = measures.table(), pd.concat(measures.cities).query("step == 10")
    centres = [(region.lon, region.lat) for region in world.virtual_regions]
    away = np.array([haversine_km(*centre, world.lon, world.lat) for centre in centres])
    moved = np.hypot(cities["radial_km"], cities["tangential_km"]).to_numpy()[: world.n_real]
    expected = spearmanr(moved, away.min(0)[: world.n_real])[0]
    assert at(table, 10)["damage_by_distance"] == pytest.approx(expected, abs=1e-3)


def test_parts_are_about_the_nearest_centre(two_regions: tuple[World, Measures]) -> None:
    world, measures = two_regions
    before, after = (table for table in measures.cities)
    moved = Displacement.between(
        *(np.asarray(table[f"shifted_{name}"], float) for table in (before, after) for name in ("lon", "lat"))
    )
    regions = world.virtual_regions
    away = np.array([haversine_km(region.lon, region.lat, world.lon, world.lat) for region in regions])
    nearest = away.argmin(0)
    radial, _ = moved.about(
        *(np.array([getattr(region, name) for region in regions])[nearest] for name in ("lon", "lat"))
    )
    np.testing.assert_allclose(after["radial_km"], radial, rtol=0.05, atol=20)


def test_the_tasks_error_is_the_mean_one(small_world: World) -> None:
    measures = Measures(small_world, CONFIG)
    of = {"slice": "world-world", "unit": "km", "n": 4}
    measures.add_scores(
        [Score("distance", metric=name, value=value, **of) for name, value in (("mean", 5.0), ("median", 3.0))]
    )
    assert measures.table()["value"].tolist() == [5.0]


def test_virtual_cities_are_seen_by_the_mean_of_the_folds_probes(small_world: World) -> None:
    features, fold = block_features(a_map(small_world), CONFIG.layers), folds(small_world, CONFIG)
    fits = read_sphere(features, small_world, CONFIG).fits
    virtual = features[small_world.first_virtual :]
    expected = np.mean([fit.predict(virtual) for fit in fits], axis=0)
    places = SeenPlaces(small_world, features, fits, fold)
    np.testing.assert_allclose(places.directions[small_world.first_virtual :], expected)


def test_the_first_scale_of_the_run_is_that_of_the_untrained_model(
    small_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[float] = []

    class Noted(Measures):
        def __init__(self, world: World, config: ProbeConfig, task: Any, std: float = -1.0, *more: Any) -> None:
            noted.append(std)
            super().__init__(world, config, task, std, *more)

    monkeypatch.setattr(analysis, "Measures", Noted)
    monkeypatch.setattr(analysis, "initial_std", lambda run: 0.37)
    monkeypatch.setattr(analysis, "_write", lambda *_: None)
    monkeypatch.setattr(analysis, "_tables_of", lambda *_: None)
    analysis.probe_checkpoints(small_run, World.from_config(configs.load(small_run / "config.yaml").world), CONFIG)
    assert noted == [0.37]
