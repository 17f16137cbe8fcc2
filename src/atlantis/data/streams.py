"""Random streams of a dataset, and integers and pairs of integers drawn from them."""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Streams(NamedTuple):
    """Independent random streams of one dataset."""

    which: np.random.Generator
    split: np.random.Generator
    order: np.random.Generator

    def several(self, n: int) -> list[Streams]:
        """These streams, and n - 1 others that are independent of them and of each other."""
        generators = [stream.bit_generator for stream in self]
        others = [[np.random.Generator(g.jumped(i)) for g in generators] for i in range(1, n)]  # type: ignore[attr-defined]
        return [self, *(Streams(*made) for made in others)]


def streams(seed: int, kind: str) -> Streams:
    """The streams of a dataset kind and seed: the same in every process and on every machine."""
    return Streams(*(_stream(seed, f"{kind}/{purpose}") for purpose in Streams._fields))


def _stream(seed: int, name: str) -> np.random.Generator:
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),))
    return np.random.Generator(np.random.PCG64(sequence))


def raw_numbers(rng: np.random.Generator, n: int) -> NDArray[np.uint64]:
    """The next n numbers of the bit stream, uniform over 0 .. 2**64 - 1."""
    raw: Any = rng.bit_generator
    return raw.random_raw(n) if n else np.zeros(0, np.uint64)


def shuffled(rng: np.random.Generator, n: int) -> Ints:
    """A random permutation of 0 .. n - 1."""
    # Not Generator.permutation: NumPy keeps the bit stream fixed between versions, and that algorithm not.
    return np.argsort(raw_numbers(rng, n), kind="stable")


def distinct(rng: np.random.Generator, total: int, n: int) -> Ints:
    """n different integers of 0 .. total - 1: every ordered selection is equally likely. Memory follows n.

    Up to half of the total, the stream is read in order and repeats are skipped (about 0.7 numbers per integer of the
    total at worst); beyond it, a permutation is cut.
    """
    assert 0 <= n <= total
    if 2 * n > total:
        return shuffled(rng, total)[:n]
    numbers = np.zeros(0, np.int64)
    limit = np.uint64(2**64 - 1 - 2**64 % max(total, 1))  # numbers above it would favour small remainders
    while len(numbers) < n:
        missing = n - len(numbers)
        raw = raw_numbers(rng, int(1.05 * missing * total / (total - len(numbers))) + 16)
        drawn = (raw[raw <= limit] % np.uint64(total)).astype(np.int64)
        numbers = np.concatenate([numbers, drawn])
        numbers = numbers[np.sort(np.unique(numbers, return_index=True)[1])]
    return numbers[:n]


def unrank_triangular(index: Ints) -> tuple[Ints, Ints]:
    """Pairs (i, j), i < j, of index j (j - 1) / 2 + i: exact for every index below 2**60."""
    j = ((1 + np.sqrt(1 + 8 * index.astype(np.float64))) / 2).astype(np.int64)
    j -= j * (j - 1) // 2 > index  # the root is off by one at most
    j += j * (j + 1) // 2 <= index
    return index - j * (j - 1) // 2, j


def unrank_product(index: Ints, n_real: int) -> tuple[Ints, Ints]:
    """(real, virtual) of index virtual * n_real + real."""
    return index % n_real, index // n_real
