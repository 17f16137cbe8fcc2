"""How many questions the same cities make, and all of them: an order of cities may ask something, or nothing, new.

A distance is the same in both orders of two cities. A direction is another one. An angle at the second of three cities
is the same in two orders, so three cities make three questions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain, combinations, permutations

import numpy as np

from atlantis.data.streams import Streams, raw_numbers
from atlantis.tasks.checking import canonical_of
from atlantis.tasks.form import Ints
from atlantis.tasks.questions import row_keys
from atlantis.tasks.task import Task

MOST_COMPARED = 8
"""Cities of a question up to which all orders are compared; of more, each is taken for a question of its own."""


def some_alike(task: Task) -> bool:
    """Whether some orders of the same cities ask the same thing, and not all."""
    return type(task).canonical is not Task.canonical


def n_questions(task: Task, size: int, unordered: bool) -> int:
    """How many questions `size` cities make; `unordered`: each of them is asked in one order alone."""
    if unordered:
        return 1
    return len(_alike(task, size)) if some_alike(task) and size <= MOST_COMPARED else math.factorial(size)


def all_questions(task: Task, ids: Ints, size: int, unordered: bool, rng: Streams) -> Ints:
    """All questions (n, size) about `size` of the cities `ids`, each in one of the orders that ask it, at random."""
    if some_alike(task) and not unordered and size <= MOST_COMPARED:
        cities, rows = _listed(combinations(ids.tolist(), size), size), []
        for orders in _alike(task, size):
            chosen = (raw_numbers(rng.order, len(cities)) % np.uint64(len(orders))).astype(np.int64)
            rows.append(np.take_along_axis(cities, orders[chosen], axis=1))
        return np.concatenate(rows)
    rows = _listed((combinations if unordered else permutations)(ids.tolist(), size), size)
    if unordered:
        # `combinations` has the smaller id first. Real ids are smaller than virtual ones, so that order would give away
        # which city is which.
        turns = np.argsort(raw_numbers(rng.order, rows.size).reshape(rows.shape), axis=1)
        rows = np.take_along_axis(rows, turns, axis=1)
    return rows


@lru_cache(maxsize=64)
def _alike(task: Task, size: int) -> list[Ints]:
    """The orders of `size` cities, those together that ask the same thing."""
    orders = np.array(list(permutations(range(size))))
    question = np.unique(row_keys(canonical_of(task, orders)), return_inverse=True)[1]
    return [orders[question == i] for i in range(question.max() + 1)]


def _listed(rows: Iterable[tuple[int, ...]], size: int) -> Ints:
    return np.fromiter(chain.from_iterable(rows), np.int64).reshape(-1, size)  # there may be millions
