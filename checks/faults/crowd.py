"""Ten processes on one run folder, a lock that a killed process left, and a clock that is ten years off."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

from checks.faults.common import RUN, TRAIN, Options, Tally, command, copy, counted, fork, not_clean, not_recovered, run

TEN_YEARS_S = 10 * 365.25 * 86_400


def suite(lab: Path, options: Options) -> dict[str, Any]:
    reference = counted(lab / "done")
    rounds = 1 if options.quick else max(3, options.n // 100)
    return {
        "ten at once": _ten(lab / "new", reference, rounds),
        "stale lock": _stale(lab / "new", reference, rounds, random.Random(options.seed)),
        "clock": _clock(lab, reference),
    }


def _ten(start: Path, reference: dict[str, str], rounds: int) -> dict[str, Any]:
    """One works; nine are refused, in any order; the folder is that of one run."""
    tally, refused = Tally(), 0
    for _ in range(rounds):
        trial = copy(start, "trial")
        children = [fork(command(*TRAIN), trial) for _ in range(10)]
        outcomes = [child.wait() for child in children]
        worked = [outcome for outcome in outcomes if outcome.code == 0]
        others = [outcome for outcome in outcomes if outcome.code != 0]
        refused += len(others)
        reasons = [reason for outcome in others for reason in not_clean(outcome, trial, {})]
        reasons += not_recovered(worked[0], trial, reference) if worked else ["nobody worked"]
        reasons += [] if sum("nothing to train" not in outcome.said for outcome in worked) == 1 else ["several worked"]
        tally.add(reasons)
    return tally.as_dict() | {"refused": refused}


def _stale(start: Path, reference: dict[str, str], rounds: int, random_: random.Random) -> dict[str, Any]:
    """A run is killed while it holds its lock; the next command needs no unlocking."""
    tally = Tally()
    for _ in range(rounds):
        trial = copy(start, "trial")
        child = fork(command(*TRAIN), trial)
        while not (trial / RUN / ".lock").is_file() or not (trial / RUN / ".lock").read_text():
            time.sleep(0.002)
        time.sleep(random_.uniform(0, 0.2))
        child.kill()
        child.wait()
        tally.add(not_recovered(run(trial, *TRAIN), trial, reference))
    return tally.as_dict()


def _clock(lab: Path, reference: dict[str, str]) -> dict[str, Any]:
    """Every file is ten years older or younger than now, in the middle of a run."""
    from checks.faults.damage import stopped_run

    tally = Tally()
    for years_s in (-TEN_YEARS_S, TEN_YEARS_S):
        trial = stopped_run(lab)
        for file in [trial, *trial.rglob("*")]:
            os.utime(file, (time.time() + years_s, time.time() + years_s))
        tally.add(not_recovered(run(trial, *TRAIN), trial, reference))
        shutil.rmtree(trial)
    return tally.as_dict()
