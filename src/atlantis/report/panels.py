"""The page's curves: panels of series against the step, as data. What a run has no numbers for has no series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from atlantis.report.map_data import ANSWERS, REAL, MapData
from atlantis.report.run_data import Probe, Run, rows_where
from atlantis.report.tables import slice_title

MAX_TRAINING_POINTS = 300
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = range(6)  # places in the page's line colours
BLOCKS = (
    "#440154",
    "#46327e",
    "#365c8d",
    "#277f8e",
    "#1fa187",
    "#4ac16d",
    "#a0da39",
)  # viridis: the blocks have an order

SECTIONS = [
    (
        "map",
        "Curves",
        "Grey straight lines: chance, where it was measured (of R²: one for longitude, one for latitude).",
    ),
    (
        "kind",
        "Lost, bent or turned?",
        "Skill: 1 is no error, 0 the error of a probe of an untrained model; held-out real cities. The first step's "
        "probe reads later checkpoints as it is, or after one rotation of the hidden states fitted on other cities; a "
        "new linear probe and a small network are fitted at each checkpoint. What the rotation wins back had turned, "
        "what a new probe wins back beyond that had bent, and the rest of the fall is lost to any linear probe.",
    ),
    (
        "new",
        "New cities in the map",
        "A probe fitted on real cities alone reads the new ones. Beside it: its error on real regions left out of the "
        "fit, alike in size and isolation. A ratio of 1: the new cities lie in the map as real ones would.",
    ),
    ("drift", "Drift from the first step", "How far the hidden states have moved, whatever they say about places."),
    (
        "damage",
        "Where the damage is",
        "How far the first step's probe moves each city, towards or away from the new region (radial) and across "
        "(tangential). Correlations: rank correlation of a city's damage with what may explain it.",
    ),
]


def sections() -> list[dict[str, str]]:
    return [{"id": key, "title": title, "note": note} for key, title, note in SECTIONS]


def panels(run: Run, regions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Panels of one run. Several runs share a panel by its `id`; of it they show what is neither faint nor thin."""
    palette = {region["name"]: region["colour"] for region in regions}
    found = [*_map_panels(run, palette), _task_panel(run), _loss_panel(run)]
    if run.map is not None:
        virtual = [region["name"] for region in regions if region["virtual"]]
        found += [*_kind_panels(run.map), *_new_panels(run.map, virtual, palette)]
        found += [*_drift_panels(run.map), *_damage_panels(run.map)]
    return [panel for panel in found if panel["series"]]


def _panel(section: str, key: str, title: str, series: Sequence[dict[str, Any] | None], **more: Any) -> dict[str, Any]:
    return {"section": section, "id": key, "title": title, "series": [one for one in series if one], **more}


def number(value: Any, digits: int = 5) -> float | None:
    """A number with so many significant digits; null for one that JSON does not have."""
    return float(f"{float(value):.{digits}g}") if value is not None and math.isfinite(value) else None


def numbers(values: Any) -> list[float | None]:
    return [number(value) for value in values]


def _series(label: str, steps: Any, rows: pd.DataFrame, column: str, **look: Any) -> dict[str, Any]:
    series = {"label": label, "steps": [int(step) for step in steps], "values": numbers(rows[column]), **look}
    if {f"{column}_low", f"{column}_high"} <= set(rows.columns):
        series |= {"low": numbers(rows[f"{column}_low"]), "high": numbers(rows[f"{column}_high"])}
    return series


def _measure(
    data: MapData, label: str, metric: str, group: str = REAL, layer: str | None = None, **look: Any
) -> dict[str, Any] | None:
    rows = data.rows(metric, group, layer)
    if not np.isfinite(rows["value"].to_numpy(np.float64)).any():
        return None
    rows = rows.rename(columns={"low": "value_low", "high": "value_high"})
    if not np.isfinite(rows[["value_low", "value_high"]].to_numpy(np.float64)).any():
        rows = rows.drop(columns=["value_low", "value_high"])
    return _series(label, rows.index, rows, "value", **look)


def _chance(data: MapData | None, *rules: tuple[str, str]) -> list[dict[str, Any]]:
    values = [(label, data.once(metric)) for label, metric in rules] if data else []
    return [{"label": label, "value": number(value)} for label, value in values if value is not None]


# --- the map and the answers


def _map_panels(run: Run, palette: dict[str, str]) -> list[dict[str, Any]]:
    probe = run.probes.get("seed") or next(iter(run.probes.values()), None)
    if probe is None:
        return []
    real = probe.group(REAL)
    r2 = [
        _series("longitude", real.index, real, "lon_r2", hue=BLUE),
        _series("latitude", real.index, real, "lat_r2", hue=VERMILION),
    ]
    km = [_series("real cities, held out", real.index, real, "mean_km", hue=BLUE)]
    km += [_region(probe, name, palette[name]) for name in probe.virtual_regions]
    chances = [
        (title, f"{axis}_r2_{kind}")
        for kind, title in (("untrained", "untrained model"), ("permuted", "permuted places"))
        for axis in ("lon", "lat")
    ]
    limits = {"floor": 0, "ceiling": 1, "lowest": -1}
    chance_km = _chance(run.map, ("untrained model", "km_untrained"), ("permuted places", "km_permuted"))
    return [
        _panel(
            "map",
            "r2",
            "Probe of held-out real cities: R²",
            r2,
            digits=3,
            rules=_chance(run.map, *chances),
            **limits,
        ),
        _panel("map", "km", "Probe: distance from the true place, mean km", km, floor=0, unit=" km", rules=chance_km),
    ]


def _region(probe: Probe, name: str, colour: str) -> dict[str, Any]:
    rows = probe.group(name)
    return _series(name, rows.index, rows, "mean_km", colour=colour)


def _task_panel(run: Run) -> dict[str, Any]:
    series = []
    for hue, name in enumerate(run.slices):
        rows = rows_where(run.task, run.task["slice"] == name)
        series.append(_series(slice_title(name, run).replace("-", "–"), rows["step"], rows, "mean_km", hue=hue))
    return _panel("map", "task", "Task: error of the answered distance, mean km", series, floor=0, unit=" km")


def _loss_panel(run: Run) -> dict[str, Any]:
    series = [_series("validation", run.evaluations["step"], run.evaluations, "loss", hue=BLUE)]
    if len(run.train):
        binned = _binned(run.train)
        series.insert(0, _series("training batches", binned["step"], binned, "loss", faint=True))
    return _panel("map", "loss", "Loss, nats per token", series, digits=3)


def _binned(train: pd.DataFrame) -> pd.DataFrame:
    """At most `MAX_TRAINING_POINTS` points: means of bins that are even on the chart's axis, log(1 + step)."""
    if len(train) <= MAX_TRAINING_POINTS:
        return train
    place = np.log1p(train["step"].to_numpy(np.float64))
    bins = np.floor(place / place[-1] * (MAX_TRAINING_POINTS - 1)).astype(int)
    return pd.DataFrame(train[["step", "loss"]].groupby(bins).mean())


# --- what became of the map

READINGS = (
    ("frozen", "the first step's probe", VERMILION),
    ("turned", "… after a rotation", GREEN),
    ("refit", "a new linear probe", BLUE),
    ("mlp", "a new small network", SKY),
)
BANDS = (
    ("lost", "refit", "first", ORANGE),
    ("bent", "turned", "refit", BLUE),
    ("turned", "frozen", "turned", GREEN),
)
"""The parts of the fall: between which two columns of `MapData.fall` each lies; the colour of the line above it."""


def _kind_panels(data: MapData) -> list[dict[str, Any]]:
    skill = [_measure(data, label, f"skill_{key}", hue=hue) for key, label, hue in READINGS]
    km = [_measure(data, label, f"km_{key}", hue=hue) for key, label, hue in READINGS]
    chance = _chance(data, ("untrained model", "km_untrained"))
    bands = _bands(data)
    return [
        _panel(
            "kind",
            "skill",
            "Skill of four readings, and what the fall is made of",
            skill,
            digits=3,
            ceiling=1,
            bands=bands,
        ),
        _panel("kind", "km_readings", "The same in km", km, floor=0, unit=" km", rules=chance),
    ]


def _bands(data: MapData) -> list[dict[str, Any]]:
    """The fall from the first step's skill, cut at the skills of the readings in between."""
    table = data.fall()
    steps = [int(step) for step in table.index]
    return [
        {"label": label, "hue": hue, "steps": steps, "low": numbers(table[low]), "high": numbers(table[high])}
        for label, low, high, hue in BANDS
        if steps
    ]


def _new_panels(data: MapData, virtual: list[str], palette: dict[str, str]) -> list[dict[str, Any]]:
    km, ratio, off, shape = [], [], [_measure(data, "real cities, held out", "off_manifold", hue=BLUE)], []
    for k, name in enumerate(virtual):
        own = {"colour": palette[name]}
        km.append(_measure(data, name, "integration_km", name, **own))
        label = "real regions left out" + (f", for {name}" if len(virtual) > 1 else "")
        km.append(_measure(data, label, "integration_reference_km", name, hue=BLUE, dash=k))
        ratio.append(_measure(data, name, "integration_ratio", name, **own))
        off.append(_measure(data, name, "off_manifold", name, **own))
        shape.append(_measure(data, name, "constellation_disparity", name, **own))
    as_real = [{"label": "as real ones would", "value": 1.0}]
    return [
        _panel("new", "integration", "Error of a probe of real cities alone, mean km", km, floor=0, unit=" km"),
        _panel(
            "new", "ratio", "That error over the one of real regions left out", ratio, digits=2, floor=0, rules=as_real
        ),
        _panel("new", "off", "Outside the real cities' subspace: share of energy", off, digits=3, floor=0),
        _panel("new", "shape", "Shape of the region against the true one: disparity", shape, digits=3, floor=0),
    ]


def _drift_panels(data: MapData) -> list[dict[str, Any]]:
    def by_layer(metric: str) -> list[dict[str, Any] | None]:
        found = [(layer, _measure(data, layer_title(layer), metric, layer=layer)) for layer in data.layers(metric)]
        return [one | _layer_look(layer, data.layer) for layer, one in found if one]

    angles = [
        _measure(data, "largest", "angle_max", hue=VERMILION),
        _measure(data, "mean", "angle_mean", hue=BLUE),
    ]
    kl = [_measure(data, "prompts of real cities", "kl_old", "old", ANSWERS, hue=BLUE)]
    return [
        _panel(
            "drift",
            "cka",
            "Similarity to the first step: CKA (debiased), by block",
            by_layer("cka"),
            digits=3,
            ceiling=1,
        ),
        _panel(
            "drift",
            "procrustes",
            "Procrustes distance from the first step, by block",
            by_layer("procrustes"),
            digits=3,
            floor=0,
        ),
        _panel("drift", "angles", "Principal angles to the first step's subspace", angles, digits=1, floor=0, unit="°"),
        _panel("drift", "kl", "Answers on old prompts: KL from the first step, nats per token", kl, digits=4, floor=0),
    ]


def layer_title(layer: str) -> str:
    return f"block {layer}" if layer.isdigit() else f"blocks {layer.replace('+', ' and ')}"


def _layer_look(layer: str, main: str) -> dict[str, Any]:
    return {"hue": VERMILION} if layer == main else {"colour": BLOCKS[int(layer) % len(BLOCKS)], "thin": True}


def _damage_panels(data: MapData) -> list[dict[str, Any]]:
    moved = [
        _measure(data, "whole way", "moved_km", hue=BLUE),
        _measure(data, "radial", "radial_km", hue=VERMILION),
        _measure(data, "tangential", "tangential_km", hue=GREEN),
    ]
    share = [
        _measure(data, "no direction preferred", "tangential_share_isotropic", faint=True),
        _measure(data, "tangential share", "tangential_share", hue=GREEN),
    ]
    causes = [
        _measure(data, f"with {label}", f"damage_by_{key}", hue=hue)
        for key, label, hue in (
            ("distance", "distance to the new region", BLUE),
            ("population", "population", VERMILION),
            ("digits", "digits of the id", GREEN),
        )
    ]
    zero = [{"label": "no relation", "value": 0.0}]
    return [
        _panel("damage", "moved", "How far a city's predicted place has moved, mean km", moved, floor=0, unit=" km"),
        _panel(
            "damage",
            "share",
            "Tangential share of the squared movement",
            share,
            digits=2,
            floor=0,
            ceiling=1,
        ),
        _panel("damage", "causes", "Rank correlation of a city's damage", causes, digits=2, rules=zero),
    ]
