"""What should I use? For each thing that a user may have, the method with the largest volume, and its equals.

Being the best of several is partly luck, so the best one's number is a little too good. The methods that these seeds
cannot tell from it are therefore named beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from atlantis.bench.cells import difference, multiple, shown
from atlantis.bench.price import clock_of, seconds_beside
from atlantis.bench.quantities import LEARNED
from atlantis.bench.sensitivity import Change, changes_among
from atlantis.bench.standing import REFERENCES, Board, Comparison, Standing, compared
from atlantis.markdown import table
from atlantis.report.tables import ABSENT

PERMISSIONS: dict[str, frozenset[str]] = {
    "the base": frozenset({"base weights", "optimizer state"}),
    "the base, old names": frozenset({"base weights", "optimizer state", "old prompts"}),
    "the base, old names, old pairs": frozenset({"base weights", "optimizer state", "old prompts", "old data"}),
}
"""What a user has beside the model and the new pairs, and what methods may then need. Each includes the one before."""


@dataclass(frozen=True)
class Advice:
    """`best`: the method; `others` were allowed as well.

    `equals`: those of them whose paired difference from it has an interval that holds 0, or none. `turns`: what makes
    another the first of them all, of the changes of sensitivity.py.
    """

    permission: str
    best: Standing
    less_naive: Comparison | None
    others: tuple[str, ...]
    equals: tuple[str, ...]
    turns: tuple[Change, ...]

    @property
    def in_words(self) -> str:
        """Which other method is first, and after which change."""
        changes: dict[str, list[str]] = {}
        for turn in self.turns:
            changes.setdefault(turn.first, []).append(turn.change)
        return "; ".join(f"`{method}` {', '.join(of_method)}" for method, of_method in changes.items()) or "none"


def advise(board: Board) -> list[Advice]:
    """Of the methods that each permission allows the one of the largest mean volume.

    A method that lacks a seed of the board has no part in it, nor has one that keeps all old pairs. There is no advice
    for a permission that allows no more methods than the one before it, nor for fewer than two methods.
    """
    complete = [standing for standing in board.complete() if standing.old_pairs != "all"]
    advice: list[Advice] = []
    n_before = 1
    for permission, needs in PERMISSIONS.items():
        allowed = [standing for standing in complete if needs.issuperset(standing.needs)]
        if len(allowed) > n_before:
            advice.append(_advice(permission, allowed, board))
            n_before = len(allowed)
    return advice


def _advice(permission: str, allowed: list[Standing], board: Board) -> Advice:
    naive = board.of(REFERENCES[0])
    best = max(allowed, key=lambda standing: standing.volumes.mean())
    others = [standing for standing in allowed if standing is not best]
    equals = [standing.method for standing in others if not _is_told_from(best, standing)]
    less_naive = compared(best, naive, "volume") if naive is not None and naive is not best else None
    turns = tuple(change for change in changes_among(allowed, board.scores) if change.first != best.method)
    return Advice(permission, best, less_naive, tuple(standing.method for standing in others), tuple(equals), turns)


def _is_told_from(one: Standing, other: Standing) -> bool:
    comparison = compared(one, other, "volume")
    return comparison is not None and (comparison.interval.low > 0 or comparison.interval.high < 0)


def what_to_use(board: Board) -> str:
    """The advice as a table; "" where there is none."""
    advice = advise(board)
    if not advice:
        return ""
    naive, clock, rows = board.of(REFERENCES[0]), clock_of(board), []
    for item in advice:
        beside, pairs = seconds_beside(item.best, naive, clock), item.best.old_pairs
        row = [item.permission, f"`{item.best.method}`", shown(item.best, "volume")]
        row.append(ABSENT if item.less_naive is None else difference(item.less_naive))
        row += [shown(item.best, "answers"), shown(item.best, LEARNED), multiple(beside)]
        row.append(f"{pairs:,}" if isinstance(pairs, int) else ABSENT)
        rows.append([*row, ", ".join(item.others), ", ".join(item.equals) or "none", item.in_words])
    header = ["you have", "best so far", "volume", "volume, less naive's", "old answers", "learned (mean)"]
    header += ["time, x naive", "old pairs to store", "compared with", "of these not told apart from it"]
    header.append("another is first")
    return f"**What to use**\n\n{table(header, rows)}"
