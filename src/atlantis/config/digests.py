"""What counts in a config: its digest, and how two configs differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atlantis.artifacts import digest_of
from atlantis.fields import Settings, shown
from atlantis.settings import RunConfig

LATER = {
    ("dataset", "parts"): None,
    ("dataset", "order"): "fair",
    ("tokenizer", "version"): None,
    ("training", "anchors"): None,
    ("training", "loss"): "answer",
    ("probe", "measures"): True,
}
"""Settings that came later, with the value that stands for what was done before: only another one counts."""

BOOKKEEPING = frozenset({"name", "description", "output_root", "base_config", "trackers"})  # change no result


def digest(config: Settings) -> str:
    """12 hexadecimal characters of all that can change a result: of a run, not its name, place or description."""
    return digest_of(_that_counts(config))


def difference(a: Settings, b: Settings) -> list[str]:
    """Lines such as `training.batch_size: 512 -> 64` for each setting that counts (see `digest`) and differs."""
    before, after = flat(a), flat(b)
    lines = []
    for key in [*before, *(key for key in after if key not in before)]:
        texts = [shown(values[key]) if key in values else "(absent)" for values in (before, after)]
        if texts[0] != texts[1] or before.get(key) != after.get(key):
            lines.append(f"{key}: {texts[0]} -> {texts[1]}")
    return lines


def flat(config: Settings) -> dict[str, Any]:
    """Every setting that counts (see `digest`) by its dotted key."""
    return dict(_flat(_that_counts(config)))


def all_settings(config: RunConfig) -> dict[str, Any]:
    """Every setting that can change a result, by its dotted key: also those at their defaults."""
    return dict(_flat(config.model_dump(mode="json", exclude=set(BOOKKEEPING))))


def _that_counts(config: Settings) -> dict[str, Any]:
    if not isinstance(config, RunConfig):
        return config.model_dump(mode="json")
    settings = config.model_dump(mode="json", exclude=set(BOOKKEEPING))
    if not config.strategies:  # a run without counts as before there were any; so with anchors
        del settings["strategy"]
    return as_before(settings)


def as_before(settings: dict[str, Any]) -> dict[str, Any]:
    """A run's settings, changed in place, without those of `LATER` that are not used: as they were before these."""
    settings["dataset"]["offset"] = settings["dataset"].pop("first_virtual")  # what runs before 2026-11-28 call it
    for (group, key), value in LATER.items():
        if key in settings[group] and settings[group][key] == value:
            del settings[group][key]
    return settings


def _flat(data: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; lists of groups by their positions, other lists whole."""
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else key)
    elif isinstance(data, list) and any(isinstance(item, dict) for item in data):
        yield from _flat({str(i): item for i, item in enumerate(data)}, prefix)
    else:
        yield prefix, data
