"""One run as the data of its page: numbers rounded and packed, texts as they are.

Places are sent as tenths of a degree and errors as whole km, in base64 of little-endian int16: 8 characters
for each city, checkpoint and probe. What is not finite is `MISSING`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from atlantis.names import PROTOCOLS, REAL
from atlantis.readout.files import rows_where
from atlantis.report.about import about, cards, shown_path
from atlantis.report.export import answers_sheet, comparison_sheet, each_variant, when_sheet
from atlantis.report.panels import panels, regions_of
from atlantis.report.probe_data import Probe
from atlantis.report.run_data import RunData
from atlantis.report.series import number, numbers
from atlantis.report.tables import Column, Sheet, pair_title, run_columns, run_sheet
from atlantis.sphere import wrap_longitude
from atlantis.world.regions import colours

MISSING = -32768
PROTOCOL_TITLES = {
    "degrees": "new probe of each step (degrees, the study's)",
    "sphere": "new probe of each step (unit sphere)",
    "frozen": "the first step's probe, kept",
    "shifted": "the first step's probe, kept, the shift taken out",
}
"""Two probes are fitted anew, by two protocols whose errors differ; the kept ones are of the sphere's kind."""
ALL_REAL = "all real cities"
MAX_CITIES = 12_000
"""Of a world with more, the maps have every second, third, ... real city: a page with all could not be opened."""


def palette_of(runs: Sequence[RunData]) -> dict[str, str]:
    """A colour for each region of the runs together: one name has one colour, and new regions differ in theirs."""
    regions = sorted((region for run in runs for region in regions_of(run)), key=lambda region: region["virtual"])
    return colours(list(dict.fromkeys(region["name"] for region in regions)))


def data_of(
    run: RunData, files: Sequence[str], palette: Mapping[str, str] | None = None, most_cities: int | None = None
) -> dict[str, Any]:
    """Everything the page shows of one run; `files` are links to its pictures and tables.

    Of more real cities than `most_cities`, by default `MAX_CITIES`, the maps have a part.
    """
    palette = palette or palette_of([run])
    regions = [region | {"colour": palette[region["name"]]} for region in regions_of(run)]
    cities, thinned = _thinned(_cities(run), most_cities or MAX_CITIES)
    return {
        "name": run.name,
        "path": shown_path(run.path),
        "cards": cards(run),
        "lacks": _lacks(run),
        "thinned": thinned,
        "regions": regions,
        "cities": _packed_cities(cities, [region["name"] for region in regions]),
        "table": table(run_sheet(run), run_columns(run)),
        "panels": panels(run, regions),
        "neighbours": _neighbours(run, cities.index),
        "probes": {name: _probe(probe, cities.index, regions) for name, probe in run.probes.items()},
        "variants": _variants(run),
        "when": table(when_sheet(run.map, run, pair_title)) if run.map is not None and len(run.map.when) else None,
        "answers": table(answers_sheet(run)) | {"step": int(run.stitched["step"].to_numpy().max())}
        if len(run.stitched)
        else None,
        "about": about(run),
        "config": run.config,
        "files": list(files),
    }


def _lacks(run: RunData) -> dict[str, str]:
    """For each probe that is not there, why, and what makes it; `any` where there is none at all."""
    path = shown_path(run.path)
    if not run.probes:
        reason = f"This run has not been probed. `atlantis probe {path}` reads its checkpoints."
        return dict.fromkeys([*PROTOCOL_TITLES, "any"], reason)
    again = f"`atlantis probe {path}` reads it again."
    kept = f"What became of the map was not measured in this run. `atlantis probe {path} --measures` adds it."
    if run.map is not None:
        kept = f"The analysis of this run does not have this probe's places. {again}"
    reasons = {"frozen": kept, "shifted": kept} | dict.fromkeys(PROTOCOLS, f"This run was not read so. {again}")
    return {name: reasons[name] for name in PROTOCOL_TITLES if name not in run.probes}


def comparison(runs: Sequence[RunData]) -> dict[str, Any]:
    return table(comparison_sheet(runs), [column for run in runs for column in run_columns(run)])


def table(sheet: Sheet, described: Sequence[Column] = ()) -> dict[str, Any]:
    """Columns with their titles and digits, and rows, as the page's tables take them.

    Those that are `described` have their heading in place of their name, and a tip.
    """
    rows = sheet.rows
    known = {column.name: column for column in described}
    columns: list[dict[str, Any]] = []
    for name in rows.columns:
        title = re.sub(r"\bR2$", "R²", known[name].heading if name in known else name)
        is_number = pd.api.types.is_numeric_dtype(rows[name])
        columns.append({"title": title, **({"digits": sheet.digits[name]} if is_number else {"text": True})})
        if name in known:
            columns[-1]["tip"] = known[name].explanation
    values = [
        [cell if column.get("text") else number(cell) for column, cell in zip(columns, row, strict=True)]
        for row in rows.itertuples(index=False)
    ]
    return {"columns": columns, "rows": values}


def _cities(run: RunData) -> pd.DataFrame:
    """Every city that a probe of the run has placed: name, region, lon, lat, by id."""
    columns = ["id", "name", "region", "lon", "lat", "is_virtual"]
    tables = [probe.predictions[columns] for probe in run.probes.values()]
    if not tables:
        return pd.DataFrame(columns=columns[1:])
    return pd.DataFrame(pd.concat(tables)).drop_duplicates("id").set_index("id").sort_index()


def _thinned(cities: pd.DataFrame, most: int) -> tuple[pd.DataFrame, str]:
    """At most about so many real ones, and every virtual one, and what was left out in words."""
    virtual = cities["is_virtual"].to_numpy(bool)
    gap = -(-int((~virtual).sum()) // most)
    if gap <= 1:
        return cities, ""
    real = np.cumsum(~virtual) - 1  # the number of each real city among these
    kept = rows_where(cities, virtual | (real % gap == 0))
    n = f"{len(kept):,} of {len(cities):,} cities"
    rest = "The table City by city has these too; all other tables and all curves are of all cities."
    return kept, f"The maps have {n}: 1 in {gap} of the real ones. {rest}"


def _packed_cities(cities: pd.DataFrame, regions: list[str]) -> dict[str, Any]:
    index = {name: k for k, name in enumerate(regions)}
    return {
        "ids": [int(i) for i in cities.index],
        "names": [str(name) for name in cities["name"]],
        "region": [index[name] for name in cities["region"]],
        "lon": int16(10 * cities["lon"].to_numpy(np.float64)),
        "lat": int16(10 * cities["lat"].to_numpy(np.float64)),
    }


def _neighbours(run: RunData, ids: pd.Index) -> dict[str, Any] | None:
    """Of the first and the last step: k for each city, as places in `ids`, `MISSING` for what is not among these."""
    table = run.map.neighbours if run.map is not None else pd.DataFrame()
    if table.empty:
        return None
    of_step = table["step"].to_numpy(np.int64)
    steps = sorted({int(of_step.min()), int(of_step.max())})
    places = pd.Series(np.arange(len(ids), dtype=np.float64), index=ids)
    near = []
    for step in steps:
        rows = rows_where(table, of_step == step).assign(place=lambda t: t["neighbour"].map(places))
        near.append(rows.drop_duplicates(["id", "rank"]).pivot(index="id", columns="rank", values="place"))
    k = max(wide.shape[1] for wide in near)
    same = [wide.reindex(index=ids, columns=range(1, k + 1)).to_numpy(np.float64) for wide in near]
    return {"steps": steps, "k": k, "near": int16(np.stack(same).ravel())}


def int16(values: np.ndarray) -> str:
    """Base64 of little-endian int16; what is not finite becomes `MISSING`."""
    whole = np.where(np.isfinite(values), np.round(np.nan_to_num(values)).clip(-32767, 32767), MISSING)
    return base64.b64encode(whole.astype("<i2").tobytes()).decode()


def _probe(probe: Probe, ids: pd.Index, regions: list[dict[str, Any]]) -> dict[str, Any]:
    seen = set(probe.shown()["id"])
    unique = probe.predictions.drop_duplicates(["step", "id"], keep="last")

    def by_step(column: str) -> np.ndarray:
        """One number per step and city, [steps, cities]; NaN where a step has none."""
        return unique.pivot(index="step", columns="id", values=column).reindex(columns=ids).sort_index().to_numpy(float)

    groups = [_group(probe, REAL, False)]
    groups += [_group(probe, name, True) for name in probe.virtual_regions]
    by_region = [_group(probe, REAL, False, ALL_REAL)]
    by_region += [_group(probe, region["name"], region["virtual"]) for region in regions]
    return {
        "name": probe.protocol,
        "title": PROTOCOL_TITLES.get(probe.protocol, probe.protocol),
        "steps": probe.steps,
        "held": "".join("1" if i in seen else "0" for i in ids),
        "lon": int16(10 * wrap_longitude(by_step("pred_lon"))),
        "lat": int16(10 * by_step("pred_lat").clip(-90, 90)),
        "error_km": int16(by_step("error_km")),
        **{name: int16(by_step(name)) for name in ("radial_km", "tangential_km") if name in unique},
        "groups": groups,
        "by_region": [group for group in by_region if any(km is not None for km in group["mean_km"])],
    }


def _group(probe: Probe, name: str, virtual: bool, title: str | None = None) -> dict[str, Any]:
    rows = probe.group(name)
    n = int(rows["n"].iloc[0]) if "n" in rows and len(rows) else None
    rows = rows.reindex(probe.steps)
    scores = {column: numbers(rows[column]) for column in ("lon_r2", "lat_r2", "mean_km")}
    return {"name": title or name, "virtual": virtual, "n": n, **scores}


def _variants(run: RunData) -> dict[str, Any] | None:
    if run.variants.empty:
        return None
    steps = sorted(int(step) for step in run.variants["step"].unique())
    rows = []
    for variant, group, part in each_variant(run):
        km = numbers(part["mean_km"].reindex(steps))
        name = ALL_REAL if group == REAL else group
        rows.append({"variant": variant, "group": name, "n": int(part["n"].iloc[0]), "mean_km": km})
    return {"steps": steps, "rows": rows}
