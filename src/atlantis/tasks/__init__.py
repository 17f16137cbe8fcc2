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

from atlantis.errors import UserError
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
    module = import_module(f"atlantis.tasks.{name}")
    kinds = (kind for _, kind in getmembers(module, isclass) if kind.__module__ == module.__name__)
    return next(kind for kind in kinds if issubclass(kind, Task))


def task_digest(name: str) -> Any:
    """What stands for a task in a dataset's digest: its name, and for a user's own the digest of its source too."""
    return [name, code_digest(type(task_of(name)))] if ":" in name else name
