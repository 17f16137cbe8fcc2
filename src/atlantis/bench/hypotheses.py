"""The comparisons that were named before the gpu tier was run: few, so that ten seeds can decide them.

The least p-value of n paired seeds is 2 / 2^n, 0.002 for ten. Holm's correction for 24 methods makes 0.047 of it, and
one seed against the others 0.094: with every method compared with every reference, hardly anything could be shown. So
six comparisons are one family, across all scenarios and variants: 0.012 where ten seeds agree, 0.023 where the smallest
difference is against. All other comparisons on the pages have intervals and no p-value.

Named on 2026-11-28, when three seeds of the first protocol's cpu tier had been seen and none of the gpu tier. For that
cpu tier they are therefore no predictions. docs/benchmark.md has them in words; changing one needs a new date there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from atlantis.bench.quantities import KEPT_ANSWERS, KEPT_MAP
from atlantis.bench.scenarios import ALONE, AT_ONCE
from atlantis.bench.standing import Board, Comparison, compared
from atlantis.statistics import holm, sign_flip_p

DATE = "2026-11-28"


@dataclass(frozen=True)
class Hypothesis:
    """`row` is expected to be higher, or lower, in `quantity` than `other`; a row is SCENARIO[, VARIANT]/METHOD."""

    name: str
    row: str
    other: str
    quantity: str
    expected: Literal["higher", "lower"]


HYPOTHESES = (
    Hypothesis("H1", "A1/replay", "A1/naive", KEPT_ANSWERS, "higher"),
    Hypothesis("H2", "A1/distill", "A1/naive", KEPT_ANSWERS, "higher"),
    Hypothesis("H3", "A0/naive", "A1/naive", KEPT_MAP, "lower"),
    Hypothesis("H4", f"A3, {AT_ONCE}/naive", f"A3, {ALONE}/naive", KEPT_MAP, "lower"),
    Hypothesis("H5", "A4/naive", "A1/naive", KEPT_MAP, "lower"),
    Hypothesis("H6", "A7/new_rows", "A7/naive", "integration", "higher"),
)


def in_words(hypothesis: Hypothesis) -> str:
    """As a table has it: `map kept: A0/naive lower than A1/naive`."""
    return f"{hypothesis.quantity}: {hypothesis.row} {hypothesis.expected} than {hypothesis.other}"


@dataclass(frozen=True)
class Tested:
    """A hypothesis and the seeds that both of its rows have; None where there is none. `p` is Holm's, over all six."""

    hypothesis: Hypothesis
    comparison: Comparison | None
    p: float


def judged(boards: Sequence[Board]) -> list[Tested]:
    """All hypotheses on the boards of one tier. One that lacks its records counts in the family, with a p of 1."""
    by_hypothesis = {hypothesis: _compared(boards, hypothesis) for hypothesis in HYPOTHESES}
    p_values = {hypothesis: _p(comparison) for hypothesis, comparison in by_hypothesis.items()}
    adjusted = holm(p_values)
    return [Tested(hypothesis, comparison, adjusted[hypothesis]) for hypothesis, comparison in by_hypothesis.items()]


def _p(comparison: Comparison | None) -> float:
    return 1.0 if comparison is None else sign_flip_p(comparison.differences, np.random.default_rng(0))


def _compared(boards: Sequence[Board], hypothesis: Hypothesis) -> Comparison | None:
    rows: Mapping[str, Board] = {board.title: board for board in boards}
    standings = []
    for row in (hypothesis.row, hypothesis.other):
        title, _, method = row.rpartition("/")
        board = rows.get(title)
        standings.append(None if board is None else board.of(method))
    ours, theirs = standings
    return None if ours is None or theirs is None else compared(ours, theirs, hypothesis.quantity)
