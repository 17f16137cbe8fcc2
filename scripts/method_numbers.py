"""What methods keep and learn in a case of the benchmark, which is A1 unless named; from an experiment's records."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from atlantis.bench.cells import difference, shown, spec_of
from atlantis.bench.record import read_records
from atlantis.bench.standing import Board, Standing, boards, compared
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
    def _boards(self) -> dict[str, Board]:
        return {board.title: board for board in boards(read_records([self.records]))}

    @property
    def board(self) -> Board:
        """That of A1."""
        return self._board("A1")

    def _board(self, case: str) -> Board:
        if case not in self._boards:
            raise UserError(f"{self.records}: has no record of {case}")
        return self._boards[case]

    def _of(self, row: str) -> Standing:
        """A method in A1, or in the case before a slash, as `A0/naive`."""
        case, _, method = row.rpartition("/")
        standing = self._board(case or "A1").of(method)
        if standing is None:
            raise UserError(f"{self.records}: has no record of {row}")
        return standing

    def value(self, row: str, quantity: str) -> str:
        """A quantity's mean over the seeds, and its interval."""
        return shown(self._of(row), quantity)

    def less(self, row: str, other: str, quantity: str) -> str:
        """By how much a method is above another, seed by seed."""
        comparison = compared(self._of(row), self._of(other), quantity)
        if comparison is None:
            raise UserError(f"{self.records}: has no seed of both {row} and {other}")
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
