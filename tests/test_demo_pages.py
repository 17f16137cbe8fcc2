"""The pages that quote the demo run say what its record says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlantis.errors import UserError
from atlantis.report.run_data import load
from checks.benchmarks.page import read_records
from scripts import demo_pages
from scripts.demo_pages import DEMO_PAGE, PAGE, RECORDS, demo_page, metrics_page, record_of
from tests.planted_run import make_run

AGAIN = "run `python -m scripts.demo_pages`; edit scripts/metrics.md and scripts/demo.md, not the pages"


@pytest.fixture(scope="module")
def records() -> dict[str, Any]:
    return read_records(RECORDS)


def test_docs_metrics_is_what_the_record_says(records: dict[str, Any]) -> None:
    assert PAGE.read_text(encoding="utf-8") == metrics_page(records), AGAIN


def test_docs_demo_is_what_the_record_says(records: dict[str, Any]) -> None:
    assert DEMO_PAGE.read_text(encoding="utf-8") == demo_page(records), AGAIN


def test_another_number_is_another_page(records: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(records))
    changed["demo"]["results"]["last"]["real"]["skill_frozen"] -= 0.1
    changed["demo"]["results"]["table"]["rows"][-1][-1] += 1_000
    assert metrics_page(changed) != metrics_page(records)
    before, after = (demo_page(found).splitlines() for found in (records, changed))
    differ = [line for line, other in zip(after, before, strict=True) if line != other]
    assert len(differ) == 2, "the last row of the table, and the sentence about the skill"
    with pytest.raises(KeyError):
        metrics_page({**changed, "demo": {"results": {}}})


def test_a_record_has_a_runs_own_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_pages, "_islands", lambda world: {"n": 12})
    results = record_of(load(make_run(tmp_path / "run", with_map=True)))["results"]
    assert results["first"]["step"] == 0 and results["last"]["step"] == 10
    assert results["last"]["real"]["skill_frozen"] == 0.5 and results["last"]["real"]["skill_frozen_low"] == 0.49
    assert results["last"]["Atlantis"]["integration_ratio"] == 2.2 and results["last"]["old"]["kl_old"] == 0.2
    assert results["derived"]["percent"] == {"lost": 50, "bent": 20, "turned": 10, "shifted": 20}
    assert results["derived"]["shift_towards"] == "20° S, 40° E"
    assert (
        results["when"]["skill_frozen"]["half_damage_step"] == 40 and "recovered" not in results["when"]["skill_frozen"]
    )
    assert results["end"]["real km"] == 300 and results["table"]["columns"][0] == "step"
    json.dumps(results, allow_nan=False)


def test_a_run_that_does_not_tell_the_shift_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="atlantis probe"):
        record_of(load(make_run(tmp_path / "run", with_map=True, with_shift=False)))
