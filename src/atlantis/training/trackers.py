"""TensorBoard, Weights & Biases, MLflow, trackio and others, through accelerate's trackers; only when asked for."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from atlantis.errors import UserError
from atlantis.settings import RunConfig


def check_trackers(config: RunConfig) -> None:
    """Refuse a tracker whose package is not installed, before anything is begun."""
    missing = [name for name in config.trackers if find_spec(name) is None]
    if missing:
        raise UserError(f"trackers: {', '.join(missing)} is not installed; pip install it, or leave it out")


class Trackers:
    """Sends each row of the metric log to the trackers of `config.trackers`."""

    def __init__(self, config: RunConfig, run: Path) -> None:
        self.accelerator: Any = None
        if not config.trackers:
            return
        from accelerate import Accelerator

        names: list[Any] = list(config.trackers)
        self.accelerator = Accelerator(cpu=True, log_with=names, project_dir=run)
        self.accelerator.init_trackers("atlantis", config=_flat(config.model_dump(mode="json")))

    def log(self, row: dict[str, Any]) -> None:
        """Numbers of one row, named `train/loss`, `eval/world-world/mean_km` and so on."""
        if self.accelerator is not None:
            kind = row["kind"]
            values = _flat({key: value for key, value in row.items() if key not in ("step", "kind", "slices")})
            values |= _flat(row.get("slices", {}))
            self.accelerator.log({f"{kind}/{key}": value for key, value in values.items()}, step=row["step"])

    def close(self) -> None:
        if self.accelerator is not None:
            for tracker in self.accelerator.trackers:
                tracker.finish()  # end_training would end the process group as well


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under path-like keys; lists as text, which every tracker takes."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}/")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, int | float | str | bool) else str(value)
    return found
