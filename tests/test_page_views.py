"""What the page shows beside what, and what each part of it says about itself: in a real browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from atlantis.report import page
from atlantis.report.run_data import load
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
from tests.test_colours import COLOURS

pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", with_map=True)


@pytest.fixture(scope="module")
def written(run) -> Path:
    return page.write_report(run, figures=False)


@pytest.fixture(scope="module")
def two(run, tmp_path_factory) -> Path:
    """A page of two runs; the second has no kept probe, ends at step 1, and its new cities are of another region."""
    folder = tmp_path_factory.mktemp("two")
    other = make_run(folder / "other", drift=0.1, name="other")
    for protocol in ("degrees", "sphere"):
        rewrite(other, protocol, lambda t: t[t["step"] < 10].assign(region=t["region"].replace("Atlantis", "Mu")))
    return page.write_report([run, other], folder / "out", figures=False)


# --- the finding first, and the two probes beside each other


def test_the_page_begins_with_its_finding(tab, written):
    tab.open(written)
    text = tab.text("#finding")
    assert text.startswith("The map was partly erased and partly moved. The probe fitted at step 0 reads")
    assert "skill of 0.90 (0.89 to 0.91) there and of 0.50 (0.49 to 0.51) at step 10" in text
    assert "One seed" in text
    assert tab.run("$('finding').getBoundingClientRect().bottom < 300")


def test_the_first_steps_probe_stands_beside_a_new_one_on_one_slider(tab, written):
    tab.open(written)
    assert captions(tab) == [
        f"{NAME}: the first step's probe, kept, step 10",
        f"{NAME}: new probe of each step (unit sphere), step 10",
    ]
    before = tab.run("views.map((v) => v.canvas.toDataURL())")
    set_value(tab, "step", "0", "input")
    tab.until("state.position === 0")
    assert [caption.rpartition(", ")[2] for caption in captions(tab)] == ["step 0", "step 0"]
    after = tab.run("views.map((v) => v.canvas.toDataURL())")
    assert all(a != b for a, b in zip(before, after, strict=True))
    assert "R²" not in tab.text(".frame .numbers") and "the first step's probe" in tab.text("#regions-probe")
    quiet(tab)


def test_two_steps_of_a_probe_stand_beside_each_other(tab, written):
    tab.open(written)
    assert tab.run("$('base-choice').hidden")
    one_probe(tab)
    set_value(tab, "layout", "steps")
    set_value(tab, "base", "1")
    assert [caption.rpartition(", ")[2] for caption in captions(tab)] == ["step 1", "step 10"]
    where = "views.map((v) => place(v, 0, position(v)))"
    assert tab.run(where) == [[40, 65], [50, 65]]
    set_value(tab, "step", "0", "input")
    tab.until("state.position === 0")
    assert tab.run(where) == [[40, 65], [30, 65]]
    quiet(tab)


# --- whose it is


def test_every_map_names_its_run_and_its_own_step(tab, two):
    tab.open(two)
    assert captions(tab) == [
        f"{NAME}: new probe of each step (degrees, the study's), step 10",
        "other: new probe of each step (degrees, the study's), step 1 (its last)",
    ]
    quiet(tab)


def test_a_missing_probe_is_an_empty_frame_that_says_why(tab, two):
    tab.open(two)
    set_value(tab, "protocol", "frozen")
    assert captions(tab) == [f"{NAME}: the first step's probe, kept, step 10", "other: the first step's probe, kept"]
    assert "was not measured in this run. `atlantis probe" in tab.text(".lacking")
    set_value(tab, "layout", "one")
    choose_run(tab, 1)
    assert captions(tab) == ["other: the first step's probe, kept"] and tab.run("views.length") == 0
    assert tab.run("$('regions-section').hidden && $('play').offsetParent === null")
    set_value(tab, "protocol", "degrees")
    assert captions(tab) == ["other: new probe of each step (degrees, the study's), step 1"]
    assert tab.run("$('play').offsetParent !== null")
    quiet(tab)


def test_every_section_of_one_run_names_it_and_lets_choose(tab, two):
    tab.open(two)
    choose_run(tab, 1)
    for name in ("cards", "table", "regions", "variants", "about"):
        if not tab.run(f"$('{name}-title').closest('section').hidden"):
            assert tab.text(f"#{name}-title").endswith(": other")
            assert tab.run(f"$('{name}-title').nextElementSibling.querySelector('select').value") == "1"
    assert tab.run("[...document.querySelectorAll('.finding .who')].map((who) => who.textContent)")[1] == "other: "


def test_search_regions_and_colours_know_every_run(tab, two):
    tab.open(two)
    assert {"Atlantis", "Mu"} <= set(tab.run("[...$('look').options].map((option) => option.value)"))
    assert {"Atlantis", "Mu"} <= set(tab.run("[...$('legend').children].map((button) => button.textContent)"))
    colours = tab.run("DATA.runs.map((r) => r.regions.find((region) => region.virtual).colour)")
    assert len(set(colours)) == 2 and "#cc3311" in [colour.lower() for colour in colours]
    set_value(tab, "look", "Mu")
    assert tab.run("isZoomed()")
    quiet(tab)


def test_runs_that_differ_in_their_seed_alone_have_one_sentence(tab, tmp_path):
    runs = []
    for seed in (1, 2, 3):
        run = load(make_run(tmp_path / f"s{seed}", name=f"s{seed}", with_map=True))
        assert run.map is not None
        settings = {"config": {"training.learning_rate": 1, "training.seed": seed}, "seeds": {"order": seed}}
        measures = run.map.measures.copy()
        measures.loc[measures["metric"] == "skill_frozen", "value"] += 0.02 * seed
        runs.append(replace(run, about=run.about | settings, map=replace(run.map, measures=measures)))
    tab.open(page.write_report(runs, tmp_path / "out", figures=False))
    assert tab.run("document.querySelectorAll('.finding').length") == 1
    assert tab.text(".finding").startswith("s1, s2, s3: ") and "Mean over 3 seeds" in tab.text(".finding")
    assert "0.54 (" in tab.text(".finding")
    chart = "$('chart-skill').closest('figure')"
    lines = f"{chart}.querySelectorAll('polyline').length"
    assert tab.run(lines) == 5 and tab.run(f"{chart}.querySelectorAll('.interval').length") >= 1
    tab.run(f"{chart}.querySelector('svg').focus()")
    tab.press("End")
    assert "the first step's probe: 0.540 (" in tab.text("#tip")
    tab.run("$('seeds').click()")
    assert tab.run(lines) == 15
    quiet(tab)


# --- what the page says is so


def test_the_tip_follows_the_step(tab, written):
    tab.open(written)
    one_probe(tab)
    tab.point(*city(tab, EVIL))
    assert "error 221 km" in tab.text("#tip")
    set_value(tab, "step", "1", "input")
    assert "error 110 km" in tab.text("#tip") and not tab.run("$('tip').hidden")
    quiet(tab)


def test_two_probes_of_two_protocols_are_called_two_things(tab, written):
    tab.open(written)
    titles = tab.run("[...document.querySelectorAll('.chart figcaption > span:first-child')].map((s) => s.textContent)")
    assert titles[0].startswith("New probe (degrees): ")
    keys = tab.run("[...document.querySelectorAll('.chart .keys button')].map((s) => s.textContent)")
    assert "a new linear probe (unit sphere)" in keys and "a new linear probe" not in keys
    labels = tab.run("[...document.querySelectorAll('.card p:first-child')].map((p) => p.textContent)")
    assert "Held-out real cities, new probe (degrees)" in labels


def test_chance_that_is_far_off_does_not_flatten_the_curves(tab, written):
    tab.open(written)
    chart = "$('chart-r2').closest('figure')"
    keys = tab.run(f"[...{chart}.querySelectorAll('.keys button')].map((s) => s.textContent)")
    assert "untrained model: 0.020, below; 0.020, below" in keys
    heights = tab.run(f"[...{chart}.querySelectorAll('svg circle')].map((c) => Number(c.getAttribute('cy')))")
    assert max(heights) - min(heights) > 120  # of 204


def test_ticks_are_labelled_with_the_values_that_they_stand_at(tab, written):
    tab.open(written)
    for high, labels in ((9.36, ["0.0", "2.5", "5.0", "7.5"]), (0.9, ["0.00", "0.25", "0.50", "0.75"])):
        assert tab.run(f"ticks(0, {high}).map((v) => shown(v, tickDigits(ticks(0, {high}))))") == labels
    assert tab.run("ticks(0, 90).map((v) => shown(v, tickDigits(ticks(0, 90))))") == ["0", "25", "50", "75"]


def test_the_curves_of_many_runs_are_told_apart(tab, run, tmp_path):
    runs = [replace(load(run), name=f"run {k}") for k in range(8)]
    (tmp_path / "page.html").write_text(page.page(runs), encoding="utf-8")
    tab.open(tmp_path / "page.html")
    for chart, n in (("km", 16), ("loss", 8), ("skill", 40)):
        looks = f"merged('{chart}').series.map(curveLook).map((look) => look.stroke + look['stroke-dasharray'])"
        assert len(found := tab.run(looks)) == len(set(found)) == n


def test_look_at_a_region_frames_where_the_probes_see_it(tab, written):
    tab.open(written)
    set_value(tab, "look", "Atlantis")
    inside = (
        "views.map((v) => citiesOf(v, 'Atlantis').map((i) => spot(v, ...place(v, i, position(v))))"
        ".filter(([x, y]) => x >= 0 && x <= v.width && y >= 0 && y <= v.height).length)"
    )
    assert tab.run(inside) == [2, 2] and tab.run("camera.span") < 60
    quiet(tab)


def test_a_name_is_found_without_its_accents_and_every_city_of_it_can_be_reached(tab, tmp_path):
    run = make_run(tmp_path / "run")
    for protocol in ("degrees", "sphere"):
        rewrite(run, protocol, lambda table: table.assign(name=table["name"].replace("Lima", "Sao PAULO")))
    tab.open(page.write_report(run, tmp_path / "out", figures=False))
    set_value(tab, "find", "Sao Paulo", "input")
    listed = tab.run("[...$('found').children].map((button) => button.textContent)")
    assert listed == ["São Paulo, South America, id 2", "Sao PAULO, South America, id 5"]
    assert tab.text("#picked").startswith("São Paulo")
    tab.run("$('found').children[1].click()")
    assert tab.text("#picked").startswith("Sao PAULO (South America, id 5)")
    set_value(tab, "find", "", "input")
    assert tab.run("$('found').children.length") == 0
    quiet(tab)


def test_no_text_says_what_a_table_denies(tab, written):
    tab.open(written)
    assert "virtual in the pool" in column(tab, "variants", 0)
    assert "no probe here" not in tab.run("document.body.innerText.toLowerCase()")
    assert "No probe on these maps" in tab.text("#map-section details.note") and "in no map above" in tab.text(
        "#variants-section .note"
    )


# --- it can be used


def test_the_contents_lead_somewhere_whatever_is_chosen(tab, two):
    links = "[...document.querySelectorAll('#contents a')]"
    live = f"{links}.every((link) => document.getElementById(link.hash.slice(1))?.offsetParent)"
    shown = "[...document.querySelectorAll('main h2')].filter((h) => h.offsetParent).length"
    tab.open(two)
    for choice in (("layout", "one"), ("protocol", "frozen"), ("layout", "probes"), ("layout", "runs")):
        set_value(tab, *choice)
        for k in (0, 1):
            choose_run(tab, k)
            assert tab.run(live) and tab.run("$('contents').children.length") == tab.run(shown)
    tab.run("document.querySelector('#contents a:last-child').click()")
    assert tab.run("document.activeElement.id") == "about-title" and tab.run("scrollY") > 500


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_every_mark_on_the_land_has_a_contrast_of_three(tab, written, scheme):
    tab.open(written, dark=scheme == "dark")
    if scheme == "print":
        tab.run("printing = true")
    numbers = "(text) => text.startsWith('#') ? parts(text) : text.match(/\\d+/g).map(Number)"
    for colour in ["--true", *COLOURS.values()]:
        mark = "css('--true')" if colour == "--true" else f"edge({colour.lower()!r})"
        assert tab.run(f"contrast(({numbers})({mark}), parts(css('--land')))") >= 3, colour
    tab.run("printing = false")


def test_controls_stand_above_the_map_that_they_change(tab, written):
    for width, height in ((1280, 900), (390, 844)):
        tab.open(written, width, height)
        below = tab.run(
            "[...document.querySelectorAll('#map-section :is(select, input, button)')]"
            ".filter((control) => control.checkVisibility())"
            ".filter((control) => control.getBoundingClientRect().bottom > $('maps').getBoundingClientRect().top)"
            ".map((control) => control.id)"
        )
        assert below == ["copy", "png", "svg", "csv", "python"], "those take the map along and do not change it"


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_every_target_is_24_pixels_large(tab, written, size):
    tab.open(written, *size)
    tab.run("document.querySelectorAll('details').forEach((box) => (box.open = true))")
    small = tab.run(
        "[...document.querySelectorAll('button, select, input, summary, textarea, a')]"
        ".filter((target) => target.checkVisibility()).map((target) => [target, target.getBoundingClientRect()])"
        ".filter(([, box]) => box.width < 24 || box.height < 24)"
        ".map(([target, box]) => `${target.tagName} ${target.id} ${target.textContent} ${box.width} x ${box.height}`)"
    )
    assert small == []


def test_a_chart_is_read_and_moves_the_maps_by_keys(tab, written):
    tab.open(written)
    tab.run("$('chart-km').closest('figure').querySelector('svg').focus()")
    tab.press("ArrowRight")
    assert tab.text("#tip").splitlines()[:2] == ["step 0", "real cities, held out: 100 km"]
    tab.press("ArrowRight")
    assert tab.text("#reading").startswith("New probe (degrees): ") and "step 1; " in tab.text("#reading")
    assert "real cities, held out: 200 km" in tab.text("#reading")
    tab.press("Enter")
    assert tab.text("#step-name") == "step 1"
    tab.press("Escape")
    assert tab.run("$('tip').hidden")
    quiet(tab)


def test_rows_of_tables_lead_to_the_maps(tab, written):
    tab.open(written)
    one_probe(tab)
    tab.run("[...$('regions').querySelectorAll('td button')].find((button) => button.textContent === 'Japan').click()")
    assert tab.run("[...state.only]") == ["Japan"]
    pressed = "[...$('legend').children].filter((b) => b.ariaPressed === 'true').map((b) => b.textContent)"
    assert tab.run(pressed) == ["Japan"]
    assert column(tab, "regions", 0).count("all real cities") == 1
    assert tab.run("[...$('regions').querySelectorAll('td button')].length") == 3, "all real cities are no region"
    tab.run("$('table').querySelector('td button').click()")
    assert tab.text("#step-name") == "step 0"
    quiet(tab)


@pytest.mark.parametrize("by", ["virtual", *whole("error", "digits")])
def test_cities_are_coloured_by_a_number_of_theirs(tab, written, by):
    tab.open(written)
    one_probe(tab)
    before = tab.run("views[0].canvas.toDataURL()")
    set_value(tab, "colour", by)
    assert tab.run("views[0].canvas.toDataURL()") != before and tab.run("$('shade-key').children.length") == 5
    groups = "views[0].run.regions.flatMap((region, k) => groupsOf(views[0], region, views[0].members[k]))"
    sizes = tab.run(f"SHADES.map((shade) => {groups}.filter(([c]) => c === shade).flatMap(([, is]) => is).length)")
    assert sizes == {"error": [4, 0, 0, 0, 0], "digits": [4, 0, 0, 0, 0], "virtual": [2, 0, 0, 1, 1]}[by]
    quiet(tab)


def test_the_cities_of_a_region_are_a_table(tab, written):
    tab.open(written)
    one_probe(tab)
    set_value(tab, "cities", "all")
    assert sorted(tab.run("filled['city-table'].rows.map((row) => row[0].split(', id ')[1])")) == list("01234567")
    changes = tab.run("filled['city-table'].rows.map((row) => row[4])")
    shown = [int(text.replace(",", "")) for text in column(tab, "city-table", 4)]
    assert shown == sorted(changes, reverse=True)
    tab.run("toggleRegion('Atlantis')")
    assert sorted(column(tab, "city-table", 1)) == ["Atlantis", "Atlantis"]
    assert tab.text("#cities-note").startswith("2 of 2 cities")
    tab.run("$('city-table').querySelector('td button').click()")
    assert tab.text("#picked").startswith("Atlantis_00")
    set_value(tab, "step", "0", "input")
    assert column(tab, "city-table", 4) == ["0", "0"]
    quiet(tab)
