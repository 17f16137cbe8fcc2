"""What every benchmark shares: rivals in alternation, each in its own process, and summaries of their numbers.

Machines are noisy, and they drift. So rivals take turns, round by round, and are compared within each round; what is
reported is the median, the least and the greatest over the rounds.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, ForkServerContext
from pathlib import Path
from typing import Any

from checks.records import ROOT

RECORDS = Path(__file__).with_name("records")
BASE = ROOT / "src" / "atlantis" / "pretrained" / "dist_100k_1M_20epochs"
PRELOAD = ("transformers.trainer", "transformers.models.qwen2", "sklearn.linear_model", "pandas")

Lap = Callable[..., None]
"""Called by a rival when it is ready and after each round, with what it found; returns when the next round begins."""


@dataclass(frozen=True)
class Options:
    """`quick`: everything in miniature, to see that it works; its numbers mean nothing."""

    rounds: int = 5
    quick: bool = False
    n_prompts: int = 10_000


def alternate(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each of `measures` returned, round by round. They take turns: A B C, C B A, A B C, ..."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for i in range(rounds):
        for name in list(measures)[:: 1 if i % 2 == 0 else -1]:
            found[name].append(measures[name]())
    return found


@dataclass
class Rival:
    """A function in a process of its own, so that its peak memory is its own, as its caches and threads are.

    `work(lap)` sets up, calls `lap()`, and then does round after round, each closed by `lap(what it found)`.
    Calling the rival gives it one round and returns that round's seconds.
    """

    work: Callable[[Lap], None]
    preloaded: bool = False
    """Fork this process, once it has made the slow imports, instead of a fresh one: its memory says nothing."""
    ready_s: float = 0.0
    """From the start of the process to the end of its set-up."""
    peak_mb: float = 0.0
    """The most memory it held (resident set, 1e6 bytes); known after `close`."""
    seconds: list[float] = field(default_factory=list)
    found: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        started = time.perf_counter()
        context = _forking() if self.preloaded else multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.work), daemon=True)
        self.process.start()
        theirs.close()
        self._receive()
        self.ready_s = time.perf_counter() - started

    def __call__(self) -> float:
        self.pipe.send(True)
        seconds, found = self._receive()
        self.seconds.append(seconds)
        self.found.append(found)
        return seconds

    def close(self) -> None:
        self.pipe.send(False)
        self.peak_mb = self._receive()
        self.process.join()

    def _receive(self) -> Any:
        kind, content = self.pipe.recv()
        if kind == "failed":
            raise RuntimeError(f"a benchmark's process failed:\n{content}")
        return content


def _forking() -> ForkContext | ForkServerContext:
    """What forks this process, with the slow imports made and one thread of PyTorch; where there is a GPU, a server."""
    import torch

    if torch.cuda.is_available():  # what has used a GPU cannot be forked
        multiprocessing.set_forkserver_preload(list(PRELOAD))
        return multiprocessing.get_context("forkserver")
    for module in PRELOAD:
        import_module(module)
    torch.set_num_threads(1)
    return multiprocessing.get_context("fork")


def race(works: Mapping[str, Callable[[Lap], None]], options: Options) -> dict[str, Rival]:
    """Start all rivals one after the other, let them take turns, and end them."""
    rivals = {name: Rival(work, preloaded=options.quick) for name, work in works.items()}
    alternate(rivals, options.rounds)
    for rival in rivals.values():
        rival.close()
    return rivals


def _serve(pipe: Connection, work: Callable[[Lap], None]) -> None:
    """A rival's side: report the time since the round began, wait for the next one or the end."""
    started = time.perf_counter()

    def lap(found: Any = None) -> None:
        nonlocal started
        pipe.send(("lap", (time.perf_counter() - started, found)))
        if not pipe.recv():
            raise SystemExit
        started = time.perf_counter()

    try:
        work(lap)
    except SystemExit:
        pipe.send(("peak", peak_mb()))
    except BaseException:
        pipe.send(("failed", traceback.format_exc()))


def peak_mb() -> float:
    """The most memory that this process held, in 1e6 bytes.

    Not `ru_maxrss` where /proc is: after fork and exec that one begins with the parent's.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def summary(values: Iterable[float]) -> dict[str, Any]:
    """Median, least, greatest, and the value of each round, all to five digits."""
    rounds = [five_digits(value) for value in values]
    median = five_digits(statistics.median(rounds))
    return {"median": median, "min": min(rounds), "max": max(rounds), "rounds": rounds}


def five_digits(value: float) -> float:
    return float(f"{value:.5g}")


def ratio(a: Sequence[float], b: Sequence[float]) -> dict[str, Any]:
    """`summary` of a / b, round by round."""
    return summary(x / y for x, y in zip(a, b, strict=True))
