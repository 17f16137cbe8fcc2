"""Write what the documentation says about the demo run: docs/metrics.md and docs/demo.md.

    python -m scripts.demo_pages                                 # both pages, from the committed record
    python -m scripts.demo_pages --run outputs/experiments/demo  # a record of that run first, then both pages

The prose is metrics.md and demo.md beside this script; every figure in them is a place such as
`{{demo:last.real.skill_frozen|.3f}}`, filled from experiments/2026-11-28_demo/records/ as those of docs/performance.md
are. The same record gives the same bytes; a test compares the pages with it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atlantis.artifacts import write_text
from atlantis.errors import UserError
from atlantis.markdown import table
from atlantis.readout.catalogue import METRICS, Metric
from atlantis.readout.files import rows_where
from atlantis.readout.integration import find_islands, mean_gap_km
from atlantis.report.map_data import MapData
from atlantis.report.run_data import RunData, load
from atlantis.report.tables import cell, run_sheet
from atlantis.world import World
from checks.benchmarks.page import read_records
from checks.pages import Records, render
from checks.records import commit, machine

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "experiments" / "2026-11-28_demo" / "records"
PROSE, DEMO_PROSE = (Path(__file__).with_name(name) for name in ("metrics.md", "demo.md"))
PAGE, DEMO_PAGE = (ROOT / "docs" / name for name in ("metrics.md", "demo.md"))


# --- the record


def record_of(run: RunData) -> dict[str, Any]:
    """What the pages say about a run, by name. Raises UserError for a run whose measures cannot be read."""
    if run.map is None or not run.map.knows_shift:
        raise UserError(
            f"{run.path}: has no measures in which the shift is told apart; run `atlantis probe {run.path}`"
        )
    steps = sorted(int(step) for step in run.map.rows("skill_frozen").index)
    first, last = (_numbers(run.map, step) for step in (steps[0], steps[-1]))
    sheet = run_sheet(run)
    rows = sheet.rows
    results = {
        "first": first,
        "last": last,
        "when": {row["metric"]: _known(row) for row in run.map.when.to_dict("records") if row["group"] == "real"},
        "derived": _derived(run.map, first["real"], last["real"]),
        "islands": _islands(World.build()),
        "table": {
            "columns": list(rows.columns),
            "digits": [sheet.digits[name] for name in rows.columns],
            "rows": rows.astype(float).to_numpy().tolist(),
        },
        "start": dict(zip(rows.columns, rows.iloc[0].astype(float), strict=True)),
        "end": dict(zip(rows.columns, rows.iloc[-1].astype(float), strict=True)),
    }
    about = {key: run.about.get(key) for key in ("commit", "versions", "seeds", "digests")}
    return {
        "benchmark": "demo",
        "quick": False,
        "command": "make demo",
        "run": about,
        "probed_at": commit(),
        "machine": machine(),
        "results": results,
    }


def _numbers(data: MapData, step: int) -> dict[str, Any]:
    """Value, and low and high where there are, of each metric: of the probe's layer and of the answers, by group."""
    at_step = (data.measures["step"] == step) & data.measures["layer"].isin([data.layer, "answers"])
    table = rows_where(data.measures, at_step)
    groups = ["real", "old", *table.loc[table["metric"] == "integration_km", "group"].unique()]
    found: dict[str, Any] = {"step": step}
    for group in groups:
        numbers = found[group] = {}
        for row in rows_where(table, table["group"] == group).to_dict("records"):
            values = {"": row["value"], "_low": row["low"], "_high": row["high"]}
            numbers |= {f"{row['metric']}{end}": _short(value) for end, value in values.items() if np.isfinite(value)}
    return found


def _short(value: Any) -> float:
    return float(f"{float(value):.6g}")


def _known(row: dict[Any, Any]) -> dict[str, float]:
    return {key: _short(value) for key, value in row.items() if key not in ("metric", "group") and not pd.isna(value)}


def _derived(data: MapData, first: dict[str, float], last: dict[str, float]) -> dict[str, Any]:
    """What the prose says and no row of the table has: shares of the fall; how often a number is inside its null."""
    fall = first["skill_frozen"] - last["skill_frozen"]
    shares = {name: _short(100 * last[name] / fall) for name in ("lost", "bent", "turned", "shifted")}
    lat, lon = last["shift_lat"], last["shift_lon"]
    towards = f"{abs(lat):.0f}° {'N' if lat >= 0 else 'S'}, {abs(lon):.0f}° {'E' if lon >= 0 else 'W'}"
    inside: dict[str, int] = {}
    for name, metric, null in (
        ("n_tangential_inside", "tangential_share", "tangential_share_isotropic"),
        ("n_distance_inside", "damage_by_distance", "damage_by_distance_anywhere"),
    ):
        value = data.rows(metric)["value"]
        limits = data.rows(null).reindex(value.index)
        inside |= {name: int(value.between(limits["low"], limits["high"]).sum()), "n_steps_moved": len(value)}
    return {
        "percent": shares,
        "shift_towards": towards,
        "km_at_skill_0_8": _short(0.2 * first["km_untrained"]),
        **inside,
    }


def _islands(world: World) -> dict[str, float]:
    """How alike Atlantis' islands are to it."""
    region = world.virtual_regions[0]
    ids, real = world.ids_of(region.name), slice(0, world.n_real)
    lon, lat = world.lon[real], world.lat[real]
    islands = find_islands(lon, lat, (world.lon[ids], world.lat[ids]), (region.lon, region.lat))
    gaps, left_out = [island.gap_km for island in islands], [len(island.left_out) for island in islands]
    return {
        "n": len(islands),
        "n_real": world.n_real,
        "mismatch_min": _short(100 * min(island.mismatch for island in islands)),
        "mismatch_max": _short(100 * max(island.mismatch for island in islands)),
        "gap_min": _short(min(gaps)),
        "gap_max": _short(max(gaps)),
        "gap_region": _short(mean_gap_km(world.lon[ids], world.lat[ids], lon, lat)),
        "left_out_min": min(left_out),
        "left_out_max": max(left_out),
    }


# --- the pages


def metrics_page(records: Records) -> str:
    def of_section(match: re.Match[str]) -> str:
        return metrics_table(match[1], records["demo"]["results"])

    return render(re.sub(r"\{\{metrics:(\w+)\}\}", of_section, PROSE.read_text(encoding="utf-8")), records, {})


def run_markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The cells of a run's sheet as a Markdown table."""
    return table([column.replace("R2", "R²") for column in columns], rows, align="r" * len(columns), narrow=True)


def metrics_table(section: str, results: dict[str, Any]) -> str:
    """The catalogue's metrics of a section: unit, the better way, definition, reading, and the demo's number."""
    at = results["first" if section == "chance" else "last"]
    rows = [
        [f"`{metric.name}`", metric.unit, metric.better or "", metric.what, metric.reading, _in_demo(metric, at)]
        for metric in METRICS.values()
        if metric.section == section
    ]
    return table(["metric", "unit", "better", "what it is", "how to read it", "in the demo"], rows, narrow=True)


def _in_demo(metric: Metric, at: dict[str, Any]) -> str:
    """Its number of each of the main groups that has one, with its interval."""
    texts = []
    for group in ("real", "Atlantis", "old") if metric.section == "new" else ("real", "old"):
        numbers = at.get(group, {})
        if metric.name not in numbers:
            continue
        value, low, high = (numbers.get(f"{metric.name}{end}") for end in ("", "_low", "_high"))
        text = f"*{cell(value, metric.digits)}*"
        text += f" (*{cell(low, metric.digits)} to {cell(high, metric.digits)}*)" if low is not None else ""
        texts.append(text)
    return "; ".join(texts)


def demo_page(records: Records) -> str:
    """The page about the demo: its course as a table, and what became of the answers and of the map."""
    found = records["demo"]["results"]["table"]
    rows = [[cell(value, digits) for digits, value in zip(found["digits"], row, strict=True)] for row in found["rows"]]
    prose = DEMO_PROSE.read_text(encoding="utf-8").replace("{{table}}", run_markdown(found["columns"], rows))
    return render(prose, records, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="the demo run's folder, probed: its record is written first")
    options = parser.parse_args()
    try:
        if options.run:
            write_text(RECORDS / "demo.json", json.dumps(record_of(load(options.run)), indent=1) + "\n")
        records = read_records(RECORDS)
        write_text(PAGE, metrics_page(records))
        write_text(DEMO_PAGE, demo_page(records))
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
