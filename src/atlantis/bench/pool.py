"""A few processes that carry out one run after the other, for runs so short that starting Python is most of them."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from atlantis import signals
from atlantis.errors import Interrupted, UserError
from atlantis.sweep import Job, Outcome
from atlantis.sweep.local import usual_workers


class Pool:
    """A backend of a sweep, without retries. `workers`: how many processes; default: as processors and memory allow."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or usual_workers(threads=1)
        self._stopping = False

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def stop(self, at_once: bool = False) -> None:
        """Begin no more; the runs at hand, which are short, end first."""
        self._stopping = True

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Outcomes in the order in which the runs end."""
        from joblib import Parallel, delayed

        left = (job for job in jobs if not self._stopping)
        side_by_side: Any = Parallel(
            n_jobs=self.workers, backend="loky", return_as="generator_unordered", pre_dispatch="n_jobs"
        )
        done: set[str] = set()
        for outcome in side_by_side(delayed(_carry_out)(job) for job in left):
            done.add(outcome.name)
            yield outcome
        yield from (Outcome(job.name, "stopped") for job in jobs if job.name not in done)


def _carry_out(job: Job) -> Outcome:
    """One run in this process, with what it says in its log. What clusters send to all processes is for the parent."""
    import torch

    from atlantis import config as configs
    from atlantis.training import train

    torch.set_num_threads(job.threads)
    for number in signals.NOTICES:
        signal.signal(number, signal.SIG_IGN)
    began = time.monotonic()
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with Path(job.log).open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        try:
            train(configs.load(job.config), resume=True)
        except Interrupted as stop:
            return Outcome(job.name, "stopped", str(stop), 1, time.monotonic() - began)
        except UserError as error:
            return Outcome(job.name, "failed", str(error), 1, time.monotonic() - began)
        except Exception as error:  # a fault of a method must not take the others with it
            return Outcome(job.name, "failed", f"{type(error).__name__}: {error}", 1, time.monotonic() - began)
    return Outcome(job.name, "done", "", 1, time.monotonic() - began)
