"""What the data say, in Markdown: prose with named places, each filled from records. No figure is typed by hand.

    text, missing = findings(prose, records)

A place is `{{kind|argument|...}}`. A row is `SCENARIO/METHOD` or `SCENARIO, VARIANT/METHOD`; quantities are those of
quantities.py: `map kept`, `task SLICE` (in km), `forgetting`, ...

    {{mean|A0/naive|map kept}}                  mean over seeds, with its interval
    {{less|A0/replay|A0/naive|map kept}}        the first less the second, seed by seed: mean and interval, with "not
                                                shown" where that holds 0
    {{higher|A0/replay|A0/naive|map kept}}      in how many of the seeds it is higher: "2 of 3 seeds"
    {{positive|A0/naive|learned}}               in how many of the seeds it is above 0: "3 of 3 seeds"
    {{seeds|A0/naive|map kept}}                 its value in each seed, in their order
    {{seconds|A0/replay}}                       training and evaluation, as a multiple of plain fine-tuning's
    {{rate|A0/naive}}                           the learning rate, as a multiple of the scenario's: "x 2"
    {{strength|A1/replay}}  {{trials|A1/replay}}    what trials chose; what they tried, with its volume
    {{variance|A1}}                             which score the first protocol's volume is ordered by, in per cent
    {{differences|A1|naive|replay,joint}}       a row per method: the first, and the others less the first
    {{errors|A1|naive,replay}}                  a row per method: errors in km, and rows to compare them with
    {{cases|naive|A0; A3, at once}}             errors of one method, and what it learned, a row per case
    {{table|A0}}  {{sequence|A3}}               readings of all its methods; measures of continual learning
    {{advice|A1}}  {{front|A1|what it shows}}   what to use; the leaderboard's picture
    {{firm|A1; A0}}  {{power|A1}}               what turns the advice; the least difference that the seeds can show
    {{unbeaten|A1}}  {{tuned|A1}}               the front of old answers and learned; the methods that have trials
    {{noise|A1|replay,distill}}                 the score that a method's volume differs by most from seed to seed
    {{budgets|map kept}}                        A2: a row per method, a column per number of old pairs
    {{figure|A0|what it shows}}                 the picture of a scenario: several with `+`, as A4+A6+A7
    {{command|A0}}  {{failures}}  {{below|A1}}  what makes it again; what failed; who is below naive in every seed
    {{about}}                                   tier, seeds, device, versions

A paragraph that asks for a record that there is not reads *not run* and names the command; that is in `missing` too,
and so is a row that lacks a seed which other rows have (in the scenarios that have few seeds, one of the first few).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from atlantis.bench.advice import advise, what_to_use
from atlantis.bench.cells import (
    conditions,
    largest_share,
    multiple,
    percent,
    rate,
    readings_of,
    spec_of,
    strength,
    tried,
    with_interval,
)
from atlantis.bench.leaderboard import picture_name as board_picture
from atlantis.bench.price import clock_of, seconds_beside
from atlantis.bench.quantities import LEARNED, MEASURES, OF_CONSTANT, OLD_ANSWERS, OLD_ANSWERS_START, is_km
from atlantis.bench.record import BenchRecord
from atlantis.bench.scenarios import BUDGETS
from atlantis.bench.sensitivity import least_differences
from atlantis.bench.standing import REFERENCES, Board, Standing, boards, difference_interval, mean_and_interval
from atlantis.bench.tiers import TIERS
from atlantis.errors import UserError
from atlantis.markdown import table
from atlantis.names import SLICES
from atlantis.report.tables import ABSENT
from scripts.groups import NOT_RUN
from scripts.places import PLACE, fill

NOT_SHOWN = "not shown"
"""Of a difference whose interval holds 0: it is not shown to be one, nor to be none."""

NEW_PAIRS = dict(zip(SLICES[1:], ("pairs with real cities", "pairs of two new cities"), strict=True))
"""By slice, what new pairs are called."""

COMPARED = {
    "answers": "old answers, score",
    "km_end": "error of the map (lower is better)",
    "integration": "integration",
    **{f"{LEARNED} {name}": f"{LEARNED}: {title}" for name, title in NEW_PAIRS.items()},
    "volume": "volume",
}
"""What a table of differences has, and what it calls it."""

ERRORS = {
    OLD_ANSWERS: "old answers",
    **{f"task {name}": title for name, title in NEW_PAIRS.items()},
    "km_end": "map",
}
"""The same of a table of errors."""

YARDSTICKS = {
    "the base": {OLD_ANSWERS: OLD_ANSWERS_START, "km_end": "km_start"},
    "one answer to everything": {quantity: quantity + OF_CONSTANT for quantity in ERRORS if quantity != "km_end"},
}
"""Rows to compare with: which quantities stand for those of `ERRORS`."""

OF_CASES = {
    OLD_ANSWERS: "old answers",
    "km_end": "map",
    **{f"{LEARNED} {name}": f"{LEARNED}: {title}" for name, title in NEW_PAIRS.items()},
}
"""Of a table of cases. Between them a constant's error differs, so km of new answers cannot be compared."""


def findings(prose: str, records: Sequence[BenchRecord], pictures: str = "images") -> tuple[str, list[str]]:
    """The page, and what it asks for and no record has. Raises UserError for a place that means nothing."""
    page = _Page(records, pictures)
    text = "\n\n".join(page.paragraph(part) for part in prose.split("\n\n"))
    return text, list(dict.fromkeys(page.missing + page.partial))


def figures(prose: str) -> list[str]:
    """The scenarios of each picture that the prose asks for, such as `A4+A6+A7`."""
    marks = (match[1].split("|") for match in PLACE.finditer(prose))
    return list(dict.fromkeys(parts[1] for parts in marks if parts[0] == "figure"))


def picture_name(scenarios: str) -> str:
    return f"findings_{scenarios.replace('+', '_')}.png"


class _Page:
    """Fills places, and notes what is missing."""

    def __init__(self, records: Sequence[BenchRecord], pictures: str) -> None:
        tiers = sorted({record.tier for record in records})
        if len(tiers) != 1 or tiers[0] not in TIERS:
            raise UserError(
                f"findings are of one tier ({', '.join(TIERS)}), and these records are of {', '.join(tiers) or 'none'}"
            )
        self.tier, self.records, self.pictures = tiers[0], list(records), pictures
        self.boards = {board.title: board for board in boards(records)}
        self.like = replace(TIERS[self.tier], seeds=sorted({record.seed for record in records}))
        """Their tier with the seeds that there are, of which some scenarios have fewer."""
        self.missing: list[str] = []
        self.partial: list[str] = []
        """Rows that lack some of the seeds: they are shown, with the seeds that they have."""

    def paragraph(self, prose: str) -> str:
        before = len(self.missing)
        text = PLACE.sub(self.fill, prose)
        commands = dict.fromkeys(entry.rpartition(": ")[2] for entry in self.missing[before:])
        end = "\n" if prose.endswith("\n") else ""
        return f"*{NOT_RUN}*: " + ", ".join(f"`{command}`" for command in commands) + end if commands else text

    def fill(self, match: re.Match[str]) -> str:
        return fill(
            match,
            {
                "mean": self.mean, "less": self.less, "higher": self.higher, "table": self.table,
                "sequence": self.sequence, "budgets": self.budgets, "figure": self.figure, "command": self.command,
                "failures": self.failures, "below": self.below, "about": self.about, "rate": self.rate,
                "variance": self.variance, "positive": self.positive, "advice": self.advice, "front": self.front,
                "seeds": self.by_seed, "seconds": self.seconds, "differences": self.differences,
                "errors": self.errors, "cases": self.cases, "strength": self.strength,
                "trials": self.trials, "firm": self.firm, "power": self.power, "unbeaten": self.unbeaten,
                "tuned": self.tuned, "noise": self.noise,
            },
        )  # fmt: skip

    # --- numbers

    def mean(self, row: str, quantity: str) -> str:
        values = self._values(row, quantity)
        return NOT_RUN if not values else _shown(np.array(list(values.values())), quantity)

    def less(self, row: str, other: str, quantity: str) -> str:
        pairs = self._pairs(row, other, quantity)
        return NOT_RUN if not len(pairs) else _difference(pairs[:, 0] - pairs[:, 1], quantity)

    def higher(self, row: str, other: str, quantity: str) -> str:
        pairs = self._pairs(row, other, quantity)
        return NOT_RUN if not len(pairs) else f"{int((pairs[:, 0] > pairs[:, 1]).sum())} of {len(pairs)} seeds"

    def positive(self, row: str, quantity: str) -> str:
        values = self._values(row, quantity).values()
        return NOT_RUN if not values else f"{sum(value > 0 for value in values)} of {len(values)} seeds"

    def by_seed(self, row: str, quantity: str) -> str:
        values = self._values(row, quantity)
        return ", ".join(f"{value:{spec_of(quantity)}}" for value in values.values()) or NOT_RUN

    def seconds(self, row: str) -> str:
        self._values(row, "volume")
        standing, board = self._standing(row), self.boards.get(row.rpartition("/")[0])
        if standing is None or board is None:
            return NOT_RUN
        beside = seconds_beside(standing, board.of(REFERENCES[0]), clock_of(board))
        return multiple(beside)

    def rate(self, row: str) -> str:
        self._values(row, "rate")
        standing = self._standing(row)
        return rate(standing) if standing else NOT_RUN

    def strength(self, row: str) -> str:
        return self._of_standing(row, strength)

    def trials(self, row: str) -> str:
        return self._of_standing(row, tried)

    def _of_standing(self, row: str, show: Callable[[Standing], str]) -> str:
        self._values(row, "volume")  # where there are none, it is missing
        standing = self._standing(row)
        return show(standing) if standing else NOT_RUN

    def variance(self, scenario: str) -> str:
        (board,) = self._of(scenario) or [None]
        shares = board.variance_shares() if board else {}
        return percent(shares) if shares else NOT_RUN

    def _standing(self, row: str) -> Standing | None:
        title, _, method = row.rpartition("/")
        board = self.boards.get(title)
        return board.of(method) if board else None

    def _values(self, row: str, quantity: str) -> dict[int, float]:
        title, _, method = row.rpartition("/")
        standing = self._standing(row)
        values = standing.by_seed(quantity) if standing else {}
        scenario = title.partition(",")[0]
        command = self._command(scenario, method)
        if not values:
            self.missing.append(f"{row}, {quantity}: {command}")
        elif standing and (absent := {*self.like.seeds_of(scenario)} - {r.seed for r in standing.records}):
            self.partial.append(f"{row}, seed {', '.join(map(str, sorted(absent)))}: {command}")
        return values

    def _pairs(self, row: str, other: str, quantity: str) -> np.ndarray:
        """(n, 2): the quantity in both rows, of the n seeds that both have."""
        ours, theirs = self._values(row, quantity), self._values(other, quantity)
        return np.array([[ours[seed], theirs[seed]] for seed in ours if seed in theirs]).reshape(-1, 2)

    # --- tables and lists

    def _board(self, title: str) -> Board | None:
        if title not in self.boards:
            self.missing.append(f"{title}: {self._command(title.partition(',')[0])}")
        return self.boards.get(title)

    def _of(self, scenario: str) -> list[Board]:
        of_scenario = [board for board in self.boards.values() if board.scenario == scenario]
        if not of_scenario:
            self.missing.append(f"{scenario}: {self._command(scenario)}")
        return of_scenario

    def table(self, scenario: str) -> str:
        of_scenario = self._of(scenario)
        quantities = [*dict.fromkeys(q for board in of_scenario for q in readings_of(board)), "km_end", OLD_ANSWERS]
        rows = [
            [
                board.variant,
                standing.method,
                rate(standing),
                *(_cell(standing, quantity) for quantity in quantities),
                _seeds(standing),
            ]
            for board in of_scenario
            for standing in board.standings
        ]
        header = ["variant", "method", "rate", *(q.replace(f"{LEARNED} ", f"{LEARNED}: ") for q in quantities[:-2])]
        header += ["error of the map", "error of old answers", "seeds"]
        if not any(row[0] for row in rows):
            header, rows = header[1:], [row[1:] for row in rows]
        return table(header, rows) if rows else NOT_RUN

    def differences(self, title: str, reference: str, methods: str) -> str:
        """Readings of the reference, then of each method less the reference's, seed by seed."""
        first = f"{title}/{reference}"
        rows = [[f"`{reference}`", *(self.mean(first, quantity) for quantity in COMPARED), self.seconds(first)]]
        for method in methods.split(","):
            row = f"{title}/{method}"
            cells = [self.less(row, first, quantity) for quantity in COMPARED]
            rows.append([f"`{method}`", *cells, self.seconds(row)])
        return table(["", *COMPARED.values(), f"seconds, x {reference}"], rows)

    def errors(self, title: str, methods: str) -> str:
        """Errors in km, a row per method, under what they may be compared with."""
        named = methods.split(",")
        first = f"{title}/{named[0]}"
        rows = [self._row(label, first, map(instead.get, ERRORS)) for label, instead in YARDSTICKS.items()]
        rows += [self._row(f"`{method}`", f"{title}/{method}", ERRORS) for method in named]
        return table(["", *ERRORS.values()], rows)

    def cases(self, method: str, titles: str) -> str:
        """Errors in km of one method, and what it learned, a row per case."""
        rows = [self._row(title, f"{title}/{method}", OF_CASES) for title in map(str.strip, titles.split(";"))]
        return table(["", *OF_CASES.values()], rows)

    def _row(self, label: str, row: str, quantities: Iterable[str | None]) -> list[str]:
        """The quantities of a row, after its label; an empty cell for None."""
        cells = (self._of_standing(row, partial(_cell, quantity=name)) if name else ABSENT for name in quantities)
        return [label, *cells]

    def sequence(self, scenario: str) -> str:
        rows = [
            [standing.method, *(_cell(standing, quantity) for quantity in MEASURES)]
            for board in self._of(scenario)
            for standing in board.standings
            if any(record.continual for record in standing.records)
        ]
        return table(["method", *(name.replace("_", " ") for name in MEASURES)], rows) if rows else NOT_RUN

    def budgets(self, quantity: str) -> str:
        variants = ["0", *(f"{n:,}" for n in BUDGETS)]
        by_variant = {board.variant: {row.method: row for row in board.standings} for board in self._of("A2")}
        every = (method for variant in reversed(variants) for method in by_variant.get(variant, {}))
        methods = list(dict.fromkeys(every))
        cells = [
            [_cell(standing, quantity) if (standing := by_variant.get(v, {}).get(method)) else "" for v in variants]
            for method in methods
        ]
        rows = [[method, *row] for method, row in zip(methods, cells, strict=True)]
        return table(["method", *(f"{v} old pairs" for v in variants)], rows) if rows else NOT_RUN

    def figure(self, scenarios: str, caption: str) -> str:
        of_scenarios = [self._of(scenario) for scenario in scenarios.split("+")]
        return f"![{caption}]({self.pictures}/{picture_name(scenarios)})" if any(of_scenarios) else NOT_RUN

    def advice(self, scenario: str) -> str:
        return "\n\n".join(what_to_use(board) for board in self._of(scenario)) or NOT_RUN

    def firm(self, titles: str) -> str:
        """What to use in several cases, and what makes another method first."""
        rows = []
        for title in map(str.strip, titles.split(";")):
            for item in advise(board) if (board := self._board(title)) else ():
                equals = ", ".join(f"`{method}`" for method in item.equals) or "none"
                rows.append([title, item.permission, f"`{item.best.method}`", equals, item.in_words])
        header = ["case", "you have", "largest volume", "not told apart from it", "what makes another method first"]
        return table(header, rows) if rows else NOT_RUN

    def power(self, title: str) -> str:
        """The least mean difference of volume from plain fine-tuning whose interval leaves 0 out, by method."""
        board = self._board(title)
        least = least_differences(board, REFERENCES[0]) if board else {}
        return ", ".join(f"`{method}` {size:.3f}" for method, size in least.items()) or NOT_RUN

    def unbeaten(self, title: str) -> str:
        board = self._board(title)
        return ", ".join(f"`{method}`" for method in board.front()) if board else NOT_RUN

    def tuned(self, title: str) -> str:
        board = self._board(title)
        standings = board.standings if board else ()
        return ", ".join(sorted(f"`{s.method}`" for s in standings if s.records[0].trials)) or NOT_RUN

    def noise(self, title: str, methods: str) -> str:
        board = self._board(title)
        largest = {method: largest_share(board, method) if board else "" for method in methods.split(",")}
        return ", ".join(f"`{method}` {share}" for method, share in largest.items() if share) or NOT_RUN

    def front(self, scenario: str, caption: str) -> str:
        pictures = [f"![{caption}]({self.pictures}/{board_picture(board)})" for board in self._of(scenario)]
        return "\n".join(pictures) or NOT_RUN

    def below(self, scenario: str) -> str:
        """Methods whose volume is below naive's in every seed that both have."""
        named = []
        for board in self._of(scenario):
            naive = next((standing for standing in board.standings if standing.method == "naive"), None)
            plain = naive.by_seed("volume") if naive else {}
            for standing in board.standings:
                common = [(v, plain[s]) for s, v in standing.by_seed("volume").items() if s in plain]
                if common and standing is not naive and all(ours < theirs for ours, theirs in common):
                    named.append(f"`{standing.method}`" + (f" ({board.variant})" if board.variant else ""))
        return ", ".join(named) or "none"

    def failures(self) -> str:
        failed = [record for record in self.records if record.error is not None]
        lines = [f"- {r.file_name.removesuffix('.json')}: {' '.join((r.error or '').split())}" for r in failed]
        return "\n".join(lines) or f"None of the {len(self.records)} records is of a failure."

    def command(self, scenario: str) -> str:
        return f"`{self._command(scenario)}`"

    def _command(self, scenario: str, method: str | None = None) -> str:
        return f"atlantis bench --tier {self.tier} --only {scenario}" + (f"/{method}" if method else "")

    def about(self) -> str:
        seeds, devices, versions = conditions(self.records)
        return (
            f"{len(self.records)} records of the {self.tier} tier; seeds {', '.join(map(str, seeds))}; "
            f"{'; '.join(devices)}; PyTorch {', '.join(versions)}"
        )


def _cell(standing: Standing, quantity: str) -> str:
    values = standing.array(quantity)
    return _shown(values, quantity) if len(values) else ABSENT  # it ran, and has no such number


def _seeds(standing: Standing) -> str:
    return str(len(standing.seeds)) + (f" ({len(standing.failed)} failed)" if standing.failed else "")


def _shown(values: np.ndarray, quantity: str) -> str:
    """Mean and interval: km as whole numbers, all else with three digits."""
    return _with_unit(mean_and_interval(values, quantity), quantity, "")


def _difference(values: np.ndarray, quantity: str) -> str:
    """Mean and interval of paired differences, and whether they are shown to be any."""
    interval = difference_interval(values, quantity)
    text = _with_unit((float(values.mean()), interval.low, interval.high), quantity, "+")
    return text.replace(")", f"; {NOT_SHOWN})", 1) if interval.exists and interval.low <= 0 <= interval.high else text


def _with_unit(numbers: tuple[float, float, float], quantity: str, sign: str) -> str:
    text = with_interval(numbers, sign + spec_of(quantity))
    return f"{text} km" if is_km(quantity) and math.isfinite(numbers[0]) else text
