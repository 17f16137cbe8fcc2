"""The study as one command: its plan, two seeds of a tiny one, what is skipped, resumed, refused, and recorded."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlantis import cli, study
from atlantis import config as configs
from atlantis.errors import Interrupted, UserError
from atlantis.report import run_data
from atlantis.report.study_record import RUNS, StudyRecord, read_record, write_record
from atlantis.sweep import Local, Outcome, Queue
from atlantis.sweep.child import Runner
from atlantis.training.base import find_base
from scripts.groups import groups_of
from scripts.results import page

TINY = (
    "dataset.n_train=100 dataset.n_val=16 dataset.n_test=40 model.hidden_size=32 model.n_layers=5 model.n_heads=2 "
    "model.mlp_size=64 training.max_steps=4 evaluation.n_items=16 evaluation.steps=[0,2] evaluation.fractions=[] "
    "probe.repeats=3 probe.measures=false"
)

SOURCE = Path(cli.__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def children_find_the_package(warm_python: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", warm_python)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH", "")])))
        yield


@pytest.fixture(scope="module")
def tiny(thirty_cities: Path) -> list[str]:
    """Overrides that make every run one of 4 steps on 30 cities."""
    return [f"world.cities={thirty_cities}", *TINY.split(" ")]


@pytest.fixture(scope="module")
def root(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output root of a finished study: base and cross, two seeds."""
    folder = tmp_path_factory.mktemp("study")
    outcomes = make(study.plan([42, 43], ["base", "cross"], None, folder, tiny))
    assert [outcome.state for outcome in outcomes] == ["done"] * 4
    return folder


def make(runs: list[study.StudyRun]) -> list[Outcome]:
    return study.make(runs, Local(workers=2))


def records(root: Path) -> dict[str, StudyRecord]:
    return {file.stem: read_record(file) for file in sorted(study.records_folder(root).glob("*.json"))}


def files(folder: Path) -> dict[str, tuple[int, str]]:
    """Time and content of every file below `folder`."""
    found = [file for file in folder.rglob("*") if file.is_file()]
    return {str(f): (f.stat().st_mtime_ns, hashlib.sha256(f.read_bytes()).hexdigest()) for f in found}


# --- the plan


def test_the_plan_is_the_study() -> None:
    plan = study.plan()
    assert [(planned.seed, planned.run) for planned in plan] == [(s, run) for s in (42, 43, 44) for run in RUNS]
    assert len({planned.name for planned in plan}) == len(plan)
    assert all(planned.name.endswith(f"_seed{planned.seed}") for planned in plan)
    of_43 = {planned.run: planned.config for planned in plan if planned.seed == 43}
    assert of_43["base"].base is None
    assert {of_43[run].base for run in RUNS if run != "base"} == {of_43["base"].name}
    protocol = {
        run: (config.training.batch_size, config.training.epochs, config.training.learning_rate, config.dataset.kind)
        for run, config in of_43.items()
    }
    assert protocol == {
        "base": (512, 20, 3e-4, "distance"),
        "cross": (512, 10, 5e-5, "cross"),
        "cross_bs64": (64, 10, 5e-5, "cross"),
        "inter": (512, 50, 1e-4, "inter"),
        "inter_bs64": (64, 50, 1e-4, "inter"),
        "mixed": (512, 20, 5e-5, "mixed"),
    }


def test_the_help_names_the_runs_and_the_seeds(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["study", "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Some of {','.join(RUNS)}." in text and ",".join(map(str, study.SEEDS)) in text
    assert all(key in text for key in study.SEEDED)


def test_a_seed_changes_three_settings_and_the_base() -> None:
    a, b = (study.plan([seed], ["cross"])[0].config for seed in (42, 43))
    changed = [line.partition(":")[0] for line in configs.difference(a, b)]
    assert changed == ["base", "dataset.seed", "model.seed", "training.seed"]
    assert study.plan([43], ["base"])[0].config.world.seed == 42


def test_the_shipped_base_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = study.plan([7], None, "shipped", tmp_path)
    assert [planned.run for planned in plan] == [run for run in RUNS if run != "base"]
    own = tmp_path / "experiments" / RUNS["base"] / "checkpoints" / "final"  # is not what "shipped" means
    own.mkdir(parents=True)
    (own / "config.json").write_text("{}")
    found = find_base(plan[0].config)
    assert found is not None and found.checkpoint.parent.name == "pretrained"
    assert plan[0].name == "atlantis_cross_finetune_from_shipped_seed7"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "42,x"], "--seeds 42,x: write whole numbers"),
        (["--seeds", "-1"], "--seeds -1: write whole numbers"),
        (["--only", ""], "'' is not one of the study's runs, base, cross,"),
        (["--only", "cross", "--only", "fly"], "'fly' is not one of the study's runs, base, cross,"),
        (["--only", "cross,fly"], "'fly' is not one of the study's runs, base, cross,"),
        (["--only", "base", "--base", "shipped"], "a given base is not trained"),
        (["--base", "nowhere"], "its base nowhere is not there; --base names no run"),
        (["training.seed=3"], "training.seed=3: the study sets training.seed itself; use --seeds"),
        (["name=mine"], "name=mine: the study sets name itself"),
        (["training.max_step=3"], "did you mean training.max_steps?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_stops_the_study_before_it_begins(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["study", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert os.listdir() == []


# --- records


def test_a_record_has_what_the_run_has(root: Path) -> None:
    found = records(root)
    assert list(found) == [f"{RUNS[run]}_seed{seed}" for run in ("cross", "base") for seed in (42, 43)]
    record = found["atlantis_cross_finetune_seed43"]
    run = run_data.load(root / "experiments" / record.name)
    assert (record.run, record.seed, record.steps, record.full_steps) == ("cross", 43, 4, 10)
    assert record.seeds["data"] == record.seeds["initialisation"] == record.seeds["order"] == 43
    assert record.seeds["world"] == record.seeds["evaluation"] == record.seeds["probe"] == 42
    assert [row.step for row in record.evaluations] == [0, 2, 4]
    last, logged = record.evaluations[-1], run.task[run.task["step"] == 4].set_index("slice")
    assert last.loss == pytest.approx(run.evaluations["loss"].iloc[-1], rel=1e-5)
    assert set(last.task) == {"world-world", "world-atlantis", "atlantis-atlantis", "all"}
    for name, score in last.task.items():
        assert score.mean_km == pytest.approx(logged.loc[name, "mean_km"], rel=1e-5)
        assert score.parsed == pytest.approx(logged.loc[name, "parsed"], rel=1e-5)
    for protocol in ("degrees", "sphere"):
        table = run.probe(protocol).dynamics
        row = table[(table["step"] == 4) & (table["group"] == "real") & (table["split"] == "test")].iloc[0]
        score = getattr(last, protocol)["real"]
        assert (score.n, score.lon_r2, score.mean_km) == pytest.approx((row["n"], row["lon_r2"], row["mean_km"]), 1e-5)
    assert last.sphere["real"].mean_km_low is not None and last.degrees["real"].mean_km_low is not None
    assert "India" in last.degrees and "India" in record.evaluations[0].degrees
    assert set(record.evaluations[1].degrees) == {"real", "Atlantis"}


def test_every_seed_starts_from_its_own_base(root: Path) -> None:
    found = records(root)
    weights = {}
    for seed in (42, 43):
        record = found[f"atlantis_cross_finetune_seed{seed}"]
        base = root / "experiments" / f"{RUNS['base']}_seed{seed}"
        digest = hashlib.sha256((base / "checkpoints" / "final" / "model.safetensors").read_bytes()).hexdigest()
        assert record.base is not None and record.base.weights == digest and record.base.option is None
        ours, theirs = record.evaluations[0].degrees["real"], found[base.name].evaluations[-1].degrees["real"]
        assert ours == theirs
        weights[seed] = digest
    assert weights[42] != weights[43]
    one, two = (found[f"atlantis_cross_finetune_seed{seed}"] for seed in (42, 43))
    assert one.setup() == two.setup() and one.config_digest != two.config_digest


def strings(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        data = [*data, *data.values()]
    if isinstance(data, list):
        for item in data:
            yield from strings(item)
    elif isinstance(data, str):
        yield data


def test_records_are_small_and_hold_nothing_of_this_machine(root: Path, thirty_cities: Path) -> None:
    for file in study.records_folder(root).iterdir():
        assert file.stat().st_size < 20_000
        words = [word for text in strings(json.loads(file.read_text())) for word in text.replace("=", " ").split()]
        assert not [word for word in words if word.startswith(("/", "~")) or os.uname().nodename in word]
        assert f"world.cities={thirty_cities.name}" in file.read_text()


def test_a_record_is_read_as_it_was_written(root: Path, tmp_path: Path) -> None:
    for name, record in records(root).items():
        write_record(tmp_path / name, record)
        assert read_record(tmp_path / name) == record
        assert (tmp_path / name).read_bytes() == (study.records_folder(root) / f"{name}.json").read_bytes()


def test_the_command_in_a_record_makes_the_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, thirty_cities: Path
) -> None:
    monkeypatch.chdir(thirty_cities.parent)  # where the name of the cities' file means that file
    record = records(root)["atlantis_cross_finetune_seed43"]
    seen = {}
    whole = study.sweep_of
    monkeypatch.setattr(study, "sweep_of", lambda plan: seen.update({p.run: p for p in plan}) or whole(plan))
    assert cli.main([*shlex.split(record.command)[1:], "--dry-run"]) == 0
    assert list(seen) == ["base", "cross"]
    assert configs.digest(study.portable_config(seen["cross"].config)) == record.config_digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ('{"run": "fly"}', "not a record of one of the study's runs"),
        ('{"run": "base"}', "name: "),
    ],
)
def test_what_is_no_record_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_record(tmp_path / "x.json")
    assert "x.json" in str(error.value)


# --- skip, resume, fail


def test_what_is_recorded_is_not_made_again(
    root: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    def never(*args: Any, **settings: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Runner, "train", never)
    before = files(root)
    assert cli.main(["study", "--seeds", "42,43", "--only", "base,cross", "--output-root", str(root), *tiny]) == 0
    output = capfd.readouterr()
    assert output.out.count("was done") == 4 and output.out.splitlines()[-1] == str(study.records_folder(root))
    assert output.err == "", "quiet in a pipe"
    assert files(root) == before


def test_a_finished_run_without_record_is_recorded_and_not_trained(root: Path, tiny: list[str]) -> None:
    planned = study.plan([43], ["cross"], None, root, tiny)
    kept = planned[0].record.read_bytes()
    planned[0].record.unlink()
    before = files(planned[0].folder / "checkpoints")
    (outcome,) = make(planned)
    assert outcome.state == "was done" and planned[0].record.read_bytes() == kept
    assert files(planned[0].folder / "checkpoints") == before


def test_a_record_of_another_config_is_kept(root: Path, tiny: list[str]) -> None:
    planned = study.plan([43], ["cross"], None, root, [*tiny, "training.learning_rate=1e-3"])
    before = files(root)
    (outcome,) = make(planned)
    assert outcome.state == "failed" and "training.learning_rate: 5e-05 -> 0.001" in outcome.message
    assert files(root) == before


def test_a_run_that_fails_stops_no_other_and_is_taken_up_again(
    root: Path, tiny: list[str], tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    command = ["study", "--seeds", "42,43", "--only", "base,cross", "--output-root", str(tmp_path), *tiny]
    base = tmp_path / "experiments" / f"{RUNS['base']}_seed42"
    base.parent.mkdir()
    base.write_text("a file where a folder is needed")
    assert cli.main([*command, "--workers", "2"]) == 1
    said = capfd.readouterr().err
    assert f"failed: {base.name}: {base}: is a file" in said
    assert f"failed: {RUNS['cross']}_seed42: its base {base.name} was not finished" in said
    assert [record.seed for record in records(tmp_path).values()] == [43, 43]
    base.unlink()
    assert cli.main([*command, "--threads", "1"]) == 0
    assert "4 of 4: " in capfd.readouterr().err
    for name, record in records(tmp_path).items():
        assert record.evaluations == records(root)[name].evaluations


def test_a_fine_tune_of_a_base_that_is_missing_says_so(tmp_path: Path, tiny: list[str]) -> None:
    (outcome,) = make(study.plan([42], ["cross"], None, tmp_path, tiny))
    assert "its base dist_100k_1M_20epochs_seed42 is not there" in outcome.message and "--build-base" in outcome.message
    assert list(tmp_path.iterdir()) == []
    runs = study.plan([42, 43], ["cross"], None, tmp_path, tiny, build_base=True)
    assert [(run.run, run.seed, run.after) for run in runs] == [
        ("base", 42, None), ("cross", 42, runs[0].name), ("base", 43, None), ("cross", 43, runs[2].name)
    ]  # fmt: skip
    with pytest.raises(UserError, match="--build-base and --base: a given base is not trained"):
        study.plan([42], ["cross"], "shipped", tmp_path, tiny, build_base=True)


def test_the_fine_tunes_of_a_seed_begin_when_its_base_is_trained(root: Path, tiny: list[str], tmp_path: Path) -> None:
    begun = []

    class Seen(Local):
        def run(self, queue: Queue) -> Iterator[Outcome]:
            while jobs := queue.due():
                begun.append({job.name for job in jobs})
                yield from (Outcome(job.name, "failed", "a planted failure") for job in jobs)

    plan = study.plan([42], ["base", "cross", "inter"], None, tmp_path, tiny)
    assert [o.state for o in study.make(plan, Seen())] == ["failed"] * 3 and begun == [{plan[0].name}]
    given = str(root / "experiments" / f"{RUNS['base']}_seed42")
    begun.clear()
    plan = study.plan([1, 2], ["cross", "inter"], given, tmp_path, tiny)
    study.make(plan, Seen())
    assert begun == [{run.name for run in plan}], "at once"


def test_a_signal_stops_the_study_and_the_same_command_goes_on(tiny: list[str], tmp_path: Path) -> None:
    plan = study.plan([42, 43], ["base"], None, tmp_path, [*tiny, "training.max_steps=200", "training.epochs=200"])

    def stop() -> None:
        log = plan[0].folder / "metrics.jsonl"
        while not (log.is_file() and log.read_text().count("\n") > 3):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Interrupted, match="study: stopped by SIGINT, 0 of 2 runs are done; the same command goes on"):
        study.make(plan, Local(workers=1))
    assert not study.records_folder(tmp_path).exists()
    assert not plan[1].folder.exists(), "the others do not begin"
    (outcome,) = make(plan[:1])
    log = (tmp_path / "study" / "logs" / f"{plan[0].name}.log").read_text()
    assert (outcome.state, outcome.attempts) == ("done", 2) and "stopped by SIGTERM after step" in log
    assert records(tmp_path)[plan[0].name].steps == 200


# --- a given base, and the page of real records


def test_a_given_base_is_shared_and_said(root: Path, tiny: list[str], tmp_path: Path) -> None:
    base = root / "experiments" / f"{RUNS['base']}_seed42"
    outcomes = make(study.plan([1, 2], ["cross"], str(base), tmp_path, tiny))
    assert [outcome.state for outcome in outcomes] == ["done", "done"]
    one, two = records(tmp_path).values()
    assert one.name == f"atlantis_cross_finetune_from_{base.name}_seed1"
    assert one.base is not None and two.base is not None and one.base.weights == two.base.weights
    assert one.base.option == base.name and f"--only cross --base {base.name} " in one.command
    assert one.evaluations[0].degrees == two.evaluations[0].degrees, "the same starting point"
    assert one.evaluations[-1].loss != two.evaluations[-1].loss, "other data and another order"
    assert one.setup() == two.setup() != records(root)["atlantis_cross_finetune_seed42"].setup()
    text = page([*records(root).values(), one, two])
    assert "| cross, given base, shortened | 0 | " in text
    assert "1, 2, 42 (n = 3, one base)" in text, "the run that made its base itself started from the same weights"
    assert f"every seed starts from the given base `{base.name}`" in text
    labels = [group.label for group in groups_of([*records(root).values(), one]) if group.records]
    assert sorted(labels) == ["base, shortened", "cross, given base, shortened", "cross, shortened"]
