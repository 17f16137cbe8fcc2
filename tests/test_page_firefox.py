"""The page in Firefox: it draws itself, is driven through its views, and does what it does in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from atlantis.report import page
from tests.firefox import FIREFOX, Window
from tests.planted_run import EVIL, NAME, make_run

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(FIREFOX is None, reason="no Firefox found: apt-get install firefox-esr"),
]


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    with Window(tmp_path_factory.mktemp("firefox")) as window:
        yield window


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page.write_report(make_run(tmp_path_factory.mktemp("runs") / "run", with_map=True), figures=False)


@pytest.fixture
def opened(window: Window, written: Path) -> Iterator[Window]:
    """The page, and after a test that drove it: no error of its script."""
    window.open(written)
    window.run("(window.errors = [], window.addEventListener('error', (e) => window.errors.push(String(e.message))))")
    yield window
    assert window.run("window.errors") == []


def id_of(name: str) -> str:
    return f"document.getElementById({name!r})"


def choose(window: Window, name: str, value: str, event: str = "change") -> None:
    window.run(f"({id_of(name)}.value = {value!r}, {id_of(name)}.dispatchEvent(new Event({event!r})))")


def picture(window: Window, k: int = 0) -> str:
    return window.run(f"document.querySelectorAll('#maps canvas')[{k}].toDataURL()")


def text(window: Window, selector: str) -> str:
    return window.run(f"document.querySelector({selector!r}).textContent")


def test_the_page_draws_itself(opened: Window) -> None:
    assert text(opened, "h1") == NAME and text(opened, "#step-name") == "step 10"
    assert text(opened, "#finding").startswith("The map was partly erased and partly moved.")
    assert opened.run("document.querySelectorAll('#maps canvas').length") == 2
    assert opened.run("document.querySelectorAll('figure.chart').length") == 18
    assert opened.run("document.querySelectorAll('.chart polyline').length") > 40
    assert opened.run("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_policy_holds(opened: Window) -> None:
    ran = (
        "(document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = 1'})), "
    )
    assert opened.run(ran + "document.title)") != "1"


def test_the_step_moves_maps_and_tables(opened: Window) -> None:
    before = picture(opened)
    choose(opened, "step", "0", "input")
    opened.until("document.getElementById('step-name').textContent === 'step 0'")
    opened.until(f"document.querySelector('#maps canvas').toDataURL() !== {before!r}")
    assert "km at step 0" in text(opened, "#regions thead")
    opened.run(f"{id_of('play')}.click()")
    opened.until("document.getElementById('step-name').textContent === 'step 10'")
    opened.until("document.getElementById('play').textContent === 'Play'")


def test_every_view_is_another_picture(opened: Window) -> None:
    choose(opened, "layout", "one")
    pictures = [picture(opened)]
    choices = [("projection", "around"), ("projection", "globe"), ("projection", "flat"), ("cities", "all")]
    choices += [("colour", "virtual"), ("lines", "true"), ("look", "Atlantis")]
    for name, value in choices:
        choose(opened, name, value)
        pictures.append(picture(opened))
    assert len(set(pictures)) == len(pictures) - 1, "the flat map comes twice"


def test_a_city_is_found_and_some_are_chosen(opened: Window) -> None:
    choose(opened, "find", "sao", "input")
    assert text(opened, "#picked").count("São Paulo (South America, id 2)") == 2
    assert "Nearest in the hidden states (step 0)" in text(opened, "#near")
    choose(opened, "look", "Atlantis")
    opened.run(f"{id_of('in-view')}.click()")
    assert text(opened, "#n-chosen").endswith(" chosen") and "Atlantis_001" in text(opened, "#city-table")
    assert EVIL not in text(opened, "#city-table"), "it is in Africa"
    opened.run(f"{id_of('everything')}.click()")
    assert EVIL in text(opened, "#city-table")


def test_the_pointer_names_a_city_and_draws_around_some(opened: Window) -> None:
    choose(opened, "layout", "one")
    choose(opened, "cities", "all")
    opened.run(f"{id_of('outline')}.click()")
    opened.run("document.querySelector('#maps canvas').scrollIntoView({block: 'center'})")
    left, top, width, height = opened.run(
        "(({left, top, width, height}) => [left, top, width, height])"
        "(document.querySelector('#maps canvas').getBoundingClientRect())"
    )
    corners = [(0.05, 0.05), (0.95, 0.05), (0.95, 0.95), (0.05, 0.95)]  # of the map
    places = [(round(left + x * width), round(top + y * height)) for x, y in corners]
    moves = [{"type": "pointerMove", "x": x, "y": y, "duration": 20} for x, y in places]
    press, release = {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}
    actions = [moves[0], press, *moves[1:], release]
    pointer = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": actions}
    opened.call("WebDriver:PerformActions", actions=[pointer])
    assert text(opened, "#n-chosen").endswith("cities chosen") and int(text(opened, "#n-chosen").split()[0]) >= 5
