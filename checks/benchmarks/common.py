"""What every benchmark shares: rivals in alternation, each in its own process; the machine; the record.

Machines are noisy, and they drift. So rivals take turns, round by round, and are compared within each round; what is
reported is the median, the least and the greatest over the rounds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import atlantis

ROOT = Path(__file__).parents[1]
RECORDS = Path(__file__).with_name("records")
BASE = ROOT / "pretrained" / "dist_100k_1M_20epochs"
PACKAGES = ("torch", "transformers", "numpy", "scikit-learn", "pyarrow")
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
    """Fork a process that has made the slow imports, instead of a fresh one: quick, but its memory says nothing."""
    ready_s: float = 0.0
    """From the start of the process to the end of its set-up."""
    peak_mb: float = 0.0
    """The most memory it held (resident set, 1e6 bytes); known after `close`."""
    seconds: list[float] = field(default_factory=list)
    found: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        started = time.perf_counter()
        multiprocessing.set_forkserver_preload(list(PRELOAD))
        get_context = multiprocessing.get_context
        context = get_context("forkserver") if self.preloaded else get_context("spawn")
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


def machine() -> dict[str, Any]:
    """The processor, cores, threads of PyTorch, and GPU; nothing that names this computer."""
    import torch

    return {
        "cpu": _cpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of the `atlantis` that is measured, with + if its files have changed; None outside a checkout."""
    where = str(Path(atlantis.__file__).parent)
    asked = ["git", "-C", where, "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def record(benchmark: str, results: Mapping[str, Any], options: Options, folder: Path) -> Path:
    """Write `<date>_<benchmark>.json`: the results, and all that they depend on."""
    now = datetime.now(UTC)
    content = {
        "benchmark": benchmark,
        "date": now.isoformat(timespec="seconds"),
        "commit": commit(),
        "quick": options.quick,
        "rounds": options.rounds,
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "results": results,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{now:%Y-%m-%dT%H%M%SZ}_{benchmark}.json"
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return file
