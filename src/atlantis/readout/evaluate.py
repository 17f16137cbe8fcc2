"""Task evaluation: how far off are the answers, slice by slice?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlantis.data.dataset import Dataset
from atlantis.data.pairs import Pairs
from atlantis.data.rows import Rows
from atlantis.errors import UserError
from atlantis.model import Transformer, completion_loss
from atlantis.model.checkpoint import check_dataset, load_checkpoint
from atlantis.names import ALL, SLICES
from atlantis.readout.generate import answers_km
from atlantis.settings import DatasetConfig
from atlantis.tasks import distance
from atlantis.world import World

Scores = dict[str, dict[str, float]]


def score(answers: np.ndarray, pairs: Pairs) -> Scores:
    """Errors of `answers` (n,), in km with -1 for an unreadable one, per slice and over "all".

    Each slice has n, mean_km, median_km, std_km, min_km, max_km and `parsed`, the share of readable answers. An
    unreadable answer counts with half the Earth's circumference; none is left out.
    """
    errors = distance.errors_km(answers, pairs.km)
    slices = {name: pairs.slice == i for i, name in enumerate(SLICES)}
    chosen = {name: rows for name, rows in slices.items() if rows.any()} | {ALL: np.ones(len(pairs), bool)}
    return {
        name: {
            "n": int(rows.sum()),
            "mean_km": float(errors[rows].mean()),
            "median_km": float(np.median(errors[rows])),
            "std_km": float(errors[rows].std()),
            "min_km": float(errors[rows].min()),
            "max_km": float(errors[rows].max()),
            "parsed": float((answers[rows] >= 0).mean()),
        }
        for name, rows in chosen.items()
        if rows.any()
    }


@torch.no_grad()
def mean_loss(model: Transformer, rows: Rows, batch: int = 1024) -> float:
    """Mean cross-entropy (nats) of the completions' tokens over all rows."""
    total = count = 0.0
    for chunk in torch.arange(len(rows), device=rows.tokens.device).split(batch):
        part = rows.batch(chunk)
        loss, n = completion_loss(model(part.prefix, part.tokens, part.positions), part.targets)
        total, count = total + loss.item(), count + n.item()
    return total / count


def evaluation_pairs(
    world: World, dataset: Dataset, old: DatasetConfig | None, n_per_slice: int, seed: int
) -> tuple[Pairs, str]:
    """The fixed items that a run is evaluated on, the same at each step: up to `n_per_slice` of every slice.

    They come from the dataset's test split and, for what that lacks, from the test splits of its siblings: `old`, the
    dataset that the base was trained on, and for a mixed dataset the cross dataset it draws from. If there are still
    no pairs of real cities, they are drawn at random, and the note that is returned beside the pairs says so.
    """
    pools, note = [_held_out(dataset)], "held-out pairs of the run's dataset"
    if dataset.kind == "mixed":
        cross = DatasetConfig(
            kind="cross",
            n_train=max(1, dataset.config.n_cross),
            seed=dataset.config.seed,
            inter_ratio=dataset.config.inter_ratio,
            offset=dataset.config.offset,
            order=dataset.config.order,
        )
        pools.append(_held_out(Dataset.build(world, cross)))
        note += ", and of the cross dataset it draws from"
    if old is not None and old != dataset.config:
        pools.append(_held_out(Dataset.build(world, old)))
        note += ", and of the base's dataset"
    pool = _new_to(dataset.splits["train"], Pairs.concatenate(pools))
    if not (pool.slice == 0).any():
        n = min(2 * n_per_slice, world.n_real * (world.n_real - 1) // 2)
        drawn = Dataset.build(world, DatasetConfig(n_train=n, n_val=0, n_test=0, seed=seed, order=dataset.config.order))
        pool = Pairs.concatenate([pool, drawn.splits["train"]])
        note += "; world-world pairs at random, some of which the base may have been trained on"
    rng = np.random.Generator(np.random.PCG64(seed))
    of_slice = [np.flatnonzero(pool.slice == i) for i in range(len(SLICES))]
    chosen = [np.sort(rng.permutation(rows)[:n_per_slice]) for rows in of_slice]
    return pool[np.concatenate(chosen)], note


def _new_to(train: Pairs, pool: Pairs) -> Pairs:
    """The pairs of `pool`, each once, that are not in `train`."""
    keys, first = np.unique(pool.keys(), return_index=True)
    return pool[np.sort(first[~np.isin(keys, train.keys())])]


def _held_out(dataset: Dataset) -> Pairs:
    """The test split; the validation split where there is none."""
    for name in ("test", "validation"):
        if name in dataset.splits:
            return dataset.splits[name]
    raise UserError(f"dataset {dataset.name}: it has neither test nor validation pairs; set n_test")


def evaluate_checkpoint(checkpoint: Path | str, dataset: Dataset) -> Scores:
    """Scores of a checkpoint on a dataset's test split, per slice.

    Raises UserError if the checkpoint cannot be read, does not know all the cities, or was trained on another world
    than the dataset's.
    """
    check_dataset(Path(checkpoint), dataset)
    model, vocabulary = load_checkpoint(checkpoint)
    pairs = _held_out(dataset)
    return score(answers_km(model, vocabulary, pairs), pairs)


def results(scores: Scores, loss: float, step: int) -> Mapping[str, Any]:
    """One evaluation as it is recorded: a row of metrics.jsonl and `eval_results.json`."""
    return {"step": step, "kind": "eval", "loss": loss, "slices": scores}
