"""Configs as YAML: read, with overrides on top and the files they extend below; and written.

- A config says only how it differs from the defaults in `atlantis.settings`, or from the file it `extends`.
- A file named inside a config (`extends`, `base_config`, `world.cities`) is meant relative to that config. What is
  extended may also be named as on the command line: `extends: demo`.
- All mistakes of a config are reported at once, each with its file, line and key, in one UserError.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlantis import yaml12
from atlantis.config.explain import Place
from atlantis.config.overrides import FILES, make_absolute, make_way, overridden
from atlantis.errors import UserError
from atlantis.fields import READ_ONLY, Settings, did_you_mean, shown
from atlantis.reading import read_text
from atlantis.settings import RunConfig
from atlantis.yaml12 import Keys

CONFIGS = (Path("configs"), Path(__file__).parents[1] / "configs")
"""Where bare names of configs are looked up: the user's own, then those of the package."""
MAX_BYTES = 200_000


def find(name: str) -> Path:
    """The config file that `name` means: a path, or the name of one in `configs/`, here or in the package.

    A name may have a folder in it (`study_2025/cross`), and `configs/` before it (`configs/demo.yaml`).
    """
    path = Path(name)
    if path.is_file():
        return path
    inner = name.removeprefix("configs/").removesuffix(".yaml") if name.startswith("configs/") else name
    for folder in CONFIGS if _is_inside(Path(inner)) else ():
        if (file := folder / f"{inner}.yaml").is_file():
            return file
    if path.is_dir():
        raise UserError(f"{name}: is a folder; give a config file")
    names = known_configs()
    hint = (
        did_you_mean(path.stem, names)
        or did_you_mean(name, names)
        or (f"; there is {', '.join(names)}" if names else "")
    )
    raise UserError(f"{name}: no such config file{hint}")


def known_configs() -> list[str]:
    """The names that `find` knows; those in folders last."""
    found = ((file, file.relative_to(root)) for root in CONFIGS for file in root.glob("**/*.yaml"))
    # An editor's lock and a notebook's copies are hidden; the former is a link to nothing.
    files = {name.with_suffix("") for file, name in found if file.is_file() and not _is_hidden(name)}
    return [name.as_posix() for name in sorted(files, key=lambda name: (len(name.parts), name))]


def _is_hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _is_inside(name: Path) -> bool:
    """Whether a name can only mean something below a folder."""
    return not name.is_absolute() and ".." not in name.parts


def load(path: Path | str, overrides: Sequence[str] = (), own_code: bool = True) -> RunConfig:
    """The run that the YAML file `path` describes, with `overrides` such as `training.max_steps=20` on top.

    `path` may be the bare name of a config, such as `demo`.
    The name defaults to the file's; `base_config` and `world.cities` come out as absolute paths.
    A strategy of one's own (`my_module:MyStrategy`) is imported, unless `own_code` is false: as it is where a folder is
    only looked at, which somebody else may have made. Raises UserError with every mistake, each with its file, line and
    key.
    """
    return load_with(path, overrides, own_code=own_code)[0]


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, or of a shipped base: from its start on a run has its config in it."""
    return (folder / "config.yaml").is_file()


def require_run(folder: Path) -> None:
    """Raises UserError for a folder that is none of a run."""
    if not is_run(folder):
        raise UserError(f"{folder}: no config.yaml in it, so it is not the folder of a run")


def load_of_run(folder: Path) -> RunConfig:
    """The config in a run's folder. Nothing of one's own is imported for it: somebody else may have made the folder.

    Raises UserError as `require_run` and `load` do.
    """
    require_run(folder)
    return load(folder / "config.yaml", own_code=False)


def load_with(
    path: Path | str, overrides: Sequence[str] = (), extra: Sequence[str] = (), own_code: bool = True
) -> tuple[RunConfig, dict[str, Any]]:
    """As `load`, of a file that may hold the keys `extra` too; what it says under them, as plain data."""
    path = find(str(path))
    data, places = _read_with_parents(path, ())
    more = {key: data.pop(key) for key in extra if key in data}
    for override in overrides:
        if (key := override.partition("=")[0].partition(".")[0].strip()) in extra:
            raise UserError(f"{override}: {key} is not part of a run's config; set it in {path} itself")
    if data.get("name") is None:
        data["name"] = path.stem
    return overridden(data, places, overrides, Path.cwd(), str(path), None if own_code else READ_ONLY), more


def changed(config: RunConfig, overrides: Sequence[str] = (), folder: Path | str = ".") -> RunConfig:
    """`config` with overrides such as `training.max_steps=20` on top; files are named relative to `folder`.

    Its own files come out as absolute paths too. So `changed(config)` is the config that a run's folder holds.
    """
    data = config.model_dump(mode="json")
    make_absolute(data, Path(folder))
    return overridden(data, {}, overrides, Path(folder), str(config.name))


def dump(config: Settings, folder: Path | None = None) -> str:
    """YAML, every setting written out, that loads back equal.

    With `folder`, the place where the text will lie, files are named relative to it, so that both can move together.
    """
    data = config.model_dump(mode="json")
    if folder is not None and isinstance(config, RunConfig):
        for *parents, key in FILES:
            inner = data
            for parent in parents:
                inner = inner[parent]
            if inner[key] is not None:
                inner[key] = os.path.relpath(inner[key], folder)
    return yaml12.dump(data)


def _read_with_parents(path: Path, seen: tuple[Path, ...]) -> tuple[dict[str, Any], dict[Keys, Place]]:
    """The file's data over those of the files it extends, and where each key was set."""
    if path.resolve() in seen:
        raise UserError(f"{path}: extends itself: {' -> '.join(p.name for p in (*seen, path))}; break the circle")
    data, lines = _read(path)
    places: dict[Keys, Place] = {keys: (str(path), line) for keys, line in lines.items() if keys}
    make_absolute(data, path.parent)
    if "extends" not in data:
        return data, places
    parent, where = data.pop("extends"), f"{path}:{lines['extends',]}: extends"
    if not isinstance(parent, str):
        raise UserError(f"{where}: must be the name of one config file, not {shown(parent)}")
    below, places_below = _read_with_parents(_parent(path, parent, where), (*seen, path.resolve()))
    for key in ("name", "description"):
        below.pop(key, None)
    make_way(below, data)
    return _merge(below, data), places_below | places


def _parent(path: Path, parent: str, where: str) -> Path:
    """The file that the config at `path` extends: one beside it, or else what `find` knows by this name."""
    if (beside := path.parent / parent).is_file():
        return beside
    try:
        return find(parent)
    except UserError as error:
        hint = str(error).partition("no such config file")[2]
        raise UserError(f"{where}: there is no file {beside}{hint}") from None


def _read(path: Path) -> tuple[dict[str, Any], dict[Keys, int]]:
    """One YAML file and the line of each of its keys."""
    try:
        text = read_text(path, MAX_BYTES)
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file") from None
    data, lines = yaml12.parse(text, str(path))
    if data is None or data == {}:
        raise UserError(f"{path}: is empty; write at least one setting, such as `description: my run`")
    if not isinstance(data, dict):
        raise UserError(f"{path}: must hold `key: value` lines, not {shown(data)}")
    return data, lines


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`, key by key; lists and values are replaced whole."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
