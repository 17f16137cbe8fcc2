"""A run in Python: tables of one layout, checkpoints, questions by name; cities by name; copies without a typo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import atlantis
from atlantis import Run, World
from atlantis.errors import Interrupted, UserError
from atlantis.runs import LAYOUT
from atlantis.settings import RunConfig
from atlantis.training import loop


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


def test_the_top_level_names() -> None:
    for name in ("report", "evaluate", "load_run", "Run"):
        assert callable(getattr(atlantis, name)) and name in dir(atlantis)


def test_ctrl_c_while_probing_says_how_to_go_on(small_config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "probe_checkpoints", stopped)
    with pytest.raises(Interrupted, match=r"trained and finished.*`atlantis probe somewhere` does that"):
        loop._probe(Path("somewhere"), None, small_config)  # type: ignore[arg-type]
