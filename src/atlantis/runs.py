"""A finished run in Python: its tables, its checkpoints, its report, and a model that answers questions.

run = Run("demo")
run.dynamics                     # a table: step, layer, group, metric, value, low, high, n
run.ask("Paris", "Tokyo")        # Answer(cities=(3178, 0), answer=9716, true=9711, unit='km')
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from atlantis import trust
from atlantis.config import load
from atlantis.errors import UserError
from atlantis.lookup import OUTPUTS, run_folder
from atlantis.model.checkpoint import checkpoint_folders, load_checkpoint, probed_task
from atlantis.names import REAL
from atlantis.readout.compared import layer_name
from atlantis.readout.generate import answers
from atlantis.report import run_data
from atlantis.tasks import Questions
from atlantis.world.of_run import world_of

if TYPE_CHECKING:
    from atlantis.settings import RunConfig
    from atlantis.world import World

LAYOUT = ("step", "layer", "group", "metric", "value", "low", "high", "n")
"""The columns of every table of analysis: one number a row, with its interval (NaN where there is none)."""


class Answer(NamedTuple):
    """What a model answered about some cities (ids), and the true value; `answer` is None where it cannot be read."""

    cities: tuple[int, ...]
    answer: int | None
    true: int
    unit: str


class Run:
    """A run, by its name below `output_root` or by its folder. Reads only, but for `report`."""

    def __init__(self, run: Path | str, output_root: Path | str = OUTPUTS) -> None:
        """Raises UserError for what is no run, with the nearest name."""
        self.path = run_folder(run, output_root)
        if not (self.path / "config.yaml").is_file():
            raise UserError(f"{self.path}: no config.yaml in it, so it is not the folder of a run")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @cached_property
    def config(self) -> RunConfig:
        """The run's settings; no code that they name is imported."""
        config = load(self.path / "config.yaml", own_code=False)
        trust.check_config(self.path, trust.read_record(self.path), config)
        return config

    @cached_property
    def world(self) -> World:
        """The world that the run was made in."""
        return world_of(self.path, self.config)

    @cached_property
    def data(self) -> run_data.Run:
        """All numbers of the run, as the report reads them."""
        return run_data.load(self.path)

    @property
    def dynamics(self) -> pd.DataFrame:
        """The study's probe (degrees) of every group at every step, in `LAYOUT`. Raises UserError without a probe."""
        return self.probe_table("degrees")

    def probe_table(self, protocol: str) -> pd.DataFrame:
        """One protocol's probe of every group, held-out cities where there are any, in `LAYOUT`."""
        probe = self.data.probe(protocol)
        layer = layer_name(self.config.probe.layers)
        tables = []
        for group in (REAL, *probe.real_regions, *probe.virtual_regions):
            rows = probe.group(group).reset_index()
            bounds = {f"{name}_{end}" for name in rows for end in ("low", "high")}
            for metric in rows.columns.drop(["step", "group", "split", "n"]):
                if metric in bounds:
                    continue
                ends = {end: rows.get(f"{metric}_{end}", float("nan")) for end in ("low", "high")}
                long = rows[["step", "group", "n"]].assign(layer=layer, metric=metric, value=rows[metric], **ends)
                tables.append(long[list(LAYOUT)])
        return pd.concat(tables, ignore_index=True)

    @property
    def measures(self) -> pd.DataFrame:
        """What became of the map since the first step, in `LAYOUT` (docs/metrics.md). Raises UserError without."""
        if self.data.map is None:
            raise UserError(f"{self.path}: has no analysis/map; `atlantis probe {self.path} --measures` makes it")
        return pd.DataFrame(self.data.map.measures, columns=list(LAYOUT))

    @property
    def predictions(self) -> pd.DataFrame:
        """Where the study's probe sees each city at each step: a row per step and city, degrees and km."""
        return self.data.probe("degrees").predictions

    @property
    def checkpoints(self) -> dict[int, Path]:
        """The folders of the run's checkpoints, by step."""
        return checkpoint_folders(self.path)

    def checkpoint(self, step: int | None = None) -> Path:
        """The checkpoint of a step, by default the last: a folder for `probe` and for transformers' `from_pretrained`.

        Raises UserError with the steps that there are.
        """
        steps = self.checkpoints
        if not steps or (step is not None and step not in steps):
            there = ", ".join(map(str, steps)) or "none"
            raise UserError(f"{self.path}: no checkpoint of step {'any' if step is None else step}; there is {there}")
        return steps[max(steps) if step is None else step]

    def report(self, out: Path | None = None) -> Path:
        """Write the run's page, pictures and tables; returns the page's path."""
        from atlantis.report.page import write_report

        return write_report(self.path, out)

    def ask(self, *cities: str | int, step: int | None = None) -> Answer:
        """What the model answers about these cities (names or ids), at a step, by default the last; and the truth.

        Of several cities of one name the most populous is meant. Raises UserError for an unknown city, or for more or
        fewer cities than a question of the run's task has.
        """
        folder = self.checkpoint(step)
        task = probed_task(folder)
        ids = [int(self.world.find(city)[0]) if isinstance(city, str) else int(city) for city in cities]
        if wrong := [number for number in ids if not 0 <= number < len(self.world)]:
            raise UserError(f"city {wrong[0]}: ids are 0 to {len(self.world) - 1}")
        if len(ids) != task.form.seats:
            raise UserError(f"{task.name}: a question is about {task.form.seats} cities, not {len(ids)}")
        questions = Questions.ask(task, self.world, np.array([ids], np.int32))
        model, vocabulary = load_checkpoint(folder)
        answer = int(answers(model, vocabulary, questions)[0])
        return Answer(tuple(ids), None if answer < 0 else answer, int(questions.answer[0]), task.unit)
