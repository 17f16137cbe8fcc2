"""`--extend`: a finished run made longer is the run that had as many steps at once; and what is refused."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from pathlib import Path

import pytest

from atlantis import artifacts
from atlantis import config as configs
from atlantis.cli import main
from atlantis.errors import UserError
from atlantis.settings import RunConfig
from atlantis.strategies import registry
from atlantis.training import extend as extending
from atlantis.training import extend_run, train
from atlantis.training import step as engine
from atlantis.training.schedule import learning_rate
from atlantis.training.state import state_steps


def with_schedule(config: RunConfig, name: str, schedule: str, root: Path | None = None) -> RunConfig:
    """The small run under another name, with this schedule, without probes."""
    update: dict[str, object] = {
        "name": name,
        "training": config.training.model_copy(update={"schedule": schedule}),
        "evaluation": config.evaluation.model_copy(update={"probe": False}),
    }
    return config.model_copy(update=update | ({} if root is None else {"output_root": str(root)}))


def digests(run: Path) -> dict[str, str]:
    """SHA-256 of all that a run has trained: every file of its checkpoints and states, and its log."""
    files = [*(run / "checkpoints").rglob("*"), *(run / "state").rglob("*"), run / "metrics.jsonl"]
    return {
        str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()
    }


def at_once(run: Path, root: Path) -> Path:
    """The run of the same config and name, trained from its beginning somewhere else."""
    config = configs.load(run / "config.yaml").model_copy(update={"output_root": str(root)})
    base = None if config.base is None else str(run.parent / config.base)
    return train(config.model_copy(update={"base": base}))


def steps_of(run: Path) -> list[int]:
    return sorted(int(folder.name.partition("-")[2]) for folder in (run / "checkpoints").glob("checkpoint-*"))


def record_of(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


@pytest.fixture(scope="module")
def constant(small_config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run at a constant rate, finished after 20 steps."""
    return train(with_schedule(small_config, "constant", "constant", tmp_path_factory.mktemp("constant")))


def test_a_constant_rate_gives_the_run_that_had_all_steps_at_once(
    constant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digests(constant)
    longer = extend_run(constant, 13)
    assert longer == constant.parent / "constant_to_33"
    said = capsys.readouterr().err
    assert "goes on from step 20 of constant, as if it had had 33 steps at once" in said
    assert "33 steps are more than the 4 epochs that were set, so training.epochs becomes 6.6:" in said
    assert steps_of(longer) == [0, 3, 10, 20, 26, 33], "as before, then at half and all of the added steps"
    assert digests(longer) == digests(at_once(longer, tmp_path))
    assert digests(constant) == before, "the finished run is as it was"
    record = record_of(longer)
    assert record["status"] == "finished" and record["steps"] == 33 and record["name"] == "constant_to_33"
    assert record["extends"]["run"] == "constant" and record["extends"]["from"] == 20
    assert [stretch["from"] for stretch in record["stretches"]] == [0, 20]
    assert not artifacts.manifest(longer), "a run's folder changes, and has no manifest"


@pytest.mark.parametrize(
    "settings",
    [{"name": "ema"}, {"name": "ewc", "samples": 20}, pytest.param({"name": "replay"}, marks=pytest.mark.whole)],
)
def test_what_a_strategy_remembers_goes_along(small_config: RunConfig, small_run: Path, settings: dict) -> None:
    strategy = settings["name"]
    config = with_schedule(small_config, f"with_{strategy}", "constant")
    cross = config.dataset.model_copy(update={"kind": "cross", "n_train": 100, "n_test": 40})
    config = config.model_copy(update={"base": "small", "dataset": cross, "strategy": settings})
    longer = extend_run(train(config), 5)
    assert digests(longer) == digests(at_once(longer, small_run.parents[1] / f"elsewhere_{strategy}"))


def test_a_longer_run_is_made_longer_again(constant: Path, tmp_path: Path) -> None:
    first = extend_run(constant, 4, ["name=twice_to_24"])
    second = extend_run(first, 6, ["evaluation.steps=[0, 27]"])
    assert second.name == "twice_to_30"
    assert steps_of(second) == [0, 3, 10, 20, 22, 24, 27, 30]
    assert digests(second) == digests(at_once(second, tmp_path))


def test_one_that_was_stopped_goes_on(constant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = digests(extend_run(constant, 9, ["name=whole"]))
    original, calls = engine.Engine.step, []

    def crash(self: engine.Engine, *args):
        calls.append(None)
        if len(calls) == 7:
            raise RuntimeError("pulled the plug")
        return original(self, *args)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="pulled the plug"):
        patch.setattr(engine.Engine, "step", crash)
        extend_run(constant, 9, ["name=stopped"])
    with pytest.raises(UserError, match="go on with --resume"):
        extend_run(constant, 9, ["name=stopped"])
    resumed = digests(extend_run(constant, 9, ["name=stopped"], resume=True))
    names = [name for name in whole if name.endswith("model.safetensors") or name.startswith("metrics")]
    assert len(names) == 8 and {name: resumed[name] for name in names} == {name: whole[name] for name in names}


def test_a_copy_that_was_killed_leaves_no_half(constant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(extending, "_copy_state", full)
        extend_run(constant, 2, ["name=half"])
    assert not (constant.parent / "half").exists()
    assert steps_of(extend_run(constant, 2, ["name=half"])) == [0, 3, 10, 20, 21, 22]


def test_outputs_that_are_a_link_and_a_file_of_cities(
    small_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far" / "away" / "disk").mkdir(parents=True)
    (tmp_path / "outputs").symlink_to("far/away/disk")  # deeper, so `..` from there leads elsewhere
    monkeypatch.chdir(tmp_path)
    config = with_schedule(small_config, "linked", "constant", Path("outputs"))
    config = config.model_copy(update={"training": config.training.model_copy(update={"max_steps": 2})})
    longer = extend_run(train(config), 2)
    assert longer == Path("outputs/experiments/linked_to_4") and record_of(longer)["status"] == "finished"
    assert configs.load_of_run(longer).world.cities == small_config.world.cities
    assert extend_run(longer, 1).name == "linked_to_5"


def test_a_schedule_that_had_ended_begins_anew_and_says_so(
    small_config: RunConfig, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    longer = extend_run(small_run, 20, ["evaluation.probe=false"])
    training = configs.load(longer / "config.yaml").training
    rate = learning_rate(training, 20, 40)
    assert 0 < rate < training.learning_rate
    said = capsys.readouterr().err
    assert (
        "Its schedule (linear) had come to an end there, at a rate of 0." in said
        and f"stands at {rate:.3g} there" in said
    )
    rows = [json.loads(line) for line in (longer / "metrics.jsonl").read_text().splitlines()]
    rates = {row["step"]: row["lr"] for row in rows if row["kind"] == "train"}
    assert rates[20] == learning_rate(training, 19, 20) and rates[30] == learning_rate(training, 29, 40)
    assert rates[40] == learning_rate(training, 39, 40)
    assert record_of(longer)["extends"]["as_if_trained_at_once"] is False
    final = "checkpoints/final/model.safetensors"
    assert digests(at_once(longer, tmp_path))[final] != digests(longer)[final]


def copied(run: Path, root: Path) -> Path:
    """The run in another output root, to be damaged."""
    shutil.copytree(run.parents[1], root, dirs_exist_ok=True)
    return root / "experiments" / run.name


def test_a_run_without_its_last_state_is_refused(constant: Path, tmp_path: Path) -> None:
    run = copied(constant, tmp_path)
    (run / "state" / "state-20" / "state.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"state.safetensors: has been changed.*weights alone, with base=constant"):
        extend_run(run, 5)
    shutil.rmtree(run / "state")
    with pytest.raises(UserError, match=r"state-20: is missing: that is the optimizer's state"):
        extend_run(run, 5)
    assert not (run.parent / "constant_to_25").exists()


def test_a_damaged_checkpoint_is_refused(constant: Path, tmp_path: Path) -> None:
    run = copied(constant, tmp_path)
    (run / "checkpoints" / "checkpoint-10" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"checkpoint-10/config.json: has been changed"):
        extend_run(run, 5)


def test_a_checkpoint_that_was_removed_is_said(
    constant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(constant, tmp_path)
    shutil.rmtree(run / "checkpoints" / "checkpoint-10")
    longer = extend_run(run, 1)
    assert f"{run} has no checkpoint of step 10 any more, so this run has none either" in capsys.readouterr().err
    assert steps_of(longer) == [0, 3, 20, 21] and record_of(longer)["status"] == "finished"


def test_one_that_has_lost_its_own_states_is_not_begun_anew(
    constant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(constant, tmp_path)

    def stop(*arguments: object) -> None:
        raise RuntimeError("stop")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stop"):
        patch.setattr(engine.Engine, "step", stop)
        extend_run(run, 5)
    longer = run.parent / "constant_to_25"
    assert list(state_steps(longer)) == [20]
    shutil.rmtree(longer / "state")
    with pytest.raises(
        UserError, match="no whole state is left to go on from; remove the run, and make constant longer"
    ):
        extend_run(run, 5, resume=True)


def test_an_unfinished_run_is_refused(constant: Path, tmp_path: Path) -> None:
    run = copied(constant, tmp_path)
    record = record_of(run) | {"status": "running"}
    extending.trust.write_record(run, record)
    with pytest.raises(
        UserError, match=r"is not finished; finish it first, with `atlantis train .*constant/config.yaml -"
    ):
        extend_run(run, 5)


@pytest.mark.parametrize(
    ("steps", "overrides", "message"),
    [
        (0, [], "--extend 0: give at least 1 step more"),
        (-3, [], "--extend -3: give at least 1 step more"),
        (5, ["training.learning_rate=1e-4"], r"training.learning_rate=1e-4: a run that is made longer goes on as it"),
        (5, ["evaluation.n_items=5"], "evaluation.n_items=5: a run that is made longer"),
        (5, ["name=constant"], "constant: is there already, and is not .*constant made longer"),
        (5, ["nmae=x"], "nmae=x: a run that is made longer"),
        (5, ["name="], "name: a run needs one"),
        (10**12, [], "--extend 1000000000000: constant has 20 steps, .* give at most 999,999,999,980"),
        (5, ["evaluation.steps=[22,400]"], "evaluation.steps: 400 is not among the steps that are added, 21 to 25"),
    ],
)
def test_what_is_refused(steps: int, overrides: list[str], message: str, constant: Path) -> None:
    before = sorted(constant.parent.iterdir())
    with pytest.raises(UserError, match=message):
        extend_run(constant, steps, overrides)
    assert sorted(constant.parent.iterdir()) == before


@pytest.mark.parametrize("strategy", ["der", "distill"])
def test_a_strategy_that_prepares_for_so_many_steps_is_refused(
    small_config: RunConfig, small_run: Path, strategy: str
) -> None:
    config = with_schedule(small_config, f"with_{strategy}", "constant")
    config = configs.changed(config, ["base=small", f"strategy.name={strategy}", "training.max_steps=2"])
    with pytest.raises(
        UserError, match=f"{strategy} prepares at step 0 .* with training.max_steps=5 and another name="
    ):
        extend_run(train(config), 3)


def test_every_strategy_that_looks_at_the_length_says_so() -> None:
    for name in registry.known():
        kind = registry.find(name)
        looks = "context.total" in inspect.getsource(inspect.getmodule(kind) or kind)
        only_to_refuse = name == "replay"
        assert kind.prepares_for_length == (looks and not only_to_refuse), name


def test_the_help_names_the_strategies_that_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    refused = [name for name in registry.known() if registry.find(name).prepares_for_length]
    assert main(["train", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"for the run's length: {', '.join(refused[:-1])} and {refused[-1]}." in said


def test_a_run_is_gone_on_with_where_it_lies(
    constant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From another folder, or under another name: no run is begun anew."""
    run = copied(constant, tmp_path / "outputs")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["train", str(run / "config.yaml"), "--resume", "--no-report"]) == 0
    assert "already finished" in capsys.readouterr().err and not Path("outputs").exists()
    renamed = run.rename(run.with_name("renamed"))
    monkeypatch.chdir(tmp_path)
    assert main(["train", "renamed", "--resume", "--no-report"]) == 0
    assert "already finished" in capsys.readouterr().err and not run.exists()
    assert main(["train", str(renamed), "--extend", "2", "--output-root", "elsewhere", "--no-report"]) == 2
    assert "--output-root elsewhere: a longer run lies beside" in capsys.readouterr().err
    monkeypatch.chdir(renamed)
    assert main(["train", ".", "--extend", "2", "--no-report"]) == 0
    assert Path(capsys.readouterr().out.split()[-1]).name == "renamed_to_22"
    monkeypatch.chdir(renamed / "checkpoints")
    assert main(["evaluate", "final"]) == 0


def test_the_command_takes_a_name_a_config_or_a_folder(
    constant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(constant, tmp_path / "outputs")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "constant.yaml").write_text("description: what made it\n")
    ways = {
        "1": "constant",
        "2": "configs/constant.yaml",
        "3": "outputs/experiments/constant/config.yaml",
        "4": str(run),
    }
    for steps, way in ways.items():
        assert main(["train", way, "--extend", steps, "--no-report"]) == 0
    printed = capsys.readouterr().out.split()
    assert [Path(line).name for line in printed] == [f"constant_to_{20 + int(steps)}" for steps in ways]
    assert main(["show", "constant_to_22"]) == 0
    assert "goes on from  step 20 of constant" in capsys.readouterr().out
    assert main(["train", "constant_to_22", "--resume", "--no-report"]) == 0, "a run's name will do to go on with it"
    assert "already finished" in capsys.readouterr().err
    assert main(["train", "constent", "--extend", "1"]) == 2
    assert "no run of this name in outputs/experiments; did you mean constant?" in capsys.readouterr().err
    assert main(["train", "constant", "--extend", "0"]) == 2
    assert "--extend 0: give at least 1 step more" in capsys.readouterr().err
    assert main(["train", "constant", "--extend", "1", "--build-base"]) == 2
    assert "--build-base and --extend: a run that is made longer" in capsys.readouterr().err
