"""The leaderboard in a browser: scenarios, sorting, filtering by what a method may use, axe-core's rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlantis import bench
from tests.chromium import Tab
from tests.page_driving import IN_BROWSER, quiet
from tests.test_bench_protocol import kept, planted, three_methods
from tests.test_page_accessible import violations

pytestmark = IN_BROWSER


@pytest.fixture
def board(tab: Tab, tmp_path: Path) -> Tab:
    other = [planted("naive", seed, kept(0.2), scenario="A0") for seed in (1, 2)]
    (tmp_path / "leaderboard.html").write_text(bench.web_page([*three_methods(), *other]), encoding="utf-8")
    tab.open(tmp_path / "leaderboard.html", ready="typeof order !== 'undefined'")
    tab.run("choice.value = [...choice.options].find((o) => o.text.startsWith('A1')).value; show()")
    return tab


def methods(tab: Tab) -> list[str]:
    return tab.run("[...table.tBodies[0].rows].map((row) => row.cells[0].firstChild.textContent)")


def press(tab: Tab, heading: str) -> None:
    tab.run(f"[...table.querySelectorAll('th button')].find((b) => b.textContent.startsWith({heading!r})).click()")


def test_a_press_on_a_heading_sorts(board: Tab) -> None:
    assert methods(board) == ["naive", "replay *", "distill"], "those that may use least first"
    press(board, "answers")
    assert methods(board) == ["replay *", "distill", "naive"]
    press(board, "answers")
    assert methods(board) == ["naive", "distill", "replay *"]
    assert board.run("table.querySelector('[aria-sort]').getAttribute('aria-sort')") == "ascending"
    quiet(board)


def test_methods_are_kept_by_what_they_may_use(board: Tab) -> None:
    board.run("[...uses.querySelectorAll('input')].find((box) => box.value === 'old data').click()")
    assert set(methods(board)) == {"naive", "distill"} and "2 of 3" in board.text("#shown")
    board.run("[...uses.querySelectorAll('input')].forEach((box) => { if (box.checked) box.click(); })")
    assert methods(board) == ["naive"]
    quiet(board)


def test_numbers_have_their_intervals_and_scenarios_their_tables(board: Tab) -> None:
    cell = board.run("[...table.tBodies[0].rows].find((r) => r.textContent.startsWith('distill')).cells[2].textContent")
    assert cell.startswith("0.820") and " to " in cell
    headings = board.run("[...table.querySelectorAll('th')].map((cell) => cell.textContent)")
    for method, times, n_old in (("distill", 1.5, 0), ("replay", 1.0, 20_000)):
        row = f"[...table.tBodies[0].rows].find((r) => r.textContent.startsWith({method!r})).cells"
        prices = dict(zip(headings, board.run(f"[...{row}].map((cell) => cell.textContent)"), strict=True))
        points = 100 * float(prices["volume"][:5])
        assert prices["seconds, x naive"] == f"{times:.1f}"
        assert float(prices["minutes per 0.01 of volume"]) == pytest.approx(times / points, abs=0.006)
        assert float(prices["old pairs per 0.01"].replace(",", "")) == pytest.approx(n_old / points, rel=0.01)
    board.run("choice.value = [...choice.options].find((o) => o.text.startsWith('A0')).value; show()")
    assert [name.removesuffix(" *") for name in methods(board)] == ["naive"]
    quiet(board)


def test_a_failure_says_why(tab: Tab, tmp_path: Path) -> None:
    failed = planted("replay", 2, scores=None, numbers=None, error="it ran\nout of <memory>")
    records = [*three_methods(), *(planted("naive", seed) for seed in (8, 9)), failed]
    records = [r for r in records if (r.method, r.seed) != ("replay", 2) or r.error]
    (tmp_path / "leaderboard.html").write_text(bench.web_page(records), encoding="utf-8")
    tab.open(tmp_path / "leaderboard.html", ready="typeof order !== 'undefined'")
    assert "seed 2 failed: it ran out of <memory>" in tab.run("table.textContent")
    quiet(tab)


def test_it_keeps_the_rules_of_accessibility(board: Tab) -> None:
    assert violations(board) == []
