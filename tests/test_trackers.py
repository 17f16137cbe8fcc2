"""Trackers that answer, that do not, and that stop answering: planted packages take the place of W&B and MLflow."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlantis.settings import RunConfig
from atlantis.training import trackers
from atlantis.training.run import RunFolder
from atlantis.training.trackers import Trackers

WANDB = """
import os
calls = []
def fail(where):
    if where in os.environ.get("PLANTED", "").split(): raise ConnectionError(f"{where}: nobody answers\\nat all")
class Run:
    def log(self, values, step=None, **more): calls.append(("log", step, values)); fail("log")
    def finish(self): calls.append(("finish",)); fail("finish")
class config:
    @staticmethod
    def update(values, **more): calls.append(("config", values)); fail("config")
def init(**settings): calls.append(("init", settings)); fail("init"); return Run()
"""
MLFLOW = """
import os
from types import SimpleNamespace as Some
calls = []
def fail(where):
    if where in os.environ.get("PLANTED", "").split(): raise ConnectionError(f"{where}: nobody answers")
utils = Some(validation=Some(MAX_PARAM_VAL_LENGTH=6000, MAX_PARAMS_TAGS_PER_BATCH=100))
def search_experiments(**_): fail("init"); return [Some(experiment_id="7")]
def start_run(**settings): calls.append(("init", settings)); return Some(info=Some(run_id=settings["run_id"] or "abc"))
def log_params(values): fail("config")
def log_metrics(values, step=None): calls.append(("log", step, values)); fail("log")
def end_run(): calls.append(("finish",)); fail("finish")
"""
PLANTED = {"wandb": WANDB, "mlflow": MLFLOW}
ROW = {"step": 3, "kind": "eval", "loss": 0.5, "slices": {"all": {"mean_km": 7.0}}}
SAID = "metrics.jsonl has every row"


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, code in PLANTED.items():
        (tmp_path / "planted" / name).mkdir(parents=True)
        (tmp_path / "planted" / name / "__init__.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path / "planted")
    yield tmp_path / "runs"
    for name in PLANTED:
        sys.modules.pop(name, None)


def run_folder(root: Path, name: str, **settings: Any) -> RunFolder:
    config = RunConfig.model_validate({"name": "mine", "output_root": str(root), "trackers": [name], **settings})
    folder = RunFolder(root / "experiments" / "mine", config, resume=True)
    folder.begin()
    return folder


def calls(name: str) -> list[tuple[Any, ...]]:
    return sys.modules[name].calls


@pytest.mark.parametrize("name", PLANTED)
def test_a_run_has_its_name_and_goes_on_under_its_id(name: str, planted: Path) -> None:
    ids, record = [], planted
    for _ in range(2):
        run = run_folder(planted, name)
        record = run.path / "run.json"
        trackers.check_trackers(run.config)
        with Trackers(run) as several:
            several.log(ROW)
        begun = next(call[1] for call in calls(name) if call[0] == "init")
        assert begun.get("name", begun.get("run_name")) == "mine"
        assert calls(name)[-2:] == [("log", 3, {"eval/loss": 0.5, "eval/all/mean_km": 7.0}), ("finish",)]
        ids.append(begun.get("id", begun.get("run_id")))
        assert begun.get("resume", "allow") == "allow"
        calls(name).clear()
    kept = json.loads(record.read_text())["trackers"]
    assert ids == ([None, "abc"] if name == "mlflow" else [kept["wandb"]] * 2) and kept[name]


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("where", ["init", "config", "log", "finish", "init config log finish"])
def test_one_that_fails_is_said_once_and_nothing_else_happens(
    name: str, where: str, planted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLANTED", where)
    with Trackers(run_folder(planted, name)) as several:
        for step in range(5):
            several.log(ROW | {"step": step})
    said = " ".join(capsys.readouterr().err.split())
    assert said.count(SAID) == 1 and f"trackers: {name} fails ({where.split()[0]}: nobody answers)" in said
    assert len([call for call in calls(name) if call[0] == "log"]) == {"log": 1, "finish": 5}.get(where, 0)


@pytest.mark.parametrize("name", PLANTED)
def test_one_that_answers_again_is_used_again(
    name: str, planted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(trackers.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("PLANTED", "init")
    with Trackers(run_folder(planted, name)) as several:
        several.log(ROW)
        now[0] += trackers.PAUSE_S
        several.log(ROW)  # in vain, again
        monkeypatch.setenv("PLANTED", "")
        now[0] += trackers.PAUSE_S
        several.log(ROW)
        monkeypatch.setenv("PLANTED", "log")
        several.log(ROW | {"step": 4})
    assert [call[:2] for call in calls(name) if call[0] == "log"] == [("log", 3), ("log", 4)]
    assert capsys.readouterr().err.count("fails") == 1


@pytest.mark.parametrize("where", ["init", "log"])
def test_training_ends_as_without(
    where: str, planted: Path, small_config: RunConfig, small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atlantis.training import train

    monkeypatch.setenv("PLANTED", where)
    update = {"name": f"untracked_{where}", "trackers": ["wandb", "mlflow"]}
    evaluation = small_config.evaluation.model_copy(update={"probe": False})
    run = train(small_config.model_copy(update=update | {"evaluation": evaluation}))
    for file in ("metrics.jsonl", "checkpoints/final/model.safetensors"):
        assert (run / file).read_bytes() == (small_run / file).read_bytes()
