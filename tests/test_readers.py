"""What is trained is not lost to what reads it: few cities, empty tables, names that meet, files edited or gone."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlantis import artifacts, cli, names, show, sweep, trust
from atlantis import config as configs
from atlantis.data.dataset import Dataset
from atlantis.errors import PartFailed, UserError
from atlantis.interpolate import interpolate
from atlantis.model import Transformer
from atlantis.model.checkpoint import facts_of, save_checkpoint
from atlantis.readout import analysis
from atlantis.readout.placed import r2, variant_columns
from atlantis.readout.probes import read
from atlantis.readout.splits import FEWEST, without_r2
from atlantis.report import run_data
from atlantis.report.export import run_tables
from atlantis.report.page import write_report
from atlantis.report.tables import ABSENT, run_sheet
from atlantis.settings import ProbeConfig, RunConfig
from atlantis.sweep import Local
from atlantis.sweep.plan import sweep_of
from atlantis.sweep.results import MEASURES, gather, measures
from atlantis.training import loop, train
from atlantis.training.base import find_base
from atlantis.training.past import Past
from atlantis.vocabulary import SYMBOLS, Vocabulary
from atlantis.world import VirtualRegion, World
from atlantis.world.of_run import recorded_digest, saved_world, world_of

INPUTS = Path(__file__).with_name("inputs") / "runs"
ATLANTIS = [VirtualRegion(count=8)]


# --- every table of the analysis, whatever the world


def ring(n: int, lat: float = 40.0) -> tuple[np.ndarray, np.ndarray]:
    lon = np.linspace(-170, 170, n)
    return lon, lat + 20 * np.sin(np.radians(3 * lon))


SPREAD = ring(24)
WORLDS: dict[str, Any] = {
    "one region": (*SPREAD, ["A"] * 24, []),
    "one region and Atlantis": (*SPREAD, ["A"] * 24, ATLANTIS),
    "one virtual city": (*SPREAD, ["A"] * 20 + ["B"] * 4, [VirtualRegion(count=1)]),
    "one virtual city beside the fewest": (*ring(FEWEST), ["A"] * FEWEST, [VirtualRegion(count=1)]),
    "two virtual cities, scattered": (*SPREAD, ["A"] * 24, [VirtualRegion(count=2, kind="scattered")]),
    "two cities in a region": (*SPREAD, ["A"] * 22 + ["B"] * 2, ATLANTIS),
    "a region for each city": (*SPREAD, [f"R{i}" for i in range(24)], ATLANTIS),
    "one parallel": (SPREAD[0], np.full(24, 48.85341), ["A"] * 24, ATLANTIS),
    "one meridian": (np.full(24, 2.35), np.linspace(-80, 80, 24), ["A"] * 12 + ["B"] * 12, ATLANTIS),
    "one place": (np.full(24, 2.35), np.full(24, 48.85341), ["A"] * 24, ATLANTIS),
    "a region with a name of ours": (*SPREAD, ["real"] * 8 + ["old"] * 8 + ["answers"] * 8, ATLANTIS),
}


def world_in(folder: Path, name: str) -> World:
    lon, lat, region, virtual = WORLDS[name]
    table = pd.DataFrame({"name": [f"c{i}" for i in range(len(lon))], "lon": lon, "lat": lat, "region": region})
    table.to_csv(folder / "cities.csv", index=False)
    return World.build(folder / "cities.csv", virtual)


def probed_run(folder: Path, world: World, config: ProbeConfig) -> Path:
    """The folder of a run of two checkpoints that were not trained, probed."""
    run, vocabulary = folder / "run", Vocabulary("characters", len(world))
    run.mkdir()
    rows = []
    for step in (0, 4):
        model = Transformer(vocabulary.size, len(SYMBOLS), width=16, n_layers=2, n_heads=2, mlp_width=32)
        model.initialise(0.1, torch.Generator().manual_seed(step))
        scores = {"n": 4, "mean_km": 50.0, "median_km": 40.0, "parsed": 1.0}
        results = {"step": step, "kind": "eval", "loss": 1.0, "slices": {"world-world": scores, "all": scores}}
        facts = facts_of(world, vocabulary, "run", step)
        save_checkpoint(run / "checkpoints" / f"checkpoint-{step}", model, vocabulary, facts, results)
        rows.append(json.dumps(results) + "\n")
    (run / "metrics.jsonl").write_text("".join(rows))
    analysis.probe_checkpoints(run, world, config)
    return run


LIKE_OTHERS = ("one region", "one region and Atlantis", "one virtual city", "two cities in a region", "one meridian")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.whole) if name in LIKE_OTHERS else name for name in WORLDS]
)
def test_every_table_is_written_and_read_back(name: str, tmp_path: Path) -> None:
    config = ProbeConfig(layers=[0, 1], repeats=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        world = world_in(tmp_path, name)
        path = probed_run(tmp_path, world, config)
        run = run_data.load(path)
        table = measures(run, "0+1")
        write_report(run, figures=False)
        found = run_tables(run)
        shown = [show.summary(path), show.region_table(path)]
    assert analysis.is_probed(path, config) and shown
    for file in sorted((path / "analysis").rglob("*.csv")):
        assert len(pd.read_csv(file).columns) > 3, f"{file.name} has lost its columns"
    assert list(pd.read_csv(path / "analysis" / "degrees" / "variants.csv").columns) == ["step", *variant_columns()]
    assert (("variants" in found) == bool(len(run.variants))) and list(table.columns) == MEASURES
    for protocol in names.PROTOCOLS:
        rows = run.probes[protocol].dynamics
        assert not rows.duplicated(["step", "group", "split"]).any(), "two groups have met"
        numbers = rows[["lon_r2", "lat_r2"]].to_numpy()
        numbers = numbers[np.isfinite(numbers)]
        assert (numbers <= 1).all() and (numbers > -1e9).all() and np.isfinite(rows["mean_km"].to_numpy()).all()
        real = run.probes[protocol].group(names.REAL)
        assert (real["lat_r2"].isna().all(), real["lon_r2"].isna().all()) == (
            name in ("one parallel", "one place"), name in ("one meridian", "one place"),
        )  # fmt: skip
    sphere = run.probes["sphere"].group(names.REAL)
    assert set(sphere["n"]) == {world.n_real}, "the headline is that of all real cities"
    assert not table.duplicated(["source", "step", "layer", "group", "metric"]).any()


def test_an_empty_table_of_an_older_version_is_read(tmp_path: Path) -> None:
    path = probed_run(tmp_path, world_in(tmp_path, "one region"), ProbeConfig(layers=[0, 1], measures=False))
    (path / "analysis" / "degrees" / artifacts.MANIFEST).unlink()
    (path / "analysis" / "degrees" / "variants.csv").write_text("step\n")
    run = run_data.load(path)
    assert run.variants.empty and {"variant", "group"} <= set(run.variants.columns)
    assert len(run_sheet(run).rows) == 2 and "variants" not in run_tables(run)


def test_an_analysis_in_which_names_have_met_is_refused(tmp_path: Path) -> None:
    path = probed_run(tmp_path, world_in(tmp_path, "one region"), ProbeConfig(layers=[0, 1], measures=False))
    file = path / "analysis" / "sphere" / "predictions.parquet"
    pd.read_parquet(file).assign(region="real").to_parquet(file, index=False)
    (file.parent / artifacts.MANIFEST).unlink()
    with pytest.raises(UserError, match=r"a region is called 'real'.*run `atlantis probe"):
        run_data.load(path)


# --- probes of few cities

PLACES = st.integers(2, 14).flatmap(
    lambda n: st.tuples(
        st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), min_size=n, max_size=n),
        st.sampled_from(["free", "duplicates", "parallel", "meridian", "cluster"]),
        st.integers(0, 2**32 - 1),
        st.sampled_from(["noise", "constant", "places"]),
        st.sampled_from(names.PROTOCOLS),
    )
)


@given(PLACES)
@settings(max_examples=60)
def test_a_probe_of_few_places_gives_numbers_or_one_message(drawn: Any) -> None:
    places, shape, seed, kind, protocol = drawn
    lon, lat = np.array(places).T.round(5)
    if shape == "duplicates":
        lon, lat = lon[np.arange(len(lon)) // 5 * 5], lat[np.arange(len(lat)) // 5 * 5]
    elif shape == "cluster":
        lon, lat = (lon / 180e4).round(5), (lat / 90e4).round(5)
    elif shape == "parallel":
        lat = np.full(len(lat), lat[0])
    elif shape == "meridian":
        lon = np.full(len(lon), lon[0])
    rng = np.random.Generator(np.random.PCG64(seed))
    features = {"noise": rng.normal(size=(len(lon), 6)), "constant": np.ones((len(lon), 6))}
    features["places"] = np.stack([lon, lat], axis=1)
    groups = np.where(np.arange(len(lon)) % 2, "even", "odd")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            reading = read(features[kind], lon, lat, groups, protocol, ProbeConfig(repeats=3))
        except UserError as error:
            assert (
                len(lon) < FEWEST and str(error) == f"a probe needs at least 10 real cities; this world has {len(lon)}"
            )
            return
    assert len(lon) >= FEWEST
    table = reading.dynamics
    numbers = table[["lon_r2", "lat_r2"]].to_numpy()
    numbers = numbers[np.isfinite(numbers)]
    assert (numbers <= 1).all() and (numbers > -1e10).all()
    km = table["mean_km"].to_numpy()
    assert (km >= 0).all() and (km < 20_038).all() and np.isfinite(reading.predictions["error_km"].to_numpy()).all()


def test_r2_of_what_hardly_varies_is_no_number() -> None:
    predicted = np.linspace(0, 1, 60)
    assert np.isnan(r2(np.full(60, 48.85341), predicted)) and np.isnan(r2(np.array([1.0]), np.array([1.0])))
    assert np.isnan(r2(48.85341 + 1e-3 * predicted, predicted)), "less than a kilometre, which no task tells apart"
    assert r2(predicted, predicted) == 1 and r2(predicted, np.full(60, 0.5)) == pytest.approx(0)
    lon = np.linspace(-100, 100, 20)
    line = World.of_places(lon, np.zeros(20))
    assert without_r2(line) == (
        "all real cities lie on one parallel: R2 of latitude has no meaning and is left empty; read the km"
    )
    assert without_r2(World.of_places(lon, lon / 2)) is None
    assert "in one place: R2 of longitude and latitude" in str(without_r2(World.of_places(np.ones(20), np.ones(20))))


# --- names of theirs and of ours


def test_no_region_has_a_name_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = [*sorted(names.RESERVED), "Real", "ALL", " old", "Task world", "Europe", "real (region)"]
    lon, lat = ring(len(own))
    table = pd.DataFrame({"name": [f"c{i}" for i in range(len(own))], "lon": lon, "lat": lat, "region": own})
    table.to_csv(tmp_path / "cities.csv", index=False)
    world = World.build(tmp_path / "cities.csv", ATLANTIS)
    assert "the region 'real' is shown as 'real (region) (region)'" in capsys.readouterr().err
    assert not any(map(names.is_reserved, world.regions)) and "Europe" in world.regions
    assert sum(len(world.ids_of(region)) for region in world.regions) == len(world), "every city is in one region"
    assert set(world.cities["region"]) == set(world.regions)
    world.save(tmp_path / "saved")
    again = World.load(tmp_path / "saved")
    assert again == world and again.regions == world.regions
    assert b"\n0," in world.csv_bytes and b",real," in world.csv_bytes, "the saved table has the user's own name"
    for name in ("real", "OLD", "world", "task x"):
        with pytest.raises(UserError, match="is a name of ours"):
            World.build(tmp_path / "cities.csv", [VirtualRegion(name=name)])
    with pytest.raises(UserError, match="is a name of ours"):
        World.of_places(lon, lat, own)


def test_the_worlds_of_before_are_the_same(thirty_cities: Path) -> None:
    world = World.build(thirty_cities, ATLANTIS)
    assert world.cities.equals(world._table) and list(world.cities.dtypes) == list(world._table.dtypes)


# --- runs


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place") / "work"
    shutil.copytree(INPUTS, folder)
    return folder


def config_of(place: Path, name: str, *overrides: str) -> RunConfig:
    root = f"output_root={place / 'outputs'}"
    return configs.load(place / "tiny.yaml", [f"name={name}", root, "probe.measures=false", *overrides])


@pytest.fixture(scope="module")
def plain(place: Path) -> Path:
    return train(config_of(place, "plain"))


@pytest.fixture
def copy(plain: Path, tmp_path: Path) -> Path:
    """The finished run, with its world and its data and the file of cities, in a place of its own."""
    place, work = plain.parents[2], tmp_path / "work"
    shutil.copytree(place, work)
    run = work / "outputs" / "experiments" / "plain"
    config = (run / "config.yaml").read_text().replace(str(place), str(work))
    (run / "config.yaml").write_text(config)
    return run


def contents(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted((run / "analysis").rglob("*")) if p.is_file()}


def swap_cities(file: Path) -> None:
    """Another place for each of the cities."""
    header, *lines = file.read_text().splitlines()
    fields = [line.split(",") for line in lines]
    file.write_text("\n".join([header, *(",".join([f[0], f"{-float(f[1]):.5f}", *f[2:]]) for f in fields)]) + "\n")


@pytest.mark.parametrize(
    "cities", [pytest.param("name_lat_lon", marks=pytest.mark.whole), "parallel_frac", "region_real"]
)
def test_ones_own_cities_end_in_a_report(
    cities: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("atlantis.report.figures.pictures", lambda run: {})
    command = ["train", "tiny.yaml", f"name={cities}", f"world.cities={cities}.csv", "training.warmup_steps=50"]
    assert cli.main(command) == 0, capsys.readouterr().err
    said = capsys.readouterr().err
    warm_up = "training.warmup_steps: 50, and the run has 8 steps: the rate never reaches training.learning_rate"
    assert said.count(warm_up) == 1
    assert said.count("R2 of latitude has no meaning") == (cities == "parallel_frac")
    assert said.count("the region 'real' is shown as 'real (region)'") == (cities == "region_real")
    for again in ("report", "show", "probe"):
        run = f"outputs/experiments/{cities}"
        assert cli.main([again, run]) == 0, capsys.readouterr().err
        shown = capsys.readouterr().out
        assert "nan" not in shown.replace("nanc", "") and (ABSENT in shown) == (cities == "parallel_frac")


@pytest.mark.parametrize(("cities", "message"), [("few9", "a probe needs at least 10 real cities; this world has 9"),
                                                 ("one", "at most 0 are possible between 1 real cit")])  # fmt: skip
def test_too_few_cities_are_refused_before_training(cities: str, message: str, place: Path) -> None:
    small = ["dataset.n_train=20", "dataset.n_val=4", "dataset.n_test=6", f"world.cities={place / cities}.csv"]
    with pytest.raises(UserError, match=message):
        train(config_of(place, cities, *small))
    assert not (place / "outputs" / "experiments" / cities).exists()


def test_nine_cities_are_trained_on_without_a_probe(place: Path) -> None:
    small = ["dataset.n_train=20", "dataset.n_val=4", "dataset.n_test=6", f"world.cities={place / 'few9.csv'}"]
    run = train(config_of(place, "nine", *small, "evaluation.probe=false"))
    assert len(run_sheet(run).rows) == 2
    assert cli.main(["probe", str(run)]) == 2


def test_a_failed_probe_leaves_the_run_finished(copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    config = configs.load(copy / "config.yaml", [f"output_root={copy.parents[1]}"])
    whole = contents(copy)
    shutil.rmtree(copy / "analysis")
    trust.write_record(copy, trust.read_record(copy) | {"status": "running"})

    def fails(*arguments: Any) -> None:
        raise ZeroDivisionError("division by zero")

    with monkeypatch.context() as broken:
        broken.setattr(loop, "probe_checkpoints", fails)
        with pytest.raises(
            PartFailed, match=r"trained and finished, but not probed: ZeroDivisionError.*atlantis probe"
        ):
            train(config, resume=True)
    assert json.loads((copy / "run.json").read_text())["status"] == "finished"
    assert not analysis.is_probed(copy, config.probe)
    train(config)
    assert contents(copy) == whole and analysis.is_probed(copy, config.probe)
    with monkeypatch.context() as broken:
        broken.setattr("atlantis.report.page.write_report", fails)
        command = ["train", str(copy / "config.yaml"), f"output_root={copy.parents[1]}"]
        assert cli.main(command) == 1
    assert "has no report: unexpected ZeroDivisionError" in capsys.readouterr().err


def test_a_finished_run_is_read_in_its_own_world(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cities, whole = copy.parents[2] / "plain.csv", contents(copy)
    config = configs.load(copy / "config.yaml", [f"output_root={copy.parents[1]}"])
    swap_cities(cities)
    analysis.probe_run(copy)
    assert contents(copy) == whole, "the edited file changes nothing"
    capsys.readouterr()
    train(config)
    assert f"was made with another version of {cities}; for the edited one choose another name=" in " ".join(
        capsys.readouterr().err.split()
    )
    assert contents(copy) == whole
    cities.unlink()
    analysis.probe_run(copy)
    assert contents(copy) == whole, "moved to where the file is not"
    train(config)
    digest = str(recorded_digest(copy))
    shutil.rmtree(saved_world(copy, digest))
    with pytest.raises(UserError) as caught:
        analysis.probe_run(copy)
    assert digest in str(caught.value) and str(cities) in str(caught.value) and "Bring" in str(caught.value)
    shutil.copy2(INPUTS / "plain.csv", cities)
    assert world_of(copy, config).digest == digest, "built again, for it is the same"


def test_an_unfinished_run_goes_on_in_its_own_world(copy: Path) -> None:
    cities = copy.parents[2] / "plain.csv"
    config = configs.load(copy / "config.yaml", [f"output_root={copy.parents[1]}"])
    weights = (copy / "checkpoints" / "final" / "model.safetensors").read_bytes()
    trust.write_record(copy, trust.read_record(copy) | {"status": "running"})
    swap_cities(cities)
    with pytest.raises(UserError, match=rf"was begun with other data: {cities} has been changed since"):
        train(config, resume=True)
    cities.unlink()
    train(config, resume=True)
    assert (copy / "checkpoints" / "final" / "model.safetensors").read_bytes() == weights


def test_a_run_without_its_file_is_interpolated_and_built_upon(copy: Path) -> None:
    config = configs.load(copy / "config.yaml").model_copy(update={"base": str(copy)})
    world, base = world_of(copy, config), find_base(config)
    (copy.parents[2] / "plain.csv").unlink()
    assert base is not None and base.folder == copy
    past = Past(base, config, world, lambda run, made: Dataset.build(made, run.dataset).splits["train"])
    assert len(past.questions()) == 300 and len(past.city_ids()) == world.n_real == 60
    real = {"parts": [{"task": "distance", "cities": {"inside": world.regions[0]}, "n_train": 10}]}
    past.runs = [config.model_copy(update={"dataset": type(config.dataset).model_validate(real)})]
    assert len(past.city_ids()) == 60, "a real region names no virtual city"
    assert list(interpolate(copy, [0, 1])["alpha"]) == [0, 1]


def test_one_run_that_cannot_be_read_takes_no_other_with_it(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configs.load(copy / "config.yaml", [f"output_root={copy.parents[1]}"])
    other = copy.with_name("other")
    shutil.copytree(copy, other)
    dynamics = copy / "analysis" / "degrees" / "representation_dynamics.csv"
    damaged = dynamics.read_bytes()
    dynamics.write_bytes(damaged[:-2] + b"7\n")
    runs = [config, config.model_copy(update={"name": "other"})]
    plan = sweep_of("both", runs, [{"a": 1}, {"a": 2}])
    outcomes = sweep.carry_out(plan, Local(1))
    assert [outcome.state for outcome in outcomes] == ["failed", "was done"]
    assert "its numbers cannot be read" in outcomes[0].message and "has been changed" in outcomes[0].message
    assert set(pd.read_parquet(plan.results)["run"]) == {"other"}
    assert list(pd.read_csv(plan.folder / "failures.csv")["run"]) == ["plain"]
    with pytest.raises(PartFailed, match="has all runs but these, which cannot be read:\n  plain: "):
        gather(plan, plan.runs)
    out = copy.parents[2] / "compared.html"
    assert cli.main(["report", str(copy), str(other), "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert out.is_file() and str(dynamics) in said.err and said.out.endswith(f"{out}\n")
    assert cli.main(["show", str(copy)]) == 2
    said = capsys.readouterr()
    assert "finished" in said.out and str(dynamics) in said.err


@pytest.mark.usefixtures("warm")
def test_a_finished_run_without_its_probe_is_taken_up_by_a_sweep(copy: Path) -> None:
    config = configs.load(copy / "config.yaml", [f"output_root={copy.parents[1]}"])
    whole = contents(copy)
    shutil.rmtree(copy / "analysis" / "sphere")
    plan = sweep_of("one", [config])
    assert [outcome.state for outcome in sweep.carry_out(plan, Local(1))] == ["done"]
    assert contents(copy) == whole
    assert len(pd.read_parquet(plan.results)) > 0


# --- small ones


def test_a_file_is_no_output_root(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    tiny = str(place / "tiny.yaml")
    sweep_file = tmp_path / "s.yaml"
    sweep_file.write_text(f"extends: {tiny}\nseeds: [1, 2]\n")
    for command in (
        ["train", tiny, f"output_root={tmp_path / 'file'}"],
        ["train", tiny, f"output_root={tmp_path / 'file' / 'below'}"],
        ["study", "--only", "cross", "--base", "shipped", "--output-root", str(tmp_path / "file")],
        ["bench", "--tier", "smoke", "--output-root", str(tmp_path / "file")],
        ["sweep", str(sweep_file), f"output_root={tmp_path / 'file'}"],
    ):
        assert cli.main(command) == 2
        said = capsys.readouterr().err
        assert f"{tmp_path / 'file'}: is a file, where a folder is needed" in said and said.count("\n") == 1, said
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("grid", "seeds", "overrides", "message"),
    [
        ("{training: [{seed: 3}, {seed: 4}]}", "[1, 2]", [], "training: a value of it sets training.seed, which"),
        ("{training: [{batch_size: 3}]}", "[]", ["training.learning_rate=1e-3"], "training.learning_rate: is lost"),
        ("{training.batch_size: [3]}", "[]", ["training={batch_size: 4}"], "training.batch_size: is varied by"),
        ("{training.batch_size: [3]}", "[5]", ["dataset.seed=4"], "dataset.seed: is varied by"),
    ],
)  # fmt: skip
def test_nothing_is_set_twice_in_a_sweep(
    grid: str, seeds: str, overrides: list[str], message: str, place: Path, tmp_path: Path
) -> None:
    (tmp_path / "s.yaml").write_text(f"extends: {place / 'tiny.yaml'}\ngrid: {grid}\nseeds: {seeds}\n")
    with pytest.raises(UserError) as caught:
        sweep.read(tmp_path / "s.yaml", overrides)
    assert message in str(caught.value)


def test_a_dataset_of_other_cities_is_one_message(plain: Path, place: Path, capsys: Any) -> None:
    found = {file.parent for file in (plain.parents[1] / "datasets").glob("*/dataset.json")}
    digest = recorded_digest(plain)
    own = [path for path in found if json.loads((path / "dataset.json").read_text())["world_digest"] == digest]
    assert cli.main(["evaluate", str(plain), str(own[0])]) == 0
    capsys.readouterr()
    for dataset, message in ((plain, "not a dataset of ours"), (place / "nowhere", "not a dataset of ours")):
        assert cli.main(["evaluate", str(plain), str(dataset)]) == 2
        assert message in capsys.readouterr().err
