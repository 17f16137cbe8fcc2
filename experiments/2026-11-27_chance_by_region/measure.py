"""Where the benchmark's scales begin: an untrained model's error in each ocean, and the shipped bases' own answers.

    python experiments/2026-11-27_chance_by_region/measure.py

Writes record.json beside this file, and what the benchmark reads of it to src/atlantis/bench/chance.json.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from atlantis.artifacts import write_text
from atlantis.bench import scenarios
from atlantis.bench.chance import constant_km, untrained_km
from atlantis.bench.tiers import SHIPPED_CITY, TIERS, WARM_START
from atlantis.readout.generate import answers
from atlantis.settings import RunConfig
from atlantis.tasks.score import by_slice, score
from atlantis.training.assemble import new_engine
from atlantis.training.inputs import load_inputs
from atlantis.training.loop import load_base
from atlantis.world import World

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGED = ROOT / "src" / "atlantis" / "bench" / "chance.json"
MODEL_SEEDS = range(42, 52)


def chance(world: World, run: RunConfig) -> dict[str, Any]:
    """By region: the constant answer's error, and an untrained model's with each seed of its weights."""
    by_seed = {seed: untrained_km(ROOT / WARM_START, world, run.probe, seed) for seed in MODEL_SEEDS}
    constant = constant_km(world)
    return {
        name: {"constant_km": constant[name], "untrained_km": {str(s): km[name] for s, km in by_seed.items()}}
        for name in constant
    }


def old_answers(run: RunConfig) -> dict[str, float | None]:
    """The base's mean error in km, by slice, on the items that a run is evaluated on, before its first step."""
    base = load_base(run, resume=False)
    inputs = load_inputs(run, World.from_config(run.world), base)
    model = new_engine(run, inputs, base, 1).model
    scores = score(answers(model, inputs.vocabulary, inputs.items), inputs.items)
    return {name: of_slice["mean_km"] for name, of_slice in by_slice(scores).items()}


def main() -> None:
    tier = TIERS["cpu"]
    with tempfile.TemporaryDirectory() as folder:
        setup = tier.setup(Path(folder))
        oceans = {}
        of_bases: dict[str, dict[str, dict[str, float | None]]] = {WARM_START: {}, SHIPPED_CITY: {}}
        for seed in tier.seeds:
            at_once = next(t for t in scenarios.a3(setup, seed) if t.variant == scenarios.AT_ONCE).runs[0]
            oceans[str(seed)] = chance(World.from_config(at_once.world), at_once)
            for task in (*scenarios.a1(setup, seed), *scenarios.a7(setup, seed)):
                of_bases[str(task.runs[0].base)][str(seed)] = old_answers(task.runs[0])
    record = {"chance": oceans, "answers_km": of_bases}
    write_text(HERE / "record.json", json.dumps(rounded(record), indent=1) + "\n")
    write_text(PACKAGED, json.dumps(rounded(summary(record)), indent=1) + "\n")


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """What the benchmark reads: by the seed that the new cities are drawn with, means over the untrained models."""
    untrained = {
        seed: {name: float(np.mean(list(found["untrained_km"].values()))) for name, found in regions.items()}
        for seed, regions in record["chance"].items()
    }
    old = {
        base: float(np.mean([of_seed["world-world"] for of_seed in by_seed.values()]))
        for base, by_seed in record["answers_km"].items()
    }
    return {"untrained_km": untrained, "old_answers_km": old}


def rounded(value: Any) -> Any:
    """Numbers with seven significant digits, wherever they stand."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return float(f"{value:.7g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
