"""One protocol's results of a run, read from its `analysis/<protocol>/`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow

from atlantis.errors import UserError
from atlantis.names import is_reserved
from atlantis.progress import printable
from atlantis.readout.catalogue import METRICS
from atlantis.readout.files import analysis_folder, read_table, rows_where

DYNAMICS_COLUMNS = ("step", "group", "split", "lon_r2", "lat_r2", "mean_km")
PREDICTION_COLUMNS = ("step", "id", "name", "region", "is_virtual", "lon", "lat", "pred_lon", "pred_lat", "error_km")
HELD_OUT = ("test", "all", "virtual", "train")  # which split of a group speaks for it, in order of preference


@dataclass(frozen=True)
class Probe:
    """One protocol's results: `dynamics` per step, group and split; `predictions` per step and city."""

    protocol: str
    dynamics: pd.DataFrame
    predictions: pd.DataFrame

    @cached_property
    def steps(self) -> list[int]:
        return sorted(int(step) for step in self.predictions["step"].unique())

    @cached_property
    def virtual_regions(self) -> list[str]:
        """Names of the virtual regions, by the smallest id of their cities."""
        virtual = rows_where(self.predictions, self.predictions["is_virtual"])
        return [str(name) for name in virtual.sort_values("id").drop_duplicates("region")["region"]]

    @cached_property
    def real_regions(self) -> list[str]:
        """Names of the real regions that have cities, largest first."""
        real = rows_where(self.predictions, ~self.predictions["is_virtual"]).drop_duplicates("id")
        return [str(name) for name in real["region"].value_counts(sort=True).index]

    def group(self, name: str) -> pd.DataFrame:
        """Rows of one group ("real", a region), one per step, in its most telling split; indexed by step."""
        rows = rows_where(self.dynamics, self.dynamics["group"] == name)
        split = next((split for split in HELD_OUT if split in set(rows["split"])), None)
        return rows_where(rows, rows["split"] == split).drop_duplicates("step").set_index("step").sort_index()

    def groups(self) -> pd.DataFrame:
        """`group` of every group, one after the other as they first come in `dynamics`, with `step` as a column."""
        number = pd.Series(pd.factorize(self.dynamics["group"])[0], index=self.dynamics.index)
        preference = pd.Categorical(self.dynamics["split"], categories=HELD_OUT).codes
        rank = pd.Series(preference, index=self.dynamics.index).where(preference >= 0)
        telling = rows_where(self.dynamics.assign(_number=number), rank == rank.groupby(number).transform("min"))
        telling = telling.drop_duplicates(["_number", "step"]).sort_values(["_number", "step"], kind="stable")
        return telling.drop(columns="_number").reset_index(drop=True)

    def shown(self, held_out: bool = True) -> pd.DataFrame:
        """Predictions worth looking at: without the cities that the probe itself was fitted on."""
        fitted = (self.predictions["split"] == "train").to_numpy()
        only_fitted = np.all(fitted | self.predictions["is_virtual"].to_numpy())
        return self.predictions if only_fitted or not held_out else rows_where(self.predictions, ~fitted)


def read_probe(run: Path, protocol: str) -> Probe | None:
    """The results in a run's folder; None if it has none by this protocol. Raises UserError that names the file."""
    folder = analysis_folder(run, protocol)
    if not folder.is_dir():
        return None
    again = f"run `atlantis probe {run}` again"
    dynamics_path, predictions_path = folder / "representation_dynamics.csv", folder / "predictions.parquet"
    for path in (dynamics_path, predictions_path):
        if not path.is_file():
            raise UserError(f"{path}: missing, though {folder} is there; {again}")
    dynamics, predictions = read_results(dynamics_path, again), read_results(predictions_path, again)
    for path, table, columns in (
        (dynamics_path, dynamics, DYNAMICS_COLUMNS),
        (predictions_path, predictions, PREDICTION_COLUMNS),
    ):
        require_columns(path, table, columns, again)
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


def read_results(path: Path, again: str) -> pd.DataFrame:
    """The table in a file of `analysis/`. Raises UserError that ends with `again`, what to do."""
    try:
        return read_table(path, no_number=("", "nan", "NaN"))
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        form = "Parquet" if path.suffix == ".parquet" else "CSV"
        raise UserError(f"{path}: cannot be read as {form} ({error}); {again}") from None


def require_columns(path: Path, table: pd.DataFrame, columns: Sequence[str], again: str) -> None:
    """UserError if the table lacks one of the columns."""
    if missing := [name for name in columns if name not in table.columns]:
        raise UserError(f"{path}: no column {', '.join(missing)}; {again}")


def _within_bounds(dynamics: pd.DataFrame) -> pd.DataFrame:
    """The table without intervals that pass a bound of their metric, as an R2 above 1: older versions wrote them."""
    kept = dynamics.copy()
    for metric in METRICS.values():
        ends = [f"{metric.name}_low", f"{metric.name}_high"]
        if metric.scale and set(ends) <= set(kept.columns):
            low, high = (pd.Series(pd.to_numeric(kept[name], errors="coerce")).to_numpy(np.float64) for name in ends)
            beyond = (low < metric.scale.low) | (high > metric.scale.high)
            kept.loc[beyond, ends] = np.nan
    return kept
