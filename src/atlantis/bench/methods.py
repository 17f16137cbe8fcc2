"""Who takes part: a strategy, or several together, and the few values of its main setting that may be tried.

Every method has the same number of trials. One without a setting of its own is tried at other learning rates.
The first value is the default, which counts in a tie, and stands where nothing is tuned.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from atlantis import config as configs
from atlantis import yaml12
from atlantis.artifacts import digest_of
from atlantis.errors import UserError
from atlantis.reading import read_text
from atlantis.settings import RunConfig, Settings, folder_name
from atlantis.strategies import Need
from atlantis.strategies.registry import checked_settings, code_digest, find
from atlantis.vocabulary import Kind

TRIALS = 3
RATE = "learning_rate"
"""The setting of a method that has none of its own: the scenario's learning rate, times the value."""

REVISED: dict[str, str] = dict.fromkeys(["lwf", "replay", "replay_1pct"], "-r2")
"""What stands behind the name of a method whose runs are others since 2026-11-28 (docs/benchmark.md)."""

NEEDS: tuple[Need, ...] = ("old prompts", "old data", "base weights", "optimizer state")
MAX_BYTES = 20_000


class Method(Settings):
    """What enters: `strategy` as in a run's config, its main `setting`, and the `values` that are tried for it.

    In a list of strategies the setting says which: `1.weight` is the second one's.
    """

    name: Annotated[str, AfterValidator(folder_name), Field(max_length=40)]
    strategy: dict[str, Any] | list[dict[str, Any]]
    setting: str = RATE
    values: list[float] = Field(default=[1.0, 0.5, 2.0], min_length=TRIALS, max_length=TRIALS)

    @model_validator(mode="after")
    def _strategies_exist(self) -> Method:
        if not self._list:
            raise ValueError("strategy: an empty list; name at least one, such as {name: naive}")
        if len(set(self.values)) < TRIALS:
            raise ValueError(f"values: {self.values} has one of them twice; a value is tried once")
        if self.setting == RATE and "values" in self.model_fields_set and "setting" not in self.model_fields_set:
            raise ValueError(f"values: of which setting? Give setting too ({RATE}: the values multiply the rate)")
        if self.setting != RATE and "values" not in self.model_fields_set:
            raise ValueError(f"values: give the three that are tried for {self.setting}, the default first")
        for value in self.values:
            for strategy in self.parts(value):
                checked_settings(strategy)
        for part in self._list:
            declared = find(part["name"]).needs
            if not isinstance(declared, (set, frozenset)) or not declared <= set(NEEDS):
                raise ValueError(f"{part['name']}: needs is {declared!r}; it is a set of some of {', '.join(NEEDS)}")
        return self

    @property
    def _list(self) -> list[dict[str, Any]]:
        return self.strategy if isinstance(self.strategy, list) else [self.strategy]

    def parts(self, value: float) -> list[dict[str, Any]]:
        """The strategies as a config has them, with `value` for the setting."""
        parts = [dict(part) for part in self._list]
        if self.setting != RATE:
            index, _, key = self.setting.rpartition(".")
            if index and (not re.fullmatch("[0-9]{1,3}", index) or int(index) >= len(parts)):
                raise ValueError(f"setting {self.setting!r} counts the strategies from 0, and there are {len(parts)}")
            parts[int(index or 0)][key] = value
        return parts

    @property
    def key(self) -> str:
        """What its runs are named by: its name and, unless it is the benchmark's own, a digest of all that it is.

        So what ran before a file, or a class that it names, was changed is not taken for what it is now. One of the
        benchmark's own that was changed has its `REVISED` with it.
        """
        if METHODS.get(self.name) == self:
            return self.name + REVISED.get(self.name, "")
        code = [code_digest(part["name"]) for part in self._list]
        return f"{self.name}-{digest_of([self.model_dump(mode='json'), code])[:6]}"

    @property
    def needs(self) -> list[Need]:
        """What it may use beside the new data, in the order of `NEEDS`."""
        used: set[str] = set()
        for part in self._list:
            used |= find(part["name"]).needs
            used |= {"optimizer state"} if part.get("moments") else set()
        return [need for need in NEEDS if need in used]

    def speaks(self, kind: Kind) -> bool:
        """Whether all its strategies work with this vocabulary."""
        return all(find(part["name"]).vocabulary in (None, kind) for part in self._list)

    @property
    def has_buffer(self) -> bool:
        """Whether it keeps old pairs, of a number that can be set."""
        return any("buffer" in find(part["name"]).Settings.model_fields for part in self._list)

    def on(self, config: RunConfig, value: float, buffer: int | None = None) -> RunConfig:
        """The run `config` with this method; `buffer`, where it is given, is how many old pairs may be kept."""
        parts = self.parts(value)
        for part in parts if buffer else ():
            if "buffer" in find(part["name"]).Settings.model_fields:
                part["buffer"] = buffer
        data: dict[str, Any] = config.model_dump(mode="json") | {"strategy": parts}
        if self.setting == RATE:
            data["training"]["learning_rate"] *= value
        return configs.checked(RunConfig, data, f"method {self.name}")


def _method(name: str, setting: str = RATE, values: tuple[float, ...] = (1.0, 0.5, 2.0), **more: Any) -> Method:
    """A strategy under its own name, or under the one in `called`."""
    called = more.pop("called", name)
    return Method(name=called, strategy={"name": name, **more}, setting=setting, values=list(values))


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        _method("naive"),
        _method("joint"),
        _method("replay", called="replay_1pct", share=0.01),
        _method("replay", "share", (0.1, 0.05, 0.3)),
        _method("der", "alpha", (0.5, 0.1, 1.0)),
        _method("agem"),
        _method("agem", called="agem_update", project="update"),
        _method("distill", "weight", (1.0, 0.3, 3.0)),
        _method("lwf", "weight", (0.1, 0.03, 0.3)),
        _method("l2sp", "weight", (0.1, 0.01, 1.0)),
        _method("ewc", "weight", (2.0, 0.2, 20.0)),
        _method("online_ewc", "weight", (2.0, 0.2, 20.0)),
        _method("mas", "weight", (1.0, 0.1, 10.0)),
        _method("gpm", "energy", (0.95, 0.8, 0.99)),
        _method("lora", "rank", (8, 2, 32)),
        _method("freeze", "bottom", (3, 1, 5)),
        _method("wise", "alpha", (0.5, 0.25, 0.75)),
        _method("ema", "decay", (0.99, 0.95, 0.995)),
        _method("averaging", "pull", (0.5, 0.2, 0.8)),
        _method("flow"),
        _method("early", "factor", (1.0, 0.3, 0.1)),
        _method("early", "factor", (1.0, 0.3, 0.1), called="early_moments", moments=True),
        _method("integration", "weight", (1.0, 0.1, 10.0)),
        _method("fixed_mean", "weight", (1.0, 0.3, 3.0)),
        _method("repair", "weight", (10.0, 3.0, 30.0)),
        _method("freeze", "top", (3, 2, 4), called="lower_alone", bottom=0),
        _method("new_rows", "factor", (20.0, 5.0, 100.0)),
        Method(
            name="replay_l2sp",
            strategy=[{"name": "replay"}, {"name": "l2sp"}],
            setting="1.weight",
            values=[0.1, 0.01, 1.0],
        ),
    )
}
"""By name. First stands what counts in a tie, with most the strategy's own default; the others lie on either side.

LwF's values were (1, 0.3, 3) until 2026-11-28; at all three nothing new was learned (docs/benchmark.md).
"""


def read_method(file: Path) -> Method:
    """The method that a YAML file describes: name, strategy, setting, values. Raises UserError."""
    try:
        text = read_text(file, MAX_BYTES)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; docs/benchmark.md shows one for a method of your own") from None
    data, _ = yaml12.parse(text, str(file))
    if not isinstance(data, dict):
        raise UserError(f"{file}: must hold the lines name, strategy, setting and values")
    method = configs.checked(Method, data, str(file))
    if method.name in METHODS:
        raise UserError(f"{file}: name: the benchmark has a method {method.name!r}; choose another name")
    return method
