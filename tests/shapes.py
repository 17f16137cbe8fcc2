"""Checks of shapes while tests run: of annotations with an axis in them, and of no others.

In each test they are of the first calls of each function: a check takes longer than what most calls do, and a model
that is called a thousand times would be half as fast for nothing new.

`numpy` has many kinds of integer and of float, and what an `int` or a `float` is, pyright knows. Shapes it does not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any, get_args

import jaxtyping
from beartype import beartype
from jaxtyping import AbstractArray

N_CHECKED = 20
"""How many calls of a function are checked in a test."""
calls: dict[str, int] = {}
"""How many there were in the present test, by the function's name."""


def has_shape(annotation: Any) -> bool:
    """Whether an annotation is an array with a shape, or holds one."""
    if isinstance(annotation, type) and not get_args(annotation):
        return issubclass(annotation, AbstractArray)
    return any(map(has_shape, get_args(annotation)))


def shapes_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """The type checker that `jaxtyping` is given."""
    function.__annotations__ = {name: a for name, a in function.__annotations__.items() if has_shape(a)}
    return beartype(function)


def check_first_calls() -> None:
    """From now on what `jaxtyping`'s import hook decorates is checked `N_CHECKED` times in a test."""
    jaxtyped = jaxtyping.jaxtyped

    def sampled(function: Any, typechecker: Any) -> Any:
        checked = jaxtyped(function, typechecker=typechecker)
        if not isinstance(function, FunctionType):
            return checked
        key = f"{function.__module__}.{function.__qualname__}"

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            if jaxtyping.config.jaxtyping_disable or calls.get(key, 0) >= N_CHECKED:
                return function(*arguments, **named)
            calls[key] = calls.get(key, 0) + 1
            return checked(*arguments, **named)

        return call

    jaxtyping.jaxtyped = lambda typechecker: lambda function: sampled(function, typechecker)
