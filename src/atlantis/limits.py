"""How many processors and how much memory this process may use, which on a cluster or in a container is not what the
machine has.

What counts is the least of: the processors that the process is bound to, the quotas of its control groups (version 1
and 2, its own and all above it), and what SLURM gave its task. Python's `os.cpu_count` and PyTorch see none of the
quotas, start a thread for every processor, and are then halted for most of each tenth of a second.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path, PurePosixPath

THREADS = "OMP_NUM_THREADS"
OTHERS = ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ROOT = Path("/")


def cpus(root: Path = ROOT) -> int:
    """The processors that this process may use at a time, at least one. `root`: where /proc and /sys are."""
    limits = [float(bound_cpus()), *_quotas(root)]
    task = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if task.isascii() and task.isdecimal() and int(task):
        limits.append(int(task))
    return max(1, int(min(limits)))


def bound_cpus() -> int:
    """The processors that this process is bound to; all of them, where a system does not bind."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes(root: Path = ROOT) -> int:
    """The memory that this process and those of its control group may use, in bytes: the machine's, or a limit."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = (_number(folder / name) for folder, name in _files(root, "memory", "memory.max", "memory.limit_in_bytes"))
    return min([physical, *(limit for limit in limits if limit)])


def limit_threads(environment: MutableMapping[str, str], root: Path = ROOT) -> None:
    """Have PyTorch and BLAS, which are yet to be imported, start no more threads than there are processors for them.

    Nothing changes where the user says how many, or where no quota is below what they would take by themselves.
    """
    n = cpus(root)
    if n < bound_cpus() and not any(environment.get(name) for name in (THREADS, *OTHERS)):
        environment[THREADS] = str(n)


def _quotas(root: Path) -> Iterator[float]:
    """The processors' worth of time that each control group grants."""
    for folder, name in _files(root, "cpu", "cpu.max", "cpu.cfs_quota_us"):
        if name == "cpu.max":
            quota, _, period = _text(folder / name).strip().partition(" ")
        else:
            quota, period = _text(folder / name).strip(), _text(folder / "cpu.cfs_period_us").strip()
        if _is_count(quota) and _is_count(period):  # not `max` or -1, which are no limit
            yield int(quota) / int(period)


def _files(root: Path, controller: str, v2: str, v1: str) -> Iterator[tuple[Path, str]]:
    """Folder and name of each file that limits us: of our control groups and all above, up to where they are mounted.

    In a container that sees only its own part of the tree, its own group is what is mounted.
    """
    mounts = root / "sys" / "fs" / "cgroup"
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        heads = (mounts / controllers, mounts / controller) if controllers else (mounts, mounts / "unified")
        parts = PurePosixPath(path).parts[1:]
        for head in heads:
            for depth in range(0 if ".." in parts else len(parts), -1, -1):
                folder, name = head.joinpath(*parts[:depth]), v1 if controllers else v2
                if _text(folder / name):
                    yield folder, name


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):  # ValueError: a null character in a name
        return ""


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < len(text) < 20 and int(text) > 0


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if _is_count(text) else None
