"""The page's panels of `analysis/map/`: lost, bent, turned or shifted; new cities; drift; where the damage is."""

from __future__ import annotations

from typing import Any

from atlantis.names import ANSWERS, OLD
from atlantis.report.map_data import MapData
from atlantis.report.series import BLOCKS, BLUE, GREEN, ORANGE, SKY, VERMILION, chance, measure, numbers, panel

READINGS = (
    ("frozen", "the first step's probe", VERMILION, 0),
    ("shifted", "… with the mean moved back", SKY, 0),
    ("turned", "… and turned back", GREEN, 0),
    ("refit", "a new linear probe", BLUE, 0),
    ("mlp", "a new small network", BLUE, 1),
)
"""What is read, what it is called, and the colour and dashes of its line: no fifth colour is told from these by all."""
LOST, BENT = ("lost", "refit", "first", ORANGE), ("bent", "turned", "refit", BLUE)


def bands(data: MapData) -> tuple[tuple[str, str, str, int], ...]:
    """The parts of the fall: between which two columns of `MapData.fall` each lies; the colour of the line above it."""
    if not data.knows_shift:
        return LOST, BENT, ("turned or shifted", "frozen", "turned", GREEN)
    return LOST, BENT, ("turned", "shifted", "turned", GREEN), ("shifted", "frozen", "shifted", SKY)


def map_panels(data: MapData, virtual: list[str], palette: dict[str, str]) -> list[dict[str, Any]]:
    """Every panel; `virtual` are the virtual regions' names, `palette` the colours of all."""
    panels = [*_kind_panels(data), *_new_panels(data, virtual, palette), *_drift_panels(data)]
    return [*panels, *_damage_panels(data)]


def _kind_panels(data: MapData) -> list[dict[str, Any]]:
    skill = [measure(data, label, f"skill_{key}", hue=hue, dash=dash) for key, label, hue, dash in READINGS]
    km = [measure(data, label, f"km_{key}", hue=hue, dash=dash) for key, label, hue, dash in READINGS]
    untrained = chance(data, ("untrained model", "km_untrained"))
    return [
        panel(
            "kind",
            "skill",
            "Skill of each reading, and what the fall is made of",
            skill,
            digits=3,
            ceiling=1,
            bands=_bands(data),
        ),
        panel("kind", "km_readings", "The same in km", km, floor=0, unit=" km", rules=untrained),
    ]


def _bands(data: MapData) -> list[dict[str, Any]]:
    """The fall from the first step's skill, cut at the skills of the readings in between."""
    table = data.fall()
    steps = [int(step) for step in table.index]
    return [
        {"label": label, "hue": hue, "steps": steps, "low": numbers(table[low]), "high": numbers(table[high])}
        for label, low, high, hue in bands(data)
        if steps
    ]


def _new_panels(data: MapData, virtual: list[str], palette: dict[str, str]) -> list[dict[str, Any]]:
    km, ratio, off, shape = [], [], [measure(data, "real cities, held out", "off_manifold", hue=BLUE)], []
    for k, name in enumerate(virtual):
        own = {"colour": palette[name]}
        km.append(measure(data, name, "integration_km", name, **own))
        label = "real regions left out" + (f", for {name}" if len(virtual) > 1 else "")
        km.append(measure(data, label, "integration_reference_km", name, hue=BLUE, dash=k))
        ratio.append(measure(data, name, "integration_ratio", name, **own))
        off.append(measure(data, name, "off_manifold", name, **own))
        shape.append(measure(data, name, "constellation_disparity", name, **own))
    as_real = [{"label": "as real ones would", "value": 1.0}]
    return [
        panel("new", "integration", "Error of a probe of real cities alone, mean km", km, floor=0, unit=" km"),
        panel(
            "new", "ratio", "That error over the one of real regions left out", ratio, digits=2, floor=0, rules=as_real
        ),
        panel("new", "off", "Outside the real cities' subspace: share of energy", off, digits=3, floor=0),
        panel("new", "shape", "Shape of the region against the true one: disparity", shape, digits=3, floor=0),
    ]


def _drift_panels(data: MapData) -> list[dict[str, Any]]:
    def by_layer(metric: str) -> list[dict[str, Any] | None]:
        found = [(layer, measure(data, layer_title(layer), metric, layer=layer)) for layer in data.layers(metric)]
        return [one | _layer_look(layer, data.layer) for layer, one in found if one]

    angles = [
        measure(data, "largest", "angle_max", hue=VERMILION),
        measure(data, "mean", "angle_mean", hue=BLUE),
    ]
    kl = [measure(data, "prompts of real cities", "kl_old", OLD, ANSWERS, hue=BLUE)]
    return [
        panel(
            "drift",
            "cka",
            "Similarity to the first step: CKA (debiased), by block",
            by_layer("cka"),
            digits=3,
            ceiling=1,
        ),
        panel(
            "drift",
            "procrustes",
            "Procrustes distance from the first step, by block",
            by_layer("procrustes"),
            digits=3,
            floor=0,
        ),
        panel("drift", "angles", "Principal angles to the first step's subspace", angles, digits=1, floor=0, unit="°"),
        panel("drift", "kl", "Answers on old prompts: KL from the first step, nats per token", kl, digits=4, floor=0),
    ]


def layer_title(layer: str) -> str:
    return f"block {layer}" if layer.isdigit() else f"blocks {layer.replace('+', ' and ')}"


def _layer_look(layer: str, main: str) -> dict[str, Any]:
    return {"hue": VERMILION} if layer == main else {"colour": BLOCKS[int(layer) % len(BLOCKS)], "thin": True}


def _damage_panels(data: MapData) -> list[dict[str, Any]]:
    moved = [
        measure(data, "whole way", "moved_km", hue=BLUE),
        measure(data, "radial", "radial_km", hue=VERMILION),
        measure(data, "tangential", "tangential_km", hue=GREEN),
    ]
    share = [
        measure(data, "no direction preferred", "tangential_share_isotropic", faint=True),
        measure(data, "tangential share", "tangential_share", hue=GREEN),
    ]
    causes = [
        measure(data, f"with {label}", f"damage_by_{key}", hue=hue)
        for key, label, hue in (
            ("distance", "distance to the new region", BLUE),
            ("population", "population", VERMILION),
            ("digits", "digits of the id", GREEN),
        )
    ]
    causes.insert(0, measure(data, "with distance to any place", "damage_by_distance_anywhere", faint=True))
    shift = [
        measure(data, "length, in radii of the Earth", "shift_length", hue=VERMILION),
        measure(data, "share of the mean squared change", "shift_share", hue=BLUE),
    ]
    zero = [{"label": "no relation", "value": 0.0}]
    # A run that was probed before the shift was told apart has panels of its own: they mean something else.
    key, remark = ("", "") if data.knows_shift else ("_with_shift", ", the shift included")
    return [
        panel("damage", "shift", "What all predictions moved by in common", shift, digits=2, floor=0),
        panel(
            "damage",
            f"moved{key}",
            f"How far a city's predicted place has moved{remark or ' beyond that'}, mean km",
            moved,
            floor=0,
            unit=" km",
        ),
        panel(
            "damage",
            f"share{key}",
            f"Tangential share of the squared movement{remark}",
            share,
            digits=2,
            floor=0,
            ceiling=1,
        ),
        panel("damage", f"causes{key}", f"Rank correlation of a city's movement{remark}", causes, digits=2, rules=zero),
    ]
