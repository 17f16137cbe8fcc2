"""Wrong input, in miniature: every sixteenth case by hand, a few generated; and that the suite sees a failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tracked import tracked

from checks.faults.cases import cities, configs, requests
from checks.faults.sandbox import Case, Forbidden, Guard, Verdict, _problem
from tests import maps

ROOT = Path(__file__).parents[1]


def quick(suite: str, records: Path, *options: str) -> dict[str, dict[str, int]]:
    """The counts of a suite's quick slice, which runs in processes of its own."""
    command = [sys.executable, "-m", "checks.faults", suite, "--quick", "--records", str(records), *options]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": paths}
    environment.pop(maps.FOLDER)  # the sandbox lets no case write there
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = records.glob("*.json")
    return json.loads(record.read_text())["results"]["suites"]


@pytest.mark.usefixtures("warm")
def test_wrong_input_is_refused_or_means_what_it_says(tmp_path: Path) -> None:
    found = quick("inputs", tmp_path, "--n", "3")
    assert sum(counts["n"] for counts in found.values()) >= 50
    assert all(counts["failed"] == 0 for counts in found.values())
    assert found["generated csv"]["n"] == 12


def test_there_are_enough_cases() -> None:
    names = [case.name for found in (cities, configs, requests) for case in found.cases()]
    assert len(names) >= 300 and len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("code", "said", "after", "problem"),
    [
        (2, "error: a.csv, line 2: wrong\n", {"a": "1"}, ""),
        (0, "", {"a": "1"}, "exit code 0, though"),
        (1, "error: unexpected KeyError: x\n", {"a": "1"}, "nobody foresaw"),
        (2, "Traceback (most recent call last)\n", {"a": "1"}, "nobody foresaw"),
        (2, "error: something else\n", {"a": "1"}, "does not say"),
        (2, "error: a.csv, line 2: \x1b[2J\n", {"a": "1"}, "control characters"),
        (2, "warning\nerror: a.csv, line 2\n", {"a": "1"}, "not one message"),
        (2, "error: a.csv, line 2\n", {"a": "2"}, "changed a"),
        (2, "error: a.csv, line 2\n", {"a": "1", "w": "new"}, "changed w"),
        (2, "error: a.csv, line 2\n", {}, "changed a"),
    ],
)
def test_the_verdict(code: int, said: str, after: dict[str, str], problem: str) -> None:
    case = Case("x", lambda scene: [], says="line 2")
    found = _problem(case, code, "", said, {"a": "1"}, after)
    assert (problem in found) if problem else found == ""


def test_the_guard(tmp_path: Path) -> None:
    guard = Guard(tmp_path / "scene", [])
    guard.hook("os.system", (b"ls",))  # not on yet
    guard.on = True
    (tmp_path / "scene").mkdir()
    (tmp_path / "scene" / "link").symlink_to(tmp_path)
    for event, arguments in (
        ("pickle.find_class", ("os", "system")),
        ("os.system", (b"ls",)),
        ("subprocess.Popen", ("ls", ["ls"], None, None)),
        ("socket.connect", (None, ("localhost", 9))),
        ("open", (str(tmp_path / "x"), "w", os.O_WRONLY)),
        ("open", (str(tmp_path / "scene" / "link" / "x"), "w", os.O_WRONLY)),
        ("os.remove", (str(tmp_path / "x"), -1)),
        ("os.rename", (str(tmp_path / "scene" / "x"), str(tmp_path / "x"), -1, -1)),
    ):
        with pytest.raises(Forbidden):
            guard.hook(event, arguments)
    guard.hook("open", (str(tmp_path / "scene" / "x"), "w", os.O_WRONLY))
    guard.hook("open", (str(tmp_path / "x"), "r", os.O_RDONLY))
    guard.hook("os.remove", (str(tmp_path / "scene" / "link"), -1))
    assert len(guard.seen) == 8


@pytest.mark.parametrize("suite", ["inputs", "hostile"])
def test_the_newest_record_has_no_failure(suite: str) -> None:
    newest = max(tracked(f"checks/faults/records/*_{suite}.json"))
    found = json.loads(newest.read_text())
    assert not found["quick"]
    assert all(counts["failed"] == 0 for counts in found["results"]["suites"].values())
    generated = sum(counts["n"] for name, counts in found["results"]["suites"].items() if "generated" in name)
    assert generated == (found["n"] if suite == "inputs" else 0)


def test_a_verdict_is_data() -> None:
    assert Verdict(**json.loads(json.dumps(vars(Verdict("a", "clean", "", 0.1))))) == Verdict("a", "clean", "", 0.1)
