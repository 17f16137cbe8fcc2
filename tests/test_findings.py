"""docs/findings.md and docs/findings_1.md: every figure comes from a record, and what has none is said or refused."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tracked import tracked

from atlantis.bench.continual import SequenceErrors
from atlantis.bench.methods import METHODS
from atlantis.bench.record import BenchRecord, Trial, read_records, write_record
from atlantis.bench.scenarios import SEQUENCE
from atlantis.bench.scores import FirstScores
from atlantis.errors import UserError
from atlantis.report.tables import ABSENT
from scripts.findings import PROSE, page
from scripts.findings_text import COMPARED, ERRORS, OF_CASES, PLACE, figures, findings, picture_name

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "experiments" / "2026-11-24_benchmark" / "records"
SCRIPT = "scripts.findings"
FIRST = PROSE[1].read_text(encoding="utf-8")


def planted(
    scenario: str, method: str, seed: int, scores: tuple[float, float, float] | None, **more: Any
) -> BenchRecord:
    found = None if scores is None else dict(zip(FirstScores.model_fields, scores, strict=True))
    km = {"start": 100.0, "end": 1000.0 + 100 * seed, "untrained": 6000.0}
    numbers = {f"km_{name}": value for name, value in km.items()} | {"skill_start": 0.9, "skill_end": 0.8}
    numbers |= {"task_km": {"all": 400.0, "world-world": 300.0, "world-atlantis": 500.0, "atlantis-atlantis": 450.0}}
    numbers |= {"constant_km": {"world-atlantis": 2000.0, "atlantis-atlantis": 300.0 + seed}, "ratio": {}}
    numbers |= {"damage": {"lost": 0.1, "bent": 0.2, "turned": 0.3}}
    given = {"tier": "cpu", "scenario": scenario, "variant": "", "repeat": 0, "method": method, "seed": seed}
    given |= {"needs": METHODS[method].needs, "setting": "x", "value": 1.0, "trials": [], "strategy": []}
    given |= {"command": "c", "config_digest": "d", "scores": found, "numbers": numbers if found else None}
    given |= {"device": {"name": "CPU", "precision": "fp32"}, "versions": {"torch": "2.0"}}
    return BenchRecord.model_validate(given | {"error": None if found else "it\nbroke"} | more)


@pytest.fixture(scope="module")
def whole() -> list[BenchRecord]:
    """A record of every attempt of the first protocol's cpu tier, with made-up scores that differ everywhere."""
    records = []
    for i, attempt in enumerate(read_records([RECORDS])):
        measures = ("average_skill", "forgetting", "backward_transfer", "forward_transfer")
        more: dict[str, Any] = {"variant": attempt.variant, "repeat": attempt.repeat}
        more |= {"continual": dict.fromkeys(measures, i / 1000)} if attempt.variant == SEQUENCE else {}
        records.append(planted(attempt.scenario, attempt.method, attempt.seed, (0.5 + i / 1000, 0.4, 0.3), **more))
    return records


def student_t(values: Any, centre: float | None = None) -> np.ndarray:
    """The ends of a 95 % interval around the mean, or around `centre`."""
    x = np.asarray(values, dtype=float)
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return (x.mean() if centre is None else centre) + half * np.array([-1, 1])


SEQUENCE_OF_ONE = SequenceErrors(names=["real", "Atlantis"], km=[[1.0, 2.0], [1.0, 2.0]], chance_km=[3.0, 3.0])


def three(scenario: str, method: str, *firsts: float, **more: Any) -> list[BenchRecord]:
    return [planted(scenario, method, seed, (first, 0.5, 0.5), **more) for seed, first in enumerate(firsts)]


def test_older_records_do_not_tell_a_turn_from_a_shift() -> None:
    """Their `turned` has the shift in it: it is quoted as both together, and never as the turn alone."""
    older = three("A0", "naive", 0.2, 0.4, 0.6)
    newer = [record.model_copy(deep=True) for record in older]
    for record in newer:
        assert record.numbers is not None
        record.numbers.damage.update(turned=0.1, shifted=0.2)
    for records, turned in ((older, None), (newer, "0.100")):
        both, missing = findings("{{mean|A0/naive|turned or shifted}}", records)
        assert both == "0.300" and not missing
        text, missing = findings("{{mean|A0/naive|turned}}", records)
        assert (text == turned) if turned else missing


def test_numbers_are_means_over_seeds_and_differences_are_paired() -> None:
    records = three("A0", "naive", 0.2, 0.4, 0.6) + three("A0", "replay", 0.3, 0.5, 0.5)
    text, missing = findings("{{mean|A0/naive|retention}}; {{less|A0/replay|A0/naive|retention}}", records)
    low, high = student_t(np.log([0.2 / 0.8, 0.4 / 0.6, 0.6 / 0.4]), np.log(0.4 / 0.6))
    low, high = (1 / (1 + np.exp(-end)) for end in (low, high))
    ends = student_t([0.1, 0.1, -0.1])
    expected = f"0.400 ({low:.3f} to {high:.3f}); +0.033 ({ends[0]:+.3f} to {ends[1]:+.3f}; not shown)"
    assert text == expected and not missing
    text, _ = findings("{{higher|A0/replay|A0/naive|retention}}, {{mean|A0/naive|km_end}}", records)
    low, high = np.exp(student_t(np.log([1000, 1100, 1200]), np.log(1100)))
    assert text == f"2 of 3 seeds, 1,100 ({low:,.0f} to {high:,.0f}) km"
    same = findings("{{mean|A0/naive|lost}} {{mean|A0/naive|task all}}", records)[0]
    assert same == "0.100 400 km", "seeds that are all alike have no interval"
    text, _ = findings("{{less|A0/naive|A0/replay|km_end}} {{positive|A0/naive|learned atlantis-atlantis}}", records)
    assert text == "+0 km 0 of 3 seeds"


def test_a_difference_is_shown_only_where_its_interval_lacks_0() -> None:
    records = three("A0", "naive", 0.2, 0.3, 0.4) + three("A0", "replay", 0.5, 0.61, 0.7)
    assert "not shown" not in findings("{{less|A0/replay|A0/naive|retention}}", records)[0]
    two = [record for record in records if record.seed != 2]
    assert findings("{{less|A0/replay|A0/naive|retention}}", two)[0] == "+0.305", "two seeds have no interval"


def test_the_interval_of_a_difference_of_scores_stays_within_1() -> None:
    records = three("A0", "naive", 0.02, 0.03, 0.3) + three("A0", "replay", 0.98, 0.99, 0.97)
    ends = student_t([0.96, 0.96, 0.67])
    assert ends[1] > 1
    text, _ = findings("{{less|A0/replay|A0/naive|retention}} {{less|A0/naive|A0/replay|retention}}", records)
    assert text == f"+0.863 ({ends[0]:+.3f} to +1.000) -0.863 (-1.000 to {-ends[0]:+.3f})"


def test_a_rate_is_that_of_the_trials() -> None:
    records = three("A1", "naive", 0.2, 0.3, setting="learning_rate", value=2.0)
    records += three("A1", "ewc", 0.2, 0.3, setting="weight", value=20.0)
    assert findings("{{rate|A1/naive}} {{rate|A1/ewc}}", records)[0] == "x 2 x 1"
    assert findings("{{rate|A1/replay}}", records)[1] == ["A1/replay, rate: atlantis bench --tier cpu --only A1/replay"]


def test_seeds_that_one_of_two_rows_lacks_do_not_count() -> None:
    records = three("A0", "naive", 0.2, 0.4, 0.6) + three("A1", "naive", 0.1, 0.9)
    text, missing = findings("{{higher|A1/naive|A0/naive|retention}}", records)
    assert text == "1 of 2 seeds"
    assert missing == ["A1/naive, seed 2: atlantis bench --tier cpu --only A1/naive"]
    few = three("A4", "naive", 0.1, 0.9, 0.5) + three("A1", "naive", 0.1, 0.9, 0.5, 0.4)
    assert not findings("{{mean|A4/naive|retention}}", few)[1], "the tier has three seeds there"
    assert findings("{{mean|A4/naive|retention}}", few[1:])[1] == [
        "A4/naive, seed 0: atlantis bench --tier cpu --only A4/naive"
    ]
    records += [planted("A1", "naive", 2, None)]
    text, missing = findings("{{higher|A1/naive|A0/naive|retention}}", records)
    assert text == "1 of 2 seeds" and not missing, "a failure has a record"
    text, _ = findings("{{failures}}", records)
    assert text == "- A1_naive_seed2: it broke"


def cells(text: str) -> list[list[str]]:
    """The rows of a Markdown table, its header first."""
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines()]
    return [rows[0], *rows[2:]]


def test_a_table_of_differences_has_a_reference_and_what_others_differ_from_it_by() -> None:
    records = read_records(tracked("experiments/*_benchmark_2/records/*.json"))
    asked = "{{differences|A1|naive|distill,joint}}"
    _, *rows = cells(findings(asked, records)[0])
    assert [row[0] for row in rows] == ["`naive`", "`distill`", "`joint`"]
    for i, quantity in enumerate(COMPARED, start=1):
        first, *others = (row[i] for row in rows)
        assert first == findings(f"{{{{mean|A1/naive|{quantity}}}}}", records)[0]
        for method, cell in zip(("distill", "joint"), others, strict=True):
            assert cell == findings(f"{{{{less|A1/{method}|A1/naive|{quantity}}}}}", records)[0]
    assert [row[-1] for row in rows] == [
        findings(f"{{{{seconds|A1/{m}}}}}", records)[0] for m in ("naive", "distill", "joint")
    ]
    assert findings(asked, [r for r in records if r.method != "joint"])[0].startswith("*not run*: `atlantis bench")


def test_a_table_of_errors_has_a_row_per_method_or_case_and_names_what_was_not_run() -> None:
    records = read_records(tracked("experiments/*_benchmark_2/records/*.json"))
    _, base, constant, *rows = cells(findings("{{errors|A1|naive,distill}}", records)[0])
    assert base[0] == "the base" and base[2:4] == [ABSENT, ABSENT] and constant[0] == "one answer to everything"
    for cell, quantity in ((base[1], "task world-world at the start"), (base[4], "km_start")):
        assert cell == findings(f"{{{{mean|A1/naive|{quantity}}}}}", records)[0]
    for method, (label, *row) in zip(("naive", "distill"), rows, strict=True):
        assert label == f"`{method}`"
        assert row == [findings(f"{{{{mean|A1/{method}|{quantity}}}}}", records)[0] for quantity in ERRORS]
    _, case = cells(findings("{{cases|naive|A1}}", records)[0])
    assert case == ["A1", *(findings(f"{{{{mean|A1/naive|{quantity}}}}}", records)[0] for quantity in OF_CASES)]
    text, missing = findings("{{cases|naive|A1; A3, nowhere}}", records)
    assert missing and text == "*not run*: `atlantis bench --tier cpu --only A3/naive`"


def test_what_trials_tried_and_chose() -> None:
    tried = [Trial(value=0.1, volume=0.25, volumes=[0.25]), Trial(value=3, volume=None, volumes=[None], error="full")]
    records = three("A1", "distill", 0.2, 0.3, setting="weight", value=0.1, trials=tried)
    assert findings("{{strength|A1/distill}}; {{trials|A1/distill}}", records)[0] == "0.1; 0.1: 0.250, 3: failed"


def test_orders_of_a_seed_are_averaged() -> None:
    given: dict[str, Any] = {"variant": SEQUENCE}
    measures = ("average_skill", "forgetting", "backward_transfer", "forward_transfer")
    records = [
        planted("A3", "naive", 1, (0.5, 0.5, 0.5), repeat=k, continual=dict.fromkeys(measures, value), **given)
        for k, value in enumerate((0.1, 0.2, 0.6))
    ]
    assert findings("{{mean|A3, in sequence/naive|retention}}", records)[0] == "0.500"
    records = [record.model_copy(update={"sequence": SEQUENCE_OF_ONE}) for record in records]
    assert findings("{{mean|A3, in sequence/naive|forgetting}}", records)[0] == "0.300"


def test_who_is_below_naive_in_every_seed() -> None:
    records = three("A1", "naive", 0.2, 0.4, 0.6) + three("A1", "ewc", 0.1, 0.3, 0.5)
    records += three("A1", "l2sp", 0.1, 0.3, 0.7)
    assert findings("{{below|A1}}", records)[0] == "`ewc`"
    assert findings("{{below|A1}}", records[:3])[0] == "none"


def test_what_has_no_record_is_said_with_its_command() -> None:
    records = three("A0", "naive", 0.2, 0.4, 0.6)
    for place, command in (
        ("{{mean|A0/replay|retention}}", "A0/replay"),
        ("{{less|A0/naive|A5, batch 512/naive|retention}}", "A5/naive"),
        ("{{table|A4}}", "A4"),
        ("{{budgets|volume}}", "A2"),
        ("{{figure|A4+A6|caption}}", "A6"),
        ("{{mean|A0/naive|forgetting}}", "A0/naive"),
        ("{{firm|A4}}", "A4"),
        ("{{power|A4}}", "A4"),
        ("{{unbeaten|A5, batch 512}}", "A5"),
        ("{{tuned|A4}}", "A4"),
        ("{{noise|A4|replay}}", "A4"),
    ):
        text, missing = findings(f"Before.\n\nHere {place}, and more.\n\nAfter.", records)
        assert re.fullmatch(r"Before\.\n\n\*not run\*: `[^\n]*`\n\nAfter\.", text) and f"--only {command}`" in text, (
            place
        )
        assert missing[-1].endswith(f": atlantis bench --tier cpu --only {command}"), place


@pytest.mark.parametrize("wrong", ["{{meen|A0/naive|retention}}", "{{mean|A0/naive}}", "{{mean|A0/naive|height}}"])
def test_a_place_that_means_nothing_is_an_error(wrong: str) -> None:
    with pytest.raises(UserError, match=r"no such place|no quantity"):
        findings(wrong, three("A0", "naive", 0.2))


def test_records_of_two_tiers_are_not_mixed() -> None:
    with pytest.raises(UserError, match="and these records are of cpu, gpu"):
        findings("", [planted("A0", "naive", 1, (1, 1, 1)), planted("A0", "naive", 1, (1, 1, 1), tier="gpu")])
    with pytest.raises(UserError, match=r"of one tier .smoke, cpu, gpu., and these records are of mine"):
        findings("", three("A0", "naive", 0.2, tier="mine"))


# the prose


def test_the_prose_asks_for_what_the_cpu_tier_has(whole: list[BenchRecord]) -> None:
    text, missing = findings(FIRST, whole)
    assert not missing and "{{" not in text and "not run" not in text and not re.search(r"\bnan\b", text)
    assert set(re.findall(r"images/(\S+\.png)", text)) == {picture_name(asked) for asked in figures(FIRST)}
    for scenario in ("A0", "A1", "A2", "A3", "A4", "A5", "A6", "A7"):
        assert f"`atlantis bench --tier cpu --only {scenario}`" in text


def test_every_record_is_asked_for(whole: list[BenchRecord]) -> None:
    """Of whatever is left out, the page says so."""
    for scenario in ("A0", "A3", "A5", "A7"):
        left = [record for record in whole if record.scenario != scenario]
        _, missing = findings(FIRST, left)
        assert missing and all(line.split("--only ")[1].startswith(scenario) for line in missing)


@pytest.mark.parametrize("protocol", PROSE)
def test_no_figure_in_the_prose_is_typed_by_hand(protocol: int) -> None:
    text = PROSE[protocol].read_text(encoding="utf-8")
    text = re.sub(r"<!--.*?-->|`[^`]*`|\(\w+\.md[^)]*\)", "", PLACE.sub("", text), flags=re.S)
    text = re.sub(r"\b(A\d|L2-SP)\b", "", text)
    assert set(re.findall(r"\d[\d.,]*\d|\d", text)) <= {"0", "1", "95"}, "the ends of a score, and what an interval is"


# the script


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)


@pytest.mark.usefixtures("warm")
def test_the_script_writes_page_and_pictures_twice_the_same(whole: list[BenchRecord], tmp_path: Path) -> None:
    for record in whole:
        write_record(tmp_path / "records", record)
    written = []
    for name in ("one", "two"):
        done = run_script(str(tmp_path / "records"), "-o", str(tmp_path / name / "findings.md"))
        assert done.returncode == 0, done.stderr
        written.append({p.name: p.read_bytes() for p in (tmp_path / name).rglob("*.*")})
    assert written[0] == written[1]
    pictures = {name for name in written[0] if name.endswith(".png")}
    assert pictures == {picture_name(asked) for asked in figures(FIRST)}
    assert all(written[0][name].startswith(b"\x89PNG") for name in pictures)


@pytest.mark.usefixtures("warm")
def test_the_script_refuses_a_page_with_holes_unless_it_is_a_draft(whole: list[BenchRecord], tmp_path: Path) -> None:
    for record in whole:
        if record.scenario != "A5":
            write_record(tmp_path / "records", record)
    page = tmp_path / "findings.md"
    done = run_script(str(tmp_path / "records"), "-o", str(page))
    assert done.returncode == 2 and not page.exists() and "--only A5" in done.stderr
    done = run_script(str(tmp_path / "records"), "-o", str(page), "--draft")
    assert done.returncode == 0 and "not run" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(("records", "name"), [("benchmark", "findings_1"), ("benchmark_2", "findings")])
def test_the_page_in_docs_is_that_of_the_committed_records(records: str, name: str) -> None:
    text, missing = page(read_records(tracked(f"experiments/*_{records}/records/*.json")))
    assert not missing
    assert (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") == text, f"run {SCRIPT} again"
