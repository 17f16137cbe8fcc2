"""Probing one checkpoint by both protocols: ours against transformers' hidden states and scikit-learn's regressions.

The plain way pads the prompts on the right, 64 at a time, asks for all hidden states, and fits `Ridge` (degrees) and
`RidgeCV` with the same penalties and folds (sphere). It leaves out what ours adds to the degrees protocol: the
variants, with each region left out in turn. Both begin with the checkpoint's folder.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlantis import ProbeConfig, World, probe, shipped_cities
from atlantis.model.checkpoint import facts_of, save_checkpoint
from atlantis.readout.activations import N_POSITIONS
from atlantis.readout.placed import metrics
from atlantis.readout.ridge import ALPHAS
from atlantis.readout.splits import degrees_split
from atlantis.sphere import lon_lat, unit_vectors
from atlantis.vocabulary import Vocabulary
from checks.benchmarks.common import BASE, Lap, Options, race, ratio, summary
from checks.benchmarks.count import PEER_BATCH, Sizes
from checks.benchmarks.train import new_model

SCORES = ("lon_r2", "lat_r2", "mean_km")
AGREE = 0.01
"""Of an R2, and of a share of the km: readings that differ by less are the same, as scikit-learn solves in float32."""


def ours(lap: Lap, checkpoint: Path, cities: Path | None) -> None:
    """A rival: a whole reading a round; says its scores per protocol."""
    world = World.build(cities)
    lap()
    while True:
        found = {}
        for protocol, reading in probe(checkpoint, world).items():
            scored = reading.dynamics.query("group == 'real' and split == 'test'").iloc[0]
            found[protocol] = {key: float(scored[key]) for key in SCORES}
        lap(found)


def peer(lap: Lap, checkpoint: Path, cities: Path | None) -> None:
    """A rival: the plain way, a whole reading a round; says its scores per protocol."""
    from sklearn.linear_model import Ridge, RidgeCV
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    world, config = World.build(cities), ProbeConfig()
    truth = np.stack([world.lon, world.lat], axis=1)
    targets = unit_vectors(world.lon, world.lat)
    train, test = degrees_split(world, config)
    real = np.arange(world.n_real)
    fold = np.random.Generator(np.random.PCG64(config.seed)).permutation(world.n_real) % config.repeats
    lap()
    while True:
        model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, padding_side="right")
        features = padded_features(model, tokenizer, len(world), config.layers)
        predicted = Ridge(alpha=config.alpha).fit(features[train], truth[train]).predict(features[test])
        found = {"degrees": metrics(*truth[test].T, *predicted.T)}
        directions = np.zeros((world.n_real, 3))
        for k in range(config.repeats):
            ridge = RidgeCV(ALPHAS).fit(features[real[fold != k]], targets[real[fold != k]])
            directions[fold == k] = ridge.predict(features[real[fold == k]])
            ridge.predict(features[world.first_virtual :])
        found["sphere"] = metrics(world.lon[real], world.lat[real], *lon_lat(directions))
        lap({protocol: {key: scores[key] for key in SCORES} for protocol, scores in found.items()})


@torch.no_grad()
def padded_features(model: Any, tokenizer: Any, n: int, layers: list[int]) -> np.ndarray:
    """As `atlantis.readout.activations.probe_features`, by transformers alone."""
    texts, found = [f"<bos>dist(c_{city},c_" for city in range(n)], []
    for start in range(0, n, PEER_BATCH):
        batch = tokenizer(
            texts[start : start + PEER_BATCH], add_special_tokens=False, padding=True, return_tensors="pt"
        )
        states = model(**batch, output_hidden_states=True).hidden_states
        picked = torch.cat([states[layer + 1] for layer in layers], dim=-1)  # (B, T, layers * D)
        ends = batch["attention_mask"].sum(1, keepdim=True)
        at = ends + torch.arange(-N_POSITIONS, 0)
        found.append(picked[torch.arange(len(picked))[:, None], at].flatten(1).numpy())
    return np.concatenate(found)


def miniature(folder: Path) -> tuple[Path, Path]:
    """A checkpoint of a tiny model that is not trained, and the few cities of its world."""
    cities, checkpoint = folder / "cities.csv", folder / "checkpoint"
    shipped_cities().head(200).to_csv(cities, index=False)
    world = World.build(cities)
    vocabulary = Vocabulary("characters", len(world))
    model = new_model(Sizes(width=8, n_layers=5, n_heads=2, mlp_width=16))
    save_checkpoint(checkpoint, model, vocabulary, facts_of(world, vocabulary, "miniature", 0), None)
    return checkpoint, cities


def run(options: Options) -> dict[str, Any]:
    """Seconds per checkpoint; raises RuntimeError if the two readings differ."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, cities = miniature(Path(folder)) if options.quick else (BASE, None)
        given = {"checkpoint": checkpoint, "cities": cities}
        rivals = race({"ours": partial(ours, **given), "peer": partial(peer, **given)}, options)
        n_cities = len(World.build(cities))
    scores = {name: rival.found[-1] for name, rival in rivals.items()}
    for protocol in scores["ours"]:
        for key, mine in scores["ours"][protocol].items():
            theirs = scores["peer"][protocol][key]
            if abs(mine - theirs) > AGREE * (theirs if key == "mean_km" else 1):
                raise RuntimeError(f"{protocol} {key}: ours reads {mine}, the plain way {theirs}")
    return {
        "settings": {"cities": n_cities, "peer_batch": PEER_BATCH},
        "rivals": {
            name: {
                "seconds": summary(rival.seconds),
                "against_peer": ratio(rivals["peer"].seconds, rival.seconds),
                "peak_mb": round(rival.peak_mb),
                "scores": scores[name],
            }
            for name, rival in rivals.items()
        },
    }
