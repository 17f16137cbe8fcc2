"""Task evaluation: how far off are the answers, slice by slice?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlantis.data.dataset import Dataset
from atlantis.data.draw import Where
from atlantis.data.encoding import check_symbols, longest_whole_row
from atlantis.data.mixture import Part, held_out_cross, new_to
from atlantis.data.rows import Rows
from atlantis.errors import UserError
from atlantis.model import Transformer, completion_loss
from atlantis.model.checkpoint import check_dataset, load_checkpoint
from atlantis.model.fast.shared import shared_logits
from atlantis.names import SLICES
from atlantis.readout.generate import answers
from atlantis.settings import DatasetConfig
from atlantis.tasks import Questions, Task
from atlantis.tasks.score import Score, score
from atlantis.world import World

BATCH = 1024
"""Rows whose loss is computed at a time."""


@torch.no_grad()
def mean_loss(model: Transformer, rows: Rows) -> float:
    """Mean cross-entropy (nats) of the targets of all rows."""
    total = count = 0.0
    for chunk in torch.arange(len(rows), device=rows.tokens.device).split(BATCH):
        part = rows.batch(chunk)
        loss, n = completion_loss(shared_logits(model, part), part.targets)
        total, count = total + loss.item(), count + n.item()
    return total / count


def evaluation_questions(
    world: World, dataset: Dataset, old: Questions | None, n_per_slice: int, seed: int
) -> tuple[Questions, str]:
    """The fixed items that a run is evaluated on, the same at each step: up to `n_per_slice` of every slice and task.

    They come from the dataset's test split and from those of its siblings: for a mixed dataset the cross dataset it
    draws from, and `old`, the held-out questions of the dataset that the base was trained on (`shared_questions`). What
    `old` asks about new cities counts only where the run asks nothing of that kind, because a base may have learned
    other new cities before. If a task still has no questions about real cities, they are drawn at random, without
    those that the run trains on. The note that is returned beside the items says so.
    """
    pools, note = [dataset.held_out], "held-out pairs of the run's dataset"
    if dataset.kind == "mixed":
        pools.append(held_out_cross(world, dataset.config))
        note += ", and of the cross dataset it draws from"
    if old is not None and len(old):
        pools.append(_lacking(Questions.concatenate(pools), old))
        note += ", and of the base's dataset"
    # A question of a sibling may be among those that this run trains on.
    trained = dataset.splits["train"]
    pool = new_to([trained], Questions.concatenate(pools))
    for task in pool.tasks:
        if _about_real_cities(pool, task):
            continue
        part = Part(task, Where("world"), (0, 0, 0))
        # Where the run learns such questions, the first of the dataset's own stream are those that it learns.
        stream = f"evaluation {part.stream()}" if _about_real_cities(trained, task) else part.stream()
        drawn = part.pool(world, dataset.config).ask_up_to(2 * n_per_slice, seed, stream)
        pool = Questions.concatenate([pool, new_to([trained], drawn)])
        note += "; world-world pairs at random, some of which the base may have been trained on"
    rng = np.random.Generator(np.random.PCG64(seed))
    chosen = []
    for i in range(len(pool.tasks)):
        of_slice = [np.flatnonzero((pool.slice == k) & (pool.task == i)) for k in range(len(SLICES))]
        chosen += [np.sort(rng.permutation(rows)[:n_per_slice]) for rows in of_slice]
    return pool[np.concatenate(chosen)], note


def _about_real_cities(questions: Questions, task: Task) -> bool:
    """Whether some of a task's questions are about real cities alone."""
    return any((questions.slice[rows] == 0).any() for this, rows in questions.by_task() if this.name == task.name)


def shared_questions(world: World, config: DatasetConfig, of: World) -> Questions:
    """Held-out questions of a dataset of the world `of`, about cities that have the same ids and places in `world`."""
    held_out = Dataset.build(of, config).held_out
    n = min(len(world), len(of))
    same = (world.lon[:n] == of.lon[:n]) & (world.lat[:n] == of.lat[:n]) & (world.is_virtual[:n] == of.is_virtual[:n])
    shared = np.append(np.pad(same, (0, len(of) - n)), True)  # the last is for ABSENT, which is -1
    return held_out[np.flatnonzero(shared[held_out.cities].all(axis=1))]


def _lacking(own: Questions, old: Questions) -> Questions:
    """Of a base's questions all about real cities, and of those with new ones the kinds that the run has not."""
    kinds = {(own.tasks[i].name, k) for i, k in np.unique(np.stack([own.task, own.slice]), axis=1).T if k > 0}
    return old[np.array([(old.tasks[i].name, k) not in kinds for i, k in zip(old.task, old.slice, strict=True)])]


def evaluate_checkpoint(checkpoint: Path | str, dataset: Dataset) -> list[Score]:
    """Scores of a checkpoint on a dataset's test split, by task and slice.

    Raises UserError if the checkpoint cannot be read, does not know all the cities, was trained on another world than
    the dataset's, or has a context too short for the rows.
    """
    check_dataset(Path(checkpoint), dataset)
    model, vocabulary = load_checkpoint(checkpoint)
    check_symbols(vocabulary, dataset.tasks, str(checkpoint))
    for task in dataset.tasks:
        if model.context < (longest := longest_whole_row(task.form, vocabulary)):
            raise UserError(
                f"{checkpoint}: reads {model.context} tokens, and rows of task {task.name} have up to {longest}"
            )
    questions = dataset.held_out
    return score(answers(model, vocabulary, questions), questions)


def results(scores: Iterable[Score], loss: float | None, step: int) -> Mapping[str, Any]:
    """One evaluation as it is recorded: a row of metrics.jsonl and `eval_results.json`; no loss without validation."""
    return {"step": step, "kind": "eval", "loss": loss, "scores": [score._asdict() for score in scores]}
