"""Pictures of a run for papers and for a README: the curves, the map before and after, and the map in motion.

- Only cities that the probe was not fitted on are drawn: an in-sample map looks good even at chance.
- Each predicted place keeps its city's colour, that of the true region; grey dots are the true places.
- Longitudes are wrapped and latitudes limited to the globe, since a ridge regression on degrees may leave it.
- Drawn without a window (Agg) and without dates, so that the same run gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
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
from matplotlib.ticker import FuncFormatter, NullLocator
from PIL import Image

from atlantis.artifacts import write_bytes
from atlantis.errors import UserError
from atlantis.report.run_data import Probe, Run, load, rows_where
from atlantis.report.tables import slice_title
from atlantis.sphere import wrap_longitude
from atlantis.world.coastlines import coastlines, land
from atlantis.world.regions import colours

INK, MUTED, GRID = "#1f2933", "#616e7c", "#e4e7eb"
SEA, LAND, COAST, TRUE = "#f8fafc", "#e9ecf0", "#b4bac2", "#9aa1aa"
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito (2008)
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "svg.hashsalt": "atlantis",
    "svg.fonttype": "none",
    "figure.facecolor": "white",
}


def write_figures(run: Run | Path | str, out: Path | None = None, protocol: str = "seed") -> list[Path]:
    """Write dynamics.png/.svg, map_final.png/.svg and evolution.gif; returns their paths.

    They go to `out`, by default the run's `analysis/figures/`. Raises `UserError` if the run has not been probed.
    """
    run = run if isinstance(run, Run) else load(run)
    probe = run.probe(protocol)
    out = out or run.path / "analysis" / "figures"
    written = []
    for name, figure in (("dynamics", dynamics_figure(run, protocol)), ("map_final", map_figure(run, protocol))):
        for suffix in ("png", "svg"):
            written.append(out / f"{name}.{suffix}")
            write_bytes(written[-1], _rendered(figure, suffix))
    written.append(out / "evolution.gif")
    write_bytes(written[-1], evolution_gif(probe))
    return written


def _rendered(figure: Figure, suffix: str) -> bytes:
    file = io.BytesIO()
    with _style():
        figure.savefig(file, format=suffix, dpi=150, metadata={"Date": None} if suffix == "svg" else {"Software": None})
    return file.getvalue()


def _literal(text: str) -> str:
    """A user's text as it is: matplotlib would read what stands between dollar signs as a formula."""
    return text.replace("$", r"\$")


@contextmanager
def _style() -> Iterator[None]:
    with matplotlib.rc_context(STYLE):
        yield


# --- curves


def dynamics_figure(run: Run | Path | str, protocol: str = "seed") -> Figure:
    """Four panels against the step: R2 of longitude and latitude, km of the probe, task error by slice, loss."""
    run = run if isinstance(run, Run) else load(run)
    probe = run.probe(protocol)
    with _style():
        figure = Figure(figsize=(11, 7.2), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(_literal(run.name), x=0.012, ha="left", fontsize=14, fontweight="bold")
        (r2, km), (task, loss) = figure.subplots(2, 2)
        _draw_r2(r2, probe)
        _draw_km(km, probe)
        _draw_task(task, run)
        _draw_loss(loss, run)
        for ax in (r2, km, task, loss):
            _step_axis(ax)
    return figure


def _draw_r2(ax: Axes, probe: Probe) -> None:
    real = probe.group("real")
    ax.axhline(0, color=MUTED, lw=1, ls=":")
    ax.plot(real.index, real["lon_r2"], marker="o", ms=4, color=LINES[0], label="longitude")
    ax.plot(real.index, real["lat_r2"], marker="s", ms=4, color=LINES[1], label="latitude")
    low = float(np.nanmin([*real["lon_r2"], *real["lat_r2"], 0.0]))
    ax.set_ylim(max(low - 0.05, -1.0), 1.02)
    ax.set_title("Probe of held-out real cities: R²")
    ax.legend(loc="best")


def _draw_km(ax: Axes, probe: Probe) -> None:
    groups = ["real", *probe.virtual_regions]
    for k, name in enumerate(groups):
        rows = probe.group(name)
        if rows.empty:
            continue
        ax.plot(
            rows.index,
            rows["mean_km"],
            marker="o" if k == 0 else "*",
            ms=4 if k == 0 else 8,
            color=LINES[0] if k == 0 else _virtual_colours(probe)[name],
            label="real cities, held out" if k == 0 else _literal(name),
        )
        if {"mean_km_low", "mean_km_high"} <= set(rows.columns):
            ax.fill_between(rows.index, rows["mean_km_low"], rows["mean_km_high"], alpha=0.15, lw=0, color=LINES[0])
    _from_zero(ax)
    ax.set_title("Probe: distance from the true place, mean km")
    ax.legend(loc="best")


def _draw_task(ax: Axes, run: Run) -> None:
    for k, name in enumerate(run.slices):
        rows = rows_where(run.task, run.task["slice"] == name)
        label = _literal(slice_title(name, run).replace("-", "–"))
        ax.plot(rows["step"], rows["mean_km"], ms=4, marker="os^D"[k % 4], color=LINES[k % len(LINES)], label=label)
    _from_zero(ax)
    ax.set_title("Task: error of the answered distance, mean km")
    if run.slices:
        ax.legend(loc="best")


def _draw_loss(ax: Axes, run: Run) -> None:
    training = run.train.dropna(subset=["loss"])
    if len(training):
        ax.plot(training["step"], training["loss"], lw=1, color=MUTED, alpha=0.7, label="training batches")
    evaluated = run.evaluations.dropna(subset=["loss"])
    ax.plot(evaluated["step"], evaluated["loss"], marker="o", ms=4, color=LINES[0], label="validation")
    ax.set_title("Loss, nats per token")
    ax.legend(loc="best")


def _from_zero(ax: Axes) -> None:
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _step_axis(ax: Axes) -> None:
    """Linear up to step 1, logarithmic after: step 0 belongs on it, and most of the change is early."""
    ax.set_xscale("symlog", linthresh=1, linscale=0.5)
    top = max(ax.dataLim.x1, 10.0)
    ax.set_xlim(-0.15, top * 1.15)
    ticks = [0, *(10**k for k in range(7) if 10**k <= top)]
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("step")


# --- maps


def map_figure(run: Run | Path | str, protocol: str = "seed") -> Figure:
    """Two world maps, the first probed step beside the last: where the probe sees each city."""
    run = run if isinstance(run, Run) else load(run)
    probe = run.probe(protocol)
    steps = sorted({probe.steps[0], probe.steps[-1]})
    with _style():
        shown = _positions(probe)
        south, north = _latitudes(shown)
        figure = Figure(figsize=(8 * len(steps), 8 * (north - south) / 360 + 1.3), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(
            f"Where the probe sees each city: {_literal(run.name)}", x=0.008, ha="left", fontsize=14, weight="bold"
        )
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


def _virtual_colours(probe: Probe) -> dict[str, str]:
    found = colours([*probe.real_regions, *probe.virtual_regions])
    return {name: found[name] for name in probe.virtual_regions}


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
        edgecolors="white",
        linewidths=0.4,
        zorder=5,
    )


def _step_title(probe: Probe, step: int) -> str:
    real = probe.group("real")
    if step not in real.index:
        return f"step {step:,}"
    row = real.loc[step]
    numbers = f"R² {row['lon_r2']:.3f} lon, {row['lat_r2']:.3f} lat; {row['mean_km']:,.0f} km"
    for name in probe.virtual_regions[:2]:
        virtual = probe.group(name)
        if step in virtual.index:
            numbers += f"; {_literal(name)} {virtual.loc[step, 'mean_km']:,.0f} km"
    return f"step {step:,}   {numbers}"


def _legend(probe: Probe) -> list[Line2D]:
    palette = colours([*probe.real_regions, *probe.virtual_regions])
    handles = [Line2D([], [], ls="", marker="o", ms=3.5, color=TRUE, label="true place")]
    handles += [
        Line2D([], [], ls="", marker="o", color=palette[name], label=_literal(name)) for name in probe.real_regions
    ]
    style = {"ls": "", "marker": "*", "ms": 11, "mec": "white"}
    return handles + [
        Line2D([], [], color=palette[name], label=_literal(name), **style) for name in probe.virtual_regions
    ]


# --- animation


def evolution_gif(probe: Probe, width: int = 900) -> bytes:
    """One frame for each probed step, the same palette in all, the last one held; the bytes of a GIF."""
    shown = _positions(probe)
    frames = []
    with _style():
        south, north = _latitudes(shown)
        map_height = 9 * 0.98 * (north - south) / 360
        height = map_height + 0.75
        figure = Figure(figsize=(9, height), dpi=width / 9)
        canvas = FigureCanvasAgg(figure)
        ax = figure.add_axes((0.01, 0.42 / height, 0.98, map_height / height))
        legend = {"ncols": 8, "fontsize": 7, "handletextpad": 0.1, "columnspacing": 0.9, "borderaxespad": 0.1}
        figure.legend(handles=_legend(probe), loc="lower center", **legend)
        for step in probe.steps:
            ax.clear()
            _draw_world(ax, shown)
            _draw_cities(ax, rows_where(shown, shown["step"] == step), probe, scale=0.8)
            ax.set_title(_step_title(probe, step), fontsize=10)
            canvas.draw()
            frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    palette = _gif_palette(probe)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    file = io.BytesIO()
    durations = [900, *[600] * (len(indexed) - 2), 2500][-len(indexed) :]
    indexed[0].save(file, "GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0, optimize=False)
    return file.getvalue()


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
