"""The sentence that a page begins with, against runs whose numbers are planted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from atlantis import load_config
from atlantis.readout.files import rows_where
from atlantis.report.export import region_rows, variant_rows
from atlantis.report.headline import ELSEWHERE, headlines
from atlantis.report.panels import panel_rows, panel_scale, panels, regions_of
from atlantis.report.run_data import RunData, load
from atlantis.report.seeds import mean_panels
from atlantis.scales import BELOW_ONE, IDENTITY, LOG, SHARE
from atlantis.statistics import seed_interval
from atlantis.trust import config_digest
from tests.planted_run import make_run

EARLIER = Path(__file__).parents[1] / "experiments" / "2026-11-28_demo" / "records" / "earlier.json"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunData:
    return load(make_run(tmp_path_factory.mktemp("runs") / "run", name="run", with_map=True))


@pytest.fixture(scope="module")
def older(tmp_path_factory) -> RunData:
    return load(make_run(tmp_path_factory.mktemp("older") / "run", name="run", with_map=True, with_shift=False))


def with_skills(run: RunData, **skills: tuple[float, float]) -> RunData:
    """The same with these skills at the first step and at the last."""
    assert run.map is not None
    measures = run.map.measures.copy()
    for name, ends in skills.items():
        for step, value in zip((0, 10), ends, strict=True):
            rows = (measures["metric"] == f"skill_{name}") & (measures["step"] == step)
            measures.loc[rows, ["value", "low", "high"]] = (value, value - 0.01, value + 0.01)
    return replace(run, map=replace(run.map, measures=measures))


@pytest.mark.parametrize(
    ("frozen", "refit", "verdict"),
    [
        ((0.9, 0.1), (0.9, 0.85), "The map was moved rather than erased."),
        ((0.9, 0.1), (0.9, 0.15), "The map was erased."),
        ((0.9, 0.1), (0.9, 0.5), "The map was partly erased and partly moved."),
        ((0.9, 0.88), (0.9, 0.9), "The map has stayed where it was."),
        ((0.0, -0.01), (0.0, 0.01), "No map has formed."),
        ((0.0, 0.0), (0.0, 0.8), "A map has formed."),
        ((0.0, -0.4), (0.0, 0.8), "A map has formed."),
        ((0.1, -0.4), (0.1, 0.9), "A map has formed."),
        ((0.94, 0.88), (0.94, 0.89), "The map was moved rather than erased."),
        ((0.85, 0.1), (0.85, 0.91), "The map was moved rather than erased."),
        ((0.25, -0.8), (0.25, 0.0), "The map was erased."),
    ],
)
def test_the_verdict_follows_the_two_probes(run, frozen, refit, verdict):
    (sentence,) = headlines([with_skills(run, frozen=frozen, refit=refit)])
    assert sentence["verdict"] == verdict
    numbers = [f"{value:z.2f} ({value - 0.01:z.2f} to {value + 0.01:z.2f})" for value in (*frozen, refit[1])]
    assert [number in sentence["text"] for number in numbers] == [True] * 3


def test_without_measures_it_is_about_the_studys_probe(run):
    (sentence,) = headlines([replace(run, map=None)])
    assert sentence["verdict"] == "The map's cities lie farther from their true places than at step 0."
    assert "goes from 100 km to 300 km at step 10" in sentence["text"]
    assert headlines([replace(run, map=None, probes={})]) == []


def test_errors_that_read_as_one_number_are_no_change(run):
    probe = run.probes["degrees"]
    errors = probe.dynamics.assign(mean_km=100 + 0.02 * probe.dynamics["step"])
    (sentence,) = headlines([replace(run, map=None, probes={"degrees": replace(probe, dynamics=errors)})])
    assert sentence["verdict"] == "The map's cities lie as far from their true places as at step 0."
    assert "goes from 100 km to 100 km" in sentence["text"]


def about_seed(run: RunData, seed: int, rate: float = 1) -> RunData:
    return replace(run, name=f"s{seed}", about={"config": {"rate": rate, "training.seed": seed}, "seeds": {"a": seed}})


def test_seeds_have_one_sentence_with_their_mean(run):
    runs = [about_seed(with_skills(run, frozen=(0.9, 0.1 * seed)), seed) for seed in (1, 2, 3)]
    (sentence,) = headlines(runs)
    assert sentence["title"] == "s1, s2, s3" and "of 0.20 (" in sentence["text"]
    assert sentence["seeds"] == "Mean over 3 seeds; the interval is over them."
    (sentence,) = headlines(runs[:2])
    assert "of 0.15 at step 10" in sentence["text"] and "too few for an interval" in sentence["seeds"]


def until(run: RunData, step: int) -> RunData:
    """The run as it was when it had been read up to a step."""
    assert run.map is not None
    probe, measures = run.probes["degrees"], run.map.measures
    probe = replace(
        probe,
        dynamics=rows_where(probe.dynamics, probe.dynamics["step"] <= step),
        predictions=rows_where(probe.predictions, probe.predictions["step"] <= step),
    )
    measured = replace(run.map, measures=rows_where(measures, measures["step"] <= step))
    return replace(run, probes={"degrees": probe}, map=measured)


def test_a_mean_over_seeds_is_of_the_steps_that_all_of_them_have(run):
    first, second = about_seed(run, 1), until(about_seed(run, 2), 1)
    (sentence,) = headlines([replace(first, map=None), replace(second, map=None)])
    assert "goes from 100 km to 200 km at step 1." in sentence["text"], "not 250 km, of steps 10 and 1"
    assert sentence["seeds"].startswith("Mean over 2 seeds")
    (sentence,) = headlines([first, second])
    assert "of 0.70 at step 1; a probe fitted anew at step 1 reaches 0.80." in sentence["text"]
    assert headlines([second, first])[0]["text"] == sentence["text"]


def test_seeds_that_share_one_step_alone_have_a_sentence_each(run):
    first, second = about_seed(run, 1), until(about_seed(run, 2), 0)
    (sentence,) = headlines([first, second])
    assert sentence["title"] == "s1" and "at step 10" in sentence["text"]
    assert sentence["seeds"].startswith("One seed")


def test_curves_of_seeds_have_their_mean_and_its_interval_on_the_scale(run):
    ends = (0.9, 0.99, 0.999)
    means = mean_panels([about_seed(with_skills(run, frozen=(0.9, end)), k) for k, end in enumerate(ends)])
    assert means is not None and means["n"] == 3
    skill = next(panel for panel in means["panels"] if panel["id"] == "skill")
    curve = next(one for one in skill["series"] if one["label"] == "the first step's probe")
    around = seed_interval(ends, BELOW_ONE)
    assert curve["values"][-1] == pytest.approx(0.963) and around.high < 1
    assert (curve["low"][-1], curve["high"][-1]) == pytest.approx((around.low, around.high), rel=1e-4)
    assert curve["low"][0] is None, "equal values have no interval"
    assert mean_panels([run, run]) is None and mean_panels([about_seed(run, 1)]) is None
    assert panel_scale("km") is LOG and panel_scale("causes") is IDENTITY


def with_measure(run: RunData, metric: str, value: float) -> RunData:
    """The same with this value at the last step."""
    assert run.map is not None
    measures = run.map.measures.copy()
    measures.loc[(measures["metric"] == metric) & (measures["step"] == 10), "value"] = value
    return replace(run, map=replace(run.map, measures=measures))


@pytest.mark.parametrize(
    ("metric", "panel", "curve", "ends", "scale"),
    [
        ("shift_share", "shift", "share of the mean squared change", (0.97, 0.9, 0.99), SHARE),
        ("shift_length", "shift", "length, in radii of the Earth", (0.02, 0.4, 0.9), LOG),
        ("tangential_share", "share", "tangential share", (0.97, 0.7, 0.99), SHARE),
        ("moved_km", "moved_with_shift", "whole way", (100, 900, 3000), LOG),
    ],
)
def test_a_mean_has_its_interval_on_the_scale_of_its_curve(run, older, metric, panel, curve, ends, scale):
    of = older if panel == "moved_with_shift" else run
    means = mean_panels([about_seed(with_measure(of, metric, end), k) for k, end in enumerate(ends)])
    assert means is not None
    drawn = next(one for one in means["panels"] if one["id"] == panel)
    mean = next(one for one in drawn["series"] if one["label"] == curve)
    around = seed_interval(ends, scale)
    assert (mean["low"][-1], mean["high"][-1]) == pytest.approx((around.low, around.high), rel=1e-4)
    assert scale.low < mean["low"][-1] and mean["high"][-1] < scale.high


def test_runs_that_differ_in_more_than_their_seed_have_a_sentence_each(run):
    assert len(headlines([about_seed(run, 1), about_seed(run, 2, rate=2)])) == 2
    assert len(headlines([about_seed(run, 1), about_seed(run, 1)])) == 2, "the same run twice is no second seed"
    assert len(headlines([run, run])) == 2, "of runs that do not say their settings nothing is known"


def test_what_other_processors_gave_is_as_recorded_and_said_of_the_demo_alone(run):
    recorded = json.loads(EARLIER.read_text())
    results = recorded.get("results", recorded)
    ((digest, ends),) = ELSEWHERE.items()
    assert ends == (results["skill_frozen_min"], results["skill_frozen_max"])
    assert config_digest(load_config("demo")) == digest
    (sentence,) = headlines([replace(run, about={"config_digest": digest})])
    assert sentence["seeds"].endswith("ended at 0.13 to 0.35.")
    assert "processor" not in headlines([run])[0]["seeds"]


# --- the tables that the page's lines of Python give


def test_a_charts_rows_are_its_curves(run):
    rows = panel_rows(run.path, "skill")
    assert list(rows.columns) == ["run", "step", "curve", "value", "low", "high"]
    drawn = next(panel for panel in panels(run, regions_of(run)) if panel["id"] == "skill")
    assert len(rows) == sum(len(curve["steps"]) for curve in drawn["series"])
    first = rows_where(rows, (rows["curve"] == "the first step's probe") & (rows["step"] == 10))
    assert [first[name].item() for name in ("value", "low", "high")] == pytest.approx([0.5, 0.49, 0.51])
    assert len(panel_rows([run, run.path], "skill")) == 2 * len(rows) and panel_rows(run, "nothing").empty


def test_regions_and_variants_up_to_a_step(run):
    rows = region_rows(run.probe(), 1).set_index("group")
    assert rows.loc["real", ["first km", "last km", "change km"]].tolist() == [100, 200, 100]
    assert region_rows(run.probe()).equals(region_rows(run.probe(), 10))
    assert variant_rows(run, 1)["last km"].tolist() == [130, 4900]
    assert isinstance(variant_rows(run), pd.DataFrame)
