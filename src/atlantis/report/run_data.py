"""A run's folder, read once into memory: what the tables, the figures and the page are made from.

Reads only. A file that the run does not have yet (no probe so far, no `run.json`) is simply absent; a file that is
there and cannot be understood is a `UserError` that names it. A last line of `metrics.jsonl` that was cut off by a
crash is skipped, since the training loop writes it again on resume; for the same reason the last row of a step counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pyarrow
from numpy.typing import ArrayLike

from atlantis.artifacts import MANIFEST, verify
from atlantis.errors import UserError
from atlantis.names import ALL, PROTOCOLS, SLICES, is_reserved
from atlantis.progress import printable
from atlantis.reading import json_of, read_text
from atlantis.statistics import SCALES
from atlantis.tasks.score import OLD_TASK, Score, by_slice, scores_of
from atlantis.trust import checked_record

if TYPE_CHECKING:
    from atlantis.report.map_data import MapData

DYNAMICS_COLUMNS = ("step", "group", "split", "lon_r2", "lat_r2", "mean_km")
PREDICTION_COLUMNS = ("step", "id", "name", "region", "is_virtual", "lon", "lat", "pred_lon", "pred_lat", "error_km")
HELD_OUT = ("test", "all", "virtual", "train")  # which split of a group speaks for it, in order of preference


def rows_where(table: pd.DataFrame, mask: ArrayLike) -> pd.DataFrame:
    """The rows for which the mask is true (`table[mask]`, of which a type checker cannot tell that it is a table)."""
    return cast(pd.DataFrame, table.loc[np.asarray(mask, dtype=bool)])


@dataclass(frozen=True)
class Probe:
    """One protocol's results: `dynamics` per step, group and split; `predictions` per step and city."""

    protocol: str
    dynamics: pd.DataFrame
    predictions: pd.DataFrame

    @property
    def steps(self) -> list[int]:
        return sorted(int(step) for step in self.predictions["step"].unique())

    @property
    def virtual_regions(self) -> list[str]:
        """Names of the virtual regions, by the smallest id of their cities."""
        virtual = rows_where(self.predictions, self.predictions["is_virtual"])
        return [str(name) for name in virtual.sort_values("id").drop_duplicates("region")["region"]]

    @property
    def real_regions(self) -> list[str]:
        """Names of the real regions that have cities, largest first."""
        real = rows_where(self.predictions, ~self.predictions["is_virtual"]).drop_duplicates("id")
        return [str(name) for name in real["region"].value_counts(sort=True).index]

    def group(self, name: str) -> pd.DataFrame:
        """Rows of one group ("real", a region), one per step, in its most telling split; indexed by step."""
        rows = rows_where(self.dynamics, self.dynamics["group"] == name)
        split = next((split for split in HELD_OUT if split in set(rows["split"])), None)
        return rows_where(rows, rows["split"] == split).drop_duplicates("step").set_index("step").sort_index()

    def shown(self, held_out: bool = True) -> pd.DataFrame:
        """Predictions worth looking at: without the cities that the probe itself was fitted on."""
        fitted = (self.predictions["split"] == "train").to_numpy()
        only_fitted = np.all(fitted | self.predictions["is_virtual"].to_numpy())
        return self.predictions if only_fitted or not held_out else rows_where(self.predictions, ~fitted)


@dataclass(frozen=True)
class Run:
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

    def probe(self, protocol: str = "seed") -> Probe:
        """The probe of one protocol; `UserError` if the run has not been probed."""
        if protocol not in self.probes:
            raise UserError(
                f"{self.path}: no probe by the {protocol} protocol (analysis/{protocol}/ is missing); "
                f"run `atlantis probe {self.path}`"
            )
        return self.probes[protocol]

    def skills(self) -> dict[tuple[str, str], pd.DataFrame]:
        """The skill of the answers (`value`) by step, for each task and slice but "all"."""
        chosen = (self.scores["metric"] == "skill") & (self.scores["slice"] != ALL)
        groups = rows_where(self.scores, chosen).groupby(["task", "slice"], sort=False)
        return {(str(rows["task"].iloc[0]), str(rows["slice"].iloc[0])): rows for _, rows in groups}

    @property
    def other_tasks(self) -> list[str]:
        """Tasks but distance that were evaluated; their errors have units of their own."""
        return [task for task in dict.fromkeys(self.scores["task"]) if task != OLD_TASK]

    @property
    def slices(self) -> list[str]:
        """The task's slices that were evaluated, the known ones first, without "all" unless it is the only one."""
        found = list(dict.fromkeys(self.task["slice"]))
        known = [name for name in SLICES if name in found]
        return known + [name for name in found if name not in (*SLICES, "all")] or found


def load(path: Path | str) -> Run:
    """Read a run's folder.

    Raises:
        UserError: not a run's folder, or one of its files cannot be understood.
    """
    from atlantis.report.map_data import kept_probes, read_map, read_variants

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
    probes = {protocol: probe for protocol in PROTOCOLS if (probe := _read_probe(path, protocol)) is not None}
    map_data = read_map(path)
    named = next(iter(probes.values()), None)
    if map_data and named:
        probes |= kept_probes(map_data, named)
    return Run(
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
    )


def _within_bounds(dynamics: pd.DataFrame) -> pd.DataFrame:
    """The table without intervals that pass a bound of their metric, as an R2 above 1: older versions wrote them."""
    kept = dynamics.copy()
    for metric, scale in SCALES.items():
        ends = [f"{metric}_low", f"{metric}_high"]
        if set(ends) <= set(kept.columns):
            low, high = (pd.Series(pd.to_numeric(kept[name], errors="coerce")).to_numpy(np.float64) for name in ends)
            beyond = (low < scale.low) | (high > scale.high)
            kept.loc[beyond, ends] = np.nan
    return kept


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
        folder = run / "analysis" / name
        if (folder / MANIFEST).is_file() or (all_sealed and folder.is_dir()):
            try:
                verify(folder)
            except UserError as error:
                what = str(error).partition(";")[0]
                raise UserError(f"{what}; remove {folder} and run `atlantis probe {run}`") from None


def _read_probe(run: Path, protocol: str) -> Probe | None:
    folder = run / "analysis" / protocol
    if not folder.is_dir():
        return None
    again = f"run `atlantis probe {run}` again"
    dynamics_path, predictions_path = folder / "representation_dynamics.csv", folder / "predictions.parquet"
    for path in (dynamics_path, predictions_path):
        if not path.is_file():
            raise UserError(f"{path}: missing, though {folder} is there; {again}")
    try:
        dynamics = pd.read_csv(dynamics_path, keep_default_na=False, na_values=["", "nan", "NaN"])
    except (ValueError, OSError) as error:
        raise UserError(f"{dynamics_path}: cannot be read as CSV ({error}); {again}") from None
    try:
        predictions = pd.read_parquet(predictions_path)
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        raise UserError(f"{predictions_path}: cannot be read as Parquet ({error}); {again}") from None
    for path, table, columns in (
        (dynamics_path, dynamics, DYNAMICS_COLUMNS),
        (predictions_path, predictions, PREDICTION_COLUMNS),
    ):
        if missing := [name for name in columns if name not in table.columns]:
            raise UserError(f"{path}: no column {', '.join(missing)}; {again}")
        if table.empty:
            raise UserError(f"{path}: holds no rows; {again}")
    if met := sorted(filter(is_reserved, set(predictions["region"].astype(str)))):
        raise UserError(
            f"{predictions_path}: a region is called {met[0]!r}, which is a name of ours, so the numbers of both are "
            f"mixed up; {again}, which keeps them apart"
        )
    if "split" not in predictions:
        predictions["split"] = np.where(predictions["is_virtual"], "virtual", "test")
    text = {name: str for name in ("name", "region", "split")}
    predictions = predictions.astype({"is_virtual": bool, **text})
    for table, columns in ((predictions, ("name", "region")), (dynamics, ("group",))):
        for name in columns:  # what no terminal, font or XML file can have is spelled out
            table[name] = table[name].astype(str).map(printable)
    return Probe(protocol, _within_bounds(dynamics), predictions)
