"""The leaderboard in Markdown, and its pictures, from nothing but records: see docs/benchmark.md for the protocol."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from atlantis.bench import first_protocol
from atlantis.bench.advice import what_to_use
from atlantis.bench.cells import (
    answers_before_and_after,
    conditions,
    difference,
    km_before_and_after,
    multiple,
    rate,
    readings_of,
    shown,
    strength,
    tried,
    volume_less_references,
    what_differs_by_seed,
    what_orders,
)
from atlantis.bench.hypotheses import DATE, HYPOTHESES, Tested, in_words, judged
from atlantis.bench.methods import METHODS
from atlantis.bench.plan import pairings
from atlantis.bench.price import clock_of, minutes_per_point, pairs_per_point, seconds_beside
from atlantis.bench.quantities import LEARNED, MEASURES
from atlantis.bench.record import BenchRecord
from atlantis.bench.sensitivity import changes, choices, least_differences
from atlantis.bench.standing import REFERENCES, Board, boards
from atlantis.bench.tiers import TIERS
from atlantis.errors import UserError
from atlantis.markdown import table
from atlantis.report.tables import ABSENT

INTRODUCTION = """# Leaderboard

Generated from {n} records by `python scripts/leaderboard.py RECORDS... -o docs/leaderboard.md`; not edited by hand. The
protocol, the scores and how to enter a method: [benchmark.md](benchmark.md).

**How to read a number.** It is the mean over seeds. In parentheses stands its 95 % interval: Student's t over the
seeds, on a scale on which the quantity has no bound. There is none for fewer than three seeds, where all seeds are
equal, or where one is at the quantity's bound. An interval of a difference that holds 0 does not show a difference; nor
does it show that there is none.

**What to use.** For each thing that you may have beside the model and the new pairs, the method with the largest mean
volume, of those that have every seed and do not keep all old pairs. Each row allows more methods than the row before.
The best of several is partly so by luck: what these seeds do not tell from it stands beside it. The last column names
the method that would come first if one score or one seed were left out, or if an answer that cannot be read cost half
as much.

**The table of scores.** The four scores, from 0 to 1.

- *Map*: the map's error at the start over that at the end, at most 1. The map's error is that of a probe fitted anew,
  on real cities held out from it. *Map km* has it before and after.
- *Answers*: the skill of the answers to held-out pairs of real cities at the end, over that at the start. *Old answers
  km* has their error before and after: an error that grows from 50 to 400 km still has most of the skill.
- *Learned*: 1 - error / error of the best constant answer, for each kind of new pairs. 0 is no better than always
  answering the median, and below 0 is worse. The score *acquisition* is the mean of the kinds, at least 0.
- *Integration*: how well a probe of real cities places the new ones. In A4 and *one alone, as many* (A3) it is measured
  otherwise, and lower: [why](benchmark.md#scores).
- *Task* and *former*, where cities have moved (A6): the error of answers about them in km, counted from where they are
  now and from where they were before.
- *Volume*: the product of map, answers, acquisition and integration. By it strengths were chosen, on another ocean.
- *Strength*: the value that was chosen, and the learning rate where it is not the scenario's. Strengths of `early` and
  `new_rows` are factors of the rate.

Methods stand together that may use the same: *nothing* beside the new data and the weights they start from, or what is
named; within, the largest volume first. **Bold**: no other method has means as high in map, answers, learned (the mean)
and integration, and one of them higher. A star (*): none is as high in answers and learned, and higher in one: the
front for who wants old answers kept and new ones learned. A seed with a failed run has no number and is counted as
failed.

**The pictures.** On the left a mark is filled if the method is on the front, on the right where the table has bold. A
bar is the interval. What is learned is drawn from 0 up: below, a constant answer is better.

**The table of differences.** The volume's paired differences from two references, seed by seed, and the chance that a
seed is higher than one of the reference.

**The table of prices.** First, the seconds of training and evaluation, as a multiple of plain fine-tuning's in the same
seed. They were not measured side by side, and records may be of several machines, so they are rough. Below the table
stands whether they are the process's own, so that other work on the machine is not counted, and of which seeds. The
page on speed has [ratios measured side by side](performance.md#strategies-against-forgetting). Then the old pairs that
must be kept at hand, and both for a hundredth of volume.

The first protocol's page is [leaderboard_1.md](leaderboard_1.md)."""

SMALL = (
    "Few seeds: with three, an interval is wide, and no p-value of n seeds is below 2 / 2^n (0.25 for three, "
    "0.0625 for five). The seeds share a base, so nothing here is about other bases."
)


Sections = Callable[[Board], str]


def page(records: Sequence[BenchRecord], pictures: str | None = "images") -> str:
    """The whole page; `pictures`: the folder that `write_pictures` wrote to, relative to the page.

    Raises UserError for records of two protocols.
    """
    first = protocol_of(records) == 1
    sections: tuple[Sections, ...] = (first_protocol.scores,) if first else (_differences, _firmness, _price)
    parts = [(first_protocol.INTRODUCTION if first else INTRODUCTION).format(n=len(records))]
    of_records = boards(records)
    for tier in dict.fromkeys(board.tier for board in of_records):
        of_tier = [board for board in of_records if board.tier == tier]
        parts += [f"## Tier {tier}", _about([record for record in records if record.tier == tier])]
        parts.append("" if first else _not_scored(tier, of_tier))
        parts += ["### Comparisons named for the gpu tier", _named(of_tier)]
        for board in of_tier:
            parts.append(f"### {board.title}")
            parts += ["" if first else what_to_use(board), _readings(board)]
            if pictures is not None and board.best():
                parts.append(f"![What the methods keep and learn in {board.title}]({pictures}/{picture_name(board)})")
            parts += [*(section(board) for section in sections), _continual(board), _failures(board)]
        parts += ["### Trials", _trials(of_tier), "### Commands", _commands(of_tier)]
        parts += ["### Commits", _commits([record for record in records if record.tier == tier])]
    return "\n\n".join(part for part in parts if part) + "\n"


def protocol_of(records: Sequence[BenchRecord]) -> int:
    """The records' protocol. Raises UserError if they are of two, or none at all."""
    protocols = {record.protocol for record in records}
    if not protocols:
        raise UserError("no records; give the files of some, or their folder")
    if len(protocols) > 1:
        raise UserError("the records are of two protocols, which share no table; write a page for each")
    return protocols.pop()


# --- the second protocol's tables


def _not_scored(tier: str, of_tier: Sequence[Board]) -> str:
    """By scenario, the methods that take part in the tier and lack a record of some seed; "" if there is none such."""
    scored = {
        (board.scenario, record.method, record.seed)
        for board in of_tier
        for standing in board.standings
        for record in standing.records
    }
    absent: dict[str, list[str]] = {}
    for scenario, method in pairings(tier):
        if any((scenario, method, seed) not in scored for seed in TIERS[tier].seeds_of(scenario)):
            absent.setdefault(scenario, []).append(method)
    heading = f"**Not scored yet** with every seed. `atlantis bench --tier {tier}` goes on, and no order here is final."
    lines = [f"- {scenario}: {', '.join(methods)}" for scenario, methods in absent.items()]
    missing = "\n".join([heading, "", *lines]) if lines else ""
    return "\n\n".join(part for part in (missing, _not_in_tier(tier, {method for _, method, _ in scored})) if part)


def _not_in_tier(tier: str, scored: Collection[str]) -> str:
    """The benchmark's methods that take part in no scenario of the tier, and have no record; "" if there are none."""
    taking_part = {method for _, method in pairings(tier)} | set(scored)
    if not pairings(tier) or not (others := [name for name in METHODS if name not in taking_part]):
        return ""
    return (
        f"**Not in this tier:** {', '.join(others)}. Nothing here is said about them. "
        f"`--only A1/{others[0]}` makes a row of one."
    )


def _differences(board: Board) -> str:
    """The volume's paired differences."""
    header, cells = volume_less_references(board)
    rows = [[standing.method, *cells(standing)] for standing in board.standings if standing.seeds]
    return table(["method", *header], rows) if header and rows else ""


def _firmness(board: Board) -> str:
    """What the order depends on, and which difference the seeds can show."""
    lines = [line for line in (what_orders(board), what_differs_by_seed(board)) if line]
    if least := least_differences(board, REFERENCES[0]):
        sizes = ", ".join(f"{name} {size:.3f}" for name, size in least.items())
        lines.append(
            f"By the spread of its own seeds, a method's mean difference of volume from {REFERENCES[0]} has an "
            f"interval without 0 from this size on: {sizes}."
        )
    if found := changes(board):
        lines.append("How firm the order is, of the methods that have every seed: Kendall's tau with their order.")
        rows = [[c.change, ABSENT if math.isnan(c.tau) else f"{c.tau:.2f}", c.first] for c in found]
        lines.append(table(["", "tau", "first"], rows))
    return "\n\n".join(lines)


def _price(board: Board) -> str:
    naive, clock, rows = board.of(REFERENCES[0]), clock_of(board), []
    for standing in board.standings:
        if standing.seeds:
            beside, pairs = seconds_beside(standing, naive, clock), standing.old_pairs
            row = [standing.method, multiple(beside)]
            row.append(f"{pairs:,}" if isinstance(pairs, int) else pairs or ABSENT)
            rows.append([*row, _rounded(minutes_per_point(standing, clock)), _rounded(pairs_per_point(standing))])
    header = ["method", "seconds, x naive", "old pairs kept", "minutes per 0.01 of volume", "old pairs per 0.01"]
    whose = "the process's own" if clock.name == "processor_seconds" else "by the clock"
    note = f"Seconds: {whose}, of the seeds {', '.join(map(str, sorted(clock.seeds)))}."
    return f"{table(header, rows)}\n\n{note}" if len(rows) > 1 else ""


def _rounded(number: float | None) -> str:
    return ABSENT if number is None else f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


# --- both protocols'


def _readings(board: Board) -> str:
    """What is kept and learned, in quantities that no mean hides: a row for each method."""
    first, quantities = board.protocol == 1, readings_of(board)
    header = ["may use", "method", "rate" if first else "strength"]
    header += [quantity.replace(f"{LEARNED} ", f"{LEARNED}: ") for quantity in quantities]
    best, front, rows = board.best(), [] if first else board.front(), []
    for standing in board.standings:
        name = f"**{standing.method}**" if standing.method in best else standing.method
        name += " *" if standing.method in front else ""
        numbers = [shown(standing, quantity) for quantity in quantities]
        ends = [km_before_and_after(standing), answers_before_and_after(standing)]
        counts = [str(len(standing.seeds)), str(len(standing.failed))]
        setting = rate(standing) if first else strength(standing)
        rows.append([standing.uses, name, setting, *numbers, *ends, *counts])
    return table([*header, "map km", "old answers km", "seeds", "failed"], rows)


def _about(records: Sequence[BenchRecord]) -> str:
    """Seeds, device and version, and how little the seeds say."""
    seeds, devices, versions = conditions(records)
    lines = [f"Seeds {', '.join(map(str, seeds))}. Device: {'; '.join(devices) or ABSENT}."]
    lines.append(f"PyTorch {', '.join(versions) or ABSENT}. Commits stand at the end.")
    return " ".join(lines + ([SMALL] if records[0].tier != "gpu" else []))


def _continual(board: Board) -> str:
    """Sequences: the measures of continual learning; seeds' means of their orders."""
    rows = [
        [standing.method, *(shown(standing, key) for key in MEASURES)]
        for standing in board.standings
        if any(record.continual is not None for record in standing.records)
    ]
    header = ["method", "average skill", "forgetting", "backward transfer", "forward transfer"]
    note = (
        "Unit: the untrained model's error on real cities, some 6,100 km, for every region. A skill of 0 is the "
        "untrained model's on that region."
    )
    return f"{table(header, rows)}\n\n{note}" if rows else ""


def _named(of_tier: Sequence[Board]) -> str:
    """The hypotheses with what the records say."""
    rows = [_tested(tested) for tested in judged(of_tier)]
    header = ["", "expected", "difference", "seeds", f"p, Holm over {len(HYPOTHESES)}"]
    note = (
        f"Named on {DATE}, before any run of the gpu tier. The first protocol's cpu tier had been seen, so for it they "
        "are no predictions. All variants and scenarios are one family. *Answers kept* is a ratio of errors, and not "
        "the score *answers*. [What each asks](benchmark.md#statistics)."
    )
    return f"{table(header, rows)}\n\n{note}"


def _tested(tested: Tested) -> list[str]:
    c = tested.comparison
    numbers = [ABSENT, "0", ABSENT] if c is None else [difference(c), str(c.n), f"{tested.p:.3g}"]
    return [tested.hypothesis.name, in_words(tested.hypothesis), *numbers]


def _failures(board: Board) -> str:
    lines = [
        f"- failed: {standing.method}, seed {record.seed}: {' '.join((record.error or '').split())}"
        for standing in board.standings
        for record in standing.records
        if record.error is not None
    ]
    return "\n".join(lines)


def _trials(of_tier: Sequence[Board]) -> str:
    """What tuning saw, what it chose, and what it would have chosen without a score."""
    rows = {}
    for board in of_tier:
        for standing in board.standings:
            first = standing.records[0]
            if first.trials:
                chosen = ABSENT if first.value is None else f"{first.value:g}"
                row = [standing.method, first.setting or ABSENT, tried(standing), chosen]
                rows[standing.method] = row if first.protocol == 1 else [*row, _chosen_without(first, board)]
    if not rows:
        return "None: every method has its default settings."
    header = ["method", "setting", "volume on the development ocean", "chosen"]
    if of_tier[0].protocol == 1:
        return table(header, list(rows.values()))
    note = (
        "Volumes are means over the development seeds; each seed's stands in brackets. The last column has the values "
        "that the other three scores would choose; trials from before 2026-11-29 do not tell."
    )
    return f"{table([*header, 'chosen without a score'], list(rows.values()))}\n\n{note}"


def _chosen_without(record: BenchRecord, board: Board) -> str:
    """By score that is left out, a value other than the record's; "none" where there is no such."""
    default = METHODS[record.method].default if record.method in METHODS else None
    found = choices(record.trials, default, board.scores)
    if found is None:
        return ABSENT
    others = [f"{value:g} ({name})" for name, value in found.items() if value is not None and value != record.value]
    return ", ".join(others) or "none"


def _commands(of_tier: Sequence[Board]) -> str:
    commands = [standing.records[0].command for board in of_tier for standing in board.standings]
    lines = "\n".join(dict.fromkeys(commands))
    return (
        "What makes a row again, its trials included. `--seed 42` makes one seed of it. With `--records` and the "
        f"record of another seed it has no trials, and takes minutes.\n\n```\n{lines}\n```"
    )


def _commits(records: Sequence[BenchRecord]) -> str:
    """By commit and version, the scores that were made with it: methods by scenario, with their seeds."""
    rows: dict[tuple[str, str], dict[str, dict[str, list[int]]]] = {}
    for record in records:
        made_with = (record.commit or ABSENT, (record.versions or {}).get("atlantis", ABSENT))
        seeds = rows.setdefault(made_with, {}).setdefault(record.scenario, {}).setdefault(record.method, [])
        seeds += [record.seed] if record.seed not in seeds else []
    cells = [[commit, version, _seeds_of(scenarios)] for (commit, version), scenarios in sorted(rows.items())]
    note = "A plus: with changes that were not committed. Scores of equal runs, such as A2's of A1, have their commit."
    return f"{table(['commit', 'atlantis', 'scores'], cells)}\n\n{note}"


def _seeds_of(scenarios: dict[str, dict[str, list[int]]]) -> str:
    return "; ".join(
        f"{scenario}: "
        + ", ".join(f"{method} {' '.join(map(str, sorted(of)))}" for method, of in sorted(methods.items()))
        for scenario, methods in sorted(scenarios.items())
    )


# --- pictures


def picture_name(board: Board) -> str:
    words = "_".join(re.sub(r"[^\w=+-]", "", word) for word in [board.tier, board.scenario, *board.variant.split()])
    return f"leaderboard_{words}.png" if board.protocol == 1 else f"leaderboard{board.protocol}_{words}.png"


def write_pictures(records: Sequence[BenchRecord], folder: Path) -> list[Path]:
    """A Pareto plot for every variant with two methods or more; the same records give the same bytes."""
    from atlantis import artifacts
    from atlantis.bench.pareto_plot import pareto_plot
    from atlantis.report.style import rendered

    written = []
    for board in boards(records):
        if board.best():
            artifacts.write_bytes(folder / picture_name(board), rendered(pareto_plot(board), "png"))
            written.append(folder / picture_name(board))
    return written
