"""What a panel of curves is made of, as data for the page: series against the step, lines of chance, bands.

A series is {label, steps, values, low?, high?} and its look: hue (a place in the page's line colours) or colour, dash,
faint (in the background) or thin (one of many). A run that has no numbers for a series has no series.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from atlantis.names import REAL
from atlantis.report.map_data import MapData

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = range(6)  # places in the page's line colours
BLOCKS = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39")  # viridis: blocks have an order


def block_colour(block: int, n: int) -> str:
    """The colour of one of `n` blocks, counted from 0: up to seven have those of `BLOCKS`, more are between."""
    place = block if n <= len(BLOCKS) else block * (len(BLOCKS) - 1) / (n - 1)
    below = min(int(place), len(BLOCKS) - 2)
    pairs = zip(*(bytes.fromhex(BLOCKS[k][1:]) for k in (below, below + 1)), strict=True)
    return "#" + bytes(round(a + (place - below) * (b - a)) for a, b in pairs).hex()


def number(value: Any, digits: int = 5) -> float | None:
    """A number with so many significant digits, and never fewer than it has before the point: a step stays as it is.

    Null for one that JSON does not have.
    """
    if value is None or not math.isfinite(value):
        return None
    value = float(value)
    return float(round(value)) if abs(value) >= 10**digits else float(f"{value:.{digits}g}")


def numbers(values: Any) -> list[float | None]:
    return [number(value) for value in values]


def series(label: str, steps: Any, rows: pd.DataFrame, column: str, **look: Any) -> dict[str, Any]:
    series = {"label": label, "steps": [int(step) for step in steps], "values": numbers(rows[column]), **look}
    if {f"{column}_low", f"{column}_high"} <= set(rows.columns):
        series |= {"low": numbers(rows[f"{column}_low"]), "high": numbers(rows[f"{column}_high"])}
    return series


def measure(
    data: MapData, label: str, metric: str, group: str = REAL, layer: str | None = None, **look: Any
) -> dict[str, Any] | None:
    rows = data.rows(metric, group, layer)
    if not np.isfinite(rows["value"].to_numpy(np.float64)).any():
        return None
    rows = rows.rename(columns={"low": "value_low", "high": "value_high"})
    if not np.isfinite(rows[["value_low", "value_high"]].to_numpy(np.float64)).any():
        rows = rows.drop(columns=["value_low", "value_high"])
    return series(label, rows.index, rows, "value", **look)


def chance(data: MapData | None, *rules: tuple[str, str]) -> list[dict[str, Any]]:
    values = [(label, data.once(metric)) for label, metric in rules] if data else []
    return [{"label": label, "value": number(value)} for label, value in values if value is not None]
