"""Unordered pairs of cities, drawn without replacement, in an order decided by a fair coin.

- Every set of pairs is a range of integers: pair k of n cities by triangular numbers, pair k of virtual x real by
  division. Drawing pairs is drawing integers, so memory follows the pairs asked for and not those that exist.
- Integers come from the raw stream of PCG64, which NumPy keeps the same in every version; its samplers it may change.
- The stream is read in order and repeats are skipped, so a larger draw begins with the smaller one.
- Which pairs, which split and which city first have streams of their own.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from atlantis.errors import UserError
from atlantis.names import SLICES

if TYPE_CHECKING:
    from atlantis.world import World

Ints = NDArray[np.int64]
Order = Literal["fair", "smaller_first"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows of the distance task; all arrays [n]."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    km: NDArray[np.int32]
    slice: NDArray[np.uint8]
    """Index into SLICES."""

    def __post_init__(self) -> None:
        assert len(self.first) == len(self.second) == len(self.km) == len(self.slice)

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Pairs:
        """The rows of a slice, an index array or a mask."""
        return Pairs(self.first[rows], self.second[rows], self.km[rows], self.slice[rows])

    def __eq__(self, other: object) -> bool:
        """Same rows in the same order."""
        if not isinstance(other, Pairs):
            return NotImplemented
        mine = (self.first, self.second, self.km, self.slice)
        theirs = (other.first, other.second, other.km, other.slice)
        return all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def keys(self) -> Ints:
        """One number per unordered pair, the same in every world: larger id * 2**32 + smaller id."""
        larger, smaller = np.maximum(self.first, self.second), np.minimum(self.first, self.second)
        return (larger.astype(np.int64) << 32) | smaller

    def counts(self) -> dict[str, int]:
        """Rows per slice, all slices named."""
        return dict(zip(SLICES, np.bincount(self.slice, minlength=len(SLICES)).tolist(), strict=True))

    @staticmethod
    def concatenate(parts: Sequence[Pairs]) -> Pairs:
        """The rows of all parts, in order."""
        columns = zip(*((p.first, p.second, p.km, p.slice) for p in parts), strict=True)
        return Pairs(*(np.concatenate(column) for column in columns))


class Streams(NamedTuple):
    """Independent random streams of one dataset."""

    which: np.random.Generator
    split: np.random.Generator
    order: np.random.Generator


def streams(seed: int, kind: str) -> Streams:
    """The streams of a dataset kind and seed: the same in every process and on every machine."""
    return Streams(*(_stream(seed, f"{kind}/{purpose}") for purpose in Streams._fields))


def _stream(seed: int, name: str) -> np.random.Generator:
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),))
    return np.random.Generator(np.random.PCG64(sequence))


# which cities


def virtual_ids(world: World, offset: int | None = None) -> range:
    """The ids of Atlantis: all virtual cities, or those from `offset` on.

    Raises UserError if there are none, or if `offset` is not the id of a virtual city.
    """
    n_cities = world.n_real + world.n_virtual
    if world.n_virtual == 0:
        raise UserError(f"this world has {world.n_real:,} real cities and no virtual ones: add a region to it")
    if offset is not None and not world.offset <= offset < n_cities:
        raise UserError(
            f"offset: {offset} is not the id of a virtual city; in this world they start at {world.offset} "
            f"and end at {n_cities - 1}. Leave offset out to have it found"
        )
    return range(world.offset if offset is None else offset, n_cities)


def n_pairs(n_cities: int) -> int:
    """Unordered pairs of different cities."""
    return n_cities * (n_cities - 1) // 2


def inter_share(n: int, inter_ratio: float, n_virtual: int) -> int:
    """How many of n cross pairs lie within Atlantis: the share asked for, rounded down, or all that exist."""
    return min(_asked_inter(n, inter_ratio), n_pairs(n_virtual))


def _asked_inter(n: int, inter_ratio: float) -> int:
    return int(n * inter_ratio + 1e-6)


def most_cross(n_real: int, n_virtual: int, inter_ratio: float) -> int:
    """The largest n that `sample_cross` can give: the cross pairs suffice beside the inter share."""
    low, high = 0, n_real * n_virtual + n_pairs(n_virtual)
    while low < high:  # the number of cross pairs needed never falls as n grows
        middle = (low + high + 1) // 2
        if middle - inter_share(middle, inter_ratio, n_virtual) <= n_real * n_virtual:
            low = middle
        else:
            high = middle - 1
    return low


# which pairs


def sample_distance(world: World, n: int, rng: Streams, order: Order = "fair") -> Pairs:
    """n pairs of real cities in random order. Raises UserError if fewer exist."""
    most = n_pairs(world.n_real)
    if n > most:
        raise UserError(f"{n:,} distance pairs asked for; {world.n_real:,} real cities have {most:,}")
    return _ordered(world, *unrank_triangular(distinct(rng.which, most, n)), rng.order, order)


def sample_inter(world: World, n: int, rng: Streams, offset: int | None = None, order: Order = "fair") -> Pairs:
    """n pairs within Atlantis in random order. Raises UserError if fewer exist or there is no Atlantis."""
    atlantis = virtual_ids(world, offset)
    most = n_pairs(len(atlantis))
    if n > most:
        raise UserError(f"{n:,} inter pairs asked for; {len(atlantis):,} virtual cities have {most:,}")
    smaller, larger = unrank_triangular(distinct(rng.which, most, n))
    return _ordered(world, atlantis.start + smaller, atlantis.start + larger, rng.order, order)


def sample_cross(
    world: World, n: int, inter_ratio: float, rng: Streams, offset: int | None = None, order: Order = "fair"
) -> tuple[Pairs, list[str]]:
    """n pairs with at least one city in Atlantis, in random order, and what must be said about them.

    `inter_ratio` of them, rounded down, have both; when fewer exist, all that do, and a note says so.
    Raises UserError for a ratio outside 0 .. 1, if there is no Atlantis, or if too few cross pairs exist.
    """
    if not 0 <= inter_ratio <= 1:
        raise UserError(f"inter_ratio: {inter_ratio} is not between 0 and 1")
    atlantis = virtual_ids(world, offset)
    asked, exist = _asked_inter(n, inter_ratio), n_pairs(len(atlantis))
    n_inter = min(asked, exist)
    n_cross, most = n - n_inter, world.n_real * len(atlantis)
    if n_cross > most:
        raise UserError(
            f"{n_cross:,} cross pairs asked for beside {n_inter:,} inter pairs; "
            f"{len(atlantis):,} virtual and {world.n_real:,} real cities have {most:,}"
        )
    notes = []
    if asked > exist:
        notes.append(
            f"asked for {asked:,} inter pairs ({100 * inter_ratio:g} %), {exist:,} exist: all are used, "
            f"the rest ({n_cross:,}) are cross pairs"
        )
    smaller, larger = unrank_triangular(distinct(rng.which, exist, n_inter))
    real, virtual = _unrank_product(distinct(rng.which, most, n_cross), world.n_real)
    lower = np.concatenate([atlantis.start + smaller, real])
    upper = np.concatenate([atlantis.start + larger, atlantis.start + virtual])
    pool = shuffled(rng.split, n)
    return _ordered(world, lower[pool], upper[pool], rng.order, order), notes


def _ordered(world: World, lower: Ints, upper: Ints, rng: np.random.Generator, order: Order) -> Pairs:
    """The pairs with their distances. A coin decides which city comes first.

    `smaller_first`: except where both are real or both virtual; there it is the smaller id.
    """
    heads = _raw(rng, len(lower)) >> np.uint64(63) == 1  # the top bit of a draw is the coin
    if order == "smaller_first":
        heads &= world.is_virtual[lower] != world.is_virtual[upper]
    first = np.where(heads, upper, lower).astype(np.int32)
    second = np.where(heads, lower, upper).astype(np.int32)
    km = np.asarray(world.distance_km(first, second)).astype(np.int32)
    virtual = world.is_virtual[first].astype(np.uint8) + world.is_virtual[second].astype(np.uint8)
    return Pairs(first, second, km, virtual.astype(np.uint8))


# integers


def _raw(rng: np.random.Generator, n: int) -> NDArray[np.uint64]:
    """The next n numbers of the bit stream, uniform over 0 .. 2**64 - 1."""
    raw: Any = rng.bit_generator
    return raw.random_raw(n) if n else np.zeros(0, np.uint64)


def shuffled(rng: np.random.Generator, n: int) -> Ints:
    """A random permutation of 0 .. n - 1."""
    return np.argsort(_raw(rng, n), kind="stable")


def distinct(rng: np.random.Generator, total: int, n: int) -> Ints:
    """n different integers of 0 .. total - 1: every ordered selection is equally likely. Memory follows n.

    Up to half of the total, the stream is read in order and repeats are skipped (about 0.7 numbers per integer of the
    total at worst); beyond it, a permutation is cut.
    """
    assert 0 <= n <= total
    if 2 * n > total:
        return shuffled(rng, total)[:n]
    found = np.zeros(0, np.int64)
    limit = np.uint64(2**64 - 1 - 2**64 % max(total, 1))  # numbers above it would favour small remainders
    while len(found) < n:
        missing = n - len(found)
        raw = _raw(rng, int(1.05 * missing * total / (total - len(found))) + 16)
        drawn = (raw[raw <= limit] % np.uint64(total)).astype(np.int64)
        found = np.concatenate([found, drawn])
        found = found[np.sort(np.unique(found, return_index=True)[1])]
    return found[:n]


def unrank_triangular(index: Ints) -> tuple[Ints, Ints]:
    """Pairs (i, j), i < j, of index j (j - 1) / 2 + i: exact for every index below 2**60."""
    j = ((1 + np.sqrt(1 + 8 * index.astype(np.float64))) / 2).astype(np.int64)
    j -= j * (j - 1) // 2 > index  # the root is off by one at most
    j += j * (j + 1) // 2 <= index
    return index - j * (j - 1) // 2, j


def _unrank_product(index: Ints, n_real: int) -> tuple[Ints, Ints]:
    """(real, virtual) of index virtual * n_real + real."""
    return index % n_real, index // n_real
