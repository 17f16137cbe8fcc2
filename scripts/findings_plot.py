"""What every method in some scenarios keeps and learns, and its error on the old task, seed by seed, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atlantis.bench.quantities import KEPT_MAP, LEARNED, OLD_ANSWERS
from atlantis.bench.standing import Board, Standing, mean_and_interval
from atlantis.report.style import INK, LINES, literal, new_figure, style

ROW_INCHES = 0.3
PANELS = {
    KEPT_MAP: "map kept",
    f"{LEARNED} world-atlantis": "learned: world-atlantis",
    f"{LEARNED} atlantis-atlantis": "learned: atlantis-atlantis",
    "integration": "integration",
    OLD_ANSWERS: "error of old answers, km",
}
LOWEST = -1.0
"""Where the panels of what was learned end: much worse than a constant answer is worse, however much."""


def findings_plot(boards: Sequence[Board]) -> Figure:
    """A panel for each of `PANELS`; a row for each variant and method: its seeds, their mean and its interval.

    What lies below `LOWEST` in a panel of what was learned is drawn at its edge.
    """
    rows = [(_label(board, standing), standing) for board in boards for standing in board.standings if standing.seeds]
    methods = list(dict.fromkeys(standing.method for _, standing in rows))
    title = ", ".join(dict.fromkeys(board.scenario for board in boards)) + f" ({boards[0].tier} tier)"
    with style():
        figure = new_figure(title, (14.0, 1.4 + ROW_INCHES * len(rows)))
        axes = figure.subplots(1, len(PANELS), sharey=True)
        for (quantity, label), ax in zip(PANELS.items(), axes, strict=True):
            for y, (_, standing) in enumerate(rows):
                _row(ax, y, standing.array(quantity), quantity, LINES[methods.index(standing.method) % len(LINES)])
            ax.set_xlabel(label)
            if quantity == OLD_ANSWERS:
                ax.set_xlim(left=0)
            elif quantity.startswith(LEARNED):
                ax.set_xlim(LOWEST - 0.06, 1.06)
                ax.axvline(0, color=INK, lw=0.6, alpha=0.5)  # a constant answer
            else:
                ax.set_xlim(-0.03, 1.03)
        axes[0].set_yticks(range(len(rows)), [literal(label) for label, _ in rows])
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def _label(board: Board, standing: Standing) -> str:
    return f"{board.title}: {standing.method}"


def _row(ax: Axes, y: int, values: np.ndarray, quantity: str, colour: str) -> None:
    if not len(values):
        return
    mean, low, high = mean_and_interval(values, quantity)
    if quantity.startswith(LEARNED):
        values, mean, low, high = values.clip(LOWEST), max(mean, LOWEST), max(low, LOWEST), max(high, LOWEST)
    if np.isfinite(low):
        ax.plot([low, high], [y, y], color=colour, lw=2.5, alpha=0.5, solid_capstyle="round")
    ax.plot(values, [y] * len(values), "o", color=colour, ms=3.5, alpha=0.7, ls="")
    ax.plot([mean], [y], "|", color=INK, ms=11, mew=1.6)
