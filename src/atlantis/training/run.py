"""A run's folder: its config, its record (`run.json`), its metric log, and the rules for touching an existing one."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from atlantis import artifacts, trust
from atlantis import config as configs
from atlantis.errors import UserError
from atlantis.settings import RunConfig
from atlantis.training import provenance

CLOCKS = {"training_seconds": time.monotonic, "processor_seconds": time.process_time}
"""What a run notes of its time: what passes, and what its process has of the processors, whatever else they do."""


class RunFolder:
    """`outputs/experiments/<name>/`, opened for a config.

    Raises UserError if the folder belongs to another config (the difference is shown), if its config or its record
    was changed since it was written, or if it holds an unfinished run and `resume` was not asked for.

    `seals`: a digest of every checkpoint that the run has written, by its step.
    """

    def __init__(self, path: Path, config: RunConfig, *, resume: bool, strict: bool = False) -> None:
        self.path, self.config, self.strict = path, config, strict
        self.metrics = path / trust.LOG
        self.record = trust.read_record(path)
        self.seals: dict[str, str] = {}
        self._counted_from: dict[str, float] = {}
        if not configs.is_run(path):
            if path.is_dir() and any(not artifacts.is_passing(entry.name) for entry in path.iterdir()):
                raise UserError(f"{path}: has files but no config.yaml, so it is no run; choose another name=")
            return
        before = configs.load_of_run(path)
        trust.check_config(path, self.record, before)
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
    def damage(self) -> str | None:
        """What is wrong with a finished run's log or `final`; `train` makes them again, or says that it cannot."""
        if not self.finished:
            return None
        final = self.checkpoints / "final"
        missing = None if final.is_dir() else f"{final}: is missing"
        return missing or artifacts.damage(final) or trust.log_problem(self.path, self.record)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def changed_since(self) -> list[str]:
        """The user's own strategies in the config whose code is another now than when the run was begun."""
        before = self.record.get("code", {})
        now = provenance.digests_of_own_code(self.config)
        return [name for name, digest in now.items() if before.get(name, digest) != digest]

    def begin(self) -> None:
        """Write the config and the record's first facts, unless they are there."""
        artifacts.make_folders(self.path)
        if not configs.is_run(self.path):
            artifacts.write_text(self.path / "config.yaml", configs.dump(self.config, self.path))
        if "created" not in self.record:
            self.note(
                name=self.path.name,
                command=shlex.join(["atlantis", *sys.argv[1:]]) if sys.argv else "",
                created=_now(),
                versions=provenance.versions(),
                commit=provenance.commit(),
                seeds=provenance.seeds_of(self.config),
            )
        if "config" not in self.record:
            self.note(config=trust.config_facts(self.config), config_digest=trust.config_digest(self.config))

    def note(self, **facts: Any) -> None:
        """Add facts to `run.json`."""
        artifacts.refuse_moved(self.path)
        self.record |= facts
        trust.write_record(self.path, self.record)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time that passes, also when the run is stopped or fails."""
        clocks = {name: clock() - self.record.get(name, 0.0) for name, clock in CLOCKS.items()}
        if "training_seconds" in self.record and "processor_seconds" not in self.record:
            del clocks["processor_seconds"]  # of an older run, which did not note them: they would be of a part
        self._counted_from = clocks
        try:
            yield
        finally:
            self.note_seconds()

    def note_seconds(self) -> None:
        """Note how long it has been trained. With every saved state, since a run that is killed goes on from there."""
        self.note(**{name: round(CLOCKS[name]() - start, 1) for name, start in self._counted_from.items()})

    def finish(self) -> None:
        """Note that the run is finished, and what its log and its checkpoints are."""
        final = artifacts.manifest(self.checkpoints / "final")
        weights = {} if final is None else {"weights": final["files"]["model.safetensors"]["sha256"]}
        facts = trust.log_facts(self.metrics) | {"checkpoints": self.seals} | weights
        self.note(status="finished", finished=_now(), **facts)

    @property
    def from_what(self) -> dict[str, str]:
        """Digests of the config and of all data that the run was begun with; every state of it holds them too."""
        return {"config": self.record.get("config_digest", ""), **self.record.get("digests", {})}

    def other_conditions(self, conditions: dict[str, Any]) -> list[str]:
        """A line for each condition that decides how sums are rounded and is another than in the stretch before."""
        before = (self.record.get("stretches") or [{}])[-1]
        return provenance.changes(before, conditions)

    def begin_stretch(self, step: int, conditions: dict[str, Any]) -> None:
        """Note under which conditions the run goes on from `step`; stretches that were taken back are forgotten."""
        kept = [stretch for stretch in self.record.get("stretches", []) if stretch["from"] < step]
        self.note(stretches=[*kept, {"from": step, "at": _now(), **conditions}])

    def log(self, *rows: dict[str, Any]) -> None:
        """Append rows to the metric log, on disk before this returns; to wait for the disk once is enough for all."""
        if rows:
            artifacts.refuse_moved(self.path)
            artifacts.append_text(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))

    def cut_log(self, size: int) -> None:
        """Take back what was logged after a saved state, whose log had `size` bytes."""
        with artifacts.open_own(self.metrics, "ab") as file:
            file.truncate(size)

    def log_size(self) -> int:
        return self.metrics.stat().st_size if self.metrics.is_file() else 0

    def clear_leftovers(self) -> None:
        """Remove what killed processes left in the run's folder."""
        for folder in (self.path, *(self.path / name for name in FOLDERS)):
            artifacts.clear_leftovers(folder)

    def origin(self, digests: dict[str, str], fork: bool) -> dict[str, Any]:
        """What the run is made from, for its record; UserError with the difference if it was begun from something else.

        `fork` allows other code, and is recorded. Other data are never allowed.
        """
        code = provenance.code_digests(self.config)
        if data := provenance.changes(self.record.get("digests", {}), digests):
            raise UserError(
                f"{self.path}: was begun with other data; bring that back, or choose another name=. The difference:\n  "
                + "\n  ".join(data)
            )
        other = provenance.changes(self.record.get("code", {}), code)
        if other and not fork:
            raise UserError(
                f"{self.path}: was begun by other code, and would end as neither makes it; go on with that code, "
                "choose another name=, or say --fork to go on all the same. The difference:\n  " + "\n  ".join(other)
            )
        facts = {"digests": digests, "code": code}
        return (
            facts | {"forks": [*self.record.get("forks", []), {"at": _now(), "difference": other}]} if other else facts
        )


FOLDERS = ("checkpoints", "state", "analysis", "analysis/figures", "report")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
