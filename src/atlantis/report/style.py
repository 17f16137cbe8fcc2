"""How every picture looks: colours, lines, a drawing without a window and without dates."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, NullLocator

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


@contextmanager
def style() -> Iterator[None]:
    with matplotlib.rc_context(STYLE):
        yield


def new_figure(title: str, size: tuple[float, float]) -> Figure:
    """A figure with its title at the top left; to be called and drawn inside `style`."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.008, ha="left", fontsize=14, fontweight="bold")
    return figure


def rendered(figure: Figure, suffix: str) -> bytes:
    """The bytes of a PNG or an SVG: the same figure gives the same bytes."""
    file = io.BytesIO()
    with style(), _drawn_once(figure):
        figure.savefig(file, format=suffix, dpi=150, metadata={"Date": None} if suffix == "svg" else {"Software": None})
    return file.getvalue()


@contextmanager
def _drawn_once(figure: Figure) -> Iterator[None]:
    """In here `savefig` draws once: else it draws everything before, and throws it away, to know the layout."""
    draw = figure.draw

    def laid_out_or_drawn(renderer: RendererBase) -> None:
        layout = figure.get_layout_engine()
        if isinstance(layout, ConstrainedLayoutEngine):
            layout.execute(figure)
        else:  # `savefig` has put the layout away
            draw(renderer)

    figure.draw = laid_out_or_drawn
    try:
        yield
    finally:
        del figure.draw  # the method of the class is there again


def literal(text: str) -> str:
    """A user's text as it is: matplotlib would read what stands between dollar signs as a formula."""
    return text.replace("$", r"\$")


def from_zero(ax: Axes) -> None:
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def step_axis(ax: Axes) -> None:
    """Linear up to step 1, logarithmic after: step 0 belongs on it, and most of the change is early."""
    ax.set_xscale("symlog", linthresh=1, linscale=0.5)
    top = max(ax.dataLim.x1, 10.0)
    ax.set_xlim(-0.15, top * 1.15)
    ticks = [0, *(10**k for k in range(7) if 10**k <= top)]
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("step")
