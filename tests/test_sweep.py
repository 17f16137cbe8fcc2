"""Sweeps: their plan and its mistakes, four runs of which one is killed, failures among good runs, Ctrl-C, results."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from atlantis import artifacts, cli, progress, sweep
from atlantis import config as configs
from atlantis.errors import UserError
from atlantis.report import run_data
from atlantis.settings import MOST_BYTES, RunConfig
from atlantis.sweep import Job, Local, Outcome, Queue
from atlantis.sweep.child import Runner
from atlantis.sweep.display import Display
from atlantis.sweep.plan import NAME_LENGTH, Planned, sweep_of
from atlantis.sweep.results import measures
from atlantis.tasks.score import by_slice, scores_of

SOURCE = Path(cli.__file__).parents[2]
TINY = """
world: {{cities: {cities}, regions: [{{count: 8}}]}}
dataset: {{kind: distance, n_train: 300, n_val: 32, n_test: 64}}
model: {{hidden_size: 32, n_layers: 5, n_heads: 2, mlp_size: 64}}
training: {{batch_size: 64, max_steps: 20, learning_rate: 3e-3, warmup_steps: 5}}
evaluation: {{n_items: 16, steps: [0], fractions: [1.0], probe: false}}
"""
MANY = "evaluation: {steps: [0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18]}\n"
"""So many evaluations that a run can be killed between them."""
FOUR = f"""
extends: tiny.yaml
grid: {{training.learning_rate: [1e-3, 3e-3]}}
seeds: [1, 2]
{MANY}"""
EIGHT = """
extends: tiny.yaml
grid:
  training.learning_rate: [1e-3, 3e-3]
  training.batch_size: [64, 32]
seeds: [1, 2]
"""


@pytest.fixture(autouse=True)
def children_find_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(SOURCE), before])))
    monkeypatch.setattr(progress, "console", lambda: Console(stderr=True, width=300))


@pytest.fixture(scope="module")
def folder(thirty_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny config and sweeps of eight and of four runs of it."""
    found = tmp_path_factory.mktemp("sweep")
    (found / "tiny.yaml").write_text(TINY.format(cities=thirty_cities))
    (found / "eight.yaml").write_text(EIGHT)
    (found / "four.yaml").write_text(FOUR)
    return found


def write(folder: Path, text: str, name: str = "some.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def weights(run: Path) -> bytes:
    return (run / "checkpoints" / "final" / "model.safetensors").read_bytes()


def kill_when_training(run: Path, seen: list[bool], number: int = signal.SIGKILL) -> None:
    """Send a signal to the process of a run that has logged some steps; notes whether it had finished training."""
    while True:
        time.sleep(0.01)
        log, holder = run / "metrics.jsonl", run / ".lock"
        if log.is_file() and log.read_text().count("\n") >= 4 and (pid := holder.read_text().split()):
            os.kill(int(pid[0]), number)
            seen.append((run / "checkpoints" / "final").exists())
            return


@pytest.fixture(scope="module")
def four(folder: Path, warm_python: str) -> tuple[sweep.Sweep, list[Outcome], list[bool]]:
    """The sweep of four, carried out two at a time, of which one run's process is killed in the middle."""
    plan = sweep.read(folder / "four.yaml", [f"output_root={folder / 'out'}"])
    seen: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", warm_python)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH", "")])))
        threading.Thread(target=kill_when_training, args=(plan.runs[2].folder, seen), daemon=True).start()
        outcomes = sweep.carry_out(plan, Local(workers=2))
    return plan, outcomes, seen


# --- the plan


def test_a_grid_is_every_combination_under_names_that_say_it(folder: Path) -> None:
    plan = sweep.read(folder / "eight.yaml")
    assert len(plan.runs) == 8 and plan.name == "eight"
    first, last = plan.runs[0], plan.runs[-1]
    assert first.name == "eight_learning_rate=0.001_batch_size=64_seed=1"
    assert last.name == "eight_learning_rate=0.003_batch_size=32_seed=2"
    assert last.factors == {"training.learning_rate": 3e-3, "training.batch_size": 32, "seed": 2}
    config = last.config
    assert (config.training.learning_rate, config.training.batch_size) == (3e-3, 32)
    assert (config.dataset.seed, config.model.seed, config.training.seed, config.world.seed) == (2, 2, 2, 42)
    assert plan.folder == Path("outputs/sweeps/eight")


def test_an_override_is_under_every_run_and_names_the_sweep(folder: Path) -> None:
    plan = sweep.read(folder / "eight.yaml", ["training.max_steps=3", "name=short"])
    assert {run.config.training.max_steps for run in plan.runs} == {3}
    assert plan.name == "short" and all(run.name.startswith("short_") for run in plan.runs)


def test_what_does_not_fit_a_name_gets_a_digest() -> None:
    steps = [[0, 10], [0, 20]]
    runs = sweep.grid(RunConfig(name="s"), {"evaluation.steps": steps, "description": ["a/b", "a b", "a-b"]})
    names = [str(run.name) for run in runs]
    assert len(set(names)) == 6 and all("/" not in name and " " not in name for name in names)
    assert names[2].endswith("_description=a-b") and names[0] != names[1]
    long = sweep.grid(RunConfig(name="n" * 100), {"training.learning_rate": [1e-3, 2e-3]})
    assert [len(str(run.name)) for run in long] == [NAME_LENGTH] * 2 and long[0].name != long[1].name


def test_a_long_name_is_shortened_by_bytes_too() -> None:
    texts = ["大" * 32, "海" * 32]
    runs = sweep.grid(RunConfig(name="s"), {"description": texts, "world.regions.0.name": texts})
    names = [str(run.name) for run in sweep.sweep_of("s", runs).runs]
    assert len(set(names)) == 4
    for name in names:
        assert name.startswith("s_description=") and len(name) <= NAME_LENGTH
        assert MOST_BYTES - 3 < len(name.encode()) <= MOST_BYTES and RunConfig(name=name).name == name


def test_keys_that_end_alike_keep_their_group() -> None:
    (run,) = sweep.grid(RunConfig(name="s"), {"model.seed": [1], "training.seed": [2]})
    assert run.name == "s_model.seed=1_training.seed=2"


def test_a_file_in_the_grid_is_meant_relative_to_the_sweep(folder: Path) -> None:
    plan = sweep.read(write(folder, "extends: tiny.yaml\ngrid: {world.cities: [a.csv, b.csv]}"))
    assert [run.config.world.cities for run in plan.runs] == [str(folder / "a.csv"), str(folder / "b.csv")]


@pytest.mark.parametrize(
    ("text", "overrides", "messages"),
    [
        ("description: x", [], ["has neither `grid:` nor `seeds:`"]),
        ("grid: 3", [], ["grid: must be lines"]),
        ("grid: {training.batch_size: 64}", [], ["grid: training.batch_size: must be a list"]),
        ("grid: {training.batch_size: [64, 64]}", [], ["some.yaml: grid: training.batch_size: 64 is listed twice"]),
        (
            "grid: {training.max_steps: [3], training: [{max_steps: 4}]}",
            [],
            ["training.max_steps: is a part of training, which is varied too"],
        ),
        ("grid: {training.batch_size: [64]}", ["grid.training.batch_size=[8]"], ["grid is not part of a run's config"]),
        ("grid: {training.batch: [64]}", [], ["some.yaml: grid: training.batch=64: unknown key; did you mean"]),
        ("grid: {training.batch_size: [x, 0, 8], seed: [1]}", [], ['"x": must be a whole number', "=0: must be"]),
        ("grid: {name: [a, b]}", [], ["grid: name: cannot vary"]),
        ("seeds: [1, 1]", [], ["seeds: 1 is listed twice"]),
        ("seeds: [a]", [], ["seeds: must be a list of whole numbers"]),
        ("seeds: [1]\ngrid: {model.seed: [1]}", [], ["model.seed: is set by `seeds` too"]),
        ("seeds: [1]", ["training.seed=3"], ["training.seed: is varied by"]),
        ("seeds: [1]", ["training.max_step=3"], ["did you mean training.max_steps?"]),
        ("seeds: [1]\nbase: nowhere", [], ["base: 'nowhere' is no folder"]),
    ],
)  # fmt: skip
def test_mistakes_are_one_message_before_anything_is_written(
    text: str, overrides: list[str], messages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, text)
    assert cli.main(["sweep", "some.yaml", *overrides]) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1 and all(message in said for message in messages), said
    assert os.listdir() == ["some.yaml"]


PYTHON = """
from atlantis import RunConfig
from atlantis.sweep import grid
def runs():
    for run in grid(RunConfig(name="loop"), {"training.batch_size": [8, 16]}):
        yield run
    yield RunConfig.model_validate({"name": "other", "dataset": {"kind": "inter"}})
"""


def test_a_python_file_is_a_loop_and_its_factors_are_what_differs(tmp_path: Path) -> None:
    plan = sweep.read(write(tmp_path, PYTHON, "loop.py"), ["training.max_steps=3", "name=mine"])
    assert [run.name for run in plan.runs] == ["loop_batch_size=8", "loop_batch_size=16", "other"]
    assert plan.name == "mine" and {run.config.training.max_steps for run in plan.runs} == {3}
    assert plan.runs[2].factors == {"dataset.kind": "inter", "training.batch_size": 512}


def test_a_default_is_a_value_of_a_factor() -> None:
    """Else the table has no number there, and a group by that column loses the run."""
    plain, other = RunConfig(name="a"), RunConfig(name="b", strategy={"name": "replay", "share": 0.5})  # type: ignore[arg-type]
    ordered = RunConfig(name="c", dataset={"order": "smaller_first"})  # type: ignore[arg-type]
    factors = [run.factors or {} for run in sweep_of("s", [plain, other, ordered]).runs]
    assert [row["strategy.name"] for row in factors] == ["naive", "replay", "naive"]
    assert [row["dataset.order"] for row in factors] == ["fair", "fair", "smaller_first"]


def test_a_grid_takes_numpys_numbers_and_seeds_once() -> None:
    base = RunConfig(name="n")
    runs = sweep.grid(base, {"training.batch_size": 2 ** np.arange(5, 7)}, seeds=np.arange(2))  # type: ignore[arg-type]
    assert [(run.training.batch_size, run.training.seed) for run in runs] == [(32, 0), (32, 1), (64, 0), (64, 1)]
    with pytest.raises(UserError, match="seed: is no setting; add its values to `seeds`"):
        sweep.grid(base, {"seed": [1, 2]}, seeds=[5])


def test_values_are_shown_as_they_are(folder: Path, capsys: Any) -> None:
    text = "extends: tiny.yaml\ngrid: {description: ['[red]a[/red]', 'b[/x]']}"
    assert cli.main(["sweep", str(write(folder, text)), "--dry-run"]) == 0
    assert "[red]a[/red]" in capsys.readouterr().out


def test_a_sweep_has_a_name(folder: Path, capsys: Any) -> None:
    file = str(write(folder, "extends: tiny.yaml\nseeds: [1]"))
    for nothing in ("name=", "name=null"):
        assert cli.main(["sweep", file, "--dry-run", nothing]) == 2
        assert "name: a sweep needs one" in capsys.readouterr().err


def test_files_are_those_of_the_folder_in_which_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunConfig(name="a", world={"cities": "mine.csv"})  # type: ignore[arg-type]
    assert [made.config.world.cities for made in sweep_of("s", [run]).runs] == [str(tmp_path / "mine.csv")]
    assert configs.changed(configs.changed(run)) == configs.changed(run)
    assert configs.changed(RunConfig(name="b")) == RunConfig(name="b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "some.py: has no function `runs`"),
        ("def runs():\n    return [1]", "must give RunConfigs, not int"),
        ("def runs():\n    return []", "has no runs"),
        ("\ndef runs():\n    return 1 / 0", "some.py:3: ZeroDivisionError"),
        ("def runs(:", "some.py:1: SyntaxError"),
        ("from atlantis import RunConfig\ndef runs():\n    return [RunConfig()]", "a run has no name"),
        (
            "from atlantis import RunConfig\ndef runs():\n    return [RunConfig(name=n, output_root=n) for n in 'ab']",
            "output_root: the runs of a sweep share one",
        ),
    ],
)
def test_a_mistake_in_a_python_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        sweep.read(write(tmp_path, text, "some.py"))
    assert message in str(error.value)


def test_bases_come_first(folder: Path) -> None:
    fine = f"extends: tiny.yaml\nbase: ground\nbase_config: tiny.yaml\nseeds: [1, 2]\noutput_root: {folder / 'none'}"
    plan = sweep.read(write(folder, fine), build_base=True)
    assert [(run.name, run.after) for run in plan.runs] == [
        ("ground", None), ("some_seed=1", "ground"), ("some_seed=2", "ground")
    ]  # fmt: skip
    assert plan.runs[0].factors is None and plan.runs[0].config.training.max_steps == 20
    chain = sweep_of("chain", [RunConfig(name="b", base="a"), RunConfig(name="a"), RunConfig(name="c", base="b")])
    assert {run.name: run.after for run in chain.runs} == {"a": None, "b": "a", "c": "b"}
    with pytest.raises(UserError, match="starts from"):
        sweep_of("circle", [RunConfig(name="a", base="b"), RunConfig(name="b", base="a")])


def test_a_mistyped_base_is_refused_by_a_dry_run_too(folder: Path, capsys: Any) -> None:
    text = f"extends: tiny.yaml\nbase: tinny\nbase_config: tiny.yaml\nseeds: [1]\noutput_root: {folder / 'none'}"
    file = str(write(folder, text))
    assert cli.main(["sweep", file, "--dry-run"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: base: 'tinny' is no folder") and message.count("\n") == 1
    assert "by tiny.yaml (20 steps), add --build-base" in message
    for arguments in (["--build-base"], ["base=tiny"]):
        assert cli.main(["sweep", file, "--dry-run", *arguments]) == 0
        assert "made first" in capsys.readouterr().out
    assert not (folder / "none").exists()


def test_a_dry_run_lists_and_writes_nothing(folder: Path, tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["sweep", str(folder / "eight.yaml"), f"output_root={tmp_path / 'o'}", "--dry-run"]) == 0
    assert "eight: 8 runs" in capsys.readouterr().out and not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend", "cloud"], "--backend cloud: is none of local, ray, slurm"),
        (["--address", "auto"], "--address auto: is for --backend ray"),
        (["--slurm", "a=b"], "--slurm a=b: is for --backend slurm"),
        (["--backend", "slurm", "--slurm", "gpu"], "--slurm gpu: write key=value"),
        (["--gpus-per-run", "2"], "--gpus-per-run 2: a run uses one GPU"),
    ],
)
def test_a_wrong_option_is_one_line(
    options: list[str], message: str, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    assert cli.main(["sweep", str(folder / "eight.yaml"), f"output_root={tmp_path / 'o'}", *options]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "o").exists()


# --- four runs, one killed


@pytest.mark.slow
def test_a_killed_run_is_resumed_and_the_others_do_not_notice(four: Any) -> None:
    plan, outcomes, finished_before = four
    assert finished_before == [False], "it was killed while it trained"
    assert [outcome.state for outcome in outcomes] == ["done"] * 4
    assert [outcome.attempts for outcome in outcomes] == [1, 1, 2, 1]
    assert not (plan.folder / "failures.csv").exists()
    assert len({weights(run.folder) for run in plan.runs}) == 4
    device = json.loads((plan.runs[0].folder / "run.json").read_text())["device"]
    assert device["threads"] == 1


@pytest.mark.usefixtures("warm")
@pytest.mark.slow
def test_a_killed_run_has_the_weights_of_one_that_was_not(four: Any, tmp_path: Path) -> None:
    plan, _, _ = four
    name = plan.runs[2].name
    command = ["train", str(plan.folder / "configs" / f"{name}.yaml"), f"output_root={tmp_path}", "--no-report"]
    subprocess.run([sys.executable, "-m", "atlantis", *command], check=True, capture_output=True)
    serial = tmp_path / "experiments" / name
    assert weights(serial) == weights(plan.runs[2].folder)
    assert (serial / "metrics.jsonl").read_bytes() == (plan.runs[2].folder / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_what_is_done_is_not_done_again(four: Any, folder: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, _, _ = four
    monkeypatch.setattr(Runner, "train", lambda *_: pytest.fail("carried out again"))
    before = plan.results.read_bytes()
    assert cli.main(["sweep", str(folder / "four.yaml"), f"output_root={folder / 'out'}"]) == 0
    said = capfd.readouterr()
    assert said.out.count("was done") == 4 and said.out.splitlines()[-1] == str(plan.results)
    assert said.err == "" and plan.results.read_bytes() == before


@pytest.mark.slow
def test_the_results_are_the_runs_own_numbers(four: Any) -> None:
    plan, _, _ = four
    table = pd.read_parquet(plan.results)
    assert list(table.columns[:3]) == ["run", "training.learning_rate", "seed"]
    assert table.groupby(["training.learning_rate", "seed"])["run"].nunique().tolist() == [1] * 4
    run = plan.runs[3]
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    for row in (row for row in rows if row["kind"] == "eval"):
        found = table[(table["run"] == run.name) & (table["step"] == row["step"])].set_index(["group", "metric"])
        assert found.loc[("validation", "loss"), "value"] == row["loss"]
        assert found.loc[("world-world", "mean_km"), "value"] == by_slice(scores_of(row))["world-world"]["mean_km"]
        assert found.loc[("world-world", "mean_km"), "n"] == 16


# --- failures


@pytest.mark.usefixtures("warm")
@pytest.mark.slow
def test_failures_stop_no_other_and_are_named(folder: Path, capfd: Any) -> None:
    file = write(
        folder,
        "extends: tiny.yaml\ngrid: {training.learning_rate: [2e-3, 1e30], dataset.n_train: [300, 5000]}\n"
        "training: {max_steps: 4, max_grad_norm: null}",
        "mixed.yaml",
    )
    root = folder / "failing"
    other = root / "experiments" / "mixed_learning_rate=0.002_n_train=300"
    assert cli.main(["sweep", str(file), f"output_root={root}", "--workers", "2"]) == 1
    said = capfd.readouterr()
    failed = [line for line in said.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 3 and "n_train at most" in said.err and "the weights were not updated" in said.err
    table = pd.read_parquet(root / "sweeps" / "mixed" / "results.parquet")
    assert set(table["run"]) == {other.name}
    failures = pd.read_csv(root / "sweeps" / "mixed" / "failures.csv")
    assert len(failures) == 3 and other.name not in set(failures["run"])
    record = json.loads((root / "sweeps" / "mixed" / "sweep.json").read_text())
    assert [run["state"] for run in record["runs"]] == ["done", "failed", "failed", "failed"]
    assert [run["attempts"] for run in record["runs"]] == [1, 0, 1, 0], "a mistake is not tried again"
    again = ["training.max_steps=5"]  # another config under the same names
    assert cli.main(["sweep", str(file), f"output_root={root}", *again]) == 1
    assert "training.max_steps: 4 -> 5" in capfd.readouterr().err
    assert json.loads((other / "run.json").read_text())["steps"] == 4


@pytest.mark.usefixtures("warm")
@pytest.mark.slow
def test_a_mistake_of_one_run_is_not_that_of_others_with_the_same_data(folder: Path, capfd: Any) -> None:
    text = "extends: tiny.yaml\ngrid: {training.precision: [fp16, fp32]}\ntraining: {max_steps: 2, device: cpu}\n"
    root = folder / "precisions"
    file = write(folder, text, "precisions.yaml")
    assert cli.main(["sweep", str(file), f"output_root={root}"]) == 1
    record = json.loads((root / "sweeps" / "precisions" / "sweep.json").read_text())
    assert {run["factors"]["training.precision"]: run["state"] for run in record["runs"]} == {
        "fp16": "failed", "fp32": "done",
    }  # fmt: skip


def of_a_base(folder: Path, root: Path) -> sweep.Sweep:
    """A sweep of one run that starts from a base that is not there yet."""
    text = f"extends: tiny.yaml\nbase: ground\nbase_config: tiny.yaml\nseeds: [1]\noutput_root: {root}\n"
    short = "training: {max_steps: 2}\nevaluation: {steps: [0]}"
    return sweep.read(write(folder, text + short, "fine.yaml"), build_base=True)


@pytest.mark.usefixtures("warm")
@pytest.mark.slow
def test_a_base_is_made_once_and_first(folder: Path, tmp_path: Path) -> None:
    plan = of_a_base(folder, tmp_path)
    outcomes = sweep.carry_out(plan, Local())
    assert [(outcome.name, outcome.state) for outcome in outcomes] == [("ground", "done"), ("fine_seed=1", "done")]
    start = plan.runs[1].folder / "checkpoints" / "checkpoint-0" / "model.safetensors"
    assert start.read_bytes() == weights(plan.runs[0].folder)
    assert set(pd.read_parquet(plan.results)["run"]) == {"fine_seed=1"}


def test_what_starts_from_a_base_that_failed_is_not_begun(folder: Path, tmp_path: Path) -> None:
    class Failing(Local):
        def run(self, queue: Queue) -> Iterator[Outcome]:
            assert [job.name for job in queue.due()] == ["ground"] and len(queue.jobs) == 2
            yield Outcome("ground", "failed", "a planted failure")
            assert queue.due() == []

    outcomes = sweep.carry_out(of_a_base(folder, tmp_path), Failing())
    assert [outcome.message for outcome in outcomes] == ["a planted failure", "its base ground was not finished"]


def test_a_spreadsheet_runs_nothing_in_the_failures(folder: Path, tmp_path: Path) -> None:
    class Failing(Local):
        def run(self, queue: Queue) -> Iterator[Outcome]:
            assert len(queue.due()) == 1
            yield Outcome("ground", "failed", '=HYPERLINK("x")\nmore')
            assert queue.due() == []

    plan = of_a_base(folder, tmp_path)
    sweep.carry_out(plan, Failing())
    messages = pd.read_csv(plan.folder / "failures.csv")["message"]
    assert messages.tolist() == ['\'=HYPERLINK("x") more', "its base ground was not finished"]


def job(tmp_path: Path, retries: int = 2) -> Job:
    return Job("x", tmp_path / "x.yaml", tmp_path / "x", tmp_path / "x.log", retries=retries)


@pytest.mark.parametrize(
    ("codes", "state", "n"),
    [
        ([0], "done", 1),
        ([-9, 143, 0], "done", 3),
        ([-9, -9, -9, 0], "failed", 3),
        ([1, 2, 0], "failed", 2),
        ([2, 0], "failed", 1),
    ],
)
def test_what_died_is_tried_again_and_a_mistake_is_not(
    codes: list[int], state: str, n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def attempt(*_: Any) -> tuple[int, str]:
        made.append(codes[len(made)])
        return made[-1], f"code {made[-1]}"

    monkeypatch.setattr(Runner, "_attempt", attempt)
    outcome = Runner().train(job(tmp_path))
    assert (outcome.state, len(made)) == (state, n)
    assert state == "done" or f"code {codes[n - 1]}" in outcome.message
    assert outcome.died == (codes[n - 1] == -9)


@pytest.mark.parametrize(
    ("stops", "state", "n"),
    [
        ([(138, 3), (140, 5), (143, 5), (143, 9), (0, 0)], "done", 5),  # no further than before: one death
        ([(138, 0), (129, 0), (129, 0)], "failed", 3),
        ([(138, 2), (143, 1_200), (130, 2_000), (129, 3_000), (0, 0)], "done", 5),
    ],
)
def test_what_saved_its_state_when_it_was_preempted_uses_up_no_retry(
    stops: list[tuple[int, int]], state: str, n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(stops)

    def attempt(*_: Any) -> tuple[int, str]:
        code, step = next(left)
        return code, f"x: stopped by SIGX after step {step}; go on with the same command and --resume"

    monkeypatch.setattr(Runner, "_attempt", attempt)
    outcome = Runner().train(job(tmp_path, retries=1))
    assert (outcome.state, len(stops) - len(list(left))) == (state, n)


def test_a_run_that_another_process_works_on_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([(2, f"x: another process (pid 1) {artifacts.BUSY}; wait"), (0, "")])
    monkeypatch.setattr(Runner, "_attempt", lambda *_: next(said))
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pathlib import Path; from atlantis.artifacts import lock\n"
         "with lock(Path(sys.argv[1])): print(flush=True); sys.stdin.read()", str(tmp_path / "x")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdin is not None and holder.stdout is not None
    holder.stdout.readline()
    assert artifacts.is_locked(tmp_path / "x")
    outcomes: list[Outcome] = []
    waiting = threading.Thread(target=lambda: outcomes.append(Runner().train(job(tmp_path, retries=0))))
    waiting.start()
    time.sleep(0.2)
    assert outcomes == []
    holder.communicate()
    waiting.join(timeout=30)
    assert [outcome.state for outcome in outcomes] == ["done"]
    assert not artifacts.is_locked(tmp_path / "x")


def test_workers_share_the_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlantis.sweep.local.visible_gpus", lambda: ["0", "3"])
    jobs = [job(tmp_path)]

    def places(**options: Any) -> list[str | None]:
        return [place.get("CUDA_VISIBLE_DEVICES") for place in Local(**options)._places(jobs)]

    assert places() == ["0", "3"]
    assert places(gpus_per_run=0.5) == ["0", "3", "0", "3"]
    assert places(gpus_per_run=0.5, workers=3) == ["0", "3", "0"]
    assert places(gpus_per_run=0, workers=2) == ["", ""]
    monkeypatch.setattr("atlantis.limits.cpus", lambda: 6)
    monkeypatch.setattr("atlantis.limits.memory_bytes", lambda: 64 << 30)
    monkeypatch.setattr("atlantis.sweep.local.visible_gpus", lambda: [])
    assert places() == [None] * 6
    jobs = [Job("x", tmp_path, tmp_path, tmp_path, threads=4)]
    assert places() == [None]


# --- stopping


def running(arguments: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "atlantis", "sweep", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until(what: Any) -> None:
    end = time.monotonic() + 120
    while not what():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.05)


@pytest.fixture
def endless(folder: Path, tmp_path: Path) -> Iterator[tuple[list[str], Path]]:
    """Arguments for a sweep of one run that goes on for long, and the run's folder."""
    file = write(folder, f"extends: tiny.yaml\nseeds: [1]\ntraining: {{max_steps: 1000000}}\n{MANY}", "endless.yaml")
    yield [str(file), f"output_root={tmp_path}"], tmp_path / "experiments" / "endless_seed=1"


@pytest.mark.usefixtures("warm")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_the_runs_and_stops(number: int, endless: tuple[list[str], Path]) -> None:
    arguments, run = endless
    process = running(arguments)
    until(lambda: (run / "metrics.jsonl").is_file() and (run / "metrics.jsonl").read_text().count("\n") > 3)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert f"stopped by {signal.Signals(number).name}, 0 of 1 runs are done; the same command goes on" in said
    assert not artifacts.is_locked(run)
    steps = [int(state.name.removeprefix("state-")) for state in (run / "state").iterdir()]
    log = run.parents[1] / "sweeps" / "endless" / "logs" / "endless_seed=1.log"
    assert f"after step {steps[0]}" in log.read_text()


@pytest.mark.usefixtures("warm")
@pytest.mark.slow
def test_a_killed_sweep_takes_its_runs_with_it(endless: tuple[list[str], Path]) -> None:
    arguments, run = endless
    process = running(arguments)
    until(lambda: (run / "metrics.jsonl").is_file() and (run / "metrics.jsonl").read_text().count("\n") > 3)
    process.kill()
    process.communicate()
    until(lambda: not artifacts.is_locked(run))
    log = run.parents[1] / "sweeps" / "endless" / "logs" / "endless_seed=1.log"
    until(lambda: "stopped by SIGTERM after step" in log.read_text())  # it is said once the folder is free


def test_a_run_has_its_own_number_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the sweep's process has another; and an interpreter has as many as the variable says."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import os; print(os.environ[\"OMP_NUM_THREADS\"])'\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    for threads in (1, 3):
        carried_out = Job("x", tmp_path / "x.yaml", tmp_path / "x", tmp_path / f"{threads}.log", threads=threads)
        assert Runner().train(carried_out).state == "done"
        assert carried_out.log.read_text().splitlines()[-1] == str(threads)


# --- results and the table of progress


def test_measures_have_probes_and_the_map_where_they_are(small_run: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(small_run, tmp_path / "run")
    shutil.rmtree(copy / "analysis" / "map", ignore_errors=True)
    planted = pd.DataFrame(
        {
            "step": [0], "layer": ["3+4"], "group": ["real"], "metric": ["skill_refit"],
            "value": [0.75], "low": [0.5], "high": [0.9], "n": [30],
        }
    )  # fmt: skip
    with artifacts.new_folder(copy / "analysis" / "map", kind="analysis") as folder:
        planted.to_parquet(folder / "measures.parquet", index=False)
    run = run_data.load(copy)
    table = measures(run, "3+4")
    assert set(table["source"]) == {"training", "task", "degrees", "sphere", "map"}
    assert table[table["source"] == "map"].drop(columns="source").to_dict("list") == planted.to_dict("list")
    last = table[(table["source"] == "sphere") & (table["step"] == table["step"].max())].set_index(["group", "metric"])
    truth = run.probe("sphere").group("real").iloc[-1]
    row = last.loc[("real", "mean_km")]
    assert (row["value"], row["low"], row["high"], row["n"], row["layer"]) == (
        truth["mean_km"], truth["mean_km_low"], truth["mean_km_high"], truth["n"], "3+4",
    )  # fmt: skip
    assert not table.duplicated(["source", "step", "layer", "group", "metric"]).any()
    assert table["value"].notna().any() and not table[table["source"].isin(["frozen", "shifted"])]["value"].isna().any()
    for probe in run.probes.values():
        one_by_one = [probe.group(name).reset_index() for name in probe.dynamics["group"].unique()]
        assert len(one_by_one) > 2
        whole = pd.concat(one_by_one, ignore_index=True)
        pd.testing.assert_frame_equal(probe.groups()[whole.columns], whole)


def test_factors_of_any_kind_are_columns(small_run: Path) -> None:
    config = configs.load(small_run / "config.yaml", [f"output_root={small_run.parents[1]}"])
    runs = [Planned(config.model_copy(update={"name": small_run.name}), {"a": a, "b": b, "c": c})
            for a, b, c in [([0, 1], 1, "x"), (None, 0.5, 2)]]  # fmt: skip
    plan = sweep.Sweep("kinds", runs)
    table = sweep.gather(plan, runs)
    back = pd.read_parquet(plan.results)
    assert len(back) == len(table) > 0
    assert set(back["a"].dropna()) == {"[0, 1]"} and set(back["b"]) == {1.0, 0.5} and set(back["c"]) == {'"x"', "2"}
    assert len(sweep.gather(plan, [])) == 0 and list(pd.read_parquet(plan.results).columns) == list(back.columns)


def test_the_table_of_progress(small_config: RunConfig, small_run: Path, tmp_path: Path) -> None:
    others = [small_config.model_copy(update={"name": name}) for name in ("waits", "fails")]
    plan = sweep_of("shown", [small_config, *others])
    display = Display(plan, {})
    log = plan.folder / "logs" / f"{small_config.name}.log"
    log.parent.mkdir(parents=True)
    log.write_text("begun")
    os.utime(log, (time.time() + 5, time.time() + 5))
    display.note(Outcome("fails", "failed", "a planted mistake\nand more"))
    screen = Console(width=120)
    with screen.capture() as capture:
        screen.print(display.table())
    shown = capture.get()
    assert "shown: 1 running, 1 waiting, 1 failed" in shown
    assert "20 of 20" in shown and "a planted mistake" in shown and "and more" not in shown and "waits" not in shown
