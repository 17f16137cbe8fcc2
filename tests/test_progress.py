"""What long work says where there is no terminal: lines now and then, and the time left."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from atlantis import progress
from atlantis.progress import bar, duration
from atlantis.settings import RunConfig
from atlantis.training import train
from atlantis.training.pace import Pace
from atlantis.training.run import RunFolder


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "under a minute"),
        (65, "about 1 minute"),
        (59.4 * 60, "about 59 minutes"),
        (3660, "about 1 h 1 min"),
        (200_000, "about 2 days 7 h"),
    ],
)
def test_a_time_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_bar_without_a_terminal_is_a_line_every_few_minutes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with bar("reading", 1000, done=100) as lines:
        for _ in range(10):
            now += 31.0
            lines.advance(note="file a")
    assert capsys.readouterr().err == "reading: 110 of 1,000, file a, about 7 h 40 min left\n"


def test_a_run_in_a_log_says_where_it_is_at_every_evaluation(
    small_config: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = small_config.evaluation.model_copy(update={"probe": False})
    run = train(small_config.model_copy(update={"name": "logged", "evaluation": evaluation}))
    lines = capsys.readouterr().err.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{run}: training 20 steps on "))
    assert re.search(r"on \S.*, \d+ threads?$", lines[start])
    told = [line for line in lines[start:] if line.startswith("logged: step ")]
    evaluations = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [(row["step"], row["loss"]) for row in evaluations if row["kind"] == "eval"]
    assert [re.sub(r", loss \S+,", ",", line).split(", under")[0] for line in told] == [
        f"logged: step {step} of 20, validation loss {loss:.3f}" for step, loss in losses
    ]
    assert told[0].endswith(f"validation loss {losses[0][1]:.3f}") and "left" not in told[-1]
    assert "under a minute left" in told[2] and re.search(r"of 20, loss \d\.\d{3}, validation", told[1])
    assert any(line.startswith("logged: under a minute to go, until ") for line in lines[start:])


def test_the_time_left_counts_steps_and_evaluations(small_config: RunConfig, tmp_path: Path) -> None:
    pace = Pace(RunFolder(tmp_path / "none", small_config, resume=False), [0, 50, 100], 0, 100)
    assert pace.left_s(0) is None
    pace.took(1, 1000.0)  # the first one compiles
    assert pace.left_s(1) is None
    pace.took(9, 18.0)
    pace._evaluations, pace._evaluations_s = 1, 7.0
    assert pace.left_s(10) == 90 * 2.0 + 2 * 7.0
    assert pace.left_s(50) == 50 * 2.0 + 7.0
    assert pace.left_s(100) == 0.0
