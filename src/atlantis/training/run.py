"""A run's folder: its config, its record (`run.json`), its metric log, and the rules for touching an existing one."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from atlantis import artifacts
from atlantis import config as configs
from atlantis.errors import UserError
from atlantis.reading import read_json
from atlantis.settings import RunConfig


class RunFolder:
    """`outputs/experiments/<name>/`, opened for a config.

    Raises UserError if the folder belongs to another config (the difference is shown), or to an unfinished run and
    `resume` was not asked for.
    """

    def __init__(self, path: Path, config: RunConfig, resume: bool) -> None:
        self.path, self.config = path, config
        self.metrics = path / "metrics.jsonl"
        self.record = self._read_record()
        if not (path / "config.yaml").is_file():
            if path.is_dir() and any(p.name != ".lock" for p in path.iterdir()):
                raise UserError(f"{path}: has files but no config.yaml, so it is no run; choose another name=")
            return
        before = configs.load(path / "config.yaml", own_code=False)
        difference = configs.difference(before, config)
        if difference:
            raise UserError(
                f"{path}: holds a run with another config; choose another name= or remove it. The difference:\n  "
                + "\n  ".join(difference)
            )
        if not resume and not self.finished:
            raise UserError(f"{path}: holds an unfinished run; go on with --resume, or choose another name=")

    @property
    def finished(self) -> bool:
        return self.record.get("status") == "finished"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def begin(self) -> None:
        """Write the config and the record's first facts, unless they are there."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / "config.yaml").is_file():
            artifacts.write_text(self.path / "config.yaml", configs.dump(self.config, self.path))
        if "created" not in self.record:
            self.note(
                name=self.path.name,
                command=shlex.join(["atlantis", *sys.argv[1:]]) if sys.argv else "",
                created=_now(),
                versions=_versions(),
                commit=_commit(),
                seeds=_seeds(self.config),
            )

    def note(self, **facts: Any) -> None:
        """Add facts to `run.json`."""
        self.record |= facts
        artifacts.write_json(self.path / "run.json", self.record)

    def finish(self) -> None:
        self.note(status="finished", finished=_now())

    def log(self, row: dict[str, Any]) -> None:
        """Append one row to the metric log, on disk before this returns."""
        with artifacts.open_own(self.metrics, "a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def cut_log(self, size: int) -> None:
        """Take back what was logged after a saved state, whose log had `size` bytes."""
        if size and (not self.metrics.is_file() or self.metrics.stat().st_size < size):
            raise UserError(
                f"{self.metrics}: is shorter than when the run's state was saved; restore it, or start anew"
            )
        with artifacts.open_own(self.metrics, "ab") as file:
            file.truncate(size)

    def log_size(self) -> int:
        return self.metrics.stat().st_size if self.metrics.is_file() else 0

    def _read_record(self) -> dict[str, Any]:
        try:
            return read_json(self.path / "run.json")
        except FileNotFoundError:
            return {}
        except UserError as error:
            raise UserError(f"{error}; restore it, or choose another name=") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = ("torch", "transformers", "numpy", "scikit-learn", "pandas")
    found = {
        "atlantis": artifacts.version(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    return found | {package: version(package) for package in packages}


def _commit() -> str | None:
    """The commit of the source checkout the package runs from, with + if it has changes; None elsewhere."""
    here = Path(__file__).parent
    try:
        asked = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _seeds(config: RunConfig) -> dict[str, Any]:
    return {
        "world": config.world.seed,
        "regions": {region.name: region.seed for region in config.world.regions},
        "data": config.dataset.seed,
        "initialisation": config.model.seed,
        "order": config.training.seed,
        "evaluation": config.evaluation.seed,
        "probe": config.probe.seed,
    }
