"""Training steps of the study's model, eager against compiled, in alternation on this machine.

    python benchmarks/train_step.py --rounds 5 --steps 4

Prints samples per second of each (median, minimum, maximum over the rounds) and their ratio, round by round, because
machines are noisy. The first round's compilation is not counted.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from atlantis import Dataset, DatasetConfig, TrainingConfig, World
from atlantis.data.rows import Rows
from atlantis.model import Transformer
from atlantis.tokens import SYMBOLS, Vocabulary
from atlantis.training.engine import Engine


def new_engine(vocabulary: Vocabulary, compile: str, batch_size: int) -> Engine:
    model = Transformer(vocabulary.size, len(SYMBOLS))
    model.initialise(0.1, torch.Generator().manual_seed(0))
    settings = TrainingConfig.model_validate({"compile": compile, "batch_size": batch_size})
    return Engine(model, settings, torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def samples_per_second(engine: Engine, rows: Rows, batch_size: int, steps: int) -> float:
    order = torch.arange(batch_size, device=engine.device)
    started = time.perf_counter()
    for step in range(steps):
        engine.step(rows.prefix, rows.batch(order + step * batch_size), 1e-4)  # its loss waits for the device
    return steps * batch_size / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=4, help="steps per round and engine")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocabulary", choices=["characters", "city"], default="characters")
    options = parser.parse_args()

    world = World.build(regions=())
    vocabulary = Vocabulary(options.vocabulary, len(world))
    engines = {name: new_engine(vocabulary, name, options.batch_size) for name in ("no", "yes")}
    n = options.batch_size * options.steps
    pairs = Dataset.build(world, DatasetConfig(n_train=n, n_val=0, n_test=0)).splits["train"]
    rows = Rows(pairs, vocabulary, engines["no"].device)
    found: dict[str, list[float]] = {name: [] for name in engines}
    for name, engine in engines.items():
        samples_per_second(engine, rows, options.batch_size, 1)
        if name == "yes":
            assert engine.compiled, "compilation was not possible here"
    for _ in range(options.rounds):
        for name, engine in engines.items():
            found[name].append(samples_per_second(engine, rows, options.batch_size, options.steps))
    for name, label in (("no", "eager"), ("yes", "compiled")):
        rates = found[name]
        print(f"{label}: {statistics.median(rates):.0f} samples/s ({min(rates):.0f} to {max(rates):.0f})")
    ratios = [compiled / eager for eager, compiled in zip(found["no"], found["yes"], strict=True)]
    print(f"compiled / eager: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
