"""The page beside the study's numbers, from planted records whose means and intervals are known."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tracked import tracked

from atlantis import config as configs
from atlantis import study
from atlantis.errors import UserError
from atlantis.report.study_record import (
    RUNS,
    Evaluation,
    MapScore,
    Origin,
    StudyRecord,
    TaskScore,
    read_records,
    write_record,
)
from atlantis.scales import LOG
from atlantis.settings import EvaluationConfig
from atlantis.training.schedule import evaluation_steps
from scripts.groups import groups_of, mean_and_interval
from scripts.results import page
from scripts.study_numbers import BASE_MAPS, BASE_REGION_KM, TUNED_MAPS
from scripts.study_text import FOLDERS

ROOT = Path(__file__).parents[1]
SCRIPT = "scripts.results_page"
FULL = {"base": 39_080, "cross": 1_960, "cross_bs64": 15_630, "inter": 400, "inter_bs64": 3_150, "mixed": 4_700}


def planted(run: str, seed: int, km: dict[int, float], base: str | None = None, overrides: tuple[str, ...] = ()):
    """A record with the probe's mean error at each step; R2 and task errors follow from it."""
    (planned,) = study.plan([seed], [run], base, overrides=overrides)
    origin = None
    if run != "base":
        made = study.plan([seed], ["base"])[0].config
        if base is not None:
            made = made.model_copy(update={"base": "outputs/warm_start/checkpoint"})
        origin = Origin(option=base, name=str(planned.config.base), weights=base or f"{seed}", config=made)
    only = run if run == "base" or base else f"base,{run}"
    rest = [*(["--base", base] if base else []), *overrides]
    evaluations = []
    for step, value in km.items():
        score = MapScore(n=2000, lon_r2=1 - value / 1e4, lat_r2=1 - value / 1e4, mean_km=value, median_km=value / 2)
        folds = MapScore(n=5075, mean_km=value / 10, median_km=1.0, mean_km_low=value / 10 - 7, mean_km_high=value)
        regions = {region: score.model_copy(update={"mean_km": value + 1}) for region in BASE_REGION_KM}
        task = TaskScore(n=512, mean_km=value * 2, median_km=value * 3, parsed=0.75)
        slices = {name: task for name in ("world-world", "world-atlantis", "all")}
        evaluations.append(
            Evaluation(
                step=step, loss=value / 1e3, task=slices, degrees={"real": score, **regions}, sphere={"real": folds}
            )
        )
    return StudyRecord(
        run=run,
        name=planned.name,
        seed=seed,
        seeds={"order": seed},
        command=" ".join(["atlantis", "study", "--seeds", str(seed), "--only", only, *rest]),
        config_digest=configs.digest(planned.config),
        config=planned.config,
        base=origin,
        dataset={},
        world="w",
        device={"name": "CPU", "threads": 2, "precision": "fp32"},
        versions={},
        commit=None,
        intervals=2,
        steps=max(km),
        full_steps=FULL[run],
        seconds=90.0,
        evaluations=evaluations,
    )


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ")[0]


def cells(text: str, title: str, *start: str) -> list[str]:
    """Cells of the one row below a title that begins with `start`."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section(text, title).splitlines()]
    (row,) = [row for row in rows if tuple(row[: len(start)]) == start]
    return row


def test_the_interval_is_students_on_the_metrics_scale() -> None:
    values = [1000.0, 1100.0, 1300.0]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert mean_and_interval(values, 1) == f"{np.mean(values):,.1f} ({low:,.1f} to {high:,.1f})"
    low, high = np.exp(stats.t.interval(0.95, 2, loc=np.log(np.mean(values)), scale=stats.sem(np.log(values))))
    assert mean_and_interval(values, 1, LOG) == f"{np.mean(values):,.1f} ({low:,.1f} to {high:,.1f})"


def test_an_interval_by_hand() -> None:
    # t(0.975, 2) = 4.303, standard error = 10 / sqrt(3)
    assert mean_and_interval([10.0, 20.0, 30.0], 2) == "20.00 (-4.84 to 44.84)"
    for none in ([10.0], [10.0, 10.0, 10.0], [5.0, 15.0], [0.0, 10.0, 20.0]):
        assert mean_and_interval(none, 2, LOG) == "10.00"
    assert mean_and_interval([10.0, None], 2) == mean_and_interval([], 2) == "–"


def test_nothing_is_invented() -> None:
    text = page([])
    for run in RUNS:
        assert f"--only {'' if run == 'base' else 'base,'}{run}`" in section(text, "Commands")
    for title in ("The base run's map, step by step", "The map after fine-tuning"):
        rows = [line for line in section(text, title).splitlines() if line.startswith("| ")][2:]
        assert all(f"| {'not run'} |" in row for row in rows)
        for row in rows:  # no number but the step and the study's
            assert row.split("|")[4:8] == [" – "] * 4
    assert cells(text, "The map after fine-tuning", "inter, 500 epochs")[7:10] == ["0.521", "0.540", "4,003"]
    assert cells(text, "The base run's map by region", "Korea")[1:6] == ["–", "not run", "not run", "not run", "704"]


def test_every_number_of_the_study_is_on_the_page() -> None:
    text = page([])
    for row in BASE_MAPS + TUNED_MAPS:
        assert f"| {row.lon_r2:.3f} | {row.lat_r2:.3f} | " + (f"{row.mean_km:,} |" if row.mean_km else "– |") in text
    for known in ("98", "59.5", "1.119", "1.087", "679", *(f"{km:,}" for km in BASE_REGION_KM.values())):
        assert known in text


def test_a_record_with_the_protocol_s_old_name_is_read_the_same(tmp_path: Path) -> None:
    record = planted("base", 42, {0: 9_000.0, 39_080: 1_000.0})
    write_record(tmp_path / "new.json", record)
    text = (tmp_path / "new.json").read_text()
    assert text.count('"degrees":') == 2
    (tmp_path / "old.json").write_text(text.replace('"degrees":', '"seed":'))
    assert read_records([tmp_path / "old.json"]) == read_records([tmp_path / "new.json"]) == [record]


def test_three_seeds_have_an_interval_and_one_says_so() -> None:
    km = {0: 9_000.0, 3_908: 6_000.0, 39_080: 1_000.0}
    one = page([planted("base", 42, km)])
    row = cells(one, "The base run's map, step by step", "base", "39,080")
    assert row[2:] == [
        "0.900",
        "0.900",
        "1,000",
        "-8,000",
        "500",
        "0.956",
        "0.923",
        "993",
        "42 (one seed)",
        "[1](#commands)",
    ]
    more = [planted("base", 42 + k, {step: value + 200 * k for step, value in km.items()}) for k in range(3)]
    two = page(more[:2])
    row = cells(two, "The base run's map, step by step", "base", "39,080")
    assert row[4] == "1,100" and row[10] == "42, 43 (n = 2)", "two have no interval"
    three = page(more)
    row = cells(three, "The base run's map, step by step", "base", "39,080")

    def ends(values: np.ndarray) -> tuple[float, float]:
        around = stats.t.interval(0.95, 2, loc=np.log(values.mean()), scale=stats.sem(np.log(values)))
        return float(np.exp(around[0])), float(np.exp(around[1]))

    low, high = ends(np.array([1_000.0, 1_200, 1_400]))
    assert row[4] == f"1,200 ({low:,.0f} to {high:,.0f})" and row[5] == "-8,000" and row[10] == "42, 43, 44 (n = 3)"
    r2_low, r2_high = 1 - high / 1e4, 1 - low / 1e4
    assert row[2] == f"0.880 ({r2_low:.3f} to {r2_high:.3f})", "1 - R2 is in proportion, by the plan"
    assert cells(three, "The base run's map, step by step", "base", "7,816")[2] == "not run"
    assert "`atlantis study --seeds 42,43,44 --only base`" in three
    assert cells(three, "The base run's answers", "base", "39,080")[2:9] == [
        f"1.200 ({low / 1e3:.3f} to {high / 1e3:.3f})", f"2,400 ({2 * low:,.0f} to {2 * high:,.0f})",
        f"3,600 ({3 * low:,.0f} to {3 * high:,.0f})", "0.750", "1.119", "98", "59.5",
    ]  # fmt: skip
    region = cells(one, "The base run's map by region", "Korea")
    assert region[1:6] == ["2,000", "9,001", "1,001", "–", "704"]


def test_damage_stands_below_step_0_with_its_paired_interval() -> None:
    records = [
        planted("cross", seed, {0: start, 196: start + 300, 1_960: start + 500 + extra})
        for seed, start, extra in ((42, 200.0, 0.0), (43, 600.0, 10.0), (44, 400.0, 5.0))
    ]
    text, title = page(records), "The map after fine-tuning"
    steps = [line.split("|")[2].strip() for line in section(text, title).splitlines() if line.startswith("| cross |")]
    assert steps == ["0", "196", "1,960"]
    start, early = cells(text, title, "cross", "0"), cells(text, title, "cross", "196")
    assert (start[5], *start[7:10]) == ("–", "0.956", "0.923", "993")
    assert (early[5], *early[7:10]) == ("300", "0.831", "0.844", "–")
    low, high = stats.t.interval(0.95, 2, loc=505, scale=5 / np.sqrt(3))
    assert cells(text, title, "cross", "1,960")[5] == f"505 ({low:,.0f} to {high:,.0f})"
    assert cells(text, "Answers after fine-tuning", "cross", "world-world", "0")[3].startswith("800 (")
    assert cells(text, "Answers after fine-tuning", "cross", "atlantis-atlantis", "0")[3] == "–"
    assert "401 (" in section(text, "The map by region after fine-tuning")


def test_fine_tunes_are_compared_seed_by_seed_where_they_start_alike() -> None:
    title, km = "One fine-tune against another", {("cross", 42): 700.0, ("cross", 43): 900.0, ("cross", 44): 500.0}
    km |= {("cross_bs64", 42): 710.0, ("cross_bs64", 43): 940.0, ("cross_bs64", 44): 525.0}
    km |= {("cross_bs64", 45): 9_000.0}
    records = [planted(run, seed, {0: 600.0, FULL[run]: value}) for (run, seed), value in km.items()]
    half_width = stats.t.ppf(0.975, 2) * stats.sem([10.0, 40.0, 25.0])
    row = cells(page(records), title, "cross_bs64", "cross")
    assert row[2] == "15,630 and 1,960"
    assert row[3] == f"25 ({25 - half_width:,.0f} to {25 + half_width:,.0f})"
    assert row[5] == f"50 ({50 - 2 * half_width:,.0f} to {50 + 2 * half_width:,.0f})", "twice as far off, by the plan"
    assert row[7:] == ["–", "42, 43, 44 (n = 3)"], "there are no answers of this kind, and no fourth seed of both"
    assert cells(page(records), title, "inter", "cross")[2:] == ["–", "not run", *["–"] * 4, "not run"]
    given = [planted(run, 42, {0: 600.0, FULL[run]: 800.0}, base="shipped") for run in ("cross", "cross_bs64")]
    assert cells(page(given), title, "cross_bs64, given base", "cross, given base")[3] == "0"
    assert cells(page([records[0], given[1]]), title, "cross_bs64", "cross")[3] == "not run", (
        "other weights to begin with"
    )
    shorter = planted("cross_bs64", 42, {0: 600.0, 10: 650.0})
    assert cells(page([records[0], shorter]), title, "cross_bs64", "cross")[3] == "not run", "not the whole run"
    as_long = [planted("mixed", s, {0: 600.0, 1_960: 650.0}, overrides=("training.max_steps=1960",)) for s in (42, 43)]
    row = cells(page([*records, *as_long]), title, "mixed, shortened", "cross")
    assert row[2:4] == ["1,960", "-150"], "a run that was planned as long as the other is compared with it"


def test_bases_count_once_however_many_draws_they_have() -> None:
    """Three bases of their own, and a given one with three draws, of which a record that made it itself is one."""
    ends = {42: 700.0, 43: 900.0, 44: 800.0}
    own = [planted(run, seed, {0: 600.0, FULL[run]: km}) for run in ("cross", "mixed") for seed, km in ends.items()]
    given = [planted("cross", seed, {0: 500.0, 1_960: km}, "shipped") for seed, km in ((43, 690.0), (44, 710.0))]
    made = planted("cross", 42, {0: 500.0, 1_960: 730.0})
    assert made.base is not None
    made = made.model_copy(update={"base": made.base.model_copy(update={"weights": "shipped"})})
    longer = planted("mixed", 43, {0: 500.0, 980: 600.0, 2_940: 660.0, 4_700: 740.0}, "shipped")
    text = page([*own, *given, made, longer])
    found = [row for row in section(text, "Base by base").splitlines() if row.startswith("| ")]
    assert found[5] == "| `pretrained/dist_100k_1M_20epochs` | 500 | 210 (42, 43, 44) | 240 (43) |"
    low, high = stats.t.interval(0.95, 3, loc=202.5, scale=stats.sem([100, 300, 200, 210]))
    assert f"| 202 ({low:,.0f} to {high:,.0f}), n = 4 |" in found[6]
    (row,) = [row for row in found if row.startswith("| mixed | cross ")]
    assert "| 0, 0, 0, 50 |" in row and row.endswith("| 4 |"), "paired by the draw"
    assert "4,700 and 1,960" in row
    at_equal_steps = [600 + (ends[seed] - 600) * 1_960 / 4_700 - ends[seed] for seed in ends] + [630.0 - 690.0]
    assert f"| {np.mean(at_equal_steps):,.0f} (" in row, "on the straight line between evaluated steps"
    given_group = next(group for group in groups_of([*given, made]) if group.run == "cross")
    assert given_group.label == "cross, given base" and "n = 3, one base" in given_group.seeds
    assert given_group.command.count("atlantis study") == 2 and "--seeds 43,44 " in given_group.command


def test_a_base_made_on_two_devices_is_two() -> None:
    """And a fine-tune is not: of two records the user is told to give one."""
    km = {0: 9_000.0, 39_080: 1_000.0}
    gpu = {"name": "GPU", "threads": 1, "precision": "fp32"}
    both = [planted("base", 42, km), planted("base", 42, km).model_copy(update={"device": gpu})]
    text = page(both)
    assert cells(text, "The base run's map, step by step", "base", "39,080")[10] == "42, 42 (n = 2)"
    assert "counts as a base of its own" in text
    twice = [planted("cross", 42, {0: 1.0, 10: 2.0}) for _ in range(2)]
    twice[1] = twice[1].model_copy(update={"device": gpu})
    with pytest.raises(UserError, match="2 records of this run with seed 42"):
        page(twice)


def test_with_one_seed_the_second_protocol_has_the_interval_of_its_folds() -> None:
    record = planted("cross", 42, {0: 200.0, 1_960: 700.0})
    title = "The map after fine-tuning, second protocol"
    assert cells(page([record]), title, "cross", "0")[2] == "20 (13 to 200 over folds)"
    older = record.model_copy(update={"intervals": 1})
    assert cells(page([older]), title, "cross", "0")[2] == "20", "its folds' interval is too narrow"
    others = [planted("cross", seed, {0: 200.0, 1_960: km}) for seed, km in ((43, 900.0), (44, 800.0))]
    assert cells(page([record, *others]), title, "cross", "0")[2] == "20"
    assert cells(page([record, *others]), title, "cross", "1,960")[2].startswith("80 (")


def test_a_shortened_run_is_said_and_does_not_stand_for_the_whole() -> None:
    text = page([planted("cross", 42, {0: 226.0, 200: 359.0}, "shipped", ("training.max_steps=200",))])
    title = "The map after fine-tuning"
    assert cells(text, title, "cross, given base, shortened", "200")[7:9] == ["0.831", "0.844"]  # the study's step 196
    assert cells(text, title, "cross", "1,960")[2] == "not run"
    differences = section(text, "What differs from the study")
    assert "Commands [2]: 200 of 1,960 steps" in differences
    assert "`pretrained/dist_100k_1M_20epochs` (a warm start: not trained from scratch)" in differences
    assert "Precision: fp32" in differences and "CPU, 2 threads, fp32" in section(text, "Commands")
    assert "--seeds 42 --only cross --base shipped training.max_steps=200" in section(text, "Commands")


def test_runs_of_another_setup_are_not_averaged() -> None:
    end = {0: 226.0, 1_960: 500.0}
    same = [planted("cross", 42, end), planted("cross", 43, end)]
    assert len(groups_of(same)) == len(RUNS)
    others = [
        planted("cross", 44, end, "shipped"),
        planted("cross", 44, end, overrides=("training.learning_rate=1e-3",)),
        same[0].model_copy(update={"device": {"name": "GPU", "threads": 2, "precision": "bf16"}}),
        same[0].model_copy(update={"world": "another"}),
    ]
    for other in others:
        groups = [group for group in groups_of([*same, other]) if group.run == "cross"]
        assert sorted(len(group.records) for group in groups) == [1, 2]


def test_two_records_of_one_run_and_seed_are_refused() -> None:
    record = planted("base", 42, {0: 1.0})
    with pytest.raises(UserError, match=r"dist_100k_1M_20epochs_seed42: 2 records of this run with seed 42"):
        page([record, record])


def test_the_order_of_records_does_not_matter() -> None:
    records = [planted(run, seed, {0: 1.0 + seed, 10: 2.0}) for run in ("base", "mixed") for seed in (1, 2, 3)]
    shuffled = random.Random(0).sample(records, len(records))
    assert page(records) == page(shuffled)


def test_the_record_of_a_whole_run_is_small(tmp_path: Path) -> None:
    steps = evaluation_steps(EvaluationConfig(), FULL["base"])
    write_record(tmp_path / "base.json", planted("base", 42, dict.fromkeys(steps, 1234.56)))
    assert len(steps) > 20 and (tmp_path / "base.json").stat().st_size < 100_000


# --- the script, and the page in docs/


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)


@pytest.mark.usefixtures("warm")
def test_the_script_writes_the_page(tmp_path: Path) -> None:
    record = planted("base", 42, {0: 9_000.0, 39_080: 1_000.0})
    write_record(tmp_path / "records" / "base.json", record)
    done = run_script(str(tmp_path / "records"), "-o", str(tmp_path / "results.md"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == page([record])
    done = run_script(str(tmp_path))
    assert done.returncode == 2 and done.stderr == f"error: {tmp_path}: no record (*.json) in it\n"


def test_the_page_in_docs_is_that_of_the_committed_records() -> None:
    records = [file for pattern in FOLDERS for file in tracked(f"experiments/{pattern}/*.json")]
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert text == page(read_records(records)), f"run {SCRIPT} again"
