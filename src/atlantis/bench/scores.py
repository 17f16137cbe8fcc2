"""What a method did, as three scores from 0 to 1: the old map kept, the new cities learned, both on one map.

    retention    S_end / S_start
    acquisition  mean over kinds of new pairs of 1 - E / E_constant
    integration  mean over regions of 1 / max(1, ratio)

All are cut to [0, 1]. S is the skill of a probe that is fitted anew, on real cities held out from it. E is the mean
error in km on held-out pairs, E_constant that of the best answer that does not look at the question: the median
distance of the training pairs of that kind. The ratio is `integration_ratio` of docs/metrics.md; for scattered cities,
which have no islands to be compared with, the error of a probe that never saw them over its error on real cities.
docs/benchmark.md gives the reasons.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from atlantis.bench.scenarios import Task
from atlantis.data.dataset import Dataset
from atlantis.data.pairs import SLICES
from atlantis.errors import UserError
from atlantis.settings import RunConfig, Settings
from atlantis.statistics import hypervolume
from atlantis.sweep.results import MAP
from atlantis.world import World

REAL = "real"
DAMAGE = ("lost", "bent", "turned", "shifted")
"""The parts of the fall of the first step's probe. Records from before November 28, 2026 have three: in their `turned`
is what is `shifted` now."""


class Scores(Settings):
    """Each from 0 to 1, higher better."""

    retention: float
    acquisition: float
    integration: float

    @property
    def volume(self) -> float:
        """Hypervolume of this one point above the origin: the product."""
        return hypervolume([self.point])

    @property
    def point(self) -> list[float]:
        return [self.retention, self.acquisition, self.integration]


class Numbers(Settings):
    """What the scores are made of. Errors in km, by slice or region."""

    skill_start: float
    skill_end: float
    km_start: float
    """Of a probe fitted anew on real cities, on those held out from it."""
    km_end: float
    km_untrained: float
    task_km: dict[str, float]
    """By slice, at the end, of all slices."""
    constant_km: dict[str, float]
    """By slice that the run was trained on."""
    ratio: dict[str, float]
    """By region."""
    damage: dict[str, float] = Field(default_factory=dict)
    """Of the map of the real cities, in the last run: how much skill was lost, bent, turned and shifted."""


def scores_of(numbers: Numbers) -> Scores:
    kept = numbers.skill_end / numbers.skill_start if numbers.skill_start > 0 else 0.0  # no map: nothing to keep
    learned = [1 - numbers.task_km[name] / constant for name, constant in numbers.constant_km.items()]
    joined = [1 / max(1.0, ratio) for ratio in numbers.ratio.values()]
    return Scores(
        retention=float(np.clip(kept, 0, 1)),
        acquisition=float(np.mean(np.clip(learned, 0, 1))),
        integration=float(np.mean(joined)),
    )


def numbers_of(task: Task) -> Numbers:
    """The numbers of a task's finished runs. Raises UserError for a run that was not probed."""
    first, last = table_of(task.runs[0]), table_of(task.runs[-1])
    config = task.runs[-1]
    world = World.from_config(config.world)
    task_km = _by_group(last, "task_km", _last_step(last))
    constant = constant_km(Dataset.build(world, config.dataset))
    km = {
        "start": _by_group(first, "km_refit", 0)[REAL],
        "end": _by_group(last, "km_refit", _last_step(last))[REAL],
    }
    return Numbers(
        skill_start=_by_group(first, "skill_refit", 0)[REAL],
        skill_end=_by_group(last, "skill_refit", _last_step(last))[REAL],
        km_start=km["start"],
        km_end=km["end"],
        km_untrained=_by_group(first, "km_untrained", 0)[REAL],
        task_km=task_km,
        constant_km={name: value for name, value in constant.items() if name in task_km},
        ratio=_ratios(last, km["end"]),
        damage={name: part[REAL] for name in DAMAGE if (part := _by_group(last, name, _last_step(last)))},
    )


def table_of(config: RunConfig) -> pd.DataFrame:
    """The rows of a finished run's `analysis/map`."""
    file = Path(config.output_root) / "experiments" / str(config.name) / MAP
    if not file.is_file():
        raise UserError(f"{file}: is missing; the run was not probed")
    return pd.read_parquet(file)


def _last_step(table: pd.DataFrame) -> int:
    return int(table["step"].to_numpy().max())


def _by_group(table: pd.DataFrame, metric: str, step: int) -> dict[str, float]:
    rows = table[(table["metric"] == metric) & (table["step"] == step)]
    return dict(zip(rows["group"], rows["value"].astype(float), strict=True))


def _ratios(table: pd.DataFrame, real_km: float) -> dict[str, float]:
    step = _last_step(table)
    against_islands = _by_group(table, "integration_ratio", step)
    unseen = _by_group(table, "integration_km", step)
    return {region: against_islands.get(region, km / real_km) for region, km in unseen.items()}


def constant_km(dataset: Dataset) -> dict[str, float]:
    """For each slice that is trained on, the mean error on its held-out pairs of the median of its training pairs."""
    train, held_out = dataset.splits["train"], dataset.splits.get("test") or dataset.splits["validation"]
    found = {}
    for number, name in enumerate(SLICES):
        seen, asked = train.km[train.slice == number], held_out.km[held_out.slice == number]
        if len(seen) and len(asked):
            found[name] = float(np.abs(asked - np.median(seen)).mean())
    return found


# --- sequences


def skill_matrix(task: Task) -> np.ndarray:
    """Skill after each run of a sequence: (T + 1, T + 1), row 0 the base, column 0 the real cities.

    [i, j]: after run i, of region j on the map; NaN where run i's world does not have it yet. A region's skill is
    1 - E / E_untrained with E the error of a probe that is fitted on real cities only.
    """
    n = len(task.runs)
    found = np.full((n + 1, n + 1), np.nan)
    names = [REAL, *(run.world.regions[-1].name for run in task.runs)]
    for i, config in enumerate(task.runs, start=1):
        table = table_of(config)
        chance = _by_group(table, "km_untrained", 0)[REAL]
        for row, step in ((i - 1, 0), (i, _last_step(table))):
            km = _by_group(table, "km_refit", step)
            for j, name in enumerate(names):
                if name in km and np.isnan(found[row, j]):
                    found[row, j] = 1 - km[name] / chance
    return found
