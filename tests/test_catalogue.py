"""The catalogue of metrics: it has all that is measured, and a metric that is added to it is everywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from atlantis.errors import UserError
from atlantis.readout import measures
from atlantis.readout.analysis import probe_run
from atlantis.readout.catalogue import DEGREES, METRICS, Metric
from atlantis.readout.compared import Compared
from atlantis.readout.measures import Row
from atlantis.readout.placed import SCORES, Placed
from atlantis.report import page, page_data
from atlantis.report.export import run_tables
from atlantis.report.panels import PANELS, SECTIONS
from atlantis.report.run_data import load
from atlantis.scales import LOG
from atlantis.tasks.score import scores_of
from checks.benchmarks.page import read_records
from scripts.demo_pages import RECORDS, metrics_page


@pytest.fixture()
def run(small_run: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy that may be probed anew, beside the small run: its config names the cities from there."""
    yield shutil.copytree(small_run, small_run.with_name(tmp_path.name))
    shutil.rmtree(small_run.with_name(tmp_path.name))


def test_all_that_is_measured_is_in_the_catalogue_and_all_of_the_catalogue_is_measured(small_run: Path) -> None:
    analysis = small_run / "analysis"
    measured = set(pd.read_parquet(analysis / "map" / "measures.parquet")["metric"])
    columns = set(pd.read_csv(analysis / "degrees" / "representation_dynamics.csv").columns)
    file = small_run / "checkpoints" / "checkpoint-20" / "eval_results.json"
    scores = {score.metric for score in scores_of(json.loads(file.read_text()))}
    assert measured <= set(METRICS) and set(SCORES) < columns and scores < set(METRICS)
    with_islands = {"integration_reference_km", "integration_ratio"}  # thirty cities have none
    assert set(METRICS) == measured | set(SCORES) | scores | with_islands | {"loss"}


def test_the_catalogue_is_whole_and_every_panel_has_its_metrics() -> None:
    assert all(name == metric.name for name, metric in METRICS.items())
    assert all(metric.title and metric.what for metric in METRICS.values())
    assert all(metric.reading or metric.better is None or metric.unit for metric in METRICS.values())
    named = {metric.panel or metric.name for metric in METRICS.values()}
    assert {panel.id for panel in PANELS} <= named, "a panel without a metric"
    assert {rule for panel in PANELS for rule in panel.rules if isinstance(rule, str)} <= set(METRICS)
    sections = {metric.section for metric in METRICS.values()}
    assert sections == {key for key, _, _ in SECTIONS} | {"chance"}
    text = metrics_page(read_records(RECORDS))
    assert all(f"| `{metric.name}` |" in text for metric in METRICS.values() if metric.section in sections)


def test_a_function_and_an_entry_are_all_that_a_metric_needs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tilt(at: Compared) -> Iterator[Row]:
        yield Row("tilt", 10.0 + at.step)

    def worst_km(places: Placed) -> float:
        return float(places.km.max())

    entries = [
        Metric("tilt", "drift", "tilt of the map", DEGREES, "low", None, "how far the map leans", "0: it stands"),
        Metric("worst_km", "map", "worst km", "km", "low", LOG, "the largest error", "0: all exact"),
    ]
    for metric in entries:
        monkeypatch.setitem(METRICS, metric.name, metric)
    monkeypatch.setattr(measures, "MEASURES", [*measures.MEASURES, tilt])
    monkeypatch.setitem(SCORES, "worst_km", worst_km)
    probe_run(run)
    rows = pd.read_csv(run / "analysis" / "map" / "measures.csv").query("metric == 'tilt'")
    assert rows["value"].tolist() == [10 + step for step in rows["step"]] and len(rows) > 2
    when = pd.read_csv(run / "analysis" / "map" / "when.csv").set_index("metric")
    assert when.loc["tilt", "first"] == 10 and when.loc["tilt", "recovered"] == 0 and "worst_km" in when.index
    for protocol in ("degrees", "sphere"):
        dynamics = pd.read_csv(run / "analysis" / protocol / "representation_dynamics.csv")
        assert (dynamics["worst_km"] >= dynamics["mean_km"]).all() and "worst_km_low" in dynamics
    loaded = load(run)
    shown: dict[str, Any] = page_data.data_of(loaded, [])
    panels = {panel["id"]: panel for panel in shown["panels"]}
    assert panels["tilt"]["title"] == "tilt of the map, degrees" and panels["tilt"]["section"] == "drift"
    assert panels["tilt"]["unit"] == "°" and panels["tilt"]["series"][0]["values"][0] == 10
    assert {"real cities, held out", "Atlantis"} <= {curve["label"] for curve in panels["worst_km"]["series"]}
    assert "tilt of the map" in {row[0] for row in shown["when"]["rows"]}
    assert "tilt of the map" in set(run_tables(loaded)["when"].rows["metric"])
    page.write_report(run, figures=False)
    assert "tilt of the map" in (run / "report" / "tables" / "when.csv").read_text()
    text = metrics_page(read_records(RECORDS))
    assert "| `tilt` | degrees | low | how far the map leans | 0: it stands |" in text and "| `worst_km` | km |" in text


def test_a_metric_without_an_entry_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "MEASURES", [lambda at: iter([Row("nameless", np.pi)])])
    with pytest.raises(UserError, match="metric nameless: has no entry in readout/catalogue"):
        probe_run(run)
