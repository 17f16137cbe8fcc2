"""The page in a real browser, headless: what a reader does with it works, quietly. `make browser` installs Chromium."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from atlantis.report import page
from tests.chromium import Tab
from tests.page_driving import (
    IN_BROWSER,
    captions,
    choose_run,
    city,
    column,
    one_probe,
    quiet,
    rewrite,
    set_value,
    whole,
)
from tests.planted_run import EVIL, NAME, make_run
from tests.test_colours import COLOURS, EYES, nearest_neighbours

pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", with_map=True)


@pytest.fixture(scope="module")
def written(run) -> Path:
    return page.write_report(run, figures=False)


@pytest.fixture
def opened(tab, written) -> Tab:
    """The page with the study's probe alone."""
    tab.open(written)
    one_probe(tab)
    return tab


def test_the_page_draws_itself_and_asks_for_nothing(opened):
    assert opened.pdf().startswith(b"%PDF-")
    quiet(opened)
    assert opened.text("h1") == NAME and opened.text("#step-name") == "step 10"
    assert captions(opened) == [f"{NAME}: new probe of each step (degrees, the study's), step 10"]
    assert opened.run("document.querySelectorAll('figure.chart').length") == 18
    assert opened.run("document.querySelectorAll('script').length") == 2
    pixels = "new Set(new Uint32Array(views[0].canvas.getContext('2d').getImageData(0, 0, 900, 300).data.buffer)).size"
    assert opened.run(pixels) > 20


def test_the_policy_refuses_what_the_page_does_not_do(opened):
    """The check of the check: a script that is not ours does not run, a request is not made, and both are noticed."""
    assert opened.run(
        "{ const s = document.createElement('script'); s.textContent = 'window.ran = 1'; "
        "document.body.append(s); window.ran === undefined }"
    )
    opened.run("fetch('http://127.0.0.1:9/').catch(() => 0)")
    said = str(opened.troubles())
    assert "script-src" in said and "connect-src" in said


def test_the_slider_moves_the_map_the_numbers_and_the_tables(opened):
    before = opened.run("views[0].canvas.toDataURL()")
    set_value(opened, "step", "1", "input")
    opened.until("state.position === 1")
    assert opened.text("#step-name") == "step 1" and "200 km" in opened.text("#maps .numbers")
    assert opened.run("views[0].canvas.toDataURL()") != before
    assert opened.run("document.querySelector('#table tr.now').dataset.step") == "1"
    assert "km at step 1" in opened.text("#regions thead") and "km at step 1" in opened.text("#variants thead")
    quiet(opened)


def test_play_starts_over_goes_to_the_end_and_stops(opened):
    opened.run(
        "window.seen = []; new MutationObserver(() => seen.push($('step-name').textContent))"
        ".observe($('step-name'), {childList: true}); $('play').click()"
    )
    assert opened.text("#play") == "Pause"
    opened.until("!state.timer && state.position === 2")
    assert opened.run("seen") == ["step 0", "step 1", "step 10"] and opened.text("#play") == "Play"
    opened.run("$('play').click(), $('play').click()")
    assert opened.run("state.timer") == 0
    quiet(opened)


def test_pointing_at_a_city_names_it_with_its_places_and_its_error(opened):
    opened.point(*city(opened, EVIL))
    assert opened.text("#tip").splitlines() == [
        f"{EVIL} (Africa, id 0)",
        "true 6.5° N, 3.0° E",
        "predicted 6.5° N, 5.0° E",
        "error 221 km",
    ]
    opened.point(*city(opened, "Atlantis_002"))
    assert "Atlantis_002" in opened.text("#picked") and opened.run("!$('tip').hidden")
    opened.point(5, 5)
    assert opened.run("$('tip').hidden") and opened.text("#picked") == ""
    quiet(opened)


def test_a_touch_picks_a_city_and_it_stays(tab, written):
    tab.open(written, 390, 844, touch=True)
    one_probe(tab)
    x, y = city(tab, "Atlantis_001")
    tab.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x + 1, "y": y}])
    tab.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert "Atlantis_00" in tab.text("#picked") and tab.run("state.pinned")
    assert tab.run("document.documentElement.scrollWidth") == 390  # nothing sticks out on a phone
    assert tab.run("[...document.querySelectorAll('.chart > svg text')].every((text) => text.getBBox().x >= 0)")
    quiet(tab)


def test_the_keyboard_walks_from_city_to_city(opened):
    opened.run("$('cities').value = 'all'; $('cities').dispatchEvent(new Event('change')); views[0].canvas.focus()")
    opened.press("ArrowRight")
    for _ in range(20):
        opened.press("ArrowLeft")
    west = opened.text("#picked")
    assert west.startswith("Suva") and opened.run("!$('tip').hidden")  # drifted east, across the 180th meridian
    opened.press("ArrowRight")
    assert opened.text("#picked").startswith("Lima")
    opened.press("Escape")
    assert opened.text("#picked") == "" and opened.run("state.picked") is None
    quiet(opened)


def test_a_city_is_found_by_the_beginning_of_its_name(opened):
    set_value(opened, "find", "são", "input")
    assert opened.text("#picked").startswith("São Paulo (South America, id 2)")
    assert opened.run("$('cities').value") == "all"  # the probe was fitted on it
    set_value(opened, "find", "nowhere", "input")
    assert opened.text("#picked") == "No city of that name."


def test_the_switch_between_probes_moves_the_cities_and_the_table(opened):
    assert opened.run("[...$('protocol').options].map((o) => o.value)") == ["degrees", "sphere", "frozen", "shifted"]
    set_value(opened, "protocol", "frozen")
    opened.point(*city(opened, EVIL))
    lines = opened.text("#tip").splitlines()
    assert lines[2] == "predicted 6.5° N, 9.0° E" and len(lines) == 4
    assert column(opened, "regions", 3)[column(opened, "regions", 0).index("Africa")] == "2,800"
    assert "R²" not in opened.text("#maps .numbers") and "kept" in opened.text("#regions-probe")
    set_value(opened, "protocol", "shifted")
    opened.point(*city(opened, EVIL))
    lines = opened.text("#tip").splitlines()
    assert lines[2] == "predicted 6.5° N, 7.0° E"
    assert lines[4] == "moved 200 km towards Atlantis, 80 km across"
    set_value(opened, "protocol", "sphere")
    assert "R²" in opened.text("#maps .numbers") and opened.text("#step-name") == "step 10"
    quiet(opened)


def test_tables_sort_both_ways_and_keep_the_step(opened):
    def press(table: str, k: int) -> list[str]:
        opened.run(f"$('{table}').querySelectorAll('thead button')[{k}].click()")
        return column(opened, table, k)

    assert column(opened, "regions", 0) == ["Atlantis", "all real cities", "Japan", "Africa"]  # by change
    assert press("regions", 0) == ["Africa", "all real cities", "Atlantis", "Japan"]
    assert press("regions", 0) == ["Japan", "Atlantis", "all real cities", "Africa"]
    assert press("regions", 2) == ["7,000", "100", "50", "5"]
    assert opened.run("$('regions').querySelector('[aria-sort]').cellIndex") == 2
    assert press("table", 1) == ["2.000", "1.500", "1.000"]
    assert opened.run("document.querySelector('#table tr.now').dataset.step") == "10"
    assert press("when", 7) == ["0.46", "–"] and press("when", 7) == ["0.46", "–"]  # what is absent comes last
    assert press("variants", 3) == ["5,000", "120"]


def test_legend_look_and_lines_change_the_picture(opened):
    pictures = [opened.run("views[0].canvas.toDataURL()")]
    opened.run("document.querySelector('#legend button').click()")
    pictures.append(opened.run("views[0].canvas.toDataURL()"))
    for control, value in (("lines", "true"), ("base", "1"), ("lines", "base"), ("look", "Atlantis")):
        set_value(opened, control, value)
        pictures.append(opened.run("views[0].canvas.toDataURL()"))
    assert len(set(pictures)) == 5  # another step to compare with shows only once there are arrows from it
    west, east = opened.run("[camera.x - camera.span / 2, camera.x + camera.span / 2]")
    assert west < -36 and -35 < east < west + 90
    quiet(opened)


def test_several_runs_share_axes_and_steps(tab, run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    other = make_run(folder / "other", drift=0.1, name="other")
    tab.open(page.write_report([run, other], folder / "out", figures=False))
    quiet(tab)
    assert tab.run("views.length") == 2 and tab.run("document.querySelectorAll('#maps canvas').length") == 2
    labels = tab.run(
        "[...document.querySelectorAll('.chart')[1].querySelectorAll('.keys > button')].map((s) => s.textContent)"
    )
    assert "other: Atlantis" in labels and f"{NAME}: real cities, held out" in labels
    assert column(tab, "compare", 0) == [NAME, "other"]
    tab.run("pick('3 Suva', true)")
    assert re.match(r"other: new probe.*, step 10: Suva", tab.text("#picked").splitlines()[1])
    set_value(tab, "layout", "one")
    choose_run(tab, 1, "#table-title + .run-choice")
    assert tab.run("views.length") == 1 and "120 km" in tab.text("#maps .numbers")
    assert tab.run("$('when-section').hidden")
    quiet(tab)


def test_a_city_is_not_taken_for_the_one_that_has_its_id_in_another_world(tab, run, tmp_path):
    other = make_run(tmp_path / "other", name="other")
    for protocol in ("degrees", "sphere"):
        rewrite(other, protocol, lambda table: table.assign(name=table["name"].replace("Suva", "Apia")))
    tab.open(page.write_report([run, other], tmp_path / "out", figures=False))
    for name, runs in (("Suva", [NAME]), ("Lima", [NAME, "other"])):
        set_value(tab, "find", name, "input")
        lines = tab.text("#picked").splitlines()
        assert [line.split(": new probe")[0] for line in lines] == runs
    quiet(tab)


@pytest.mark.parametrize(
    ("virtual", "named"), [(("Atlantis", "Atlantis"), "Atlantis"), (("Atlantis", "Mu"), "the nearest virtual region")]
)
def test_a_movement_is_towards_the_nearest_region(tab, tmp_path, virtual, named):
    run = make_run(tmp_path / "run", with_map=True)
    for protocol in ("degrees", "sphere"):
        path = run / "analysis" / protocol / "predictions.parquet"
        table = pd.read_parquet(path)
        for i, region in enumerate(virtual, start=6):
            table.loc[table["id"] == i, "region"] = region
        table.to_parquet(path)
    tab.open(page.write_report(run, tmp_path / "out", figures=False))
    one_probe(tab, "shifted")
    set_value(tab, "find", "Lima", "input")
    assert f"moved 200 km towards {named}, 80 km across" in tab.text("#picked")
    quiet(tab)


def test_a_young_run_without_a_probe_has_its_page(tab, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "kind": "eval", "loss": 3.5}\n')
    tab.open(page.write_report(tmp_path))
    assert "has not been probed" in tab.text(".lacking") and "`atlantis probe" in tab.text(".lacking")
    assert tab.run("$('play').offsetParent === null && $('regions-section').hidden")
    assert column(tab, "table", 1) == ["3.500"]
    quiet(tab)


def test_dark_and_print_are_drawn_with_their_own_colours(tab, written):
    def sea() -> list[int]:
        return tab.run("[...views[0].canvas.getContext('2d').getImageData(2, 2, 1, 1).data]")

    tab.open(written)
    light = sea()
    tab.open(written, dark=True)
    assert min(light[:3]) > 200 and max(sea()[:3]) < 60
    assert tab.run("tint('#332288')") != "#332288"
    tab.run("window.dispatchEvent(new Event('beforeprint'))")
    assert sea()[:3] == [255, 255, 255] and tab.run("$('config-section').open")
    tab.run("window.dispatchEvent(new Event('afterprint'))")
    assert max(sea()[:3]) < 60


@pytest.mark.parametrize("eye", ["deuteranopia", *whole(*(eye for eye in EYES if eye != "deuteranopia"))])
def test_neighbours_are_told_apart_on_a_dark_page_too(tab, written, eye):
    tab.open(written, dark=True)
    lifted = {}
    for name, colour in COLOURS.items():
        said = tab.run(f"tint({colour.lower()!r})")
        parts = [int(part) for part in re.findall(r"\d+", said)] if said.startswith("rgb") else None
        lifted[name] = colour if parts is None else "#{:02x}{:02x}{:02x}".format(*parts)
    assert lifted != COLOURS and nearest_neighbours(lifted, eye) > 15
