"""The page by the rules of WCAG 2.2 AA, as far as axe-core can check them: no violation, light, dark and on a phone."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from atlantis.report import page
from tests.chromium import Tab
from tests.page_driving import IN_BROWSER, set_value
from tests.planted_run import make_run

pytestmark = IN_BROWSER

AXE = Path(__file__).parent / "inputs" / "axe-core" / "axe.min.js.gz"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def one(folder) -> Path:
    return page.write_report(make_run(folder / "run", with_map=True, name="run"), figures=False)


@pytest.fixture(scope="module")
def two(folder, one) -> Path:
    return page.write_report([folder / "run", make_run(folder / "other", name="other")], folder / "two", figures=False)


def violations(tab: Tab) -> list[Any]:
    """What axe-core finds: rule, help, the first elements. What is folded is unfolded first."""
    tab.run("document.querySelectorAll('details').forEach((box) => (box.open = true))")
    tab.call("Runtime.evaluate", expression=gzip.decompress(AXE.read_bytes()).decode())
    return tab.run(
        f"axe.run(document, {{runOnly: {RULES}}}).then((result) => result.violations"
        ".map((v) => [v.id, v.help, v.nodes.slice(0, 3).map((node) => node.html.slice(0, 200))]))"
    )


LOOKS = {"dark": {"dark": True}, "light": {}, "phone": {"width": 390, "height": 844}}
"""The page of several runs is checked in the light one."""


@pytest.mark.parametrize(
    "look",
    [LOOKS["dark"], *(pytest.param(LOOKS[name], marks=pytest.mark.whole) for name in ("light", "phone"))],
    ids=LOOKS,
)
def test_one_run(tab, one, look):
    tab.open(one, **look)
    assert violations(tab) == []


def test_several_runs_and_an_empty_frame(tab, two):
    tab.open(two)
    set_value(tab, "protocol", "frozen")
    assert tab.run("document.querySelectorAll('.lacking').length") == 1
    assert violations(tab) == []


def test_the_check_would_find_something(tab, one):
    tab.open(one)
    tab.run("$('title').remove()")
    assert {rule for rule, *_ in violations(tab)} >= {"page-has-heading-one"}
