"""Which strategies there are, and the settings of each, checked by the strategy's own class.

A strategy is imported when its name is met in a config, and by its file's name alone: adding one is adding a file.
"""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from atlantis import own_code
from atlantis.fields import StrategySettings
from atlantis.strategies.common.strategy import Strategy

NOT_STRATEGIES = ("__init__", "registry")


def known() -> list[str]:
    """Names of the strategies that are files here."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem not in NOT_STRATEGIES)


def find(name: str) -> type[Strategy]:
    """The class that `name` means: of a file here, or `my_module:MyStrategy`. Raises ValueError if there is none."""
    if ":" in name:
        return own_code.own_class(name, Strategy)
    return _of_file(name)


@cache  # a benchmark asks tens of thousands of times; what is no strategy raises, and is looked for again
def _of_file(name: str) -> type[Strategy]:
    return own_code.file_class(name, Strategy, known())


def code_digest(name: str) -> str | None:
    """Digest of the module of a user's class `my_module:MyStrategy`; None for a strategy that is a file here."""
    return own_code.code_digest(find(name)) if ":" in name else None


def checked_settings(value: Any) -> StrategySettings:
    """The settings in `value`, which has at least `name`, as the strategy's own class has them.

    Raises ValueError or a ValidationError in which unknown keys have a hint.
    """
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError(
            f"write a strategy's name and its settings, such as {{name: l2sp, weight: 0.1}}, not {value!r}"
        )
    try:
        kind = find(value["name"])
    except ValueError as error:
        raise _at("name", value["name"], str(error)) from None
    try:
        return kind.Settings.model_validate(value)
    except ValidationError as error:
        raise ValidationError.from_exception_data(
            "strategy", [_hinted(p, kind, value) for p in error.errors()]
        ) from None


def _hinted(problem: Any, kind: type[Strategy], value: dict[str, Any]) -> InitErrorDetails:
    """A problem as pydantic found it; an unknown key with what it was probably meant to be."""
    if problem["type"] != "extra_forbidden":
        ctx = problem.get("ctx", {})
        return InitErrorDetails(type=problem["type"], loc=problem["loc"], input=problem["input"], ctx=ctx)
    keys = [key for key in kind.Settings.model_fields if key != "name"]
    close = difflib.get_close_matches(str(problem["loc"][0]), keys, n=1)
    hint = f"did you mean {close[0]}?" if close else f"{value['name']} has {', '.join(keys) or 'no settings'}"
    return _details(problem["loc"], problem["input"], f"unknown key; {hint}")


def _at(key: str, value: Any, message: str) -> ValidationError:
    return ValidationError.from_exception_data("strategy", [_details((key,), value, message)])


def _details(loc: tuple[int | str, ...], value: Any, message: str) -> InitErrorDetails:
    return InitErrorDetails(
        type=PydanticCustomError("value_error", "{message}", {"message": message}), loc=loc, input=value
    )
