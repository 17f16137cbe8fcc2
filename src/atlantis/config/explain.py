"""What is wrong with settings, said to who wrote them: which file, line and key, what is wrong, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from atlantis.errors import UserError
from atlantis.fields import mistake
from atlantis.settings import PartConfig, VirtualRegionConfig
from atlantis.yaml12 import Keys

S = TypeVar("S", bound=BaseModel)
Place = tuple[str, int | None]  # where a key was set: file and line, or an override and no line
ITEMS = {"regions": VirtualRegionConfig, "parts": PartConfig}
"""Settings that are lists, and what their items are."""
MAX_MISTAKES = 20  # that are told


def checked(model: type[S], values: dict[str, Any], source: str = "command line") -> S:
    """`model(**values)` with every mistake in one UserError that names `source`."""
    return validated(model, values, {}, source)


def validated(
    model: type[S],
    data: dict[str, Any],
    places: dict[Keys, Place],
    source: str,
    context: str | None = None,
    without: Mapping[str, Callable[[], dict[str, Any]]] = MappingProxyType({}),
) -> S:
    """`model` with the values of `data`. Raises UserError with every mistake and its place, else `source`.

    `without` has every override, and the data as they are without it. An override may contradict a line of a file: a
    mistake that is gone without the override is the override's.
    """
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        problems = error.errors()[:MAX_MISTAKES]
        remaining = cache(lambda: {key: _remaining(model, data_of, context) for key, data_of in without.items()})

        def culprits(problem: Any) -> str:
            found = [key for key, rest in remaining().items() if rest is not None and _identity(problem) not in rest]
            return " ".join(found)

        lines = [line for _, line in sorted(_explain(problem, model, places, source, culprits) for problem in problems)]
        n = error.error_count()
        if n > len(lines):
            lines.append(f"and {n - len(lines):,} more")
        raise UserError(lines[0] if n == 1 else "\n  ".join([f"{n:,} mistakes:", *lines])) from None


def _identity(problem: Any) -> tuple[Any, str]:
    return problem["loc"], problem["msg"]


def _remaining(
    model: type[BaseModel], data_of: Callable[[], dict[str, Any]], context: str | None
) -> Collection[tuple[Any, str]] | None:
    """The mistakes in the data without an override; None where another override makes no sense without it."""
    try:
        model.model_validate(data_of(), context=context)
    except ValidationError as error:
        return {_identity(problem) for problem in error.errors()}
    except UserError:
        return None
    return ()


def _explain(
    problem: Any, model: type[BaseModel], places: dict[Keys, Place], default: str, culprits: Callable[[Any], str]
) -> tuple[Any, str]:
    """Order and text of one of pydantic's errors: where, which key, what is wrong, what to do."""
    keys: Keys = tuple(problem["loc"])
    above = [keys[:n] for n in range(len(keys), 0, -1) if keys[:n] in places]
    inside = [place for place in places if place[: len(keys)] == keys] if keys else []
    source, line = places[(above or inside)[0]] if above or inside else (default, None)
    if (line is not None or not above) and (overrides := culprits(problem)):
        source, line = overrides, None
    where = source if line is None else f"{source}:{line}"
    named = "" if not keys or source.startswith(dotted(keys) + "=") else f"{dotted(keys)}: "
    return (line is None, source, line or 0), f"{where}: {named}{_what(problem, model, keys)}"


def _what(problem: Any, model: type[BaseModel], keys: Keys) -> str:
    return "unknown key" + _meant(model, keys) if problem["type"] == "extra_forbidden" else mistake(problem)


def _meant(model: type[BaseModel], keys: Keys) -> str:
    """What the unknown key `keys` was probably meant to be, else what there is in its place."""
    every = list(_every_key(model))
    words = [key for key in keys if isinstance(key, str)]
    last = {key.split(".")[-1]: key for key in reversed(every)}
    siblings = [key for key in every if key.split(".")[:-1] == words[:-1]]
    beside = {key.split(".")[-1]: key for key in siblings}
    within = [key for name, key in beside.items() if words[-1] in name.split("_")]
    if named := within or [key for key in every if key.split(".")[-1] == words[-1]]:
        return f"; did you mean {' or '.join(named)}?"
    if close := difflib.get_close_matches(words[-1], list(beside), n=1):
        return f"; did you mean {beside[close[0]]}?"
    for word, options in ((words[-1], list(last)), (".".join(words), every)):
        close = difflib.get_close_matches(word, options, n=1)
        if close:
            return f"; did you mean {last.get(close[0], close[0])}?"
    return f"; known here: {', '.join(key.split('.')[-1] for key in siblings)}"


def _every_key(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """All dotted keys of a model; those of a list's items under the list's own name."""
    for name, field in model.model_fields.items():
        yield prefix + name
        annotation = ITEMS.get(name, field.annotation)
        for inner in (annotation, *get_args(annotation)):  # or None
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _every_key(inner, f"{prefix}{name}.")


def dotted(keys: Keys) -> str:
    return ".".join(map(str, keys))
