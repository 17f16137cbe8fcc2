"""Tasks: one file each; how a question about cities is written, answered, read back and scored. Pure functions.

Adding a task is adding a file here; one of a user's own is named `my_module:MyTask`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from atlantis.errors import UserError
from atlantis.own_code import code_digest, file_class, own_class
from atlantis.tasks.checking import TOO_LARGE, called
from atlantis.tasks.form import Form
from atlantis.tasks.questions import Questions
from atlantis.tasks.task import Task

__all__ = ["Form", "Questions", "Task", "are_distances", "known", "task_digest", "task_of"]

_NOT_TASKS = {"__init__", "checking", "form", "questions", "score", "task"}


def known() -> list[str]:
    """Names of the tasks that are files here."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem not in _NOT_TASKS)


@cache
def task_of(name: str) -> Task:
    """The task that `name` means: of a file here, or `my_module:MyTask`. Raises UserError if there is none."""
    try:
        kind = own_class(name, Task) if ":" in name else _shipped(name)
    except ValueError as error:
        raise UserError(f"task: {error}") from error
    if missing := [key for key in ("name", "form", "unit", "penalty") if not hasattr(kind, key)]:
        raise UserError(f"task {name}: its class has no {missing[0]!r}; it needs name, form, unit and penalty")
    types: dict[str, Any] = {"name": str, "form": Form, "unit": str, "penalty": (int, float)}
    for key, expected in types.items():
        if not isinstance(getattr(kind, key), expected):
            raise UserError(
                f"task {name}: its {key} is {getattr(kind, key)!r}, which is of another type than it must be"
            )
    if not re.fullmatch(r"[A-Za-z]\w{0,39}", kind.name):
        raise UserError(f"task {name}: its name is {kind.name!r}; use up to 40 letters, digits and _, a letter first")
    if not 0 <= kind.penalty < TOO_LARGE:
        raise UserError(f"task {name}: its penalty is {kind.penalty}; give a number from 0 on, below {TOO_LARGE:g}")
    if kind.balanced and not kind.form.words:
        raise UserError(f"task {name}: it is balanced, and its form has no words that could be as many; leave it out")
    if kind.symmetric and kind.canonical is not Task.canonical:
        raise UserError(f"task {name}: it is symmetric, so all orders ask the same; leave symmetric or canonical() out")
    if ":" in name and kind.name in known():
        raise UserError(f"task {name}: a task of the package is named {kind.name!r} already; give it another name")
    return called(kind, "__init__", kind)


def are_distances(tasks: Sequence[Task]) -> bool:
    """Whether distance is the only one: such datasets have columns of their own, as before there were other tasks."""
    return [task.name for task in tasks] == ["distance"]


def _shipped(name: str) -> type[Task]:
    kind = file_class(name, Task, known())
    if getattr(kind, "name", name) != name:
        file = f"src/atlantis/tasks/{name}.py"
        raise ValueError(f"{file}: its task is named {kind.name!r}; the file and the task must have one name")
    return kind


def task_digest(name: str) -> Any:
    """What stands for a task in a dataset's digest: its name and the digest of its source.

    Of distance the name alone, as in datasets from before there were other tasks; tests hold its rows. Rows with
    different numbers of cities are drawn in another way since 2026-11-29, which the digest says as well.
    """
    if name == "distance":
        return name
    task, code = task_of(name), code_digest(type(task_of(name)))
    if code is None:
        raise UserError(f"task {name}: its source cannot be read; put the class into a file, as my_module:MyTask")
    varies = task.form.least_cities < task.form.seats
    return [name, code, *(["2026-11-29"] if varies else [])]
