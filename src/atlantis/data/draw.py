"""Which cities a dataset's questions name: drawn without replacement, in an order decided by a fair coin.

- Every set of pairs is a range of integers: pair k of n cities by triangular numbers, pair k of virtual x real by
  division. Drawing pairs is drawing integers, so memory follows the pairs asked for and not those that exist.
- Rows of more cities, or whose order matters, are drawn city by city; a row that names a city twice, or that has been
  drawn before, is skipped.
- Integers come from the raw stream of PCG64, which NumPy keeps the same in every version; its samplers it may change.
- The stream is read in order and repeats are skipped, so a larger draw begins with the smaller one. Rows of another
  number of cities, and of another word where a task is balanced, take turns and have streams of their own.
- Which cities, which split and which city first have streams of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from atlantis.data.orders import all_questions, n_questions
from atlantis.data.streams import (
    Streams,
    distinct,
    raw_numbers,
    shuffled,
    streams,
    unrank_product,
    unrank_triangular,
)
from atlantis.errors import UserError
from atlantis.tasks.checking import answers_to_alike, called, canonical_of
from atlantis.tasks.form import ABSENT, Ints
from atlantis.tasks.questions import Questions, question_keys, row_keys, smaller_first
from atlantis.tasks.task import Task

if TYPE_CHECKING:
    from atlantis.world import World

Order = Literal["fair", "smaller_first"]
Keep = Callable[[Ints], NDArray[np.bool_]]

ENOUGH = 2**53
"""More questions than anybody asks for; a share of so many is still exact."""
FRUITLESS = 200
"""Rounds without a new row after which a draw gives up."""


# which cities


@dataclass(frozen=True)
class Where:
    """All cities of a question in the world, all in a region, or some in it; region None: all virtual cities."""

    kind: Literal["world", "inside", "touching"]
    region: str | None = None


def virtual_ids(world: World, first_virtual: int | None = None) -> range:
    """The ids of Atlantis: all virtual cities, or those from `first_virtual` on.

    Raises UserError if there are none, or if `first_virtual` is not the id of a virtual city.
    """
    n_cities = world.n_real + world.n_virtual
    if world.n_virtual == 0:
        raise UserError(f"this world has {world.n_real:,} real cities and no virtual ones: add a region to it")
    if first_virtual is not None and not world.first_virtual <= first_virtual < n_cities:
        raise UserError(
            f"first_virtual: {first_virtual} is not the id of a virtual city; in this world they start at "
            f"{world.first_virtual} and end at {n_cities - 1}. Leave first_virtual out to have it found"
        )
    return range(world.first_virtual if first_virtual is None else first_virtual, n_cities)


class Pool:
    """The cities that a part of a dataset asks `task` about, and how its questions are drawn from them.

    `inter_ratio` of the questions that touch a region, rounded down, lie in it with all their cities. Raises UserError
    for a region that is not there, no virtual cities where some are needed, or a ratio outside 0 .. 1.
    """

    def __init__(
        self,
        task: Task,
        world: World,
        where: Where,
        *,
        inter_ratio: float = 0.1,
        first_virtual: int | None = None,
        order: Order = "fair",
    ) -> None:
        if not 0 <= inter_ratio <= 1:
            raise UserError(f"inter_ratio: {inter_ratio} is not between 0 and 1")
        self.task, self.world, self.where, self.order = task, world, where, order
        self.inter_ratio = inter_ratio if where.kind == "touching" else float(where.kind == "inside")
        if where.kind == "world":
            self.inside: Ints = np.arange(0)
        elif where.region is None:
            self.inside = np.array(virtual_ids(world, first_virtual))
        else:
            self.inside = world.ids_of(where.region)
        self.outside: Ints = (
            np.setdiff1d(np.arange(world.n_real), self.inside) if where.kind != "inside" else np.arange(0)
        )
        self.notes: list[str] = []
        """What must be said of the last draw."""
        self._turns: list[Streams] = []
        """Of a draw: the streams of each number of cities and word."""

    @property
    def of_pairs(self) -> bool:
        """Whether its questions are pairs of cities in any order: these are numbered."""
        return self.task.symmetric and self.task.form.least_cities == self.task.form.seats == 2

    @property
    def unordered(self) -> bool:
        """Whether one order of the same cities is enough: they ask the same in every one, or one alone is asked for."""
        return self.task.symmetric or self.order == "smaller_first"

    @property
    def sizes(self) -> range:
        """How many cities a question can have; the questions take turns."""
        return range(self.task.form.least_cities, self.task.form.seats + 1)

    def ask(self, n: int, rng: Streams) -> tuple[Questions, list[str]]:
        """n different questions in random order, answered, and what must be said about them.

        Raises UserError if fewer exist, or if the task draws or answers with something else.
        """
        if n > self.most:
            raise UserError(f"{n:,} {self.noun} asked for, but at most {self.most:,} are possible {self.between}")
        self.rng, self.notes, self._turns = rng, [], []
        cities = called(self.task, "draw", lambda: np.asarray(self.task.draw(self, n)))
        seats = self.task.form.seats
        if cities.shape != (n, seats) or not np.issubdtype(cities.dtype, np.integer):
            raise UserError(
                f"task {self.task.name}: its draw() must return whole numbers of shape ({n}, {seats}); it returned "
                f"{cities.dtype} of shape {cities.shape}"
            )
        if type(self.task).draw is not Task.draw:
            self._check_drawn(cities)
        return Questions.ask(self.task, self.world, cities.astype(np.int32, copy=False)), self.notes

    def ask_up_to(self, n: int, seed: int, stream: str) -> Questions:
        """At most n different questions, from the streams of a name; n of them wherever they are possible.

        Where a task of somebody's own keeps too few, half as many are tried, and again. Raises UserError as `ask`.
        """
        n = min(n, self.most)
        while True:
            try:
                return self.ask(n, streams(seed, stream))[0]
            except UserError:
                keeps_all = type(self.task).draw is Task.draw and not self.task.balanced
                if keeps_all or n <= 1:
                    raise
                n //= 2

    def _check_cities(self, cities: Ints) -> None:
        """UserError for a row of a task's own that names a city twice, or one that this part does not ask about."""
        allowed = np.append(np.concatenate([self.inside, self.outside]), ABSENT)
        in_order = np.sort(cities, axis=1)
        twice = ((in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] != ABSENT)).any(axis=1)
        wrong = np.flatnonzero(twice | ~np.isin(cities, allowed).all(axis=1))
        if len(wrong):
            raise UserError(
                f"task {self.task.name}: its draw() returned {cities[wrong[0]].tolist()}; a question names different "
                f"cities, and of those {self.between}"
            )

    def _check_drawn(self, cities: Ints) -> None:
        """UserError for rows of a task's own that name a city that is not there, or one and the same question twice."""
        n_cities = self.world.n_real + self.world.n_virtual
        unknown = np.flatnonzero(((cities < 0) & (cities != ABSENT) | (cities >= n_cities)).any(axis=1))
        if len(unknown):
            raise UserError(
                f"task {self.task.name}: its draw() returned {cities[unknown[0]].tolist()}, and the cities of this "
                f"world are 0 to {n_cities - 1}"
            )
        self._check_cities(cities)
        n_different = len(np.unique(question_keys(self.task, cities)))
        if n_different < len(cities):
            raise UserError(
                f"task {self.task.name}: its draw() returned {len(cities):,} questions, and {n_different:,} different "
                "ones; a question may come once only"
            )

    def take(self, n: int, keep: Keep | None = None) -> Ints:
        """The cities (n, k) of n different questions. Rows (m, cities) for which `keep` is false are left out.

        Numbers of cities take turns and, of a task that is `balanced`, so do the words of the answers. Each has streams
        of its own.
        """
        if self.of_pairs and keep is None and not self.task.balanced:
            return self._pairs(n)
        form, rng = self.task.form, self.rng
        words = range(form.n_answers) if self.task.balanced else (None,)
        kinds = [(size, word) for size in self.sizes for word in words]
        cities = np.full((n, form.seats), ABSENT, np.int32)
        self._turns = self._turns or rng.several(len(kinds))
        for i, ((size, word), own) in enumerate(zip(kinds, self._turns, strict=True)):
            rows, self.rng = np.arange(i, n, len(kinds)), own
            cities[rows[:, None], form.seated(size)] = self._of_size(size, len(rows), self._keeping(word, keep))
        self.rng = rng
        return cities

    def _keeping(self, word: int | None, keep: Keep | None) -> Keep | None:
        """What keeps rows that have this word as their answer, of those that `keep` keeps; None: any."""
        if word is None:
            return keep

        def keeps(rows: Ints) -> NDArray[np.bool_]:
            right = answers_to_alike(self.task, self.world, rows) == word
            return right if keep is None else right & keep(rows)

        return keeps

    # how many there are

    @cached_property
    def most(self) -> int:
        """The most questions that can be asked, or more than anybody asks for."""
        return min(self._most_of(size) * len(self.sizes) + i for i, size in enumerate(self.sizes))

    @property
    def noun(self) -> str:
        """What its questions are called: distance, inter or cross pairs, or by the task's name."""
        if not self.of_pairs or self.task.name != "distance":
            return f"{self.task.name} questions"
        return {"world": "distance", "inside": "inter", "touching": "cross"}[self.where.kind] + " pairs"

    @property
    def between(self) -> str:
        """Between, or with, which cities."""
        name = "virtual" if self.where.region is None else f"{self.where.region}'s"
        if self.where.kind == "world":
            return f"between {len(self.outside):,} real cities"
        if self.where.kind == "inside":
            return f"between {len(self.inside):,} {name} cities"
        cities = f"with {len(self.inside):,} {name} and {len(self.outside):,} real cities and inter_ratio "
        if not self.of_pairs:
            return f"{cities}{self.inter_ratio:g}"
        some, inside = self._exist(2)
        return f"{cities}{self.inter_ratio:g}: {some:,} cross and {inside:,} inter pairs"

    def _count(self, n_cities: int, size: int) -> int:
        return math.comb(n_cities, size) * n_questions(self.task, size, self.unordered)

    def _exist(self, size: int) -> tuple[int, int]:
        """Questions of `size` cities that exist: those with some or none of them inside, and those with all."""
        inside, outside = self._count(len(self.inside), size), self._count(len(self.outside), size)
        if self.where.kind == "world":
            return outside, 0
        return self._count(len(self.inside) + len(self.outside), size) - inside - outside, inside

    def _n_inside(self, n: int, size: int) -> int:
        """How many of n questions lie within the region: the share asked for, rounded down, or all that exist."""
        return min(self._asked_inside(n, size), self._exist(size)[1])

    def _asked_inside(self, n: int, size: int) -> int:
        # 0.29 of 100 is 28.999...: with the small term a share gives the number that its decimal digits mean.
        return n if size == 1 and self.where.kind != "world" else int(n * self.inter_ratio + 1e-6)

    def lacks_inside(self, n: int) -> bool:
        """Whether fewer questions lie within the region than `inter_ratio` asks for among n."""
        of_size = -(-n // len(self.sizes))
        return any(self._asked_inside(of_size, size) > self._exist(size)[1] for size in self.sizes)

    def _most_of(self, size: int) -> int:
        """The largest n of questions of one size, at most ENOUGH.

        Those not within the region suffice beside those that are.
        """
        some, inside = self._exist(size)
        low, high = 0, min(some + inside, ENOUGH)
        while low < high:  # the number of other questions needed never falls as n grows
            middle = (low + high + 1) // 2
            if middle - self._n_inside(middle, size) <= some:
                low = middle
            else:
                high = middle - 1
        return low

    def _note_inside(self, n: int, size: int) -> None:
        n_inside, exist = self._asked_inside(n, size), self._exist(size)[1]
        if n_inside > exist:
            rest = "cross pairs" if self.of_pairs else "touch it"
            noun = "inter pairs" if self.of_pairs else f"{self.task.name} questions within the region"
            self.notes.append(
                f"asked for {n_inside:,} {noun} ({100 * self.inter_ratio:g} %), {exist:,} exist: all are used, "
                f"the rest ({n - exist:,}) {'are ' if self.of_pairs else ''}{rest}"
            )

    # pairs, by their number

    def _pairs(self, n: int) -> Ints:
        """Pairs whose order does not matter, as (n, 2)."""
        rng, (some, exist) = self.rng, self._exist(2)
        if self.where.kind != "touching":
            ids = self.outside if self.where.kind == "world" else self.inside
            smaller, larger = unrank_triangular(distinct(rng.which, some or exist, n))
            return self._ordered(ids[smaller], ids[larger])
        self._note_inside(n, 2)
        n_inside = self._n_inside(n, 2)
        smaller, larger = unrank_triangular(distinct(rng.which, exist, n_inside))
        real, virtual = unrank_product(distinct(rng.which, some, n - n_inside), len(self.outside))
        lower = np.concatenate([self.inside[smaller], self.outside[real]])
        upper = np.concatenate([self.inside[larger], self.inside[virtual]])
        # The held-out splits are the first rows: unshuffled, these would all lie within the region.
        pool = shuffled(rng.split, n)
        return self._ordered(lower[pool], upper[pool])

    def _ordered(self, lower: Ints, upper: Ints) -> Ints:
        """The pairs (n, 2). A coin decides which city comes first.

        `smaller_first`: except where both are real or both virtual; there it is the smaller id.
        """
        heads = raw_numbers(self.rng.order, len(lower)) >> np.uint64(63) == 1  # the top bit of a draw is the coin
        if self.order == "smaller_first":
            heads &= self.world.is_virtual[lower] != self.world.is_virtual[upper]
            lower, upper = np.minimum(lower, upper), np.maximum(lower, upper)  # a real region has ids among the others
        cities = np.empty((len(lower), 2), np.int32)
        cities[:, 0], cities[:, 1] = np.where(heads, upper, lower), np.where(heads, lower, upper)
        return cities

    # any number of cities, one by one

    def _of_size(self, size: int, n: int, keep: Keep | None) -> Ints:
        """Different questions of `size` cities, as (n, size)."""
        n_inside = self._n_inside(n, size)
        if self.where.kind == "touching":
            self._note_inside(n, size)
        inside = self._distinct(self.inside, size, n_inside, keep)
        others = self._distinct(self.outside, size, n - n_inside, keep, touching=self.where.kind == "touching")
        together = np.concatenate([inside, others])
        return together[shuffled(self.rng.split, n)] if self.where.kind == "touching" else together

    def _distinct(self, ids: Ints, size: int, n: int, keep: Keep | None, touching: bool = False) -> Ints:
        """n different rows (n, size) of `ids`; `touching`: of them and of cities inside, but not of these alone."""
        rows, fruitless = np.empty((0, size), np.int64), 0
        total = self._count(len(ids), size) if not touching else self._exist(size)[0]
        if 2 * n > total:
            # Past half of them most draws would be repeats, so all are listed and shuffled.
            everything = np.concatenate([ids, self.inside]) if touching else ids
            rows = all_questions(self.task, everything, size, self.unordered, self.rng)
            rows = self._kept(rows, keep, touching)
            rows = rows[shuffled(self.rng.which, len(rows))]
        while len(rows) < n and 2 * n <= total and fruitless < FRUITLESS:
            proposed = self._kept(self._proposed(ids, size, 2 * (n - len(rows)) + 16, touching), keep, touching)
            together = self._different(np.concatenate([rows, proposed]))
            fruitless = 0 if len(together) > len(rows) else fruitless + 1
            rows = together
        if len(rows) < n:
            words = ", ".join(self.task.form.words)
            why = f" (it is balanced, so as many are needed of each of {words})" if self.task.balanced else ""
            raise UserError(
                f"task {self.task.name}: of its questions with {size} cities it keeps {len(rows):,}, and {n:,} are "
                f"asked for{why}; ask for fewer, or about other cities"
            )
        return rows[:n]

    def _proposed(self, ids: Ints, size: int, n: int, touching: bool) -> Ints:
        """Rows (n, size) of independent draws; the stream is read row by row."""
        everything = np.concatenate([ids, self.inside]) if touching else ids
        if touching:  # as many more as are left out below
            n *= max(1, round((size - 1) * len(self.inside) / len(everything)))
        raw = raw_numbers(self.rng.which, n * size).reshape(n, size)  # of 2**64: what a division leaves is uniform
        rows = everything[(raw % np.uint64(max(1, len(everything)))).astype(np.int64)]
        if not touching:
            return rows
        rows[:, 0] = self.inside[(raw[:, 0] % np.uint64(len(self.inside))).astype(np.int64)]
        turn = (raw_numbers(self.rng.order, n) % np.uint64(size)).astype(np.int64)  # the seat that the city inside gets
        rows = np.take_along_axis(rows, (np.arange(size) - turn[:, None]) % size, axis=1)
        # Each of several cities inside would propose the same row, so only the first of them does.
        return rows[np.isin(rows, self.inside).argmax(axis=1) == turn]

    def _kept(self, rows: Ints, keep: Keep | None, touching: bool) -> Ints:
        """The rows that name no city twice, lie where they should and are kept by the task, in the order asked for."""
        in_order = np.sort(rows, axis=1)
        good = (in_order[:, 1:] != in_order[:, :-1]).all(axis=1)
        if touching:
            inside = np.isin(rows, self.inside)
            good &= inside.any(axis=1) & ~inside.all(axis=1)
        rows = rows[good]
        if self.order == "smaller_first":
            rows = smaller_first(rows, self.world.is_virtual)
        return rows if keep is None else rows[keep(rows)]

    def _keys(self, rows: Ints) -> NDArray[Any]:
        return row_keys(np.sort(rows, axis=1) if self.unordered else canonical_of(self.task, rows))

    def _different(self, rows: Ints) -> Ints:
        """Each question where it came first. In the order of np.unique a larger draw would not begin with a smaller."""
        return rows[np.sort(np.unique(self._keys(rows), return_index=True)[1])]
