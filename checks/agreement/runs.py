"""Whole small runs: the same base, the same new rows, the same number of steps, by our loop and by avalanche's.

Each seed has a base of its own, trained by us on pairs of 100 cities. It is fine-tuned on Atlantis by both: plainly,
with replay and with EWC. The order of rows, the buffer and the rows of the Fisher information are each side's own, so
the two never end with the same numbers. How far apart they should be is shown by ours once more, with other draws.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from atlantis.data.rows import Rows
from atlantis.model import Transformer
from atlantis.model.checkpoint import load_checkpoint
from atlantis.readout.generate import answers
from atlantis.settings import RunConfig
from atlantis.statistics import seed_interval
from atlantis.strategies.common.context import Context
from atlantis.strategies.common.old import answered, old_prompts
from atlantis.tasks.score import by_slice, score
from atlantis.training import train
from atlantis.training.assemble import new_engine
from atlantis.training.inputs import Inputs, load_inputs
from atlantis.training.loop import load_base
from atlantis.world import World
from atlantis.world.cities import shipped_cities
from checks.agreement import papers
from checks.agreement.ours import plain

SLICES = {"old": "world-world", "new": "world-atlantis"}
FIRST_SEED, AGAIN = 42, 1_000
"""Of the bases; and what is added to it for our second run."""


@dataclass(frozen=True)
class Sizes:
    """Of the runs; rates are constant, and there is neither weight decay nor clipping, which avalanche's loop lacks."""

    cities: int = 100
    virtual: int = 20
    old_rows: int = 4_000
    base_steps: int = 1_500
    base_rate: float = 2e-3
    new_rows: int = 1_280
    batch: int = 64
    epochs: int = 15
    rate: float = 5e-4
    items: int = 400
    buffer: int = 1_000
    memory_batch: int = 7
    samples: int = 500
    ewc_weight: float = 20.0
    seeds: int = 5


SMALL = Sizes(30, 6, 200, 10, 2e-3, 64, 32, 1, 5e-4, 16, 20, 4, 4, 20.0, 3)
"""Of --quick."""

METHODS = ("naive", "replay", "ewc")


def strategies(sizes: Sizes, seed: int) -> dict[str, dict[str, Any]]:
    """The settings of our side."""
    share = sizes.memory_batch / (sizes.memory_batch + sizes.batch)
    return {
        "naive": {"name": "naive"},
        "replay": {"name": "replay", "share": share, "buffer": sizes.buffer, "seed": seed},
        "ewc": {"name": "ewc", "weight": sizes.ewc_weight, "samples": sizes.samples, "seed": seed},
    }


@dataclass
class Lesson:
    """What a seed's runs have in common."""

    sizes: Sizes
    seed: int
    config: RunConfig
    """Of plain fine-tuning."""
    base: Transformer
    inputs: Inputs

    def errors(self, model: Transformer) -> dict[str, float]:
        """Mean error in km on pairs that were not trained on, of old cities and of new ones with old ones."""
        items = self.inputs.items
        scores = by_slice(score(answers(model, self.inputs.vocabulary, items), items))
        means = {name: scores[key]["mean_km"] for name, key in SLICES.items()}
        return {name: mean for name, mean in means.items() if mean is not None}

    def ours(self, method: str, seed: int) -> dict[str, float]:
        """After a run of ours whose draws follow from `seed`."""
        changes = {"name": f"{method}_{self.seed}_{seed}", "strategy": strategies(self.sizes, seed)[method]}
        data = self.config.model_dump() | changes
        data["training"] = data["training"] | {"seed": seed}
        run = train(RunConfig.model_validate(data))
        return self.errors(load_checkpoint(run / "checkpoints" / "final")[0])

    def context(self) -> Context:
        """What a strategy sees: the old questions, and the base that answers."""
        config = RunConfig.model_validate(self.config.model_dump() | {"strategy": {"name": "l2sp"}})
        engine = new_engine(config, self.inputs, load_base(config, resume=False), 1)
        assert engine.strategy is not None
        return engine.strategy.parts[0].context

    def drawn(self, seed: int) -> papers.Rows:
        """Old prompts with answers drawn from the base: what the true Fisher information is estimated from."""
        context = self.context()
        return plain(answered(context, old_prompts(context, self.sizes.samples, seed), seed))

    def given(self) -> papers.Rows:
        """The old training rows with the answers that the data has."""
        context = self.context()
        return _all(context.encode(context.old_questions))


def _all(rows: Rows) -> papers.Rows:
    return plain(rows.batch(torch.arange(len(rows))))


def lesson(sizes: Sizes, seed: int, root: Path) -> Lesson:
    """Train a seed's base; draw the data of its fine-tuning."""
    root.mkdir()
    table = root / "cities.csv"
    shipped_cities().head(sizes.cities).to_csv(table, index=False)
    common: dict[str, Any] = {
        "output_root": str(root / "outputs"),
        "world": {"cities": str(table), "regions": [{"count": sizes.virtual, "seed": seed}]},
        "model": {"hidden_size": 64, "n_layers": 3, "n_heads": 2, "mlp_size": 128, "seed": seed},
        "probe": {"layers": [0]},
        "evaluation": {"steps": [0], "fractions": [1.0], "n_items": sizes.items, "probe": False},
    }
    test = {"n_val": 0, "n_test": sizes.items, "seed": seed}
    training = {"batch_size": sizes.batch, "device": "cpu", "epochs": 10_000, "seed": seed}
    pretraining = {"max_steps": sizes.base_steps, "learning_rate": sizes.base_rate}
    old = {"kind": "distance", "n_train": sizes.old_rows, **test}
    train(
        RunConfig.model_validate(
            common | {"name": f"base_{seed}", "dataset": old, "training": training | pretraining},
        )
    )
    plainly = {
        "epochs": sizes.epochs,
        "learning_rate": sizes.rate,
        "schedule": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": None,
    }
    new = {"kind": "cross", "n_train": sizes.new_rows, **test}
    config = RunConfig.model_validate(
        common | {"name": "plain", "base": f"base_{seed}", "dataset": new, "training": training | plainly}
    )
    base = load_base(config, resume=False)
    assert base is not None
    model, _ = load_checkpoint(base.checkpoint)
    return Lesson(sizes, seed, config, model, load_inputs(config, World.from_config(config.world), base))


def theirs(lesson: Lesson, peer: ModuleType, method: str) -> tuple[dict[str, float], float | None]:
    """Errors after avalanche's run, and the sum of its Fisher information where it has one."""
    with torch.random.fork_rng():
        torch.manual_seed(lesson.seed)  # avalanche draws from it
        return _theirs(lesson, peer, method)


def _theirs(lesson: Lesson, peer: ModuleType, method: str) -> tuple[dict[str, float], float | None]:
    sizes = lesson.sizes
    old, options, plugins = lesson.given(), {}, []
    if method == "replay":
        plugins = [peer.ReplayPlugin(mem_size=sizes.buffer, batch_size=sizes.batch, batch_size_mem=sizes.memory_batch)]
    if method.startswith("ewc"):
        plugins = [peer.EWCPlugin(ewc_lambda=sizes.ewc_weight / 2)]
    if method == "ewc":  # set to our definition, with draws of its own
        old, options = lesson.drawn(lesson.seed + AGAIN), {"old_batch": 1, "old_loss": peer.summed_loss}
    if method == "ewc_shipped":
        options = {"old_batch": sizes.batch}
    side = peer.Peer(lesson.base, old, plugins, **options)
    settings = lesson.config.training
    optimizer = torch.optim.AdamW(
        side.model.parameters(), lr=settings.learning_rate, betas=settings.betas, eps=settings.eps, weight_decay=0.0
    )
    side.train(_all(lesson.inputs.rows), sizes.batch, sizes.epochs, optimizer)
    steps = side.strategy.clock.train_iterations
    assert steps == sizes.epochs * sizes.new_rows // sizes.batch, steps
    fisher = sum(v.sum().item() for v in peer.importances(plugins[0]).values()) if method.startswith("ewc") else None
    return lesson.errors(side.model.model), fisher


def of_seed(sizes: Sizes, seed: int, root: Path, peer: ModuleType) -> dict[str, Any]:
    """Errors of every run of a seed, by method and by who made it, and those of its base."""
    learned = lesson(sizes, seed, root)
    found: dict[str, Any] = {"base": learned.errors(learned.base)}
    for method in METHODS:
        avalanche, fisher = theirs(learned, peer, method)
        found[method] = {
            "ours": learned.ours(method, seed),
            "again": learned.ours(method, seed + AGAIN),
            "avalanche": avalanche,
        }
        if fisher is not None:
            found[method]["fisher"] = fisher
    shipped, fisher = theirs(learned, peer, "ewc_shipped")
    found["ewc_shipped"] = {"avalanche": shipped, "fisher": fisher}
    print(f"seed {seed}: {found}", flush=True)
    return found


def compared(seeds: Sequence[dict[str, Any]], method: str, slice_: str) -> dict[str, Any]:
    """One row: our mean and its spread over seeds, and how far avalanche and our second run are from ours."""
    values = {who: np.array([seed[method][who][slice_] for seed in seeds]) for who in ("ours", "again", "avalanche")}
    mine = values["ours"]
    row: dict[str, Any] = {"ours": mine.mean(), "spread": mine.std(ddof=1), "avalanche": values["avalanche"].mean()}
    for who in ("avalanche", "again"):
        differences = values[who] - mine
        interval = seed_interval(differences)
        row[f"{who}_differs"] = {"mean": differences.mean(), "low": interval.low, "high": interval.high}
    return rounded(row)


def rounded(value: Any) -> Any:
    """Numbers to five digits; no interval (equal values) is null."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return float(f"{value:.5g}") if np.isfinite(value) else None


def run(peer: ModuleType, options: Any) -> dict[str, Any]:
    """All seeds, and the table of their comparison."""
    sizes = SMALL if options.quick else Sizes()
    with tempfile.TemporaryDirectory() as folder:
        seeds = [of_seed(sizes, FIRST_SEED + i, Path(folder) / str(i), peer) for i in range(sizes.seeds)]
    return {"sizes": asdict(sizes), **summary(seeds), "seeds": [rounded(seed) for seed in seeds]}


def summary(seeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds: the table, the bases, and avalanche's EWC as it is shipped."""
    shipped = {name: np.mean([seed["ewc_shipped"]["avalanche"][name] for seed in seeds]) for name in SLICES}
    fisher = np.mean([seed["ewc_shipped"]["fisher"] / seed["ewc"]["fisher"] for seed in seeds])
    return {
        "table": {method: {name: compared(seeds, method, name) for name in SLICES} for method in METHODS},
        "base": rounded({name: np.mean([seed["base"][name] for seed in seeds]) for name in SLICES}),
        "ewc_shipped": rounded(shipped | {"fisher": fisher}),
    }
