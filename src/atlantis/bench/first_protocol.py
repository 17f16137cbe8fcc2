"""The parts of a page that are the first protocol's alone (docs/benchmark.md): how to read it, and its scores."""

from __future__ import annotations

from atlantis.bench.cells import shown, volume_less_references, what_orders
from atlantis.bench.standing import Board
from atlantis.markdown import table
from atlantis.statistics import interquartile_mean

INTRODUCTION = """# Leaderboard of the first protocol

Generated from {n} records by `python scripts/leaderboard.py RECORDS... -o docs/leaderboard_1.md`; not edited by hand.
It is history: [how it was made](benchmark_1.md). Methods are scored by the [second protocol](benchmark.md) now. The
commands are those of atlantis 0.1.0 and need its code.

**How to read a number.** It is the mean over seeds. In parentheses stands its 95 % interval: Student's t over the
seeds, on a scale on which the quantity has no bound. There is none for fewer than three seeds, where all seeds are
equal, or where one is at the quantity's bound. An interval of a difference that holds 0 does not show a difference; nor
does it show that there is none.

**First table of a scenario.** *Learned* is cut nowhere. Map kept, answers kept and integration are at
most 1 in each seed.

- *Rate*: the learning rate that trials chose, as a multiple of the scenario's. **Methods at different rates differ in
  two things at once.**
- *Map kept*: the map's error at the start over that at the end, at most 1. The map's error is that of a probe fitted
  anew, on real cities held out from it; *map km* has it before and after.
- *Answers kept*: the same of the answers to pairs of real cities; *old answers km* has them before and after.
- *Learned*: 1 - error / error of the best constant answer, for each kind of new pairs. 0 is no better than always
  answering the median, and below 0 is worse.
- *Integration*: how well a probe of real cities places the new ones, from 0 to 1.
- *Volume with answers*: the product of map kept, answers kept, integration and the mean of *learned* (0 where that is
  below).

**Second table.** The first protocol's scores, by which trials chose. *Volume* is the product of the three. Its *middle
half* is the interquartile mean, with fractions of seeds at the quarters; unless seeds are a multiple of
four, that is not what rliable prints. The other columns are paired differences of the volume, seed by seed.

Methods stand together that may use the same: *nothing* beside the new data and the weights they start from, or what is
named; within, the largest volume first. **Bold**: no other method has means as high in map kept, answers kept, learned
(the mean) and integration, and one of them higher. A seed with a failed run has no number and is counted as failed.

Until 2026-11-28 this page had bootstrap intervals, p-values for every method, and the second table's scores alone.
[benchmark_1.md](benchmark_1.md#history) says what changed."""


def scores(board: Board) -> str:
    """Scores by which trials chose, and the volume's paired differences."""
    header, cells = volume_less_references(board)
    rows = [
        [
            standing.method,
            *(shown(standing, quantity) for quantity in (*board.scores, "volume")),
            f"{interquartile_mean(standing.volumes):.3f}",
            *cells(standing),
        ]
        for standing in board.standings
        if standing.seeds
    ]
    parts = [table(["method", *board.scores, "volume", "middle half", *header], rows)] if rows else []
    if order := what_orders(board):
        parts.append(order)
    return "\n\n".join(parts)
