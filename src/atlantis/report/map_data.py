"""A run's `analysis/map/`, read: what became of the map, by measure (the parts of its fall; drift; damage) and by city.

Each of its files may be absent, as in an older run; one that is there and cannot be understood is a `UserError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from atlantis.names import ANSWERS, REAL
from atlantis.readout import neighbours
from atlantis.readout.files import analysis_folder, rows_where
from atlantis.readout.forgetting import When
from atlantis.readout.layout import LAYOUT
from atlantis.report.probe_data import Probe, read_results, require_columns

CITY_COLUMNS = ("step", "id", "frozen_lon", "frozen_lat", "frozen_error_km")
KEPT = ("frozen", "shifted")
"""The first step's probe at later steps: as it is, and with the shift of the hidden states taken out."""
PARTS = ("radial_km", "tangential_km")
WHEN_COLUMNS = ("metric", "group", *When._fields)
VARIANT_COLUMNS = ("step", "variant", "group", "n", "lon_r2", "lat_r2", "mean_km")


@dataclass(frozen=True)
class MapData:
    """measures: one row per step, layer, group and metric. cities: one per step and city. when: one per metric.

    neighbours: the nearest cities in the hidden states, at the first step and the last; none in older runs.
    """

    measures: pd.DataFrame
    cities: pd.DataFrame
    when: pd.DataFrame
    neighbours: pd.DataFrame

    @property
    def layer(self) -> str:
        """The probe's layers, as the measures name them: "3+4"."""
        names = [layer for layer in self.measures["layer"].unique() if layer != ANSWERS]
        return next((layer for layer in names if "+" in layer), names[0] if names else "")

    def layers(self, metric: str) -> list[str]:
        """The layers of a metric, the single blocks in order, then what joins several."""
        names = self.measures.loc[self.measures["metric"] == metric, "layer"].unique()
        return sorted(names, key=lambda layer: (not layer.isdigit(), int(layer) if layer.isdigit() else 0))

    def groups(self, metric: str) -> list[str]:
        """The groups that a metric was measured of."""
        return list(self.measures.loc[self.measures["metric"] == metric, "group"].unique())

    def rows(self, metric: str, group: str = REAL, layer: str | None = None) -> pd.DataFrame:
        """value, low, high, n of one metric by step; no rows if it was not measured."""
        table = self.measures
        mask = (table["metric"] == metric) & (table["group"] == group) & (table["layer"] == (layer or self.layer))
        return rows_where(table, mask).drop_duplicates("step", keep="last").set_index("step").sort_index()

    def once(self, metric: str) -> float | None:
        """The number of a metric that does not follow the step, such as chance."""
        values = self.rows(metric)["value"].dropna()
        return float(values.iloc[0]) if len(values) else None

    @property
    def knows_shift(self) -> bool:
        """Whether the shift was told from the turn. In older runs `turned` and all displacements have it in them."""
        return bool((self.measures["metric"] == "skill_shifted").any())

    def fall(self) -> pd.DataFrame:
        """Skill by step: `frozen`, `shifted` (if it was told), `turned`, `refit`, and `first`, the first step's.

        The fall is counted from `first`.
        """
        names = ("frozen", "shifted", "turned", "refit") if self.knows_shift else ("frozen", "turned", "refit")
        table = pd.DataFrame({name: self.rows(f"skill_{name}")["value"] for name in names}).dropna()
        return table.assign(first=table["refit"].iloc[0] if len(table) else np.nan)


def read_map(run: Path) -> MapData | None:
    """What `analysis/map/` holds; None if there is no such folder."""
    folder = analysis_folder(run, "map")
    if not folder.is_dir():
        return None
    measures = _read(folder / "measures.parquet", LAYOUT)
    return MapData(
        measures.astype({"step": np.int64, "layer": str, "group": str, "metric": str}),
        _read(folder / "cities.parquet", CITY_COLUMNS),
        _read(folder / "when.csv", WHEN_COLUMNS),
        _read(folder / "neighbours.parquet", neighbours.COLUMNS),
    )


def read_variants(run: Path) -> pd.DataFrame:
    """`analysis/degrees/variants.csv`; an empty table if there is none."""
    return _read(analysis_folder(run, "degrees") / "variants.csv", VARIANT_COLUMNS)


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=list(columns))
    again = f"run `atlantis probe {path.parents[2]}` again"
    table = read_results(path, again)
    if table.empty:  # perhaps without its columns, as versions before this one wrote it
        return table.reindex(columns=[*columns, *table.columns.drop([*columns], errors="ignore")])
    require_columns(path, table, columns, again)
    return table


def kept_probes(map_data: MapData, named: Probe) -> dict[str, Probe]:
    """The first step's probe, read at every checkpoint, as a probe like the others; names and regions are `named`'s.

    `frozen`: as it is; `shifted`: with the shift of the hidden states taken out, if that was recorded. Each real city
    is read by a probe that was not fitted on it. None of them if no city was recorded. Their `dynamics` have km alone.
    The parts of a displacement, along and across, go with the places that it leads to: in older runs the frozen ones.
    """
    if map_data.cities.empty:
        return {}
    names = [name for name in KEPT if f"{name}_lon" in map_data.cities]
    probes = {name: _kept_probe(map_data, named, name, with_parts=name == names[-1]) for name in names}
    return {name: probe for name, probe in probes.items() if not probe.predictions.empty}


def _kept_probe(map_data: MapData, named: Probe, name: str, with_parts: bool) -> Probe:
    about = named.predictions.drop_duplicates("id", keep="last")[["id", "name", "region", "is_virtual", "lon", "lat"]]
    columns = {f"{name}_lon": "pred_lon", f"{name}_lat": "pred_lat", f"{name}_error_km": "error_km"}
    columns |= {part: part for part in PARTS if with_parts and part in map_data.cities}
    predictions = about.merge(
        map_data.cities.reindex(columns=["step", "id", *columns]).rename(columns=columns), on="id"
    )
    predictions["split"] = np.where(predictions["is_virtual"], "virtual", "test")
    table = map_data.measures
    km = rows_where(table, (table["metric"] == f"km_{name}") & (table["layer"] == map_data.layer))
    dynamics = pd.DataFrame(
        {
            "step": km["step"],
            "group": km["group"],
            "split": "test",
            "n": km["n"],
            "lon_r2": np.nan,
            "lat_r2": np.nan,
            "mean_km": km["value"],
        }
    )
    return Probe(name, dynamics, predictions)
