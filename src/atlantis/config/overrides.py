"""Overrides such as `training.max_steps=20`, on top of the settings of a config.

A file that an override names is meant relative to the current folder, or to the one that the caller gives.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from atlantis import yaml12
from atlantis.config.explain import Place, dotted, validated
from atlantis.errors import UserError
from atlantis.fields import shown
from atlantis.settings import RunConfig
from atlantis.yaml12 import Keys

FILES = (("base_config",), ("world", "cities"))  # keys that name a file
FOLDERS = ("output_root", "base")  # keys that may name a folder, relative to the current one
MAX_DEPTH = 10  # of an override's key


def overridden(
    data: dict[str, Any],
    places: dict[Keys, Place],
    overrides: Sequence[str],
    folder: Path,
    source: str,
    context: str | None = None,
) -> RunConfig:
    """The run that `data` describes with the overrides on top. Raises UserError with every mistake and who made it."""

    def with_these(these: Sequence[str]) -> tuple[dict[str, Any], dict[Keys, Place]]:
        settings, set_at = copy.deepcopy(data), dict(places)
        make_way(settings, _set_whole(these))
        for override in these:
            _override(settings, set_at, override, folder)
        return settings, set_at

    def without(override: str) -> dict[str, Any]:
        return with_these([other for other in overrides if other != override])[0]

    blame = {override: partial(without, override) for override in overrides}
    return validated(RunConfig, *with_these(overrides), source, context, blame)


def _override(data: dict[str, Any], places: dict[Keys, Place], override: str, folder: Path) -> None:
    """Set one `key.sub=value` in `data`; a number counts items of a list (`world.regions.0.count=50`)."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts) or len(parts) > MAX_DEPTH:
        raise UserError(f"{override}: write key=value, for example training.max_steps=20")
    if (dots := re.sub(r"\[(\d+)\]", r".\1", key)) != key:
        raise UserError(f"{override}: an item's number stands after a dot: {dots}={text}")
    keys: Keys = ()
    inner: Any = data
    for depth, part in enumerate(parts):
        step = _step(inner, part, keys, override)
        keys = (*keys, step)
        if depth + 1 == len(parts):
            inner[step], _ = yaml12.parse(text, override, one_line=True)
        else:
            if isinstance(inner, dict) and inner.get(step) is None:
                inner[step] = _default(keys)
            inner = inner[step]
    # What is wrong inside the new value is the override's mistake, on no line of the file.
    for place in [place for place in places if place[: len(keys)] == keys]:
        del places[place]
    places[keys] = (override, None)
    make_absolute(data, folder)


def _step(inner: Any, part: str, keys: Keys, override: str) -> str | int:
    """The key or position that `part` means inside `inner`, found at `keys`."""
    if isinstance(inner, dict):
        if part.isdecimal():
            raise UserError(f"{override}: {dotted(keys) or 'a config'} has no items yet; give the whole list")
        return part
    if not isinstance(inner, list):
        raise UserError(f"{override}: {dotted(keys)} is {shown(inner)} and has no {part} inside")
    if part not in map(str, range(len(inner))):
        items = f"items 0 to {len(inner) - 1}, not {part}" if inner else "no items yet; give the whole list"
        raise UserError(f"{override}: {dotted(keys)} has {items}")
    return int(part)


def _default(keys: Keys) -> Any:
    """What an override starts from where the file says nothing: a list of the defaults if there is one."""
    value: Any = RunConfig().model_dump(mode="json")
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, list) else {}


def make_absolute(data: dict[str, Any], folder: Path) -> None:
    """Make the files named in `data` absolute, in place; a relative name is meant relative to `folder`.

    A `~` that begins the path of a file or folder becomes the home folder.
    """
    for key in FOLDERS:
        if isinstance(data.get(key), str):
            data[key] = os.path.expanduser(data[key])
    for *parents, key in FILES:
        inner: Any = data
        for parent in parents:
            inner = inner.get(parent) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and isinstance(inner.get(key), str):
            inner[key] = os.path.abspath(folder / os.path.expanduser(inner[key]))


def make_way(below: dict[str, Any], above: dict[str, Any]) -> None:
    """A dataset has a kind or parts. Take out of `below`, in place, the one that `above` replaces by the other.

    Where `above` has both, they contradict each other, and the settings say so.
    """
    dataset, new = below.get("dataset"), above.get("dataset")
    if not isinstance(dataset, dict) or not isinstance(new, dict):
        return
    if new.get("parts") is not None and "kind" not in new:
        for key in ("kind", "n_train"):  # there are as many training questions as the parts have
            dataset.pop(key, None)
    elif new.get("kind", "parts") != "parts" and "parts" not in new:
        dataset.pop("parts", None)


def _set_whole(overrides: Sequence[str]) -> dict[str, Any]:
    """The settings of the dataset that overrides set, as a file would have them; not those inside one of its parts."""
    settings = {}
    for override in overrides:
        key, _, text = override.partition("=")
        section, _, name = key.strip().partition(".")
        if section == "dataset":
            settings[name] = yaml12.scalar(text.strip())
    return {"dataset": settings}
