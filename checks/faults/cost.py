"""What all of it costs: the share of a run's time that is spent on flushing, hashing, sealing, renaming and verifying.

The demo (its first steps have the densest checkpoints) is trained with a stopwatch around each of those functions; time
inside one of them is counted once. That is surer than the difference of two noisy runs.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from checks.faults.common import Options, fork

WATCHED = {
    "artifacts.disk": ("fsync", "sha256"),
    "artifacts.files": ("write_bytes", "append_text"),
    "artifacts.folders": ("_seal", "_move_into_place", "_check_target", "remove"),
    "artifacts.leftovers": ("clear_leftovers",),
    "artifacts.manifests": ("verify", "is_complete"),
    "training.state": ("usable_state", "keep_newest"),
    "training.run": ("code_digests",),
}


def suite(lab: Path, options: Options) -> dict[str, Any]:
    steps = 3 if options.quick else 200
    outcome = fork(lambda: _watched_run(lab, steps), lab).wait(timeout=1500)
    assert outcome.code == 0, outcome.said
    return json.loads((lab / "cost.json").read_text())


def _watched_run(lab: Path, steps: int) -> int:
    from importlib import import_module

    from atlantis import cli

    spent, inside = dict[str, float](), [0]

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            inside[0] += 1
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                inside[0] -= 1
                if not inside[0]:
                    spent[name] = spent.get(name, 0.0) + time.perf_counter() - started

        return timed

    for module_name, names in WATCHED.items():
        module = import_module(f"atlantis.{module_name}")
        for name in names:
            _exchange(getattr(module, name), watched(name, getattr(module, name)))
    started = time.perf_counter()
    code = cli.main(["train", "demo", f"output_root={lab}/outputs", f"training.max_steps={steps}", "--no-report"])
    seconds = time.perf_counter() - started
    result = {
        "steps": steps,
        "seconds": round(seconds, 2),
        "integrity_s": round(sum(spent.values()), 3),
        "share": sum(spent.values()) / seconds,
        "parts_s": {name: round(value, 3) for name, value in sorted(spent.items())},
    }
    (lab / "cost.json").write_text(json.dumps(result))
    return code


def _exchange(function: Callable[..., Any], other: Callable[..., Any]) -> None:
    """Put `other` wherever a module of ours has `function`, under whatever name."""
    for module in [module for name, module in sys.modules.items() if name.startswith("atlantis.")]:
        for name in [name for name, value in vars(module).items() if value is function]:
            setattr(module, name, other)
