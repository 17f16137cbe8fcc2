"""What settings are made of: their base class, their numbers, and the settings that every strategy has."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from atlantis.errors import UserError

EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text (in quotes if it looks like a number)",
    "bool_type": "true or false",
    "list_type": "a list, such as [1, 2]",
    "tuple_type": "a list, such as [0.9, 0.999]",
    "dict_type": "a group of keys",
    "model_type": "a group of keys",
}
"""What a value must be, by the kind of pydantic's error."""


def _whole(value: Any) -> Any:
    """1e6 is a whole number too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


MAX_COUNT = 10**12
Int = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[Int, Field(ge=0, le=MAX_COUNT)]
Positive = Annotated[Int, Field(ge=1, le=MAX_COUNT)]
Seed = Annotated[Int, Field(ge=0, lt=2**63)]


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused, values are not converted, instances do not change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values, checked like all settings; pydantic's own takes anything.

        Raises UserError for a key that the settings do not have, and for a value that they cannot have.
        """
        if not update:
            return super().model_copy(deep=deep)
        kind, known = type(self), type(self).model_fields
        for key in update:
            if key not in known and self.model_config.get("extra") != "allow":
                hint = did_you_mean(key, known) or f"; known here: {', '.join(known)}"
                raise UserError(f"{kind.__name__}.{key}: unknown key{hint}")
        try:
            checked = kind.model_validate(dict(self) | dict(update))
        except ValidationError as error:
            raise UserError("; ".join(f"{_named(kind, p['loc'])}: {mistake(p)}" for p in error.errors())) from None
        return super().model_copy(update={key: getattr(checked, key) for key in update}, deep=deep)


def _named(kind: type[BaseModel], keys: Sequence[str | int]) -> str:
    return ".".join(map(str, (kind.__name__, *keys)))


def mistake(problem: Any) -> str:
    """One of pydantic's errors in our words: what is wrong with a value, and what to do."""
    kind, message, value = problem["type"], problem["msg"], problem.get("input")
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind in EXPECTED:
        return f"must be {EXPECTED[kind]}, not {shown(value)}"
    if kind == "missing":
        return "is missing; give it a value"
    if kind in ("too_short", "too_long"):
        wanted = problem["ctx"]["min_length" if kind == "too_short" else "max_length"]
        bound = "at least" if kind == "too_short" else "at most"
        return f"must have {bound} {wanted:,} {'item' if wanted == 1 else 'items'}, not {shown(value)}"
    options = re.findall(r"'([^']*)'", message) if kind == "literal_error" else []
    return f"{message.replace('Input should', 'must')}, not {shown(value)}{did_you_mean(str(value), options)}"


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`; did you mean x?` with the closest of the options; empty if none is close."""
    close = difflib.get_close_matches(word, list(options), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def shown(value: Any) -> str:
    """A value as YAML has it, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


READ_ONLY = "read only"
"""The context in which settings are validated when a run is looked at: no code that they name is imported."""


class StrategySettings(Settings):
    """A strategy's name; its own parameters are in a subclass, beside the strategy (`atlantis.strategies`)."""

    name: str = "naive"


class OwnStrategySettings(StrategySettings):
    """Settings of a strategy that is somebody's own code, read without importing it."""

    model_config = ConfigDict(extra="allow")
