"""What the tests of the page do in a browser, by the page's own names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.chromium import CHROMIUM, Tab

IN_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found: `make browser` installs it"),
]
"""The marks of a file of tests that need one; the fixture `tab` is in conftest.py."""


def whole(*cases: Any) -> list[Any]:
    """Cases of a test that `make test-all` has, and `make test` has not: each takes a page of its own."""
    return [pytest.param(case, marks=pytest.mark.whole) for case in cases]


def quiet(tab: Tab) -> None:
    assert tab.troubles() == []


def set_value(tab: Tab, name: str, value: str, event: str = "change") -> None:
    tab.run(f"$('{name}').value = {value!r}; $('{name}').dispatchEvent(new Event('{event}'))")


def one_probe(tab: Tab, protocol: str = "degrees") -> None:
    set_value(tab, "layout", "one")
    set_value(tab, "protocol", protocol)


def city(tab: Tab, name: str, view: int = 0) -> tuple[float, float]:
    """Where a city's predicted place is in the window, by the page's own arithmetic; the map is scrolled into view."""
    v = f"views[{view}]"
    tab.run(f"{v}.canvas.scrollIntoView({{block: 'center'}})")
    x, y, left, top = tab.run(
        f"[...spot({v}, ...place({v}, {v}.cities.names.indexOf({name!r}), position({v}))), "
        f"{v}.canvas.getBoundingClientRect().left, {v}.canvas.getBoundingClientRect().top]"
    )
    return left + x, top + y


def column(tab: Tab, table: str, k: int) -> list[str]:
    return tab.run(f"[...$('{table}').tBodies[0].rows].map((row) => row.cells[{k}].textContent)")


def captions(tab: Tab) -> list[str]:
    return tab.run("[...document.querySelectorAll('#maps .caption')].map((caption) => caption.textContent)")


def rewrite(run: Path, protocol: str, change: Any) -> None:
    """The predictions of a run's probe, as `change` returns them."""
    path = run / "analysis" / protocol / "predictions.parquet"
    change(pd.read_parquet(path)).to_parquet(path)


def choose_run(tab: Tab, k: int, where: str = "#map-section .run-choice") -> None:
    tab.run(
        f"{{ const choice = document.querySelector('{where} select'); "
        f"choice.value = {k}; choice.dispatchEvent(new Event('change')) }}"
    )
