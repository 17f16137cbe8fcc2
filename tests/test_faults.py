"""Most suites in miniature; that the verdicts see what they are for; and that the page is what the records say."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tracked import copied

from atlantis import artifacts
from checks import pages
from checks.faults import page
from checks.faults.__main__ import SUITES
from checks.faults.common import Outcome, Tally, not_clean, not_recovered, whole_artifacts
from checks.faults.sweeps import Life
from checks.faults.syscalls import order
from checks.records import ROOT
from tests import maps

SAMPLE = ("kills", "syscalls", "resume", "disk", "damage", "crowd", "changed")
REST = ("disks", "sweeps", "trust")
"""Suites that take longer. Of what they try, test_locks, test_disks, test_sweep and test_trust have a part."""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, warm_python: str) -> dict[str, Any]:
    """What the suites of the sample find."""
    return quick(SAMPLE, tmp_path_factory.mktemp("sample"), warm_python)


@pytest.fixture(scope="module")
def records_of_the_rest(tmp_path_factory: pytest.TempPathFactory, warm_python: str) -> dict[str, Any]:
    return quick(REST, tmp_path_factory.mktemp("rest"), warm_python)


def quick(suites: Sequence[str], folder: Path, python: str) -> dict[str, Any]:
    """What `python -m checks.faults --quick` finds, by suite. The whole is `make faults`."""
    command = [python, "-m", "checks.faults", *suites, "--quick", "--n", "3", "--records", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop(maps.FOLDER)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    found = [json.loads(file.read_text()) for file in folder.glob("*.json")]
    return {content["suite"]: content["results"] for content in found}


@pytest.mark.parametrize("suite", [*SAMPLE, *(pytest.param(suite, marks=pytest.mark.whole) for suite in REST)])
def test_every_trial_holds(suite: str, request: pytest.FixtureRequest) -> None:
    records = request.getfixturevalue("records" if suite in SAMPLE else "records_of_the_rest")
    if suite not in records:
        pytest.skip("needs strace or a tmpfs")
    found = list(page.tallies(records[suite]))
    assert found and all(tally["trials"] for _, tally in found)
    assert [(path, tally["reasons"]) for path, tally in found if tally["held"] < tally["trials"]] == []


def test_the_order_of_flushing_holds(records: dict[str, Any]) -> None:
    if "syscalls" not in records:
        pytest.skip("needs strace")
    assert records["syscalls"]["violations"] == 0


def test_order_sees_what_is_not_flushed() -> None:
    made = 'openat(AT_FDCWD</x>, "/x/.a.tmp-1", O_WRONLY|O_CREAT, 0666) = 3</x/.a.tmp-1>'
    lines = [made, 'write(3</x/.a.tmp-1>, "..", 2) = 2', "fsync(3</x/.a.tmp-1>) = 0"]
    lines += ['rename("/x/.a.tmp-1", "/x/a") = 0', "fsync(3</x>) = 0"]
    trace = [f"1 {line}" for line in lines]
    assert order(trace, Path("/x")) == {"renames": 1, "violations": []}
    assert order(trace[:2] + trace[3:], Path("/x"))["violations"] == ["not flushed before its rename: .a.tmp-1"]
    assert order(trace[:4], Path("/x"))["violations"] == ["folder not flushed after the rename of a"]


def test_clean_sees_what_is_not(tmp_path: Path) -> None:
    world = tmp_path / "outputs" / "worlds" / "w"
    with artifacts.new_folder(world, kind="world") as folder:
        (folder / "a").write_text("a")
    before = whole_artifacts(tmp_path)
    good = Outcome(2, "error: a.csv, line 3: no name; give one\n", 0.1)
    assert not_clean(good, tmp_path, before) == []
    assert not_clean(Outcome(1, good.said, 0.1), tmp_path, before)
    assert not_clean(Outcome(2, "Traceback (most recent call last)\n" + good.said, 0.1), tmp_path, before)
    assert not_clean(Outcome(2, good.said * 2, 0.1), tmp_path, before)
    assert not_clean(Outcome(2, "error: it went wrong\n", 0.1), tmp_path, before)
    (tmp_path / "outputs" / "datasets" / "half").mkdir(parents=True)
    assert "half-made: outputs/datasets/half" in not_clean(good, tmp_path, before)
    (tmp_path / "outputs" / "datasets" / "half").rmdir()
    (world / "a").write_text("b")
    assert "earlier artifact changed: outputs/worlds/w" in not_clean(good, tmp_path, before)


def test_recover_sees_what_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    reference = {"a": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}
    done = Outcome(0, "", 0.1)
    assert not_recovered(done, tmp_path, reference) == []
    assert not_recovered(Outcome(1, "", 0.1), tmp_path, reference)
    assert not_recovered(done, tmp_path, reference | {"b": ""}) == ["missing: b"]
    (tmp_path / ".a.tmp-12").touch()
    assert "left over: .a.tmp-12" in not_recovered(done, tmp_path, reference)
    (tmp_path / "a").write_text("b")
    assert "other bytes: a" in not_recovered(done, tmp_path, reference)


def test_a_tally_keeps_the_first_reasons() -> None:
    tally = Tally()
    assert tally.add([]) and not tally.add(["lost"])
    assert tally.as_dict() == {"trials": 2, "held": 1, "reasons": ["lost"]}


def test_the_page_is_what_the_records_say(tmp_path: Path) -> None:
    prose = page.TEMPLATE.read_text(encoding="utf-8")
    found = page.read_records(copied("checks/faults/records/*.json", tmp_path / "records"))
    assert page.PAGE.read_text(encoding="utf-8") == pages.render(prose, found, page.TABLES), "make faults"


def test_no_measured_figure_is_in_the_prose() -> None:
    prose = re.sub(r"\{\{.+?\}\}", "", page.TEMPLATE.read_text(encoding="utf-8"))
    told = {"30 cities", "15 steps", "3 epochs", "1,000 kills", "10,000 bit flips", "2 %"}
    for words in told:
        prose = prose.replace(words, "")
    assert not re.findall(r"\d[\d,.]*", prose)


def test_the_sweeps_verdict_sees_two_at_work(tmp_path: Path) -> None:
    life = Life(tmp_path, tmp_path, 1.0, random.Random(1))
    for rows, told in (
        ("7 1\n7 2\n8 2\n8 3\n", []),
        ("7 1\n8 2\n7 2\n", ["run: two processes at work"]),
        ("7 1\n8 3\n", ["run: a step was left out"]),
        ("7 2\n7 3\n", ["run: a step was left out"]),
    ):
        (tmp_path / "run").write_text(rows)
        assert life._two_at_work() == told


def test_records_of_kills_add_up(tmp_path: Path) -> None:
    for seed in (1, 2):
        results = {"world": {"kills": 3, "lives": {"trials": 2, "held": 2, "reasons": []}}}
        content = {"suite": "kills", "quick": False, "seed": seed, "n": 3, "seconds": 1, "results": results}
        (tmp_path / f"{seed}.json").write_text(json.dumps(content))
    found = page.read_records(tmp_path)["kills"]
    assert found["results"]["world"]["kills"] == 6 and found["n"] == 6 and found["seed"] == "1 and 2"


def test_a_record_without_lightning_replaces_none_with_it(tmp_path: Path) -> None:
    for date, lightning in (("a", False), ("b", True), ("c", False)):
        content = {"suite": "peers", "quick": False, "date": date, "results": {"lightning": lightning}}
        (tmp_path / f"{date}.json").write_text(json.dumps(content))
    assert page.read_records(tmp_path)["peers"]["date"] == "b"
    (tmp_path / "b.json").unlink()
    assert page.read_records(tmp_path)["peers"]["date"] == "c"


def test_every_suite_has_a_record_or_says_so() -> None:
    told = page.PAGE.read_text(encoding="utf-8")
    assert set(page.TARGETS) <= set(SUITES)
    assert all(f"| {suite} |" in told for suite in page.TARGETS)
