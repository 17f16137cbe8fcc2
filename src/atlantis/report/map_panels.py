"""The curves of `analysis/map/`: of real cities, of new regions, or block by block; and the parts of the fall."""

from __future__ import annotations

from typing import Any

from atlantis.names import ANSWERS, REAL
from atlantis.readout.catalogue import Metric
from atlantis.report.map_data import MapData
from atlantis.report.series import BLUE, GREEN, ORANGE, SKY, VERMILION, block_colour, measure, numbers

LOST, BENT = ("lost", "refit", "first", ORANGE), ("bent", "turned", "refit", BLUE)


def parts_of_fall(data: MapData) -> tuple[tuple[str, str, str, int], ...]:
    """Between which two columns of `MapData.fall` each part lies, and the colour of the line above it."""
    if not data.knows_shift:
        return LOST, BENT, ("turned or shifted", "frozen", "turned", GREEN)
    return LOST, BENT, ("turned", "shifted", "turned", GREEN), ("shifted", "frozen", "shifted", SKY)


def bands(data: MapData) -> list[dict[str, Any]]:
    """The fall from the first step's skill, cut at the skills of the readings in between."""
    table = data.fall()
    steps = [int(step) for step in table.index]
    return [
        {"label": label, "hue": hue, "steps": steps, "low": numbers(table[low]), "high": numbers(table[high])}
        for label, low, high, hue in parts_of_fall(data)
        if steps
    ]


def map_curves(
    data: MapData, metrics: list[Metric], virtual: list[str], palette: dict[str, str]
) -> list[dict[str, Any]]:
    """One panel's curves. `virtual` are the virtual regions' names, `palette` the colours of all.

    A metric of several layers, alone in its panel, has a curve for each; one of real cities has theirs, and, among the
    new cities' metrics, those of every virtual region; one that real cities lack, those of the groups that have it.
    """
    curves: list[dict[str, Any] | None] = []
    shown = [metric for metric in metrics if not metric.background]
    for metric in metrics:
        look: dict[str, Any] = {"hue": shown.index(metric) if metric in shown else 0} | _look(metric)
        layers, groups = data.layers(metric.name), data.groups(metric.name)
        if len(metrics) == 1 and len(layers) > 1:
            n_blocks = 1 + max((int(layer) for layer in layers if layer.isdigit()), default=0)
            for layer in layers:
                curve = measure(data, layer_title(layer), metric.name, layer=layer)
                curves.append(curve and curve | _layer_look(layer, data.layer, n_blocks))
            continue
        layer = ANSWERS if layers == [ANSWERS] else None
        if REAL in groups:
            label = metric.curve or ("real cities, held out" if metric.section == "new" else metric.title)
            curves.append(measure(data, label, metric.name, layer=layer, **look))
        if metric.section != "new" and REAL in groups:
            continue
        regions = [name for name in virtual if name in groups]
        for k, name in enumerate(regions):
            label = metric.curve + (f", for {name}" if len(virtual) > 1 else "") if metric.curve else name
            look |= {"dash": k} if metric.curve else {"colour": palette[name]}
            curves.append(measure(data, label, metric.name, name, layer, **look))
        for name in groups if not (regions or REAL in groups) else ():
            curves.append(measure(data, metric.curve or name, metric.name, name, layer, **look))
    ours = [curve for curve in curves if curve]
    return sorted(ours, key=lambda curve: not curve.get("faint", False))  # what is behind the others is drawn first


def _look(metric: Metric) -> dict[str, Any]:
    if metric.background:
        return {"faint": True}
    return ({} if metric.hue is None else {"hue": metric.hue}) | ({"dash": metric.dash} if metric.dash else {})


def layer_title(layer: str) -> str:
    return f"block {layer}" if layer.isdigit() else f"blocks {layer.replace('+', ' and ')}"


def _layer_look(layer: str, main: str, n_blocks: int) -> dict[str, Any]:
    return {"hue": VERMILION} if layer == main else {"colour": block_colour(int(layer), n_blocks), "thin": True}
