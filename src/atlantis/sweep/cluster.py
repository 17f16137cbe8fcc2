"""Many machines: a Ray cluster, or SLURM arrays through submitit. Both packages are optional extras.

Every machine needs this package, and the same folders at the same paths (a shared file system).
"""

from __future__ import annotations

import math
import os
import platform
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from atlantis.errors import UserError
from atlantis.sweep.child import Job, Outcome, Queue, Runner
from atlantis.yaml12 import scalar

POLL_S, KNOCK_S = 0.5, 10.0
OTHER_VERSION = re.compile(r"version mismatch|versions differ|different .*version|incompatible with server", re.I)
DAY_MIN = 24 * 60
WHOLE = {"time": 1, "timeout_min": 1, "gpus_per_node": 0, "signal_delay_s": 1}
"""Settings of SLURM that are whole numbers, and the smallest of each. Beside `mem_gb` all others are text."""
AS_ENVIRONMENT = "jobs have the environment of this shell, so prepare it there before the command"
NOT_SETTINGS = {
    "cpus_per_task": "every run gets as many as --threads says",
    "array_parallelism": "--workers says how many run at a time",
    "num_gpus": "use --gpus-per-run",
    "nodes": "a run is one process on one machine",
    "ntasks_per_node": "a run is one process on one machine",
    "use_srun": "the runs are always started by srun",
    "stderr_to_stdout": "the output of a run is in its log, in logs/ of the sweep",
    "setup": AS_ENVIRONMENT,
    "teardown": "run it after this command",
    "additional_parameters": "give each by its name here, or to sbatch by its variables, such as SBATCH_RESERVATION",
    "srun_args": "give them to srun by its variables, such as SLURM_CPU_BIND",
}
"""What submitit would take and a sweep does not, and what to use instead."""


def _optional(package: str) -> Any:
    """The package, imported. UserError if it is not installed."""
    if find_spec(package) is None:
        extra = "slurm" if package == "submitit" else package
        raise UserError(f"--backend {extra}: {package} is not installed; pip install 'atlantis-lab[{extra}]'")
    return import_module(package)


class Ray:
    """A Ray cluster: each run is a task, which Ray starts again elsewhere when its machine is lost.

    `address`: of a cluster, `auto` for the one this machine belongs to, None for a new one on this machine alone.
    `workers`: how many runs at a time; default: as many as fit. `gpus_per_run`: may be a fraction; default 1 for
    a run that may use a GPU, if the cluster has one.
    """

    def __init__(
        self, address: str | None = None, workers: int | None = None, gpus_per_run: float | None = None
    ) -> None:
        self._ray = _optional("ray")
        self.address, self.workers, self.gpus_per_run = address, workers, gpus_per_run
        self._stopping = self._at_once = False

    def __enter__(self) -> Ray:
        alone = {"include_dashboard": False} if self.address is None else {}
        try:
            _knock(self.address)
            self._ray.init(self.address or "local", log_to_driver=False, logging_level="error", **alone)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"--address {self.address}: {_why_not(error, self._ray.__version__)}") from None
        return self

    def __exit__(self, *error: Any) -> None:
        self._ray.shutdown()

    def stop(self, at_once: bool = False) -> None:
        self._stopping, self._at_once = True, at_once

    def run(self, queue: Queue) -> Iterator[Outcome]:
        """Outcomes in the order in which the runs end."""
        waiting, running = queue.due(), {}
        cancelled: set[Any] = set()
        while waiting or running:
            while waiting and not self._stopping and len(running) < (self.workers or len(queue.jobs)):
                job = waiting.pop(0)
                running[self._submit(job)] = job
            if self._stopping:
                yield from (Outcome(job.name, "stopped") for job in waiting)
                waiting.clear()
                for reference in [*running] if self._at_once else set(running) - cancelled:
                    self._ray.cancel(reference, force=self._at_once)
                    cancelled.add(reference)
            ended, _ = self._ray.wait([*running], timeout=POLL_S) if running else ([], [])
            for reference in ended:
                yield self._outcome(running.pop(reference), reference)
            waiting += queue.due()

    def _submit(self, job: Job) -> Any:
        gpus = self.gpus_per_run
        if gpus is None:
            gpus = 1.0 if job.device != "cpu" and self._ray.cluster_resources().get("GPU", 0) else 0.0
        task = self._ray.remote(_train).options(
            num_cpus=job.threads, num_gpus=gpus, max_retries=job.retries, name=job.name, runtime_env=_environment()
        )
        return task.remote(job)

    def _outcome(self, job: Job, reference: Any) -> Outcome:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            if self._stopping:
                return Outcome(job.name, "stopped")
            return Outcome(job.name, "failed", str(error).strip().splitlines()[-1])


def _why_not(error: Exception, version: str) -> str:
    """Why Ray did not let us in: the cluster runs another version of Ray or Python, or there is none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not OTHER_VERSION.search(str(error)):
        return f"no Ray cluster answers there ({error})"
    versions = [line for line in lines if re.search(r"\d+\.\d+", line)]
    details = " ".join(versions or lines[:1])
    return (
        f"the Ray cluster there is of another version of Ray or Python than this one (Ray {version}, Python "
        f"{platform.python_version()}): {details}; install the cluster's versions here, or point --address to another"
    )


def _knock(address: str | None) -> None:
    """OSError if nobody listens at `host:port`; Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()


def _train(job: Job) -> Outcome:
    return Runner().train(job)


def _environment() -> dict[str, Any]:
    """Where the workers find what this process has not installed but only has on its path."""
    path = os.environ.get("PYTHONPATH")
    return {"env_vars": {"PYTHONPATH": path}} if path else {}


class Slurm:
    """A SLURM array through submitit; a run that reaches its time limit, or is preempted, is queued again.

    `workers`: how many runs at a time. `settings`: what submitit passes on to SLURM, such as
    {"partition": "gpu", "time": "120", "mem_gb": "8"}; `time` is in minutes, default a day; `cluster` may be `local`
    or `debug`, submitit's own ways to try a submission without SLURM. Files go to `folder`.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        workers: int | None = None,
        gpus_per_run: float | None = None,
    ) -> None:
        self._submitit = _optional("submitit")
        self.folder, self.workers, self.gpus_per_run = folder, workers, gpus_per_run
        self.settings = dict(settings or {})
        self.cluster = self.settings.pop("cluster", "slurm")
        self._stopping = self._at_once = False

    def __enter__(self) -> Slurm:
        parameters = self._parameters()
        try:
            self._executor = self._submitit.AutoExecutor(self.folder, cluster=self.cluster)
            self._executor.update_parameters(**parameters)
        except (RuntimeError, ValueError, NameError, AssertionError, TypeError) as error:
            raise UserError(f"--slurm: {str(error).splitlines()[0]}") from None
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def stop(self, at_once: bool = False) -> None:
        self._stopping, self._at_once = True, at_once

    def run(self, queue: Queue) -> Iterator[Outcome]:
        """Outcomes in the order in which the runs end; one that died is submitted again up to its `retries` times.

        Raises UserError if SLURM refuses the first runs. Those that it refuses later have failed, and the others go on.
        """
        waiting, running = queue.due(), {}
        starts: Counter[str] = Counter()
        cancelled = False
        while waiting or running:
            if self._stopping:
                yield from (Outcome(job.name, "stopped") for job in waiting)
                waiting.clear()
                for handle in () if cancelled else running.values():
                    handle.cancel(check=False)
                cancelled = True
            now = waiting[: self._n_free(len(waiting), len(running))]
            waiting = waiting[len(now) :]
            try:
                running |= self._submit(now)
            except UserError as refusal:
                if not running and not starts:
                    raise
                yield from (Outcome(job.name, "failed", str(refusal)) for job in now)
            ended = [job for job, handle in running.items() if self._at_once or handle.done()]
            for job in ended:
                outcome = self._outcome(job, running.pop(job))
                starts[job.name] += 1
                if outcome.died and starts[job.name] <= job.retries and not self._stopping:
                    waiting.append(job)
                else:
                    yield outcome
            waiting += queue.due()
            if running and not ended:
                time.sleep(POLL_S)

    def _n_free(self, n_waiting: int, n_running: int) -> int:
        """How many more runs may be submitted. With `workers` an array bounds itself, so there is one at a time."""
        if self.cluster != "slurm":
            return (self.workers or 1) - n_running
        return n_waiting if self.workers is None or not n_running else 0

    def _submit(self, jobs: Sequence[Job]) -> dict[Job, Any]:
        """An array of these jobs, by job what SLURM calls it. Raises UserError if SLURM does not take it."""
        if not jobs:
            return {}
        self._executor.update_parameters(cpus_per_task=max(job.threads for job in jobs))
        once = [replace(job, retries=0) for job in jobs]
        errors = self._submitit.core.utils
        try:
            handles = self._executor.map_array(SlurmTask(), once)
        except (errors.FailedJobError, errors.FailedSubmissionError, OSError) as error:
            reason = " ".join(str(error).replace("sbatch: error: ", "").split()) or "it gives no reason"
            what = "the runs could not be submitted" if isinstance(error, OSError) else "sbatch refused the runs"
            raise UserError(f"--slurm: {what}: {reason}; correct that and run the same command again") from error
        return dict(zip(jobs, handles, strict=True))

    def _outcome(self, job: Job, handle: Any) -> Outcome:
        if self._at_once:
            return Outcome(job.name, "stopped")
        try:
            return handle.result()
        except (self._submitit.core.utils.UncompletedJobError, self._submitit.core.utils.FailedJobError) as error:
            if self._stopping:
                return Outcome(job.name, "stopped")
            message = f"SLURM job {handle.job_id}: {handle.state}: {str(error).strip().splitlines()[0]}"
            return Outcome(job.name, "failed", message, died=True)

    def _parameters(self) -> dict[str, Any]:
        """What is asked of submitit: its own names as they are, SLURM's with `slurm_` before them."""
        of_submitit = {"timeout_min", "mem_gb", "gpus_per_node", "name"}
        of_slurm = set(self._submitit.SlurmExecutor._valid_parameters()) - NOT_SETTINGS.keys()
        settings = {}
        for key, text in self.settings.items():
            if key in NOT_SETTINGS:
                raise UserError(f"--slurm {key}: is not set here; {NOT_SETTINGS[key]}")
            settings["timeout_min" if key == "time" else key] = _setting(key, text)
        if unknown := [key for key in settings if key not in of_submitit and key not in of_slurm]:
            listed = ", ".join(sorted({*of_submitit, "cluster", "time", *of_slurm}))
            raise UserError(f"--slurm {unknown[0]}: there is no such setting; known are {listed}")
        if self.gpus_per_run and "gpus_per_node" in settings:
            raise UserError("--slurm gpus_per_node: --gpus-per-run says it too; leave one of them out")
        parameters = {key if key in of_submitit else f"slurm_{key}": value for key, value in settings.items()}
        if self.gpus_per_run:
            parameters["gpus_per_node"] = int(-(-self.gpus_per_run // 1))  # SLURM gives out whole ones
        if self.workers is not None and self.cluster == "slurm":
            parameters["slurm_array_parallelism"] = self.workers
        return {"timeout_min": DAY_MIN, "name": "atlantis"} | parameters


def _setting(key: str, text: str) -> Any:
    """A setting of SLURM as submitit takes it: a number where it is one, else the text as it was written.

    Raises UserError for what is no such number.
    """
    number, least = scalar(text), WHOLE.get(key)
    unit = " of minutes" if key in ("time", "timeout_min") else ""
    if least is not None and not (type(number) is int and number >= least):
        raise UserError(f"--slurm {key}={text}: must be a whole number{unit} from {least} on")
    if key == "mem_gb" and not (type(number) in (int, float) and 0 <= number < math.inf):
        raise UserError(f"--slurm {key}={text}: must be a number of gigabytes, such as 8")
    if key == "exclusive" and number is True:
        return True  # the option alone, without a value
    return number if least is not None or key == "mem_gb" else text


class SlurmTask:
    """What runs inside a SLURM job. submitit calls `checkpoint` shortly before the time is up, and queues again."""

    def __init__(self) -> None:
        self._runner: Runner | None = None

    def __call__(self, job: Job) -> Outcome:
        self._runner = Runner()
        return self._runner.train(job)

    def checkpoint(self, job: Job) -> Any:
        """Let the run save its state; returns what to submit again."""
        if self._runner is not None:
            self._runner.stop_and_wait()
        return import_module("submitit").helpers.DelayedSubmission(SlurmTask(), job)
