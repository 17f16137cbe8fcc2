"""The parts of a page that are the first protocol's alone (docs/benchmark.md): how to read it, and its two tables."""

from __future__ import annotations

from atlantis.bench.cells import difference, kinds, km_before_and_after, rate, shown, what_orders
from atlantis.bench.quantities import KEPT_ANSWERS, KEPT_MAP, LEARNED, OLD_ANSWERS, WITH_ANSWERS
from atlantis.bench.standing import REFERENCES, Board
from atlantis.markdown import table
from atlantis.report.tables import ABSENT
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
- *Answers kept*: the same of the answers to pairs of real cities; *old answers km* has them at the end.
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


def readings(board: Board) -> str:
    quantities = [KEPT_MAP, KEPT_ANSWERS, *(f"{LEARNED} {kind}" for kind in kinds(board)), "integration", WITH_ANSWERS]
    header = ["may use", "method", "rate", *(q.replace(f"{LEARNED} ", f"{LEARNED}: ") for q in quantities)]
    header += ["map km", "old answers km", "seeds", "failed"]
    best, rows = board.best(), []
    for standing in board.standings:
        name = f"**{standing.method}**" if standing.method in best else standing.method
        numbers = (
            [shown(standing, quantity) for quantity in quantities] if standing.seeds else [ABSENT] * len(quantities)
        )
        old = shown(standing, OLD_ANSWERS) if standing.seeds else ABSENT
        counts = [str(len(standing.seeds)), str(len(standing.failed))]
        rows.append([standing.uses, name, rate(standing), *numbers, km_before_and_after(standing), old, *counts])
    return table(header, rows)


def scores(board: Board) -> str:
    """Scores by which trials chose, and the volume's paired differences."""
    compared = {name: comparison for name in REFERENCES if (comparison := board.compared_with(name))}
    header = ["method", *board.scores, "volume", "middle half"]
    for name in compared:
        header += [f"less {name}, paired", f"P(better than {name})"]
    rows = []
    for standing in board.standings:
        if not standing.seeds:
            continue
        row = [standing.method, *(shown(standing, quantity) for quantity in (*board.scores, "volume"))]
        row.append(f"{interquartile_mean(standing.volumes):.3f}")
        for comparison in compared.values():
            c = comparison.get(standing.method)
            row += [ABSENT] * 2 if c is None else [difference(c), f"{c.improvement:.2f}"]
        rows.append(row)
    parts = [table(header, rows)] if rows else []
    if order := what_orders(board):
        parts.append(order)
    return "\n\n".join(parts)
