"""The benchmark: scenarios, scores and measures with planted answers, the leaderboard from planted records, tiers."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tracked import tracked

from atlantis import bench, cli
from atlantis import config as configs
from atlantis.bench import protocol, scenarios, scores
from atlantis.bench.choice import choose
from atlantis.bench.continual import average_skill, backward_transfer, continual, forgetting, forward_transfer
from atlantis.bench.leaderboard import page
from atlantis.bench.methods import METHODS, N_VALUES, read_method
from atlantis.bench.pareto_plot import spread
from atlantis.bench.plan import Attempt, Plan, runs_of
from atlantis.bench.record import BenchRecord, Trial, read_records, write_record
from atlantis.bench.scenarios import DEVELOPMENT_OCEAN, SCENARIOS, Setup, development
from atlantis.bench.scores import FirstScores, Numbers, constant_km, former_km, scores_of
from atlantis.bench.standing import boards
from atlantis.bench.tiers import TIERS
from atlantis.data.dataset import Dataset
from atlantis.errors import Interrupted, UserError
from atlantis.settings import SEEDED, RunConfig
from atlantis.strategies.registry import known
from atlantis.sweep import Local, Outcome, Queue
from atlantis.training import train
from atlantis.training.possible import check_request
from atlantis.world import OCEANS, World
from tests.modules import forget_module

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "leaderboard.py"
SOURCE = Path(cli.__file__).parents[2]


@pytest.fixture(autouse=True)
def children_find_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(SOURCE), before])))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    folder, tier = tmp_path_factory.mktemp("bench"), TIERS["smoke"]
    tier.prepare(folder)
    return tier.setup(folder)


# --- measures of continual learning


def test_continual_measures_by_hand() -> None:
    r = [[0.9, 0.1, np.nan], [0.7, 0.8, 0.2], [0.8, 0.5, 0.6]]
    assert average_skill(r) == pytest.approx((0.8 + 0.5 + 0.6) / 3)
    assert forgetting(r) == pytest.approx(((0.9 - 0.8) + (0.8 - 0.5)) / 2)
    assert backward_transfer(r) == pytest.approx(((0.8 - 0.9) + (0.5 - 0.8)) / 2)
    assert forward_transfer(r) == pytest.approx((0.1 + 0.2) / 2)
    assert forward_transfer(r, untrained=[0.0, 0.3, 0.1]) == pytest.approx((-0.2 + 0.1) / 2)


def test_signs_of_a_learner_that_forgets_all_and_of_one_that_forgets_nothing() -> None:
    forgets, keeps = np.eye(4), np.tril(np.ones((4, 4)))
    assert (forgetting(forgets), backward_transfer(forgets), average_skill(forgets)) == (1.0, -1.0, 0.25)
    assert (forgetting(keeps), backward_transfer(keeps), average_skill(keeps)) == (0.0, 0.0, 1.0)
    improves = np.array([[0.2, 0.0], [0.6, 0.5]])
    assert backward_transfer(improves) == pytest.approx(0.4)
    assert forgetting(improves) == pytest.approx(-0.4)  # gained; the best before the last is the first


def test_forgetting_counts_from_the_best_and_not_from_the_first() -> None:
    r = np.array([[0.5, 0, 0], [0.9, 0.5, 0], [0.6, 0.5, 0.5]])
    assert forgetting(r) == pytest.approx(0.15) and backward_transfer(r) == pytest.approx(0.05)


@pytest.mark.parametrize("wrong", [np.ones((2, 3)), np.ones((1, 1)), [[1, np.nan], [1, 1]], [[1, 1], [np.nan, 1]]])
def test_a_matrix_that_lacks_something_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"matrix|missing"):
        continual(wrong)


# --- scores


def numbers(**changed: Any) -> Numbers:
    given: dict[str, Any] = {"skill_start": 0.8, "skill_end": 0.6, "km_start": 1.0, "km_end": 2.0, "km_untrained": 5.0}
    given |= {"task_km": {"world-world": 300.0, "world-atlantis": 500.0, "atlantis-atlantis": 400.0}}
    given |= {"constant_km": {"world-atlantis": 2000.0, "atlantis-atlantis": 300.0}, "ratio": {"Atlantis": 2.0}}
    given |= {"answers_km_start": 50.0, "answers_skill_start": 0.9, "answers_skill_end": 0.6, "penalty_km": 20_000.0}
    given |= {"readable": dict.fromkeys(given["task_km"], 1.0)}
    return Numbers.model_validate(given | changed)


def test_scores_by_hand() -> None:
    scores = scores_of(numbers())
    assert scores.map == 0.5
    assert scores.answers == pytest.approx(0.6 / 0.9)
    assert scores.acquisition == pytest.approx((0.75 - 1 / 3) / 2), "worse than a constant counts as it is"
    assert scores.integration == 0.5
    assert scores.volume == pytest.approx(0.5 * 0.6 / 0.9 * (0.75 - 1 / 3) / 2 * 0.5)


def test_scores_stay_between_0_and_1() -> None:
    best = scores_of(
        numbers(
            km_end=0.5, answers_skill_end=0.95, task_km={"a": 0.0}, constant_km={"a": 1.0}, ratio={"x": 0.5, "y": 1.0}
        )
    )
    assert best.point == [1.0, 1.0, 1.0, 1.0] and best.volume == 1.0
    assert scores_of(numbers(answers_skill_end=-0.2)).answers == 0.0
    assert scores_of(numbers(answers_skill_start=-0.1)).answers == 0.0, "a base that cannot answer has none to keep"
    assert scores_of(numbers(skill_start=-0.1)).map == 0.0
    assert scores_of(numbers(task_km={"world-atlantis": 9e3, "atlantis-atlantis": 1.0})).acquisition == 0.0
    assert scores_of(numbers(constant_km={})).acquisition == 0.0
    assert scores_of(numbers(ratio={"x": 4.0, "y": 1.0})).integration == 0.625


def test_the_constant_answer_is_the_best_one(small: Setup) -> None:
    (task,) = scenarios.a1(small, 42)
    dataset = Dataset.build(World.from_config(task.runs[0].world), task.runs[0].dataset)
    found = constant_km(dataset)
    assert set(found) == {"world-atlantis", "atlantis-atlantis"}
    train, test = dataset.splits["train"], dataset.splits["test"]
    cross = train.answer[train.slice == 1]
    answers = np.arange(0, 20_000, 25)
    error = np.abs(cross[:, None] - answers).mean(0)
    assert abs(answers[error.argmin()] - np.median(cross)) <= 25
    asked = test.answer[test.slice == 1]
    assert found["world-atlantis"] == pytest.approx(np.mean([abs(int(km) - np.median(cross)) for km in asked]))


# --- scenarios


def test_every_run_of_every_scenario_is_possible(small: Setup) -> None:
    tasks = [task for scenario in SCENARIOS.values() for task in scenario(small, 7)]
    assert {task.scenario for task in tasks} == set(SCENARIOS)
    for run in {str(run.name): run for task in tasks for run in task.runs}.values():
        check_request(run, World.from_config(run.world))
        assert (run.dataset.seed, run.training.seed) == (7, 7) and {r.seed for r in run.world.regions} == {7}


@pytest.mark.parametrize("tier", list(TIERS))
def test_no_scored_run_has_anything_of_the_development(tier: str, tmp_path: Path) -> None:
    whole, setup = TIERS[tier], TIERS[tier].setup(tmp_path)
    seed = protocol.DEVELOPMENT_SEEDS[0]
    assert not set(protocol.DEVELOPMENT_SEEDS) & set(whole.seeds)
    runs = [run for name in whole.scenarios for task in whole.cases(setup, name, whole.seeds[0]) for run in task.runs]
    for task in development(setup, seed):
        assert [region.name for region in task.runs[0].world.regions] == [DEVELOPMENT_OCEAN.name]
    assert {run.dataset.seed for run in runs} == {run.training.seed for run in runs} == {whole.seeds[0]}
    assert not {run.name for run in runs} & {run.name for task in development(setup, seed) for run in task.runs}
    centres = {(region.lon, region.lat) for run in runs for region in run.world.regions}
    assert (DEVELOPMENT_OCEAN.lon, DEVELOPMENT_OCEAN.lat) not in centres
    assert DEVELOPMENT_OCEAN.name not in {region.name for region in OCEANS.values()}


def test_oceans_come_one_after_the_other_under_the_same_ids(small: Setup) -> None:
    *orders, at_once, alone, crowded = scenarios.a3(small, 1)
    assert len(orders) == 3 and all(len(task.runs) == 5 for task in orders)
    assert at_once.runs[0].training.max_steps == alone.runs[0].training.max_steps == 5 * small.steps
    assert (
        alone.runs[0].world.regions
        == at_once.runs[0].world.regions[:1]
        == scenarios.a1(small, 1)[0].runs[0].world.regions
    )
    assert crowded.runs[0].training.max_steps == 5 * small.steps
    assert crowded.runs[0].world.regions[0].count == sum(region.count for region in at_once.runs[0].world.regions)
    for task in orders:
        worlds = [World.from_config(run.world) for run in task.runs]
        for k, (run, world) in enumerate(zip(task.runs, worlds, strict=True)):
            assert run.base == (task.runs[k - 1].name if k else small.base(1))
            assert k == 0 or world.extends(worlds[k - 1])
            pairs = Dataset.build(world, run.dataset).splits["train"]
            new = world.ids_of(run.world.regions[-1].name)
            assert run.dataset.first_virtual == new[0]
            touched = pairs.cities.ravel()
            assert set(touched[touched >= world.n_real]) <= set(new)  # no pair of an earlier ocean comes again


def test_a_seed_may_have_one_of_the_orders_in_turn(small: Setup) -> None:
    one_each = replace(small, one_order=True)
    found = {seed: [task.repeat for task in scenarios.a3(one_each, seed)[:-3]] for seed in (42, 43, 44, 45)}
    assert found == {42: [0], 43: [1], 44: [2], 45: [0]}
    assert scenarios.a3(one_each, 43)[0].runs == scenarios.a3(small, 43)[1].runs


def test_steps_are_a_tiers_for_a_scenario(tmp_path: Path) -> None:
    tier = TIERS["cpu"]
    setup = tier.setup(tmp_path)
    a5 = {task.variant: task.runs[0].training for task in tier.cases(setup, "A5", 42)}
    sizes = {variant: (training.batch_size, training.max_steps) for variant, training in a5.items()}
    assert sizes == {
        "batch 512": (512, 300),
        "batch 64, equal steps": (64, 300),
        "batch 64, equal samples": (64, 2400),
    }
    assert tier.cases(setup, "A1", 42)[0].runs[0].training.max_steps == setup.steps == 1_800


def test_cities_that_move_keep_their_ids(small: Setup) -> None:
    (task,) = scenarios.a6(small, 1)
    before, after = (World.from_config(run.world) for run in task.runs)
    assert before.real_cities_digest == after.real_cities_digest
    assert list(before.cities["name"]) == list(after.cities["name"])
    assert (before.distance_km(np.arange(120, 126), 0) != after.distance_km(np.arange(120, 126), 0)).all()
    assert not task.accepts(METHODS["replay"]) and task.accepts(METHODS["ewc"])


def test_a_budget_binds_what_keeps_old_pairs(small: Setup) -> None:
    none, *budgets = scenarios.a2(small, 1)
    assert none.accepts(METHODS["naive"]) and not none.accepts(METHODS["replay"])
    for task, n in zip(budgets, (100, 1_000, 20_000), strict=True):
        assert {name for name in METHODS if task.accepts(METHODS[name])} == {
            "replay", "replay_1pct", "replay_l2sp", "der", "agem", "agem_update",
        }  # fmt: skip
        (run,) = runs_of("cpu", Attempt(METHODS["replay_l2sp"], 0.01, 1, task)).runs
        replay, pull = (one.model_dump() for one in run.strategies)
        assert replay["buffer"] == n and pull["weight"] == 0.01


def test_a_budget_that_changes_nothing_makes_no_new_run(small: Setup) -> None:
    """With no old pair, and with as many as a method keeps anyway, A2's run is A1's: one name, and the same config."""

    def run_of(method: str, task: scenarios.Case) -> RunConfig:
        (run,) = runs_of("cpu", Attempt(METHODS[method], METHODS[method].default, 1, task)).runs
        return run

    (whole,), (none, hundred, thousand, most) = scenarios.a1(small, 1), scenarios.a2(small, 1)
    assert run_of("l2sp", none) == run_of("l2sp", whole)
    assert run_of("replay", most) == run_of("replay", whole)
    names = {run_of("replay", task).name for task in (whole, hundred, thousand)}
    assert names == {f"bench2_cpu_A1_replay_0.1{of}_seed1" for of in ("", "_buffer100", "_buffer1000")}


def test_new_rows_take_part_where_there_are_some(small: Setup) -> None:
    method = METHODS["new_rows"]
    accepting = {name for name, scenario in SCENARIOS.items() for task in scenario(small, 1) if task.accepts(method)}
    assert accepting == {"A7"}
    tuned_on = [task.variant for task in development(small, 1) if task.accepts(method)]
    assert tuned_on == ["city vocabulary"] and development(small, 1)[0].accepts(METHODS["naive"])
    (task,) = scenarios.a7(small, 1)
    assert all(task.accepts(other) for other in METHODS.values())


# --- methods and the plan


def test_every_strategy_takes_part_with_as_many_trials() -> None:
    named = {part["name"] for method in METHODS.values() for part in method.parts(method.default)}
    assert named == set(known())
    assert {len(set(method.values)) for method in METHODS.values() if method.setting} == {N_VALUES}


def test_a_further_value_lies_beyond_the_end_that_was_best() -> None:
    ewc, early = METHODS["ewc"], METHODS["early"]
    assert ewc.values == [0.2, 0.6, 2.0, 6.0, 20.0] and ewc.default == 2.0
    assert [ewc.further(value) for value in ewc.values] == [0.06, None, None, None, 60.0]
    assert early.further(1.0) is None, "where a factor's range ends there is none"
    assert METHODS["naive"].further(None) is None and METHODS["naive"].default is None


def test_all_train_at_the_scenarios_rate_but_those_that_show_what_another_does() -> None:
    assert {name: method.rate for name, method in METHODS.items() if method.rate != 1} == {
        "naive_half_rate": 0.5,
        "naive_double_rate": 2.0,
    }


def test_what_a_method_may_use_is_what_its_strategies_need() -> None:
    assert METHODS["naive"].needs == [] and METHODS["replay"].needs == ["old data"]
    assert METHODS["replay_l2sp"].needs == ["old data", "base weights"]
    assert METHODS["early"].needs == [] and METHODS["early_moments"].needs == ["optimizer state"]


def test_a_value_is_a_setting_and_a_rate_a_factor(small: Setup) -> None:
    (run,) = development(small, 5)[0].runs
    assert METHODS["ewc"].on(run, 20.0).strategies[0].model_dump()["weight"] == 20.0
    assert METHODS["lora"].on(run, 2).strategies[0].model_dump()["rank"] == 2
    naive = METHODS["naive_half_rate"].on(run, None)
    assert naive.training.learning_rate == pytest.approx(0.5 * run.training.learning_rate) and not naive.strategies


def test_the_choice_is_the_largest_and_of_equals_the_one_nearest_the_middle() -> None:
    def tried(*volumes: float | None) -> list[Trial]:
        return [Trial(value=float(i), volume=volume) for i, volume in enumerate(volumes)]

    assert choose(tried(0.1, 0.3, 0.2), 1.0) == 1.0
    assert choose(tried(0.3, 0.2, 0.2, 0.3, 0.3), 2.0) == 3.0
    assert choose(tried(0.3, 0.2, 0.2, 0.2, 0.3), 2.0) == 0.0, "of two as near the lower"
    assert choose(tried(0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 2.0) == 2.0, "whatever was tried beyond"
    assert choose(tried(None, None, 0.0, None, None), 2.0) == 2.0
    assert choose(tried(None, None, None), 1.0) is None


def test_parts_of_a_tier(tmp_path: Path) -> None:
    plan = Plan.of("cpu", "A2/replay,naive", tmp_path)
    assert plan.scenarios == ["A2"] and [method.name for method in plan.methods] == ["naive", "replay"]
    assert [method.name for method in Plan.of("cpu", "/l2sp").methods] == ["l2sp"]
    assert bench.counts(Plan.of("cpu", "A4/ewc", tmp_path)) == (5 * 3, 3), "a row that the tier does not have by itself"
    for wrong, said in (
        ("A9", "A9"),
        ("", "names nothing"),
        ("/", "names nothing"),
        ("A1/nothing", "nothing"),
        ("A4/ewcc", "the methods are naive, .*; there is no 'ewcc'"),
        ("/ewc", "the cpu tier's methods are naive, .*; there is no 'ewc'"),
    ):
        with pytest.raises(UserError, match=said):
            Plan.of("cpu", wrong)
    with pytest.raises(UserError, match="scenarios are A1, A7"):
        Plan.of("smoke", "A0")
    with pytest.raises(UserError, match="smoke, cpu, gpu"):
        Plan.of("huge")
    assert bench.counts(Plan.of("cpu", "A1/naive,replay,l2sp", tmp_path)) == (2 * 5 * 3, 3 * 5)
    assert bench.counts(Plan.of("cpu", "A7/new_rows", tmp_path)) == (5 * 3, 3), "three seeds in A7"
    assert bench.counts(Plan.of("cpu", "A0/joint", tmp_path)) == (0, 5), "nothing to tune"
    assert bench.counts(Plan.of("cpu", "A0/joint", tmp_path, seeds=[46, 42])) == (0, 2)
    with pytest.raises(UserError, match="--seed 41: the cpu tier has the seeds 42, 43, 44, 45, 46; give some"):
        Plan.of("cpu", seeds=[42, 41])
    with pytest.raises(UserError, match="--seed 46: A7 of the cpu tier has the seeds 42, 43, 44"):
        Plan.of("cpu", "A7", seeds=[46])


@pytest.mark.parametrize("fast", [True, False])
def test_a_precision_that_is_asked_for_does_not_depend_on_the_processor(
    fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlantis.model.fast.kernels.fast_bf16", lambda: fast)
    for precision, expected in ((None, "bf16" if fast else "auto"), ("bf16", "bf16"), ("fp32", "fp32")):
        tier = Plan.of("cpu", precision=precision).tier
        assert tier.setup(tmp_path).config.training.precision == expected


def test_what_no_task_accepts_is_refused_before_anything_runs(tmp_path: Path) -> None:
    plan = Plan.of("gpu", "A1,A2/new_rows", tmp_path)
    with pytest.raises(UserError, match="no scenario of A1, A2 accepts new_rows"):
        bench.score(plan, lambda folder: Failing())
    assert not list(tmp_path.glob("sweeps/*"))


def test_methods_are_the_same_for_all_seeds_and_seeds_for_all_methods(tmp_path: Path) -> None:
    """Paired: a method's runs differ from the naive ones of the same seed in the strategy, the rate and their names."""
    plan = Plan.of("cpu", output_root=tmp_path)
    setup = plan.tier.setup(tmp_path)
    by_task: dict[tuple[Any, ...], dict[str, Attempt]] = {}
    for one in protocol.attempts_of(plan, setup, {method.name: method.default for method in plan.methods}):
        key = (one.case.scenario, one.case.variant, one.case.repeat, one.seed)
        by_task.setdefault(key, {})[one.method.name] = one
    for (scenario, variant, _, _), attempts in by_task.items():
        if "naive" not in attempts:
            assert (scenario, variant) in {("A2", "100"), ("A2", "1,000"), ("A2", "20,000")}
            continue
        plain = runs_of("cpu", attempts["naive"]).runs
        for attempt in attempts.values():
            for run, beside in zip(runs_of("cpu", attempt).runs, plain, strict=True):
                same = {"world", "dataset", "tokenizer", "model", "evaluation", "probe"}
                assert all(getattr(run, part) == getattr(beside, part) for part in same)
                assert run.training.seed == beside.training.seed
    seeds = {key[:2]: {k[3] for k in by_task if k[:2] == key[:2]} for key in by_task}
    for (scenario, _), of_scenario in seeds.items():
        assert sorted(of_scenario) == list(plan.tier.seeds_of(scenario)), scenario


def test_a_sequence_goes_on_from_the_methods_own_runs(small: Setup) -> None:
    task = scenarios.a3(small, 3)[1]
    made = runs_of("gpu", Attempt(METHODS["l2sp"], 1.0, 3, task))
    names = [str(run.name) for run in made.runs]
    assert len(set(names)) == 5 and all("l2sp" in name and "seed3" in name for name in names)
    assert [run.base for run in made.runs] == [small.base(3), *names[:-1]]


class Here:
    """A backend that trains in this process."""

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def stop(self, at_once: bool = False) -> None:
        pass

    def run(self, queue: Queue) -> Iterator[Outcome]:
        while jobs := queue.due():
            for job in jobs:
                train(configs.load(job.config))
                yield Outcome(job.name, "done")


class Stopping(Here):
    """A backend that is stopped by a signal once it has trained a method's run."""

    def run(self, queue: Queue) -> Iterator[Outcome]:
        for outcome in super().run(queue):
            yield outcome
            if "naive" in outcome.name:
                raise Interrupted("stopped", 2)


class Failing:
    """A backend on which every run fails but the bases."""

    def __enter__(self) -> Failing:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def stop(self, at_once: bool = False) -> None:
        pass

    def run(self, queue: Queue) -> Iterator[Outcome]:
        yield from (Outcome(job.name, "failed", "no luck") for job in queue.due())
        assert queue.due() == []


def test_failures_are_recorded_and_not_replaced(tmp_path: Path) -> None:
    plan = Plan.of("smoke", "A1/naive,replay", tmp_path)
    records, n_failed = bench.score(plan, lambda folder: Failing())
    assert n_failed == len(records) == 2 and [record.scores for record in records] == [None, None]
    kept = read_records([plan.folder / "records"])
    assert {record.method for record in kept} == {"naive", "replay"} and all(record.error for record in kept)
    tuned = replace(plan, tier=replace(plan.tier, tuned=True))
    records, n_failed = bench.score(tuned, lambda folder: Failing())
    naive, replay = sorted(records, key=lambda record: record.method)
    assert n_failed == 2 and naive.trials == [] and "was not finished" in (naive.error or "")
    assert (replay.error or "").startswith("every trial failed") and replay.value is None
    assert [trial.volumes for trial in replay.trials] == [[None] * len(protocol.DEVELOPMENT_SEEDS)] * N_VALUES
    assert "failed: replay, seed 42: every trial failed" in page(records)


@pytest.mark.slow
def test_what_is_finished_has_its_record_when_the_rest_is_stopped(tmp_path: Path) -> None:
    plan = Plan.of("smoke", "A1/naive,replay", tmp_path)
    with pytest.raises(Interrupted):
        bench.score(plan, lambda folder: Stopping())
    (record,) = read_records([plan.folder / "records"])
    assert record.method == "naive" and record.scores is not None
    _, n_failed = bench.score(plan, lambda folder: Here())
    naive, replay = read_records([plan.folder / "records"])
    assert n_failed == 0 and naive == record and replay.scores is not None, "the same call goes on"


# --- the leaderboard


def planted(method: str, seed: int, scores: tuple[float, float, float] | None, **more: Any) -> BenchRecord:
    found = None if scores is None else dict(zip(FirstScores.model_fields, scores, strict=True))
    given = {"tier": "cpu", "scenario": "A1", "variant": "", "repeat": 0, "method": method, "seed": seed}
    given |= {"needs": METHODS[method].needs, "setting": "x", "value": 1.0, "trials": [], "strategy": []}
    given |= {"command": f"atlantis bench --tier cpu --only A1/{method}", "config_digest": "d"}
    given |= {"scores": found, "numbers": None if found is None else numbers().model_dump()}
    return BenchRecord.model_validate(given | {"error": None if found else "it broke"} | more)


def test_a_record_that_cannot_be_is_refused(tmp_path: Path) -> None:
    file = write_record(tmp_path, planted("naive", 1, (0.5, 0.5, 0.5)))
    text = file.read_text()
    for right, wrong, said in (
        ('"retention": 0.5', '"retention": 7.0', "from 0 to 1"),
        ('"error": null', '"error": "both"', "either scores or an error"),
        ('"needs": []', '"needs": ["old dat"]', "needs"),
        ('"device": null', '"device": {"name": "CPU"}', "device"),
    ):
        assert right in text
        file.write_text(text.replace(right, wrong))
        with pytest.raises(UserError, match=re.escape(file.name)) as caught:
            read_records([tmp_path])
        assert said in str(caught.value)


def test_a_failure_does_not_take_the_place_of_scores(tmp_path: Path) -> None:
    file = write_record(tmp_path, planted("naive", 1, (0.5, 0.5, 0.5)))
    before = file.read_bytes()
    assert write_record(tmp_path, planted("naive", 1, None)) == file and file.read_bytes() == before
    write_record(tmp_path, planted("naive", 1, (0.6, 0.5, 0.5)))
    assert file.read_bytes() != before


def rows_of(text: str, method: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in rows if method in (row[0], row[1].strip("* "))]


SIX = range(6)


def test_rows_are_means_of_seeds_and_comparisons_are_paired() -> None:
    records = [planted("naive", seed, (0.5, 0.8, 0.1 + 0.1 * seed)) for seed in SIX]
    records += [planted("replay_1pct", seed, (0.5, 0.8, 0.2 + 0.1 * seed)) for seed in SIX]
    records += [planted("l2sp", seed, (0.5, 0.8, 0.15 + 0.1 * seed)) for seed in SIX]
    (board,) = boards(records)
    against = board.compared_with("naive")
    assert against["l2sp"].difference == pytest.approx(0.4 * 0.05) and against["l2sp"].n == 6
    assert not against["l2sp"].interval.exists, "six equal differences have none"
    ours, theirs = (board.standings[i].volumes for i in (1, 0))
    assert {one.method: i for i, one in enumerate(board.standings)}["naive"] == 0
    u = stats.mannwhitneyu(ours, theirs).statistic / 36
    assert against[board.standings[1].method].improvement == pytest.approx(u)
    text = page(records)
    first, second = rows_of(text, "l2sp")[:2]
    assert first[:5] == ["base weights", "l2sp", "x 1", "0.500", "0.167"], "50 km became 300"
    assert first[5:7] == ["0.750", "-0.333"] and first[7].startswith("0.400 (")
    assert first[-4:] == ["1 → 2", "50 → 300", "6", "0"]
    assert second[:4] == ["l2sp", "0.500", "0.800", second[3]] and second[4].startswith("0.160 (")
    assert second[5:7] == ["0.160", "+0.020"]
    assert board.best() == ["replay_1pct"] and "**replay_1pct**" in text


def test_a_seed_with_a_failure_has_no_number_and_is_told() -> None:
    records = [planted("naive", seed, (1.0, 1.0, 0.5)) for seed in SIX]
    records += [planted("ewc", seed, (1.0, 1.0, 1.0) if seed else None) for seed in SIX]
    text, (board,) = page(records), boards(records)
    assert rows_of(text, "ewc")[0][-2:] == ["5", "1"] and "- failed: ewc, seed 0: it broke" in text
    assert board.compared_with("naive")["ewc"].n == 5
    lost = page([planted("ewc", 1, None)])
    assert rows_of(lost, "ewc")[0][3:] == ["–"] * 6 + ["0", "1"]


def test_orders_of_a_seed_count_once() -> None:
    points = [(0.2, 1.0, 1.0), (0.4, 1.0, 1.0), (0.6, 1.0, 1.0)]
    records = [planted("naive", 1, point, repeat=k, variant="in sequence") for k, point in enumerate(points)]
    (board,) = boards(records)
    assert board.standings[0].scores.tolist() == [pytest.approx([0.4, 1.0, 1.0])]
    (broken,) = boards([*records[:2], planted("naive", 1, None, repeat=2, variant="in sequence")])
    assert broken.standings[0].failed == (1,) and not broken.standings[0].seeds


def test_methods_stand_by_what_they_may_use_and_then_by_volume() -> None:
    records = [planted("replay", 1, (1, 1, 1)), planted("naive", 1, (0, 0, 0)), planted("early", 1, (0.5, 0.5, 0.5))]
    assert [one.method for one in boards(records)[0].standings] == ["early", "naive", "replay"]
    shuffled = random.Random(0).sample(records, len(records))
    assert page(shuffled) == page(records)


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    record = planted("ewc", 3, (0.5, 0.25, 0.125), variant="batch 64, equal steps", repeat=2)
    file = write_record(tmp_path, record)
    assert file.name == "A1_batch-64-equal-steps_2_ewc_seed3.json" and read_records([file]) == [record]
    with pytest.raises(UserError, match="a record of the same run"):
        read_records([file, tmp_path])
    with pytest.raises(UserError, match="no record"):
        read_records([tmp_path / "none"] if (tmp_path / "none").mkdir() is None else [])


@pytest.mark.usefixtures("warm")
def test_the_script_writes_page_and_pictures(tmp_path: Path) -> None:
    records = [planted(method, 1, (0.5, 0.25, 0.125)) for method in ("naive", "replay")]
    for record in records:
        write_record(tmp_path / "records", record)
    done = run_script(str(tmp_path / "records"), "-o", str(tmp_path / "leaderboard.md"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "leaderboard.md").read_text(encoding="utf-8") == page(records)
    (picture,) = re.findall(r"\]\((.*?\.png)\)", page(records))
    assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    done = run_script(str(tmp_path))
    assert done.returncode == 2 and done.stderr == f"error: {tmp_path}: no record (*.json) in it\n"


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(("records", "name"), [("benchmark", "leaderboard_1"), ("benchmark_2", "leaderboard")])
def test_the_pages_in_docs_are_those_of_the_committed_records(records: str, name: str) -> None:
    places, board = tracked(f"experiments/*_{records}/records/*.json"), ROOT / "docs" / f"{name}.md"
    web = ROOT / "docs" / "gallery" / "leaderboard.html"
    if places:
        assert board.read_text(encoding="utf-8") == page(read_records(places)), f"run {SCRIPT.name} again"
    else:
        assert not board.exists() and not web.exists(), "a page without records"
    if places and name == "leaderboard":
        assert web.read_text(encoding="utf-8") == bench.web_page(read_records(places)), f"{SCRIPT.name} with --web"


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[int, int]]]:
    """Trials and runs of every tier, and the folder in which nothing but their counting was done."""
    folder = tmp_path_factory.mktemp("counted")
    return folder, {tier: bench.counts(Plan.of(tier, output_root=folder / "outputs")) for tier in TIERS}


def test_docs_say_the_numbers_of_runs(counted: tuple[Path, dict[str, tuple[int, int]]]) -> None:
    text = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    for tier, (trials, runs) in counted[1].items():
        row = [cell.strip() for cell in re.findall(rf"^\| {tier} \|.*$", text, re.M)[0].strip("|").split("|")]
        assert row[-2:] == [f"{trials:,}" if trials else "none", f"{runs:,}"]
        most, fewest = (f(len(TIERS[tier].methods_of(name)) for name in TIERS[tier].scenarios) for f in (max, min))
        assert row[5] == (f"all {most}" if most == fewest == len(METHODS) else f"{fewest} to {most}")


# --- entering a method, and whole runs


def entry(folder: Path) -> Path:
    """The example of docs/benchmark.md, as files."""
    text = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    for name, kind in (("mine.py", "python"), ("mine.yaml", "yaml")):
        (folder / name).write_text(re.findall(rf"```{kind}\n# {name}\n(.*?)```", text, re.S)[0])
    return folder / "mine.yaml"


def test_a_file_that_is_no_method_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wrong_needs = 'from atlantis.strategies.l2sp import *\nclass Misspelt(L2SP):\n    needs = frozenset({"old dat"})\n'
    for module, code in (("wrong", wrong_needs), ("broken", "def f(:\n"), ("raising", "raise ValueError('x')\n")):
        (tmp_path / f"own_{module}.py").write_text(code)
    file, good = tmp_path / "m.yaml", "name: x\nstrategy: {name: l2sp}\nsetting: weight\nvalues: [1, 2, 3, 4, 5]\n"
    file.write_text(good)
    assert read_method(file).values == [1.0, 2.0, 3.0, 4.0, 5.0]
    for wrong, said in (
        (good.replace("[1, 2, 3, 4, 5]", "[1, 2, 3]"), "give the 5 that are tried for weight, ascending"),
        (good.replace("l2sp", "l2spp"), "did you mean l2sp"),
        (good.replace("weight", "weigth"), "weigth"),
        (good.replace("name: x", "name: naive"), "choose another name"),
        ("- a\n", "must hold"),
        (good.replace("{name: l2sp}", "[]"), "name at least one"),
        (good.replace("weight", "².weight"), "counts the strategies from 0"),
        (good.replace("[1, 2, 3, 4, 5]", "[1, 2, 2, 3, 4]"), "ascending"),
        (f"{good}beyond: [2, null]\n", "must lie outside the values"),
        (f"{good}beyond: [-1, null]\n", "weight"),
        (good.replace("values: [1, 2, 3, 4, 5]", ""), "give the 5"),
        (good.replace("setting: weight", ""), "of which setting"),
        (good.replace("l2sp", "'own_wrong:Misspelt'"), "it is a set of some of old prompts, old data"),
        (good.replace("l2sp", "'own_broken:Any'"), "own_broken.py, line 1: SyntaxError"),
        (good.replace("l2sp", "'own_raising:Any'"), "'own_raising' cannot be imported: ValueError: x"),
    ):
        file.write_text(wrong)
        with pytest.raises(UserError, match=re.escape(said)):
            read_method(file)
    with pytest.raises(UserError, match="no such file"):
        read_method(tmp_path / "none.yaml")


def test_what_ran_before_a_change_is_not_taken_for_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file, module = entry(tmp_path), tmp_path / "mine.py"
    module = module.rename(tmp_path / "own_keyed.py")
    file.write_text(file.read_text().replace("mine:", "own_keyed:"))
    keys = [read_method(file).key]
    module.write_text(f"# a remark\n{module.read_text()}")
    forget_module("own_keyed")
    assert read_method(file).key == keys[0]
    module.write_text(f"{module.read_text()}\nFACTOR = 2\n")
    forget_module("own_keyed")
    keys.append(read_method(file).key)
    file.write_text(file.read_text().replace("0.3, 1.0]", "0.3, 2.0]"))
    keys.append(read_method(file).key)
    assert len(set(keys)) == 3 and all(key.startswith(f"{read_method(file).name}-") for key in keys)
    assert [method.key for method in METHODS.values()] == list(METHODS)


def test_only_counting_writes_nothing(counted: tuple[Path, dict[str, tuple[int, int]]]) -> None:
    assert not list(counted[0].iterdir())


def test_parts_are_asked_for_once(capsys: pytest.CaptureFixture[str]) -> None:
    from atlantis.cli import main

    asked = ["bench", "--tier", "cpu", "--only", "A1/naive", "--only", "A2/replay", "--dry-run"]
    assert main(asked) == 2 and "--only: give it once" in capsys.readouterr().err
    assert (
        main([*asked[:5], "--dry-run"]) == 0 and capsys.readouterr().out == "0 trials for tuning, 5 runs that count\n"
    )


@pytest.mark.usefixtures("warm")
@pytest.mark.slow
def test_a_users_class_from_a_file_gets_its_row(tmp_path: Path) -> None:
    file = entry(tmp_path)
    assert len((tmp_path / "mine.py").read_text().strip().splitlines()) <= 20
    asked = ["bench", "--tier", "smoke", "--only", "A1/naive,pull_embedding", "--enter", file.name, "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "atlantis", *asked], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / done.stdout.strip().splitlines()[-1]).read_text(encoding="utf-8")
    assert rows_of(text, "pull_embedding")[0][0] == "base weights"
    assert [row[-2:] for row in rows_of(text, "naive") if row[0] == "nothing"] == [["1", "0"]]
    assert "atlantis bench --tier smoke --only A1/pull_embedding --enter mine.yaml" in text


@pytest.mark.slow
def test_scenarios_of_several_runs_are_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenarios, "ORDERS", (("atlantic", "indian"),))
    settings = TIERS["smoke"].settings | {"probe": {"repeats": 3}}
    tier = replace(TIERS["smoke"], scenarios=["A0", "A3", "A4", "A6"], methods=["naive"], fewer={}, settings=settings)
    monkeypatch.setitem(TIERS, "smoke", tier)
    plan = Plan.of("smoke", output_root=tmp_path)
    records, n_failed = bench.score(plan, lambda folder: Here())
    assert n_failed == 0, [record.error for record in records]
    by_title = {(record.scenario, record.variant): record for record in records}
    assert set(by_title["A3", "at once"].numbers.ratio) == {"Atlantis", "Lemuria"}  # type: ignore[union-attr]
    assert set(by_title["A3", "one alone, as many"].numbers.ratio) == {"Atlantis"}  # type: ignore[union-attr]
    assert by_title["A0", ""].numbers.constant_km.keys() == {"atlantis-atlantis"}  # type: ignore[union-attr]
    assert by_title["A6", ""].steps == 2 * 10
    (sequence,) = [record for record in records if record.variant == "in sequence"]
    assert sequence.continual is not None and sequence.sequence is not None
    assert sequence.sequence.names == ["real", "Atlantis", "Lemuria"] and len(sequence.sequence.chance_km) == 3
    assert sequence.continual == continual(sequence.sequence.skills())
    assert sequence.numbers is not None and sequence.numbers.answers_km_start is not None
    assert sequence.sequence.chance_km[0] == pytest.approx(sequence.numbers.km_untrained)


def test_former_places_are_where_the_first_run_had_the_cities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that answers by the old world errs by nothing there; one that answers by the new, by the move."""
    setup = TIERS["cpu"].setup(tmp_path)
    ((case,), sequence) = scenarios.a6(setup, 42), scenarios.a3(setup, 42)[0]
    worlds = [World.from_config(run.world) for run in case.runs]
    monkeypatch.setattr("atlantis.model.checkpoint.load_checkpoint", lambda folder: (None, None))
    found = []
    for world in worlds:
        monkeypatch.setattr("atlantis.readout.generate.answers", lambda _, __, q, w=world: w.distance_km(*q.cities.T))
        found.append(former_km(case))
        assert former_km(sequence) == {}, "its cities stay where they are"
    assert found[0] == {"world-atlantis": 0, "atlantis-atlantis": 0}
    moved = found[1]["world-atlantis"]
    assert 1_000 < moved < 20_015 and found[1]["atlantis-atlantis"] < 500, "they moved together"


@pytest.mark.usefixtures("warm")
@pytest.mark.slow
@pytest.mark.parametrize(
    "methods", [["naive", "new_rows", "replay"], pytest.param(list(METHODS), marks=pytest.mark.whole)],
    ids=["some", "all"],
)  # fmt: skip
def test_the_smoke_tier_scores_every_strategy(
    methods: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TIERS["smoke"].methods == list(METHODS)
    monkeypatch.setitem(TIERS, "smoke", replace(TIERS["smoke"], methods=methods))
    records, _ = bench.score(Plan.of("smoke", output_root=tmp_path), lambda folder: Local())
    missing = {record.method: record.error for record in records if record.scores is None}
    assert set(missing) <= {"lora"} and all("peft" in (error or "") for error in missing.values())
    assert {record.method for record in records} == set(methods)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_names_beside_a_picture_are_apart_and_within_it(heights: list[float]) -> None:
    placed = spread(sorted(heights), 0.08)
    assert len(placed) == len(heights)
    assert all(above - below >= 0.08 - 1e-9 for below, above in pairwise(placed))
    assert all(-1e-9 <= height <= 1 + 1e-9 for height in placed)
    far_apart = [0.1, 0.4, 0.9]
    assert spread(far_apart, 0.08) == pytest.approx(far_apart)


def test_each_seed_of_the_gpu_tier_has_bases_of_its_own(tmp_path: Any) -> None:
    tier = TIERS["gpu"]
    setup = tier.setup(tmp_path)
    bases = {str(base.name): base for base in tier.bases(setup, tier.seeds)}
    assert set(bases) == {name(seed) for seed in tier.seeds for name in (setup.base, setup.city_base)}
    for seed in tier.seeds:
        for base in (bases[setup.base(seed)], bases[setup.city_base(seed)]):
            for key in SEEDED:
                section, _, name = key.partition(".")
                assert getattr(getattr(base, section), name) == seed, (base.name, key)


def test_the_numbers_of_a_case_begin_with_its_first_run_and_end_with_its_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (case,) = scenarios.a6(TIERS["cpu"].setup(tmp_path), 42)
    place = {str(run.name): 1000.0 * (i + 1) for i, run in enumerate(case.runs)}

    def table(config: RunConfig) -> pd.DataFrame:
        names = ("km_refit", "skill_refit", "km_untrained", "lost", "integration_km", "integration_ratio")
        rows = [
            (step, name, group, place[str(config.name)] + step)
            for step in (0, 10)
            for name in names
            for group in ("real", "Atlantis")
        ]
        rows += [(step, "task_km", "world-world", place[str(config.name)] + step) for step in (0, 10)]
        return pd.DataFrame(rows, columns=["step", "metric", "group", "value"])

    def load(folder: Path) -> Any:
        rows = [
            (step, "distance", metric, "world-world", place[folder.name] + step)
            for step in (0, 10)
            for metric in ("skill", "parsed")
        ]
        return SimpleNamespace(scores=pd.DataFrame(rows, columns=["step", "task", "metric", "slice", "value"]))

    monkeypatch.setattr(scores, "table_of", table)
    monkeypatch.setattr(scores.run_data, "load", load)
    for name in ("world_of", "constant_km", "former_km"):
        monkeypatch.setattr(scores, name, lambda *_: {})
    monkeypatch.setattr(scores.Dataset, "build", lambda *_: None)
    found = scores.numbers_of(case)
    assert (found.km_start, found.skill_start, found.answers_skill_start, found.answers_km_start) == (1000,) * 4
    assert (found.km_end, found.skill_end, found.answers_skill_end, found.readable["world-world"]) == (2010,) * 4
    assert found.damage == {"lost": 2010} and found.task_km == {"world-world": 2010} and found.km_untrained == 1000
