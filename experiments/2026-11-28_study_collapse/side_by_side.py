"""Bases with their fine-tunes on one GPU, several at a time, the most telling first; stopped, it goes on.

    python experiments/2026-11-28_study_collapse/side_by_side.py OUTPUT_ROOT [AT_ONCE [KEY=VALUE...]]

Every line of JOBS is one `atlantis study`. `OUTPUT_ROOT/log` has what each of them said, `done.txt` which ended when.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

ORDER = ["dataset.order=smaller_first"]
FP16 = ["training.precision=fp16"]
CITIES = ["world.cities=src/atlantis/configs/study_2025/cities.csv"]
ALL = "base,cross,inter,mixed"
JOBS = [  # what it is called, the seed, which runs, the overrides
    ("order", 42, ALL, ORDER),
    ("order", 43, ALL, ORDER),
    ("letter", 42, ALL, ORDER + FP16 + CITIES),
    ("letter", 43, ALL, ORDER + FP16 + CITIES),
    ("order", 44, ALL, ORDER),
    ("plain", 45, ALL, []),
    ("fp16", 42, "base,cross", FP16),
    ("cities", 42, "base,cross", CITIES),
    ("plain", 46, ALL, []),
    ("plain", 47, ALL, []),
    ("plain", 48, ALL, []),
    ("plain", 49, ALL, []),
    ("plain", 50, ALL, []),
    ("plain", 51, ALL, []),
]
EARLY_KM = 993.0
"""The error of the study's own base: a base stopped where ours has it is fine-tuned too."""


def start(root: Path, label: str, only: str, seed: int, overrides: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "atlantis", "study", "--seeds", str(seed), "--only", only]
    command += ["--output-root", str(root / label), "probe.measures=false", *overrides]
    return _started(root, f"{label}-{seed}", command)


def _started(root: Path, name: str, command: list[str]) -> subprocess.Popen[bytes]:
    with open(root / "log" / f"{name}.txt", "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def early(root: Path, label: str, seed: int, overrides: list[str]) -> subprocess.Popen[bytes] | None:
    """The cross run from the checkpoint of a finished base whose probe errs most nearly by `EARLY_KM`."""
    run = root / label / "experiments" / f"dist_100k_1M_20epochs_seed{seed}"
    try:
        record = json.loads((root / label / "study" / "records" / f"{run.name}.json").read_text())
    except OSError:
        return None
    by_step = {row["step"]: row.get("degrees", row.get("seed")) for row in record["evaluations"]}
    errors = {step: groups["real"]["mean_km"] for step, groups in by_step.items() if "real" in groups}
    step = min(errors, key=lambda s: abs(errors[s] - EARLY_KM))
    command = [sys.executable, "-m", "atlantis", "study", "--seeds", str(seed), "--only", "cross"]
    command += [
        "--base",
        str(run / "checkpoints" / f"checkpoint-{step}"),
        "--output-root",
        str(root / f"{label}_early"),
    ]
    return _started(root, f"{label}_early-{seed}", [*command, "probe.measures=false", *overrides])


def main(root: Path, at_once: int, more: list[str]) -> None:
    (root / "log").mkdir(parents=True, exist_ok=True)
    waiting = list(JOBS)
    running: dict[str, subprocess.Popen[bytes]] = {}
    began = time.monotonic()
    while waiting or running:
        for name, process in list(running.items()):
            if process.poll() is None:
                continue
            del running[name]
            with open(root / "done.txt", "a") as file:
                file.write(f"{name}: exit code {process.returncode} after {time.monotonic() - began:.0f} s\n")
            label, _, seed = name.partition("-")
            if label in ("order", "plain") and (one := early(root, label, int(seed), more)):
                running[f"{label}_early-{seed}"] = one
        while waiting and len(running) < at_once:
            label, seed, only, overrides = waiting.pop(0)
            running[f"{label}-{seed}"] = start(root, label, only, seed, [*overrides, *more])
        time.sleep(0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int((sys.argv[2:] or ["4"])[0]), sys.argv[3:])
