"""Runs that differ in their seed alone: which they are, and the mean of their curves with its interval over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from atlantis.report.panels import panel_scale, panels, regions_of
from atlantis.report.run_data import RunData
from atlantis.report.series import number
from atlantis.report.setups import Setup, same_setup, setup_of
from atlantis.scales import Scale
from atlantis.statistics import seed_interval


def seed_groups(runs: Sequence[RunData]) -> list[list[RunData]]:
    """The runs in the order given; together those of one setup (`setups.same_setup`) that have seeds of their own."""
    groups: list[list[tuple[RunData, Setup]]] = []
    for run in runs:
        setup = setup_of(run)
        same = next((group for group in groups if _differ_in_seed_alone(group, run, setup)), None)
        groups.append([(run, setup)]) if same is None else same.append((run, setup))
    return [[run for run, _ in group] for group in groups]


def _differ_in_seed_alone(group: Sequence[tuple[RunData, Setup]], run: RunData, setup: Setup) -> bool:
    seeds = [other.about.get("seeds") for other, _ in group]
    if not setup.settings or run.about.get("seeds") in seeds:
        return False
    return all(same_setup(other, setup) for _, other in group)


def mean_panels(runs: Sequence[RunData]) -> dict[str, Any] | None:
    """n and panels, as those of one run, of the runs' mean; None unless they are all seeds of one setup.

    A curve has the steps that all runs have; its interval is over seeds, on the metric's scale, from three seeds on.
    """
    if len(runs) < 2 or len(seed_groups(runs)) > 1:
        return None
    of_runs = [{panel["id"]: panel for panel in panels(run, regions_of(run))} for run in runs]
    shared = [panel for panel in of_runs[0].values() if all(panel["id"] in other for other in of_runs)]
    means = []
    for panel in shared:
        same = [of_run[panel["id"]] for of_run in of_runs]
        curves = [_mean_curve(curve, same, panel_scale(panel["id"], curve["label"])) for curve in panel["series"]]
        means.append(panel | {"series": [curve for curve in curves if curve], "bands": []})
    return {"n": len(runs), "panels": [panel for panel in means if panel["series"]]}


def _mean_curve(curve: dict[str, Any], same: Sequence[dict[str, Any]], scale: Scale) -> dict[str, Any] | None:
    """The mean of the panels' curves of this name; None where one lacks it, or for the training batches."""
    found = [next((one for one in panel["series"] if one["label"] == curve["label"]), None) for panel in same]
    curves = [one for one in found if one is not None]
    if len(curves) < len(same) or curve.get("faint"):
        return None
    by_step = [dict(zip(one["steps"], one["values"], strict=True)) for one in curves]
    steps = [step for step in curve["steps"] if all(values.get(step) is not None for values in by_step)]
    columns = [[values[step] for values in by_step] for step in steps]
    around = [seed_interval(values, scale) for values in columns]
    look = {key: value for key, value in curve.items() if key not in ("low", "high")}
    mean = look | {"steps": steps, "values": [number(fmean(values)) for values in columns]}
    if any(interval.exists for interval in around):
        mean |= {"low": [number(a.low) for a in around], "high": [number(a.high) for a in around]}
    return mean
