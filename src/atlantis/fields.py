"""What settings are made of: their base class, their numbers, and the settings that every strategy has."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from atlantis.errors import UserError


def _whole(value: Any) -> Any:
    """1e6 is a whole number too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Int = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[Int, Field(ge=0, le=10**12)]
Positive = Annotated[Int, Field(ge=1, le=10**12)]
Seed = Annotated[Int, Field(ge=0, lt=2**63)]


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused, values are not converted, instances do not change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values. Raises UserError for a key that the settings do not have: pydantic takes any."""
        names = type(self).model_fields
        for key in update or {}:
            if key not in names and self.model_config.get("extra") != "allow":
                close = difflib.get_close_matches(key, names, n=1)
                meant = f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(names)}"
                raise UserError(f"{type(self).__name__}.{key}: unknown key{meant}")
        return super().model_copy(update=update, deep=deep)


READ_ONLY = "read only"
"""The context in which settings are validated when a run is looked at: no code that they name is imported."""


class StrategySettings(Settings):
    """A strategy's name; its own parameters are in a subclass, beside the strategy (`atlantis.strategies`)."""

    name: str = "naive"


class OwnStrategySettings(StrategySettings):
    """Settings of a strategy that is somebody's own code, read without importing it."""

    model_config = ConfigDict(extra="allow")
