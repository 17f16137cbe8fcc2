"""The page about the study's collapse: as its records have it, and its claims as they stand in the prose."""

from __future__ import annotations

import pytest

from scripts import collapse_page
from scripts.collapse_page import EARLY, ORDER, RECIPE, STOPPED, Records
from scripts.study_numbers import BASE_END


@pytest.fixture(scope="module")
def records() -> Records:
    return Records()


def test_the_page_is_that_of_the_records() -> None:
    page = collapse_page.PAGE.read_text(encoding="utf-8")
    assert page == collapse_page.page(collapse_page.PROSE.read_text(encoding="utf-8")), "run scripts.collapse_page"


def test_no_cross_run_sinks_as_the_study_had_it(records: Records) -> None:
    for condition in collapse_page.CONDITIONS:
        assert all(km < 400 for km in records.added_km(condition, EARLY).values()), condition


def test_the_order_costs_the_map_with_every_seed(records: Records) -> None:
    coin, order = records.base_km("a coin"), records.base_km(ORDER)
    assert set(order) == {42, 43, 44} and all(order[seed] > coin[seed] for seed in order)


def test_the_other_recipes_base_loses_most_by_the_end_but_not_early(records: Records) -> None:
    others = [condition for condition in collapse_page.CONDITIONS if condition != RECIPE]
    (recipe,) = records.added_km(RECIPE).values()
    assert recipe > max(km for condition in others for km in records.added_km(condition).values())
    assert records.added_km(RECIPE, EARLY)[43] < records.added_km(ORDER, EARLY)[42] and recipe > 500
    (run,), (_, study) = records.runs(RECIPE, "cross"), collapse_page.study_cross()
    start, end = (run.evaluations[i].degrees["real"] for i in (0, -1))
    assert (start.lat_r2 or 0) - (end.lat_r2 or 0) > (BASE_END.lat_r2 or 0) - (study.lat_r2 or 0)
    assert (start.lon_r2 or 0) - (end.lon_r2 or 0) < (BASE_END.lon_r2 or 0) - (study.lon_r2 or 0)


def test_a_base_that_was_stopped_with_the_studys_map_loses_as_much_as_whole_ones(records: Records) -> None:
    (run,) = records.runs(STOPPED, "cross")
    start, coin = run.evaluations[0].degrees["real"], records.added_km("a coin", EARLY).values()
    assert start.lon_r2 == pytest.approx(BASE_END.lon_r2, abs=0.01)
    assert start.lat_r2 == pytest.approx(BASE_END.lat_r2, abs=0.01)
    assert min(coin) < records.added_km(STOPPED, EARLY)[42] < max(coin)


def test_each_condition_is_what_its_records_were_made_with(records: Records) -> None:
    for condition, runs in records.of.items():
        for record in runs:
            assert (record.config.dataset.order == "smaller_first") == (condition in (ORDER, "to the letter"))
            assert (record.device["precision"] == "fp16") == (condition in ("float16", "to the letter"))
            assert (record.config.world.cities is not None) == (condition in ("cities not thinned", "to the letter"))
