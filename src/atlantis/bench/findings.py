"""What the data say, in Markdown: prose with named places, each filled from records. No figure is typed by hand.

    text, missing = findings(prose, records)

A place is `{{kind|argument|...}}`. A row is `SCENARIO/METHOD` or `SCENARIO, VARIANT/METHOD`; a quantity is a score,
`volume`, a measure of sequences (`forgetting`, ...), `km_start`, `km_end`, `lost`, `bent`, `turned`, `shifted`,
`turned or shifted` (which older records do not tell apart), or `task SLICE` in km.

    {{mean|A0/naive|retention}}                 mean over seeds, with its interval
    {{less|A0/replay|A0/naive|retention}}       the first less the second, seed by seed: mean and interval
    {{higher|A0/replay|A0/naive|retention}}     in how many of the seeds it is higher: "2 of 3 seeds"
    {{table|A0}}  {{sequence|A3}}               scores of all its methods; measures of continual learning
    {{budgets|retention}}                       A2: a row per method, a column per number of old pairs
    {{figure|A0|what it shows}}                 the picture of a scenario: several with `+`, as A4+A6+A7
    {{command|A0}}  {{failures}}  {{below|A1}}  what makes it again; what failed; who is below naive in every seed
    {{about}}                                   tier, seeds, device, versions

A paragraph that asks for a record that there is not reads *not run* and names the command; that is in `missing` too,
and so is a row that lacks a seed which other rows have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from atlantis.bench.continual import Continual
from atlantis.bench.leaderboard import markdown_table, with_interval
from atlantis.bench.records import Record
from atlantis.bench.scenarios import BUDGETS
from atlantis.bench.scores import DAMAGE, Scores
from atlantis.bench.standing import Board, Standing, boards, mean_and_interval
from atlantis.errors import UserError
from atlantis.report.groups import NOT_RUN

PLACE = re.compile(r"\{\{([^{}]+)\}\}")
SCORES = tuple(Scores.model_fields)
MEASURES = tuple(Continual.model_fields)
OF_NUMBERS = ("km_start", "km_end")
MOVED = "turned or shifted"
OLD_ANSWERS = "task world-world"
"""What the model answers to pairs of real cities: the task that was learned first, and no part of any score."""


def findings(prose: str, records: Sequence[Record], pictures: str = "images") -> tuple[str, list[str]]:
    """The page, and what it asks for and no record has. Raises UserError for a place that means nothing."""
    page = _Page(records, pictures)
    text = "\n\n".join(page.paragraph(part) for part in prose.split("\n\n"))
    return text, list(dict.fromkeys(page.missing + page.partial))


def figures(prose: str) -> list[str]:
    """The scenarios of each picture that the prose asks for, such as `A4+A6+A7`."""
    asked = (match[1].split("|") for match in PLACE.finditer(prose))
    return list(dict.fromkeys(parts[1] for parts in asked if parts[0] == "figure"))


def picture_name(scenarios: str) -> str:
    return f"findings_{scenarios.replace('+', '_')}.png"


def by_seed(standing: Standing, quantity: str) -> dict[int, float]:
    """A quantity of each seed that has a score; what a seed has several of (orders) is averaged. UserError: unknown."""
    if quantity == "volume":
        return dict(zip(standing.seeds, standing.volumes.tolist(), strict=True))
    if quantity in SCORES:
        return dict(zip(standing.seeds, standing.scores[:, SCORES.index(quantity)].tolist(), strict=True))
    found: dict[int, list[float]] = {}
    for record in standing.records:
        value = _of_record(record, quantity)
        if record.seed in standing.seeds and value is not None:
            found.setdefault(record.seed, []).append(value)
    return {seed: float(np.mean(values)) for seed, values in found.items()}


def _of_record(record: Record, quantity: str) -> float | None:
    numbers = record.numbers
    if quantity in MEASURES:
        return None if record.continual is None else getattr(record.continual, quantity)
    if quantity in OF_NUMBERS:
        return None if numbers is None else getattr(numbers, quantity)
    if quantity in (*DAMAGE, MOVED):
        return None if numbers is None else _damage(numbers.damage, quantity)
    if quantity.startswith("task "):
        return None if numbers is None else numbers.task_km.get(quantity.removeprefix("task "))
    known = ", ".join([*SCORES, "volume", *MEASURES, *OF_NUMBERS, *DAMAGE, MOVED, "task SLICE"])
    raise UserError(f"no quantity {quantity!r}; there are {known}")


def _damage(parts: dict[str, float], quantity: str) -> float | None:
    """A part of the fall. In records from before there was `shifted`, `turned` held both."""
    if quantity == MOVED:
        return parts["turned"] + parts.get("shifted", 0.0) if "turned" in parts else None
    return None if quantity == "turned" and "shifted" not in parts else parts.get(quantity)


class _Page:
    """Fills places, and notes what is missing."""

    def __init__(self, records: Sequence[Record], pictures: str) -> None:
        tiers = sorted({record.tier for record in records})
        if len(tiers) != 1:
            raise UserError(f"findings are of one tier, and these records are of {', '.join(tiers) or 'none'}")
        self.tier, self.records, self.pictures = tiers[0], list(records), pictures
        self.boards = {board.title: board for board in boards(records)}
        self.seeds = {record.seed for record in records}
        self.missing: list[str] = []
        self.partial: list[str] = []
        """Rows that lack some of the seeds: they are shown, with the seeds that they have."""

    def paragraph(self, prose: str) -> str:
        before = len(self.missing)
        text = PLACE.sub(self.fill, prose)
        commands = dict.fromkeys(one.rpartition(": ")[2] for one in self.missing[before:])
        end = "\n" if prose.endswith("\n") else ""
        return f"*{NOT_RUN}*: " + ", ".join(f"`{command}`" for command in commands) + end if commands else text

    def fill(self, match: re.Match[str]) -> str:
        kind, *arguments = match[1].split("|")
        kinds: dict[str, tuple[int, Callable[..., str]]] = {
            "mean": (2, self.mean), "less": (3, self.less), "higher": (3, self.higher), "table": (1, self.table),
            "sequence": (1, self.sequence), "budgets": (1, self.budgets), "figure": (2, self.figure),
            "command": (1, self.command), "failures": (0, self.failures), "below": (1, self.below),
            "about": (0, self.about),
        }  # fmt: skip
        if kind not in kinds or len(arguments) != kinds[kind][0]:
            raise UserError(f"{match[0]}: no such place; there are {', '.join(kinds)}, each with its arguments after |")
        return kinds[kind][1](*arguments)

    # --- numbers

    def mean(self, row: str, quantity: str) -> str:
        values = self._values(row, quantity)
        return NOT_RUN if not values else _shown(np.array(list(values.values())), quantity)

    def less(self, row: str, other: str, quantity: str) -> str:
        pairs = self._pairs(row, other, quantity)
        return NOT_RUN if not len(pairs) else _shown(pairs[:, 0] - pairs[:, 1], quantity, sign=True)

    def higher(self, row: str, other: str, quantity: str) -> str:
        pairs = self._pairs(row, other, quantity)
        return NOT_RUN if not len(pairs) else f"{int((pairs[:, 0] > pairs[:, 1]).sum())} of {len(pairs)} seeds"

    def _values(self, row: str, quantity: str) -> dict[int, float]:
        title, _, method = row.rpartition("/")
        board = self.boards.get(title)
        standing = next((one for one in board.standings if one.method == method), None) if board else None
        values = by_seed(standing, quantity) if standing else {}
        command = self._command(title.partition(",")[0], method)
        if not values:
            self.missing.append(f"{row}, {quantity}: {command}")
        elif standing and (absent := self.seeds - {record.seed for record in standing.records}):
            self.partial.append(f"{row}, seed {', '.join(map(str, sorted(absent)))}: {command}")
        return values

    def _pairs(self, row: str, other: str, quantity: str) -> np.ndarray:
        """(n, 2): the quantity in both rows, of the n seeds that both have."""
        ours, theirs = self._values(row, quantity), self._values(other, quantity)
        return np.array([[ours[seed], theirs[seed]] for seed in ours if seed in theirs]).reshape(-1, 2)

    # --- tables and lists

    def _of(self, scenario: str) -> list[Board]:
        found = [board for board in self.boards.values() if board.scenario == scenario]
        if not found:
            self.missing.append(f"{scenario}: {self._command(scenario)}")
        return found

    def table(self, scenario: str) -> str:
        quantities = (*SCORES, "volume", "km_end", OLD_ANSWERS)
        rows = [
            [board.variant, one.method, *(_cell(one, quantity) for quantity in quantities), _seeds(one)]
            for board in self._of(scenario)
            for one in board.standings
        ]
        header = ["variant", "method", *SCORES, "volume", "error of the map", "error of old answers", "seeds"]
        if not any(row[0] for row in rows):
            header, rows = header[1:], [row[1:] for row in rows]
        return markdown_table(header, rows) if rows else NOT_RUN

    def sequence(self, scenario: str) -> str:
        rows = [
            [one.method, *(_cell(one, quantity) for quantity in MEASURES)]
            for board in self._of(scenario)
            for one in board.standings
            if any(record.continual for record in one.records)
        ]
        return markdown_table(["method", *(name.replace("_", " ") for name in MEASURES)], rows) if rows else NOT_RUN

    def budgets(self, quantity: str) -> str:
        variants = ["0", *(f"{n:,}" for n in BUDGETS)]
        found = {board.variant: {one.method: one for one in board.standings} for board in self._of("A2")}
        methods = list(dict.fromkeys(method for variant in reversed(variants) for method in found.get(variant, {})))
        cells = [
            [_cell(one, quantity) if (one := found.get(v, {}).get(method)) else "" for v in variants]
            for method in methods
        ]
        rows = [[method, *row] for method, row in zip(methods, cells, strict=True)]
        return markdown_table(["method", *(f"{v} old pairs" for v in variants)], rows) if rows else NOT_RUN

    def figure(self, scenarios: str, caption: str) -> str:
        found = [self._of(scenario) for scenario in scenarios.split("+")]
        return f"![{caption}]({self.pictures}/{picture_name(scenarios)})" if any(found) else NOT_RUN

    def below(self, scenario: str) -> str:
        """Methods whose volume is below naive's in every seed that both have."""
        named = []
        for board in self._of(scenario):
            naive = next((one for one in board.standings if one.method == "naive"), None)
            plain = by_seed(naive, "volume") if naive else {}
            for one in board.standings:
                common = [(v, plain[s]) for s, v in by_seed(one, "volume").items() if s in plain]
                if common and one is not naive and all(ours < theirs for ours, theirs in common):
                    named.append(f"`{one.method}`" + (f" ({board.variant})" if board.variant else ""))
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
        seeds = sorted({record.seed for record in self.records})
        devices = sorted({f"{r.device['name']}, {r.device['precision']}" for r in self.records if r.device})
        versions = sorted({r.versions["torch"] for r in self.records if r.versions})
        return (
            f"{len(self.records)} records of the {self.tier} tier; seeds {', '.join(map(str, seeds))}; "
            f"{'; '.join(devices)}; PyTorch {', '.join(versions)}"
        )


def _cell(standing: Standing, quantity: str) -> str:
    values = by_seed(standing, quantity)
    return _shown(np.array(list(values.values())), quantity) if values else NOT_RUN


def _seeds(standing: Standing) -> str:
    return str(len(standing.seeds)) + (f" ({len(standing.failed)} failed)" if standing.failed else "")


def _shown(values: np.ndarray, quantity: str, sign: bool = False) -> str:
    """Mean and interval: km as whole numbers, scores with three digits."""
    kilometres = quantity in OF_NUMBERS or quantity.startswith("task ")
    spec = ("+" if sign else "") + (",.0f" if kilometres else ".3f")
    text = with_interval(mean_and_interval(values), spec)
    return f"{text} km" if kilometres and math.isfinite(float(values.mean())) else text
