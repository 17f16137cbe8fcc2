"""Runs that a page must be made of too: one city, no new region, names of any script, very many cities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from atlantis.report import page, page_data
from atlantis.report.page_data import MAX_CITIES
from atlantis.report.run_data import load
from tests.chromium import Tab
from tests.page_driving import IN_BROWSER, captions, city, column, quiet, rewrite, set_value
from tests.planted_run import NAME, make_run

pytestmark = IN_BROWSER
BOTH = ("degrees", "sphere")


@pytest.fixture
def run(tmp_path) -> Path:
    return make_run(tmp_path / "run", with_map=True)


def drive(tab: Tab) -> None:
    """Every layout, every region in both projections of one of them, without a trouble."""
    for layout in tab.run("[...$('layout').options].map((option) => option.value)"):
        set_value(tab, "layout", layout)
        for arrows in ("true", "base", "first", ""):
            set_value(tab, "lines", arrows)
        assert len(captions(tab)) >= 1
    for projection in ("around", "flat"):
        set_value(tab, "projection", projection)
        for region in tab.run("[...$('look').options].map((option) => option.value)"):
            set_value(tab, "look", region)
    tab.run("savePng().then(() => saveSvg())")
    quiet(tab)


def test_one_city(tab, run):
    for protocol in BOTH:
        rewrite(run, protocol, lambda table: table[table["id"] == 0])
    tab.open(page.write_report(run, figures=False))
    assert tab.run("views[0].cities.n") == 1
    tab.run("views[0].canvas.focus()")
    tab.press("ArrowLeft")
    assert "id 0" in tab.text("#picked")
    drive(tab)


def test_no_new_region(tab, run):
    for protocol in BOTH:
        rewrite(run, protocol, lambda table: table[~table["is_virtual"]])
    tab.open(page.write_report(run, figures=False))
    assert "Atlantis" not in tab.text("#legend")
    drive(tab)


def test_names_of_any_script_are_text_and_are_found(tab, run):
    names = {"Lima": "القاهرة", "Nairobi": "Санкт-Петербург", "Suva": "東京", "Atlantis_001": "𐎠𐎼 <b>x</b> ‮abc"}
    for protocol in BOTH:
        rewrite(run, protocol, lambda table: table.assign(name=table["name"].replace(names)))
    tab.open(page.write_report(run, figures=False))
    for typed, i in (("القاه", 5), ("санкт", 4), ("東", 3), ("<B>x", 6)):
        set_value(tab, "find", typed, "input")
        assert f"id {i}" in tab.text("#picked"), typed
    assert tab.run("document.querySelectorAll('#picked b').length") == 0
    tab.point(*city(tab, "القاهرة"))
    assert "القاهرة" in tab.text("#tip")
    drive(tab)


def test_runs_of_other_worlds_and_tasks_stand_beside_each_other(tab, run, tmp_path):
    other = make_run(tmp_path / "other", name="other")
    for protocol in BOTH:
        rewrite(other, protocol, lambda t: t.assign(region=t["region"].replace({"Africa": "Mars", "Atlantis": "Mu"})))
    scores = '[{"task": "compass", "slice": "world-world", "metric": "skill", "value": 0.5, "n": 4, "unit": ""}]'
    (other / "metrics.jsonl").write_text(f'{{"step": 0, "kind": "eval", "loss": 3.5, "scores": {scores}}}\n')
    tab.open(page.write_report([run, other], tmp_path / "out", figures=False))
    assert {"Mars", "Africa", "Mu", "Atlantis"} <= set(column_of_legend(tab))
    assert column(tab, "compare", 0) == [NAME, "other"]
    drive(tab)


def column_of_legend(tab: Tab) -> list[str]:
    return tab.run("[...$('legend').children].map((button) => button.textContent)")


def test_of_very_many_cities_the_maps_have_some_and_say_so(tab, run, tmp_path, monkeypatch):
    monkeypatch.setattr(page_data, "MAX_CITIES", 3)
    tab.open(page.write_report(run, tmp_path / "out", figures=False))
    assert tab.run("views[0].cities.ids") == [0, 2, 4, 6, 7], "every second real city, and all the new ones"
    text = tab.text(".frame .note")
    assert text == (
        "The maps have 5 of 8 cities: 1 in 2 of the real ones. "
        "The table City by city has these too; all other tables and all curves are of all cities."
    )
    set_value(tab, "find", "nowhere", "input")
    assert tab.text("#picked") == "No city of that name on the maps."
    set_value(tab, "find", "", "input")
    edge = "[...document.querySelectorAll('.frame')].map((f) => f.querySelector('{}').getBoundingClientRect().{})"
    numbers, notes = tab.run(edge.format(".numbers", "bottom")), tab.run(edge.format(".note", "top"))
    assert len(notes) == 2 and all(note >= end for note, end in zip(notes, numbers, strict=True)), "one below the other"
    drive(tab)


@pytest.mark.parametrize(("n", "most"), [(3_000, 600), pytest.param(100_000, MAX_CITIES, marks=pytest.mark.whole)])
def test_a_hundred_thousand_cities_are_a_page_that_opens(run, n, most, monkeypatch):
    """A page of some 6 MB; of fewer cities, and with fewer on its maps, one that is smaller to match."""
    monkeypatch.setattr(page_data, "MAX_CITIES", most)
    loaded = load(run)
    degrees, rng = loaded.probe(), np.random.default_rng(0)
    first = pd.concat([degrees.predictions.head(1)] * n).assign(id=range(n), name=[f"City {i}" for i in range(n)])
    places = {"pred_lon": (-180, 180), "pred_lat": (-90, 90)}
    many = pd.concat(
        [first.assign(step=step, **{k: rng.uniform(*ends, n) for k, ends in places.items()}) for step in range(10)]
    )
    large = replace(loaded, probes={name: replace(degrees, protocol=name, predictions=many) for name in BOTH})
    assert len(page.page([large])) < 350_000 + 470 * most
