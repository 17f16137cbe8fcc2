"""Two processes under torchrun (gloo) are one run: the same numbers, one stop, one message, one exit code."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import atlantis
from atlantis import config as configs
from atlantis.errors import UserError
from atlantis.model.checkpoint import checkpoint_steps
from atlantis.settings import RunConfig
from atlantis.training import device, ranks, train
from atlantis.training.state import state_steps

SOURCE = Path(atlantis.__file__).parents[1]

PLANTED = """
import os, signal, sys, time
from pathlib import Path
from atlantis import cli
from atlantis.cli import failures
from atlantis import config as configs
from atlantis.errors import Interrupted
from atlantis.training import train
from atlantis.training.distributed import together
from atlantis.training.step import Engine, NotFinite

what, config, rank = sys.argv[1], Path(sys.argv[2]), int(os.environ["RANK"])
step, loss, n_steps = Engine.step, Engine.loss, 0


def planted_step(self, *arguments):
    global n_steps
    n_steps += 1
    if what == "faults" and rank == 1 and n_steps == 8:  # the signal is sent to one rank, as on a second machine
        os.kill(os.getpid(), signal.SIGINT)
    if what == "sigterm" and rank == 0 and n_steps == 8:
        before = signal.getsignal(signal.SIGTERM)
        config.with_name("eighth").touch()  # torchrun gets the signal now
        while signal.getsignal(signal.SIGTERM) is before:  # until it has passed it on
            time.sleep(0.01)
    return step(self, *arguments)


def planted_loss(self, batch):
    total = loss(self, batch)
    if what == "faults" and rank == 1:
        if n_steps == 20 + 6:  # the first run's 20 steps, and 6 of the next
            return total * float("nan")
        if n_steps > 20 + 6 and len(batch.tokens) > 10:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
    return total


def faults():
    for name, resume in (("stopped", False), ("stopped", True), ("diverged", False), ("too_large", False)):
        try:
            train(configs.load(config, [f"name={name}"]), resume=resume)
        except (Interrupted, NotFinite) as stop:
            print(stop, file=sys.stderr)
    return 0


Engine.step, Engine.loss = planted_step, planted_loss
if what == "faults":
    together(faults, failures.explain)
sys.exit(cli.main(["train", str(config), f"name={what}"]))
"""


@pytest.fixture(scope="module")
def two(small_config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run's config, without probes, in an output root of its own: a file, beside the planted faults."""
    folder = tmp_path_factory.mktemp("two")
    evaluation = small_config.evaluation.model_copy(update={"probe": False})
    update = {"name": "two", "output_root": str(folder / "outputs"), "evaluation": evaluation}
    file = folder / "two.yaml"
    file.write_text(configs.dump(small_config.model_copy(update=update), folder))
    (folder / "planted.py").write_text(PLANTED)
    return file


@pytest.fixture(scope="module")
def two_run(two: Path, warm_python: str) -> Path:
    """The small run by two processes."""
    done = finished(torchrun("-m", "atlantis", "train", str(two), python=warm_python))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report/index.html") == 1, "rank 0 alone speaks"
    return run_of(two, "two")


@pytest.fixture(scope="module")
def faults(two: Path, warm_python: str) -> subprocess.CompletedProcess[str]:
    """Runs that meet faults on rank 1, one after the other, in the same two processes: see PLANTED."""
    return finished(torchrun(str(two.parent / "planted.py"), "faults", str(two), python=warm_python))


def torchrun(*arguments: str, python: str) -> subprocess.Popen[str]:
    command = [python, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", *arguments]
    env = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run_of(two: Path, name: str) -> Path:
    return two.parent / "outputs" / "experiments" / name


def log(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def digests(run: Path) -> dict[str, str]:
    files = [*run.glob("*/*/*.safetensors"), run / "metrics.jsonl"]
    return {str(f.relative_to(run)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)}


def test_two_processes_train_as_one_does(small_run: Path, two_run: Path) -> None:
    for one, both in zip(log(small_run), log(two_run), strict=True):
        assert both["step"] == one["step"] and both["kind"] == one["kind"]
        assert both["loss"] == pytest.approx(one["loss"], rel=1e-5)
    weights = load_file(two_run / "checkpoints" / "final" / "model.safetensors")
    for name, expected in load_file(small_run / "checkpoints" / "final" / "model.safetensors").items():
        torch.testing.assert_close(weights[name], expected, rtol=1e-4, atol=1e-5)
    record = json.loads((two_run / "run.json").read_text())
    assert record["status"] == "finished" and record["device"]["processes"] == 2


def test_a_signal_to_one_rank_stops_all_and_the_resumed_run_has_the_same_bytes(
    two: Path, two_run: Path, faults: subprocess.CompletedProcess[str]
) -> None:
    assert faults.stderr.count("stopped by SIGINT after step 8") == 1, faults.stderr
    assert digests(run_of(two, "stopped")) == digests(two_run)


def test_a_loss_that_is_no_number_on_one_rank_stops_all(two: Path, faults: subprocess.CompletedProcess[str]) -> None:
    assert faults.stderr.count("at step 5 the loss is nan") == 1, faults.stderr
    assert list(checkpoint_steps(run_of(two, "diverged"))) == [0, 3]


def test_a_rank_that_fails_is_heard_and_ends_all_with_its_exit_code(
    two: Path, faults: subprocess.CompletedProcess[str]
) -> None:
    codes = re.findall(r"exitcode +: (-?\d+)", faults.stderr)  # an older torchrun ends the other rank, and names one
    assert set(codes) == {"2"}, faults.stderr
    assert faults.stderr.count("error: ") == 1
    assert "error: training.batch_size: 64 does not fit in the memory of cpu; a batch of 16 does" in faults.stderr
    assert list(checkpoint_steps(run_of(two, "too_large"))) == [0]


def test_sigterm_to_torchrun_saves_and_stops_and_one_process_can_go_on(
    two: Path, small_run: Path, warm_python: str
) -> None:
    process = torchrun(str(two.parent / "planted.py"), "sigterm", str(two), python=warm_python)
    while not two.with_name("eighth").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.terminate()
    done = finished(process)
    assert done.returncode != 0
    assert done.stderr.count("stopped by SIGTERM after step 8") == 1, done.stderr
    assert list(state_steps(run_of(two, "sigterm"))) == [3, 8]
    run = train(configs.load(two, ["name=sigterm"]), resume=True)
    assert [row["loss"] for row in log(run)] == pytest.approx([row["loss"] for row in log(small_run)], rel=1e-5)


def test_a_batch_that_cannot_be_shared_is_refused(small_config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "n_ranks", lambda: 3)
    with pytest.raises(UserError, match=r"training.batch_size: 64 .* by 3 processes; use 63 or 66"):
        train(small_config.model_copy(update={"name": "unshared"}))
    assert not (Path(small_config.output_root) / "experiments" / "unshared").exists()


def test_every_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "n_ranks", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device.choose_device("auto") == torch.device("cuda", 1)
    assert device.choose_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(UserError, match=r"3 processes were started, but PyTorch sees 2 GPUs"):
        device.choose_device("cuda")
