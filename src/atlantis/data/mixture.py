"""A dataset's parts: which questions, about which cities, in what numbers; and the presets that stand for parts.

    distance  pairs of real cities                                   1,000,000 / 128 / 10,000
    inter     both cities in Atlantis                                    4,000 / 128 / 500
    cross     at least one in Atlantis, a share of them with both      100,000 / 128 / 10,000
    mixed     training pairs of distance (old data) and of cross       120,000 / 128 / -

Validation and test are cut first, training last. A larger training split begins with the smaller one of the same seed
and held-out sizes, unless either takes more than half of all questions. That is not so where questions touch a region
(cross): their order depends on how many there are, so two sizes have different splits, and overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from atlantis.data.draw import Pool, Where
from atlantis.data.streams import shuffled, streams
from atlantis.errors import UserError
from atlantis.settings import STUDY_SIZES
from atlantis.tasks import Questions, Task, task_of
from atlantis.tasks.checking import check_canonical
from atlantis.tasks.distance import DISTANCE
from atlantis.tasks.score import score

if TYPE_CHECKING:
    from atlantis.settings import DatasetConfig
    from atlantis.world import World

SPLITS = ("train", "validation", "test")
SIZE_KEYS = ("n_train", "n_val", "n_test")
STUDY_CITIES = 5_075
PRESETS = {"world": "distance", "inside": "inter", "touching": "cross"}
"""The study's kinds of dataset, by where their cities lie."""
TRIAL = 64
"""Questions that are asked of a part before anything is written, so that a task's mistakes are found then."""

Splits = dict[str, Questions]


@dataclass(frozen=True)
class Part:
    """Questions of one task about some cities: so many for training, validation and test."""

    task: Task
    where: Where
    sizes: tuple[int, int, int]
    index: int | None = None
    """Its place in `dataset.parts`; None if it stands for a preset."""

    @property
    def kind(self) -> str:
        """The study's kind of dataset that asks about these cities."""
        return PRESETS[self.where.kind]

    @property
    def is_preset(self) -> bool:
        return self.task.name == "distance" and self.where.region is None

    def stream(self) -> str:
        """The name of its random streams: the preset's, or its own."""
        return self.kind if self.is_preset else f"{self.task.name} {self.where.kind} {self.where.region or ''}".strip()

    def pool(self, world: World, config: DatasetConfig) -> Pool:
        """Its cities in a world. Raises UserError for a region that is not there."""
        settings: dict[str, Any] = {"inter_ratio": config.inter_ratio, "first_virtual": config.first_virtual}
        try:
            return Pool(self.task, world, self.where, **settings, order=config.order)
        except UserError as error:
            if self.index is None:
                raise
            raise UserError(f"dataset.parts[{self.index}]: {error}") from None


def parts_of(config: DatasetConfig) -> list[Part]:
    """The parts of a dataset.

    Of several, each has the share of the held-out splits that it has of the training split, unless it says how many.
    Raises UserError for an unknown task, and for a mixed dataset without any training pairs.
    """
    if config.kind == "mixed":
        requests = [("distance", Where("world"), config.n_distance), ("distance", Where("touching"), config.n_cross)]
        if config.sizes[0] == 0:
            raise UserError(
                "dataset: n_distance and n_cross are both 0, so there is nothing to train on; set one of them"
            )
    elif config.parts is None:
        kinds = {kind: where for where, kind in PRESETS.items()}
        requests = [("distance", Where(kinds[config.kind]), config.sizes[0])]  # type: ignore[arg-type]
    else:
        requests = [(part.task, _where(part.cities), part.n_train) for part in config.parts]
    n_trains, said = [n_train for _, _, n_train in requests], config.parts or [None] * len(requests)
    _, total_val, total_test = config.sizes
    n_vals = _shared_out(total_val, n_trains, [part and part.n_val for part in said])
    n_tests = _shared_out(total_test, n_trains, [part and part.n_test for part in said])
    parts = []
    for i, (name, where, n_train) in enumerate(requests):
        try:
            task = task_of(name)
        except UserError as error:
            raise UserError(f"dataset.parts[{i}].{error}" if config.parts else str(error)) from None
        parts.append(Part(task, where, (n_train, n_vals[i], n_tests[i]), i if config.parts else None))
    _check_names(parts)
    return [part for part in parts if sum(part.sizes)]


def _shared_out(total: int, n_trains: Sequence[int], own: Sequence[int | None]) -> list[int]:
    """Of `total` held-out questions those of each part: its own number, or its share of the rest, by its training."""
    left = total - sum(n for n in own if n is not None)
    n_left = sum(n_train for n_train, n in zip(n_trains, own, strict=True) if n is None)
    shares = []
    for n_train, n in zip(n_trains, own, strict=True):
        # A share of what is left, so that the last part has all of it: rounded shares of the whole need not add up.
        shares.append((round(left * n_train / n_left) if n_left else 0) if n is None else n)
        left, n_left = (left - shares[-1], n_left - n_train) if n is None else (left, n_left)
    return shares


def _where(cities: object) -> Where:
    for kind in ("inside", "touching"):
        if region := getattr(cities, kind, None):
            return Where(kind, None if region == "virtual" else region)  # type: ignore[arg-type]
    return Where("world")


def _check_names(parts: list[Part]) -> None:
    tasks = {}
    for part in parts:
        if tasks.setdefault(part.task.name, part.task) is not part.task:
            raise UserError(f"dataset.parts: two tasks are named {part.task.name!r}; give each a name of its own")
    keys = [(part.task.name, part.where) for part in parts]
    for name, where in keys:
        if keys.count((name, where)) > 1:
            raise UserError(f"dataset.parts: {name} is there twice with the same cities; make one part of the two")


def tasks_of(config: DatasetConfig) -> list[Task]:
    """The tasks of a dataset, each once, in the order of its parts."""
    return list({part.task.name: part.task for part in parts_of(config)}.values())


def resolved(config: DatasetConfig, world: World) -> DatasetConfig:
    """The config with the study's numbers, and a name, where none were given. UserError for no training pairs."""
    parts_of(config)
    filled = config.model_copy(update=dict(zip(SIZE_KEYS, config.sizes, strict=True)))
    return filled.model_copy(update={"name": config.name or default_name(filled, world)})


def default_name(config: DatasetConfig, world: World) -> str:
    """The study's name of a dataset, such as dist_100k_1M_42: cities above 100k people, 1M training pairs, seed 42."""
    n_train = _short(config.sizes[0])
    end = f"{config.seed}" if config.order == "fair" else f"{config.seed}_{config.order}"
    if config.kind == "distance":
        cities = "100k" if world.n_real == STUDY_CITIES else f"{world.n_real}cities"
        return f"dist_{cities}_{n_train}_{end}"
    if config.kind == "mixed":
        return f"mixed_dist{_short(config.n_distance)}_cross{_short(config.n_cross)}_{end}"
    if config.kind == "parts":
        names = "_".join(task.name for task in tasks_of(config))
        return f"{names[:60]}_{n_train}_{end}"
    return f"atlantis_{config.kind}_{n_train}_{end}"


def _short(n: int) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if n >= size and n % size == 0:
            return f"{n // size}{letter}"
    return str(n)


def draw_splits(world: World, config: DatasetConfig) -> tuple[Splits, list[str]]:
    """All three splits, possibly empty, and notes: what a reader of the dataset's numbers must know.

    Training questions of each part are the first of those that a dataset of this part alone would have, and held-out
    ones are held out there. So nothing that a base was tested on is trained on: old data can be mixed in.
    Raises UserError, naming the largest possible value of each number, when more is asked for than exists.
    """
    parts = parts_of(config)
    if len(parts) == 1 and config.kind != "mixed":
        return _drawn(world, config, parts[0])
    drawn, notes = [], []
    for part in parts:
        alone, splits, of_part = _drawn_alone(world, config, part)
        drawn.append({name: splits[name][:n] for name, n in zip(SPLITS, part.sizes, strict=True)})
        name = _name_alone(world, config, alone)
        noun = "pairs" if part.is_preset else "questions"
        if part.sizes[0]:
            notes.append(f"{part.sizes[0]:,} training {noun} are the first of {name}")
        notes += [f"{name}: {note}" for note in of_part]
    order, mixed = streams(config.seed, config.kind).split, {}
    for name in SPLITS:
        together = Questions.concatenate([splits[name] for splits in drawn])
        mixed[name] = together[shuffled(order, len(together))]
    if len({part.task.name for part in parts}) < len(parts) and config.kind == "parts":
        if n := len(mixed["train"]) - len(new_to([], mixed["train"])):
            notes.append(f"{n:,} training questions stand twice: two parts of the dataset have them")
        for name in SPLITS[1:]:
            fresh = new_to([mixed[split] for split in SPLITS[: SPLITS.index(name)]], mixed[name])
            if n := len(mixed[name]) - len(fresh):
                notes.append(f"{n:,} {name} questions are left out: another part of the dataset has them too")
            mixed[name] = fresh
    return mixed, notes


def new_to(others: Sequence[Questions], questions: Questions) -> Questions:
    """The questions, each once and in their order, that are not among the others."""
    keys_of_others = [other.keys() for other in others]
    kept = np.zeros(len(questions), bool)
    keys = questions.keys()
    for task, rows in questions.by_task():
        mine = keys[task.name]
        fresh = np.zeros(len(mine), bool)
        fresh[np.unique(mine, return_index=True)[1]] = True
        for other in keys_of_others:
            fresh &= ~np.isin(mine, other[task.name]) if task.name in other else True
        kept[rows] = fresh
    return questions[kept]


def held_out_cross(world: World, config: DatasetConfig) -> Questions:
    """Held-out pairs of the cross dataset that a mixed one draws from: its test split, or else its validation split."""
    none = Part(DISTANCE, Where("touching"), (0, 0, 0))
    cross = next((part for part in parts_of(config) if part.where.kind == "touching"), none)
    splits, _ = _drawn(world, config, _alone(world, config, cross))
    return splits["test"] if len(splits["test"]) else splits["validation"]


def names_virtual(world: World, config: DatasetConfig) -> bool:
    """Whether some of its questions may name a virtual city of the world."""
    pools = [part.pool(world, config) for part in parts_of(config) if part.where.kind != "world"]
    return any(bool(world.is_virtual[pool.inside].any()) for pool in pools)


def _drawn(world: World, config: DatasetConfig, part: Part) -> tuple[Splits, list[str]]:
    _check_sizes(world, config, part)
    questions, notes = part.pool(world, config).ask(sum(part.sizes), streams(config.seed, part.stream()))
    _, n_val, n_test = part.sizes
    held_out = n_val + n_test
    return {"train": questions[held_out:], "validation": questions[:n_val], "test": questions[n_val:held_out]}, notes


def check_possible(config: DatasetConfig, world: World) -> None:
    """The refusals of `draw_splits`, before anything is written; and a dataset that nothing can be measured on."""
    config = resolved(config, world)
    if config.n_val == 0 and config.n_test == 0:
        raise UserError("dataset: n_val and n_test are both 0, so there is nothing to measure a run on; set n_test")
    parts = parts_of(config)
    alone = len(parts) == 1 and config.kind != "mixed"
    for part in parts if alone else [_alone(world, config, part) for part in parts]:
        _check_sizes(world, config, part)
        if part.task.name != DISTANCE.name:  # another may be somebody's own, or new
            trial, _ = part.pool(world, config).ask(min(TRIAL, sum(part.sizes)), streams(config.seed, "trial"))
            check_canonical(part.task, world, trial.cities)
            score(np.roll(trial.answer, 1), trial)
            score(np.full(1, -1), trial[:1])  # one that cannot be read, alone


def _check_sizes(world: World, config: DatasetConfig, part: Part) -> None:
    """UserError naming the maximum of each number, given the other two, unless all questions asked for exist."""
    pool, named = part.pool(world, config), dict(zip(SIZE_KEYS, part.sizes, strict=True))
    most, total = pool.most, sum(part.sizes)
    if total <= most:
        return
    request = ", ".join(f"{key}={size:,}" for key, size in named.items())
    largest = ", ".join(f"{key} at most {max(0, most - (total - size)):,}" for key, size in named.items())
    raise UserError(
        f"dataset: {total:,} {pool.noun} asked for ({request}), but at most {most:,} are possible {pool.between}. "
        f"Each with the other two as they are: {largest}"
    )


# several parts


def _alone(world: World, config: DatasetConfig, part: Part) -> Part:
    """The dataset that this part is the beginning of: the study's of its kind, made larger where the part needs it.

    With the part's own training questions and the study's held-out ones where a task keeps few, or so many could not
    have the share within the region. Where the world is too small for that as well, it is just the part's own.
    """
    study = tuple(max(pair) for pair in zip(STUDY_SIZES[part.kind], part.sizes, strict=True))
    pool = part.pool(world, config)

    def loses_share() -> bool:
        return pool.lacks_inside(sum(study)) and not pool.lacks_inside(sum(part.sizes))

    if _keeps_few(part) or loses_share():
        study = (part.sizes[0], *study[1:])
    if loses_share():
        return part
    most = pool.most
    if part.task.balanced:
        most //= 4 * part.task.form.n_answers
    return replace(part, sizes=study if sum(study) <= most else part.sizes)


def _keeps_few(part: Part) -> bool:
    """Whether there may be far fewer questions than cities make: a task that draws for itself, or balances words."""
    return part.task.balanced or type(part.task).draw is not Task.draw


def _drawn_alone(world: World, config: DatasetConfig, part: Part) -> tuple[Part, Splits, list[str]]:
    """The dataset that a part is the beginning of, and its splits and notes."""
    alone = _alone(world, config, part)
    try:
        return alone, *_drawn(world, config, alone)
    except UserError:
        if alone == part or not _keeps_few(part):
            raise
        return part, *_drawn(world, config, part)  # there were too few for the study's held-out questions


def _name_alone(world: World, config: DatasetConfig, part: Part) -> str:
    """What a dataset of this part alone is called."""
    if not part.is_preset or not part.sizes[0]:
        return f"{part.stream()}, seed {config.seed}"
    sizes = dict(zip(SIZE_KEYS, part.sizes, strict=True))
    kind = config.model_copy(update={"kind": part.kind, "parts": None, "name": None, **sizes})
    return default_name(kind, world)
