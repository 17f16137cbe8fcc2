"""What a run trains on and is measured by: its world, its dataset and its evaluation items, made where missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlantis import artifacts
from atlantis.data.dataset import Dataset, dataset_digest
from atlantis.data.encoding import needed_by
from atlantis.data.mixture import resolved
from atlantis.data.rows import Rows
from atlantis.errors import UserError, without_remedy
from atlantis.progress import say
from atlantis.readout.evaluate import evaluation_questions, shared_questions
from atlantis.settings import DatasetConfig, RunConfig
from atlantis.tasks import Questions
from atlantis.training.base import Base, base_digests
from atlantis.training.device import choose_device
from atlantis.training.possible import check_request
from atlantis.training.run import RunFolder
from atlantis.vocabulary import Vocabulary
from atlantis.world import World
from atlantis.world.of_run import changed_world, recorded_digest, world_of


@dataclass
class Inputs:
    """All that a run trains on and is measured by, in memory."""

    world: World
    vocabulary: Vocabulary
    dataset: Dataset
    questions: Questions
    """The training questions."""
    rows: Rows
    """The same as tokens."""
    validation: Rows | None
    items: Questions
    """What the run is evaluated on."""
    source: str
    """Where these come from, in words."""
    tasks: list[str]
    """The names of its tasks, as the config has them."""

    @property
    def about(self) -> dict[str, Any]:
        """What a run's record has of its dataset."""
        name, counts, notes = self.dataset.name, self.dataset.counts, self.dataset.notes
        return {"name": name, "counts": counts, "notes": notes, "evaluated_on": self.source}

    def digests(self, base: Base | None) -> dict[str, str]:
        """Digests of all data that a run is begun with."""
        data = {"world": self.world.digest, "dataset": self.dataset.digest}
        return data if base is None else data | base_digests(base)


def load_inputs(config: RunConfig, world: World, base: Base | None, strict: bool = False) -> Inputs:
    """The run's rows and its fixed evaluation items; the dataset is saved, or read if it is there."""
    dataset = saved_dataset(config.dataset, world, config.output_root, strict)
    for note in dataset.notes:
        say(note)
    n_items, seed = config.evaluation.n_items, config.evaluation.seed
    items, note = evaluation_questions(world, dataset, _questions_of_base(world, dataset, base), n_items, seed)
    device = choose_device(config.training.device)
    vocabulary = Vocabulary(config.tokenizer.kind, len(world), _symbols_version(config, dataset, items, base))
    questions, validation = dataset.splits["train"], dataset.splits.get("validation")
    loss_on, parts = config.training.loss, config.dataset.parts
    validation = None if validation is None else Rows(validation, vocabulary, device, loss_on)
    rows = Rows(questions, vocabulary, device, loss_on)
    tasks = ["distance"] if parts is None else list(dict.fromkeys(part.task for part in parts))
    return Inputs(world, vocabulary, dataset, questions, rows, validation, items, note, tasks)


def _questions_of_base(world: World, dataset: Dataset, base: Base | None) -> Questions | None:
    """Held-out questions of the base's dataset, about cities that both worlds have; None where they are not known."""
    if base is None or base.config is None:
        return None
    try:
        theirs = world_of(base.folder or base.checkpoint, base.config)
        config = resolved(base.config.dataset, theirs)
        if dataset_digest(config, theirs.digest) == dataset.digest:
            return None
        return shared_questions(world, config, theirs)
    except UserError as error:
        say(f"the base's dataset is left out of the evaluation: {error}")
        return None


def _symbols_version(config: RunConfig, dataset: Dataset, items: Questions, base: Base | None) -> int:
    """The symbols' version: the base's, the one asked for, or the first that has what the tasks are written with."""
    if base is not None:
        return Vocabulary.load(base.checkpoint).version
    return config.tokenizer.version or needed_by((*dataset.tasks, *items.tasks))


def build_inputs(config: RunConfig) -> None:
    """Make the world and the dataset of a run where they are missing: many runs may share them."""
    world = World.from_config(config.world)
    check_request(config, world)
    save_world(config, world)
    saved_dataset(config.dataset, world, config.output_root)


def world_for(run: RunFolder) -> World:
    """The world to train in; that of a run which has begun is its own, whatever the user's file holds now.

    Raises UserError if an unfinished run was begun in another world than the file gives.
    """
    digest, cities = recorded_digest(run.path), run.config.world.cities
    if digest is not None and (run.finished or (cities is not None and not Path(cities).exists())):
        return world_of(run.path, run.config)
    world = World.from_config(run.config.world)
    if digest is not None and world.digest != digest:
        raise UserError(
            f"{run.path}: was begun with other data: {cities or 'the shipped table of cities'} has been changed since "
            f"(its world has the digest {world.digest}, the run's has {digest}); bring the earlier one back, or choose "
            "another name="
        )
    return world


def changed_cities(run: RunFolder) -> str | None:
    """The user's file of cities that a run was made from, if that is there and gives another world now."""
    digest, cities = recorded_digest(run.path), run.config.world.cities
    if digest is None or cities is None or not Path(cities).exists():
        return None
    return cities if changed_world(run.config, digest) else None


def save_world(config: RunConfig, world: World, strict: bool = False) -> None:
    _save_once(Path(config.output_root) / "worlds" / f"world-{world.digest}", world.digest, world.save, strict)


def _save_once(folder: Path, digest: str, save: Callable[[Path], None], strict: bool = False) -> None:
    """Write an artifact whose name holds its digest, unless it is there; another process may be as quick as we are.

    One that is damaged is moved aside and made again, with a message (`strict`: a UserError).
    """
    artifacts.clear_leftovers(folder.parent, folder.name)
    if artifacts.is_whole(folder, digest):
        return
    if (folder / artifacts.MANIFEST).is_file():
        problem = artifacts.damage(folder) or f"{folder}: holds another one than its name says; move it away"
        if strict:
            raise UserError(f"{problem} (without --strict it is moved aside and made again)")
        say(f"damaged: {without_remedy(problem)}; kept as {artifacts.set_aside(folder).name} and made again")
    try:
        save(folder)
    except UserError:
        if not artifacts.is_complete(folder, digest):
            raise


def saved_dataset(config: DatasetConfig, world: World, output_root: str, strict: bool = False) -> Dataset:
    """The dataset, saved, or read if it is there."""
    settings = resolved(config, world)
    digest = dataset_digest(settings, world.digest)
    folder = Path(output_root) / "datasets" / f"{settings.name}-{digest}"
    _save_once(folder, digest, lambda path: Dataset.build(world, settings).save(path), strict)
    return Dataset.load(folder)
