"""Pictures of a run for papers and for a README: curves, what became of the map, the map before, after and in motion.

Drawn without a window (Agg) and without dates, so that the same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atlantis.artifacts import write_bytes
from atlantis.names import ANSWERS, OLD, REAL
from atlantis.report.map_data import MapData
from atlantis.report.map_panels import READINGS, bands, layer_title
from atlantis.report.maps import evolution_gif, map_figure
from atlantis.report.run_data import Probe, Run, load, rows_where
from atlantis.report.series import BLOCKS
from atlantis.report.style import LINES, MUTED, from_zero, literal, new_figure, rendered, step_axis, style
from atlantis.report.tables import slice_title
from atlantis.world.regions import colours


def write_figures(run: Run | Path | str, out: Path | None = None, protocol: str = "seed") -> list[Path]:
    """Write what `pictures` draws to `out`, by default the run's `report/figures/`; returns the paths.

    Raises `UserError` if the run has not been probed.
    """
    run = run if isinstance(run, Run) else load(run)
    out = out or run.path / "report" / "figures"
    drawn = pictures(run, protocol)
    for name, data in drawn.items():
        write_bytes(out / name, data)
    return [out / name for name in drawn]


def pictures(run: Run, protocol: str = "seed") -> dict[str, bytes]:
    """dynamics, forgetting (if it was measured) and map_final as .png and .svg, evolution.gif: the files' bytes."""
    probe = run.probe(protocol)
    figures = {"dynamics": dynamics_figure(run, protocol)}
    if run.map is not None and len(run.map.measures):
        figures["forgetting"] = forgetting_figure(run, run.map)
    figures["map_final"] = map_figure(run, protocol)
    drawn = {f"{name}.{suffix}": rendered(one, suffix) for name, one in figures.items() for suffix in ("png", "svg")}
    return drawn | {"evolution.gif": evolution_gif(probe)}


# --- curves


def dynamics_figure(run: Run | Path | str, protocol: str = "seed") -> Figure:
    """Four panels against the step: R2 of longitude and latitude, km of the probe, task error by slice, loss."""
    run = run if isinstance(run, Run) else load(run)
    probe = run.probe(protocol)
    with style():
        figure = new_figure(literal(run.name), (11, 7.2))
        (r2, km), (task, loss) = figure.subplots(2, 2)
        _draw_r2(r2, probe, run.map)
        _draw_km(km, probe, run.map)
        _draw_task(task, run)
        _draw_loss(loss, run)
        for ax in (r2, km, task, loss):
            step_axis(ax)
    return figure


def _draw_r2(ax: Axes, probe: Probe, data: MapData | None) -> None:
    real = probe.group(REAL)
    ax.plot(real.index, real["lon_r2"], marker="o", ms=4, color=LINES[0], label="longitude")
    ax.plot(real.index, real["lat_r2"], marker="s", ms=4, color=LINES[1], label="latitude")
    if data:
        for axis, untrained, permuted in (("lon", "untrained model", "permuted places"), ("lat", "", "")):
            _chance(ax, data, f"{axis}_r2_untrained", untrained)
            _chance(ax, data, f"{axis}_r2_permuted", permuted, ls="-.")
    low = min(float(np.nanmin([0.0, *np.asarray(line.get_ydata())])) for line in ax.lines)
    ax.set_ylim(max(low - 0.05, -1.0), 1.02)
    ax.set_title("Probe of held-out real cities: R²")
    ax.legend(loc="best")


def _draw_km(ax: Axes, probe: Probe, data: MapData | None) -> None:
    groups, palette = [REAL, *probe.virtual_regions], colours(probe.virtual_regions)
    for k, name in enumerate(groups):
        rows = probe.group(name)
        if rows.empty:
            continue
        colour = LINES[0] if k == 0 else palette[name]
        ax.plot(
            rows.index,
            rows["mean_km"],
            marker="o" if k == 0 else "*",
            ms=4 if k == 0 else 8,
            color=colour,
            label="real cities, held out" if k == 0 else literal(name),
        )
        if {"mean_km_low", "mean_km_high"} <= set(rows.columns):
            ax.fill_between(rows.index, rows["mean_km_low"], rows["mean_km_high"], alpha=0.15, lw=0, color=colour)
    if data:
        _chance(ax, data, "km_untrained", "untrained model")
        _chance(ax, data, "km_permuted", "permuted places", ls="-.")
    from_zero(ax)
    ax.set_title("Probe: distance from the true place, mean km")
    ax.legend(loc="best")


def _draw_task(ax: Axes, run: Run) -> None:
    for k, name in enumerate(run.slices):
        rows = rows_where(run.task, run.task["slice"] == name)
        label = literal(slice_title(name, run).replace("-", "–"))
        ax.plot(rows["step"], rows["mean_km"], ms=4, marker="os^D"[k % 4], color=LINES[k % len(LINES)], label=label)
    if not run.slices and run.other_tasks:
        _draw_skills(ax, run)
        return
    from_zero(ax)
    ax.set_title("Task: error of the answered distance, mean km")
    if run.slices:
        ax.legend(loc="best")


def _draw_skills(ax: Axes, run: Run) -> None:
    for k, ((task, name), rows) in enumerate(run.skills().items()):
        label = literal(f"{task}, {slice_title(name, run).replace('-', '–')}")
        ax.plot(rows["step"], rows["value"], ms=4, marker="os^D"[k % 4], color=LINES[k % len(LINES)], label=label)
    ax.set_title("Answers: 1 - error / error of the best constant answer")
    ax.legend(loc="best")


def _draw_loss(ax: Axes, run: Run) -> None:
    training = run.train.dropna(subset=["loss"])
    if len(training):
        ax.plot(training["step"], training["loss"], lw=1, color=MUTED, alpha=0.7, label="training batches")
    evaluated = run.evaluations.dropna(subset=["loss"])
    ax.plot(evaluated["step"], evaluated["loss"], marker="o", ms=4, color=LINES[0], label="validation")
    ax.set_title("Loss, nats per token")
    ax.legend(loc="best")


# --- what became of the map


def forgetting_figure(run: Run, data: MapData) -> Figure:
    """Six panels against the step: skill and the parts of its fall, km, new cities, CKA, KL, where the damage is."""
    with style():
        figure = new_figure(f"What became of the map: {literal(run.name)}", (14.5, 7.4))
        panels = figure.subplots(2, 3).ravel()
        draw = (_draw_skill, _draw_readings_km, _draw_new, _draw_cka, _draw_kl, _draw_damage)
        for ax, one in zip(panels, draw, strict=True):
            one(ax, data)
            if not ax.has_data():
                ax.set_axis_off()
                continue
            step_axis(ax)
            if ax.get_legend_handles_labels()[0]:
                ax.legend(loc="best", fontsize=8)
    return figure


def _line(ax: Axes, rows: pd.DataFrame, label: str, colour: str, **look: Any) -> None:
    value, low, high = (rows[name].to_numpy(np.float64) for name in ("value", "low", "high"))
    if np.isfinite(value).any():
        ax.plot(rows.index, value, label=literal(label), color=colour, **({"marker": "o", "ms": 4} | look))
        ax.fill_between(rows.index, low, high, alpha=0.15, lw=0, color=colour)


def _draw_skill(ax: Axes, data: MapData) -> None:
    for key, label, hue, dash in READINGS:
        _line(ax, data.rows(f"skill_{key}"), label, LINES[hue], ls="--" if dash else "-")
    fall = data.fall()
    for label, low, high, hue in bands(data) if len(fall) else ():
        ax.fill_between(fall.index, fall[low], fall[high], alpha=0.3, lw=0, color=LINES[hue], label=label)
    ax.set_title("Skill, and what its fall is made of")


def _draw_readings_km(ax: Axes, data: MapData) -> None:
    for key, label, hue, dash in READINGS:
        _line(ax, data.rows(f"km_{key}"), label, LINES[hue], ls="--" if dash else "-")
    if ax.has_data():
        _chance(ax, data, "km_untrained", "untrained model")
        from_zero(ax)
    ax.set_title("The same in mean km")


def _virtual(data: MapData, metric: str) -> Iterator[tuple[int, str, pd.DataFrame]]:
    groups = data.measures.loc[data.measures["metric"] == metric, "group"].unique()
    for k, group in enumerate(name for name in groups if name != REAL):
        yield k, str(group), data.rows(metric, str(group))


def _draw_new(ax: Axes, data: MapData) -> None:
    palette = colours([name for _, name, _ in _virtual(data, "integration_km")])
    for k, name, rows in _virtual(data, "integration_km"):
        _line(ax, rows, name, palette[name], marker="*", ms=8)
        label = "real regions left out" if k == 0 else ""
        _line(ax, data.rows("integration_reference_km", name), label, LINES[0], ls="--" if k else "-")
    if ax.has_data():
        from_zero(ax)
    ax.set_title("Error of a probe of real cities alone, mean km")


def _draw_cka(ax: Axes, data: MapData) -> None:
    for k, layer in enumerate(layer for layer in data.layers("cka") if layer != data.layer):
        _line(ax, data.rows("cka", layer=layer), layer_title(layer), BLOCKS[k % len(BLOCKS)], lw=1, ms=2.5)
    _line(ax, data.rows("cka"), layer_title(data.layer), LINES[1], lw=2.2)
    ax.set_title("Similarity to the first step: debiased CKA")


def _draw_kl(ax: Axes, data: MapData) -> None:
    _line(ax, data.rows("kl_old", OLD, ANSWERS), "", LINES[0])
    if ax.has_data():
        ax.set_ylim(bottom=0)
    ax.set_title("Answers on old prompts: KL, nats per token")


def _draw_damage(ax: Axes, data: MapData) -> None:
    for metric, label, hue in (("moved", "whole way", 0), ("radial", "radial", 1), ("tangential", "tangential", 2)):
        _line(ax, data.rows(f"{metric}_km"), label, LINES[hue])
    if ax.has_data():
        from_zero(ax)
    remark = "beyond the shift" if data.knows_shift else "the shift included"
    ax.set_title(f"Movement of places, {remark}, km")


def _chance(ax: Axes, data: MapData, metric: str, label: str, ls: str = ":") -> None:
    if (value := data.once(metric)) is not None:
        ax.axhline(value, color=MUTED, lw=1, ls=ls, label=label)
