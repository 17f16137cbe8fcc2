"""The loop: step 0, exact resumption, refusals, and what a run leaves on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atlantis import artifacts
from atlantis import config as configs
from atlantis.artifacts import is_complete
from atlantis.data.rows import Rows
from atlantis.errors import Interrupted, UserError
from atlantis.model import completion_loss
from atlantis.model.checkpoint import checkpoint_steps
from atlantis.model.transformer import answer_logits
from atlantis.readout import evaluate
from atlantis.report.run_data import load
from atlantis.settings import AnchorsConfig, EvaluationConfig, ModelConfig, ProbeConfig, RunConfig, TrainingConfig
from atlantis.strategies.registry import known
from atlantis.tasks import Questions
from atlantis.tasks.score import by_slice, scores_of
from atlantis.training import assemble, loop, provenance, saving, train
from atlantis.training import run as run_folder
from atlantis.training import step as engine
from atlantis.training.finished import open_finished
from atlantis.training.order import Order, anchored, order_of
from atlantis.training.schedule import evaluation_steps, learning_rate, total_steps
from atlantis.training.state import state_steps
from atlantis.training.step import Engine
from atlantis.vocabulary import Vocabulary
from tests.distances import distances


def renamed(config: RunConfig, name: str, **training: object) -> RunConfig:
    """The same run under another name, with other settings of training, and without probes, which take longest."""
    settings = config.training.model_copy(update=training)
    evaluation = config.evaluation.model_copy(update={"probe": False})
    return config.model_copy(update={"name": name, "training": settings, "evaluation": evaluation})


def rows(run: Path, kind: str) -> list[dict]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def digests(run: Path) -> dict[str, str]:
    """SHA-256 of every weight file, the optimizer's state and the metric log."""
    files = [
        *run.glob("checkpoints/*/model.safetensors"),
        *run.glob("state/*/state.safetensors"),
        run / "metrics.jsonl",
    ]
    return {str(f.relative_to(run)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)}


# the schedule


def test_the_studys_numbers_of_steps() -> None:
    assert total_steps(TrainingConfig(epochs=20.0), 1_000_000) == 39_080
    assert total_steps(TrainingConfig(epochs=10.0), 100_000) == 1_960
    assert total_steps(TrainingConfig(epochs=10.0, max_steps=20), 100_000) == 20


def test_learning_rate_is_transformers() -> None:
    from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup, get_wsd_schedule

    def wsd(optimizer: torch.optim.Optimizer, warmup: int, total: int) -> torch.optim.lr_scheduler.LambdaLR:
        half = (total - warmup) // 2
        return get_wsd_schedule(optimizer, warmup, half, num_stable_steps=half, decay_type="linear")

    peers = {"linear": get_linear_schedule_with_warmup, "cosine": get_cosine_schedule_with_warmup, "wsd": wsd}
    for name, make in peers.items():
        settings = TrainingConfig(learning_rate=3e-4, warmup_steps=5, schedule=name)  # type: ignore[arg-type]
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-4)
        peer = make(optimizer, 5, 41)
        for step in range(41):
            assert learning_rate(settings, step, 41) == pytest.approx(peer.get_last_lr()[0], abs=1e-12)
            optimizer.step()
            peer.step()


@given(st.lists(st.integers(0, 500)), st.lists(st.floats(0, 1)), st.integers(1, 300))
def test_step_0_and_the_last_step_are_always_evaluated(steps: list[int], fractions: list[float], total: int) -> None:
    due = evaluation_steps(EvaluationConfig(steps=steps, fractions=fractions), total)
    assert due[0] == 0 and due[-1] == total and due == sorted(set(due))


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 10))
def test_an_epoch_shows_every_row_once(n: int, batch_size: int, seed: int) -> None:
    order = Order(n, batch_size, seed)
    epoch = np.concatenate([order.rows(step) for step in range(order.per_epoch)])
    assert len(epoch) == order.per_epoch * batch_size
    assert sorted(epoch[epoch < n]) == list(range(n))
    later = Order(n, batch_size, seed)  # jumping into the middle gives the same rows
    assert np.array_equal(later.rows(order.per_epoch + 0), order.rows(order.per_epoch))


@given(st.integers(2, 60), st.integers(1, 70), st.integers(1, 9), st.integers(0, 10), st.data())
def test_early_rows_come_first_and_the_rest_as_without(n: int, batch: int, until: int, seed: int, data) -> None:
    early = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1))))
    order, plain = Order(n, batch, seed, early, until), Order(n, batch, seed)
    first = np.concatenate([order.rows(step) for step in range(until)])
    times = np.bincount(first, minlength=n + 1)[:n]
    assert len(first) == until * batch
    assert set(np.flatnonzero(times)) <= set(early), "early rows and fillers only"
    assert np.ptp(times[early]) <= 1, "every early row as often as any other"
    for step in (until, until + 1, until + 7):
        assert np.array_equal(order.rows(step), plain.rows(step))


def triangle(n_cities: int) -> Questions:
    """Every pair of so many cities, numbered from 1000."""
    first, second = np.triu_indices(n_cities, 1)
    first, second = (np.asarray(ids + 1000, np.int32) for ids in (first, second))
    return distances(first, second, first)


@given(st.integers(2, 30), st.integers(0, 10), st.data())
def test_anchors_are_met_by_all_others(n_cities: int, seed: int, data) -> None:
    anchors = data.draw(st.integers(1, n_cities))
    pairs = triangle(n_cities)
    chosen = anchored(AnchorsConfig(cities=anchors), pairs, seed)
    others = n_cities - anchors
    assert len(np.unique(chosen)) == len(chosen) == len(pairs) - others * (others - 1) // 2
    met = np.bincount(pairs.cities[chosen].ravel() - 1000, minlength=n_cities)
    assert sum(met == n_cities - 1) >= anchors and min(met) >= min(anchors, n_cities - 1)


def test_more_anchors_than_cities_are_refused() -> None:
    with pytest.raises(UserError, match=r"training.anchors.cities: 6 anchors, but the training pairs have 5 cities"):
        order_of(TrainingConfig(anchors=AnchorsConfig(cities=6)), triangle(5))


# a run


def test_a_small_world_trains_end_to_end(small_run: Path) -> None:
    losses = [row["loss"] for row in rows(small_run, "eval")]
    assert losses[-1] < losses[0] - 0.3, "the loss falls"
    assert [row["step"] for row in rows(small_run, "eval")] == [0, 3, 10, 20]
    assert list(checkpoint_steps(small_run)) == [0, 3, 10, 20]
    assert is_complete(small_run / "checkpoints" / "final")
    record = json.loads((small_run / "run.json").read_text())
    assert record["status"] == "finished" and record["steps"] == 20
    assert record["device"]["recorded"] is False, "a CPU takes its steps one by one"
    for protocol in ("degrees", "sphere"):
        assert (small_run / "analysis" / protocol / "representation_dynamics.csv").is_file()
        assert (small_run / "analysis" / protocol / "predictions.parquet").is_file()


def test_without_a_validation_split_the_log_is_still_json(small_config: RunConfig, tmp_path: Path) -> None:
    """NaN is no JSON to others; a loss that was not measured is null."""
    few = {"max_steps": 1, "warmup_steps": 0}
    given = {"name": "none", "output_root": str(tmp_path), "evaluation": {"probe": False}, "training": few}
    data = small_config.model_dump()
    run = train(configs.checked(RunConfig, data | given | {"dataset": data["dataset"] | {"n_val": 0}}))
    for file in (run / "metrics.jsonl", run / "checkpoints" / "checkpoint-1" / "eval_results.json"):
        assert "NaN" not in file.read_text()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows if row["kind"] == "eval"] == [None, None]
    assert load(run).evaluations["loss"].isna().all()


def test_step_0_of_a_new_model_is_at_chance(small_run: Path) -> None:
    results = json.loads((small_run / "checkpoints" / "checkpoint-0" / "eval_results.json").read_text())
    assert results["step"] == 0
    assert results["loss"] == pytest.approx(np.log(44), abs=0.6)
    assert by_slice(scores_of(results))["world-world"]["mean_km"] > 3_000


def test_step_0_of_a_fine_tune_is_its_base(small_config: RunConfig, small_run: Path) -> None:
    cross = small_config.dataset.model_copy(update={"kind": "cross", "n_train": 100, "n_test": 40})
    fine = renamed(small_config, "fine", epochs=1.0).model_copy(update={"base": "small", "dataset": cross})
    run = train(fine)
    first = run / "checkpoints" / "checkpoint-0" / "model.safetensors"
    assert first.read_bytes() == (small_run / "checkpoints" / "final" / "model.safetensors").read_bytes()
    slices = by_slice(scores_of(rows(run, "eval")[0]))
    assert set(slices) == {"world-world", "world-atlantis", "atlantis-atlantis", "all"}
    assert json.loads((run / "run.json").read_text())["base"]["path"].endswith("small/checkpoints/final")


def test_a_base_that_is_missing_is_made_first(small_config: RunConfig, tmp_path: Path) -> None:
    base = renamed(small_config, "small").model_copy(
        update={"output_root": "elsewhere", "training": TrainingConfig(max_steps=2)}
    )
    (tmp_path / "first.yaml").write_text(configs.dump(base, tmp_path))
    fine = renamed(small_config, "second", max_steps=2).model_copy(
        update={"base": "made_first", "base_config": str(tmp_path / "first.yaml"), "output_root": str(tmp_path / "out")}
    )
    with pytest.raises(UserError, match=r"made_first.*by first.yaml \(2 steps\), add --build-base"):
        train(fine)
    assert not (tmp_path / "out").exists()
    run = train(fine, build_base=True)
    assert (tmp_path / "out" / "experiments" / "made_first" / "checkpoints" / "final").is_dir()
    assert json.loads((run / "run.json").read_text())["base"]["path"].endswith("made_first/checkpoints/final")

    shutil.rmtree(tmp_path / "out" / "experiments" / "made_first")
    (tmp_path / "first.yaml").write_text(configs.dump(renamed(base, "made_first"), tmp_path))
    with pytest.raises(UserError, match="made_first"):  # reading a run trains nothing
        open_finished(run)
    assert not (tmp_path / "out" / "experiments" / "made_first").exists()


def test_a_base_is_made_with_the_flags_of_its_run(
    small_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first.yaml").write_text(configs.dump(renamed(small_config, "first"), tmp_path))
    changes = {"base": "first", "base_config": str(tmp_path / "first.yaml"), "output_root": str(tmp_path / "out")}
    given = {}

    def made(config: RunConfig, **flags: bool) -> Path:
        given[config.name] = flags
        raise PullThePlug

    monkeypatch.setattr(loop, "train", made)
    for flags in ({"strict": True}, {"fork": True, "resume": True}, {"build_base": True}):
        with pytest.raises(PullThePlug):
            train(renamed(small_config, "second").model_copy(update=changes), **flags)
        assert given == {"first": dict.fromkeys(("resume", "strict", "fork", "build_base"), False) | flags}


def test_steps_that_come_back_together_are_logged_at_once(
    small_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, append, appended = loop.Steps.take, artifacts.append_text, []

    def together(self: loop.Steps, step: int, until: int) -> list[float]:
        return [loss for s in range(step, until) for loss in take(self, s, s + 1)]

    def counted(path: Path, text: str) -> None:
        appended.append(text)
        append(path, text)

    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    config = configs.changed(small_config, ["evaluation.probe=false"])
    one_by_one = train(renamed(config, "one_by_one"))
    monkeypatch.setattr(loop.Steps, "take", together)
    monkeypatch.setattr(artifacts, "append_text", counted)
    at_once = train(renamed(config, "at_once"))
    assert (at_once / "metrics.jsonl").read_bytes() == (one_by_one / "metrics.jsonl").read_bytes()
    assert [text.count("\n") for text in appended] == [1, 3, 1, 7, 1, 10, 1], "evaluated at 0, 3, 10 and 20"


def test_the_city_vocabulary_grows_with_the_world(small_config: RunConfig) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    city = small_config.model_copy(
        update={"name": "city", "tokenizer": small_config.tokenizer.model_copy(update={"kind": "city"})}
    )
    real = city.model_copy(update={"world": city.world.model_copy(update={"regions": []})})
    train(renamed(real, "city_base", max_steps=2))
    cross = city.dataset.model_copy(update={"kind": "cross", "n_train": 100, "n_test": 40})
    fine = renamed(city, "city_fine", max_steps=2).model_copy(update={"base": "city_base", "dataset": cross})
    final = train(fine) / "checkpoints" / "final"
    assert len(AutoModelForCausalLM.from_pretrained(final).get_input_embeddings().weight) == 44 + 38
    assert AutoTokenizer.from_pretrained(final)("dist(c_37,c_3)=")["input_ids"] == [
        1,
        11,
        16,
        26,
        27,
        3,
        81,
        5,
        47,
        4,
        6,
    ]
    with pytest.raises(UserError, match=r"tokenizer.kind"):
        train(renamed(small_config, "mismatch").model_copy(update={"base": "city_base"}))


def test_a_base_of_other_sizes_says_what_to_write(small_config: RunConfig, small_run: Path) -> None:
    model = small_config.model.model_copy(update={"hidden_size": 64, "n_layers": 6})
    config = renamed(small_config, "larger").model_copy(update={"base": "small", "model": model})
    with pytest.raises(
        UserError, match=r"hidden_size is 64, the base has 32; model.n_layers is 6, the base has 5"
    ) as not_:
        train(config)
    assert "set model.hidden_size=32 model.n_layers=5; a new model of these sizes has no base (base=" in str(not_.value)
    train(configs.changed(config, ["model.hidden_size=32", "model.n_layers=5", "training.max_steps=1"]))


def test_more_steps_than_the_epochs_have_are_said(
    small_config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = renamed(small_config, "capped", epochs=0.5, max_steps=6).model_copy(update={"output_root": str(tmp_path)})
    said = "training.max_steps: 6, but 0.5 epochs are over after 2 steps, and the run ends there; for all of them set "
    run = train(config)
    assert said + "training.epochs=2" in capsys.readouterr().err
    assert json.loads((run / "run.json").read_text())["steps"] == 2
    run = train(configs.changed(config, ["training.epochs=2", "name=whole"]))
    assert said[:20] not in capsys.readouterr().err
    assert json.loads((run / "run.json").read_text())["steps"] == 6


def test_the_same_config_gives_the_same_bytes(small_config: RunConfig, small_run: Path) -> None:
    again = train(renamed(small_config, "again"))
    ours, theirs = digests(small_run), digests(again)
    assert ours == theirs


def test_another_environment_gives_the_same_bytes(small_config: RunConfig, small_run: Path, tmp_path: Path) -> None:
    config = renamed(small_config, "elsewhere")
    file = tmp_path / "elsewhere.yaml"
    file.write_text(configs.dump(config, tmp_path))
    other = {"PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "Asia/Tokyo", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "atlantis", "train", str(file), "--no-report"]
    done = subprocess.run(command, env=os.environ | other, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    run = Path(config.output_root) / "experiments" / "elsewhere"
    assert digests(run) == digests(small_run), done.stderr


def test_two_processes_may_make_the_same_world(tmp_path: Path) -> None:
    from atlantis.artifacts import new_folder
    from atlantis.training.inputs import _save_once

    def save_late(folder: Path) -> None:  # the other process finishes first
        for _ in range(2):
            with new_folder(folder, kind="world"):
                pass

    _save_once(tmp_path / "world", "", save_late)
    assert is_complete(tmp_path / "world")


# interruptions


class PullThePlug(Exception):
    pass


def crash_after(step: int, config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin a run, which dies in the step after `step`."""
    original, calls = engine.Engine.step, []

    def crash(self: engine.Engine, *args):
        calls.append(None)
        if len(calls) == step + 1:
            raise PullThePlug
        return original(self, *args)

    with monkeypatch.context() as patch, pytest.raises(PullThePlug):
        patch.setattr(engine.Engine, "step", crash)
        train(config)


@pytest.mark.parametrize("step", [4, 11, *(pytest.param(step, marks=pytest.mark.whole) for step in (1, 5, 19))])
def test_a_crash_and_a_resume_equal_an_uninterrupted_run(
    small_config: RunConfig, small_run: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = renamed(small_config, f"crash_{step}")
    crash_after(step, config, monkeypatch)
    with pytest.raises(UserError, match="--resume"):
        train(config)
    assert digests(train(config, resume=True)) == digests(small_run)


def test_a_run_without_its_state_says_that_it_starts_again(
    small_config: RunConfig, small_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = renamed(small_config, "stateless")
    crash_after(12, config, monkeypatch)
    run = Path(config.output_root) / "experiments" / "stateless"
    log = (run / "metrics.jsonl").read_bytes()
    last = max(checkpoint_steps(run))
    shutil.rmtree(run / "state")
    with pytest.raises(UserError, match=rf"no state is left to go on from, though there is checkpoint-{last}"):
        train(config, resume=True, strict=True)
    assert (run / "metrics.jsonl").read_bytes() == log
    assert digests(train(config, resume=True)) == digests(small_run)
    assert "the run starts again from step 0" in capsys.readouterr().err


def test_a_run_that_was_killed_has_the_seconds_of_all_its_steps(
    small_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clocks count steps here. What is done again after the kill counts once."""
    config, original, calls = renamed(small_config, "killed"), engine.Engine.step, []
    run = Path(config.output_root) / "experiments" / "killed"
    monkeypatch.setattr(run_folder, "CLOCKS", dict.fromkeys(run_folder.CLOCKS, lambda: float(len(calls))))

    def kill(self: engine.Engine, *args):
        calls.append(None)
        if len(calls) == 7:
            shutil.copytree(run, tmp_path / "killed")
            raise PullThePlug
        return original(self, *args)

    monkeypatch.setattr(engine.Engine, "step", kill)
    with pytest.raises(PullThePlug):
        train(config)
    shutil.rmtree(run)
    shutil.move(tmp_path / "killed", run)  # as a kill leaves it: nothing is noted afterwards
    record = json.loads((train(config, resume=True) / "run.json").read_text())
    assert record["training_seconds"] == record["processor_seconds"] == record["steps"] == 20


def test_a_run_with_anchors_resumes_among_its_early_rows(
    small_config: RunConfig, small_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    anchors = AnchorsConfig(cities=5, steps=8)
    whole = train(renamed(small_config, "anchors", anchors=anchors))
    assert digests(whole) != digests(small_run)
    assert "anchors.steps" not in capsys.readouterr().err
    stopped = renamed(small_config, "anchors_stopped", anchors=anchors)
    crash_after(5, stopped, monkeypatch)
    assert digests(train(stopped, resume=True)) == digests(whole)


def test_a_run_that_sees_anchors_alone_says_so(small_config: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    train(renamed(small_config, "only_anchors", anchors=AnchorsConfig(cities=5, steps=20)))
    assert "training.anchors.steps: all 20 steps" in capsys.readouterr().err


@pytest.mark.parametrize(
    "signum",
    [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
    + [pytest.param(signum, marks=pytest.mark.whole) for signum in (signal.SIGHUP, signal.SIGUSR2)],
)
def test_a_signal_saves_and_stops_and_no_step_is_lost(
    small_config: RunConfig, small_run: Path, signum: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = renamed(small_config, f"stopped_by_{signum.name}")
    original, calls = engine.Engine.step, []

    def interrupt(self: engine.Engine, *args):
        calls.append(None)
        if len(calls) == 7:
            os.kill(os.getpid(), signum)
        return original(self, *args)

    monkeypatch.setattr(engine.Engine, "step", interrupt)
    with pytest.raises(Interrupted) as stopped:
        train(config)
    assert stopped.value.signum == signum
    run = small_run.parent / str(config.name)
    assert list(state_steps(run)) == [3, 7]
    monkeypatch.setattr(engine.Engine, "step", original)
    train(config, resume=True)
    assert digests(run) == digests(small_run)


@pytest.mark.usefixtures("warm")
def test_sigterm_to_the_command_exits_143(small_config: RunConfig, tmp_path: Path) -> None:
    config = renamed(small_config, "terminated", epochs=100_000.0).model_copy(
        update={"output_root": str(tmp_path / "out")}
    )
    (tmp_path / "terminated.yaml").write_text(configs.dump(config, tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-m", "atlantis", "train", str(tmp_path / "terminated.yaml")],
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "out" / "experiments" / "terminated" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (log.is_file() and len(log.read_bytes().splitlines()) > 3):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "--resume" in error and "Traceback" not in error


# refusals


def test_a_damaged_checkpoint_is_named_and_not_skipped(small_run: Path, tmp_path: Path) -> None:
    from atlantis.model.checkpoint import load_checkpoint

    run = tmp_path / "copy"
    shutil.copytree(small_run, run)
    weights = run / "checkpoints" / "checkpoint-10" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1  # one bit
    weights.write_bytes(data)
    with pytest.raises(UserError, match=r"model\.safetensors"):
        load_checkpoint(weights.parent)
    weights.write_bytes(data[:-4])
    with pytest.raises(UserError, match=r"checkpoint-10: files are missing or have another size"):
        checkpoint_steps(run)


def test_a_loss_that_is_no_number_stops_before_the_step(
    small_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = renamed(small_config, "diverged")
    original, calls = engine.Engine.loss, []

    def spoil(self: engine.Engine, *args):
        calls.append(None)
        total = original(self, *args)
        return total * float("nan") if len(calls) == 6 else total

    monkeypatch.setattr(engine.Engine, "loss", spoil)
    with pytest.raises(engine.NotFinite, match=r"step 5 the loss is nan.*checkpoint-3.*learning_rate"):
        train(config)
    run = Path(config.output_root) / "experiments" / "diverged"
    record = json.loads((run / "not_finite.json").read_text())
    assert record["step"] == 5 and len(record["training_rows"]) in (44, 64)
    assert list(checkpoint_steps(run)) == [0, 3]


def test_a_finished_run_is_left_alone(small_config: RunConfig, small_run: Path, capfd: pytest.CaptureFixture) -> None:
    before = digests(small_run)
    assert train(small_config) == small_run
    assert "already finished" in capfd.readouterr().err
    assert digests(small_run) == before


def test_another_config_in_the_same_folder_is_refused(small_config: RunConfig, small_run: Path) -> None:
    with pytest.raises(UserError, match=r"training.batch_size: 64 -> 32"):
        train(renamed(small_config, "small", batch_size=32))


def test_a_folder_that_is_no_run_is_not_touched(small_config: RunConfig) -> None:
    folder = Path(small_config.output_root) / "experiments" / "thesis"
    folder.mkdir(parents=True)
    (folder / "chapter.txt").write_text("all my work")
    with pytest.raises(UserError, match=r"no config\.yaml"):
        train(renamed(small_config, "thesis"))
    assert (folder / "chapter.txt").read_text() == "all my work"


def test_a_base_that_is_nowhere_is_named_with_the_nearest(
    small_config: RunConfig, small_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_run, tmp_path / "experiments" / "small")
    homeless = renamed(small_config, "homeless").model_copy(update={"output_root": str(tmp_path)})
    for base, nearest in (
        ("nowhere", "There is .*small"),
        ("smal", "did you mean small"),
        ("warm_strat", "warm_start"),
    ):
        with pytest.raises(UserError, match=f"base: '{base}' is no folder.*{nearest}"):
            train(homeless.model_copy(update={"base": base}))


def test_ids_that_outgrow_the_context_are_refused(small_config: RunConfig) -> None:
    tight = small_config.model_copy(
        update={"name": "tight", "model": small_config.model.model_copy(update={"context": 20})}
    )
    with pytest.raises(UserError, match=r"model.context: 20 is too short"):
        train(tight)


# compilation


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("n_layers", "backend"),
    [(1, "aot_eager"), *(pytest.param(n_layers, "inductor", marks=pytest.mark.whole) for n_layers in (1, 3))],
)
def test_compiled_equals_eager(
    n_layers: int, backend: str, small_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the graphs that the compiler finds, forward and backward, are not made into machine code."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    losses = {}
    for choice in ("no", "yes"):
        settings = small_config.training.model_copy(update={"compile": choice})
        run = engine.Engine(_tiny(n_layers), settings, torch.device("cpu"))
        losses[choice] = [run.step(_batch(), 1e-3) for _ in range(3)]
        assert run.compiled == (choice == "yes"), "it did not fail on the way"
    assert losses["yes"] == pytest.approx(losses["no"], rel=1e-4)


def test_a_compiler_that_fails_is_said_and_the_run_goes_on_eager(
    small_config: RunConfig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def fail(*args):
        raise TorchDynamoException("no compiler today")

    monkeypatch.setattr(torch, "compile", lambda function, **options: fail)
    run = engine.Engine(_tiny(), small_config.training.model_copy(update={"compile": "yes"}), torch.device("cpu"))
    assert run.compiled
    eager = engine.Engine(_tiny(), small_config.training.model_copy(update={"compile": "no"}), torch.device("cpu"))
    assert run.step(_batch(), 1e-3) == pytest.approx(eager.step(_batch(), 1e-3))
    assert not run.compiled
    error = capfd.readouterr().err
    assert "no compiler today" in error and "goes on in plain PyTorch" in error


def _tiny(n_layers: int = 1):
    from atlantis.model import Transformer

    model = Transformer(44, 44, width=32, n_layers=n_layers, n_heads=2, mlp_width=64)
    model.initialise(0.1, torch.Generator().manual_seed(0))
    return model


def _batch():
    from atlantis.data.rows import Rows
    from atlantis.vocabulary import Vocabulary

    ids = np.arange(16, dtype=np.int32)
    table = Rows(distances(ids, ids[::-1], ids * 100), Vocabulary("characters", 16))
    return table.batch(torch.arange(16))


# trackers


def test_tensorboard_gets_what_the_log_has(small_config: RunConfig) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(renamed(small_config, "tracked").model_copy(update={"trackers": ["tensorboard"]}))
    folders = {str(file.parent) for file in run.rglob("events.out.tfevents.*")}
    found = [accumulator for folder in folders if (accumulator := EventAccumulator(folder).Reload()).Tags()["scalars"]]
    losses = {event.step: event.value for events in found for event in events.Scalars("eval/loss")}
    assert losses == pytest.approx({row["step"]: row["loss"] for row in rows(run, "eval")}, rel=1e-6)


def test_a_tracker_that_is_not_installed_is_named(small_config: RunConfig) -> None:
    with pytest.raises(UserError, match=r"trackers: .*aim"):
        train(renamed(small_config, "untracked").model_copy(update={"trackers": ["aim"]}))


def test_what_only_shows_or_starts_takes_no_part_in_training() -> None:
    """Else a change of it would make other numbers under the same digest. Two only write text."""
    modules = ["training.loop", "training.inputs", "readout.evaluate", *(f"strategies.{name}" for name in known())]
    code = f"import sys, {', '.join(f'atlantis.{name}' for name in modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    package, not_counted = Path(provenance.__file__).parents[1], set(provenance.NOT_COUNTED)
    assert all((package / name).exists() for name in not_counted)
    only_write = {"__init__.py", "markdown.py", "progress.py"}
    names = {f"atlantis.{name.removesuffix('.py')}" for name in not_counted - only_write}
    assert not names & {".".join(module.split(".")[:2]) for module in done.stdout.split()}


def test_every_epoch_is_another_permutation() -> None:
    order = Order(50, 10, seed=1)
    one, two = (np.concatenate([order.rows(step) for step in range(first, first + 5)]) for first in (0, 5))
    assert sorted(one) == sorted(two) and not np.array_equal(one, two)


def test_anchors_are_drawn_with_the_seed() -> None:
    one, same, other = (anchored(AnchorsConfig(cities=3), triangle(30), seed).tolist() for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd", "constant"])
def test_the_rate_ends_at_its_least_share(schedule: Any) -> None:
    settings = TrainingConfig(learning_rate=1e-3, warmup_steps=0, schedule=schedule, min_lr_ratio=0.1)
    assert learning_rate(settings, 0, 40) == pytest.approx(1e-3)
    assert learning_rate(settings, 40, 40) == pytest.approx(1e-3 if schedule == "constant" else 1e-4)


def test_adamw_has_the_settings_and_norms_and_biases_do_not_decay() -> None:
    settings = TrainingConfig(weight_decay=0.3, betas=(0.8, 0.95), eps=1e-6, compile="no")
    engine = Engine(_tiny(), settings, torch.device("cpu"))
    matrices, others = engine.optimizer.param_groups
    for group, decay in ((matrices, 0.3), (others, 0.0)):
        assert (group["weight_decay"], tuple(group["betas"]), group["eps"]) == (decay, (0.8, 0.95), 1e-6)
    assert {p.ndim for p in matrices["params"]} == {2} and {p.ndim for p in others["params"]} == {1}


def test_a_new_model_has_the_configs_scale_and_wavelengths() -> None:
    inputs: Any = SimpleNamespace(vocabulary=Vocabulary("characters", 30))
    sizes = ModelConfig(hidden_size=32, n_layers=1, n_heads=2, mlp_size=64, init_std=0.02, rope_theta=500.0)
    model = assemble.first_model(RunConfig(model=sizes, probe=ProbeConfig(layers=[0])), inputs, None)
    assert model.rope_theta == 500.0 and model.embedding.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_the_validation_loss_is_the_mean_over_all_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "BATCH", 7)
    ids = np.arange(16, dtype=np.int32)
    rows = Rows(distances(ids, ids[::-1], ids**3), Vocabulary("characters", 16))
    batch = rows.batch(torch.arange(16))
    with torch.no_grad():
        total, n = completion_loss(answer_logits(_tiny(), batch), batch.targets)
    assert n > 16 and evaluate.mean_loss(_tiny(), rows) == pytest.approx((total / n).item(), rel=1e-5)


def test_between_evaluations_the_state_is_saved_by_the_clock(
    small_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_STATE_EVERY_S", -1.0)
    saved, save = [], saving.save_state
    monkeypatch.setattr(saving, "save_state", lambda *given: (saved.append(given[2]), save(*given)))
    train(renamed(small_config, "often", max_steps=8))
    assert sorted(saved) == list(range(9))
