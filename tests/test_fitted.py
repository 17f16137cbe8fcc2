"""Tables in 80 columns and fewer, on a terminal, in a pipe and in a log: no number is cut, no column is lost."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from atlantis import cli, show
from atlantis.cli.fitted import fitted
from atlantis.report.run_data import load
from atlantis.report.tables import run_sheet, run_table
from atlantis.tasks.score import Score


def printed(shown: object, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(fitted(shown, console))  # type: ignore[arg-type]
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return lines


def numbers(n: int) -> Table:
    table = Table("name", *(f"number {i}" for i in range(n)), title="a table of numbers", caption="with a caption")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in range(3):
        table.add_row(f"row_{row}", *(f"{1_000_000 * row + i:,} ± 1" for i in range(n)))
    return table


@pytest.mark.parametrize("width", [40, 80, 300])
@pytest.mark.parametrize("n", [1, 9, 20])
def test_every_number_is_whole_at_any_width(n: int, width: int) -> None:
    text = "\n".join(printed(numbers(n), width))
    for row in range(3):
        for i in range(n):
            assert f"{1_000_000 * row + i:,} ± 1 " in text
    assert text.count("a table of numbers") == text.count("with a caption") == 1 and "…" not in text
    assert text.count("row_2") == text.count("┃ name")  # every piece says which row is which


def test_a_long_name_is_folded_and_not_cut() -> None:
    table = numbers(3)
    table.add_row("a_run_with_a_name" * 8, "12,345", "67,890", "1")
    lines = printed(table, 60)
    text = "".join(re.sub(r"[│\s]", "", line.split("│")[1]) for line in lines if line.startswith("│"))
    assert "a_run_with_a_name" * 8 in text and any("12,345" in line and "67,890" in line for line in lines)


def test_a_caption_on_the_left_has_the_whole_width_however_narrow_its_table_is() -> None:
    caption = "probe: km of held-out cities (R² of longitude); answers: mean km of an answer"
    for n in (1, 7):  # one table; two, the last one of a single column
        table = numbers(n)
        table.title, table.title_justify = f"the title [bold]of[/bold] {'w' * 50}", "left"
        table.caption, table.caption_justify = caption, "left"
        lines = [line.rstrip() for line in printed(table, 80)]
        assert lines[0] == f"the title of {'w' * 50}" and lines[-1] == caption
        assert table.caption == caption, "the table itself is as it was"


def test_a_table_that_fits_is_left_as_it_is() -> None:
    assert sum("┏" in line for line in printed(numbers(3), 80)) == 1
    assert sum("┏" in line for line in printed(numbers(9), 80)) == 3


def test_scores_and_runs_fit_80_columns(small_run: Path) -> None:
    metrics = ("mean", "median", "std", "min", "max", "parsed", "skill")
    scores = [Score("distance", "world-atlantis", name, 12345.678, "km", 10_000) for name in metrics]
    text = "\n".join(printed(show.score_table(scores), 80))
    assert text.count("12,345.7") == 6 and "1234567.8%" in text
    cells = [cell for row in run_sheet(load(small_run)).cells() for cell in row]
    text = "\n".join(printed(run_table(small_run), 80))
    assert all(cell in text for cell in cells)


def test_a_pipe_and_columns_are_heeded(
    small_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for columns, widest in ((None, 80), ("50", 50), ("200", 200)):
        monkeypatch.setenv("COLUMNS", columns) if columns else monkeypatch.delenv("COLUMNS", raising=False)
        assert cli.main(["show", str(small_run)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= widest and "…" not in "".join(lines)
