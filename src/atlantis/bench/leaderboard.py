"""The leaderboard in Markdown, and its pictures, from nothing but records: see docs/benchmark.md for the protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atlantis.bench.records import Record
from atlantis.bench.standing import REFERENCES, Board, Standing, boards, iqm, mean_and_interval
from atlantis.report.tables import ABSENT

INTRODUCTION = """# Leaderboard

Generated from {n} records by `python scripts/leaderboard.py RECORDS... -o docs/leaderboard.md`; not edited by hand. The
protocol, the scores and how to enter a method: [benchmark.md](benchmark.md).

Scores are from 0 to 1, higher better; *volume* is the product of the three. A number is the mean over seeds, in
parentheses its 95 % bootstrap interval (10,000 resamples); one seed has none. Methods stand together that may use the
same: *nothing* beside the new data and the weights they start from, or what is named. **Bold**: no other method has
mean scores as high in all three and a higher one. A seed with a failed run has no number and is counted as failed."""

SMALL = (
    "Few seeds: the interval of three is rough, and the least p-value of n seeds is 2 / 2^n (0.25 for three), before "
    "Holm's correction."
)


def page(records: Sequence[Record], pictures: str | None = "images") -> str:
    """The whole page; `pictures`: the folder that `write_pictures` wrote to, relative to the page."""
    parts = [INTRODUCTION.format(n=len(records))]
    found = boards(records)
    for tier in dict.fromkeys(board.tier for board in found):
        of_tier = [board for board in found if board.tier == tier]
        parts += [f"## Tier {tier}", _about([record for record in records if record.tier == tier])]
        for board in of_tier:
            parts += [f"### {board.title}", _scores(board)]
            if pictures is not None and board.best():
                parts.append(f"![Scores of the methods in {board.title}]({pictures}/{picture_name(board)})")
            parts += [_comparisons(board), _continual(board), _failures(board)]
        parts += ["### Trials", _trials(of_tier), "### Commands", _commands(of_tier)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(records: Sequence[Record]) -> str:
    """Seeds, device and version, and how little the seeds say."""
    seeds = sorted({record.seed for record in records})
    devices = sorted({f"{record.device['name']}, {record.device['precision']}" for record in records if record.device})
    versions = sorted({record.versions["torch"] for record in records if record.versions})
    commits = sorted({record.commit for record in records if record.commit})
    lines = [f"Seeds {', '.join(map(str, seeds))}. Device: {'; '.join(devices) or ABSENT}."]
    lines.append(f"PyTorch {', '.join(versions) or ABSENT}. Commits: {', '.join(commits) or ABSENT}.")
    return " ".join(lines + ([SMALL] if len(seeds) < 6 else []))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_interval(numbers: tuple[float, float, float], spec: str = ".3f") -> str:
    """A mean and, in parentheses, its interval; without where the interval is NaN."""
    mean, low, high = numbers
    return f"{mean:{spec}}" if math.isnan(low) else f"{mean:{spec}} ({low:{spec}} to {high:{spec}})"


def _number(values: np.ndarray) -> str:
    return with_interval(mean_and_interval(values))


def _scores(board: Board) -> str:
    header = ["may use", "method", "retention", "acquisition", "integration", "volume", "map km", "seeds", "failed"]
    best, rows = board.best(), []
    for one in board.standings:
        name = f"**{one.method}**" if one.method in best else one.method
        numbers = [ABSENT] * 5
        if one.seeds:
            numbers = [_number(values) for values in (*one.scores.T, one.volumes)] + [_km(one)]
        rows.append([one.uses, name, *numbers, str(len(one.seeds)), str(len(one.failed))])
    note = "*map km*: error of a probe fitted anew on real cities, on those held out from it, before → after."
    return markdown_table(header, rows) + "\n\n" + note


def _km(one: Standing) -> str:
    numbers = [record.numbers for record in one.records if record.numbers is not None]
    start, end = (np.mean([getattr(n, key) for n in numbers]) for key in ("km_start", "km_end"))
    return f"{start:,.0f} → {end:,.0f}"


def _comparisons(board: Board) -> str:
    compared = {name: board.compared_with(name) for name in REFERENCES}
    compared = {name: found for name, found in compared.items() if found}
    if not compared:
        return ""
    header = ["method", "volume, IQM"]
    for name in compared:
        header += [f"less {name}, paired", f"P(better than {name})", "p, Holm"]
    rows = []
    for one in board.standings:
        if not one.seeds:
            continue
        row = [one.method, f"{iqm(one):.3f}"]
        for found in compared.values():
            c = found.get(one.method)
            if c is None:
                row += [ABSENT] * 3
                continue
            row += [with_interval((c.difference, c.low, c.high), "+.3f"), f"{c.improvement:.2f}", f"{c.p:.3g}"]
        rows.append(row)
    return markdown_table(header, rows)


def _continual(board: Board) -> str:
    """Sequences: the measures of continual learning; seeds' means of their orders."""
    rows = []
    for one in board.standings:
        found = [(record.seed, record.continual) for record in one.records if record.continual is not None]
        if found:
            keys = list(type(found[0][1]).model_fields)
            seeds = list(dict.fromkeys(seed for seed, _ in found))
            values = {
                key: [np.mean([getattr(c, key) for s, c in found if s == seed]) for seed in seeds] for key in keys
            }
            rows.append([one.method, *(_number(np.array(values[key])) for key in keys)])
    header = ["method", "average skill", "forgetting", "backward transfer", "forward transfer"]
    return markdown_table(header, rows) if rows else ""


def _failures(board: Board) -> str:
    lines = [
        f"- failed: {one.method}, seed {record.seed}: {' '.join((record.error or '').split())}"
        for one in board.standings
        for record in one.records
        if record.error is not None
    ]
    return "\n".join(lines)


def _trials(of_tier: Sequence[Board]) -> str:
    """What tuning saw, and what it chose."""
    rows = {}
    for board in of_tier:
        for one in board.standings:
            first = one.records[0]
            if first.trials:
                tried = [f"{t.value:g}: {'failed' if t.volume is None else f'{t.volume:.3f}'}" for t in first.trials]
                chosen = ABSENT if first.value is None else f"{first.value:g}"
                rows[one.method] = [one.method, first.setting, ", ".join(tried), chosen]
    if not rows:
        return "None: every method has its default settings."
    return markdown_table(["method", "setting", "volume on the development ocean", "chosen"], list(rows.values()))


def _commands(of_tier: Sequence[Board]) -> str:
    commands = [one.records[0].command for board in of_tier for one in board.standings]
    return "What makes a row again, its trials included:\n\n```\n" + "\n".join(dict.fromkeys(commands)) + "\n```"


# --- pictures


def picture_name(board: Board) -> str:
    words = "_".join([board.tier, board.scenario, *board.variant.replace(",", "").split()])
    return f"leaderboard_{words}.png"


def write_pictures(records: Sequence[Record], folder: Path) -> list[Path]:
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
