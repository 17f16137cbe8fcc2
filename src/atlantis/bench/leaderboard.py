"""The leaderboard in Markdown, and its pictures, from nothing but records: see docs/benchmark.md for the protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from atlantis.bench.hypotheses import DATE, HYPOTHESES, Tested, in_words, judged
from atlantis.bench.quantities import (
    KEPT_ANSWERS,
    KEPT_MAP,
    LEARNED,
    MEASURES,
    OLD_ANSWERS,
    SCORES,
    WITH_ANSWERS,
    is_km,
    rate_factor,
)
from atlantis.bench.record import BenchRecord
from atlantis.bench.standing import REFERENCES, Board, Comparison, Standing, boards, mean_and_interval
from atlantis.markdown import table
from atlantis.names import SLICES
from atlantis.report.tables import ABSENT
from atlantis.statistics import interquartile_mean

INTRODUCTION = """# Leaderboard

Generated from {n} records by `python scripts/leaderboard.py RECORDS... -o docs/leaderboard.md`; not edited by hand. The
protocol, the scores and how to enter a method: [benchmark.md](benchmark.md).

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
[benchmark.md](benchmark.md#history) says what changed."""

SMALL = (
    "Few seeds: with three, an interval is wide, and no p-value of n seeds is below 2 / 2^n (0.25 for three). "
    "The seeds share a base, so nothing here is about other bases."
)


def page(records: Sequence[BenchRecord], pictures: str | None = "images") -> str:
    """The whole page; `pictures`: the folder that `write_pictures` wrote to, relative to the page."""
    parts = [INTRODUCTION.format(n=len(records))]
    of_records = boards(records)
    for tier in dict.fromkeys(board.tier for board in of_records):
        of_tier = [board for board in of_records if board.tier == tier]
        parts += [f"## Tier {tier}", _about([record for record in records if record.tier == tier])]
        parts += ["### Comparisons named for the gpu tier", _named(of_tier)]
        for board in of_tier:
            parts += [f"### {board.title}", _readings(board)]
            if pictures is not None and board.best():
                parts.append(f"![What the methods keep and learn in {board.title}]({pictures}/{picture_name(board)})")
            parts += [_first_protocol(board), _continual(board), _failures(board)]
        parts += ["### Trials", _trials(of_tier), "### Commands", _commands(of_tier)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(records: Sequence[BenchRecord]) -> str:
    """Seeds, device and version, and how little the seeds say."""
    seeds, devices, versions = conditions(records)
    commits = sorted({record.commit for record in records if record.commit})
    lines = [f"Seeds {', '.join(map(str, seeds))}. Device: {'; '.join(devices) or ABSENT}."]
    lines.append(f"PyTorch {', '.join(versions) or ABSENT}. Commits: {', '.join(commits) or ABSENT}.")
    return " ".join(lines + ([SMALL] if len(seeds) < 6 else []))


def conditions(records: Sequence[BenchRecord]) -> tuple[list[int], list[str], list[str]]:
    """The seeds, the devices with their precision, and the versions of PyTorch that records were made with."""
    seeds = sorted({record.seed for record in records})
    devices = sorted({f"{record.device['name']}, {record.device['precision']}" for record in records if record.device})
    return seeds, devices, sorted({record.versions["torch"] for record in records if record.versions})


def with_interval(numbers: tuple[float, float, float], spec: str = ".3f") -> str:
    """A mean and, in parentheses, its interval; without where the interval is NaN."""
    mean, low, high = numbers
    return f"{mean:{spec}}" if math.isnan(low) else f"{mean:{spec}} ({low:{spec}} to {high:{spec}})"


def shown(standing: Standing, quantity: str) -> str:
    """A quantity's mean over the seeds that have it, and its interval."""
    values = standing.array(quantity)
    return with_interval(mean_and_interval(values, quantity), spec_of(quantity)) if len(values) else ABSENT


def spec_of(quantity: str) -> str:
    """How a quantity is written: km as whole numbers, all else with three digits, and four for the least volume."""
    return ",.0f" if is_km(quantity) else ".4f" if quantity == WITH_ANSWERS else ".3f"


def difference(comparison: Comparison, spec: str = ".3f") -> str:
    """A paired difference and its interval."""
    low, high = comparison.interval.low, comparison.interval.high
    return with_interval((comparison.difference, low, high), f"+{spec}")


def kinds(board: Board) -> list[str]:
    """The kinds of new pairs that the board's runs were trained on."""
    numbers = [
        record.numbers for standing in board.standings for record in standing.records if record.numbers is not None
    ]
    return [name for name in SLICES if any(name in n.constant_km for n in numbers)]


def rate(standing: Standing) -> str:
    """The learning rate, as a multiple of the scenario's."""
    return " ".join(dict.fromkeys(f"x {rate_factor(record):g}" for record in standing.records))


# --- the parts of a board


def _readings(board: Board) -> str:
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
        rows.append([standing.uses, name, rate(standing), *numbers, _km(standing), old, *counts])
    return table(header, rows)


def _km(standing: Standing) -> str:
    if not standing.seeds:
        return ABSENT
    start, end = (standing.array(key).mean() for key in ("km_start", "km_end"))
    return f"{start:,.0f} → {end:,.0f}"


def _first_protocol(board: Board) -> str:
    """Scores by which trials chose, and the volume's paired differences."""
    compared = {name: comparison for name in REFERENCES if (comparison := board.compared_with(name))}
    header = ["method", *SCORES, "volume", "middle half"]
    for name in compared:
        header += [f"less {name}, paired", f"P(better than {name})"]
    rows = []
    for standing in board.standings:
        if not standing.seeds:
            continue
        row = [standing.method, *(shown(standing, quantity) for quantity in (*SCORES, "volume"))]
        row.append(f"{interquartile_mean(standing.volumes):.3f}")
        for comparison in compared.values():
            c = comparison.get(standing.method)
            row += [ABSENT] * 2 if c is None else [difference(c), f"{c.improvement:.2f}"]
        rows.append(row)
    parts = [table(header, rows)] if rows else []
    if shares := board.variance_shares():
        parts.append(
            f"What orders the volume, as shares of the variance of log scores between methods: {percent(shares)}."
        )
    return "\n\n".join(parts)


def percent(shares: dict[str, float]) -> str:
    """Shares in words, the largest first."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(
        f"{name} {100 * share:.3g} %" if share >= 0.001 else f"{name} below 0.1 %" for name, share in ordered
    )


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
        f"Named on {DATE}, before any run of the gpu tier; the cpu tier had been seen, so for it they are no "
        "predictions. All variants and scenarios are one family. [What each asks](benchmark.md#statistics)."
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
    """What tuning saw, and what it chose."""
    rows = {}
    for board in of_tier:
        for standing in board.standings:
            first = standing.records[0]
            if first.trials:
                tried = [f"{t.value:g}: {'failed' if t.volume is None else f'{t.volume:.3f}'}" for t in first.trials]
                chosen = ABSENT if first.value is None else f"{first.value:g}"
                rows[standing.method] = [standing.method, first.setting, ", ".join(tried), chosen]
    if not rows:
        return "None: every method has its default settings."
    return table(["method", "setting", "volume on the development ocean", "chosen"], list(rows.values()))


def _commands(of_tier: Sequence[Board]) -> str:
    commands = [standing.records[0].command for board in of_tier for standing in board.standings]
    return "What makes a row again, its trials included:\n\n```\n" + "\n".join(dict.fromkeys(commands)) + "\n```"


# --- pictures


def picture_name(board: Board) -> str:
    words = "_".join([board.tier, board.scenario, *board.variant.replace(",", "").split()])
    return f"leaderboard_{words}.png"


def write_pictures(records: Sequence[BenchRecord], folder: Path) -> list[Path]:
    """A Pareto plot for every variant that has a score; the same records give the same bytes."""
    from atlantis import artifacts
    from atlantis.bench.pareto_plot import pareto_plot
    from atlantis.report.style import rendered

    written = []
    for board in boards(records):
        if board.best():
            artifacts.write_bytes(folder / picture_name(board), rendered(pareto_plot(board), "png"))
            written.append(folder / picture_name(board))
    return written
