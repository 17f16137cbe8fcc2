"""What a task is, and questions of it: how cities are asked about, what the answer is, and how wrong another one is.

    class Compass(Task):
        \"\"\"In which of four directions does the second city lie, seen from the first?

        <bos>compass(c_12,c_5101)=n<eos>
        \"\"\"
        name, unit, penalty = "compass", "sectors", 2.0
        form = Form("compass({city},{city})={word:n|e|s|w}")

        def answer(self, places, cities):    # cities (n, 2) -> (n,): places in the list of words
            ...

One task, one file. A user's own is named `my_module:Compass` in a config.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atlantis.errors import UserError, in_a_line
from atlantis.names import SLICES
from atlantis.tasks.form import ABSENT, Form, Ints

Keys = NDArray[Any]
Returned = TypeVar("Returned")

TOO_LARGE = 1e12
"""Errors are below it, or no record of them could be read."""


class Places(Protocol):
    """Where cities lie, by id; every `World` is one."""

    @cached_property
    def lon(self) -> NDArray[np.float64]: ...
    @cached_property
    def lat(self) -> NDArray[np.float64]: ...
    @cached_property
    def is_virtual(self) -> NDArray[np.bool_]: ...
    def distance_km(self, i: ArrayLike, j: ArrayLike) -> NDArray[np.int32]: ...


class Seats(Protocol):
    """The cities that a dataset's part allows, as `Task.draw` gets them."""

    @property
    def world(self) -> Places: ...

    def take(self, n: int, keep: Callable[[Ints], NDArray[np.bool_]] | None = None) -> Ints: ...


class Task:
    """A question about cities. `name`, `form`, `unit`, `penalty` and `answer` are needed; the rest has defaults."""

    name: ClassVar[str]
    form: ClassVar[Form]
    unit: ClassVar[str]
    """Of `error`."""
    penalty: ClassVar[float]
    """The error that an answer counts with when it cannot be read."""
    symmetric: ClassVar[bool] = False
    """Whether the same cities in another order are the same question."""
    balanced: ClassVar[bool] = False
    """Whether each word is the answer to as many questions as any other, in every split. For forms with words."""

    def answer(self, places: Places, cities: Ints) -> Ints:
        """The answers (n,) to questions about cities (n, k): whole numbers; of words, their places in the form's list.

        All rows of a call have the same number of cities, and no seat is empty.
        """
        raise NotImplementedError

    def error(self, predicted: Ints, true: Ints) -> NDArray[np.float64]:
        """How wrong readable answers (n,) are, in `unit`."""
        return np.abs(np.asarray(predicted, np.float64) - np.asarray(true, np.float64))

    def errors(self, predicted: Ints, true: Ints) -> NDArray[np.float64]:
        """`error`, with `penalty` where `predicted` is below 0, which stands for an unreadable answer.

        Raises UserError for errors of another shape, or that are not numbers from 0 on.
        """
        predicted = np.asarray(predicted)
        errors = np.full(len(predicted), float(self.penalty))
        readable = predicted >= 0
        if not readable.any():
            return errors
        found = self.called("error", lambda: np.asarray(self.error(predicted[readable], np.asarray(true)[readable])))
        if found.shape != (readable.sum(),) or found.dtype.kind not in "biuf":
            raise UserError(
                f"task {self.name}: its error() must return numbers of shape ({readable.sum()},); it returned "
                f"{found.dtype} of shape {found.shape}"
            )
        if len(outside := found[~((found >= 0) & (found < TOO_LARGE))]):
            raise UserError(
                f"task {self.name}: its error() returned {outside[0]}; an error is from 0 on, below {TOO_LARGE:g}"
            )
        errors[readable] = found
        return errors

    def scores(self, predicted: Ints, true: Ints) -> Mapping[str, float]:
        """Scores of the task's own, by name and without a unit: of answers (n,), -1 where one cannot be read.

        Asked for each slice and for all; one that too few answers have may be NaN.
        """
        return {}

    def canonical(self, cities: Ints) -> Ints:
        """Each row's cities (n, k), reordered so that rows which ask the same thing become equal.

        Of an angle at the second city, both c_1, c_2, c_3 and c_3, c_2, c_1 become c_1, c_2, c_3. Unless written, rows
        stay as they are, or are sorted where the task is `symmetric`. All rows of a call have k cities.
        """
        return np.sort(cities, axis=1) if self.symmetric else cities

    def draw(self, seats: Seats, n: int) -> Ints:
        """The cities (n, k) of n different questions; `seats.take(n, keep)` takes those that `keep` is true for.

        Splits are cut from them in order, the held-out ones first: any beginning must be like the whole. So questions
        of several calls of `take` are to be mixed, each with the same shares of them as before. A larger n should begin
        with a smaller one.
        """
        return seats.take(n)

    def checked_answers(self, places: Places, cities: Ints) -> NDArray[np.int32]:
        """`answer` for rows with different numbers of cities. Raises UserError for answers of another shape or type."""
        answers = np.empty(len(cities), np.int32)
        for rows, seats in by_count(self.form, cities):
            answers[rows] = self.checked_alike(places, cities[np.ix_(rows, seats)])
        return answers

    def checked_alike(self, places: Places, cities: Ints) -> Ints:
        """The same for rows (n, k) that all have k cities and no empty seat."""
        answers = self.called("answer", lambda: np.asarray(self.answer(places, cities)))
        if answers.shape != (len(cities),) or not np.issubdtype(answers.dtype, np.integer):
            raise UserError(
                f"task {self.name}: its answer() must return whole numbers of shape ({len(cities)},); "
                f"it returned {answers.dtype} of shape {answers.shape}"
            )
        outside = np.flatnonzero((answers < 0) | (answers >= self.form.n_answers))
        if len(outside):
            raise UserError(
                f"task {self.name}: its answer() returned {answers[outside[0]]} for cities "
                f"{cities[outside[0]].tolist()}; {self.form.template!r} can write 0 to {self.form.n_answers - 1}"
            )
        return answers

    def checked_canonical(self, cities: Ints) -> Ints:
        """`canonical`. Raises UserError for what has another shape or type, or names other cities."""
        ordered = self.called("canonical", lambda: np.asarray(self.canonical(cities.copy())))
        if ordered.shape != cities.shape or not np.issubdtype(ordered.dtype, np.integer):
            raise UserError(
                f"task {self.name}: its canonical() must return whole numbers of shape {cities.shape}; it returned "
                f"{ordered.dtype} of shape {ordered.shape}"
            )
        own = type(self).canonical is not Task.canonical
        if own and not np.array_equal(np.sort(ordered, axis=1), np.sort(cities, axis=1)):
            raise UserError(f"task {self.name}: its canonical() must reorder each row's cities; it returned others")
        return ordered

    def check_canonical(self, places: Places, cities: Ints) -> None:
        """UserError if `canonical`, or `symmetric`, holds questions for the same that are not."""
        for rows, seats in by_count(self.form, cities):
            given = cities[np.ix_(rows, seats)]
            ordered = self.checked_canonical(given)
            if not np.array_equal(self.checked_alike(places, given), self.checked_alike(places, ordered)):
                word = "symmetric = True" if self.symmetric else "canonical()"
                raise UserError(
                    f"task {self.name}: its {word} takes questions for the same that have other answers; it may "
                    "only say which orders of a row's cities ask the same thing"
                )

    def called(self, method: str, call: Callable[[], Returned]) -> Returned:
        """What one of the task's own methods returns. Raises UserError that names it, for whatever it does wrong."""
        try:
            return call()
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise UserError(
                f"task {self.name}: its {method}() failed: {type(error).__name__}: {in_a_line(error)}"
            ) from None


@dataclass(frozen=True, eq=False)
class Questions:
    """n questions of one or several tasks, with their answers."""

    tasks: tuple[Task, ...]
    task: NDArray[np.uint8]
    """[n]: index into `tasks`."""
    cities: NDArray[np.int32]
    """[n, k], `ABSENT` in seats that a row does not use."""
    answer: NDArray[np.int32]
    """[n]."""
    slice: NDArray[np.uint8]
    """[n]: index into SLICES, for none, some or all of the cities virtual."""

    def __post_init__(self) -> None:
        assert len(self.task) == len(self.cities) == len(self.answer) == len(self.slice)

    @staticmethod
    def of(task: Task, cities: Ints, answer: Ints, slice_: NDArray[np.uint8] | None = None) -> Questions:
        """Questions of one task, from arrays; the slice is 0 where none is given."""
        zeros = np.zeros(len(cities), np.uint8)
        cities, answer = np.asarray(cities, np.int32), np.asarray(answer, np.int32)
        return Questions((task,), zeros, cities, answer, zeros if slice_ is None else slice_)

    @staticmethod
    def ask(task: Task, places: Places, cities: Ints) -> Questions:
        """The questions about `cities` (n, k), answered. Raises UserError if the task answers with something else."""
        present = cities != ABSENT
        virtual = (places.is_virtual[cities] & present).sum(axis=1)
        part = (virtual > 0).astype(np.uint8) + (virtual == present.sum(axis=1))
        return Questions.of(task, cities, task.checked_answers(places, cities), part.astype(np.uint8))

    def __len__(self) -> int:
        return len(self.task)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Questions:
        """The rows of a slice, an index array or a mask."""
        return Questions(self.tasks, self.task[rows], self.cities[rows], self.answer[rows], self.slice[rows])

    def __eq__(self, other: object) -> bool:
        """Same rows in the same order."""
        if not isinstance(other, Questions):
            return NotImplemented
        mine, theirs = ((q.task, q.cities, q.answer, q.slice) for q in (self, other))
        same = all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))
        return same and [task.name for task in self.tasks] == [task.name for task in other.tasks]

    __hash__ = None  # type: ignore[assignment]

    def by_task(self) -> list[tuple[Task, slice | NDArray[np.int64]]]:
        """Each task that has rows, and its rows."""
        if len(self.tasks) == 1:
            return [(self.tasks[0], slice(None))] if len(self) else []
        rows = [np.flatnonzero(self.task == i) for i in range(len(self.tasks))]
        return [(task, mine) for task, mine in zip(self.tasks, rows, strict=True) if len(mine)]

    def keys(self) -> dict[str, Keys]:
        """For each task, what tells its questions apart, in the order of their rows: the same in every world.

        One number for a pair whose order does not matter, larger id * 2**32 + smaller id; else the bytes of
        the ids, in the task's `canonical` order.
        """
        return {task.name: question_keys(task, self.cities[rows]) for task, rows in self.by_task()}

    def counts(self) -> dict[str, int]:
        """Rows per slice, all slices named."""
        return dict(zip(SLICES, np.bincount(self.slice, minlength=len(SLICES)).tolist(), strict=True))

    @staticmethod
    def concatenate(parts: Sequence[Questions]) -> Questions:
        """The rows of all parts, in order."""
        tasks = tuple({task.name: task for part in parts for task in part.tasks}.values())
        index = {task.name: i for i, task in enumerate(tasks)}
        seats = max(part.cities.shape[1] for part in parts)
        task = [np.array([index[t.name] for t in part.tasks], np.uint8)[part.task] for part in parts]
        cities = [np.pad(p.cities, ((0, 0), (0, seats - p.cities.shape[1])), constant_values=ABSENT) for p in parts]
        answer, slices = [part.answer for part in parts], [part.slice for part in parts]
        return Questions(
            tasks, np.concatenate(task), np.concatenate(cities), np.concatenate(answer), np.concatenate(slices)
        )


def question_keys(task: Task, cities: Ints) -> Keys:
    """What tells questions about cities (n, k) apart: see `Questions.keys`."""
    cities = cities[:, : task.form.seats]
    if task.symmetric and task.form.seats == 2 and task.form.least_cities == 2:
        larger, smaller = cities.max(axis=1).astype(np.int64), cities.min(axis=1)
        return (larger << 32) | smaller
    ordered = np.full_like(cities, ABSENT)
    for rows, seats in by_count(task.form, cities):
        ordered[np.ix_(rows, seats)] = task.checked_canonical(cities[np.ix_(rows, seats)])
    return row_keys(ordered)


def by_count(form: Form, cities: Ints) -> Iterator[tuple[NDArray[np.intp], Ints]]:
    """The rows of cities (n, k) that have equally many, and the seats that these take."""
    counts = (cities != ABSENT).sum(axis=1)
    for count in np.unique(counts):
        yield np.flatnonzero(counts == count), form.seated(int(count))


def row_keys(rows: Ints) -> Keys:
    """Each row (n, k) of numbers as one value, which is its bytes."""
    rows = np.ascontiguousarray(rows, dtype=">i4")
    return rows.view(f"V{rows.dtype.itemsize * rows.shape[1]}").ravel()
