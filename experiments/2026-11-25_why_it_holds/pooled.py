"""What the study's probe would say of a checkpoint if its scores pool Atlantis with the real test cities.

    BASE=src/atlantis/pretrained/dist_100k_1M_20epochs
    python experiments/2026-11-25_why_it_holds/pooled.py $BASE RUN/checkpoints/checkpoint-196

Three readings by one probe, the study's (ridge on 3,000 real cities, scored on 2,000 others): those 2,000; with the 100
cities of Atlantis, each read from its own id; with Atlantis read from ids 0 to 99, which are real cities elsewhere, as
the study very probably did.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from atlantis import ProbeConfig, World
from atlantis.model.checkpoint import load_checkpoint
from atlantis.readout.activations import probe_features
from atlantis.readout.placed import metrics
from atlantis.readout.ridge import Sums, solve_ridge
from atlantis.readout.splits import degrees_split
from atlantis.vocabulary import Vocabulary


def main(checkpoints: list[str]) -> None:
    config, world = ProbeConfig(), World.build()
    vocabulary = Vocabulary("characters", len(world))
    truth = np.stack([world.lon, world.lat], axis=1)
    train, test = degrees_split(world, config)
    virtual = np.arange(world.first_virtual, len(world))
    pools = {
        "real": (test, test),
        "own ids": (np.append(test, virtual), np.append(test, virtual)),
        "ids 0 to 99": (np.append(test, virtual), np.append(test, virtual - world.first_virtual)),
    }
    for checkpoint in checkpoints:
        model, _ = load_checkpoint(Path(checkpoint))
        features = probe_features(model, vocabulary, np.arange(len(world)), config.layers).astype(np.float64)
        probe = solve_ridge(Sums.of(features[train], truth[train]), config.alpha)
        for name, (meant, read) in pools.items():
            found = metrics(*truth[meant].T, *probe.predict(features[read]).T)
            print(f"{checkpoint}: {name}: {found['lon_r2']:.3f} / {found['lat_r2']:.3f}, {found['mean_km']:,.0f} km")


if __name__ == "__main__":
    main(sys.argv[1:])
