"""What each strategy costs: its steps and its memory beside those of the naive run, and what it does before step 0.

The run is the study's cross fine-tune on the shipped base (with one token per city for strategies that are for those),
with each strategy's default settings. It takes turns with a naive run, both in processes of their own; world and
datasets are there already.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from atlantis import config as configs
from atlantis import train
from atlantis.bench.tiers import SHIPPED_CITY
from atlantis.settings import RunConfig
from atlantis.strategies.registry import find, known
from atlantis.training.assemble import new_engine
from atlantis.training.inputs import load_inputs
from atlantis.training.loop import load_base
from atlantis.training.order import Order
from atlantis.world import World
from checks.benchmarks.common import ROOT, Lap, Options, five_digits, race, ratio, summary

CONFIG = ROOT / "src" / "atlantis" / "configs" / "atlantis_cross_finetune.yaml"
BASE_CONFIG = ROOT / "src" / "atlantis" / "configs" / "dist_100k_1M_20epochs.yaml"
CITY_VOCABULARY = {"tokenizer": {"kind": "city"}, "base": SHIPPED_CITY}
"""What is changed, in the naive run too, for a strategy that works with this vocabulary alone."""
QUICK = ["dataset.n_train=64", "dataset.n_test=8", "training.batch_size=4", "evaluation.n_items=2"]
QUICK_SETTINGS: dict[str, dict[str, int]] = {
    "distill": {"prompts": 8},
    "ewc": {"samples": 2},
    "online_ewc": {"samples": 2},
    "mas": {"samples": 2},
    "gpm": {"rows": 8},
}


def fine_tune(lap: Lap, config: RunConfig, steps: int) -> None:
    """A rival: `steps` steps a round; says how long the strategy took before its first step."""
    started = time.perf_counter()
    base = load_base(config, resume=False)
    inputs = load_inputs(config, World.from_config(config.world), base)
    loaded = time.perf_counter()
    engine = new_engine(config, inputs, base, 1_000)
    if engine.strategy is not None:
        engine.strategy.begin(engine.optimizer)
    begun = {"load_s": loaded - started, "begin_s": time.perf_counter() - loaded}
    order, step = Order(len(inputs.rows), config.training.batch_size, config.training.seed), 0
    while True:
        for _ in range(steps if step else 1):
            rows = torch.as_tensor(order.rows(step))
            batch = inputs.rows.batch(rows)
            if engine.strategy is not None:
                engine.strategy.at(step)
                batch = engine.strategy.batch(batch, rows)
            engine.step(batch, 1e-5)
            step += 1
        lap(begun)


def prepared(out: Path, options: Options) -> RunConfig:
    """The config of the naive run; world and datasets, old and new, are made. Quick: on a base that is no good."""
    if not options.quick:
        config = configs.load(CONFIG, [f"output_root={out}"])
        _begin_once(config, "replay")
        return config
    sizes = ["model.hidden_size=32", "model.n_layers=5", "model.n_heads=2", "model.mlp_size=64"]
    small = [*sizes, f"output_root={out}", "evaluation.probe=false", "training.max_steps=1", "evaluation.steps=[0]"]
    train(configs.load(BASE_CONFIG, [*QUICK, *small, "name=quick_base"]))
    return configs.load(CONFIG, [*QUICK, *small, "base=quick_base"])


def _begin_once(config: RunConfig, strategy: str) -> None:
    config = with_strategy(config, strategy, {})
    base = load_base(config, resume=False)
    new_engine(config, load_inputs(config, World.from_config(config.world), base), base, 1_000)


def with_strategy(config: RunConfig, name: str, settings: dict[str, int]) -> RunConfig:
    return RunConfig.model_validate(config.model_dump() | {"strategy": {"name": name, **settings}})


def run(options: Options) -> dict[str, Any]:
    """Each strategy against naive: time per step, memory, seconds before step 0 (loading the data left out)."""
    names = [name for name in known() if name != "naive" and (name != "lora" or find_spec("peft"))]
    names = names[:2] if options.quick else names
    steps, results = (1 if options.quick else 3), {}
    with tempfile.TemporaryDirectory() as folder:
        naive = prepared(Path(folder), options)
        for name in names:
            settings = QUICK_SETTINGS.get(name, {}) if options.quick else {}
            changed = CITY_VOCABULARY if find(name).vocabulary == "city" else {}
            plainly = RunConfig.model_validate(naive.model_dump() | changed)
            works = {
                "naive": partial(fine_tune, config=plainly, steps=steps),
                name: partial(fine_tune, config=with_strategy(plainly, name, settings), steps=steps),
            }
            rivals = race(works, options)
            own, plain = rivals[name], rivals["naive"]
            results[name] = {
                "times_naive": ratio(own.seconds, plain.seconds),
                "step_s": summary(seconds / steps for seconds in own.seconds),
                "begin_s": five_digits(own.found[0]["begin_s"]),
                "peak_mb": round(own.peak_mb),
                "more_mb": round(own.peak_mb - plain.peak_mb),
            }
            print(f"  {name}: {results[name]['times_naive']['median']:.2f} x naive", flush=True)
    batch_size = naive.training.batch_size
    return {"settings": {"batch_size": batch_size, "steps": steps}, "strategies": results}
