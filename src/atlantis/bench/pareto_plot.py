"""What the methods keep and learn as a picture: what keeping costs in learning, and in joining."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atlantis.bench.methods import METHODS, uses
from atlantis.bench.quantities import FRONT, KEPT_MAP, LEARNED
from atlantis.bench.standing import Board, mean_and_interval
from atlantis.report.style import INK, LINES, MUTED, literal, new_figure, style

MARKERS = "osD^vPX*"
GROUPS = tuple(dict.fromkeys(uses(method.needs) for method in METHODS.values()))
"""What methods may use. A group has one colour and one mark in all pictures, before those that others enter."""
PANELS = {
    1: ((KEPT_MAP, LEARNED), (KEPT_MAP, "integration")),
    2: (FRONT, ("map", "integration")),
}
"""By protocol: what lies along a panel, and what goes up."""
LINE_HEIGHT = 0.05
"""Of a name, as a share of the panel."""


def pareto_plot(board: Board) -> Figure:
    """What is kept against what is learned, and against integration; means, intervals, open where another is better.

    In the first protocol what is kept is the map; in the second the old answers, and the map beside integration. There
    the first panel's filled marks are the front of the two that it shows; else they are those that no other beats in
    all scores. What is learned is drawn from 0 up: below, a constant answer is better.
    """
    panels = PANELS[board.protocol]
    with style():
        figure = new_figure(f"{board.title} ({board.tier} tier)", (11.0, 5.0))
        axes = figure.subplots(1, 2, sharex=len({kept for kept, _ in panels}) == 1)
        for ax, (kept, quantity) in zip(axes, panels, strict=True):
            _panel(ax, board, kept, quantity, board.front() if (kept, quantity) == FRONT else board.best())
        handles, labels = axes[0].get_legend_handles_labels()
        shown = dict(zip(labels, handles, strict=True))
        figure.legend(shown.values(), shown.keys(), title="may use", loc="outside lower left", ncols=4)
    return figure


def _panel(ax: Axes, board: Board, kept: str, quantity: str, unbeaten: Sequence[str]) -> None:
    groups = list(dict.fromkeys([*GROUPS, *(standing.uses for standing in board.standings)]))
    points: list[tuple[str, float, float, bool]] = []
    for standing in board.standings:
        if not standing.seeds:
            continue
        group = groups.index(standing.uses)
        colour, marker = LINES[group % len(LINES)], MARKERS[group % len(MARKERS)]
        read = {name: standing.array(name) for name in (kept, quantity)}
        if not all(len(values) for values in read.values()):
            continue
        (x, *x_ends), (y, *y_ends) = (mean_and_interval(values, name) for name, values in read.items())
        y, y_ends = max(y, 0.0), np.maximum(y_ends, 0.0)
        ax.plot(x_ends, [y, y], color=colour, lw=0.8, alpha=0.6)  # no interval is NaN, and draws nothing
        ax.plot([x, x], y_ends, color=colour, lw=0.8, alpha=0.6)
        filled = standing.method in unbeaten
        ax.plot(x, y, marker, color=colour, mfc=colour if filled else "white", ms=7 if filled else 6, ls="", zorder=3)
        ax.plot([], [], marker, color=colour, ms=7, ls="", label=standing.uses)  # the legend's, always filled
        points.append((standing.method, x, y, filled))
    ax.locator_params(axis="x", nbins=5)
    ax.set_xlabel(f"old {kept}" if kept == "answers" else kept)
    ax.set_ylabel(f"{quantity} (0 or below: no better than a constant)" if quantity == LEARNED else quantity)
    _name(ax, points)


def _name(ax: Axes, points: list[tuple[str, float, float, bool]]) -> None:
    """Names in a column on the right, each joined to its point: those of points that lie together stay legible."""
    (low, high), ordered = ax.get_ylim(), sorted(points, key=lambda point: point[2])
    heights = spread([(y - low) / (high - low) for _, _, y, _ in ordered], LINE_HEIGHT)
    for (method, x, y, filled), height in zip(ordered, heights, strict=True):
        ax.annotate(
            literal(method), (x, y), xytext=(1.04, height), textcoords="axes fraction", va="center", fontsize=8,
            color=INK if filled else MUTED, fontweight="bold" if filled else "normal",
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": MUTED, "alpha": 0.5, "shrinkA": 1, "shrinkB": 4},
        )  # fmt: skip
    ax.set_ylim(low, high)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights, moved until neighbours are at least `gap` apart; between 0 and 1 while there is room."""
    up: list[float] = []
    for height in heights:
        up.append(max(height, up[-1] + gap) if up else max(height, 0.0))
    down: list[float] = []
    for height in reversed(up):
        down.append(min(height, down[-1] - gap) if down else min(height, 1.0))
    return down[::-1]
