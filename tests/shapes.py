"""Checks of shapes while tests run: of annotations with an axis in them, and of no others.

`numpy` has many kinds of integer and of float, and what an `int` or a `float` is, pyright knows. Shapes it does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def has_shape(annotation: Any) -> bool:
    """Whether an annotation is an array with a shape, or holds one."""
    if isinstance(annotation, type) and not get_args(annotation):
        return issubclass(annotation, AbstractArray)
    return any(map(has_shape, get_args(annotation)))


def shapes_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """The type checker that `jaxtyping` is given."""
    function.__annotations__ = {name: a for name, a in function.__annotations__.items() if has_shape(a)}
    return beartype(function)
