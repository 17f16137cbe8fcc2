"""A task's own methods, called and checked: whatever a user's task does wrong is one message that names the method."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from atlantis.errors import UserError, in_a_line
from atlantis.tasks.form import Ints
from atlantis.tasks.task import Places, Task

Returned = TypeVar("Returned")

TOO_LARGE = 1e12
"""Errors are below it, or no record of them could be read."""


def errors_of(task: Task, predicted: Ints, true: Ints) -> NDArray[np.float64]:
    """`error`, with `penalty` where `predicted` is below 0, which stands for an unreadable answer.

    Raises UserError for errors of another shape, or that are not numbers from 0 on.
    """
    predicted = np.asarray(predicted)
    errors = np.full(len(predicted), float(task.penalty))
    readable = predicted >= 0
    if not readable.any():
        return errors
    found = called(task, "error", lambda: np.asarray(task.error(predicted[readable], np.asarray(true)[readable])))
    if found.shape != (readable.sum(),) or found.dtype.kind not in "biuf":
        raise UserError(
            f"task {task.name}: its error() must return numbers of shape ({readable.sum()},); it returned "
            f"{found.dtype} of shape {found.shape}"
        )
    if len(outside := found[~((found >= 0) & (found < TOO_LARGE))]):
        raise UserError(
            f"task {task.name}: its error() returned {outside[0]}; an error is from 0 on, below {TOO_LARGE:g}"
        )
    errors[readable] = found
    return errors


def answers_to(task: Task, places: Places, cities: Ints) -> NDArray[np.int32]:
    """`answer` for rows with different numbers of cities. Raises UserError for answers of another shape or type."""
    answers = np.empty(len(cities), np.int32)
    for rows, seats in task.form.by_count(cities):
        answers[rows] = answers_to_alike(task, places, cities[np.ix_(rows, seats)])
    return answers


def answers_to_alike(task: Task, places: Places, cities: Ints) -> Ints:
    """The same for rows (n, k) that all have k cities and no empty seat."""
    answers = called(task, "answer", lambda: np.asarray(task.answer(places, cities)))
    if answers.shape != (len(cities),) or not np.issubdtype(answers.dtype, np.integer):
        raise UserError(
            f"task {task.name}: its answer() must return whole numbers of shape ({len(cities)},); "
            f"it returned {answers.dtype} of shape {answers.shape}"
        )
    outside = np.flatnonzero((answers < 0) | (answers >= task.form.n_answers))
    if len(outside):
        raise UserError(
            f"task {task.name}: its answer() returned {answers[outside[0]]} for cities "
            f"{cities[outside[0]].tolist()}; {task.form.template!r} can write 0 to {task.form.n_answers - 1}"
        )
    return answers


def canonical_of(task: Task, cities: Ints) -> Ints:
    """`canonical`. Raises UserError for what has another shape or type, or names other cities."""
    ordered = called(task, "canonical", lambda: np.asarray(task.canonical(cities.copy())))
    if ordered.shape != cities.shape or not np.issubdtype(ordered.dtype, np.integer):
        raise UserError(
            f"task {task.name}: its canonical() must return whole numbers of shape {cities.shape}; it returned "
            f"{ordered.dtype} of shape {ordered.shape}"
        )
    own = type(task).canonical is not Task.canonical
    if own and not np.array_equal(np.sort(ordered, axis=1), np.sort(cities, axis=1)):
        raise UserError(f"task {task.name}: its canonical() must reorder each row's cities; it returned others")
    return ordered


def check_canonical(task: Task, places: Places, cities: Ints) -> None:
    """UserError if `canonical`, or `symmetric`, holds questions for the same that are not."""
    for rows, seats in task.form.by_count(cities):
        given = cities[np.ix_(rows, seats)]
        ordered = canonical_of(task, given)
        if not np.array_equal(answers_to_alike(task, places, given), answers_to_alike(task, places, ordered)):
            word = "symmetric = True" if task.symmetric else "canonical()"
            raise UserError(
                f"task {task.name}: its {word} takes questions for the same that have other answers; it may "
                "only say which orders of a row's cities ask the same thing"
            )


def called(task: Task | type[Task], method: str, call: Callable[[], Returned]) -> Returned:
    """What one of the task's own methods returns. Raises UserError that names it, for whatever it does wrong."""
    try:
        return call()
    except (UserError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise UserError(
            f"task {task.name}: its {method}() failed: {type(error).__name__}: {in_a_line(error)}"
        ) from error
