"""Who takes part: a strategy, or several together, and the values of its strength that are tried.

All methods train at the scenario's learning rate, but for those that are there to show what another rate does. A
strength has five values, about evenly spaced on a log scale, or on a plain one where it is a share of a way or a number
of blocks; the middle one stands where nothing is tuned. One more on either side is tried where the best of the five is
at that end. A method without a strength has no trials.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

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

N_VALUES = 5

NEEDS: tuple[Need, ...] = ("old prompts", "old data", "base weights", "optimizer state")
MAX_BYTES = 20_000


def uses(needs: Sequence[str]) -> str:
    """What a method may use beside the new data, in words."""
    return " + ".join(needs) or "nothing"


class Method(Settings):
    """What enters: `strategy` as in a run's config, the `setting` that is its strength, and the `values` tried for it.

    In a list of strategies the setting says which: `1.weight` is the second one's. `beyond`: the values that are tried
    further down and up, null where the range ends. `rate` multiplies the scenario's learning rate.
    """

    name: Annotated[str, AfterValidator(folder_name), Field(max_length=40)]
    strategy: dict[str, Any] | list[dict[str, Any]]
    setting: str | None = None
    values: list[float] = Field(default=[], description="five, ascending; the middle one where nothing is tuned")
    beyond: list[float | None] = Field(default=[None, None], min_length=2, max_length=2)
    rate: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _strategies_exist(self) -> Method:
        if not self._list:
            raise ValueError("strategy: an empty list; name at least one, such as {name: naive}")
        self._check_values()
        for value in (*self.values, *(value for value in self.beyond if value is not None)) or (None,):
            for strategy in self.parts(value):
                checked_settings(strategy)
        for part in self._list:
            declared = find(part["name"]).needs
            if not isinstance(declared, (set, frozenset)) or not declared <= set(NEEDS):
                raise ValueError(f"{part['name']}: needs is {declared!r}; it is a set of some of {', '.join(NEEDS)}")
        return self

    def _check_values(self) -> None:
        """Five in ascending order where there is a setting, with `beyond` outside them, and none where there is not."""
        low, high = self.beyond
        if self.setting is None:
            if self.values or self.beyond != [None, None]:
                raise ValueError(f"values: {self.values} of which setting? Give setting too, or leave them out")
        elif len(self.values) != N_VALUES or self.values != sorted(set(self.values)):
            raise ValueError(f"values: {self.values}; give the {N_VALUES} that are tried for {self.setting}, ascending")
        elif not (low is None or low < self.values[0]) or not (high is None or high > self.values[-1]):
            raise ValueError(f"beyond: {[low, high]} must lie outside the values, one below and one above, or null")

    @property
    def default(self) -> float | None:
        """The value that stands where nothing is tuned; None without a setting."""
        return self.values[N_VALUES // 2] if self.values else None

    def further(self, value: float | None) -> float | None:
        """The value beyond `value` where that is at an end of the five; None elsewhere, and where the range ends."""
        if not self.values or value not in (self.values[0], self.values[-1]):
            return None
        return self.beyond[0] if value == self.values[0] else self.beyond[1]

    @property
    def _list(self) -> list[dict[str, Any]]:
        return self.strategy if isinstance(self.strategy, list) else [self.strategy]

    def parts(self, value: float | None, buffer: int | None = None) -> list[dict[str, Any]]:
        """The strategies as a config has them, with `value` for the setting; `buffer` old pairs may be kept."""
        parts = [dict(part) for part in self._list]
        if self.setting is not None and value is not None:
            index, _, key = self.setting.rpartition(".")
            if index and (not re.fullmatch("[0-9]{1,3}", index) or int(index) >= len(parts)):
                raise ValueError(f"setting {self.setting!r} counts the strategies from 0, and there are {len(parts)}")
            parts[int(index or 0)][key] = value
        for part in parts if buffer else ():
            if "buffer" in find(part["name"]).Settings.model_fields:
                part["buffer"] = buffer
        return parts

    def old_pairs(self, value: float | None, buffer: int | None = None) -> int | Literal["all"]:
        """How many old pairs are kept at hand."""
        kept = 0
        for part in self.parts(value, buffer):
            strategy = find(part["name"])
            if "old data" in strategy.needs:
                own = getattr(checked_settings(part), "buffer", None)
                if own is None:
                    return "all"
                kept = max(kept, int(own))
        return kept

    @property
    def key(self) -> str:
        """What its runs are named by: its name and, unless it is the benchmark's own, a digest of all that it is.

        So what ran before a file, or a class that it names, was changed is not taken for what it is now.
        """
        if METHODS.get(self.name) == self:
            return self.name
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

    def on(self, config: RunConfig, value: float | None, buffer: int | None = None) -> RunConfig:
        """The run `config` with this method; `buffer`, where it is given, is how many old pairs may be kept."""
        parts = self.parts(value, buffer)
        data: dict[str, Any] = config.model_dump(mode="json") | {"strategy": parts}
        data["training"]["learning_rate"] *= self.rate
        return configs.checked(RunConfig, data, f"method {self.name}")


Values = tuple[float, float, float, float, float]
Beyond = tuple[float | None, float | None]


def _plain(name: str, called: str = "", rate: float = 1.0, **strategy: Any) -> Method:
    """A strategy with nothing to tune, under its own name or the one in `called`."""
    return Method(name=called or name, strategy={"name": name, **strategy}, rate=rate)


def _tuned(name: str, setting: str, values: Values, beyond: Beyond, called: str = "", **strategy: Any) -> Method:
    """A strategy whose strength is tried at `values`, under its own name or the one in `called`."""
    return Method(
        name=called or name,
        strategy={"name": name, **strategy},
        setting=setting,
        values=list(values),
        beyond=list(beyond),
    )


def _weighed(name: str, weight: float) -> Method:
    """A strategy whose strength is a weight: `weight` in the middle, and a factor of about 3 between the values."""
    low, lower, middle, higher, high = (round(weight * factor, 10) for factor in (0.1, 0.3, 1, 3, 10))
    beyond = round(weight * 0.03, 10), round(weight * 30, 10)
    return _tuned(name, "weight", (low, lower, middle, higher, high), beyond)


def _together(called: str, *strategies: dict[str, Any], setting: str, values: Values, beyond: Beyond) -> Method:
    """Several strategies at once: of one the strength is tried, the others have that of their own trials."""
    return Method(name=called, strategy=list(strategies), setting=setting, values=list(values), beyond=list(beyond))


SHARES: Values = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Of a way between two models."""

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        _plain("naive"),
        _plain("naive", "naive_half_rate", rate=0.5),
        _plain("naive", "naive_double_rate", rate=2.0),
        _plain("joint"),
        _plain("replay", "replay_1pct", share=0.01),
        _tuned("replay", "share", (0.02, 0.05, 0.1, 0.2, 0.4), (0.01, 0.6)),
        _tuned("der", "alpha", (0.05, 0.15, 0.5, 1.5, 5.0), (0.015, 15.0)),
        _plain("agem"),
        _plain("agem", "agem_update", project="update"),
        _weighed("distill", 1.0),
        _weighed("lwf", 0.1),
        _weighed("l2sp", 0.1),
        _weighed("ewc", 2.0),
        _weighed("online_ewc", 2.0),
        _tuned("mas", "weight", (1.0, 4.0, 16.0, 64.0, 256.0), (0.25, 1_024.0)),
        _tuned("gpm", "energy", (0.8, 0.9, 0.95, 0.98, 0.99), (0.6, 0.995)),
        _tuned("lora", "rank", (2, 4, 8, 16, 32), (1, 64)),
        _tuned("freeze", "bottom", (1, 2, 3, 4, 5), (None, None)),
        _tuned("freeze", "top", (1, 2, 3, 4, 5), (None, None), "lower_alone", bottom=0),
        _tuned("wise", "alpha", SHARES, (0.03, 0.97)),
        _tuned("ema", "decay", (0.95, 0.98, 0.99, 0.995, 0.998), (0.9, 0.999)),
        _tuned("averaging", "pull", SHARES, (0.03, 1.0)),
        _plain("flow"),
        _tuned("early", "factor", (0.03, 0.1, 0.3, 0.6, 1.0), (0.01, None)),
        _tuned("early", "factor", (0.03, 0.1, 0.3, 0.6, 1.0), (0.01, None), "early_moments", moments=True),
        _weighed("integration", 1.0),
        _weighed("fixed_mean", 1.0),
        _weighed("repair", 10.0),
        _tuned("new_rows", "factor", (2.0, 6.0, 20.0, 60.0, 200.0), (0.6, 600.0)),
        _together("replay_l2sp", {"name": "replay", "share": 0.6}, {"name": "l2sp"}, setting="1.weight",
                  values=(0.01, 0.03, 0.1, 0.3, 1.0), beyond=(0.003, 3.0)),
        _together("distill_wise", {"name": "distill"}, {"name": "wise"}, setting="1.alpha", values=SHARES,
                  beyond=(0.03, 0.97)),
    )
}  # fmt: skip
"""By name. `mas` begins at the strategy's own weight, which is 1/460 of the paper's (docs/strategies.md)."""


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
