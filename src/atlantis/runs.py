"""A finished run in Python: its tables, its checkpoints, its report, and a model that answers questions.

run = Run("demo")
run.dynamics                     # a table: step, layer, group, metric, value, low, high, n (`LAYOUT`)
run.ask("Paris", "Tokyo")        # Answer(cities=(1930, 3865), answer=9751, true=9713, unit='km')
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from atlantis import trust
from atlantis.artifacts import damage
from atlantis.config import load_of_run, require_run
from atlantis.errors import UserError, without_remedy
from atlantis.lookup import OUTPUTS, run_folder
from atlantis.model.checkpoint import checkpoint_folders, load_checkpoint, probed_task
from atlantis.names import ANSWERS, REAL
from atlantis.readout.compared import layer_name
from atlantis.readout.files import read_table
from atlantis.readout.generate import answers
from atlantis.readout.layout import LAYOUT, tidy
from atlantis.report import run_data
from atlantis.report.map_data import MapData
from atlantis.tasks import Questions
from atlantis.tasks.form import ABSENT
from atlantis.world.of_run import world_of

if TYPE_CHECKING:
    from atlantis.settings import RunConfig
    from atlantis.world import World


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
        require_run(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @cached_property
    def config(self) -> RunConfig:
        """The run's settings; no code that they name is imported."""
        config = load_of_run(self.path)
        trust.check_config(self.path, trust.read_record(self.path), config)
        return config

    @cached_property
    def world(self) -> World:
        """The world that the run was made in."""
        return world_of(self.path, self.config)

    @cached_property
    def data(self) -> run_data.RunData:
        """All numbers of the run, as the report reads them."""
        return run_data.load(self.path)

    @property
    def dynamics(self) -> pd.DataFrame:
        """The study's probe (degrees) of every group at every step, in `LAYOUT`. Raises UserError without a probe."""
        return self.probe_table("degrees")

    def probe_table(self, protocol: str) -> pd.DataFrame:
        """One protocol's probe of every group, held-out cities where there are any, in `LAYOUT`."""
        probe = self.data.probe(protocol)
        groups = [probe.group(group) for group in (REAL, *probe.real_regions, *probe.virtual_regions)]
        return tidy(pd.concat(groups).reset_index(), unused=["split"], layer=self._layer)

    @property
    def variants(self) -> pd.DataFrame:
        """Other fits of the study's probe, such as with a region left out: `variant` and `LAYOUT`."""
        if self.data.variants.empty:
            raise UserError(f"{self.path}: has no variants of the probe; `atlantis probe {self.path}` makes them")
        return tidy(self.data.variants, ["variant"], layer=self._layer)

    @property
    def measures(self) -> pd.DataFrame:
        """What became of the map since the first step, in `LAYOUT` (docs/metrics.md). Raises UserError without."""
        return pd.DataFrame(self._map.measures, columns=list(LAYOUT))

    @property
    def when(self) -> pd.DataFrame:
        """When each measure was first, worst and last, and half way: `moment` and `LAYOUT`, at the last step."""
        last = self._map.measures["step"].max()
        table = self._map.when.melt(["metric", "group"], var_name="moment")
        ends = {"low": np.nan, "high": np.nan, "n": np.nan, "layer": self._layer, "step": last}
        table = table.dropna(subset=["value"]).assign(**ends).reset_index(drop=True)
        return pd.DataFrame(table, columns=["moment", *LAYOUT])

    @property
    def layers(self) -> pd.DataFrame:
        """The study's probe at every layer and position of the prompt: `position` and `LAYOUT`."""
        return tidy(self._table("layers", "layers.parquet", "probe {} --table"), ["position"])

    @property
    def interpolated_map(self) -> pd.DataFrame:
        """The probes between base (alpha 0) and last weights (1): `alpha`, `protocol`, `split` and `LAYOUT`."""
        table = self._table("interpolation", "probe.csv", "interpolate {}")
        return tidy(table, ["alpha", "protocol", "split"], layer=self._layer, step=self._last)

    @property
    def interpolated_answers(self) -> pd.DataFrame:
        """The answers between base (alpha 0) and last weights (1), a group a slice: `alpha`, `task` and `LAYOUT`."""
        table = self._table("interpolation", "scores.csv", "interpolate {}").rename(columns={"slice": "group"})
        return tidy(table, ["alpha", "task"], layer=ANSWERS, step=self._last)

    @property
    def stitched(self) -> pd.DataFrame:
        """Answers of models that were joined at a cut, a group for each slice: what they are made of, and `LAYOUT`."""
        return self._errors("stitched.csv", ["lower", "cut", "between", "task"])

    @property
    def parts(self) -> pd.DataFrame:
        """Answers with parts of the model put back, a group for each slice: `part`, `mode`, `task` and `LAYOUT`."""
        return self._errors("parts.csv", ["part", "mode", "task"])

    @property
    def interventions(self) -> pd.DataFrame:
        """Answers with a city's states changed: `seat`, `cut`, `tokens`, `change` and `LAYOUT`."""
        table = self._table("interventions", "interventions.csv", "intervene {}").assign(layer=ANSWERS)
        return pd.DataFrame(table, columns=["seat", "cut", "tokens", "change", *LAYOUT])

    def _errors(self, file: str, keys: list[str]) -> pd.DataFrame:
        """A table of `analysis/stitching/`; `low` and `high` in it are of the mean."""
        table = self._table("stitching", file, "stitch {}")
        table = table.rename(columns={"slice": "group", "low": "mean_low", "high": "mean_high"})
        return tidy(table, keys, unused=["unit"], layer=ANSWERS)

    def _table(self, folder: str, file: str, command: str) -> pd.DataFrame:
        """A file of `analysis/`. Raises UserError with the command that makes it, if it is not there or not whole."""
        path, again = self.path / "analysis" / folder / file, f"`atlantis {command.format(self.path)}` makes it"
        if not path.is_file():
            raise UserError(f"{path}: is not there; {again}")
        if problem := damage(path.parent):
            raise UserError(f"{without_remedy(problem)}; {again} anew")
        return read_table(path)

    @property
    def _map(self) -> MapData:
        if self.data.map is None:
            raise UserError(f"{self.path}: has no analysis/map; `atlantis probe {self.path} --measures` makes it")
        return self.data.map

    @property
    def _layer(self) -> str:
        return layer_name(self.config.probe.layers)

    @property
    def _last(self) -> int:
        return max(self.checkpoints, default=0)

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

    def report(self, out: Path | str | None = None) -> Path:
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
        least, most = task.form.least_cities, task.form.seats
        if not least <= len(ids) <= most:
            number = most if least == most else f"{least} to {most}"
            raise UserError(f"{task.name}: a question is about {number} cities, not {len(ids)}")
        asked = np.full((1, most), ABSENT, np.int32)
        asked[0, task.form.seated(len(ids))] = ids
        questions = Questions.ask(task, self.world, asked)
        model, vocabulary = load_checkpoint(folder)
        answer = int(answers(model, vocabulary, questions)[0])
        return Answer(tuple(ids), None if answer < 0 else answer, int(questions.answer[0]), task.unit)
