"""The scores of the methods as a picture: what keeping the map costs in learning, and in joining."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atlantis.bench.standing import SCORES, Board, mean_and_interval
from atlantis.report.style import INK, LINES, MUTED, literal, new_figure, style

MARKERS = "osD^vPX*"


def pareto_plot(board: Board) -> Figure:
    """Retention against acquisition and against integration; means with intervals, filled where nobody is better."""
    with style():
        figure = new_figure(f"{board.title} ({board.tier} tier)", (11.0, 5.0))
        axes = figure.subplots(1, 2, sharex=True)
        for ax, score in zip(axes, ("acquisition", "integration"), strict=True):
            _panel(ax, board, score)
        handles, labels = axes[0].get_legend_handles_labels()
        first = dict(zip(reversed(labels), reversed(handles), strict=True))
        names = list(reversed(first))
        figure.legend([first[name] for name in names], names, title="may use", loc="outside lower left", ncols=4)
    return figure


def _panel(ax: Axes, board: Board, score: str) -> None:
    best, groups = board.best(), list(dict.fromkeys(one.uses for one in board.standings))
    for one in board.standings:
        if not one.seeds:
            continue
        place = groups.index(one.uses)
        colour, marker = LINES[place % len(LINES)], MARKERS[place % len(MARKERS)]
        (x, *x_ends), (y, *y_ends) = (mean_and_interval(one.scores[:, SCORES.index(s)]) for s in ("retention", score))
        if len(one.seeds) > 1:
            ax.plot(x_ends, [y, y], color=colour, lw=0.8, alpha=0.6)
            ax.plot([x, x], y_ends, color=colour, lw=0.8, alpha=0.6)
        filled = one.method in best
        ax.plot(
            x, y, marker, color=colour, mfc=colour if filled else "white", ms=7 if filled else 6, ls="", label=one.uses
        )
        ax.annotate(
            literal(one.method), (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8,
            color=INK if filled else MUTED, fontweight="bold" if filled else "normal",
        )  # fmt: skip
    ax.set_xlabel("retention")
    ax.set_ylabel(score)
