"""Looking closely: some of the cities, colours by a number, the globe, neighbours, what a word means. In a browser."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from atlantis.report import page
from tests.chromium import Tab
from tests.page_driving import IN_BROWSER, city, column, one_probe, quiet, rewrite, set_value, whole
from tests.planted_run import EVIL, make_run

pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return page.write_report(make_run(tmp_path_factory.mktemp("runs") / "run", with_map=True), figures=False)


@pytest.fixture
def opened(tab, written) -> Tab:
    """The study's probe alone, with all cities."""
    tab.open(written)
    one_probe(tab)
    set_value(tab, "cities", "all")
    return tab


def draw_around(tab: Tab, names: list[str], radius: float = 12) -> None:
    """An outline around the cities, on the first map, with the pointer."""
    places = [city(tab, name) for name in names]
    angles = np.linspace(0, 2 * math.pi, 12)
    corners = [(x + radius * math.cos(a), y + radius * math.sin(a)) for x, y in places for a in angles]
    tab.run("$('outline').click()")
    assert tab.run("$('outline').ariaPressed") == "true"
    tab.point(*corners[0], "mousePressed", button="left", buttons=1, clickCount=1)
    for corner in corners[1:]:
        tab.point(*corner, "mouseMoved", button="left", buttons=1)
    tab.point(*corners[-1], "mouseReleased", button="left", clickCount=1)


def ids(tab: Tab) -> list[int]:
    """Those of the table of cities, sorted."""
    return sorted(tab.run("filled['city-table'].rows.map((row) => Number(row[0].split(', id ').at(-1)))"))


# --- some of the cities


def test_an_outline_chooses_its_cities_for_the_table(opened):
    assert ids(opened) == list(range(8))
    draw_around(opened, ["Lima"])
    assert ids(opened) == [5] and opened.text("#n-chosen") == "1 city chosen"
    assert opened.run("$('outline').ariaPressed") == "false" and not opened.run("isZoomed()")
    opened.run("$('to-table').click()")
    assert opened.run("document.activeElement.id") == "cities-title" and opened.run("scrollY") > 500
    assert opened.run("candidates(views[0]).map(([i]) => i)") == [5], "the others cannot be pointed at"
    opened.run("$('everything').click()")
    assert ids(opened) == list(range(8)) and opened.text("#n-chosen") == ""
    quiet(opened)


def test_the_chosen_stand_out_and_stay_chosen_while_the_step_moves(opened):
    before = opened.run("views[0].canvas.toDataURL()")
    draw_around(opened, [EVIL], radius=20)
    assert ids(opened) == [0]
    opened.point(2, 2)
    assert opened.run("views[0].canvas.toDataURL()") != before
    set_value(opened, "step", "0", "input")
    assert ids(opened) == [0] and column(opened, "city-table", 4) == ["0"]
    opened.run("toggleRegion('Japan')")
    assert ids(opened) == [], "of a region and an outline, what is in both"
    quiet(opened)


def test_without_a_pointer_the_cities_in_view_are_chosen(opened):
    set_value(opened, "look", "Atlantis")
    opened.run("$('in-view').click()")
    chosen = ids(opened)
    assert {6, 7} <= set(chosen) and len(chosen) < 8
    assert opened.text("#n-chosen") == f"{len(chosen)} cities chosen"
    opened.run("$('home').click(), $('everything').click()")
    assert ids(opened) == list(range(8))


def test_escape_and_a_mere_press_choose_nothing(opened):
    opened.run("$('outline').click(); views[0].canvas.focus()")
    opened.press("Escape")
    assert opened.run("$('outline').ariaPressed") == "false"
    opened.run("$('outline').click()")
    x, y = city(opened, "Lima")
    opened.point(x, y, "mousePressed", button="left", buttons=1, clickCount=1)
    opened.point(x, y, "mouseReleased", button="left", clickCount=1)
    assert ids(opened) == list(range(8)) and opened.run("state.chosen === null && !state.isOutlining")
    quiet(opened)


def test_two_runs_share_what_was_chosen(tab, tmp_path):
    runs = [make_run(tmp_path / name, name=name) for name in ("first", "second")]
    tab.open(page.write_report(runs, tmp_path / "out", figures=False))
    set_value(tab, "cities", "all")
    draw_around(tab, ["Lima"])
    for k in (0, 1):
        tab.run(f"showRun({k})")
        assert ids(tab) == [5]
    assert tab.run("views.map((v) => candidates(v).length)") == [1, 1]
    quiet(tab)


@pytest.mark.parametrize("projection", ["globe", *whole("flat", "around")])
def test_a_link_leads_to_what_was_chosen(tab, written, opened, projection):
    set_value(opened, "projection", projection)
    opened.run("zoom(views[0], 1.5)")
    draw_around(opened, ["Lima", "Atlantis_001"], radius=9)
    assert {5} <= set(ids(opened)) < set(range(8))
    chosen, note = ids(opened), opened.text("#n-chosen")
    set_value(opened, "step", "1", "input")  # the outline is of the step at which it was drawn
    opened.run("$('copy').click()")
    tab.open(written, view=opened.run("$('link').value").partition("#")[2])
    assert ids(tab) == chosen and tab.text("#n-chosen") == note and tab.text("#step-name") == "step 1"
    quiet(tab)


@pytest.mark.parametrize(
    "area",
    [
        "[",
        '[0,"constructor",0,"flat",0,0,0,0,9,9,0,9]',
        '[0,"degrees",0,"flat",0,0,0,0,9]',
        *whole(
            "7",
            '["length","degrees",0,"flat",0,0,0,0,9,9,0,9]',
            '[0,"degrees",0,"toString",0,0,0,0,9,9,0,9]',
            '[0,"degrees",null,"flat",0,0,0,0,9,9,0,9]',
        ),
    ],
)
def test_an_outline_that_makes_no_sense_chooses_nothing(tab, written, area):
    tab.open(written, view=f"step=10&area={area}")
    assert tab.run("state.chosen === null") and len(ids(tab)) > 0
    quiet(tab)


# --- colours


def sizes(tab: Tab) -> list[int]:
    """Cities by the colour that they have, the smallest class first, then those without a number."""
    groups = "views[0].run.regions.flatMap((region, k) => groupsOf(views[0], region, views[0].members[k]))"
    return tab.run(f"[...SHADES, UNKNOWN].map((c) => {groups}.filter(([h]) => h === c).flatMap(([, is]) => is).length)")


def test_cities_are_coloured_by_their_movement_between_two_steps(opened):
    set_value(opened, "colour", "moved")
    assert opened.run("!$('base-choice').hidden")
    assert sizes(opened) == [8, 0, 0, 0, 0, 0]  # two degrees of longitude: at most 222 km
    opened.run("$('protocol').value = 'sphere'; $('protocol').dispatchEvent(new Event('change'))")
    assert sizes(opened) == [0, 8, 0, 0, 0, 0]
    set_value(opened, "base", "2")
    assert sizes(opened) == [8, 0, 0, 0, 0, 0]
    quiet(opened)


def test_cities_are_coloured_by_their_distance_to_one(opened):
    set_value(opened, "colour", "city")
    assert sizes(opened) == [0, 0, 0, 0, 0, 8], "none is pointed at"
    set_value(opened, "find", "Lima", "input")
    assert sizes(opened) == [1, 0, 1, 2, 4, 0]
    quiet(opened)


def test_where_there_is_no_such_number_cities_are_grey_and_not_gone(tab, tmp_path):
    run = make_run(tmp_path / "run")
    for protocol in ("degrees", "sphere"):
        rewrite(run, protocol, lambda table: table[~table["is_virtual"]])
    tab.open(page.write_report(run, figures=False))
    set_value(tab, "cities", "all")
    set_value(tab, "colour", "virtual")
    assert sizes(tab) == [0, 0, 0, 0, 0, 6]
    quiet(tab)


# --- the globe


def test_on_the_globe_half_of_the_world_is_seen_and_a_drag_turns_it(opened):
    set_value(opened, "projection", "globe")
    set_value(opened, "look", "Japan")
    assert opened.run("[camera.lon, camera.lat]") == [139.7, 35.7]
    seen = "candidates(views[0]).map(([i]) => views[0].cities.names[i])"
    assert "Lima" not in opened.run(seen) and "Suva" in opened.run(seen)
    for lon, lat, depth in ((1397, 357, 0), (1397, -543, 90), (1397, 1257 - 1800, 90)):
        assert math.hypot(*opened.run(f"project({lon}, {lat})")) == pytest.approx(depth, abs=1e-6)
    opened.run("views[0].canvas.scrollIntoView({block: 'center'})")
    x, y = opened.run(
        "(({left, top, width}) => [left + width / 2, top + width / 2])(views[0].canvas.getBoundingClientRect())"
    )
    radius = opened.run("90 * views[0].width / camera.span")
    opened.point(x, y, "mousePressed", button="left", buttons=1, clickCount=1)
    for k in range(1, 21):
        opened.point(x + radius * k / 40, y, "mouseMoved", button="left", buttons=1)
    opened.point(x + radius / 2, y, "mouseReleased", button="left", clickCount=1)
    assert opened.run("camera.lon") == pytest.approx(139.7 - 180 / math.pi / 2, abs=1.5)
    assert opened.run("[camera.x, camera.y]") == [0, 0]
    opened.run("views[0].canvas.focus()")
    for _ in range(30):
        opened.press("ArrowUp", shift=True)
    assert opened.run("camera.lat") == 90, "not over the pole"
    quiet(opened)


@pytest.mark.parametrize("middle", [(139.7, 35.7), (0, -90), *whole((-35, 35), (-160, -40), (0, 90), (100, 60))])
def test_land_and_sea_are_where_they_are_on_a_globe(opened, middle):
    set_value(opened, "projection", "globe")
    opened.run(f"Object.assign(camera, {{lon: {middle[0]}, lat: {middle[1]}}}); drawAll()")
    colour = (
        "((lon, lat) => { const [x, y] = spot(views[0], lon, lat).map((p) => Math.round(p * devicePixelRatio));"
        "return [...views[0].base.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3).join() })"
    )
    land = [(1000, 600), (-600, -100), (200, 250), (1340, -250), (0, -850), (-1000, 500), (-400, 750)]
    sea = [(-1500, 0), (-350, -350), (-300, 300), (800, -300), (1700, 300), (0, 870), (1600, -550)]

    def inside(lon: int, lat: int) -> bool:  # and not on the edge, where a pixel is of both
        return opened.run(f"isSeen({lon}, {lat}) && Math.hypot(...project({lon}, {lat})) < 88")

    colours = {
        kind: {opened.run(f"{colour}({lon}, {lat})") for lon, lat in places if inside(lon, lat)}
        for kind, places in (("land", land), ("sea", sea))
    }
    assert all(len(found) == 1 for found in colours.values() if found) and colours["land"] != colours["sea"]


def test_a_globe_is_linked_to_and_saved(tab, written, opened):
    set_value(opened, "projection", "globe")
    opened.run("pan(views[0], 40, 25), zoom(views[0], 2)")
    where = opened.run("[camera.lon, camera.lat, camera.span].map((x) => x.toFixed(1))")
    opened.run("$('copy').click()")
    tab.open(written, view=opened.run("$('link').value").partition("#")[2])
    assert tab.run("[camera.lon, camera.lat, camera.span].map((x) => x.toFixed(1))") == where
    text = "{ let pen; poster((w, h) => (pen = new SvgPen(w, h))); new XMLSerializer().serializeToString(pen.root) }"
    assert "NaN" not in tab.run(text)
    quiet(tab)


@pytest.mark.parametrize("projection", ["globe", *whole("flat", "around")])
def test_a_zoomed_map_has_a_finer_coast(opened, projection):
    set_value(opened, "projection", projection)
    opened.run("Object.assign(camera, {lon: 0, lat: 35}); drawAll()")
    quiet(opened)
    colour = (
        "((lon, lat) => { const [x, y] = spot(views[0], lon, lat).map((p) => Math.round(p * devicePixelRatio));"
        "return [...views[0].base.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3).join() })"
    )
    mallorca, sahara, sea = (f"{colour}({lon}, {lat})" for lon, lat in ((29, 396), (40, 250), (55, 385)))
    assert opened.run(mallorca) == opened.run(sea) != opened.run(sahara)
    assert opened.run("landNow(views[0]).length") > 50
    opened.run("{ const [x, y] = spot(views[0], 40, 360); zoom(views[0], 9, x, y); drawAll() }")
    assert opened.run(mallorca) == opened.run(f"{colour}(-10, 398)") != opened.run(sea)


# --- neighbours


def test_the_neighbours_of_a_city_are_listed_and_ringed(opened):
    assert opened.text("#near") == ""
    before = opened.run("views[0].canvas.toDataURL()")
    set_value(opened, "find", "Suva", "input")  # id 3
    lines = opened.run("[...$('near').children].map((line) => line.textContent)")
    assert lines[0].startswith("Nearest in the hidden states (step 0): Nairobi, ") and "Lima, " in lines[0]
    assert lines[1].startswith("Nearest in the hidden states (step 10): Lima, ") and "Atlantis_002, " in lines[1]
    assert opened.run("neighboursNow(views[0], 3)") == [5, 7]
    opened.until(f"views[0].canvas.toDataURL() !== {before!r}")
    set_value(opened, "step", "1", "input")
    assert opened.run("neighboursNow(views[0], 3)") == [4, 5], "those of the last step that has any"
    opened.run("$('near').querySelector('button').click()")
    assert opened.text("#picked").startswith("Nairobi")
    km = int(lines[0].split("Nairobi, ")[1].split(" km")[0].replace(",", ""))
    assert km == opened.run("Math.round(kilometres([1795, -181], [368, -13]))")
    quiet(opened)


def test_a_run_whose_probe_wrote_no_neighbours_has_its_page(tab, tmp_path):
    run = make_run(tmp_path / "run", with_map=True)
    (run / "analysis" / "map" / "neighbours.parquet").unlink()
    tab.open(page.write_report(run, figures=False))
    set_value(tab, "find", "Lima", "input")
    assert tab.text("#near") == "" and tab.text("#picked").count("Lima") >= 1
    quiet(tab)


# --- words


def test_slices_are_called_by_the_kinds_of_their_cities(opened):
    headings = opened.run("[...$('table').querySelectorAll('thead button')].map((b) => b.textContent)")
    assert {"task real–real km", "task real–Atlantis km", "task Atlantis–Atlantis km"} <= set(headings)
    text = opened.run("document.body.innerText")
    assert "world-" not in text and "world–" not in text and " new region" not in text
    chart = "$('chart-task').closest('figure')"
    keys = opened.run(f"[...{chart}.querySelectorAll('.keys button')].map((b) => b.textContent)")
    assert keys == ["real–real", "real–Atlantis", "Atlantis–Atlantis"]
    opened.run(f"{chart}.querySelector('.words').open = true")
    assert "real and virtual cities" in opened.run(f"{chart}.innerText")


def test_a_heading_says_what_it_is(opened):
    button = "[...$('table').querySelectorAll('thead button')].find((b) => b.textContent.startsWith('lon R'))"
    opened.run(f"{button}.scrollIntoView({{block: 'center'}})")
    x, y = opened.run(f"(({{left, top}}) => [left + 5, top + 5])({button}.getBoundingClientRect())")
    opened.point(x, y)
    assert opened.text("#tip").startswith("R² of longitude. 1: exact")
    opened.point(2, 2)
    assert opened.run("$('tip').hidden")
    assert opened.run(f"{button}.getAttribute('aria-description')").startswith("R² of longitude")
    quiet(opened)
