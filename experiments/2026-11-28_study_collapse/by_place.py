"""Where in a row a base has its linear map: read at the first city's place, and at the second's.

    python experiments/2026-11-28_study_collapse/by_place.py

Writes by_place.json beside this file. The probe is the study's: ridge (alpha 10) on the outputs of blocks 3 and 4 at
three tokens, fitted on 3,000 real cities and scored on 2,000 others. *first*: the tokens after the first city, in
`dist(c_12,c_`; this is the study's own reading. *second*: the last three tokens of `dist(c_7,c_12)=`. The second place
is also read with five other cities in the first.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from atlantis import ProbeConfig, World
from atlantis.artifacts import write_text
from atlantis.model import Transformer
from atlantis.model.checkpoint import load_checkpoint
from atlantis.model.fast.cache import extend
from atlantis.readout.placed import metrics
from atlantis.readout.ridge import Sums, solve_ridge
from atlantis.readout.splits import degrees_split
from atlantis.vocabulary import Vocabulary

HERE = Path(__file__).parent
BASES = {
    **{f"smaller id first, seed {seed}": HERE / "bases" / f"order_{seed}" for seed in (42, 43, 44)},
    "a coin, seed 45": HERE / "bases" / "plain_45",
    "a coin, the shipped base": HERE.parents[1] / "pretrained" / "dist_100k_1M_20epochs",
}
FIRST_CITIES = (7, 100, 1000, 2500, 4000)
"""What stands first while the second place is read."""


def features(model: Transformer, vocabulary: Vocabulary, texts: list[str], layers: tuple[int, ...]) -> np.ndarray:
    """Outputs of blocks at the last three tokens, side by side: (n, 3 * len(layers) * D)."""
    rows: list[np.ndarray | None] = [None] * len(texts)
    lengths = {len(text) for text in texts}
    for length in lengths:
        places = [i for i, text in enumerate(texts) if len(text) == length]
        tokens = torch.as_tensor(vocabulary.encode([f"<bos>{texts[i]}" for i in places])[0]).long()
        with torch.no_grad():
            states = torch.stack([state[:, -3:] for state in extend(model, tokens, layers)[0]], dim=2)
        for i, row in zip(places, states.flatten(1).double().numpy(), strict=True):
            rows[i] = row
    return np.stack([row for row in rows if row is not None])


def main() -> None:
    config, world = ProbeConfig(), World.build()
    vocabulary = Vocabulary("characters", world.n_real)
    train, test = degrees_split(world, config)
    truth = np.stack([world.lon, world.lat], axis=1)[: world.n_real]
    ids = range(world.n_real)
    prompts = {"first": [f"dist(c_{i},c_" for i in ids]}
    prompts |= {f"second, after {first}": [f"dist(c_{first},c_{i})=" for i in ids] for first in FIRST_CITIES}
    result: dict[str, dict[str, dict[str, float]]] = {}
    for name, folder in BASES.items():
        model, _ = load_checkpoint(folder)
        result[name] = {}
        for place, texts in prompts.items():
            states = features(model, vocabulary, texts, tuple(config.layers))
            probe = solve_ridge(Sums.of(states[train], truth[train]), config.alpha)
            scores = metrics(*truth[test].T, *probe.predict(states[test]).T)
            result[name][place] = {key: round(float(scores[key]), 4) for key in ("lon_r2", "lat_r2", "mean_km")}
            print(name, place, result[name][place])
    write_text(HERE / "by_place.json", json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
