"""The record of a suite: its results, and all that they depend on, as one JSON file."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import atlantis

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "transformers", "numpy", "scikit-learn", "pyarrow")


def write_record(folder: Path, kind: str, name: str, facts: Mapping[str, Any], results: Mapping[str, Any]) -> Path:
    """Write `<date>_<name>.json` into `folder`, made if missing; returns its path.

    `kind` is the key that the name has in the record ("suite", "benchmark"); `facts` are the options it ran with.
    """
    now = datetime.now(UTC)
    content = {
        kind: name,
        "date": now.isoformat(timespec="seconds"),
        "commit": commit(),
        **facts,
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
        "results": results,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{now:%Y-%m-%dT%H%M%SZ}_{name}.json"
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return file


def read_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The records in a folder by their file names without `.json`, the oldest first, without those of `--quick`."""
    contents = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}
    return {stem: content for stem, content in contents.items() if not content["quick"]}


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
