"""The four kinds of dataset: which pairs go into which split, in what numbers.

    distance  pairs of real cities                                   1,000,000 / 128 / 10,000
    inter     both cities in Atlantis                                    4,000 / 128 / 500
    cross     at least one in Atlantis, a share of them with both      100,000 / 128 / 10,000
    mixed     training pairs of distance (old data) and of cross       120,000 / 128 / -

Validation and test are cut first, training last: a larger distance or inter training split begins with the smaller
one of the same seed and held-out sizes (unless either takes more than half of all pairs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlantis.data.draw import (
    Pairs,
    most_cross,
    n_pairs,
    sample_cross,
    sample_distance,
    sample_inter,
    shuffled,
    streams,
    virtual_ids,
)
from atlantis.errors import UserError
from atlantis.settings import STUDY_SIZES

if TYPE_CHECKING:
    from atlantis.settings import DatasetConfig
    from atlantis.world import World

SPLITS = ("train", "validation", "test")
SIZE_KEYS = ("n_train", "n_val", "n_test")
STUDY_CITIES = 5_075

Splits = dict[str, Pairs]


def resolved(config: DatasetConfig, world: World) -> DatasetConfig:
    """The config with the study's numbers, and a name, where none were given."""
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
    return f"atlantis_{config.kind}_{n_train}_{end}"


def _short(n: int) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if n >= size and n % size == 0:
            return f"{n // size}{letter}"
    return str(n)


def sample_splits(world: World, config: DatasetConfig) -> tuple[Splits, list[str]]:
    """All three splits, possibly empty, and notes: what a reader of the dataset's numbers must know.

    Raises UserError, naming the largest possible value of each number, when more is asked for than exists.
    """
    if config.kind == "mixed":
        return _sample_mixed(world, config)
    _check_sizes(world, config)
    n, rng, notes = sum(config.sizes), streams(config.seed, config.kind), []
    if config.kind == "distance":
        pairs = sample_distance(world, n, rng, config.order)
    elif config.kind == "inter":
        pairs = sample_inter(world, n, rng, config.offset, config.order)
    else:
        pairs, notes = sample_cross(world, n, config.inter_ratio, rng, config.offset, config.order)
    _, n_val, n_test = config.sizes
    held_out = n_val + n_test
    return {"train": pairs[held_out:], "validation": pairs[:n_val], "test": pairs[n_val:held_out]}, notes


def check_possible(config: DatasetConfig, world: World) -> None:
    """The refusals of `sample_splits`, before anything is drawn; and a dataset that nothing can be measured on."""
    config = resolved(config, world)
    if config.n_val == 0 and config.n_test == 0:
        raise UserError("dataset: n_val and n_test are both 0, so there is nothing to measure a run on; set n_test")
    if config.kind != "mixed":
        _check_sizes(world, config)
        return
    for kind, sizes in _parts(config):
        _check_sizes(world, _sibling(world, config, kind, sizes))


def most_pairs(world: World, config: DatasetConfig) -> tuple[int, str]:
    """How many pairs a distance, inter or cross dataset can have in all its splits together, and between which."""
    if config.kind == "distance":
        return n_pairs(world.n_real), f"between {world.n_real:,} real cities"
    n_virtual = len(virtual_ids(world, config.offset))
    if config.kind == "inter":
        return n_pairs(n_virtual), f"between {n_virtual:,} virtual cities"
    return most_cross(world.n_real, n_virtual, config.inter_ratio), (
        f"with {n_virtual:,} virtual and {world.n_real:,} real cities and inter_ratio {config.inter_ratio:g}: "
        f"{n_virtual * world.n_real:,} cross and {n_pairs(n_virtual):,} inter pairs"
    )


def _check_sizes(world: World, config: DatasetConfig) -> None:
    """UserError naming the maximum of each number, given the other two, unless all pairs asked for exist."""
    named = dict(zip(SIZE_KEYS, config.sizes, strict=True))
    (most, between), total = most_pairs(world, config), sum(config.sizes)
    if total <= most:
        return
    asked = ", ".join(f"{key}={size:,}" for key, size in named.items())
    largest = ", ".join(f"{key} at most {max(0, most - (total - size)):,}" for key, size in named.items())
    raise UserError(
        f"dataset: {total:,} {config.kind} pairs asked for ({asked}), but at most {most:,} are possible {between}. "
        f"Each with the other two as they are: {largest}"
    )


# mixed


def _sample_mixed(world: World, config: DatasetConfig) -> tuple[Splits, list[str]]:
    """Old data and new: pairs of the distance and of the cross dataset with the same seed, split by split.

    Training pairs are training pairs there and held-out pairs are held out there, so nothing that the base model
    was tested on is trained on. Held-out splits hold the two parts in the proportion of the training split.
    """
    parts, notes = [], []
    for kind, sizes in _parts(config):
        sibling = _sibling(world, config, kind, sizes)
        splits, said = sample_splits(world, sibling)
        parts.append({name: splits[name][:n] for name, n in zip(SPLITS, sizes, strict=True)})
        notes.append(f"{sizes[0]:,} training pairs are the first of {sibling.name}")
        notes += [f"{sibling.name}: {note}" for note in said]
    split, mixed = streams(config.seed, "mixed").split, {}
    for name in SPLITS:
        together = Pairs.concatenate([part[name] for part in parts])
        mixed[name] = together[shuffled(split, len(together))]
    return mixed, notes


def _parts(config: DatasetConfig) -> list[tuple[str, tuple[int, ...]]]:
    """The kinds that a mixed dataset draws from, each with its share of the three splits."""
    n_train, n_val, n_test = config.sizes
    if n_train == 0:
        raise UserError("dataset: n_distance and n_cross are both 0, so there is nothing to train on; set one of them")
    distance = (config.n_distance, *(round(n * config.n_distance / n_train) for n in (n_val, n_test)))
    cross = tuple(n - d for n, d in zip(config.sizes, distance, strict=True))
    return [(kind, sizes) for kind, sizes in (("distance", distance), ("cross", cross)) if sum(sizes)]


def _sibling(world: World, config: DatasetConfig, kind: str, least: tuple[int, ...]) -> DatasetConfig:
    """The study's dataset of this kind with the seed of the mixed one, made larger where `least` asks for it.

    A world too small for the study's numbers has a sibling of just the sizes in `least`.
    """
    study = tuple(max(pair) for pair in zip(STUDY_SIZES[kind], least, strict=True))
    for sizes in (study, least):
        update = {"kind": kind, "name": None, **dict(zip(SIZE_KEYS, sizes, strict=True))}
        sibling = resolved(config.model_copy(update=update), world)
        if sum(sizes) <= most_pairs(world, sibling)[0]:
            return sibling
    return sibling  # sampling it fails and names the maxima
