"""TensorBoard, Weights & Biases, MLflow, trackio and others, through accelerate's trackers; only when asked for.

A tracker is a copy of the metric log for people to look at. If one cannot be reached, at the start or later,
a message says so, and nothing but that copy's rows is lost: `metrics.jsonl` has them all.
"""

from __future__ import annotations

import secrets
import time
from importlib.util import find_spec
from typing import Any

from atlantis.errors import UserError, in_a_line
from atlantis.progress import say
from atlantis.settings import RunConfig
from atlantis.tasks.score import OLD_TASK, named, scores_of
from atlantis.training.run import RunFolder

PROJECT = "atlantis"
PAUSE_S = 300.0
"""How long a tracker that failed is left alone: an attempt to reach it may take minutes."""


def check_trackers(config: RunConfig) -> None:
    """Refuse a tracker whose package is not installed, before anything is begun."""
    missing = [name for name in config.trackers if find_spec(name) is None]
    if missing:
        raise UserError(f"trackers: {', '.join(missing)} is not installed; pip install it, or leave it out")


class Trackers:
    """Sends each row of the metric log to the trackers of the run's config, until the block ends."""

    def __init__(self, run: RunFolder) -> None:
        self._trackers = [_Tracker(name, run) for name in run.config.trackers]

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *error: Any) -> None:
        for tracker in self._trackers:
            tracker.finish()

    def log(self, row: dict[str, Any]) -> None:
        """Numbers of one row, named `train/loss`, `eval/world-world/mean_km` and so on."""
        if self._trackers:
            others = ("step", "kind", "scores", "slices")
            values = _flat({key: value for key, value in row.items() if key not in others and value is not None})
            for score in scores_of(row):
                task = "" if score.task == OLD_TASK else f"{score.task}/"
                if score.value is not None:
                    values[f"{task}{score.slice}/{named(score)}"] = score.value
            for tracker in self._trackers:
                tracker.log({f"{row['kind']}/{key}": value for key, value in values.items()}, row["step"])


class _Tracker:
    """One tracker. The first error it raises is printed, and it is tried again after a while."""

    def __init__(self, name: str, run: RunFolder) -> None:
        self.name, self.run = name, run
        self._tracker: Any = None
        self._is_known_to_fail = False
        self._left_alone_until = 0.0
        self._start()

    def _start(self) -> None:
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState(cpu=True)
        kind = LOGGER_TYPE_TO_CLASS[self.name]
        folder = {"logging_dir": self.run.path} if kind.requires_logging_directory else {}
        try:
            tracker = kind(PROJECT, **folder, **self._identity())
            tracker.start()
            tracker.store_init_configuration(_flat(self.run.config.model_dump(mode="json")))
            if self.name == "mlflow":
                self._remember(tracker.tracker.info.run_id)
        except Exception as error:
            self._failed(error)
        else:
            self._tracker = tracker

    def _identity(self) -> dict[str, Any]:
        """What has the tracker call the run by its name, and go on with it under the same id when it is resumed."""
        name, identity = self.run.path.name, self.run.record.get("trackers", {}).get(self.name)
        if self.name == "wandb":
            return {"name": name, "id": identity or self._remember(secrets.token_hex(8)), "resume": "allow"}
        if self.name == "mlflow":
            return {"run_name": name, "run_id": identity}
        if self.name == "trackio":
            return {"name": name, "resume": "allow"}
        if self.name == "swanlab":
            return {"experiment_name": name}
        return {}

    def _remember(self, run_id: str) -> str:
        """Keep a tracker's id of the run in `run.json`."""
        self.run.note(trackers=self.run.record.get("trackers", {}) | {self.name: run_id})
        return run_id

    def log(self, values: dict[str, Any], step: int) -> None:
        if time.monotonic() < self._left_alone_until:
            return
        if self._tracker is None:
            self._start()
        if self._tracker is not None:
            try:
                self._tracker.log(values, step=step)
            except Exception as error:
                self._failed(error)

    def finish(self) -> None:
        if self._tracker is not None:
            try:
                self._tracker.finish()
            except Exception as error:
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._left_alone_until = time.monotonic() + PAUSE_S
        if not self._is_known_to_fail:
            say(f"trackers: {self.name} fails ({in_a_line(error)}); training goes on, and metrics.jsonl has every row")
        self._is_known_to_fail = True


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under path-like keys; lists as text, which every tracker takes."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}/")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, int | float | str | bool) else str(value)
    return flat
