"""This machine: a few child processes at a time, bounded by its cores or its GPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Any

from atlantis import limits
from atlantis.errors import UserError
from atlantis.sweep.child import Job, Outcome, Queue, Runner

RUN_BYTES = 1 << 29  # Python, PyTorch and a small model take some 450 MB


class Local:
    """Runs on this machine.

    `workers`: how many at a time; default: usable processors // the runs' threads, as far as memory allows, or what
    the GPUs hold.
    `gpus_per_run`: the share of a GPU that a run gets, up to 1; default 1 if there is a GPU and a run may use it.
    """

    def __init__(self, workers: int | None = None, gpus_per_run: float | None = None) -> None:
        if gpus_per_run is not None and gpus_per_run > 1:
            raise UserError(f"--gpus-per-run {gpus_per_run:g}: a run uses one GPU; give a share up to 1")
        self.workers, self.gpus_per_run = workers, gpus_per_run
        self._runner = Runner()

    def __enter__(self) -> Local:
        if self.gpus_per_run and not visible_gpus():
            raise UserError(f"--gpus-per-run {self.gpus_per_run:g}: PyTorch sees no GPU here")
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def stop(self, at_once: bool = False) -> None:
        self._runner.stop(at_once)

    def run(self, queue: Queue) -> Iterator[Outcome]:
        """Outcomes in the order in which the runs end."""
        slots = self._places(queue.jobs)
        free: SimpleQueue[dict[str, str]] = SimpleQueue()
        for slot in slots:
            free.put(slot)

        def train(job: Job) -> Outcome:
            slot = free.get()
            try:
                return self._runner.train(job, slot)
            finally:
                free.put(slot)

        threads = ThreadPoolExecutor(len(slots))  # each only waits for its child process
        try:
            running = {threads.submit(train, job) for job in queue.due()}
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield future.result()
                running |= {threads.submit(train, job) for job in queue.due()}
        except BaseException:
            self._runner.stop()
            raise
        finally:
            threads.shutdown(cancel_futures=True)

    def _places(self, jobs: Sequence[Job]) -> list[dict[str, str]]:
        """For each worker the environment that says which GPU is its own."""
        gpus = [] if self.gpus_per_run == 0 or all(job.device == "cpu" for job in jobs) else visible_gpus()
        if gpus:
            # GPU by GPU, then around again: the first workers get one each.
            slots = [{"CUDA_VISIBLE_DEVICES": gpu} for _ in range(int(1 / (self.gpus_per_run or 1))) for gpu in gpus]
            return slots[: self.workers]
        threads = max((job.threads for job in jobs), default=1)
        without = {"CUDA_VISIBLE_DEVICES": ""} if self.gpus_per_run == 0 else {}
        return [without] * (self.workers or usual_workers(threads))


def usual_workers(threads: int) -> int:
    """How many runs on the CPU, of so many threads each, fit side by side into what this process may use."""
    return max(1, min(limits.cpus() // threads, limits.memory_bytes() // RUN_BYTES))


def shared_threads(workers: int | None, gpus_per_run: float | None) -> int:
    """CPU threads of each run, where the runs at a time share those that PyTorch would take in this process.

    At a time are as many as `Local` begins: `workers`, or else what the GPUs hold, or one.
    """
    import torch

    n_gpus = 0 if gpus_per_run == 0 else len(visible_gpus())
    return max(1, torch.get_num_threads() // (workers or n_gpus * int(1 / (gpus_per_run or 1)) or 1))


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES would name them."""
    import torch

    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(torch.cuda.device_count())) if allowed is None else allowed.split(",")
    return list(names)[: torch.cuda.device_count()]
