"""What happens to a transformer's map of the world when it learns cities that never existed.

    from atlantis import Dataset, DatasetConfig, RunConfig, VirtualRegion, World, probe, train

Names are imported when they are first used, so that the command line answers at once.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if sys.version_info < (3, 11):  # noqa: UP036  (pip refuses it too; this is for a checkout, by import or by python -m)
    _problem = f"atlantis needs Python 3.11 or newer; this is {sys.version.split()[0]} ({sys.executable})"
    raise (
        SystemExit(f"error: {_problem}") if sys.argv[:1] == ["-m"] else ImportError(_problem)
    )  # -m: python -m atlantis

if TYPE_CHECKING:
    from atlantis.config import load as load_config
    from atlantis.data.dataset import Dataset
    from atlantis.errors import UserError
    from atlantis.readout.analysis import probe_checkpoint as probe
    from atlantis.readout.evaluate import evaluate_checkpoint as evaluate
    from atlantis.report.page import write_report as report
    from atlantis.runs import Run
    from atlantis.runs import Run as load_run
    from atlantis.settings import DatasetConfig, ProbeConfig, RunConfig, TrainingConfig, WorldConfig
    from atlantis.training.loop import train
    from atlantis.world import OCEANS, VirtualRegion, World
    from atlantis.world.cities import shipped_cities

__all__ = [
    "OCEANS",
    "Dataset",
    "DatasetConfig",
    "ProbeConfig",
    "Run",
    "RunConfig",
    "TrainingConfig",
    "UserError",
    "VirtualRegion",
    "World",
    "WorldConfig",
    "evaluate",
    "load_config",
    "load_run",
    "probe",
    "report",
    "shipped_cities",
    "train",
]

_HOMES = {
    "Dataset": "data.dataset",
    "DatasetConfig": "settings",
    "OCEANS": "world",
    "ProbeConfig": "settings",
    "RunConfig": "settings",
    "TrainingConfig": "settings",
    "UserError": "errors",
    "VirtualRegion": "world",
    "World": "world",
    "WorldConfig": "settings",
    "evaluate": "readout.evaluate:evaluate_checkpoint",
    "load_config": "config:load",
    "load_run": "runs:Run",
    "probe": "readout.analysis:probe_checkpoint",
    "report": "report",
    "Run": "runs",
    "shipped_cities": "world.cities",
    "train": "training.loop",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    if name == module:  # `report`: a package that can be called
        return import_module(f"{__name__}.{module}")
    return getattr(import_module(f"{__name__}.{module}"), attribute or name)


def __dir__() -> list[str]:
    return sorted(__all__)
