"""Every file-system call of every writer: killed at it, failed by it, and the order of fsync and rename.

A child that has imported everything waits; strace is attached to it and makes its n-th call of a kind end in SIGKILL or
fail; then the child writes. That is done for every call there is. Afterwards the same writer runs undisturbed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlantis import artifacts
from atlantis.cli import failures
from checks.faults.common import (
    Options,
    Outcome,
    Tally,
    copy,
    counted,
    fork,
    hashes,
    not_clean,
    not_recovered,
    whole_artifacts,
)

CALLS = "write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir"
CALLS += ",ftruncate,truncate,copy_file_range,fallocate"
FAILURES = {
    "fsync": "EIO",
    "write": "ENOSPC",
    "rename": "EIO",
    "mkdir": "EROFS",
    "openat": "EACCES",
}
Writer = Callable[[], None]


def suite(lab: Path, options: Options) -> dict[str, Any] | None:
    if shutil.which("strace") is None or not _may_trace(lab):
        return None
    writers = _writers(lab)
    if options.quick:
        writers = {name: writers[name] for name in ("file", "state")}
    results: dict[str, Any] = {"writers": {}}
    for name, (start, write) in writers.items():
        results["writers"][name] = _writer(start, write, options)
    total = {"kills": "killed", "failures": "failed"}
    results |= {
        key: sum(found[part]["recovered"]["trials"] for found in results["writers"].values())
        for key, part in total.items()
    }
    results["violations"] = sum(len(found["order"]["violations"]) for found in results["writers"].values())
    return results


def _writers(lab: Path) -> dict[str, tuple[Path, Writer]]:
    """Each writer of the project with the folder in which it begins."""
    import numpy as np
    import pandas as pd
    import torch

    from atlantis.config import load
    from atlantis.data.dataset import Dataset
    from atlantis.model import Transformer
    from atlantis.model.checkpoint import facts_of, save_checkpoint
    from atlantis.settings import TrainingConfig
    from atlantis.training import state
    from atlantis.training.run import RunFolder
    from atlantis.training.step import Engine
    from atlantis.vocabulary import Vocabulary
    from atlantis.world import World

    os.chdir(lab / "new")
    config = load("small.yaml")
    world = World.from_config(config.world)
    os.chdir("/")
    dataset = Dataset.build(world, config.dataset)
    vocabulary = Vocabulary("characters", len(world))
    model = Transformer(44, 44, width=16, n_layers=2, n_heads=2, mlp_width=32)
    model.initialise(0.1, torch.Generator().manual_seed(0))
    engine = Engine(model, TrainingConfig(compile="no"), torch.device("cpu"))
    empty, run = lab / "empty", lab / "run"
    empty.mkdir()
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"step": 0}\n' * 3)
    for step in (1, 2):
        state.save_state(run, engine, {"step": step, "log_bytes": 12, "losses": []})
    table = pd.DataFrame({"id": np.arange(5), "km": np.arange(5) / 3})
    reruns = lab / "with_checkpoint"
    reruns.mkdir()
    save_checkpoint(reruns / "checkpoint-3", model, vocabulary, facts_of(world, vocabulary, "small", 3), None)

    def save_state() -> None:
        artifacts.clear_leftovers(Path("state"))  # as a run does when it begins
        state.save_state(Path("."), engine, {"step": 3, "log_bytes": 24, "losses": [1.0]})

    def checkpoint() -> None:
        save_checkpoint(Path("checkpoint-3"), model, vocabulary, facts_of(world, vocabulary, "small", 3), {"step": 3})

    def analysed() -> None:
        with artifacts.new_folder(Path("analysis"), kind="analysis", overwrite=True) as folder:
            table.to_parquet(folder / "predictions.parquet")
            table.to_csv(folder / "representation_dynamics.csv")

    def log() -> None:
        run_folder = RunFolder.__new__(RunFolder)
        run_folder.metrics = Path("metrics.jsonl")
        with artifacts.lock(Path("held")):
            run_folder.cut_log(24)
            run_folder.log({"step": 2})

    def record() -> None:
        artifacts.write_json(Path("deep/er/record.json"), {"status": "running"})

    def unless_there(folder: str, save: Callable[[Path], None]) -> Writer:
        def write() -> None:
            artifacts.clear_leftovers(Path("."), folder)
            if not artifacts.is_complete(Path(folder)):
                save(Path(folder))

        return write

    return {
        "file": (empty, record),
        "log": (run, log),
        "state": (run, save_state),
        "checkpoint": (empty, checkpoint),
        "checkpoint over an older one": (reruns, checkpoint),
        "dataset": (empty, unless_there("dataset", dataset.save)),
        "world": (empty, unless_there("world", world.save)),
        "analysis": (empty, analysed),
    }


def _writer(start: Path, write: Writer, options: Options) -> dict[str, Any]:
    whole = copy(start, "whole")
    outcome, trace = _traced(whole, write, f"trace={CALLS},openat", names=True)
    assert outcome.code == 0, outcome.said
    reference, old, calls = counted(whole), hashes(start), _own_calls(trace)
    killed, failed, clean = Tally(), Tally(), Tally()
    for call, n in calls[:: max(1, len(calls) // 4) if options.quick else 1]:
        trial = copy(start, "trial")
        outcome, _ = _traced(trial, write, f"inject={call}:signal=SIGKILL:when={n}")
        assert outcome.code == -signal.SIGKILL, (call, n, outcome)
        half = [name for name, file in _visible(trial).items() if file not in (reference.get(name), old.get(name))]
        again = fork(_as_command(write), trial).wait()
        reasons = [f"half-made under its final name: {name}" for name in half]
        reasons += not_recovered(again, trial, reference)
        killed.add([f"{call} {n}: {reason}" for reason in reasons])
    for call, error in FAILURES.items():
        count = _count(trace, call)
        for n in range(1, count + 1, max(1, count // 2) if options.quick else 1):
            trial = copy(start, "trial")
            before = whole_artifacts(trial)
            alternatives = {"rename": "rename,renameat,renameat2", "mkdir": "mkdir,mkdirat"}.get(call, call)
            outcome, _ = _traced(trial, write, f"inject={alternatives}:error={error}:when={n}")
            if outcome.code == 0 and call != "fsync":  # such as a file that is only looked for
                continue
            clean.add([f"{call} {n} {error}: {reason}" for reason in not_clean(outcome, trial, before)])
            again = fork(_as_command(write), trial).wait()
            failed.add([f"{call} {n} {error}: {reason}" for reason in not_recovered(again, trial, reference)])
    return {
        "calls": len(calls),
        "killed": {"recovered": killed.as_dict()},
        "failed": {"clean": clean.as_dict(), "recovered": failed.as_dict()},
        "order": order(trace, whole),
    }


def _visible(folder: Path) -> dict[str, str]:
    """Files under their final names: not inside a folder that is being made, and not the log, which grows."""
    found = hashes(folder).items()
    return {name: value for name, value in found if not re.search(r"(^|/)\.|jsonl$", name)}


def _as_command(write: Writer) -> Callable[[], int]:
    def work() -> int:
        try:
            write()
            return 0
        except Exception as error:
            return failures.explain(error)

    return work


def _traced(folder: Path, write: Writer, expression: str, names: bool = False) -> tuple[Outcome, list[str]]:
    """Let a child write under strace; how it ended, and what strace noted."""
    ready, go = os.pipe()
    here, arrived = os.pipe()
    log = folder.with_name("strace")

    def work() -> int:
        os.close(go)
        os.write(arrived, b"h")  # calls that follow are the writer's own
        os.read(ready, 1)
        os.close(ready)
        return _as_command(write)()

    child = fork(work, folder)
    os.close(arrived)
    os.read(here, 1)
    os.close(here)
    options = ["-f", "-qq", *(["-y"] if names else []), "-e", expression, "-o", str(log), "-p", str(child.pid)]
    tracer = subprocess.Popen(["strace", *options], stderr=subprocess.DEVNULL)
    while "TracerPid:\t0\n" in Path(f"/proc/{child.pid}/status").read_text():
        assert tracer.poll() is None, "strace has ended"
        time.sleep(0.001)
    os.write(go, b"g")
    os.close(go)
    os.close(ready)
    outcome = child.wait()
    tracer.wait()
    return outcome, log.read_text(errors="replace").splitlines()


def _may_trace(lab: Path) -> bool:
    (lab / "empty0").mkdir()
    try:
        return _traced(lab / "empty0", lambda: None, "trace=fsync")[0].code == 0
    except (AssertionError, OSError):
        return False


def _own_calls(trace: list[str]) -> list[tuple[str, int]]:
    """Each of the calls that change files: its name, and the how-manyth of that name it is."""
    seen: dict[str, int] = {}
    found = []
    for line in trace:
        if (match := re.match(r"\d+\s+(\w+)\(", line)) and match[1] in CALLS.split(","):
            seen[match[1]] = seen.get(match[1], 0) + 1
            found.append((match[1], seen[match[1]]))
    return found


def _count(trace: list[str], call: str) -> int:
    pattern = {"openat": r"\d+\s+openat\(.*O_CREAT", "rename": r"\d+\s+rename", "mkdir": r"\d+\s+mkdir"}
    return sum(re.match(pattern.get(call, rf"\d+\s+{call}\("), line) is not None for line in trace)


def order(trace: list[str], folder: Path) -> dict[str, Any]:
    """Check that what is renamed to its final name was flushed before, file by file, and its folder after.

    `trace` is strace's with `-y` (descriptors with their paths).
    """
    root, dirty, violations, renames = str(folder), set[str](), list[str](), 0
    awaited: dict[str, str] = {}
    for line in trace:
        if " = -1 " in line or not (call := re.match(r"\d+\s+(\w+)\((.*)", line)):
            continue
        name, rest = call[1], call[2]
        on = re.match(r"\d+<([^>]*)>", rest)
        paths = [path if path.startswith("/") else f"{root}/{path}" for path in re.findall(r'"([^"]*)"', rest)]
        if name == "openat" and "O_CREAT" in rest and paths:
            dirty.add(paths[0])
        elif name in ("write", "pwrite64", "writev", "ftruncate") and on and on[1].startswith(root):
            dirty.add(on[1])
        elif name in ("fsync", "fdatasync") and on:
            dirty.discard(on[1])
            awaited.pop(on[1], None)
        elif name.startswith("rename") and len(paths) == 2:
            before, after = paths
            if "replaced-" not in after and "removed-" not in after:
                renames += 1
                unflushed = [path for path in dirty if path == before or path.startswith(before + "/")]
                violations += [f"not flushed before its rename: {Path(path).name}" for path in unflushed]
                awaited[str(Path(after).parent)] = Path(after).name
            dirty.discard(after)  # what stood there is gone
            dirty = {path.replace(before, after, 1) if path.startswith(before) else path for path in dirty}
    violations += [f"folder not flushed after the rename of {name}" for name in awaited.values()]
    lost = [path for path in dirty if Path(path).is_file() and not path.endswith("/.lock")]
    violations += [f"never flushed: {Path(path).name}" for path in lost]
    return {"renames": renames, "violations": violations}
