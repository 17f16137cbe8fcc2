"""Wrong input of every kind: each is refused CLEAN, before anything is computed, or means what it says.

By hand: configs and overrides, city CSVs, impossible requests; a sample of them once more by a new interpreter each.
Generated: `options.n` CSV, YAML and JSON files. In the generated worlds the map is not drawn, which no input has a part
in but by its numbers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from checks.faults import generate, sandbox, scene
from checks.faults.cases import cities, configs, requests
from checks.faults.common import Options
from checks.faults.sandbox import Case, Verdict

BY_HAND = {"configs": configs.cases, "city CSVs": cities.cases, "requests": requests.cases}
SHARES = {"csv": 0.4, "yaml": 0.35, "json": 0.25}
BATCH = 500
SAMPLE = 150


def suite(lab: Path, options: Options) -> dict[str, Any]:
    """The counts; `lab` plays no part here."""
    with tempfile.TemporaryDirectory(prefix="inputs-") as folder:
        template = prepared(Path(folder))
        results = {name: counts(by_hand(found(), options.quick, template)) for name, found in BY_HAND.items()}
        if not options.quick:
            results["new interpreters"] = counts(sampled(template))
        for kind, share in SHARES.items():
            results[f"generated {kind}"] = counts(generated(kind, round(share * options.n), options.seed, template))
    return {"no_network": sandbox.NO_NETWORK, "suites": results}


def prepared(folder: Path) -> Path:
    """A new scene, made in a process that has left the network if it can."""
    scene.imported()
    sandbox.NO_NETWORK = sandbox.without_network()
    scene.build(folder / "template")
    with open(folder / scene.GIGABYTE, "wb") as file:
        file.write(b"name,lat,lon\n")
        file.truncate(1 << 30)
    return folder / "template"


def by_hand(cases: Sequence[Case], quick: bool, template: Path) -> list[Verdict]:
    """All cases, or every sixteenth."""
    return sandbox.run_cases(cases[:: 16 if quick else 1], template, template.parent / "box")


def sampled(template: Path, n: int = SAMPLE) -> list[Verdict]:
    """n of all cases by hand, evenly spread, as `python -m atlantis`. No command line can hold a zero byte."""
    every = [case for found in BY_HAND.values() for case in found() if "zero byte" not in case.name]
    spread = [every[k * len(every) // n] for k in range(n)]
    return sandbox.run_cases(spread, template, template.parent / "box", sandbox.interpreted)


def generated(kind: str, n: int, seed: int, template: Path) -> list[Verdict]:
    """Verdicts on n generated files, in batches, each in a process of its own."""
    import atlantis.world.card

    atlantis.world.card.draw = lambda world, path: path.write_bytes(b"")
    verdicts: list[Verdict] = []
    for number in range(-(-n // BATCH)):
        asked = min(BATCH, n - number * BATCH)
        found = sandbox.in_child(
            generate.batch(kind, asked, 1000 * seed + number, template), template, template.parent / "box", fresh=False
        )
        verdicts += found
        if len(found) < asked:
            missing = Verdict(f"generated {kind}", "failed", f"{len(found)} of {asked} cases: killed", 0.0)
            verdicts += [missing] if sandbox.killed else []
    return verdicts


def counts(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """What a record holds of a suite: how many of each outcome, the slowest, and all that failed."""
    failed = [f"{verdict.name}: {verdict.problem}" for verdict in verdicts if verdict.outcome == "failed"]
    return {
        "n": len(verdicts),
        "clean": sum(verdict.outcome == "clean" for verdict in verdicts),
        "done": sum(verdict.outcome == "done" for verdict in verdicts),
        "failed": len(failed),
        "slowest_s": round(max((verdict.seconds for verdict in verdicts), default=0.0), 2),
        "failures": failed[:20],
    }
