"""What a run was made with, apart from its seeds: its settings, and the base that it started from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from atlantis import config as configs
from atlantis import trust
from atlantis.errors import UserError
from atlantis.lookup import base_folder
from atlantis.report.run_data import RunData

NO_WEIGHTS = ("evaluation.", "probe.", "training.device", "training.compile")
"""Beginnings of the settings that do not decide which model a base is."""


class Base(NamedTuple):
    """Where a run started. settings: of the run that made it, without seeds; None where its config is not found."""

    weights: str | None
    name: str
    checkpoint: str
    settings: dict[str, Any] | None


class Setup(NamedTuple):
    """A run's settings without seeds, empty if they were not recorded, and its base; None for a run from scratch."""

    settings: dict[str, Any]
    base: Base | None


def setup_of(run: RunData) -> Setup:
    """The setup that `run.json` tells of, with the config of the base where its folder is still there."""
    config = run.about.get("config")
    facts = config if isinstance(config, dict) else {}
    return Setup(_without_seeds(facts), _base_of(run, facts))


def same_setup(a: Setup, b: Setup) -> bool:
    """Whether two runs may differ in their seeds alone.

    Their settings are compared without every key that has `seed` in it. Their bases are the same if their weights have
    the same digest. Otherwise both must be the same checkpoint (such as `final`) of runs with the same settings,
    again without seeds and without what leaves the weights alone (`NO_WEIGHTS`). If one of the two configs cannot be
    found, the names of the bases are compared, without the part that says the seed.
    """
    if a.settings != b.settings:
        return False
    if a.base is None or b.base is None:
        return a.base is b.base
    if a.base.weights is not None and a.base.weights == b.base.weights:
        return True
    if a.base.checkpoint != b.base.checkpoint:
        return False
    if a.base.settings is None or b.base.settings is None:
        return a.base.name == b.base.name
    return a.base.settings == b.base.settings


def _without_seeds(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The settings but seeds and the base, whose folder differs with its seed."""
    return {name: value for name, value in facts.items() if "seed" not in name and not name.startswith("base")}


def _base_of(run: RunData, facts: Mapping[str, Any]) -> Base | None:
    recorded = run.about.get("base")
    path = recorded.get("path") if isinstance(recorded, dict) else recorded
    if not isinstance(path, str):
        path = facts.get("base")
    if not isinstance(path, str):
        return None
    checkpoint = Path(path)
    in_a_run = checkpoint.parent.name == "checkpoints"
    folder = checkpoint.parent.parent if in_a_run else checkpoint
    digests = run.about.get("digests", {})
    folders = [checkpoint, folder, run.path.resolve().parent / folder.name, base_folder(folder.name)]
    settings = next(_settings_in(filter(None, folders), digests.get("base_config")), None)
    return Base(
        digests.get("base"), _name_without_seed(folder.name), checkpoint.name if in_a_run else "final", settings
    )


def _settings_in(folders: Iterator[Path], digest: str | None) -> Iterator[dict[str, Any]]:
    """The settings that decide a base's weights, from each folder whose config has the recorded digest, if any has."""
    for folder in folders:
        with suppress(UserError, OSError):  # as of a folder that is not ours to read
            if not configs.is_run(folder):
                continue
            config = configs.load_of_run(folder)
            if digest in (None, trust.config_digest(config)):
                facts = trust.config_facts(config)
                settings = {key: value for key, value in facts.items() if not key.startswith(NO_WEIGHTS)}
                yield _without_seeds(settings) | {"base": _name_without_seed(str(facts["base"]))}


def _name_without_seed(name: str) -> str:
    """`base` for `base_seed42` and for `base_seed=42`."""
    return re.sub(r"[_.+=-]?seed[_=-]?\d+", "", name)
