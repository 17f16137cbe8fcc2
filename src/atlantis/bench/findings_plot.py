"""The scores of every method in some scenarios, and its error on the old task, seed by seed, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atlantis.bench.findings import OLD_ANSWERS, by_seed
from atlantis.bench.standing import SCORES, Board, Standing, mean_and_interval
from atlantis.report.style import INK, LINES, literal, new_figure, style

ROW_INCHES = 0.3


def findings_plot(boards: Sequence[Board]) -> Figure:
    """A panel for each score and for old answers; a row for each variant and method: its seeds, mean and interval."""
    rows = [(_label(board, one), one) for board in boards for one in board.standings if one.seeds]
    methods = list(dict.fromkeys(one.method for _, one in rows))
    title = ", ".join(dict.fromkeys(board.scenario for board in boards)) + f" ({boards[0].tier} tier)"
    with style():
        figure = new_figure(title, (12.0, 1.4 + ROW_INCHES * len(rows)))
        axes = figure.subplots(1, len(SCORES) + 1, sharey=True)
        for quantity, ax in zip((*SCORES, OLD_ANSWERS), axes, strict=True):
            for place, (_, one) in enumerate(rows):
                values = np.array(list(by_seed(one, quantity).values()))
                _row(ax, place, values, LINES[methods.index(one.method) % len(LINES)])
            ax.set_xlabel("error of old answers, km" if quantity == OLD_ANSWERS else quantity)
            if quantity in SCORES:
                ax.set_xlim(-0.03, 1.03)
            else:
                ax.set_xlim(left=0)
        axes[0].set_yticks(range(len(rows)), [literal(label) for label, _ in rows])
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def _label(board: Board, one: Standing) -> str:
    return f"{board.title}: {one.method}"


def _row(ax: Axes, place: int, values: np.ndarray, colour: str) -> None:
    if not len(values):
        return
    mean, low, high = mean_and_interval(values)
    if len(values) > 1:
        ax.plot([low, high], [place, place], color=colour, lw=2.5, alpha=0.5, solid_capstyle="round")
    ax.plot(values, [place] * len(values), "o", color=colour, ms=3.5, alpha=0.7, ls="")
    ax.plot([mean], [place], "|", color=INK, ms=11, mew=1.6)
