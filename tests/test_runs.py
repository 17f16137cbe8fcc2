"""A run in Python: tables of one layout, checkpoints, questions by name; cities by name; copies without a typo."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import atlantis
from atlantis import Run, World, artifacts, load_config, runs
from atlantis.cli import main
from atlantis.errors import Interrupted, UserError
from atlantis.model.checkpoint import load_checkpoint
from atlantis.readout.files import read_table, write_tables
from atlantis.readout.generate import answers
from atlantis.readout.layout import LAYOUT
from atlantis.settings import RunConfig, TrainingConfig
from atlantis.tasks import Questions
from atlantis.tasks.distance import DISTANCE
from atlantis.training import loop
from atlantis.training.base import find_base
from tests.planted_run import make_run


def test_a_run_by_its_name(small_run: Path) -> None:
    run = Run("small", small_run.parent.parent)
    assert run.path == small_run and run.config.name == "small" and len(run.world) == 38
    for table in (run.dynamics, run.probe_table("sphere"), run.measures):
        assert tuple(table.columns) == LAYOUT and len(table)
    dynamics = run.dynamics
    assert not dynamics.duplicated(["step", "layer", "group", "metric"]).any()
    km = dynamics[(dynamics["metric"] == "mean_km") & (dynamics["group"] == "real")].set_index("step")["value"]
    assert km.tolist() == run.data.probe("degrees").group("real")["mean_km"].tolist()
    assert set(run.predictions["id"]) <= set(range(38))
    assert run.checkpoint(3).name == "checkpoint-3" and run.checkpoint() == run.checkpoints[20]
    with pytest.raises(UserError, match="no checkpoint of step 50; there is 0, 3"):
        run.checkpoint(50)
    with pytest.raises(UserError, match=r"smal: no such folder, and no run .* did you mean small"):
        Run("smal", small_run.parent.parent)


def test_every_table_of_analysis_has_one_layout(small_run: Path, tmp_path: Path) -> None:
    from atlantis.interpolate import interpolate
    from atlantis.readout.layers import run_layer_table

    copy = tmp_path / "outputs" / "experiments" / "small"
    shutil.copytree(small_run.parents[1], tmp_path / "outputs")
    run = Run(copy)
    for name, command in (("layers", "probe .* --table"), ("interpolated_map", "interpolate"), ("parts", "stitch")):
        with pytest.raises(UserError, match=f"is not there; `atlantis {command}.*makes it"):
            getattr(run, name)
    run_layer_table(copy)
    interpolate(copy, [0.0, 1.0])
    extra = {
        "dynamics": [], "measures": [], "variants": ["variant"], "when": ["moment"], "layers": ["position"],
        "interpolated_map": ["alpha", "protocol", "split"], "interpolated_answers": ["alpha", "task"],
    }  # fmt: skip
    for name, keys in extra.items():
        table = getattr(run, name)
        assert list(table.columns) == [*keys, *LAYOUT] and len(table), name
        assert not table.duplicated([*keys, "step", "layer", "group", "metric"]).any(), name
        assert table["value"].notna().all() and set(table["step"]) <= {0, 3, 10, 20}, name
        assert table["metric"].map(lambda metric: not str(metric).endswith(("_low", "_high"))).all(), name
    wide = pd.read_parquet(copy / "analysis" / "layers" / "layers.parquet")
    first = wide.iloc[0]
    here = run.layers.query("step == 0 and layer == @first.layer and position == @first.position and group == 'real'")
    assert here.set_index("metric").loc["mean_km", ["value", "n"]].tolist() == [first["mean_km"], first["n"]]
    ends = run.interpolated_map.query("group == 'real' and metric == 'mean_km' and protocol == 'sphere'")
    assert ends["low"].notna().all() and (ends["low"] <= ends["value"]).all() and (ends["value"] <= ends["high"]).all()
    assert set(run.interpolated_answers["layer"]) == {"answers"}
    (copy / "analysis" / "layers" / "layers.csv").write_text("damaged")
    with pytest.raises(UserError, match=r"layers.csv: has been changed.*--table` makes it anew"):
        _ = run.layers


@pytest.mark.parametrize("name", ["nan", "NaN", "NA", "01", "1e3", "True"])
def test_a_region_may_be_called_anything(name: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"group": [name, "real"], "split": ["", "test"], "mean_km": [np.nan, 2.0]})
    write_tables({"a.csv": table}, tmp_path)
    read = read_table(tmp_path / "a.csv", no_number=("", "nan", "NaN"))
    assert read["group"].tolist() == [name, "real"] and read["split"].tolist() == ["", "test"]
    assert np.isnan(read["mean_km"][0]) and read["mean_km"][1] == 2.0


def test_the_tables_of_a_stitching_and_of_interventions(tmp_path: Path) -> None:
    """As `atlantis stitch` writes them, planted: its interval is the mean's."""
    make_run(tmp_path / "planted")
    about = {"step": 9, "task": "distance", "slice": "world-world", "unit": "km", "mean": 5.0, "low": 4.0, "high": 7.0}
    about |= {"median": 3.0, "readable": 1.0, "n": 8}
    folder = tmp_path / "planted" / "analysis" / "stitching"
    stitched = pd.DataFrame([{"lower": "base", "cut": -1, "between": "affine", **about}])
    parts = pd.DataFrame([{"part": "block 0", "mode": "alone", **about, "change": 0.5}])
    with artifacts.new_folder(folder, kind="analysis") as aside:
        write_tables({"stitched.csv": stitched, "parts.csv": parts}, aside)
    where = {"step": 9, "group": "real", "seat": "first", "cut": 2, "tokens": "last", "change": "probe"}
    number = {"metric": "own_slope", "value": 0.25, "low": 0.1, "high": 0.4, "n": 100}
    with artifacts.new_folder(folder.parent / "interventions", kind="analysis") as aside:
        write_tables({"interventions.csv": pd.DataFrame([where | number])}, aside)
    run = Run(tmp_path / "planted")
    assert list(run.interventions.columns) == ["seat", "cut", "tokens", "change", *LAYOUT]
    assert run.interventions.iloc[0].to_dict() == where | number | {"layer": "answers"}
    table = run.stitched
    assert list(table.columns) == ["lower", "cut", "between", "task", *LAYOUT]
    rows = table[list(LAYOUT)].astype(object).where(table[list(LAYOUT)].notna(), None).to_numpy().tolist()
    assert rows == [
        [9, "answers", "world-world", "mean", 5.0, 4.0, 7.0, 8],
        [9, "answers", "world-world", "median", 3.0, None, None, 8],
        [9, "answers", "world-world", "readable", 1.0, None, None, 8],
    ]
    assert run.parts["metric"].tolist() == ["mean", "median", "readable", "change"]


def test_a_run_is_asked_by_names(small_run: Path) -> None:
    run = Run(small_run)
    cities = run.world.cities
    first, second = str(cities["name"][0]), str(cities["name"][1])
    answer = run.ask(first, second)
    assert answer.cities == (0, 1) and answer.unit == "km" and answer == run.ask(0, 1)
    assert answer.true == int(run.world.distance_km(0, 1)) and (answer.answer is None or answer.answer >= 0)
    for wrong, message in (
        ((first,), "about 2 cities, not 1"),
        ((first, 99), "ids are 0 to 37"),
        ((0, "x9"), "x9: no"),
    ):
        with pytest.raises(UserError, match=message):
            run.ask(*wrong)


def test_the_example_of_the_module_is_what_the_shipped_base_answers() -> None:
    demo = load_config("demo")
    world = World.from_config(demo.world)
    cities = tuple(int(world.find(name)[0]) for name in ("Paris", "Tokyo"))
    questions = Questions.ask(DISTANCE, world, np.array([cities], np.int32))
    base = find_base(demo)
    assert base is not None and runs.__doc__ is not None
    answer = int(answers(*load_checkpoint(base.checkpoint), questions)[0])
    assert str(runs.Answer(cities, answer, int(questions.answer[0]), "km")) in runs.__doc__


def test_cities_are_found_by_name_the_most_populous_first() -> None:
    world = World.build()
    cities = world.cities
    assert str(cities["name"][world.find("paris")[0]]) == "Paris"
    name = str(cities["name"].value_counts().index[0])
    ids = world.find(name)
    assert len(ids) > 1 and set(cities["name"].to_numpy()[ids]) == {name}
    assert (np.diff(cities["population"].to_numpy()[ids]) <= 0).all()
    with pytest.raises(UserError, match="Pariss: no city of this name in this world; did you mean Paris"):
        world.find("Pariss")


def test_a_copy_takes_no_typo() -> None:
    config = RunConfig(name="a")
    assert config.model_copy(update={"name": "b"}).name == "b"
    with pytest.raises(UserError, match=r"TrainingConfig.max_step: unknown key; did you mean max_steps\?"):
        config.training.model_copy(update={"max_step": 3})


@pytest.mark.parametrize(
    ("part", "update", "message"),
    [
        ("training", {"batch_size": "many"}, r"TrainingConfig.batch_size: must be a whole number, not \"many\"$"),
        ("training", {"epochs": -1.0}, r"TrainingConfig.epochs: must be greater than 0, not -1.0$"),
        ("training", {"schedule": "linaer"}, r"TrainingConfig.schedule: must be .*; did you mean linear\?$"),
        ("training", {"betas": (0.9, 2.0)}, r"TrainingConfig.betas.1: must be less than 1, not 2.0$"),
        ("probe", {"n_train": 9_000}, r"ProbeConfig: n_train \(9000\) must be less than n_cities \(5000\)$"),
        ("evaluation", {"steps": [-1], "n_items": 0}, r"steps.0: must be .*; EvaluationConfig.n_items: must be"),
        (None, {"name": "a/b"}, r"RunConfig.name: use up to 120 letters"),
        (None, {"training": {"batch_sise": 3}}, r"RunConfig.training.batch_sise: unknown key$"),
        (None, {"strategy": {"name": "replya"}}, r"RunConfig.strategy.*: no strategy 'replya'; did you mean replay\?"),
    ],
)
def test_a_copy_takes_no_wrong_value(part: str | None, update: dict, message: str) -> None:
    config = RunConfig(name="a")
    settings = config if part is None else getattr(config, part)
    with pytest.raises(UserError, match=message):
        settings.model_copy(update=update)


def test_a_copy_s_values_are_what_a_config_has() -> None:
    config = RunConfig(name="a")
    copy = config.model_copy(update={"training": {"batch_size": 64}, "strategy": {"name": "replay"}})
    assert copy.training == TrainingConfig(batch_size=64) and copy.strategies[0].name == "replay"
    assert copy.world is config.world and copy.model_fields_set == {"name", "training", "strategy"}
    assert config.evaluation.model_copy(update={"steps": [5]}).steps == [0, 5], "as when a config is read"


def test_the_top_level_names() -> None:
    for name in ("report", "evaluate", "load_run", "Run"):
        assert callable(getattr(atlantis, name)) and name in dir(atlantis)


@pytest.mark.parametrize(
    ("arguments", "function"),
    [
        (["probe"], "atlantis.readout.analysis.probe_run"),
        (["probe", "--table"], "atlantis.readout.layers.run_layer_table"),
        (["interpolate"], "atlantis.interpolate.interpolate"),
        (["stitch"], "atlantis.stitch.stitch"),
        (["evaluate"], "atlantis.readout.evaluate.evaluate_checkpoint"),
    ],
)
def test_ctrl_c_while_reading_says_how_to_go_on(
    arguments: list[str],
    function: str,
    small_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("atlantis.readout.analysis.probe_run", lambda *_: None)
    monkeypatch.setattr(function, stopped)
    assert main([*arguments, str(small_run)]) == 130
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{small_run}: stopped by Ctrl-C; " in said and "The same command begins" in said
    of_a_run = arguments[0] == "probe"  # its tables are written one after another
    assert ("tables that were complete are written" if of_a_run else "nothing new was written") in said


def test_ctrl_c_while_probing_says_how_to_go_on(small_config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "probe_checkpoints", stopped)
    with pytest.raises(Interrupted, match=r"trained and finished.*`atlantis probe somewhere` does that"):
        loop._probe(Path("somewhere"), None, small_config)  # type: ignore[arg-type]
