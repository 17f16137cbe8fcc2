"""What a method did, as four scores from 0 to 1: old map and old answers kept, new cities learned, both on one map.

    map          P_start / P_end
    answers      S_end / S_start
    acquisition  mean over kinds of new pairs of 1 - N / N_constant
    integration  mean over regions of 1 / max(1, ratio)

All are cut to [0, 1], acquisition after the mean. P is the error in km of a probe that is fitted anew, on real cities
held out from it. S is the skill of the answers to held-out pairs of real cities, 1 - error / error of the best
constant answer. N is the mean error in km on held-out new pairs, N_constant that of the best answer that does not look
at the question: the median distance of the training pairs of that kind. The ratio is `integration_ratio` of
docs/metrics.md. Scattered cities, and 500 cities in one region, have no islands to be compared with: there it is the
error of a probe that never saw them over its error on real cities, a stricter measure. docs/benchmark.md gives the
reasons.

The first protocol had three scores (`FirstScores`), which its records keep.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from atlantis.bench.chance import untrained_km
from atlantis.bench.continual import SequenceErrors
from atlantis.bench.scenarios import Case
from atlantis.data.dataset import Dataset
from atlantis.errors import UserError
from atlantis.names import REAL, SLICES
from atlantis.report import run_data
from atlantis.settings import RunConfig, Settings
from atlantis.statistics import hypervolume
from atlantis.sweep.results import MAP
from atlantis.tasks import Questions, task_of
from atlantis.tasks.checking import errors_of
from atlantis.tasks.score import OLD_TASK, constant_error
from atlantis.world.of_run import world_of

OLD_SLICE = SLICES[0]
DAMAGE = ("lost", "bent", "turned", "shifted")
"""Of these a run's table has those that were known when it was probed; before `shifted`, `turned` has it within."""


class _Point(Settings):
    @property
    def point(self) -> list[float]:
        return [getattr(self, name) for name in type(self).model_fields]

    @property
    def volume(self) -> float:
        """Hypervolume of this one point above the origin: the product (Zitzler and Thiele, 1999)."""
        return hypervolume([self.point])


class Scores(_Point):
    """Each from 0 to 1, higher better."""

    map: float
    answers: float
    acquisition: float
    integration: float


class FirstScores(_Point):
    """Of the first protocol, each from 0 to 1."""

    retention: float
    """Skill of the refitted probe, end over start."""
    acquisition: float
    """As in `Scores`, but each kind of pairs cut at 0 before the mean."""
    integration: float


class Numbers(Settings):
    """What the scores are made of. Errors in km, by slice or region."""

    skill_start: float
    skill_end: float
    km_start: float
    """Of a probe fitted anew on real cities, on those held out from it."""
    km_end: float
    km_untrained: float
    answers_km_start: float | None = None
    """Of the base's answers to held-out pairs of real cities; None in records made before 2026-11-28."""
    answers_skill_start: float | None = None
    """Skill of the same; None in the first protocol's records, as are the next two."""
    answers_skill_end: float | None = None
    readable: dict[str, float] = Field(default_factory=dict)
    """By slice, at the end: the share of answers that can be read. Of the others each counts as `penalty_km`."""
    penalty_km: float | None = None
    task_km: dict[str, float]
    """By slice, at the end, of all slices."""
    constant_km: dict[str, float]
    """By slice that the run was trained on."""
    ratio: dict[str, float]
    """By region."""
    former_km: dict[str, float] = Field(default_factory=dict)
    """By slice, at the end: the error if the cities that have moved since the first run were where it had them."""
    damage: dict[str, float] = Field(default_factory=dict)
    """Of the real cities' map, in the last run: how much skill was lost, bent, turned, shifted (docs/metrics.md)."""


def scores_of(numbers: Numbers) -> Scores:
    """The four scores. A base without a map has none to keep, nor one that answers no better than a constant: 0."""
    start, end = numbers.answers_skill_start or 0.0, numbers.answers_skill_end or 0.0
    return Scores(
        map=min(1.0, numbers.km_start / numbers.km_end) if numbers.skill_start > 0 else 0.0,
        answers=float(np.clip(end / start, 0, 1)) if start > 0 else 0.0,
        acquisition=float(np.clip(np.mean(list(learned(numbers).values())), 0, 1)) if numbers.constant_km else 0.0,
        integration=float(np.mean([integration(ratio) for ratio in numbers.ratio.values()])),
    )


def integration(ratio: float) -> float:
    """Of one region: 1 where its places are found as well as real ones that are left out, 0.5 where half as well."""
    return 1 / max(1.0, ratio)


def learned(numbers: Numbers) -> dict[str, float]:
    """By kind of new pairs that were trained on: 1 - E / E_constant."""
    return {
        name: 1 - numbers.task_km[name] / constant for name, constant in numbers.constant_km.items() if constant > 0
    }


def numbers_of(case: Case) -> Numbers:
    """The numbers of a case's finished runs. Raises UserError for a run that was not probed."""
    first, last = table_of(case.runs[0]), table_of(case.runs[-1])
    config = case.runs[-1]
    world = world_of(folder_of(config), config)
    end = _last_step(last)
    answers_start = run_data.load(folder_of(case.runs[0])).scores
    answers_end = answers_start if len(case.runs) == 1 else run_data.load(folder_of(config)).scores
    task_km = _by_group(last, "task_km", end)
    constant = constant_km(Dataset.build(world, config.dataset))
    km = {
        "start": _by_group(first, "km_refit", 0)[REAL],
        "end": _by_group(last, "km_refit", end)[REAL],
    }
    return Numbers(
        skill_start=_by_group(first, "skill_refit", 0)[REAL],
        skill_end=_by_group(last, "skill_refit", end)[REAL],
        km_start=km["start"],
        km_end=km["end"],
        km_untrained=_by_group(first, "km_untrained", 0)[REAL],
        answers_km_start=_by_group(first, "task_km", 0).get(OLD_SLICE),
        answers_skill_start=_answers(answers_start, 0, "skill").get(OLD_SLICE),
        answers_skill_end=_answers(answers_end, end, "skill").get(OLD_SLICE),
        readable=_answers(answers_end, end, "parsed"),
        penalty_km=float(task_of(OLD_TASK).penalty),
        task_km=task_km,
        constant_km={name: value for name, value in constant.items() if name in task_km},
        ratio=_ratios(last, km["end"]),
        former_km=former_km(case) if len(case.runs) > 1 else {},
        damage={name: of[REAL] for name in DAMAGE if REAL in (of := _by_group(last, name, end))},
    )


def _answers(scores: pd.DataFrame, step: int, metric: str) -> dict[str, float]:
    """A metric of a run's answers about distances at a step, by slice."""
    rows = scores[(scores["step"] == step) & (scores["task"] == OLD_TASK) & (scores["metric"] == metric)]
    return dict(zip(rows["slice"], rows["value"].astype(float), strict=True))


def table_of(config: RunConfig) -> pd.DataFrame:
    """The rows of a finished run's `analysis/map`."""
    file = folder_of(config) / MAP
    if not file.is_file():
        raise UserError(f"{file}: is missing; the run was not probed")
    return pd.read_parquet(file)


def folder_of(config: RunConfig) -> Path:
    """The folder of a run of the benchmark."""
    return Path(config.output_root) / "experiments" / str(config.name)


def _final(config: RunConfig) -> Path:
    return folder_of(config) / "checkpoints" / "final"


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
    train, held_out = dataset.splits["train"], dataset.held_out
    errors = {}
    for number, name in enumerate(SLICES):
        seen, asked = train.answer[train.slice == number], held_out.answer[held_out.slice == number]
        if len(seen) and len(asked):
            errors[name] = constant_error(train.tasks[0], seen, asked)
    return errors


def former_km(case: Case) -> dict[str, float]:
    """How far the last run's answers are from what was right in the first one's world, in km, by slice.

    Of held-out questions that name a city which has moved since: up to `evaluation.n_items` of a slice. Empty if none
    has moved.
    """
    from atlantis.model.checkpoint import load_checkpoint  # takes PyTorch with it
    from atlantis.readout.generate import answers

    first, last = case.runs[0], case.runs[-1]
    before, now = (world_of(folder_of(run), run) for run in (first, last))
    n = min(len(before), len(now))
    moved = np.flatnonzero((before.lon[:n] != now.lon[:n]) | (before.lat[:n] != now.lat[:n]))
    if not len(moved):
        return {}
    asked = Dataset.build(now, last.dataset).held_out
    asked = asked[np.flatnonzero(np.isin(asked.cities, moved).any(axis=1) & (asked.cities < n).all(axis=1))]
    if not len(asked):
        return {}
    model, vocabulary = load_checkpoint(_final(last))
    errors = {}
    for number, name in enumerate(SLICES):
        part = asked[np.flatnonzero(asked.slice == number)[: last.evaluation.n_items]]
        if len(part):
            given, right = answers(model, vocabulary, part), Questions.ask(part.tasks[0], before, part.cities).answer
            errors[name] = float(errors_of(part.tasks[0], given, right).mean())
    return errors


# --- sequences


def sequence_of(case: Case) -> SequenceErrors:
    """The errors after each run of a sequence, and those of an untrained model on the same regions.

    A region's error is `km_refit`, of probes fitted on real cities only.
    """
    n, last = len(case.runs), case.runs[-1]
    names = [REAL, *(run.world.regions[-1].name for run in case.runs)]
    km: list[list[float | None]] = [[None] * (n + 1) for _ in range(n + 1)]
    for i, config in enumerate(case.runs, start=1):
        table = table_of(config)
        for row, step in ((i - 1, 0), (i, _last_step(table))):
            errors = _by_group(table, "km_refit", step)
            for j, name in enumerate(names):
                if km[row][j] is None:
                    km[row][j] = errors.get(name)
    chance = untrained_km(_final(last), world_of(folder_of(last), last), last.probe, last.probe.seed)
    return SequenceErrors(names=names, km=km, chance_km=[chance[name] for name in names])
