"""Train a small model on thirty cities, teach it Atlantis, and probe what became of the map. Runs in half a minute.

    python examples/02_train_and_probe.py [OUTPUT_FOLDER]

The world is far too small for a map to appear; what this shows is the shape of an experiment in Python.
"""

from __future__ import annotations

import sys
from pathlib import Path

from atlantis import DatasetConfig, RunConfig, World, probe, shipped_cities, train

outputs = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/example")
outputs.mkdir(parents=True, exist_ok=True)
cities = outputs / "thirty_cities.csv"
shipped_cities().head(30).to_csv(cities, index=False)

world = {"cities": str(cities), "regions": [{"name": "Atlantis", "count": 10}]}
settings = RunConfig.model_validate(
    {
        "output_root": str(outputs),
        "world": world,
        "model": {"hidden_size": 32, "n_layers": 5, "n_heads": 2, "mlp_size": 64},
        "training": {"batch_size": 64, "epochs": 4.0, "learning_rate": 3e-3, "warmup_steps": 5},
        "evaluation": {"steps": [0, 5], "fractions": [1.0], "n_items": 32},
    }
)
old = DatasetConfig(kind="distance", n_train=300, n_val=32, n_test=64)
new = DatasetConfig(kind="cross", n_train=200, n_val=32, n_test=64)
runs = [
    train(settings.model_copy(update={"name": "base", "dataset": old})),
    train(settings.model_copy(update={"name": "atlantis", "dataset": new, "base": "base"})),
]

for run in runs:
    reading = probe(run / "checkpoints" / "final", World.from_config(settings.world))["sphere"]
    print(run.name)
    print(reading.dynamics[["group", "n", "mean_km", "mean_km_low", "mean_km_high"]].to_string(index=False))
