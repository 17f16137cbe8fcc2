"""The benchmark's second protocol: trials and the value beyond, what the order depends on, its price, its page."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tracked import ROOT, tracked

from atlantis import bench
from atlantis.bench import protocol
from atlantis.bench.advice import advise, what_to_use
from atlantis.bench.cells import what_differs_by_seed
from atlantis.bench.choice import choose
from atlantis.bench.continual import Continual, SequenceErrors
from atlantis.bench.given import Given, digest_of_case
from atlantis.bench.leaderboard import page, write_pictures
from atlantis.bench.methods import METHODS
from atlantis.bench.pareto_plot import pareto_plot
from atlantis.bench.plan import Attempt, Plan, pairings, runs_of
from atlantis.bench.price import Clock, clock_of, minutes_per_point, pairs_per_point, seconds_beside
from atlantis.bench.record import BenchRecord, Trial, read_records, write_record
from atlantis.bench.scenarios import SEQUENCE
from atlantis.bench.scores import Numbers, Scores, scores_of
from atlantis.bench.sensitivity import changes, choices, least_differences, with_penalty
from atlantis.bench.standing import boards
from atlantis.bench.tiers import TIERS
from atlantis.errors import UserError
from atlantis.markdown import table
from atlantis.settings import RunConfig
from atlantis.trust import RECORD


def numbers(**changed: Any) -> Numbers:
    """A map of half the quality, answers of half the skill, half learned, half integrated."""
    km = {"world-world": 2_000.0, "world-atlantis": 1_000.0}
    given: dict[str, Any] = {"skill_start": 0.9, "skill_end": 0.8, "km_start": 100.0, "km_end": 200.0}
    given |= {"km_untrained": 6_000.0, "answers_km_start": 0.0, "answers_skill_start": 1.0, "answers_skill_end": 0.5}
    given |= {"task_km": km, "constant_km": {"world-atlantis": 2_000.0}, "ratio": {"Atlantis": 2.0}}
    given |= {"readable": dict.fromkeys(km, 1.0), "penalty_km": 20_000.0}
    return Numbers.model_validate(given | changed)


def planted(method: str, seed: int, of: Numbers | None = None, **more: Any) -> BenchRecord:
    of = of or numbers()
    record: dict[str, Any] = {"protocol": 2, "tier": "cpu", "scenario": "A1", "variant": "", "repeat": 0}
    record |= {"method": method, "needs": METHODS[method].needs, "seed": seed, "setting": METHODS[method].setting}
    record |= {"value": METHODS[method].default, "trials": [], "strategy": METHODS[method].parts(None)}
    record |= {"command": f"atlantis bench --tier cpu --only A1/{method}", "config_digest": "d"}
    record |= {"numbers": of.model_dump(), "scores": scores_of(of).model_dump(), "seconds": 60.0}
    record["old_pairs"] = METHODS[method].old_pairs(METHODS[method].default)
    return BenchRecord.model_validate(record | more)


def kept(skill: float, km: float = 200.0) -> Numbers:
    return numbers(answers_skill_end=skill, km_end=km)


# --- trials


def volumes_of(monkeypatch: pytest.MonkeyPatch, volume: Callable[[float, int], float | None]) -> list[tuple[str, int]]:
    """Plants a volume for each value and development seed; the sweeps and attempts that were asked for."""
    asked = []

    def attempted(plan: Plan, setup: Any, name: str, attempts: Any, *_: Any) -> list[protocol.Ended]:
        if attempts:
            asked.append((name, len(attempts)))
        ended = []
        for attempt in attempts:
            reached = volume(attempt.value, attempt.seed)
            of = None if reached is None else numbers(km_end=100.0, answers_skill_end=reached, ratio={"Atlantis": 1.0})
            ended.append(protocol.Ended(attempt, attempt.case, of, "it broke" if of is None else None))
        return ended

    monkeypatch.setattr(protocol, "_attempted", attempted)
    return asked


def tuned(tmp_path: Path, *names: str) -> dict[str, Any]:
    plan = Plan.of("cpu", output_root=tmp_path)
    setup = plan.tier.setup(tmp_path)
    return protocol.tune(plan, setup, [METHODS[name] for name in names], lambda folder: None)  # type: ignore[arg-type,return-value]


def test_the_best_value_at_an_end_gets_a_further_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = volumes_of(monkeypatch, lambda value, seed: value / 1_000 + (seed - 1_001) / 10_000)
    trials = tuned(tmp_path, "l2sp", "freeze", "naive")
    assert [trial.value for trial in trials["l2sp"]] == [0.01, 0.03, 0.1, 0.3, 1.0, 3.0], "the largest is tried beyond"
    assert [trial.value for trial in trials["freeze"]] == [1, 2, 3, 4, 5], "there are no more blocks"
    assert set(trials) == {"l2sp", "freeze"} and choose(trials["l2sp"], 0.1) == 3.0
    assert asked == [("bench2_cpu_tuning", 2 * 5 * 3), ("bench2_cpu_tuning_further", 3)]
    first = trials["l2sp"][0]
    assert first.volumes == pytest.approx([0.5 * (0.00001 + d) for d in (-0.0001, 0.0, 0.0001)], abs=1e-4)
    assert first.volume == pytest.approx(np.mean([v for v in first.volumes if v is not None]))


def test_the_best_value_in_the_middle_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = volumes_of(monkeypatch, lambda value, seed: 0.5 if value == 0.1 else 0.4)
    assert len(tuned(tmp_path, "l2sp")["l2sp"]) == 5 and asked == [("bench2_cpu_tuning", 15)]


def test_a_value_that_fails_with_one_seed_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volumes_of(monkeypatch, lambda value, seed: None if (value, seed) == (0.1, 1_002) else 0.9 if value == 0.1 else 0.4)
    trials = tuned(tmp_path, "l2sp")["l2sp"]
    broken = next(trial for trial in trials if trial.value == 0.1)
    assert broken.volume is None and broken.volumes[:2] == pytest.approx([0.45, 0.45]) and broken.error == "it broke"
    assert choose(trials, 0.1) in (0.03, 0.3)


# --- what the order depends on


def test_the_order_turns_where_the_score_that_makes_it_is_left_out() -> None:
    """One method keeps answers, one the map, one neither: without `answers` the second is first."""
    records = []
    for seed in (1, 2, 3):
        records += [planted("distill", seed, kept(0.9, 400.0)), planted("l2sp", seed, kept(0.2, 101.0))]
        records += [planted("naive", seed, kept(0.1, 410.0))]
    (board,) = boards(records)
    found = {change.change: change for change in changes(board)}
    assert found["without answers"].first == "l2sp" and found["without answers"].tau < 1
    assert found["without integration"].tau == found["without seed 2"].tau == pytest.approx(1.0)
    assert found["without map"].first == "distill"
    assert set(found) == {
        *(f"without {name}" for name in ("map", "answers", "acquisition", "integration")),
        *(f"without seed {seed}" for seed in (1, 2, 3)),
        "half of the penalty for unreadable answers",
    }
    assert changes(boards(records[:2])[0]) == [], "two methods have no order to speak of"


def test_runs_of_two_precisions_share_no_folder(tmp_path: Path) -> None:
    plan = Plan.of("cpu", "A1/naive", tmp_path, seeds=[42], precision="fp32")
    (attempt,) = protocol.attempts_of(plan, plan.tier.setup(tmp_path), {"naive": None})
    assert plan.command(attempt).endswith("--only A1/naive --precision fp32")
    (run,) = runs_of("cpu", attempt).runs
    folder = tmp_path / "experiments" / str(run.name)
    folder.mkdir(parents=True)
    training = run.training.model_copy(update={"precision": "bf16"})
    other = run.model_copy(update={"training": training}).model_dump(mode="json")
    (folder / "config.yaml").write_text(json.dumps(other))
    with pytest.raises(UserError, match="was begun in precision bf16, and fp32 is wanted; give another --output-root"):
        bench.score(plan, lambda folder: pytest.fail("nothing is run"))


def test_a_seed_that_a_scenario_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such run with seed 45; the seeds of scenarios are .*A7 42, 43, 44"):
        bench.counts(Plan.of("cpu", "/new_rows", tmp_path, seeds=[45]))


def test_what_keeps_everything_orders_nothing() -> None:
    """`joint` alone differs in answers; without it the map orders the volume. From seed to seed it is the map too."""
    records = []
    for seed in (1, 2, 3):
        for method, km in (("naive", 200.0), ("l2sp", 150.0), ("distill", 120.0)):
            records.append(planted(method, seed, kept(0.5, km + seed)))
        records.append(planted("joint", seed, kept(0.9, 110.0), old_pairs="all"))
    (board,) = boards(records)
    assert board.without_shares() == ["joint"] and board.variance_shares()["map"] == pytest.approx(1)
    assert board.seed_shares("naive") == pytest.approx({"map": 1, "answers": 0, "acquisition": 0, "integration": 0})
    assert board.seed_shares("joint") == {}, "equal seeds differ by nothing"
    assert "naive map 100 %" in what_differs_by_seed(board) and "joint" not in what_differs_by_seed(board)


def test_a_method_that_lacks_a_seed_beats_nobody() -> None:
    """With its one lucky seed `l2sp` would be bold, and `naive` beaten."""
    records = [planted("naive", seed, kept(0.3)) for seed in (1, 2)]
    records += [planted("distill", seed, kept(0.2)) for seed in (1, 2)]
    records.append(planted("l2sp", 1, kept(0.9, 101.0)))
    (board,) = boards(records)
    assert [standing.method for standing in board.complete()] == ["naive", "distill"]
    assert board.best() == board.front() == ["naive"]


def test_what_another_volume_would_have_chosen() -> None:
    """The larger value has the better answers, the smaller the better map; without answers the smaller is chosen."""
    small = Scores(map=0.9, answers=0.1, acquisition=1.0, integration=1.0)
    large = Scores(map=0.5, answers=0.9, acquisition=1.0, integration=1.0)
    tried = [
        Trial(value=value, volume=of.volume, volumes=[of.volume], scores=[of])
        for value, of in ((1.0, small), (2.0, large))
    ]
    assert choose(tried, 1.0) == 2.0
    names = ("map", "answers", "acquisition", "integration")
    assert choices(tried, 1.0, names) == {"map": 2.0, "answers": 1.0, "acquisition": 2.0, "integration": 2.0}
    old = [trial.model_copy(update={"scores": []}) for trial in tried]
    assert choices(old, 1.0, names) is None, "a trial of before says only its volume"


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_penalty_that_is_halved_counts_half(readable: float, factor: float) -> None:
    """Answers of 1,000 km where they can be read, and the penalty where not: recomputed from the mixture."""
    km = {name: readable * 1_000 + (1 - readable) * 20_000 for name in ("world-world", "world-atlantis")}
    constant = 5_000.0
    given = numbers(
        task_km=km, readable=dict.fromkeys(km, readable), answers_skill_end=1 - km["world-world"] / constant
    )
    milder = with_penalty(given, factor)
    assert milder is not None
    expected = readable * 1_000 + (1 - readable) * 20_000 * factor
    assert milder.task_km == pytest.approx(dict.fromkeys(km, expected), abs=1e-6)
    assert milder.answers_skill_end == pytest.approx(1 - expected / constant)
    assert with_penalty(numbers(penalty_km=None), 0.5) is None and with_penalty(numbers(readable={}), 0.5) is None


def test_the_least_difference_is_where_an_interval_begins_to_leave_0_out() -> None:
    rng = np.random.default_rng(0)
    records = []
    for seed in range(5):
        records += [planted("naive", seed, kept(0.3)), planted("l2sp", seed, kept(float(rng.uniform(0.4, 0.6))))]
    (board,) = boards(records)
    least = least_differences(board, "naive")
    assert list(least) == ["l2sp"]
    size = least["l2sp"]
    differences = board.compared_with("naive")["l2sp"].differences
    low, high = stats.t.interval(0.95, 4, loc=size, scale=stats.sem(differences))
    assert low == pytest.approx(0, abs=1e-12) and high == pytest.approx(2 * size)
    assert size / differences.std(ddof=1) == pytest.approx(1.24, abs=0.005), "as docs/benchmark.md says"
    assert stats.t.ppf(0.975, 9) / np.sqrt(10) == pytest.approx(0.72, abs=0.005), "and for ten"
    assert stats.t.ppf(0.975, 2) / np.sqrt(3) == pytest.approx(2.48, abs=0.005), "and for three"
    for n, size in ((5, 1.7), (10, 1.0)):  # and what is found in four of five cases
        power = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, size * np.sqrt(n))
        assert power == pytest.approx(0.8, abs=0.02)
    assert least_differences(boards(records[:2])[0], "naive") == {}


# --- advice


def test_what_to_use_goes_by_what_is_at_hand() -> None:
    """Planted: distill beats all, replay is near it, l2sp is above naive in the mean alone; joint is a bound."""
    skills = {"naive": 0.30, "l2sp": 0.32, "distill": 0.80, "replay": 0.79, "joint": 0.99, "wise": 0.60}
    spread = {"naive": 0.01, "l2sp": 0.08, "distill": 0.0, "replay": 0.05, "joint": 0.0, "wise": 0.0}
    signs = dict(zip(range(5), (1, -1, 1, -1, 0), strict=True))
    records = [
        planted(method, seed, kept(skill + signs[seed] * spread[method]))
        for method, skill in skills.items()
        for seed in signs
        if (method, seed) != ("wise", 0)
    ]
    (board,) = boards(records)
    nothing, names, pairs = advise(board)
    assert (nothing.permission, nothing.best.method, nothing.equals) == ("the base", "l2sp", ("naive",))
    assert nothing.less_naive is not None and nothing.less_naive.interval.low < 0
    assert (names.permission, names.best.method, names.equals) == ("the base, old names", "distill", ())
    assert names.others == ("naive", "l2sp")
    assert (pairs.permission, pairs.best.method) == ("the base, old names, old pairs", "distill")
    assert (pairs.others, pairs.equals) == (("naive", "replay", "l2sp"), ("replay",))
    (few,) = boards([record for record in records if record.method in ("naive", "joint")])
    assert advise(few) == [] and what_to_use(few) == "", "one method is no choice, and a bound is none"
    assert "| the base, old names | `distill` |" in page(records) and "wise" not in what_to_use(board)


def test_a_method_alone_is_not_the_best_and_has_no_picture(tmp_path: Path) -> None:
    alone = [planted("naive", seed) for seed in range(3)]
    (board,) = boards(alone)
    assert board.best() == board.front() == [] and not write_pictures(alone, tmp_path)
    text = page(alone)
    assert "| naive |" in text and not re.search(r"\*\*naive|!\[|minutes per 0.01 of volume \|", text)
    two = [*alone, *(planted("distill", seed, kept(0.9)) for seed in range(3))]
    assert len(write_pictures(two, tmp_path)) == 1 and "![" in page(two)


def test_a_method_alone_has_its_measures_of_a_sequence() -> None:
    measures = Continual(average_skill=0.5, forgetting=0.25, backward_transfer=-0.2, forward_transfer=0.1)
    of = {"scenario": "A3", "variant": SEQUENCE, "continual": measures}
    of["sequence"] = SequenceErrors(names=["real", "Atlantis"], km=[[1.0, 2.0], [1.0, 2.0]], chance_km=[3.0, 3.0])
    assert "| method | average skill | forgetting |" in page([planted("naive", seed, **of) for seed in range(3)])


def test_what_a_method_may_use_has_the_same_colour_in_every_picture() -> None:
    def marks(*methods: str) -> dict[str, tuple[Any, Any]]:
        (board,) = boards([planted(method, seed) for method in methods for seed in range(3)])
        handles, labels = pareto_plot(board).axes[0].get_legend_handles_labels()
        return {label: (h.get_color(), h.get_marker()) for h, label in zip(handles, labels, strict=True)}

    few, many = marks("naive", "distill"), marks("naive", "replay", "l2sp", "distill")
    assert few.items() <= many.items() and len(set(many.values())) == len(many) == 4


def test_a_page_says_what_of_its_tier_has_no_record_yet() -> None:
    seeds = TIERS["cpu"].seeds
    some = [planted(method, seed) for method in ("naive", "replay") for seed in seeds]
    text = page([*some, planted("wise", seeds[0])])
    assert "**Not scored yet**" in text and "\n- A2: naive, replay\n" in text
    (line,) = [line for line in text.splitlines() if line.startswith("- A1: ")]
    assert set(line.removeprefix("- A1: ").split(", ")) == set(TIERS["cpu"].methods) - {"naive", "replay"}
    everything = [
        planted(method, seed, scenario=scenario)
        for scenario, method in pairings("cpu")
        for seed in TIERS["cpu"].seeds_of(scenario)
    ]
    assert "Not scored yet" not in page(everything)
    assert ("A6", "replay") not in pairings("gpu") and ("A1", "new_rows") not in pairings("smoke")


# --- price


def test_prices_are_per_hundredth_of_volume() -> None:
    records = [planted("naive", seed, seconds=60.0 + seed) for seed in (1, 2, 3)]
    records += [planted("replay", seed, seconds=2 * (60.0 + seed)) for seed in (1, 2, 3)]
    (board,) = boards(records)
    naive, replay = board.of("naive"), board.of("replay")
    assert naive is not None and replay is not None
    clock = clock_of(board)
    assert clock.name == "seconds" and seconds_beside(replay, naive, clock) == pytest.approx(2.0)
    assert seconds_beside(naive, None, clock) is None and (naive.old_pairs, replay.old_pairs) == (0, 20_000)
    own = [record.model_copy(update={"processor_seconds": 10.0 * record.seed}) for record in records[:3]]
    own += [record.model_copy(update={"processor_seconds": 30.0 * record.seed}) for record in records[3:5]]
    (timed,) = boards([*own, records[5]])
    mine, its = timed.of("replay"), timed.of("naive")
    assert clock_of(timed) == Clock("processor_seconds", frozenset({1, 2})), "of seeds where every record has them"
    assert mine is not None and seconds_beside(mine, its, clock_of(timed)) == pytest.approx(3.0)
    (mixed,) = boards([*own[:3], *records[3:]])
    assert clock_of(mixed).name == "seconds", "never two clocks in a table"
    volume = 0.5**4
    assert minutes_per_point(naive, clock) == pytest.approx(62 / 60 / (volume * 100))
    assert pairs_per_point(replay) == pytest.approx(20_000 / (volume * 100)) and pairs_per_point(naive) == 0
    (joint,) = boards([planted("joint", 1)])[0].standings
    assert joint.old_pairs == "all" and pairs_per_point(joint) is None
    (silent,) = boards([planted("replay", 1, old_pairs=None)])[0].standings
    assert silent.old_pairs is None and pairs_per_point(silent) is None


def test_a_record_has_the_strategy_and_the_old_pairs_of_its_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A2 limits the buffer: the record says to what."""
    plan = Plan.of("cpu", "A2/replay", tmp_path)
    attempts = protocol.attempts_of(plan, plan.tier.setup(tmp_path), {"replay": 0.1})
    monkeypatch.setattr(
        protocol, "checked_record", lambda folder: {"device": {"name": "CPU"}, "processor_seconds": 2.0}
    )
    monkeypatch.setattr(protocol, "made_with", lambda abouts: {})
    kept_by_budget = {}
    for attempt in attempts:
        case = runs_of("cpu", attempt)
        record = protocol._write(plan, {}, {"replay": 0.1}, protocol.Ended(attempt, case, numbers(), None))
        assert record.processor_seconds == 2.0 * len(case.runs)
        kept_by_budget[record.variant] = (record.strategy[0].get("buffer"), record.old_pairs)
    assert kept_by_budget == {name: (n, n) for name, n in (("100", 100), ("1,000", 1_000), ("20,000", 20_000))}


def test_a_trial_that_failed_is_said_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its method is scored with a strength whose trials ended, and the exit code tells."""
    seen: list[float | None] = []

    def ended(plan: Plan, setup: object, name: str, attempts: list[Attempt], *_: object) -> list[protocol.Ended]:
        seen.extend(attempt.value for attempt in attempts)
        return [protocol.Ended(attempt, attempt.case, None, "no luck") for attempt in attempts]

    tried = [Trial(value=0.1, volume=0.2, volumes=[0.2]), Trial(value=0.5, volume=None, volumes=[None], error="full")]
    monkeypatch.setattr(protocol, "tune", lambda *_: {"replay": tried})
    monkeypatch.setattr(protocol, "_attempted", ended)
    plan = Plan.of("cpu", "A1/replay", tmp_path)
    records, n_failed = bench.score(plan, lambda folder: pytest.fail("nothing is run"))
    assert set(seen) == {0.1} and n_failed == len(records) + 1
    assert "replay: its trial at 0.5 failed, so that is not chosen: full" in capsys.readouterr().err


def test_a_page_imports_nothing_that_a_record_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "named_by_a_record.py").write_text("raise SystemExit('imported')")
    records = [planted("naive", 1, strategy=[{"name": "named_by_a_record:X"}, {"name": "gone"}, {}])]
    assert "naive" in page(records) and "naive" in bench.web_page(records)


def test_scores_that_are_not_those_of_their_numbers_are_refused() -> None:
    record = planted("naive", 1).model_dump()
    for wrong, said in (
        ({"scores": dict.fromkeys(("map", "answers", "acquisition", "integration"), 1.0)}, "not those of its numbers"),
        ({"numbers": None}, "has the numbers they are made of"),
        ({"numbers": numbers(constant_km={"atlantis-atlantis": 1.0}).model_dump()}, "give no scores"),
    ):
        with pytest.raises(ValueError, match=said):
            BenchRecord.model_validate(record | wrong)


def test_a_failure_takes_the_place_of_scores_that_another_version_has(tmp_path: Path) -> None:
    file = write_record(tmp_path, planted("naive", 1))
    failed = planted("naive", 1).model_dump() | {"scores": None, "numbers": None, "error": "it broke"}
    write_record(tmp_path, BenchRecord.model_validate(failed))
    assert read_records([file])[0].error is None, "the same run: its scores stay"
    write_record(tmp_path, BenchRecord.model_validate(failed | {"config_digest": "another"}))
    assert read_records([file])[0].error == "it broke"


# --- the page


def test_the_page_has_scores_front_and_price() -> None:
    records = [planted("naive", seed, kept(0.1 + seed / 100)) for seed in (1, 2, 3)]
    records += [planted("distill", seed, kept(0.8 + seed / 100), value=0.3) for seed in (1, 2, 3)]
    records += [planted("l2sp", seed, kept(0.5, 400.0)) for seed in (1, 2, 3)]
    text = page(records)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    first = next(row for row in rows if "**distill** *" in row)
    assert first[2:4] == ["0.3", "0.500"] and first[4].startswith("0.820 (")
    assert [row[1] for row in rows if row[1].endswith(" *")] == ["**distill** *"], "the front of answers and learned"
    assert (
        "has an interval without 0 from this size on: " in text
        and "| without answers |" in text
        and "minutes per 0.01 of volume" in text
    )
    assert "first protocol" in text and "Rate" not in text
    with pytest.raises(UserError, match="no records"):
        page([])
    shuffled = list(np.random.default_rng(1).permutation(np.array(records, dtype=object)))
    assert page(shuffled) == text


def test_records_of_two_protocols_share_no_table(tmp_path: Path) -> None:
    second = planted("naive", 1)
    old = second.model_dump() | {"protocol": 1, "scores": {"retention": 0.5, "acquisition": 0.5, "integration": 0.5}}
    first = BenchRecord.model_validate(old)
    assert [board.protocol for board in boards([second, first])] == [1, 2]
    with pytest.raises(UserError, match="two protocols, which share no table"):
        page([first, second])
    write_record(tmp_path / "1", first)
    write_record(tmp_path / "2", second)
    assert read_records([tmp_path / "1", tmp_path / "2"]) == [first, second], "and none is taken for the other"
    with pytest.raises(ValueError, match="are not protocol 1's"):
        BenchRecord.model_validate(second.model_dump() | {"protocol": 1})


def test_new_records_do_not_go_where_those_of_the_first_protocol_are(tmp_path: Path) -> None:
    plan = Plan.of("cpu", "A1/naive", tmp_path)
    scores = {"retention": 0.5, "acquisition": 0.5, "integration": 0.5}
    first = BenchRecord.model_validate(planted("naive", 1).model_dump() | {"protocol": 1, "scores": scores})
    file = write_record(plan.folder / "records", first)
    with pytest.raises(UserError, match=f"{file.name}: is a record of the first protocol.*move .*records elsewhere"):
        bench.score(plan, lambda folder: pytest.fail("begun"))
    assert list(tmp_path.rglob("*.json")) == [file], "and nothing was begun"
    file.unlink()
    protocol.refuse_other_records(file.parent)


# --- records that were made elsewhere


def trials_at(best: float, *values: float) -> list[Trial]:
    return [Trial(value=v, volume=0.5 if v == best else 0.1, volumes=[0.5 if v == best else 0.1] * 3) for v in values]


SHARES = METHODS["replay"].values
CHOSEN: dict[str, float | None] = {"naive": None, "replay": 0.2}
TRIALS = trials_at(0.2, *SHARES)


def made_elsewhere(folder: Path, only: str, **changed: Any) -> Path:
    """A folder with a planted record of each attempt of a part of the cpu tier."""
    plan = Plan.of("cpu", only, folder)
    for attempt in protocol.attempts_of(plan, plan.tier.setup(folder), CHOSEN):
        case, method = runs_of("cpu", attempt), attempt.method
        record: dict[str, Any] = {"scenario": case.scenario, "variant": case.variant, "value": attempt.value}
        record |= {"config_digest": digest_of_case(case), "steps": 1_800, "strategy": method.parts(attempt.value)}
        record |= {"trials": TRIALS if method.values else []}
        write_record(folder, planted(method.name, attempt.seed, **record).model_copy(update=changed))
    return folder


def test_a_strength_that_was_chosen_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = volumes_of(monkeypatch, lambda value, seed: pytest.fail("tried again") if seed >= 1_000 else None)
    plan = Plan.of("cpu", "A0/replay", tmp_path / "here")
    given = Given.read([made_elsewhere(tmp_path / "there", "A1/replay")], plan)
    assert bench.counts(plan, given) == (0, 5) and bench.counts(plan) == (15, 5)
    records, n_failed = bench.score(plan, lambda folder: pytest.fail("nothing is run"), given)
    assert asked == [("bench2_cpu", 5)] and n_failed == 5, "the five runs of A0 are planted to fail"
    assert all(record.value == 0.2 and record.trials == TRIALS for record in records)


def test_runs_that_are_equal_are_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A2 without old pairs is A1's plain fine-tuning, and with 20,000 its replay."""
    asked = volumes_of(monkeypatch, lambda value, seed: None)
    plan = Plan.of("cpu", "A2", tmp_path / "here")
    given = Given.read([made_elsewhere(tmp_path / "there", "A1/naive,replay")], plan)
    assert bench.counts(plan, given) == (0, 6)
    records, _ = bench.score(plan, lambda folder: pytest.fail("nothing is run"), given)
    assert asked == [("bench2_cpu", 6)], "100 and 1,000 old pairs, with three seeds each"
    scored = {(record.variant, record.method, record.old_pairs) for record in records if record.error is None}
    assert scored == {("0", "naive", 0), ("20,000", "replay", 20_000)}
    (all_pairs, *_) = [record for record in records if record.variant == "20,000"]
    assert all_pairs.command.endswith("A2/replay") and all_pairs.strategy[0]["buffer"] == 20_000
    in_folder = {record.file_name for record in read_records([plan.folder / "records"])}
    every = [*records, *given.records.values()]
    assert in_folder == {record.file_name for record in every}, "its page has the others beside"


@pytest.mark.parametrize(
    "changed",
    [
        {"config_digest": "of another version"},
        {"steps": 300},
        {"scores": None, "numbers": None, "error": "full"},
        {"seed": 7},
        {"scenario": "Z9"},
        {"method": "nonsense"},
        {"value": 0.1},
        {"trials": TRIALS[1:]},
        {"trials": [*TRIALS, Trial(value=0.5, volume=0.1, volumes=[0.1] * 3)]},
        {"trials": [*TRIALS, TRIALS[0]]},
        {"trials": [trial.model_copy(update={"volumes": [0.1]}) for trial in TRIALS]},
        {"trials": trials_at(0.4, *SHARES), "value": 0.4},
    ],
    ids=lambda changed: f"{'-'.join(changed)}",
)
def test_what_the_tier_does_not_have_today_is_left_out(
    changed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last: the best of five is at an end, and what lies beyond was not tried."""
    given = Given.read([made_elsewhere(tmp_path, "A1/replay", **changed)], Plan.of("cpu", "A1/replay", tmp_path))
    assert given.trials(METHODS["replay"]) == [] and given.records == {}
    said = capsys.readouterr().err
    assert "--records: 0 of" in said and f"such as {tmp_path}" in said


def test_a_trial_that_failed_cannot_be_chosen_and_is_a_trial(tmp_path: Path) -> None:
    tried = [Trial(value=SHARES[0], volume=None, volumes=[None, 0.9, 0.9], error="full"), *TRIALS[1:]]
    given = Given.read([made_elsewhere(tmp_path, "A1/replay", trials=tried)], Plan.of("cpu", "A1", tmp_path))
    assert given.trials(METHODS["replay"]) == tried


def test_a_method_of_ones_own_is_always_run(tmp_path: Path) -> None:
    plan = Plan.of("cpu", "A1/replay", tmp_path)
    given = Given.read([made_elsewhere(tmp_path, "A1/replay")], plan)
    own = METHODS["replay"].model_copy(update={"beyond": [0.001, 0.6]})
    (attempt, *_) = protocol.attempts_of(plan, plan.tier.setup(tmp_path), {"replay": 0.2})
    case = runs_of("cpu", attempt)
    assert given.equal_run(attempt.method, attempt.seed, case) is not None and given.trials(attempt.method) == TRIALS
    assert given.equal_run(own, attempt.seed, case) is None and given.trials(own) == []


def test_what_was_made_here_stays(tmp_path: Path) -> None:
    plan = Plan.of("cpu", "A1/replay", tmp_path / "here")
    there = made_elsewhere(tmp_path / "there", "A1/naive,replay", seconds=2.0)
    folder = plan.folder / "records"
    made_elsewhere(folder, "A1/replay", seconds=1.0)
    made_elsewhere(folder, "A1/naive", seconds=1.0, config_digest="of another precision")
    (folder / "A1_replay_seed42.json").unlink()
    given = Given.read([there], plan)
    bench.score(plan, lambda folder: pytest.fail("nothing is run"), given)
    seconds = {record.file_name: record.seconds for record in read_records([folder])}
    assert seconds.pop("A1_replay_seed42.json") == 2.0 and set(seconds.values()) == {1.0}


def test_records_of_another_table_are_refused(tmp_path: Path) -> None:
    plan = Plan.of("cpu", "A1", tmp_path)
    gpu = write_record(tmp_path / "gpu", planted("naive", 1, tier="gpu"))
    with pytest.raises(UserError, match=r"gpu.A1_naive_seed1\.json: is of protocol 2 and the gpu tier"):
        Given.read([gpu], plan)
    with pytest.raises(UserError, match="the gpu tier makes its own bases"):
        Given.read([gpu], Plan.of("gpu", "A1", tmp_path))
    with pytest.raises(UserError, match="no such record"):
        Given.read([tmp_path / "empty"], plan)
    there = made_elsewhere(tmp_path / "there", "A1/replay")
    again = made_elsewhere(tmp_path / "again", "A1/replay")
    assert len(Given.read([there, again, there / "A1_replay_seed42.json"], plan).records) == 5, "the same ones"
    other = made_elsewhere(tmp_path / "other", "A1/replay", seconds=1.0)
    with pytest.raises(UserError, match=r"other.*: .*there.* is another record of the same run; leave one"):
        Given.read([there, other], plan)


def test_trials_that_differ_are_refused(tmp_path: Path) -> None:
    there = made_elsewhere(tmp_path, "A1/replay")
    higher = [trial.model_copy(update={"volume": 0.6}) if trial.value == 0.2 else trial for trial in TRIALS]
    made_elsewhere(tmp_path, "A0/replay", trials=higher)
    given = Given.read([there], Plan.of("cpu", "A4", tmp_path / "here"))
    with pytest.raises(UserError, match=r"json: has other trials of replay than .*json; leave one of them out"):
        given.trials(METHODS["replay"])


def test_trials_of_before_there_were_scores_are_the_same_trials(tmp_path: Path) -> None:
    """And those with scores are taken, whichever record has them."""
    scores = [Scores(map=1.0, answers=1.0, acquisition=1.0, integration=0.5)] * 3
    fuller = [trial.model_copy(update={"scores": scores}) for trial in TRIALS]
    there = made_elsewhere(tmp_path, "A1/replay")
    made_elsewhere(tmp_path, "A0/replay", trials=fuller)
    given = Given.read([there], Plan.of("cpu", "A4", tmp_path / "here"))
    assert given.trials(METHODS["replay"]) == fuller


def test_the_committed_records_are_those_of_todays_tier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So anybody's row needs no trials and no other row: all of them are taken over."""
    monkeypatch.setattr("atlantis.model.fast.kernels.fast_bf16", lambda: True)
    files, plan = tracked("experiments/*_benchmark_2/records/*.json"), Plan.of("cpu", output_root=tmp_path)
    given = Given.read(files, plan)
    assert set(given.records) == set(files)
    for scenario, method in sorted({(record.scenario, record.method) for record in given.records.values()}):
        assert bench.counts(Plan.of("cpu", f"{scenario}/{method}", tmp_path), given) == (0, 0), (scenario, method)


# --- the page to sort and filter


def three_methods() -> list[BenchRecord]:
    records = [planted("naive", seed, kept(0.1 + seed / 100)) for seed in (1, 2, 3)]
    records += [planted("distill", seed, kept(0.8 + seed / 100), seconds=90.0) for seed in (1, 2, 3)]
    return [*records, *(planted("replay", seed, kept(0.9, 400.0 + seed)) for seed in (1, 2, 3))]


def test_the_web_page_asks_for_nothing_and_refuses_the_first_protocol(tmp_path: Path) -> None:
    text = bench.web_page(three_methods())
    assert "default-src 'none'" in text and not re.search(r"(src|href)=.?https?:", text)
    assert text == bench.web_page(three_methods()[::-1])
    scores = {"retention": 0.5, "acquisition": 0.5, "integration": 0.5}
    first = BenchRecord.model_validate(planted("naive", 1).model_dump() | {"protocol": 1, "scores": scores})
    with pytest.raises(UserError, match="first protocol"):
        bench.web_page([first])
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / first.file_name).write_text(first.model_dump_json())
    for web, said in (("x.html", "first protocol"), (".", "no name of an HTML file")):
        script = [sys.executable, str(ROOT / "scripts" / "leaderboard.py"), "records", "-o", "x.md", "--web", web]
        done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
        assert not (tmp_path / "x.md").exists()


# --- resuming


def test_a_resumed_tier_names_the_runs_of_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from atlantis.training.provenance import code_digests

    now = code_digests(RunConfig())
    runs = [RunConfig(name=name, output_root=str(tmp_path)) for name in ("same", "older", "ancient", "missing")]
    records = {"same": {"code": now}, "older": {"code": now | {"atlantis": "abc"}}, "ancient": {}}
    for name, record in records.items():
        folder = tmp_path / "experiments" / name
        folder.mkdir(parents=True)
        (folder / RECORD).write_text("{}")
        records[name] = record
    monkeypatch.setattr(protocol, "checked_record", lambda folder: records[folder.name])
    assert protocol.of_other_code(runs) == ["older"]


def test_commands_name_what_makes_a_row_again(tmp_path: Path) -> None:
    plan = Plan.of("cpu", "A1/ewc", tmp_path)
    (attempt, *_) = protocol.attempts_of(plan, plan.tier.setup(tmp_path), {"ewc": 2.0})
    assert plan.command(attempt) == "atlantis bench --tier cpu --only A1/ewc"
    assert bench.counts(Plan.of("cpu", "A1/ewc", tmp_path)) == (15, 5)
    assert json.loads(json.dumps(attempt.method.model_dump()))["values"] == METHODS["ewc"].values


def test_the_pilots_page_has_its_table() -> None:
    folder = Path(__file__).parents[1] / "experiments" / "2026-11-28_benchmark_2"
    header, *rows = csv.reader((folder / "pilot.csv").read_text(encoding="utf-8").splitlines())
    assert table(header, rows) in (folder / "README.md").read_text(encoding="utf-8")
    best = max(rows, key=lambda row: float(row[header.index("new-old skill")]))
    cpu = TIERS["cpu"].settings
    chosen = [cpu["training"]["learning_rate"], cpu["training"]["batch_size"], cpu["training"]["max_steps"]]
    assert [float(number) for number in best[:3]] == chosen and float(best[header.index("new-old km")]) < 200
    assert [float(best[header.index(name)]) for name in ("pairs", "share within")] == list(cpu["dataset"].values())
