"""The page's curves: panels of series against the step, in sections. What a run has no numbers for is not there.

Which metrics there are, their curves' names and units are the catalogue's; this says how panels of several curves are
drawn. A metric that names no panel of these has one of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atlantis.names import REAL
from atlantis.readout.catalogue import METRICS, Metric, suffix
from atlantis.readout.files import rows_where
from atlantis.report.map_panels import bands, map_curves
from atlantis.report.run_data import RunData, load
from atlantis.report.series import BLUE, chance, number, series
from atlantis.report.tables import PAIRS, pair_title
from atlantis.scales import IDENTITY, Scale
from atlantis.world.regions import colours

MAX_TRAINING_POINTS = 300
CHART_COLUMNS = ("run", "step", "curve", "value", "low", "high")

SECTIONS = [
    (
        "map",
        "Curves",
        "Shaded around a curve: its 95 % interval. Grey straight lines: chance, where it was measured (of R²: one for "
        "longitude, one for latitude); what is far outside a chart is named in its legend. Press a chart to move the "
        "maps to that step, and a name in a legend to hide its curve.",
    ),
    (
        "kind",
        "Lost, bent, turned or shifted?",
        "Skill: 1 is no error, 0 the error of a probe of an untrained model; held-out real cities. The first step's "
        "probe reads a later checkpoint in three ways: as it is; with the mean of the hidden states moved back to "
        "where it was; and with the states turned about that mean as well. A new linear probe and a small network are "
        "fitted at each checkpoint, on the unit sphere and in folds: their errors are not those of the study's probe "
        "(degrees) above. The coloured bands are the parts of the fall. What moving the mean wins back had shifted. "
        "What turning wins back beyond that had turned. What a new probe wins back beyond that had bent. The rest of "
        "the fall is lost to any linear probe.",
    ),
    (
        "new",
        "Virtual cities in the map",
        "A probe fitted on real cities alone reads the virtual ones. Beside it: its error on real regions left out of "
        "the fit, alike in size and isolation. A ratio of 1: the virtual cities lie in the map as real ones would, if "
        "there is a map: where nothing is left of it, both errors are chance and the ratio is about 1 too.",
    ),
    ("drift", "Drift from the first step", "How far the hidden states have moved, whatever they say about places."),
    (
        "damage",
        "Where the damage is",
        "First the one vector by which all predictions of the first step's probe moved, the same for every city. Then "
        "what is left once it is taken out: how far each city moved, towards or away from the nearest virtual region "
        "(radial) and across (tangential), and the rank correlation of its movement with what may explain it. Grey: "
        "the same about 500 places drawn at random, where nothing is. Its band holds the middle 95 % of them: a curve "
        "inside it says nothing about the virtual region.",
    ),
]


@dataclass(frozen=True)
class Panel:
    """A panel. rules: metrics of chance, or (label, value); limits: floor, ceiling, lowest of its axis.

    In an analysis that does not tell the shift apart, a panel with {shift} in its title is another one.
    """

    id: str
    title: str
    rules: tuple[str | tuple[str, float], ...] = ()
    floor: float | None = 0
    ceiling: float | None = None
    lowest: float | None = None

    def limits(self) -> dict[str, float]:
        limits = {"floor": self.floor, "ceiling": self.ceiling, "lowest": self.lowest}
        return {key: value for key, value in limits.items() if value is not None}


R2_CHANCE = tuple(f"{axis}_r2_{null}" for null in ("untrained", "permuted") for axis in ("lon", "lat"))
PANELS = [
    Panel("r2", "New probe (degrees): R², real cities held out", R2_CHANCE, floor=None, ceiling=1, lowest=-1),
    Panel("km", "New probe (degrees): mean km from the true place", ("km_untrained", "km_permuted")),
    Panel("task", "Task: error of the answered distance, mean km"),
    Panel("answer_skill", "Answers: skill, 1 - error / error of the best constant answer", floor=None),
    Panel("loss", "Loss, nats per token", floor=None),
    Panel("skill", "Skill, and what its fall is made of", floor=None, ceiling=1),
    Panel("km_readings", "The same in km", ("km_untrained",)),
    Panel("integration", "Error of a probe of real cities alone, mean km"),
    Panel("ratio", "That error over the one of real regions left out", (("as real ones would", 1.0),)),
    Panel("off", "Outside the real cities' subspace: share of energy"),
    Panel("shape", "Shape of the region against the true one: disparity"),
    Panel("cka", "Similarity to the first step: CKA (debiased)", floor=None, ceiling=1),
    Panel("procrustes", "Procrustes distance from the first step, by block"),
    Panel("angles", "Principal angles to the first step's subspace"),
    Panel("kl", "Answers on old prompts: KL, nats per token"),
    Panel("shift", "What all predictions moved by in common"),
    Panel("moved", "Movement of places, {shift}, mean km"),
    Panel("share", "Tangential share of the squared movement, {shift}", ceiling=1),
    Panel("causes", "Rank correlation of a city's movement, {shift}", (("no relation", 0.0),), floor=None),
]


PARTS_OF_FALL = [METRICS[name] for name in ("shifted", "turned", "bent", "lost")]


def explained(metrics: Sequence[Metric]) -> list[dict[str, str]]:
    """What the catalogue says of each: its name, its definition, how to read a value of it."""
    return [
        {
            "name": metric.curve or metric.title,
            "what": metric.what.replace("`", ""),
            "reading": metric.reading.replace("`", ""),
        }
        for metric in metrics
        if metric.what
    ]


def sections() -> list[dict[str, str]]:
    return [{"id": key, "title": title, "note": note} for key, title, note in SECTIONS]


def regions_of(run: RunData) -> list[dict[str, Any]]:
    """Real regions by size, then virtual ones, in any of the run's probes."""
    real = list(dict.fromkeys(name for probe in run.probes.values() for name in probe.real_regions))
    virtual = list(dict.fromkeys(name for probe in run.probes.values() for name in probe.virtual_regions))
    palette = colours([*real, *virtual])
    return [{"name": name, "colour": palette[name], "virtual": name in virtual} for name in [*real, *virtual]]


def panels(
    run: RunData, regions: list[dict[str, Any]], protocol: str = "degrees", only: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Panels of one run. Several runs share a panel by its `id`; of it they show what is neither faint nor thin.

    `only`: ids of those that are wanted.
    """
    palette = {region["name"]: region["colour"] for region in regions}
    virtual = [region["name"] for region in regions if region["virtual"]]
    drawn = [
        _drawn(run, panel, metrics, virtual, palette, protocol)
        for panel, metrics in _panels()
        if only is None or panel.id in only or with_shift(panel.id) in only
    ]
    order = [key for key, _, _ in SECTIONS]
    filled = [panel for panel in drawn if panel["series"]]
    return sorted(filled, key=lambda panel: order.index(panel["section"]))


def panel_rows(runs: RunData | Path | str | Sequence[RunData | Path | str], panel: str) -> pd.DataFrame:
    """What a chart of the page shows, a row per run, step and curve: run, step, curve, value, low, high.

    `panel` is its id: "r2", "km", "skill". No rows for a chart that no run has.
    """
    rows: list[dict[str, Any]] = []
    for given in [runs] if isinstance(runs, RunData | Path | str) else runs:
        run = given if isinstance(given, RunData) else load(given)
        drawn = next((one for one in panels(run, regions_of(run), only=(panel,)) if one["id"] == panel), {"series": []})
        for curve in drawn["series"]:
            absent = [None] * len(curve["steps"])
            values = zip(
                curve["steps"], curve["values"], curve.get("low", absent), curve.get("high", absent), strict=True
            )
            for step, value, low, high in values:
                rows.append(dict(zip(CHART_COLUMNS, (run.name, step, curve["label"], value, low, high), strict=True)))
    return pd.DataFrame(rows, columns=list(CHART_COLUMNS)).astype(dict.fromkeys(("value", "low", "high"), float))


def panel_scale(panel: str, curve: str = "") -> Scale:
    """On which intervals of a panel's curve are made: its metric's, or, by no metric's name, the one that all share."""
    metrics = next((found for drawn, found in _panels() if panel in (drawn.id, with_shift(drawn.id))), [])
    scales = {metric.scale for metric in [m for m in metrics if m.curve == curve] or metrics}
    return next(iter(scales)) or IDENTITY if len(scales) == 1 else IDENTITY


def with_shift(panel: str) -> str:
    """The id of the panel of a run whose analysis did not tell the shift from the rest."""
    return f"{panel}_with_shift"


def _panels() -> Iterator[tuple[Panel, list[Metric]]]:
    """Every panel with its metrics."""
    members: dict[str, list[Metric]] = {panel.id: [] for panel in PANELS}
    shown = {key for key, _, _ in SECTIONS}
    for metric in METRICS.values():
        if metric.panel is not None and metric.section in shown:
            members.setdefault(metric.panel or metric.name, []).append(metric)
    by_id = {panel.id: panel for panel in PANELS}
    for name, metrics in members.items():
        unit = f", {metrics[0].unit}" if metrics and metrics[0].unit else ""
        yield by_id.get(name) or Panel(name, metrics[0].title + unit, floor=None), metrics


def _drawn(
    run: RunData, panel: Panel, metrics: list[Metric], virtual: list[str], palette: dict[str, str], protocol: str
) -> dict[str, Any]:
    curves = [*_probe_curves(run, metrics, palette, protocol), *_recorded_curves(run, panel.id)]
    if run.map is not None and not curves:
        curves = map_curves(run.map, metrics, virtual, palette)
    curves = [curve for curve in curves if any(value is not None for value in curve["values"])]
    knows_shift = run.map is None or run.map.knows_shift
    older = "{shift}" in panel.title and not knows_shift
    units = {metric.unit for metric in metrics}
    drawn = {
        "section": metrics[0].section,
        "id": with_shift(panel.id) if older else panel.id,
        "title": panel.title.format(shift="beyond the shift" if knows_shift else "the shift included"),
        "series": curves,
        "digits": min(metric.digits for metric in metrics),
        **panel.limits(),
    }
    if len(units) == 1 and units != {""}:
        drawn["unit"] = suffix(*units)
    if rules := _rules(run, panel):
        drawn["rules"] = rules
    words = explained(metrics if panel.id != "skill" else [*metrics, *PARTS_OF_FALL])
    slices = {"task": run.slices, "answer_skill": list(run.scores["slice"])}.get(panel.id, ())
    words += [{"name": pair_title(s, run), "what": PAIRS[s], "reading": ""} for s in PAIRS if s in slices]
    if words:
        drawn["words"] = words
    if panel.id == "skill" and run.map is not None:
        drawn["bands"] = bands(run.map)
    return drawn


def _rules(run: RunData, panel: Panel) -> list[dict[str, Any]]:
    named = [(METRICS[rule].curve, rule) for rule in panel.rules if isinstance(rule, str)]
    fixed = [{"label": rule[0], "value": number(rule[1])} for rule in panel.rules if isinstance(rule, tuple)]
    return [*chance(run.map, *named), *fixed]


def _probe_curves(run: RunData, metrics: list[Metric], palette: dict[str, str], protocol: str) -> list[dict[str, Any]]:
    """The scores of a linear probe: of the real cities and, if one score alone is shown, of each virtual region."""
    probe = run.probes.get(protocol) or next(iter(run.probes.values()), None)
    if probe is None:
        return []
    curves, real = [], probe.group(REAL)
    scores = [metric for metric in metrics if metric.name in probe.dynamics]
    for hue, metric in enumerate(scores):
        curves.append(series(metric.curve or "real cities, held out", real.index, real, metric.name, hue=hue))
        for name in probe.virtual_regions if len(scores) == 1 else ():
            rows = probe.group(name)
            curves.append(series(name, rows.index, rows, metric.name, colour=palette[name]))
    return curves


def _recorded_curves(run: RunData, panel: str) -> list[dict[str, Any]]:
    """What was recorded while training: the answers' errors by slice, and the loss."""
    if panel == "loss":
        return _loss_curves(run)
    if panel == "answer_skill":
        return _skill_curves(run)
    curves = []
    for hue, name in enumerate(run.slices if panel == "task" else ()):
        rows = rows_where(run.task, run.task["slice"] == name)
        curves.append(series(pair_title(name, run), rows["step"], rows, "mean_km", hue=hue))
    return curves


def _skill_curves(run: RunData) -> list[dict[str, Any]]:
    """Of runs with other tasks than distance: what all tasks share."""
    skills = run.skills() if run.other_tasks else {}
    return [
        series(f"{task}, {pair_title(name, run)}", rows["step"], rows, "value", hue=hue)
        for hue, ((task, name), rows) in enumerate(skills.items())
    ]


def _loss_curves(run: RunData) -> list[dict[str, Any]]:
    curves = [series("validation", run.evaluations["step"], run.evaluations, "loss", hue=BLUE)]
    if len(run.train):
        binned = _binned(run.train)
        curves.insert(0, series("training batches", binned["step"], binned, "loss", faint=True))
    return curves


def _binned(train: pd.DataFrame) -> pd.DataFrame:
    """At most `MAX_TRAINING_POINTS` points: means of bins that are even on the chart's axis, log(1 + step)."""
    if len(train) <= MAX_TRAINING_POINTS:
        return train
    place = np.log1p(train["step"].to_numpy(np.float64))
    bins = np.floor(place / place[-1] * (MAX_TRAINING_POINTS - 1)).astype(int)
    return pd.DataFrame(train[["step", "loss"]].groupby(bins).mean())
