"""The numbers of a sweep's runs as one table: a row per run, step, layer, group and metric.

Columns: `run`; one per factor of the sweep; `source` (what measured it: "training", "task" for answers about distances
and another task's name for its own, the protocols "degrees" and "sphere" of the probe, "map"); `step`; `layer` ("3+4":
blocks, concatenated; "answers": the model's outputs); `group` (a slice, a region, "real"; of training "train" and
"validation"); `metric`; `value`; `low` and `high` (95 % interval, where there is one); `n` (items or cities).
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atlantis import artifacts
from atlantis.errors import PartFailed, UserError
from atlantis.names import ANSWERS
from atlantis.readout.files import rows_where
from atlantis.readout.layout import LAYOUT
from atlantis.report import run_data
from atlantis.report.probe_data import Probe
from atlantis.report.run_data import RunData
from atlantis.sweep.plan import Planned, Sweep
from atlantis.tasks.score import OLD_TASK

MEASURES = ["source", *LAYOUT]
MAP = Path("analysis") / "map" / "measures.parquet"


def gather(sweep: Sweep, finished: Sequence[Planned], unread: dict[str, str] | None = None) -> pd.DataFrame:
    """The table of these runs, also written whole to `sweep.results`.

    A run that cannot be read is left out: `unread` gets the reason under its name. Without `unread`, PartFailed names
    all such runs once the table of the others is written.
    """
    names = list(dict.fromkeys(key for run in sweep.runs for key in run.factors or {}))
    cells = {key: _cells([(run.factors or {}).get(key) for run in finished]) for key in names}
    tables = []
    problems: dict[str, str] = {} if unread is None else unread
    for i, run in enumerate(finished):
        try:
            rows = measures(run_data.load(run.folder), "+".join(map(str, run.config.probe.layers)))
        except Exception as error:  # whatever is wrong with one run is not the others' fault
            problems[run.name] = why_unread(error)
            continue
        tables.append(rows.assign(run=run.name, **{key: cells[key][i] for key in names})[["run", *names, *MEASURES]])
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["run", *names, *MEASURES])
    data = io.BytesIO()
    table.to_parquet(data, index=False)
    artifacts.write_bytes(sweep.results, data.getvalue())
    if problems and unread is None:
        lines = [f"{name}: {reason}" for name, reason in problems.items()]
        raise PartFailed("\n  ".join([f"{sweep.results}: has all runs but these, which cannot be read:", *lines]))
    return table


def why_unread(error: Exception) -> str:
    """Why a run's numbers cannot be read; of an error that nobody foresaw, its type as well."""
    return str(error) if isinstance(error, UserError | OSError) else f"{type(error).__name__}: {error}"


def _cells(values: Sequence[Any]) -> list[Any]:
    """A factor's values as cells of one type: numbers, truth values or text as they are, all others as JSON."""
    kinds = {bool if isinstance(v, bool) else float if isinstance(v, int | float) else type(v) for v in values}
    kinds.discard(type(None))
    if kinds <= {float} or kinds <= {bool} or kinds <= {str}:
        return list(values)
    return [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]


def measures(run: RunData, layer: str) -> pd.DataFrame:
    """All numbers of one run, with the columns `MEASURES`; `layer` names the blocks that its probes read."""
    parts = [
        _long(run.train, "training").assign(layer=ANSWERS, group="train"),
        _long(run.evaluations.drop(columns="kind", errors="ignore"), "training").assign(
            layer=ANSWERS, group="validation"
        ),
        _long(run.task.rename(columns={"slice": "group"}), "task").assign(layer=ANSWERS),
        _of_other_tasks(run).assign(layer=ANSWERS),
        *(_probe(probe).assign(layer=layer) for probe in run.probes.values()),
    ]
    if (run.path / MAP).is_file():
        parts.append(pd.read_parquet(run.path / MAP).assign(source="map"))
    kept = [part.reindex(columns=MEASURES) for part in parts if len(part)]
    table = pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=MEASURES)
    return table.astype({"value": np.float64, "low": np.float64, "high": np.float64, "n": "Int64"})


def _of_other_tasks(run: RunData) -> pd.DataFrame:
    """Scores of tasks but distance; the task's name is their source."""
    scores = rows_where(run.scores, run.scores["task"] != OLD_TASK)
    return scores.rename(columns={"slice": "group", "task": "source"}).drop(columns="unit")


def _probe(probe: Probe) -> pd.DataFrame:
    """A protocol's numbers, each group's in its most telling split; see `Probe.group`."""
    return _long(probe.groups().drop(columns="split"), probe.protocol)


def _long(wide: pd.DataFrame, source: str) -> pd.DataFrame:
    """One row for each number of a table with `step`, perhaps `group` and `n`, and intervals as `x_low`, `x_high`."""
    keys = [key for key in ("step", "group", "n") if key in wide]
    numbers = wide.select_dtypes("number").columns
    metrics = [name for name in numbers if name not in keys and not name.endswith(("_low", "_high"))]
    parts = []
    for metric in metrics:
        ends = {end: wide.get(f"{metric}_{end}", np.nan) for end in ("low", "high")}
        if np.isfinite(wide[metric].to_numpy(float)).any():  # a probe that was kept has no R2, and its table the column
            parts.append(wide[keys].assign(source=source, metric=metric, value=wide[metric], **ends))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*keys, "source"])
