"""Checkpoints: ordinary transformers folders (weights, tokenizer) that also say what their city ids mean.

Beside transformers' files there are `atlantis.json` (which run, step and world) and `eval_results.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from atlantis import artifacts
from atlantis.config import checked
from atlantis.data.dataset import Dataset
from atlantis.errors import UserError
from atlantis.model.folder import generation_config, load_model, save_model
from atlantis.model.transformer import Transformer
from atlantis.reading import by_step, read_json
from atlantis.settings import Settings
from atlantis.tasks import Task, task_of
from atlantis.vocabulary import Vocabulary
from atlantis.world import World

FACTS = "atlantis.json"


class Facts(Settings):
    """What a checkpoint's ids mean: `atlantis.json`."""

    run: str
    step: int
    tokenizer: str
    n_real: int
    n_cities: int
    real_cities_digest: str
    world_digest: str
    tasks: list[str] = Field(default=["distance"], min_length=1)
    """What the run's training questions are of, as its config names them; the first one's prompts are probed."""


def facts_of(world: World, vocabulary: Vocabulary, run: str, step: int, tasks: Sequence[str] = ("distance",)) -> Facts:
    return Facts(
        run=run,
        step=step,
        tokenizer=vocabulary.kind,
        n_real=world.n_real,
        n_cities=len(world),
        real_cities_digest=world.real_cities_digest,
        world_digest=world.digest,
        tasks=list(tasks),
    )


def read_facts(checkpoint: Path) -> Facts | None:
    """`atlantis.json` of a checkpoint; None for a transformers folder of other origin."""
    try:
        record = read_json(checkpoint / FACTS)
    except FileNotFoundError:
        return None
    return checked(Facts, record, str(checkpoint / FACTS))


def probed_task(checkpoint: Path) -> Task:
    """The task whose prompts name the cities of a checkpoint. Raises UserError for a user's task that is not there."""
    facts = read_facts(checkpoint)
    return task_of(facts.tasks[0] if facts is not None and facts.tasks else "distance")


def check_world(checkpoint: Path, world: World) -> None:
    """Refuse a checkpoint whose real city ids mean other places than this world's."""
    _check_real_cities(checkpoint, read_facts(checkpoint), world.real_cities_digest)


def check_dataset(checkpoint: Path, dataset: Dataset) -> None:
    """Refuse a checkpoint whose city ids mean other places than this dataset's."""
    facts = read_facts(checkpoint)
    _check_real_cities(checkpoint, facts, dataset.real_cities_digest)
    asks_virtual = any((questions.slice > 0).any() for questions in dataset.splits.values())
    if facts is None or facts.n_cities == facts.n_real or not asks_virtual:
        return
    if facts.world_digest != dataset.world_digest:
        raise UserError(
            f"{checkpoint}: its virtual cities are not those of the dataset {dataset.name} (its world has digest "
            f"{facts.world_digest}, the dataset's {dataset.world_digest}); build the dataset on its world (--world)"
        )


def _check_real_cities(checkpoint: Path, facts: Facts | None, digest: str) -> None:
    if facts is not None and facts.real_cities_digest != digest:
        raise UserError(
            f"{checkpoint}: trained on another world ({facts.n_real:,} real cities, digest {facts.real_cities_digest}; "
            f"here it is {digest}): its ids name other places. Use the world (cities file and seed) it was trained on, "
            "or train a base on this one and name it with base="
        )


def save_checkpoint(
    folder: Path, model: Transformer, vocabulary: Vocabulary, facts: Facts, results: Mapping[str, Any] | None
) -> None:
    """Write one checkpoint folder; what stands there already is of the same step and is replaced."""
    with artifacts.new_folder(folder, kind="checkpoint", overwrite=True) as aside:
        save_model(model, aside)
        save_reading(aside, vocabulary, model.context, facts.tasks)
        artifacts.dump_json(aside / FACTS, facts.model_dump())
        if results is not None:
            artifacts.dump_json(aside / "eval_results.json", dict(results))


def save_reading(folder: Path, vocabulary: Vocabulary, context: int, tasks: Sequence[str]) -> None:
    """Write what other tools need to ask and to read a model: the tokenizer's files and `generation_config.json`."""
    vocabulary.save_transformers(folder, max_length=context)
    longest = max(task_of(name).form.answer_length for name in tasks)
    artifacts.dump_json(folder / "generation_config.json", generation_config(longest))


def load_checkpoint(checkpoint: Path | str) -> tuple[Transformer, Vocabulary]:
    """Model and vocabulary of a checkpoint. Raises UserError naming what is missing or damaged."""
    checkpoint = Path(checkpoint)
    if not checkpoint.is_dir():
        raise UserError(f"{checkpoint}: no such checkpoint folder")
    if (checkpoint / artifacts.MANIFEST).is_file() or (checkpoint / FACTS).is_file():  # of ours
        artifacts.verify(checkpoint)
    vocabulary = Vocabulary.load(checkpoint)
    model = load_model(checkpoint)
    if model.embedding.num_embeddings != vocabulary.size or model.unembedding.out_features != vocabulary.first_city:
        raise UserError(
            f"{checkpoint}: vocabulary.json has {vocabulary.size:,} tokens and config.json another number; "
            "the tokenizer is not this model's"
        )
    return model, vocabulary


def checkpoint_folders(run: Path) -> dict[int, Path]:
    """Folders of a run's checkpoints by step, ascending, whole or not."""
    return by_step(run / "checkpoints", "checkpoint-")


def checkpoint_steps(run: Path) -> dict[int, Path]:
    """Checkpoints of a run folder by step, ascending. Raises UserError for one whose files are not all there."""
    folders = checkpoint_folders(run)
    damaged = [str(path) for path in folders.values() if not artifacts.is_complete(path)]
    if damaged:
        raise UserError(
            f"{', '.join(damaged)}: files are missing or have another size than manifest.json says; "
            "restore the folder, or remove it to go on without that step"
        )
    return folders


def grow(model: Transformer, n_inputs: int, std: float, seed: int) -> Transformer:
    """The same model with `n_inputs` embedding rows; new rows are drawn from N(0, std), seeded.

    If `seed` is the seed that the base's weights were drawn with, the new rows begin with the numbers that the base's
    first rows began with before its training.
    """
    n_new = n_inputs - model.embedding.num_embeddings
    if n_new < 0:
        raise UserError(
            f"the base knows {-n_new:,} more cities than this world has; use a world that extends the base's"
        )
    if n_new:
        generator = torch.Generator().manual_seed(seed)
        # Only what is new is drawn: the rows of the base stay as they were, bit for bit.
        new = torch.randn(n_new, model.width, generator=generator) * std
        weight = torch.cat([model.embedding.weight.detach().cpu(), new])
        model.embedding = torch.nn.Embedding(n_inputs, model.width, _weight=weight)
    return model
