"""Sweeps on many machines: a Ray cluster of two nodes, one of which is lost; submitit's local and debug executors.

Skipped where the extras are not installed: pip install 'atlantis-lab[ray,slurm]'.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from atlantis import cli, sweep
from atlantis.errors import UserError
from atlantis.sweep.cluster import NOT_SETTINGS

SOURCE = Path(cli.__file__).parents[2]
TINY = """
world: {{cities: {cities}, regions: [{{count: 8}}]}}
dataset: {{kind: distance, n_train: 300, n_val: 32, n_test: 64}}
model: {{hidden_size: 32, n_layers: 5, n_heads: 2, mlp_size: 64}}
training: {{batch_size: 64, max_steps: 20, learning_rate: 3e-3, warmup_steps: 5}}
evaluation: {{n_items: 16, steps: {steps}, fractions: [1.0], probe: false}}
seeds: [1, 2, 3]
"""


@pytest.fixture(autouse=True)
def workers_find_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(SOURCE), before])))


@pytest.fixture
def three(thirty_cities: Path, tmp_path: Path) -> list[str]:
    """Arguments for a sweep of three runs that save their state at every step."""
    file = tmp_path / "three.yaml"
    file.write_text(TINY.format(cities=thirty_cities, steps=list(range(20))))
    return [str(file), f"output_root={tmp_path / 'out'}"]


def states(plan: sweep.Sweep, outcomes: list[sweep.Outcome]) -> list[str]:
    assert plan.results.is_file()
    return [outcome.state for outcome in outcomes]


def serial_weights(run: sweep.Planned, plan: sweep.Sweep, root: Path) -> bytes:
    """The final weights of the same run by `atlantis train`, with one thread and no interruption."""
    config = plan.folder / "configs" / f"{run.name}.yaml"
    command = [sys.executable, "-m", "atlantis", "train", str(config), f"output_root={root}", "--no-report"]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
    return weights(root / "experiments" / run.name)


def weights(run: Path) -> bytes:
    return (run / "checkpoints" / "final" / "model.safetensors").read_bytes()


def trainer(run: sweep.Planned) -> int | None:
    """The process that trains a run, once it has logged some steps."""
    log, holder = run.folder / "metrics.jsonl", run.folder / ".lock"
    begun = log.is_file() and log.read_text().count("\n") >= 4 and holder.is_file()
    return int((holder.read_text() or "0").split()[0]) or None if begun else None


# --- Ray


@pytest.mark.ray
@pytest.mark.slow
def test_a_node_that_is_lost_in_the_middle(three: list[str], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    import psutil
    from ray.cluster_utils import Cluster

    plan = sweep.read(three[0], three[1:])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    lost: list[tuple[sweep.Planned, bool]] = []
    try:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        raylet = psutil.Process(second.all_processes["raylet"][0].process.pid)

        def lose_the_second_node() -> None:
            while True:
                time.sleep(0.02)
                below = {process.pid for process in raylet.children(recursive=True)}
                for run in plan.runs:
                    if trainer(run) in below:
                        for process in [raylet, *raylet.children(recursive=True)]:
                            process.kill()
                        lost.append((run, (run.folder / "checkpoints" / "final").exists()))
                        return

        threading.Thread(target=lose_the_second_node, daemon=True).start()
        outcomes = sweep.carry_out(plan, sweep.Ray(cluster.address))
    finally:
        cluster.shutdown()
    assert states(plan, outcomes) == ["done"] * 3
    ((run, had_finished),) = lost
    assert not had_finished, "it was lost while it trained"
    assert {outcome.name: outcome.attempts for outcome in outcomes}[run.name] == 2
    assert weights(run.folder) == serial_weights(run, plan, tmp_path / "serial")


@pytest.mark.ray
def test_a_cluster_that_does_not_answer_is_one_line(three: list[str], tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    assert cli.main(["sweep", *three, "--backend", "ray", "--address", "127.0.0.1:1"]) == 2
    said = capsys.readouterr().err
    assert "error: --address 127.0.0.1:1: no Ray cluster answers there" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.10.1\n"
         "This process on node 10.0.0.1 was started with:\n    Ray: 9.9.9\n    Python: 3.11.7\n",
         ["another version of Ray or Python than this one (Ray 9.9.9", "Ray: 2.9.0", "install the cluster's versions"]),
        ("Python minor versions differ between client and server: client is 3.11, server is 3.8",
         ["another version of Ray or Python", "server is 3.8"]),
        ("Client Ray installation incompatible with server: client protocol 2024, server protocol 2021",
         ["another version of Ray or Python"]),
        ("Could not find any running Ray instance.", ["no Ray cluster answers there (Could not find"]),
    ],
)  # fmt: skip
def test_a_cluster_of_another_version_is_called_that(
    message: str, expected: list[str], three: list[str], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(*_: Any, **__: Any) -> None:
        raise RuntimeError(message)

    planted = SimpleNamespace(init=init, __version__="9.9.9")
    monkeypatch.setattr("atlantis.sweep.cluster._optional", lambda _: planted)
    assert cli.main(["sweep", *three, "--backend", "ray", "--address", "auto"]) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1 and said.count("\n") == 1 and all(part in said for part in expected)
    assert not (tmp_path / "out").exists()


# --- SLURM


@pytest.mark.slurm
@pytest.mark.slow
def test_submitits_local_executor_queues_again_what_runs_out_of_time(three: list[str], tmp_path: Path) -> None:
    submitit = pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    import psutil

    plan = sweep.read(three[0], three[1:])

    def run_out_of_time() -> None:
        while (pid := trainer(plan.runs[0])) is None:
            time.sleep(0.02)
        job = psutil.Process(pid).ppid()
        os.kill(job, submitit.local.local.LocalJobEnvironment._usr_sig())  # as SLURM does before the time limit

    backend = sweep.Slurm(plan.folder / "slurm", {"cluster": "local", "time": "30"}, workers=2)
    threading.Thread(target=run_out_of_time, daemon=True).start()
    outcomes = sweep.carry_out(plan, backend)
    assert states(plan, outcomes) == ["done"] * 3
    assert [outcome.attempts for outcome in outcomes] == [2, 1, 1]
    log = (plan.folder / "logs" / f"{plan.runs[0].name}.log").read_text()
    assert "stopped by SIGTERM after step" in log, "its state was saved before it was queued again"
    assert weights(plan.runs[0].folder) == serial_weights(plan.runs[0], plan, tmp_path / "serial")


@pytest.mark.slurm
@pytest.mark.slow
def test_submitits_debug_executor(three: list[str], capfd: Any) -> None:
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    command = ["sweep", *three, "training.max_steps=2", "--backend", "slurm", "--slurm", "cluster=debug"]
    assert cli.main(command) == 0
    assert capfd.readouterr().out.count("done") == 3


@pytest.mark.slurm
def test_what_slurm_is_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    settings = {"partition": "gpu", "time": "90", "mem_gb": "8", "constraint": "a100"}
    asked = sweep.Slurm(tmp_path, settings, workers=5, gpus_per_run=0.5)._parameters()
    assert asked == {
        "name": "atlantis", "timeout_min": 90, "mem_gb": 8, "gpus_per_node": 1,
        "slurm_partition": "gpu", "slurm_constraint": "a100", "slurm_array_parallelism": 5,
    }  # fmt: skip
    with pytest.raises(UserError, match="--slurm fly: there is no such setting; known are account"):
        sweep.Slurm(tmp_path, {"fly": "1"})._parameters()
    takes = import_module("submitit.slurm.slurm")._get_default_parameters()
    assert NOT_SETTINGS.keys() <= takes.keys(), "what is refused by name is what submitit would take"
    with pytest.raises(UserError, match="srun"), sweep.Slurm(tmp_path / "slurm"):
        pass


class Refused(RuntimeError):
    """As submitit says that sbatch ended with an error."""


def planted(monkeypatch: pytest.MonkeyPatch, map_array: Callable[..., list[Any]] | None = None) -> None:
    """A package in the place of submitit, of which an executor submits by `map_array`."""
    executor = SimpleNamespace(update_parameters=lambda **_: None, map_array=map_array)
    names = {"partition", "account", "qos", "comment", "exclusive", "signal_delay_s", *NOT_SETTINGS}
    package = SimpleNamespace(
        AutoExecutor=lambda *_, **__: executor,
        SlurmExecutor=SimpleNamespace(_valid_parameters=lambda: names),
        core=SimpleNamespace(
            utils=SimpleNamespace(FailedJobError=Refused, FailedSubmissionError=Refused, UncompletedJobError=Refused)
        ),
    )
    monkeypatch.setattr("atlantis.sweep.cluster._optional", lambda _: package)


def test_only_numbers_of_slurm_are_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch)
    texts = {"account": "00123", "qos": "1e3", "comment": "null", "partition": "007", "name": "12"}
    asked = sweep.Slurm(tmp_path, texts | {"signal_delay_s": "60", "mem_gb": "1.5", "exclusive": "true"})._parameters()
    assert asked == {
        "name": "12", "slurm_account": "00123", "slurm_qos": "1e3", "slurm_comment": "null", "slurm_partition": "007",
        "slurm_signal_delay_s": 60, "mem_gb": 1.5, "slurm_exclusive": True, "timeout_min": 24 * 60,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cpus_per_task=4", "--slurm cpus_per_task: is not set here; every run gets as many as --threads says"),
        ("array_parallelism=3", "--slurm array_parallelism: is not set here; --workers says how many run at a time"),
        ("setup=x", "--slurm setup: is not set here; jobs have the environment of this shell"),
        ("additional_parameters=x", "SBATCH_RESERVATION"),
        ("use_srun=no", "--slurm use_srun: is not set here; the runs are always started by srun"),
        ("nodes=2", "--slurm nodes: is not set here; a run is one process on one machine"),
        ("time=2:00:00", "--slurm time=2:00:00: must be a whole number of minutes from 1 on"),
        ("time=0", "--slurm time=0: must be a whole number of minutes from 1 on"),
        ("timeout_min=60.5", "--slurm timeout_min=60.5: must be a whole number of minutes from 1 on"),
        ("signal_delay_s=x", "--slurm signal_delay_s=x: must be a whole number from 1 on"),
        ("mem_gb=8G", "--slurm mem_gb=8G: must be a number of gigabytes, such as 8"),
        ("mem_gb=.inf", "--slurm mem_gb=.inf: must be a number of gigabytes"),
        ("gpus_per_node=2", "--slurm gpus_per_node: --gpus-per-run says it too; leave one of them out"),
    ],
)
def test_what_slurm_is_not_asked_for(
    setting: str, message: str, three: list[str], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(monkeypatch)
    assert cli.main(["sweep", *three, "--backend", "slurm", "--gpus-per-run", "1", "--slurm", setting]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def jobs_in(folder: Path, *names: str) -> list[sweep.Job]:
    return [sweep.Job(name, folder / f"{name}.yaml", folder / name, folder / f"{name}.log") for name in names]


def test_runs_that_slurm_refuses_at_first_are_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> list[Any]:
        raise Refused("sbatch: error: invalid partition specified: gpuu\nsbatch: error: Batch job submission failed")

    planted(monkeypatch, refuse)
    waiting = [jobs_in(tmp_path, "a", "b")]
    expected = "sbatch refused the runs: invalid partition specified: gpuu Batch job submission failed; correct that"
    with sweep.Slurm(tmp_path) as backend, pytest.raises(UserError, match=expected):
        list(backend.run(sweep.Queue(waiting[0], lambda: waiting.pop() if waiting else [])))


def test_runs_that_slurm_refuses_later_have_failed_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[str] = []

    def refuse_the_second(_: Any, jobs: list[sweep.Job]) -> list[Any]:
        if submitted and jobs[0].name == "b":
            raise Refused("sbatch: error: Job violates accounting/QOS policy")
        submitted.extend(job.name for job in jobs)
        return [
            SimpleNamespace(done=lambda: True, result=lambda name=job.name: sweep.Outcome(name, "done")) for job in jobs
        ]

    planted(monkeypatch, refuse_the_second)
    first, second, third = (jobs_in(tmp_path, name) for name in "abc")
    due = [first, second, third]
    with sweep.Slurm(tmp_path) as backend:
        outcomes = list(backend.run(sweep.Queue([*first, *second, *third], lambda: due.pop(0) if due else [])))
    assert [(outcome.name, outcome.state) for outcome in outcomes] == [("a", "done"), ("b", "failed"), ("c", "done")]
    assert "Job violates accounting/QOS policy" in outcomes[1].message


def slurm_commands(folder: Path, monkeypatch: pytest.MonkeyPatch, sbatch: str) -> None:
    """Scripts in the place of SLURM's commands; `sbatch` is what that one does."""
    folder.mkdir()
    for name, script in {"srun": "", "scancel": "", "sacct": "", "sbatch": sbatch}.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))


@pytest.mark.slurm
def test_a_partition_that_slurm_does_not_have(
    three: list[str], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    refusal = "echo 'sbatch: error: invalid partition specified: gpuu' >&2; exit 1"
    slurm_commands(tmp_path / "bin", monkeypatch, refusal)
    assert cli.main(["sweep", *three, "--backend", "slurm", "--slurm", "partition=gpuu"]) == 2
    said = capsys.readouterr().err
    assert "error: --slurm: sbatch refused the runs: invalid partition specified: gpuu; correct that" in said


@pytest.mark.slurm
def test_text_reaches_sbatch_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    script = tmp_path / "submitted.sh"
    slurm_commands(tmp_path / "bin", monkeypatch, f'cp "$1" {script}; echo Submitted batch job 77')
    with sweep.Slurm(tmp_path / "slurm", {"account": "00123", "qos": "1e3", "exclusive": "true"}) as backend:
        backend._submit(jobs_in(tmp_path, "a", "b"))
    lines = script.read_text().splitlines()
    assert {"#SBATCH --account=00123", "#SBATCH --qos=1e3", "#SBATCH --exclusive"} <= set(lines)
