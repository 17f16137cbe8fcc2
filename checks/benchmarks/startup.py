"""How long one waits: for `atlantis --help`, and from `atlantis train` to the first step of a run.

The run is the study's cross fine-tune. World and dataset are there already (an earlier run made them); before its first
step it evaluates and saves step 0. Beside it stand the bare interpreter, the import of PyTorch, and the peer of
`train`, from the start of its process to the end of its first step; that one evaluates nothing.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import count as numbers
from pathlib import Path
from typing import Any

from checks.benchmarks import count
from checks.benchmarks.common import ROOT, Options, Rival, alternate, ratio, summary
from checks.benchmarks.count import Sizes
from checks.benchmarks.train import trainer

CONFIG = ROOT / "src" / "atlantis" / "configs" / "atlantis_cross_finetune.yaml"
QUICK_CONFIG = ROOT / "src" / "atlantis" / "configs" / "dist_100k_1M_20epochs.yaml"
QUICK = ["dataset.n_train=64", "dataset.n_test=8", "training.batch_size=4", "evaluation.n_items=2"]
WAIT_S = 0.005


def seconds_of(*arguments: str) -> float:
    """Of a Python process with these arguments."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def first_step(out: Path, names: Iterator[int], asked: list[str]) -> float:
    """Seconds from the start of `atlantis train` until its log has the first step; the run ends there.

    Raises RuntimeError if the process ends before.
    """
    name = f"run-{next(names)}"
    log = out / "experiments" / name / "metrics.jsonl"
    command = [sys.executable, "-m", "atlantis", "train", *asked, f"name={name}", f"output_root={out}"]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (log.is_file() and '"train"' in log.read_text(encoding="utf-8")):
            if process.poll() is not None:
                raise RuntimeError(f"ended before its first step: {shlex.join(command)}")
            time.sleep(WAIT_S)
        seconds = time.perf_counter() - started
        process.kill()
    return seconds


def peer_first_step(options: Options) -> float:
    """Seconds from the start of a process to the end of Trainer's first step."""
    s, batch = (Sizes(width=32, n_layers=2, n_heads=2, mlp_width=64), 4) if options.quick else (Sizes(), count.BATCH)
    rival = Rival(partial(trainer, s=s, batch=batch, steps=1, device="cpu"), preloaded=options.quick)
    rival.close()
    return rival.ready_s


def run(options: Options) -> dict[str, Any]:
    """Seconds of each."""
    with tempfile.TemporaryDirectory() as folder:
        asked = [str(QUICK_CONFIG), *QUICK] if options.quick else [str(CONFIG)]
        ours = partial(first_step, Path(folder), numbers(), [*asked, "training.device=cpu"])
        if not options.quick:
            ours()  # makes world and dataset
        measures = {
            "interpreter": partial(seconds_of, "-c", "pass"),
            "help": partial(seconds_of, "-m", "atlantis", "--help"),
            "import_torch": partial(seconds_of, "-c", "import torch"),
            "first_step": ours,
            "peer_first_step": partial(peer_first_step, options),
        }
        found = alternate(measures, options.rounds)
    against_peer = ratio(found["peer_first_step"], found["first_step"])
    return {"seconds": {name: summary(values) for name, values in found.items()}, "against_peer": against_peer}
