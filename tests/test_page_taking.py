"""Moving in the maps and taking a view along: zoom, links, files, lines of Python. In a real browser."""

from __future__ import annotations

import time
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from PIL import Image

from atlantis.report import page
from tests.chromium import Tab
from tests.page_driving import IN_BROWSER, captions, city, column, one_probe, quiet, set_value
from tests.planted_run import EVIL, NAME, make_run

pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", with_map=True)


@pytest.fixture(scope="module")
def written(run) -> Path:
    return page.write_report(run, figures=False)


# --- zoom and pan


def middle(tab: Tab) -> tuple[float, float]:
    tab.run("views[0].canvas.scrollIntoView({block: 'center'})")
    x, y = tab.run(
        "{ const b = views[0].canvas.getBoundingClientRect(); [b.left + b.width / 2, b.top + b.height / 2] }"
    )
    return x, y


def test_the_wheel_zooms_a_pressed_map_about_the_pointer_and_else_scrolls_the_page(tab, written):
    tab.open(written)
    x, y = city(tab, EVIL)
    tab.point(x, y, "mousePressed", button="left", clickCount=1)
    tab.point(x, y, "mouseReleased", button="left", clickCount=1)
    assert tab.text("#picked").startswith(NAME)
    for _ in range(3):
        tab.point(x, y, "mouseWheel", deltaX=0, deltaY=-300)
    tab.until("camera.span < 150")
    assert city(tab, EVIL) == pytest.approx((x, y), abs=2)
    assert tab.run("views[0].canvas.classList.contains('zoomed')")
    quiet(tab)
    tab.open(written)
    tab.point(*city(tab, EVIL), "mouseWheel", deltaX=0, deltaY=-300)
    assert not tab.run("isZoomed()")


def test_keys_and_buttons_zoom_and_move_and_come_home(tab, written):
    tab.open(written)
    tab.run("views[0].canvas.focus()")
    tab.press("+")
    assert tab.run("camera.span") == pytest.approx(360 / 1.6)
    tab.press("ArrowRight", shift=True)
    assert tab.run("camera.x") == pytest.approx(360 / 1.6 / 8)
    tab.press("0")
    assert tab.run("[camera.x, camera.span]") == [0, 360]
    tab.run("$('closer').click(), $('closer').click(), $('farther').click()")
    assert tab.run("camera.span") == pytest.approx(360 / 1.6)
    tab.run("$('home').click()")
    assert tab.run("camera.span") == 360
    tab.press("-")
    assert tab.run("camera.span") == 360, "there is nothing beyond the whole"
    quiet(tab)


def test_another_probe_is_seen_from_where_the_camera_is(tab, written):
    tab.open(written)
    tab.run("zoom(views[0], 4, 10, 10)")
    before = tab.run("[camera.x, camera.y, camera.span]")
    one_probe(tab, "shifted")
    assert tab.run("[camera.x, camera.y, camera.span]") == before
    set_value(tab, "look", "Japan")
    set_value(tab, "look", "")
    assert tab.run("[camera.x, camera.span]") == [0, 360]


def test_a_drag_moves_a_zoomed_map_and_picks_nothing(tab, written):
    tab.open(written)
    tab.run("zoom(views[0], 4)")
    x, y = middle(tab)
    tab.point(x, y, "mousePressed", button="left", buttons=1, clickCount=1)
    for k in range(1, 11):
        tab.point(x - 8 * k, y, "mouseMoved", button="left", buttons=1)
    tab.point(x - 80, y, "mouseReleased", button="left", clickCount=1)
    assert tab.run("camera.x * views[0].width / camera.span") == pytest.approx(75, abs=12)
    assert tab.run("state.picked") is None
    quiet(tab)


def test_two_fingers_zoom(tab, written):
    tab.open(written, 390, 844, touch=True)
    x, y = middle(tab)

    def touch(kind: str, apart: float | None) -> None:
        points = [] if apart is None else [{"x": x - apart, "y": y, "id": 1}, {"x": x + apart, "y": y, "id": 2}]
        tab.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    touch("touchStart", 20)
    for apart in (30, 40, 60):
        touch("touchMove", apart)
    touch("touchEnd", None)
    assert tab.run("camera.span") < 180 and tab.run("state.picked") is None
    quiet(tab)


def test_around_a_region_distances_can_be_read(tab, written):
    tab.open(written)
    set_value(tab, "projection", "around")
    far = (
        "views[0].cities.keys.map((_, i) => { const c = views[0].cities, at = [c.lon[i], c.lat[i]];"
        "return [Math.hypot(...project(...at)) * KM_PER_DEGREE, kilometres([camera.lon * 10, camera.lat * 10], at)] })"
    )
    for projected, true in tab.run(far):
        assert projected == pytest.approx(true, abs=1e-6)
    assert tab.run("[camera.lon, camera.lat]") in ([-35, 36], [-36, 36], [-35, 35], [-36, 35])
    set_value(tab, "look", "Japan")
    assert tab.run("[camera.lon, camera.lat]") == [139.7, 35.7]
    quiet(tab)
    # Land and sea are on their right sides, at the far end of the globe too.
    colour = (
        "((lon, lat) => { const [x, y] = spot(views[0], lon, lat).map((p) => Math.round(p * devicePixelRatio));"
        "return [...views[0].base.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3).join() })"
    )
    land, sea = tab.run(f"{colour}(1000, 600)"), tab.run(f"{colour}(-1500, 0)")
    assert land != sea
    assert (
        tab.run(f"{colour}(-600, -100)") == tab.run(f"{colour}(200, 250)") == tab.run(f"{colour}(1340, -250)") == land
    )
    assert tab.run(f"{colour}(-350, -350)") == tab.run(f"{colour}(-300, 300)") == sea


# --- a view in the address


def test_a_link_leads_to_the_same_view(tab, written):
    tab.open(written)
    one_probe(tab, "shifted")
    set_value(tab, "step", "1", "input")
    set_value(tab, "cities", "all")
    set_value(tab, "lines", "base")
    set_value(tab, "base", "2")
    tab.run("[...$('legend').children].find((button) => button.textContent === 'Atlantis').click()")
    tab.run("pick('6 Atlantis_001', true), zoom(views[0], 3)")
    tab.run("$('copy').click()")
    link = tab.run("$('link').value")
    tab.until("location.hash.includes('camera')")
    assert link == tab.run("location.href")
    now = (
        "[$('layout').value, state.protocol, state.target, $('cities').value, $('lines').value, state.base, "
        "[...state.only], state.picked, camera.span.toFixed(1), views[0].caption.textContent]"
    )
    before = tab.run(now)
    tab.open(written, view=link.partition("#")[2])
    assert tab.run(now) == before
    set_value(tab, "look", "Japan")
    tab.until("location.hash.includes('look=Japan')")
    tab.open(written, view=tab.run("location.hash.slice(1)"))
    assert tab.run("$('look').value") == "Japan" and tab.run("isZoomed()")
    quiet(tab)


@pytest.mark.parametrize(
    "view",
    [
        "map-title",
        "step=99999&run=7&probe=x&look=Nowhere&only=[&city=x&camera=1,2",
        "only=7&step=x&camera=a,b,c",
        "%%%=&step",
    ],
)
def test_an_address_that_makes_no_sense_is_the_usual_view(tab, written, view):
    tab.open(written, view=view)
    assert len(captions(tab)) == 2 and tab.run("state.only.size === 0 && state.picked === null")
    assert tab.run("timeline[state.target]") in (0, 10)
    quiet(tab)


# --- files


@pytest.fixture
def saved(tab, tmp_path):
    """What a press saves, by the ending of its name."""
    tab.downloads_to(tmp_path)

    def of(press: str, suffix: str) -> Path:
        tab.run(press)
        for _ in range(500):
            if (paths := [path for path in tmp_path.iterdir() if path.suffix == suffix]) and paths[0].stat().st_size:
                return paths[0]
            time.sleep(0.02)
        raise AssertionError(f"nothing was saved by {press}")

    return of


def test_the_maps_are_saved_as_png_and_as_svg(tab, written, saved):
    tab.open(written)
    with Image.open(saved("$('png').click()", ".png")) as image:
        assert image.width == 2400 and len(image.convert("RGB").getcolors(1 << 24) or []) > 50
    root = ElementTree.parse(saved("$('svg').click()", ".svg")).getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert f"{NAME}: the first step's probe, kept, step 10" in texts and "Atlantis" in texts
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 10


@pytest.mark.parametrize("n", [0, 20, 60])
def test_a_saved_map_has_room_for_every_region_and_for_its_sources(tab, written, n):
    tab.open(written)
    more = f"[...Array({n}).keys()].map((k) => ({{ name: `A far region ${{k}}`, colour: '#cc3311', virtual: true }}))"
    tab.run(f"DATA.runs[0].regions.push(...{more})")
    tab.run("for (const v of views) v.members = v.run.regions.map((_, k) => v.members[k] ?? [])")
    drawn = "{ let pen; poster((w, h) => (pen = new SvgPen(w, h))); [...pen.root.querySelectorAll('text')]"
    texts = tab.run(f"{drawn}.map((t) => [t.textContent, Number(t.getAttribute('x')), Number(t.getAttribute('y'))]) }}")
    height = tab.run("{ let pen; poster((w, h) => (pen = new SvgPen(w, h))); Number(pen.root.getAttribute('height')) }")
    (*_, (sources, _, last)) = texts
    regions = [(x, y) for text, x, y in texts if text.startswith("A far region")]
    assert "GeoNames" in sources and last < height and len(set(regions)) == n
    assert all(x < 1200 and y < last for x, y in regions)


def result_of(python: str, cwd: Path) -> pd.DataFrame:
    """The last line's value."""
    *head, last = python.splitlines()
    names: dict[str, object] = {}
    exec("\n".join(head), names)
    return eval(last, names)  # type: ignore[return-value]


def test_the_maps_data_are_saved_and_python_gives_the_same(tab, run, written, saved):
    tab.open(written)
    one_probe(tab)
    set_value(tab, "cities", "all")
    rows = pd.read_csv(saved("$('csv').click()", ".csv"))
    tab.run("$('python').click()")
    same = result_of(tab.run("$('link').value").replace(page_path(tab), str(run)), run)
    assert len(rows) == len(same) == 8
    saved_rows, same = (table.set_index("id").sort_index() for table in (rows, same))
    on_globe = (same["pred_lon"].to_numpy() + 180) % 360 - 180
    assert saved_rows["pred_lon"].to_numpy() == pytest.approx(on_globe, abs=0.06)
    assert saved_rows["error_km"].to_numpy() == pytest.approx(same["error_km"].to_numpy(), abs=0.51)


def page_path(tab: Tab) -> str:
    return tab.run("run().path")


@pytest.mark.parametrize("chart", ["r2", "skill", "loss", "cka"])
def test_a_chart_is_saved_and_python_gives_the_same(tab, run, written, saved, chart):
    tab.open(written)
    menu = f"$('chart-{chart}').closest('figure').querySelector('.save')"
    tab.run(f"{menu}.open = true")
    tab.until(f"{menu}.querySelector('textarea').value !== ''")
    rows = pd.read_csv(saved(f"{menu}.querySelectorAll('button')[1].click()", ".csv"))
    same = result_of(tab.run(f"{menu}.querySelector('textarea').value").replace(page_path(tab), str(run)), run)
    pd.testing.assert_frame_equal(rows.drop(columns="run"), same.drop(columns="run"), check_dtype=False)
    root = ElementTree.parse(saved(f"{menu}.querySelectorAll('button')[0].click()", ".svg")).getroot()
    assert (
        len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) >= 2
        and "var(" not in ElementTree.tostring(root).decode()
    )


@pytest.mark.parametrize("name", ["table", "when", "regions", "variants"])
def test_a_table_is_saved_and_python_gives_the_same(tab, run, written, saved, name):
    tab.open(written)
    set_value(tab, "step", "1", "input")
    menu = f"$('{name}').closest('section').querySelector('.save')"
    tab.run(f"{menu}.open = true")
    tab.until(f"{menu}.querySelector('textarea').value !== ''")
    rows = pd.read_csv(saved(f"{menu}.querySelector('button').click()", ".csv"))
    same = result_of(tab.run(f"{menu}.querySelector('textarea').value").replace(page_path(tab), str(run)), run)
    assert rows.shape == same.shape
    for k in range(rows.shape[1]):
        if pd.api.types.is_numeric_dtype(same.iloc[:, k]):
            assert rows.iloc[:, k].to_numpy() == pytest.approx(same.iloc[:, k].to_numpy(), rel=1e-4, nan_ok=True)


def test_the_table_of_cities_is_saved_whole_and_python_gives_the_same(tab, run, written, saved):
    tab.open(written)
    one_probe(tab)
    set_value(tab, "cities", "all")
    tab.run("orders['city-table'].most = 3, cityTable(10)")
    assert len(column(tab, "city-table", 0)) == 3
    menu = "$('city-table').closest('section').querySelector('.save')"
    tab.run(f"{menu}.open = true")
    tab.until(f"{menu}.querySelector('textarea').value !== ''")
    rows = pd.read_csv(saved(f"{menu}.querySelector('button').click()", ".csv"))
    same = result_of(tab.run(f"{menu}.querySelector('textarea').value").replace(page_path(tab), str(run)), run)
    rows = rows.set_index(rows["city"].str.extract(r", id (\d+)$")[0].astype(int)).sort_index()
    assert rows["km at step 10"].to_numpy() == pytest.approx(same[10].to_numpy(), abs=0.51) and len(rows) == 8


# --- charts and maps move together


def test_a_press_on_a_chart_moves_the_maps_and_the_crosshair_is_on_all_charts(tab, written):
    tab.open(written)
    tab.run("$('chart-km').scrollIntoView({block: 'center'})")
    box = "$('chart-km').closest('figure').querySelector('svg').getBoundingClientRect()"
    left, top, width = tab.run(f"[{box}.left, {box}.top, {box}.width]")
    x = left + width / 480 * tab.run(
        "LEFT + $('chart-km').closest('figure').querySelector('svg').dataset.span * Math.log1p(1)"
    )
    tab.point(x + 3, top + 60)
    places = tab.run(
        "[...document.querySelectorAll('.chart > svg > .cross')].map((line) => Number(line.getAttribute('x1')))"
    )
    assert len(places) == 18 and min(places) > 58 and len({round(place) for place in places}) == 1
    tab.point(x + 3, top + 60, "mousePressed", button="left", clickCount=1)
    tab.point(x + 3, top + 60, "mouseReleased", button="left", clickCount=1)
    assert tab.text("#step-name") == "step 1"
    quiet(tab)


def test_a_legend_hides_a_curve_and_shows_it_again(tab, written):
    tab.open(written)
    chart = "$('chart-km').closest('figure')"
    lines, button = (
        f"{chart}.querySelectorAll('polyline').length",
        f"{chart}.querySelector('.keys [data-label=Atlantis]')",
    )
    before = tab.run(lines)
    tick = f"[...{chart}.querySelectorAll('svg text')].map((text) => text.textContent).join()"
    ticks = tab.run(tick)
    tab.run(f"{button}.click()")
    assert tab.run(lines) == before - 1 and tab.run(f"{button}.getAttribute('aria-pressed')") == "false"
    assert tab.run(tick) != ticks, "the others have the room"
    assert tab.run(f"document.activeElement === {button}")
    tab.run(f"{button}.click()")
    assert tab.run(lines) == before and tab.run(tick) == ticks
    quiet(tab)


def test_a_citys_error_over_the_checkpoints_stands_beside_the_map(tab, written):
    tab.open(written)
    assert tab.run("$('spark').children.length") == 0
    set_value(tab, "find", "Lima", "input")
    assert tab.run("$('spark').querySelectorAll('polyline').length") == 2
    assert "Error of Lima over the checkpoints" in tab.run("$('spark').firstChild.getAttribute('aria-label')")
    assert column(tab, "regions", 0)
    quiet(tab)
