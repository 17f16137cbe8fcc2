"""The scores of every method in some scenarios, seed by seed, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atlantis.bench.standing import SCORES, Board, Standing, mean_and_interval
from atlantis.report.style import INK, LINES, literal, new_figure, style

ROW_INCHES = 0.3


def findings_plot(boards: Sequence[Board]) -> Figure:
    """A panel for each score; a row for each variant and method: its seeds as dots, mean and interval as a bar."""
    rows = [(_label(board, one), one) for board in boards for one in board.standings if one.seeds]
    methods = list(dict.fromkeys(one.method for _, one in rows))
    title = ", ".join(dict.fromkeys(board.scenario for board in boards)) + f" ({boards[0].tier} tier)"
    with style():
        figure = new_figure(title, (11.0, 1.4 + ROW_INCHES * len(rows)))
        axes = figure.subplots(1, len(SCORES), sharey=True)
        for score, ax in enumerate(axes):
            for place, (_, one) in enumerate(rows):
                _row(ax, place, one, score, LINES[methods.index(one.method) % len(LINES)])
            ax.set_xlabel(SCORES[score])
            ax.set_xlim(-0.03, 1.03)
        axes[0].set_yticks(range(len(rows)), [literal(label) for label, _ in rows])
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def _label(board: Board, one: Standing) -> str:
    return f"{board.title}: {one.method}"


def _row(ax: Axes, place: int, one: Standing, score: int, colour: str) -> None:
    values = one.scores[:, score]
    mean, low, high = mean_and_interval(values)
    if len(values) > 1:
        ax.plot([low, high], [place, place], color=colour, lw=2.5, alpha=0.5, solid_capstyle="round")
    ax.plot(values, [place] * len(values), "o", color=colour, ms=3.5, alpha=0.7, ls="")
    ax.plot([mean], [place], "|", color=INK, ms=11, mew=1.6)
