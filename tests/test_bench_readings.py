"""What the benchmark's pages compare methods by: planted records, chance per region, the named comparisons."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from atlantis.bench import scenarios
from atlantis.bench.cells import what_orders
from atlantis.bench.chance import constant_km, measured_answers_km, measured_chance_km, untrained_km
from atlantis.bench.continual import Continual, SequenceErrors, above_chance, continual, forward_transfer
from atlantis.bench.hypotheses import DATE, HYPOTHESES, in_words, judged
from atlantis.bench.leaderboard import page
from atlantis.bench.quantities import continual_of, is_km, scale_of, value
from atlantis.bench.record import BenchRecord, read_records
from atlantis.bench.scenarios import SEQUENCE
from atlantis.bench.standing import boards, mean_and_interval
from atlantis.bench.tiers import SHIPPED_CITY, TIERS, WARM_START
from atlantis.errors import UserError
from atlantis.settings import ProbeConfig
from atlantis.statistics import interquartile_mean
from atlantis.world import OCEANS, World

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "experiments" / "2026-11-24_benchmark" / "records"
MEASURED = ROOT / "experiments" / "2026-11-27_chance_by_region" / "record.json"


def planted(
    method: str = "naive", seed: int = 1, scenario: str = "A1", variant: str = "", **numbers: Any
) -> BenchRecord:
    of_record = {
        key: numbers.pop(key) for key in ("continual", "sequence", "format", "tier", "scores") if key in numbers
    }
    given: dict[str, Any] = {"skill_start": 0.8, "skill_end": 0.6, "km_start": 100.0, "km_end": 200.0}
    given |= {"km_untrained": 6000.0, "answers_km_start": 50.0}
    given |= {"task_km": {"world-world": 200.0, "world-atlantis": 200.0, "atlantis-atlantis": 450.0}}
    given |= {"constant_km": {"world-atlantis": 2000.0, "atlantis-atlantis": 300.0}, "ratio": {"Atlantis": 2.0}}
    record = {"tier": "gpu", "scenario": scenario, "variant": variant, "repeat": 0, "method": method, "needs": []}
    record |= {"seed": seed, "setting": "x", "value": 1.0, "trials": [], "strategy": [], "command": "c"}
    record |= {"config_digest": "d", "scores": {"retention": 0.75, "acquisition": 0.45, "integration": 0.5}}
    return BenchRecord.model_validate(record | {"numbers": given | numbers} | of_record)


# --- readings


def test_readings_by_hand() -> None:
    record = planted()
    expected = {"map kept": 0.5, "answers kept": 0.25, "integration": 0.5, "retention": 0.75, "acquisition": 0.45}
    expected |= {"learned world-atlantis": 0.9, "learned atlantis-atlantis": -0.5, "learned": 0.2}
    expected |= {"volume with answers": 0.5 * 0.25 * 0.2 * 0.5, "volume": 0.75 * 0.45 * 0.5, "task world-world": 200.0}
    assert {name: value(record, name) for name in expected} == pytest.approx(expected)


def test_a_constants_error_and_one_regions_integration() -> None:
    record = planted(answers_skill_start=0.99, ratio={"Atlantis": 4.0, "Mu": 0.5})
    assert value(record, "task world-world of a constant") == pytest.approx(5_000), "50 km are a hundredth of it"
    assert value(record, "task world-atlantis of a constant") == 2_000
    regions = [value(record, f"integration {name}") for name in ("Atlantis", "Mu", "Hiva")]
    assert regions == [0.25, 1.0, None] and scale_of("integration Mu") is scale_of("integration")
    assert value(planted(), "task world-world of a constant") is None, "the first protocol has no skill at the start"
    exact = planted(answers_skill_start=1.0, answers_km_start=0.0)
    assert value(exact, "task world-world of a constant") is None, "what is no error has no multiple"


def test_no_interval_reaches_beyond_the_antipode() -> None:
    values = np.array([300.0, 6_000.0, 7_000.0])
    _, low, high = mean_and_interval(values, "task world-world")
    assert 0 < low < 300 and high == pytest.approx(20_015, abs=1)
    mean, _, high = mean_and_interval(values + 40_000, "task world-world")
    assert mean < high == 47_000, "an answer of five digits can be beyond"


def test_what_is_worse_than_a_constant_is_not_cut_before_the_mean() -> None:
    worse = planted(task_km={"world-world": 200.0, "world-atlantis": 200.0, "atlantis-atlantis": 900.0})
    assert value(worse, "learned") == pytest.approx((0.9 - 2.0) / 2) and value(worse, "volume with answers") == 0.0


def test_what_became_better_is_all_kept() -> None:
    better = planted(km_end=80.0, task_km={"world-world": 0.0, "world-atlantis": 0.0, "atlantis-atlantis": 0.0})
    assert value(better, "map kept") == value(better, "answers kept") == value(better, "learned") == 1.0


def test_older_records_do_not_tell_a_turn_from_a_shift() -> None:
    old, new = planted(damage={"turned": 0.5}), planted(damage={"turned": 0.1, "shifted": 0.4})
    assert [value(old, name) for name in ("turned", "shifted", "turned or shifted")] == [None, None, 0.5]
    assert [value(new, name) for name in ("turned", "shifted", "turned or shifted")] == [0.1, 0.4, 0.5]
    assert value(planted(), "turned or shifted") is None


def test_the_middle_half_is_not_what_rliable_prints() -> None:
    three = [0.1, 0.2, 0.9]
    assert stats.trim_mean(three, 0.25) == pytest.approx(np.mean(three)) and interquartile_mean(three) < 0.35


def test_a_record_without_a_number_has_none() -> None:
    assert value(planted(skill_start=-0.1), "map kept") is None, "a base without a map has none to keep"
    assert value(planted(answers_km_start=None), "answers kept") is None, "measured for the cpu tier's bases alone"
    assert value(planted(constant_km={}), "learned") is None and value(planted(constant_km={}), "learned x") is None
    empty = planted(constant_km={"atlantis-atlantis": 0.0})
    assert value(empty, "learned") is None, "one pair whose distance the median is: no scale"
    assert value(planted(skill_start=-0.1), "volume with answers") is None
    failed = planted().model_copy(update={"scores": None, "numbers": None, "error": "it broke"})
    assert value(failed, "map kept") is None
    with pytest.raises(UserError, match="no quantity 'height'; there are map kept"):
        value(failed, "height")


@given(st.floats(0.001, 1e5), st.floats(0.001, 1e5), st.floats(0.0, 1e5), st.floats(1.0, 1e5))
def test_readings_stay_within_their_bounds(start: float, end: float, error: float, constant: float) -> None:
    task_km = {"world-world": end, "atlantis-atlantis": error}
    record = planted(km_start=start, km_end=end, task_km=task_km, constant_km={"atlantis-atlantis": constant})
    for name in ("map kept", "answers kept"):
        kept = value(record, name)
        assert kept is not None and 0 < kept <= 1
    learned, volume = value(record, "learned"), value(record, "volume with answers")
    assert learned is not None and learned <= 1 and volume is not None and 0 <= volume <= 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_seeds_have_a_page_without_numbers_out_of_bounds(n: int) -> None:
    records = [planted("naive", seed, km_end=200.0 + seed) for seed in range(n)]
    records += [planted("ewc", seed, skill_start=-0.1, constant_km={}) for seed in range(n)]
    text = page(records)
    (kept,) = re.findall(r"naive\W+x 1 \| ([^|]+) \|", text)
    assert not re.search(r"\b(nan|inf)\b", text) and ("(" in kept) == (n == 3)


# --- chance


def test_forward_transfer_is_counted_from_each_regions_own_chance() -> None:
    """A model that knows nothing of later oceans places them as an untrained one does: 0, wherever they lie."""
    km = [[100.0, 7000.0, None], [200.0, 500.0, 18000.0], [300.0, 900.0, 1000.0]]
    errors = SequenceErrors(names=["real", "Near", "Far"], km=km, chance_km=[6000.0, 7000.0, 18000.0])
    skills = errors.skills()
    assert skills[1] == pytest.approx([5800 / 6000, 6500 / 6000, 0.0]) and np.isnan(skills[0, 2])
    found = continual(skills)
    assert found.forward_transfer == 0.0
    assert found.forgetting == pytest.approx((200 + 400) / 2 / 6000), "km lost, on average, in the one unit"
    assert found.average_skill == pytest.approx((5700 + 6100 + 17000) / 3 / 6000)


def test_old_measures_are_put_right_by_the_chance_measured_afterwards() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    chance = np.array([6000.0, 7000.0, 18000.0, 9000.0])
    km = rng.uniform(100, 20_000, (4, 4))
    before = continual(1 - km / chance[0])
    now = continual(SequenceErrors(names=list("abcd"), km=km.tolist(), chance_km=chance.tolist()).skills())
    assert above_chance(before, chance).model_dump() == pytest.approx(now.model_dump())
    by_hand = forward_transfer(1 - km / chance[0], untrained=1 - chance / chance[0])
    assert now.forward_transfer == pytest.approx(by_hand), "b_j handed over, as Lopez-Paz and Ranzato have it"


def test_a_record_that_has_its_errors_is_taken_as_it_is_and_one_without_chance_has_no_measures() -> None:
    measures = Continual(average_skill=-0.5, forgetting=0.2, backward_transfer=-0.1, forward_transfer=-0.8)
    errors = SequenceErrors(names=["real"], km=[[1.0]], chance_km=[2.0])
    assert continual_of(planted(continual=measures, sequence=errors)) == measures
    assert continual_of(planted(continual=measures, format=1, seed=42)) is None, "of another tier"
    assert continual_of(planted(continual=measures, format=1, tier="cpu", seed=7)) is None, "of other cities"
    assert continual_of(planted()) is None
    old = continual_of(planted(continual=measures, format=1, tier="cpu", seed=42, km_untrained=6105.412))
    assert old is not None and old.forward_transfer == pytest.approx(-0.8 + 1.03, abs=0.01)


def test_the_committed_sequences_have_positive_forward_transfer() -> None:
    records = [r for r in read_records([RECORDS]) if r.variant == SEQUENCE]
    found = [measures for record in records if (measures := continual_of(record)) is not None]
    assert len(found) == len(records) == 9 and all(measures.forward_transfer > 0 for measures in found)
    (board,) = boards(records)
    naive = board.of("naive")
    assert naive is not None
    before = np.mean([r.continual.forward_transfer for r in naive.records if r.continual is not None])
    text = " ".join((ROOT / "docs" / "benchmark_1.md").read_text(encoding="utf-8").split())
    assert f"(naive: {before:.3f}), and it is positive ({naive.array('forward_transfer').mean():.3f})" in text


def test_the_package_has_what_was_measured_and_the_docs_say_it() -> None:
    record = json.loads(MEASURED.read_text())
    text, history = (
        (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("benchmark", "benchmark_1")
    )
    for seed, regions in record["chance"].items():
        measured = measured_chance_km(int(seed))
        assert measured is not None and list(measured) == list(regions)
        for name, of_region in regions.items():
            by_seed = list(of_region["untrained_km"].values())
            assert len(by_seed) >= 5 and measured[name] == pytest.approx(np.mean(by_seed), rel=1e-6)
            assert measured[name] == pytest.approx(of_region["constant_km"], rel=0.04), "about the constant answer"
            if seed == "42":
                shown = "real cities" if name == "real" else name
                assert f"| {shown} | {measured[name]:,.0f} |" in text
    assert set(record["chance"]["42"]) == {"real", *(ocean.name for ocean in OCEANS.values())}
    for base in (WARM_START, SHIPPED_CITY):
        values = {of_seed["world-world"] for of_seed in record["answers_km"][base].values()}
        assert values == {measured_answers_km(base)}, "the same items, whatever the seed of the new cities"
        assert f"{values.pop():.0f}" in history.split("own errors, measured afterwards (")[1].split(")")[0]
    kept = [r.numbers.task_km["world-world"] for r in read_records([RECORDS]) if r.method == "new_rows" and r.numbers]
    assert kept == [measured_answers_km(SHIPPED_CITY)] * 3, "new rows leave old answers as they were"
    assert measured_chance_km(7) is None and measured_answers_km("elsewhere") is None


def test_an_untrained_models_error_is_the_same_again(small_run: Path) -> None:
    world = _small_world(small_run)
    checkpoint, probe = small_run / "checkpoints" / "final", ProbeConfig(layers=[3, 4])
    one, again, other = (untrained_km(checkpoint, world, probe, seed) for seed in (5, 5, 6))
    assert one == again != other and one.keys() == constant_km(world).keys()
    assert all(2_000 < km < 20_016 for km in one.values())


def _small_world(run: Path) -> World:
    from atlantis import config as configs

    return World.from_config(configs.load(run / "config.yaml").world)


def test_a_sequences_errors_come_from_the_tables_and_the_untrained_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import pandas as pd

    from atlantis.bench import scores

    tier = TIERS["smoke"]
    tier.prepare(tmp_path)
    task = scenarios.a3(tier.setup(tmp_path), 1)[0]
    names = [run.world.regions[-1].name for run in task.runs]
    place = {str(run.name): i for i, run in enumerate(task.runs)}

    def table(config: Any) -> pd.DataFrame:
        i = place[config.name]
        rows = [(step, "km_refit", g, 100.0 * (i + (step > 0)) + j) for step in (0, 10)
                for j, g in enumerate(["real", *names[: i + 1]])]  # fmt: skip
        return pd.DataFrame(rows, columns=["step", "metric", "group", "value"])

    monkeypatch.setattr(scores, "table_of", table)
    monkeypatch.setattr(scores, "untrained_km", lambda *_: {"real": 6000.0} | {n: 1e4 + k for k, n in enumerate(names)})
    found = scores.sequence_of(task)
    assert found.names == ["real", *names] and found.chance_km[:3] == [6000.0, 1e4, 1e4 + 1]
    assert found.km[0][:3] == [0.0, 1.0, None], "the base, and before the first ocean's own run"
    assert found.km[2] == [200.0, 201.0, 202.0, 203.0, None, None], "after the second; the third from its own step 0"
    assert continual(found.skills()).forgetting == pytest.approx(100 * (5 + 4 + 3 + 2 + 1) / 5 / 6000)


# --- scales and comparisons


def test_every_quantity_has_a_scale_that_holds_it() -> None:
    for record in read_records([RECORDS]):
        for name in ("map kept", "answers kept", "learned", "learned world-atlantis", "km_end", "forgetting", "volume"):
            number = value(record, name)
            scale = scale_of(name)
            assert number is None or scale.low <= number <= scale.high
    assert is_km("task all") and is_km("km_end") and not is_km("map kept")


def test_what_orders_the_volume() -> None:
    scores = [(0.9, 0.5, 0.1), (0.9, 0.5, 0.2), (0.9, 0.5, 0.4)]
    methods = ("naive", "ewc", "l2sp")
    names = ("retention", "acquisition", "integration")
    records = [
        planted(m, scores=dict(zip(names, point, strict=True))) for m, point in zip(methods, scores, strict=True)
    ]
    (board,) = boards(records)
    assert board.variance_shares() == pytest.approx({"retention": 0, "acquisition": 0, "integration": 1})
    assert boards(records[:2])[0].variance_shares() == {}, "two methods have no variance to speak of"
    assert boards([planted(m) for m in methods])[0].variance_shares() == {}, "and equal ones none at all"
    nothing = planted("mas", scores=dict(zip(names, (0.9, 0.0, 0.4), strict=True)))
    (board,) = boards([*records, nothing])
    assert board.variance_shares()["integration"] == pytest.approx(1) and board.without_shares() == ["mas"]
    assert what_orders(board).endswith("Without mas: a score of 0, which has no logarithm, or all old pairs.")
    assert "logarithm" not in what_orders(boards(records)[0]) and what_orders(boards(records[:2])[0]) == ""


def pairs(n: int, contrary: int) -> Iterator[BenchRecord]:
    """H1's rows of n seeds: replay keeps more old answers, and less, by little, in the first `contrary`."""
    for seed in range(n):
        gain = 1.0 + 0.01 * seed if seed < contrary else 2.0 + 0.1 * seed
        end = 200.0 * 1.001 if seed < contrary else 200.0 / gain
        for method, km in (("naive", 200.0), ("replay", end)):
            yield planted(method, seed, task_km={"world-world": km, "world-atlantis": 1.0, "atlantis-atlantis": 1.0})


def test_ten_seeds_can_show_a_named_comparison_with_one_seed_against_it() -> None:
    def p(n: int, contrary: int) -> float:
        return next(one.p for one in judged(boards(list(pairs(n, contrary)))) if one.hypothesis.name == "H1")

    assert p(10, 0) == pytest.approx(6 * 2 / 2**10) and p(10, 1) == pytest.approx(6 * 4 / 2**10)
    assert p(10, 1) < 0.05, "24 methods in one family had 0.094"
    assert p(3, 0) == 1.0


def test_a_comparison_without_records_counts_in_the_family() -> None:
    found = {one.hypothesis.name: one for one in judged(boards(list(pairs(10, 0))))}
    assert len(found) == len(HYPOTHESES) and found["H6"].comparison is None and found["H6"].p == 1.0
    assert judged([])[0].comparison is None


def test_named_comparisons_are_of_rows_that_there_are_and_stand_in_the_docs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    tier = TIERS["gpu"]
    setup = tier.setup(tmp_path)
    titles = {
        f"{task.scenario}, {task.variant}" if task.variant else task.scenario
        for scenario in tier.scenarios
        for task in tier.cases(setup, scenario, 42)
    }
    for one in HYPOTHESES:
        for row in (one.row, one.other):
            title, _, method = row.rpartition("/")
            assert title in titles and method in tier.methods_of(title.partition(",")[0])
        assert re.search(rf"^\| {one.name} \| [^|]+\? \| {re.escape(in_words(one))} \|$", text, re.M)
    assert f"named on {DATE}" in text


def test_what_the_docs_quote_of_the_records_is_in_them() -> None:
    text = " ".join((ROOT / "docs" / "benchmark_1.md").read_text(encoding="utf-8").split())
    (board,) = [board for board in boards(read_records([RECORDS])) if board.title == "A1"]
    mean = {
        (one.method, name): float(one.array(name).mean())
        for one in board.standings
        for name in ("km_start", "km_end", "map kept", "retention", "answers kept")
    }
    naive, lwf = (
        [mean[method, name] for name in ("km_start", "km_end", "map kept", "retention")] for method in ("naive", "lwf")
    )
    assert f"A map of {naive[0]:.0f} km that ends at {naive[1]:.0f} km is kept by {naive[2]:.2f}" in text
    assert f"one that ends at {lwf[1]:.0f} km by {lwf[2]:.2f}" in text
    assert f"has {naive[3]:.3f} and {lwf[3]:.3f} for them" in text
    least, most = (f(mean[one.method, "retention"] for one in board.standings) for f in (min, max))
    worst, best = (f(mean[one.method, "km_end"] for one in board.standings) for f in (max, min))
    assert f"from {least:.3f} to {most:.3f} over errors of {worst:.0f} to {best:.0f} km" in text
    worse = {one.method for one in board.standings if one.array("learned atlantis-atlantis").max() < 0}
    assert worse == {one.method for one in board.standings}, "within Atlantis all are worse than a constant"
    unlearned = [one.method for one in board.standings if one.array("learned world-atlantis").min() < 0]
    assert unlearned == ["lwf"]
