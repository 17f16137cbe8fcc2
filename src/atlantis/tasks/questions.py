"""Questions of tasks, with their answers and slices; and what tells two questions apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlantis.names import SLICES
from atlantis.tasks.checking import answers_to, canonical_of
from atlantis.tasks.form import ABSENT, Ints
from atlantis.tasks.task import Places, Task

Keys = NDArray[Any]


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
        return Questions.of(task, cities, answers_to(task, places, cities), part.astype(np.uint8))

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
    for rows, seats in task.form.by_count(cities):
        ordered[np.ix_(rows, seats)] = canonical_of(task, cities[np.ix_(rows, seats)])
    return row_keys(ordered)


def smaller_first(rows: Ints, is_virtual: NDArray[np.bool_]) -> Ints:
    """Rows of ids (n, k), ascending where all are real or all virtual: `dataset.order: smaller_first`."""
    n_virtual = np.take(is_virtual, rows).sum(axis=1)
    alike = np.isin(n_virtual, (0, rows.shape[1]))
    return np.where(alike[:, None], np.sort(rows, axis=1), rows)


def row_keys(rows: Ints) -> Keys:
    """Each row (n, k) of numbers as one value, which is its bytes."""
    rows = np.ascontiguousarray(rows, dtype=">i4")
    return rows.view(f"V{rows.dtype.itemsize * rows.shape[1]}").ravel()
