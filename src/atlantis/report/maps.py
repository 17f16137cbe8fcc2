"""The map of a run as pictures: before and after, and in motion.

- Only cities that the probe was not fitted on are drawn: an in-sample map looks good even at chance.
- Each predicted place keeps its city's colour, that of the true region; grey dots are the true places.
- Longitudes are wrapped and latitudes limited to the globe, since a ridge regression on degrees may leave it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from PIL import Image

from atlantis.errors import UserError
from atlantis.names import REAL
from atlantis.readout.catalogue import METRICS
from atlantis.readout.files import rows_where
from atlantis.report.probe_data import Probe
from atlantis.report.run_data import RunData, load
from atlantis.report.style import COAST, INK, LAND, MUTED, SEA, TRUE, literal, new_figure, style
from atlantis.report.tables import cell
from atlantis.sphere import wrap_longitude
from atlantis.world.coastlines import coastlines, land
from atlantis.world.regions import colours

SHORT_TITLES = {"frozen": "the first step's probe", "sphere": "a new probe of each step"}


def map_figure(run: RunData | Path | str, protocol: str = "degrees") -> Figure:
    """Two world maps, the first probed step beside the last: where the probe sees each city."""
    run = run if isinstance(run, RunData) else load(run)
    probe = run.probe(protocol)
    steps = sorted({probe.steps[0], probe.steps[-1]})
    with style():
        shown = _positions(probe)
        south, north = _latitudes(shown)
        title = f"Where the probe sees each city: {literal(run.name)}"
        figure = new_figure(title, (8 * len(steps), 8 * (north - south) / 360 + 1.3))
        panels = figure.subplots(1, len(steps), squeeze=False)[0]
        for ax, step in zip(panels, steps, strict=True):
            _draw_world(ax, shown)
            _draw_cities(ax, rows_where(shown, shown["step"] == step), probe)
            ax.set_title(_step_title(probe, step))
        handles = _legend(probe)
        columns = -(-len(handles) // (4 - len(steps)))  # rows of equal length: two under two panels, three under one
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9, handletextpad=0.2)
    return figure


def _positions(probe: Probe) -> pd.DataFrame:
    """The predictions to draw, on the globe, without those that are not finite."""
    shown = probe.shown().copy()
    shown["pred_lon"] = wrap_longitude(shown["pred_lon"].to_numpy())
    shown["pred_lat"] = shown["pred_lat"].clip(-90, 90)
    shown = rows_where(shown, np.isfinite(shown["pred_lon"]) & np.isfinite(shown["pred_lat"]))
    if shown.empty:
        raise UserError(f"analysis/{probe.protocol}/predictions.parquet: no finite prediction to draw")
    return shown


def _draw_world(ax: Axes, shown: pd.DataFrame) -> None:
    vertices = np.concatenate([np.column_stack(ring) for ring in land()])
    codes = np.concatenate([[Outline.MOVETO] + [Outline.LINETO] * (len(lon) - 1) for lon, _ in land()])
    ax.add_patch(PathPatch(Outline(vertices, codes), facecolor=LAND, linewidth=0))
    lines = [np.column_stack(line) for line in coastlines()]
    ax.add_collection(LineCollection(lines, colors=COAST, linewidths=0.5), autolim=False)
    ax.set(xlim=(-180, 180), ylim=_latitudes(shown), facecolor=SEA, xticks=[], yticks=[])
    ax.set_aspect("equal")
    ax.grid(False)
    ax.spines[["left", "bottom", "top", "right"]].set(visible=True, color=COAST, linewidth=0.5)


def _latitudes(shown: pd.DataFrame) -> tuple[float, float]:
    """Limits that hold every place of every step, and the inhabited world in any case."""
    lowest = np.min([*shown["pred_lat"], *shown["lat"], -58.0])
    highest = np.max([*shown["pred_lat"], *shown["lat"], 83.0])
    return max(float(lowest) - 2, -90.0), min(float(highest) + 2, 90.0)


def _draw_cities(ax: Axes, cities: pd.DataFrame, probe: Probe, scale: float = 1.0) -> None:
    palette = colours([*probe.real_regions, *probe.virtual_regions])
    real, virtual = (rows_where(cities, cities["is_virtual"] == kind) for kind in (False, True))
    ax.scatter(real["lon"], real["lat"], s=3.5 * scale, color=TRUE, linewidths=0, zorder=3)
    tint = [palette[region] for region in real["region"]]
    ax.scatter(real["pred_lon"], real["pred_lat"], s=9 * scale, color=tint, linewidths=0, alpha=0.85, zorder=4)
    ax.scatter(virtual["lon"], virtual["lat"], s=22 * scale, marker="*", color=TRUE, linewidths=0, zorder=3)
    tint = [palette[region] for region in virtual["region"]]
    ax.scatter(
        virtual["pred_lon"],
        virtual["pred_lat"],
        s=55 * scale,
        marker="*",
        color=tint,
        edgecolors=INK,
        linewidths=0.4,
        zorder=5,
    )


def _step_title(probe: Probe, step: int) -> str:
    real = probe.group(REAL)
    if step not in real.index:
        return f"step {step:,}"
    row = real.loc[step]
    lon, lat = (cell(row[name], METRICS[name].digits) for name in ("lon_r2", "lat_r2"))
    numbers = f"R² {lon} lon, {lat} lat; {row['mean_km']:,.0f} km"
    for name in probe.virtual_regions[:2]:
        virtual = probe.group(name)
        if step in virtual.index:
            numbers += f"; {literal(name)} {virtual.loc[step, 'mean_km']:,.0f} km"
    return f"step {step:,}   {numbers}"


def _legend(probe: Probe) -> list[Line2D]:
    palette = colours([*probe.real_regions, *probe.virtual_regions])
    handles = [Line2D([], [], ls="", marker="o", ms=3.5, color=TRUE, label="true place")]
    handles += [
        Line2D([], [], ls="", marker="o", color=palette[name], label=literal(name)) for name in probe.real_regions
    ]
    style = {"ls": "", "marker": "*", "ms": 11, "mec": INK, "mew": 0.5}
    return handles + [
        Line2D([], [], color=palette[name], label=literal(name), **style) for name in probe.virtual_regions
    ]


# --- animation


def evolution_gif(probes: Sequence[Probe]) -> bytes:
    """One frame for each probed step, with a map of each probe side by side, the last one held; the bytes of a GIF.

    All frames have the same palette. A probe without a number at a step is drawn as of its last step before it.
    """
    shown = [_positions(probe) for probe in probes]
    n, everywhere, steps = len(probes), pd.concat(shown), sorted({step for probe in probes for step in probe.steps})
    frames = []
    with style():
        south, north = _latitudes(everywhere)
        map_height = 9 / n * 0.98 * (north - south) / 360
        height = map_height + 0.75
        figure = Figure(figsize=(9, height), dpi=100 if n == 1 else 133)
        canvas = FigureCanvasAgg(figure)
        axes = [figure.add_axes(((k + 0.01) / n, 0.42 / height, 0.98 / n, map_height / height)) for k in range(n)]
        legend = {"ncols": 8, "fontsize": 7, "handletextpad": 0.1, "columnspacing": 0.9, "borderaxespad": 0.1}
        figure.legend(handles=_legend(probes[0]), loc="lower center", **legend)
        for ax in axes:
            _draw_world(ax, everywhere)
        worlds = [set(ax.collections) for ax in axes]
        for step in steps:
            for ax, world, probe, places in zip(axes, worlds, probes, shown, strict=True):
                for cities in [drawn for drawn in ax.collections if drawn not in world]:
                    cities.remove()
                _draw_frame(ax, probe, places, max((at for at in probe.steps if at <= step), default=probe.steps[0]), n)
            canvas.draw()
            frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    palette = _gif_palette(probes[0])
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    file = io.BytesIO()
    durations = [900, *[600] * (len(indexed) - 2), 2500][-len(indexed) :]
    indexed[0].save(file, "GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0, optimize=False)
    return file.getvalue()


def _draw_frame(ax: Axes, probe: Probe, places: pd.DataFrame, step: int, n: int) -> None:
    """The cities of one of `n` maps; of several each says which probe it is, and all its numbers have no room."""
    _draw_cities(ax, rows_where(places, places["step"] == step), probe, scale=0.8 / n)
    if n == 1:
        ax.set_title(_step_title(probe, step), fontsize=10)
    else:
        real = probe.group(REAL)
        number = f": {cell(float(real['mean_km'].loc[step]), 0)} km" if step in real.index else ""
        ax.set_title(f"{SHORT_TITLES.get(probe.protocol, probe.protocol)}, step {step:,}{number}", fontsize=9)


def _gif_palette(probe: Probe) -> Image.Image:
    """Every region's own colour and its blends with what lies behind: a palette by frequency loses small regions."""
    palette = colours([*probe.real_regions, *probe.virtual_regions]).values()
    backgrounds, shares = ("#ffffff", SEA, LAND), (0.35, 0.7)
    found = dict.fromkeys([*backgrounds, COAST, TRUE, INK, MUTED, *palette])
    for front in (*palette, COAST, TRUE, INK):
        for back in backgrounds:
            (r, g, b), (r0, g0, b0) = to_rgb(front), to_rgb(back)
            mixes = [(r0 + a * (r - r0), g0 + a * (g - g0), b0 + a * (b - b0)) for a in shares]
            found |= dict.fromkeys(map(to_hex, mixes))
    numbers = [round(255 * part) for colour in list(found)[:256] for part in to_rgb(colour)]
    image = Image.new("P", (1, 1))
    image.putpalette(numbers)
    return image
