"""A run's folder, read once into memory: what the tables, the figures and the page are made from.

Reads only. A file that the run does not have yet (no probe so far, no `run.json`) is simply absent; a file that is
there and cannot be understood is a `UserError` that names it. A last line of `metrics.jsonl` that was cut off by a
crash is skipped, since the training loop writes it again on resume; for the same reason the last row of a step counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atlantis.artifacts import MANIFEST, verify
from atlantis.errors import UserError, without_remedy
from atlantis.names import ALL, PROTOCOLS, SLICES, protocol_named
from atlantis.progress import printable
from atlantis.reading import json_of, read_text
from atlantis.readout.files import analysis_folder, rows_where
from atlantis.report.map_data import KEPT, MapData, kept_probes, read_map, read_variants
from atlantis.report.probe_data import Probe, read_probe, read_results, require_columns
from atlantis.tasks.score import OLD_TASK, Score, by_slice, scores_of
from atlantis.trust import checked_record

STITCHED_COLUMNS = ("step", "lower", "cut", "between", "slice", "unit", "mean")


@dataclass(frozen=True)
class RunData:
    """Everything on disk about one run.

    train: step, loss, ... of each logged training step. evaluations: step, loss. scores: step and what a `Score` has,
    of all tasks. task: the same of answered distances, wide: step, slice, n, mean_km, ...
    probes: by protocol, and "frozen" and "shifted", the first step's probe, kept. variants: of the study's probe.
    """

    path: Path
    name: str
    config: str
    about: dict[str, Any]
    train: pd.DataFrame
    evaluations: pd.DataFrame
    task: pd.DataFrame
    scores: pd.DataFrame
    probes: dict[str, Probe]
    variants: pd.DataFrame
    map: MapData | None
    stitched: pd.DataFrame
    """What `atlantis stitch` wrote; empty where it was not run."""

    def probe(self, protocol: str = "degrees") -> Probe:
        """The probe of one protocol, or "frozen" or "shifted"; `UserError` if the run does not have it."""
        protocol = protocol_named(protocol)
        if protocol in self.probes:
            return self.probes[protocol]
        again = f"run `atlantis probe {self.path}`"
        if protocol in PROTOCOLS:
            lacks = f"no probe by the {protocol} protocol (analysis/{protocol}/ is missing); {again}"
        elif protocol not in KEPT:
            lacks = f"no probe is called {protocol!r}; there is {', '.join(self.probes) or 'none'}"
        elif self.map is None:
            lacks = f"what became of the map was not measured; {again[:-1]} --measures`"
        else:
            lacks = f"analysis/map/ does not have the places of the {protocol} probe; {again}"
        raise UserError(f"{self.path}: {lacks}")

    def skills(self) -> dict[tuple[str, str], pd.DataFrame]:
        """The skill of the answers (`value`) by step, for each task and slice but "all"."""
        chosen = (self.scores["metric"] == "skill") & (self.scores["slice"] != ALL)
        groups = rows_where(self.scores, chosen).groupby(["task", "slice"], sort=False)
        return {(str(key[0]), str(key[1])): rows for key, rows in groups}  # type: ignore[index]

    @property
    def other_tasks(self) -> list[str]:
        """Tasks but distance that were evaluated; their errors have units of their own."""
        return [task for task in dict.fromkeys(self.scores["task"]) if task != OLD_TASK]

    @property
    def slices(self) -> list[str]:
        """The task's slices that were evaluated, the known ones first, without "all" unless it is the only one."""
        names = list(dict.fromkeys(self.task["slice"]))
        known = [name for name in SLICES if name in names]
        return known + [name for name in names if name not in (*SLICES, "all")] or names


def load(path: Path | str) -> RunData:
    """Read a run's folder.

    Raises:
        UserError: not a run's folder, or one of its files cannot be understood.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; give the folder of a run, such as outputs/experiments/demo")
    if not (path / "metrics.jsonl").is_file():
        raise UserError(f"{path}: no metrics.jsonl in it, so this is not the folder of a run that has begun training")
    about = checked_record(path)
    rows = _read_metrics(path / "metrics.jsonl")
    train = [row for row in rows if row.get("kind") == "train"]
    evaluations = [row for row in rows if row.get("kind") == "eval"]
    scores = [(row["step"], score) for row in evaluations for score in _scores(row, path)]
    task = [
        {"step": row["step"], "slice": name, **values}
        for row in evaluations
        for name, values in by_slice(_scores(row, path)).items()
    ]
    _check_analysis(path, all_sealed="seal" in about)
    probes = {protocol: probe for protocol in PROTOCOLS if (probe := read_probe(path, protocol)) is not None}
    map_data = read_map(path)
    named = next(iter(probes.values()), None)
    if map_data and named:
        probes |= kept_probes(map_data, named)
    return RunData(
        path=path,
        name=printable(str(about.get("name") or path.resolve().name)),
        config=_read_text(path / "config.yaml") if (path / "config.yaml").is_file() else "",
        about=about,
        train=_frame(train, ["step", "loss"], ["step"]),
        evaluations=_frame(
            [{k: v for k, v in row.items() if k not in ("slices", "scores")} for row in evaluations],
            ["step", "loss"],
            ["step"],
        ),
        task=_frame(task, ["step", "slice", "n", "mean_km"], ["step", "slice"]),
        scores=_frame(
            [{"step": step, **score._asdict()} for step, score in scores],
            ["step", *Score._fields],
            ["step", "task", "slice", "metric"],
        ),
        probes=probes,
        variants=read_variants(path),
        map=map_data,
        stitched=_read_stitched(path),
    )


def _read_stitched(run: Path) -> pd.DataFrame:
    file, again = run / "analysis" / "stitching" / "stitched.csv", f"`atlantis stitch {run}` makes it again"
    if not file.is_file():
        return pd.DataFrame(columns=STITCHED_COLUMNS)
    table = read_results(file, again)
    require_columns(file, table, STITCHED_COLUMNS, again)
    return table


def _scores(row: dict[str, Any], run: Path) -> list[Score]:
    try:
        return scores_of(row)
    except ValueError as error:
        raise UserError(
            f"{run / 'metrics.jsonl'}: step {row['step']}: {error}; remove the line or restore it"
        ) from None


def _frame(rows: list[dict[str, Any]], columns: list[str], key: list[str]) -> pd.DataFrame:
    """A table with at least these columns, its last row for each key, sorted by step."""
    table = pd.DataFrame(rows)
    table = table.reindex(columns=[*columns, *(name for name in table.columns if name not in columns)])
    for name in columns:
        if name not in ("task", "slice", "metric", "unit"):
            table[name] = pd.to_numeric(table[name], errors="coerce")
    table = table.drop_duplicates(key, keep="last").sort_values("step", kind="stable", ignore_index=True)
    return table.astype({"step": np.int64})


def _read_text(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _read_metrics(path: Path) -> list[dict[str, Any]]:
    lines = _read_text(path).splitlines()
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json_of(line, f"{path}, line {number}")
        except UserError as error:
            if number == len(lines):
                break
            raise UserError(f"{error}; remove the line or restore it") from None
        step = row.get("step") if isinstance(row, dict) else None
        if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 2**53:
            raise UserError(f"{path}, line {number}: must be a JSON object with a whole number `step` of at least 0")
        rows.append(row)
    return rows


def _check_analysis(run: Path, all_sealed: bool) -> None:
    """UserError for a folder of results that is not as it was written; a run of an older version may have no seals."""
    for name in (*PROTOCOLS, "map"):
        folder = analysis_folder(run, name)
        if (folder / MANIFEST).is_file() or (all_sealed and folder.is_dir()):
            try:
                verify(folder)
            except UserError as error:
                what = without_remedy(error)
                raise UserError(f"{what}; remove {folder} and run `atlantis probe {run}`") from None
