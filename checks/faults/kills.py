"""SIGKILL at random moments, again and again: of building data, training, probing and reporting.

Each life is one command that is killed up to a few times and then left to end. A kill is drawn evenly over the time
that the command takes when nobody disturbs it; one that comes after the end is not counted.
"""

from __future__ import annotations

import random
import re
import shutil
import time
from pathlib import Path
from typing import Any

from checks.faults.common import RUN, TRAIN, Options, Outcome, Tally, command, copy, counted, fork, not_recovered, run

KILLS_PER_LIFE = 6
WORLD, DATA = "outputs/worlds/mine", "outputs/datasets/mine"
DATA_SIZES = ("--n-train", "60000", "--n-val", "16", "--n-test", "16", "--inter-ratio", "0.0")
SHARES = {"world": 0.1, "dataset": 0.2, "training": 0.5, "probing": 0.15, "reporting": 0.05}


def suite(lab: Path, options: Options) -> dict[str, Any]:
    jobs, random_ = _jobs(lab, options.quick), random.Random(options.seed)
    results = {}
    for name, (start, arguments) in jobs.items():
        n = max(1 if options.quick else 5, round(options.n * SHARES[name]))
        results[name] = _job(start, arguments, n, random_)
    return results


def _jobs(lab: Path, quick: bool) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """For each kind of work: the folder in which it begins, and its command. `quick`: training alone."""
    new, done = lab / "new", lab / "done"
    prepared = copy(done, "prepared")  # the world and the dataset are there: they are killed on their own
    shutil.rmtree(prepared / RUN)
    if quick:
        return {"training": (prepared, TRAIN)}
    with_world = copy(new, "with_world")
    assert run(with_world, "world", "build", "--out", WORLD).code == 0
    probed = copy(done, "probed")
    outcome = run(probed, "probe", RUN)
    assert outcome.code == 0, outcome.said
    return {
        "world": (new, ("world", "build", "--cities", "cities.csv", "--out", WORLD)),
        "dataset": (with_world, ("data", "cross", "--world", WORLD, "--out", DATA, *DATA_SIZES)),
        "training": (prepared, TRAIN),
        "probing": (done, ("probe", str(RUN))),
        "reporting": (probed, ("report", str(RUN))),
    }


def _job(start: Path, arguments: tuple[str, ...], n: int, random_: random.Random) -> dict[str, Any]:
    whole = copy(start, "whole")
    outcome = run(whole, *arguments)
    assert outcome.code == 0, outcome.said
    reference, usual_s = counted(whole), outcome.seconds
    lives, kills, places = Tally(), 0, dict[str, int]()
    while kills < n:
        trial = copy(start, "trial")
        outcome, new_kills = _life(trial, arguments, usual_s, min(n - kills, KILLS_PER_LIFE), random_, places)
        kills += new_kills
        lives.add(not_recovered(outcome, trial, reference))
    shutil.rmtree(whole)
    return {"kills": kills, "lives": lives.as_dict(), "found on disk after a kill": places}


def _life(
    trial: Path, arguments: tuple[str, ...], usual_s: float, most: int, random_: random.Random, places: dict[str, int]
) -> tuple[Outcome, int]:
    """Kill the command up to `most` times, then let it end; the last outcome and the number of kills that hit."""
    kills = 0
    for _ in range(random_.randint(1, most)):
        child = fork(command(*arguments), trial)
        time.sleep(random_.uniform(0, usual_s))
        child.kill()
        outcome = child.wait()
        if outcome.code != -9:  # it had ended before
            return (outcome if outcome.code else run(trial, *arguments)), kills
        kills += 1
        place = _place(trial)
        places[place] = places.get(place, 0) + 1
    return run(trial, *arguments), kills


def _place(trial: Path) -> str:
    """What a kill interrupted, as far as the disk tells."""
    from atlantis.artifacts import LEFTOVER

    found = [re.sub(r"\d+", "N", match[1]) for file in trial.rglob(".*") if (match := LEFTOVER.fullmatch(file.name))]
    return f"half-made {found[0]}" if found else "nothing half-made"
