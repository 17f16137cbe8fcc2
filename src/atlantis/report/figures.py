"""Pictures of a run for papers and for a README: curves, what became of the map, the map before, after and in motion.

Drawn without a window (Agg) and without dates, so that the same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atlantis.artifacts import write_bytes
from atlantis.report.maps import evolution_gif, map_figure
from atlantis.report.panels import panels, regions_of
from atlantis.report.run_data import RunData, load
from atlantis.report.style import LINES, MUTED, from_zero, literal, new_figure, rendered, step_axis, style


def write_figures(run: RunData | Path | str, out: Path | str | None = None, protocol: str = "degrees") -> list[Path]:
    """Write what `pictures` draws to `out`, by default the run's `report/figures/`; returns the paths.

    Raises `UserError` if the run has not been probed.
    """
    run = run if isinstance(run, RunData) else load(run)
    out = run.path / "report" / "figures" if out is None else Path(out)
    drawn = pictures(run, protocol)
    for name, data in drawn.items():
        write_bytes(out / name, data)
    return [out / name for name in drawn]


def pictures(run: RunData, protocol: str = "degrees") -> dict[str, bytes]:
    """dynamics, forgetting (if it was measured) and map_final as .png and .svg, evolution.gif: the files' bytes.

    The animation has the first step's probe beside a new one, as the page begins, where the run has both.
    """
    probe = run.probe(protocol)
    figures = {"dynamics": dynamics_figure(run, protocol)}
    if run.map is not None and len(run.map.measures):
        figures["forgetting"] = forgetting_figure(run)
    figures["map_final"] = map_figure(run, protocol)
    drawn = {f"{name}.{suffix}": rendered(one, suffix) for name, one in figures.items() for suffix in ("png", "svg")}
    beside = [run.probes[name] for name in ("frozen", "sphere") if name in run.probes]
    return drawn | {"evolution.gif": evolution_gif(beside if len(beside) == 2 else [probe])}


# --- curves


def dynamics_figure(run: RunData | Path | str, protocol: str = "degrees") -> Figure:
    """Four panels against the step: R2 of longitude and latitude, km of the probe, task error by slice, loss."""
    run = run if isinstance(run, RunData) else load(run)
    run.probe(protocol)
    answers = "task" if run.slices or not run.other_tasks else "answer_skill"
    return _figure(literal(run.name), (11, 7.2), (2, 2), _panels(run, ("r2", "km", answers, "loss"), protocol))


def forgetting_figure(run: RunData) -> Figure:
    """Six panels against the step: skill and the parts of its fall, km, new cities, CKA, KL, where the damage is."""
    moved = "moved" if run.map is None or run.map.knows_shift else "moved_with_shift"
    chosen = _panels(run, ("skill", "km_readings", "integration", "cka", "kl", moved))
    return _figure(f"What became of the map: {literal(run.name)}", (14.5, 7.4), (2, 3), chosen)


def _panels(run: RunData, ids: Sequence[str], protocol: str = "degrees") -> list[dict[str, Any] | None]:
    """Those of the page, by id; None for one that the run has no numbers for."""
    by_id = {panel["id"]: panel for panel in panels(run, regions_of(run), protocol, only=ids)}
    return [by_id.get(name) for name in ids]


def _figure(
    title: str, size: tuple[float, float], shape: tuple[int, int], chosen: Sequence[dict[str, Any] | None]
) -> Figure:
    with style():
        figure = new_figure(title, size)
        for ax, panel in zip(figure.subplots(*shape).ravel(), chosen, strict=True):
            if panel is None:
                ax.set_axis_off()
            else:
                _draw(ax, panel)
    return figure


def _draw(ax: Axes, panel: dict[str, Any]) -> None:
    """One of the page's panels: curves with their intervals, the bands between them, and lines of chance."""
    for curve in panel["series"]:
        _draw_curve(ax, curve)
    for band in panel.get("bands", ()):
        low, high = (np.array(band[key], dtype=np.float64) for key in ("low", "high"))
        ax.fill_between(band["steps"], low, high, alpha=0.3, lw=0, color=LINES[band["hue"]], label=band["label"])
    _draw_chance(ax, panel)
    _limit(ax, panel)
    ax.set_title(panel["title"])
    step_axis(ax)
    if labels := ax.get_legend_handles_labels()[1]:
        ax.legend(loc="best", fontsize=8 if len(labels) > 5 else None)


def _draw_chance(ax: Axes, panel: dict[str, Any]) -> None:
    """A line for each rule, with a label for each kind, which has the values of those too far below the curves."""
    rules: dict[str, list[float]] = {}
    for rule in panel.get("rules", ()):
        rules.setdefault(rule["label"], []).append(rule["value"])
    bottom = _bottom(panel)
    for (label, values), ls in zip(rules.items(), (":", "-.") * len(rules), strict=False):
        beyond = [f"{value:.2f}" for value in values if value < bottom]
        text = f"{label}: {', '.join(beyond)}, below" if beyond else label
        for k, value in enumerate(values):
            ax.axhline(value, color=MUTED, lw=1, ls=ls, label="" if k else literal(text))


def _bottom(panel: dict[str, Any]) -> float:
    """Where the axis of a panel begins that is not to be flattened by chance; of another, nowhere in particular."""
    if "lowest" not in panel:
        return -np.inf
    values = [v for curve in panel["series"] for v in (*curve["values"], *curve.get("low", ())) if v is not None]
    low = max(min(values), panel["lowest"])
    return low - 0.05 * (panel["ceiling"] - low)


def _draw_curve(ax: Axes, curve: dict[str, Any]) -> None:
    region = "colour" in curve and not curve.get("thin")
    look: dict[str, Any] = {"marker": "*" if region else "o", "ms": 8 if region else 4}
    look |= {"lw": 1, "ms": 2.5} if curve.get("thin") else {}
    look |= {"lw": 1, "marker": "", "alpha": 0.7} if curve.get("faint") else {}
    hue = LINES[curve.get("hue", 0) % len(LINES)]
    colour = MUTED if curve.get("faint") else curve.get("colour", hue)
    values = np.array(curve["values"], dtype=np.float64)  # what is absent is no number
    ls = ("-", "--", ":", "-.")[curve.get("dash", 0) % 4]
    ax.plot(curve["steps"], values, label=literal(curve["label"]), color=colour, ls=ls, **look)
    if "low" in curve:
        low, high = (np.array(curve[key], dtype=np.float64) for key in ("low", "high"))
        ax.fill_between(curve["steps"], low, high, alpha=0.15, lw=0, color=colour)


def _limit(ax: Axes, panel: dict[str, Any]) -> None:
    """The axis of values: from the floor or what lies below it, but for what is too low to be worth the room."""
    floor = panel.get("floor")
    if panel["digits"] == 0:
        from_zero(ax)
    elif np.isfinite(bottom := _bottom(panel)):
        ax.set_ylim(bottom, panel["ceiling"] + 0.05 * (panel["ceiling"] - bottom))
    elif floor is not None and ax.dataLim.y0 >= floor:
        ax.set_ylim(bottom=floor)
