"""What methods keep and learn in the benchmark's scenario A1, from the records of an experiment."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from atlantis.bench.cells import difference, shown, spec_of
from atlantis.bench.record import read_records
from atlantis.bench.standing import Board, boards, compared
from atlantis.errors import UserError
from atlantis.markdown import table

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
REPAIR = EXPERIMENTS / "2026-11-28_repair" / "records"
"""Six methods, untuned, three seeds."""
SCORED = EXPERIMENTS / "2026-11-28_benchmark_2" / "records"
"""What the benchmark's second protocol has scored."""
QUANTITIES = ("answers", "learned", "integration", "map", "volume", "task world-world")
TITLES = {"answers": "old answers", "task world-world": "old answers km"}


class Methods:
    """Scores with intervals over seeds, by method: `value`, `less` for a paired difference, and a `table`."""

    def __init__(self, records: Path) -> None:
        self.records = records

    @cached_property
    def board(self) -> Board:
        for board in boards(read_records([self.records])):
            if board.title == "A1":
                return board
        raise UserError(f"{self.records}: has no record of A1")

    def value(self, method: str, quantity: str) -> str:
        """A quantity's mean over the seeds, and its interval."""
        standing = self.board.of(method)
        if standing is None:
            raise UserError(f"{self.records}: has no record of {method}")
        return shown(standing, quantity)

    def less(self, method: str, other: str, quantity: str) -> str:
        """By how much a method is above another, seed by seed."""
        ours, theirs = self.board.of(method), self.board.of(other)
        comparison = None if ours is None or theirs is None else compared(ours, theirs, quantity)
        if comparison is None:
            raise UserError(f"{self.records}: has no seed of both {method} and {other}")
        return difference(comparison, spec_of(quantity))

    @property
    def seeds(self) -> str:
        return str(max(len(standing.seeds) for standing in self.board.standings))

    @property
    def table(self) -> str:
        """A row for each method, in the order of what it may use."""
        header = ["method", "may use", *(TITLES.get(name, name) for name in QUANTITIES)]
        rows = [
            [f"`{standing.method}`", standing.uses, *(shown(standing, name) for name in QUANTITIES)]
            for standing in self.board.standings
        ]
        return table(header, rows)
