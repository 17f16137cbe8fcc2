"""The page's curves: panels of series against the step, in sections. What a run has no numbers for is not there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from atlantis.names import REAL
from atlantis.report.map_panels import map_panels
from atlantis.report.run_data import Probe, Run, rows_where
from atlantis.report.series import BLUE, VERMILION, chance, panel, series
from atlantis.report.tables import slice_title

MAX_TRAINING_POINTS = 300

SECTIONS = [
    (
        "map",
        "Curves",
        "Grey straight lines: chance, where it was measured (of R²: one for longitude, one for latitude).",
    ),
    (
        "kind",
        "Lost, bent, turned or shifted?",
        "Skill: 1 is no error, 0 the error of a probe of an untrained model; held-out real cities. The first step's "
        "probe reads a later checkpoint in three ways: as it is; with the mean of the hidden states moved back to "
        "where it was; and with the states turned about that mean as well. A new linear probe and a small network are "
        "fitted at each checkpoint. What moving the mean wins back had shifted. What turning wins back beyond that had "
        "turned. What a new probe wins back beyond that had bent. The rest of the fall is lost to any linear probe.",
    ),
    (
        "new",
        "New cities in the map",
        "A probe fitted on real cities alone reads the new ones. Beside it: its error on real regions left out of the "
        "fit, alike in size and isolation. A ratio of 1: the new cities lie in the map as real ones would, if there "
        "is a map: where nothing is left of it, both errors are chance and the ratio is about 1 too.",
    ),
    ("drift", "Drift from the first step", "How far the hidden states have moved, whatever they say about places."),
    (
        "damage",
        "Where the damage is",
        "First the one vector by which all predictions of the first step's probe moved, the same for every city. Then "
        "what is left once it is taken out: how far each city moved, towards or away from the nearest new region "
        "(radial) and across (tangential), and the rank correlation of its movement with what may explain it. Grey: "
        "the same about places drawn at random, where nothing is.",
    ),
]


def sections() -> list[dict[str, str]]:
    return [{"id": key, "title": title, "note": note} for key, title, note in SECTIONS]


def panels(run: Run, regions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Panels of one run. Several runs share a panel by its `id`; of it they show what is neither faint nor thin."""
    palette = {region["name"]: region["colour"] for region in regions}
    found = [*_map_panels(run, palette), _task_panel(run), _skill_panel(run), _loss_panel(run)]
    if run.map is not None:
        virtual = [region["name"] for region in regions if region["virtual"]]
        found += map_panels(run.map, virtual, palette)
    return [one for one in found if one["series"]]


# --- the map and the answers


def _map_panels(run: Run, palette: dict[str, str]) -> list[dict[str, Any]]:
    probe = run.probes.get("seed") or next(iter(run.probes.values()), None)
    if probe is None:
        return []
    real = probe.group(REAL)
    r2 = [
        series("longitude", real.index, real, "lon_r2", hue=BLUE),
        series("latitude", real.index, real, "lat_r2", hue=VERMILION),
    ]
    km = [series("real cities, held out", real.index, real, "mean_km", hue=BLUE)]
    km += [_region(probe, name, palette[name]) for name in probe.virtual_regions]
    chances = [
        (title, f"{axis}_r2_{kind}")
        for kind, title in (("untrained", "untrained model"), ("permuted", "permuted places"))
        for axis in ("lon", "lat")
    ]
    limits = {"floor": 0, "ceiling": 1, "lowest": -1}
    chance_km = chance(run.map, ("untrained model", "km_untrained"), ("permuted places", "km_permuted"))
    return [
        panel(
            "map",
            "r2",
            "Probe of held-out real cities: R²",
            r2,
            digits=3,
            rules=chance(run.map, *chances),
            **limits,
        ),
        panel("map", "km", "Probe: distance from the true place, mean km", km, floor=0, unit=" km", rules=chance_km),
    ]


def _region(probe: Probe, name: str, colour: str) -> dict[str, Any]:
    rows = probe.group(name)
    return series(name, rows.index, rows, "mean_km", colour=colour)


def _task_panel(run: Run) -> dict[str, Any]:
    found = []
    for hue, name in enumerate(run.slices):
        rows = rows_where(run.task, run.task["slice"] == name)
        found.append(series(slice_title(name, run).replace("-", "–"), rows["step"], rows, "mean_km", hue=hue))
    return panel("map", "task", "Task: error of the answered distance, mean km", found, floor=0, unit=" km")


def _skill_panel(run: Run) -> dict[str, Any]:
    """Of runs with other tasks than distance: what all tasks share."""
    skills = run.skills() if run.other_tasks else {}
    found = [
        series(f"{task}, {slice_title(name, run).replace('-', '–')}", rows["step"], rows, "value", hue=hue)
        for hue, ((task, name), rows) in enumerate(skills.items())
    ]
    title = "Answers: skill, 1 - error / error of the best constant answer"
    return panel("map", "answer_skill", title, found, digits=2)


def _loss_panel(run: Run) -> dict[str, Any]:
    found = [series("validation", run.evaluations["step"], run.evaluations, "loss", hue=BLUE)]
    if len(run.train):
        binned = _binned(run.train)
        found.insert(0, series("training batches", binned["step"], binned, "loss", faint=True))
    return panel("map", "loss", "Loss, nats per token", found, digits=3)


def _binned(train: pd.DataFrame) -> pd.DataFrame:
    """At most `MAX_TRAINING_POINTS` points: means of bins that are even on the chart's axis, log(1 + step)."""
    if len(train) <= MAX_TRAINING_POINTS:
        return train
    place = np.log1p(train["step"].to_numpy(np.float64))
    bins = np.floor(place / place[-1] * (MAX_TRAINING_POINTS - 1)).astype(int)
    return pd.DataFrame(train[["step", "loss"]].groupby(bins).mean())
