"""Tasks: one file each; how a question about cities is written, answered, read back and scored. Pure functions.

Adding a task is adding a file here; one of a user's own is named `my_module:MyTask`.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib import import_module
from inspect import getmembers, isclass
from pathlib import Path
from typing import Any

from atlantis.errors import UserError, in_a_line
from atlantis.own_code import code_digest, own_class
from atlantis.tasks.form import Form
from atlantis.tasks.task import Questions, Task

__all__ = ["Form", "Questions", "Task", "known", "task_digest", "task_of"]

_NOT_TASKS = {"__init__", "form", "score", "task"}


def known() -> list[str]:
    """Names of the tasks that are files here."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem not in _NOT_TASKS)


@cache
def task_of(name: str) -> Task:
    """The task that `name` means: of a file here, or `my_module:MyTask`. Raises UserError if there is none."""
    try:
        kind = own_class(name, Task) if ":" in name else _shipped(name)
    except ValueError as error:
        raise UserError(f"task: {error}") from None
    if missing := [key for key in ("name", "form", "unit", "penalty") if not hasattr(kind, key)]:
        raise UserError(f"task {name}: its class has no {missing[0]!r}; it needs name, form, unit and penalty")
    types: dict[str, Any] = {"name": str, "form": Form, "unit": str, "penalty": (int, float)}
    for key, expected in types.items():
        if not isinstance(getattr(kind, key), expected):
            raise UserError(
                f"task {name}: its {key} is {getattr(kind, key)!r}, which is of another type than it must be"
            )
    if ":" in name and kind.name in known():
        raise UserError(f"task {name}: a task of the package is named {kind.name!r} already; give it another name")
    return kind()


def _shipped(name: str) -> type[Task]:
    if name not in known():
        close = difflib.get_close_matches(name, known(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known())}; or give my_module:MyTask"
        raise ValueError(f"no task {name!r}; {hint}")
    file = f"src/atlantis/tasks/{name}.py"
    try:
        module = import_module(f"atlantis.tasks.{name}")
    except Exception as error:  # whatever a new file does wrong while it is imported
        raise ValueError(f"{file} cannot be imported: {type(error).__name__}: {in_a_line(error)}") from None
    kinds = [kind for _, kind in getmembers(module, isclass) if kind.__module__ == module.__name__]
    tasks = [kind for kind in kinds if issubclass(kind, Task)]
    if len(tasks) != 1:
        raise ValueError(f"{file}: must define one subclass of Task, not {len(tasks)}")
    if getattr(tasks[0], "name", name) != name:
        raise ValueError(f"{file}: its task is named {tasks[0].name!r}; the file and the task must have one name")
    return tasks[0]


def task_digest(name: str) -> Any:
    """What stands for a task in a dataset's digest: its name and the digest of its source.

    Of distance the name alone, as in datasets from before there were other tasks; tests hold its rows.
    """
    return name if name == "distance" else [name, code_digest(type(task_of(name)))]
