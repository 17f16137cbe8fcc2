"""Configs: YAML in, YAML out, a digest of what counts.

- A config says only how it differs from the defaults in `atlantis.settings`, or from the file it `extends`.
- A file named inside a config (`extends`, `base_config`, `world.cities`) is meant relative to that config.
- All mistakes of a config are reported at once, each with its file, line and key, in one UserError.

Use: `load("configs/demo.yaml", ["training.max_steps=20"]).training.batch_size`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from atlantis import yaml12
from atlantis.artifacts import digest_of
from atlantis.errors import UserError
from atlantis.reading import read_text
from atlantis.settings import (
    READ_ONLY,
    STUDY_SIZES,
    AnchorsConfig,
    DatasetConfig,
    EvaluationConfig,
    ModelConfig,
    ProbeConfig,
    RunConfig,
    Settings,
    TokenizerConfig,
    TrainingConfig,
    VirtualRegionConfig,
    WorldConfig,
)
from atlantis.yaml12 import Keys

__all__ = [
    "STUDY_SIZES",
    "AnchorsConfig",
    "DatasetConfig",
    "EvaluationConfig",
    "ModelConfig",
    "ProbeConfig",
    "RunConfig",
    "Settings",
    "TokenizerConfig",
    "TrainingConfig",
    "VirtualRegionConfig",
    "WorldConfig",
    "changed",
    "checked",
    "difference",
    "digest",
    "dump",
    "find",
    "flat",
    "load",
    "load_with",
]

MAX_BYTES = 200_000
MAX_MISTAKES = 20  # that are told
MAX_DEPTH = 10  # of an override's key
BOOKKEEPING = frozenset({"name", "description", "output_root", "base_config", "trackers"})  # change no result
FILES = (("base_config",), ("world", "cities"))  # keys that name a file

S = TypeVar("S", bound=Settings)
Place = tuple[str, int | None]  # where a key was set: file and line, or an override and no line

# --- reading


def find(name: str) -> Path:
    """The config file that `name` means: a path, or the bare name of one in `configs/`, here or in the checkout."""
    path = Path(name)
    if path.is_file():
        return path
    for folder in (Path("configs"), Path(__file__).parents[2] / "configs"):
        bare = folder / f"{name}.yaml"
        if path.name == name and bare.is_file():
            return bare
    if path.is_dir():
        raise UserError(f"{name}: is a folder; give a config file")
    known = sorted(file.stem for file in Path("configs").glob("*.yaml"))
    hint = _did_you_mean(path.stem, known) or (f"; configs/ has {', '.join(known)}" if known else "")
    raise UserError(f"{name}: no such config file{hint}")


def load(path: Path | str, overrides: Sequence[str] = (), own_code: bool = True) -> RunConfig:
    """The run that the YAML file `path` describes, with `overrides` such as `training.max_steps=20` on top.

    The name defaults to the file's; `base_config` and `world.cities` come out as absolute paths.
    A strategy of one's own (`my_module:MyStrategy`) is imported, unless `own_code` is false: as it is where a folder is
    only looked at, which somebody else may have made. Raises UserError with every mistake, each with its file, line and
    key.
    """
    return load_with(path, overrides, own_code=own_code)[0]


def load_with(
    path: Path | str, overrides: Sequence[str] = (), extra: Sequence[str] = (), own_code: bool = True
) -> tuple[RunConfig, dict[str, Any]]:
    """As `load`, of a file that may hold the keys `extra` too; what it says under them, as plain data."""
    path = Path(path)
    data, places = _read_with_parents(path, ())
    beside = {key: data.pop(key) for key in extra if key in data}
    for override in overrides:
        if (key := override.partition("=")[0].partition(".")[0].strip()) in extra:
            raise UserError(f"{override}: {key} is not part of a run's config; set it in {path} itself")
        _override(data, places, override, Path.cwd())
    if data.get("name") is None:
        data["name"] = path.stem
    return _validated(RunConfig, data, places, str(path), None if own_code else READ_ONLY), beside


def changed(config: RunConfig, overrides: Sequence[str], folder: Path | str = ".") -> RunConfig:
    """`config` with overrides such as `training.max_steps=20` on top; files in them are named relative to `folder`."""
    data, places = config.model_dump(mode="json"), {}
    for override in overrides:
        _override(data, places, override, Path(folder))
    return _validated(RunConfig, data, places, str(config.name))


def checked(model: type[S], values: dict[str, Any], source: str = "command line") -> S:
    """`model(**values)` with every mistake in one UserError that names `source`."""
    return _validated(model, values, {}, source)


def _validated(
    model: type[S], data: dict[str, Any], places: dict[Keys, Place], source: str, context: str | None = None
) -> S:
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        problems = error.errors()[:MAX_MISTAKES]
        lines = [line for _, line in sorted(_explain(problem, model, places, source) for problem in problems)]
        n = error.error_count()
        if n > len(lines):
            lines.append(f"and {n - len(lines):,} more")
        raise UserError(lines[0] if n == 1 else "\n  ".join([f"{n:,} mistakes:", *lines])) from None


def _read_with_parents(path: Path, seen: tuple[Path, ...]) -> tuple[dict[str, Any], dict[Keys, Place]]:
    """The file's data over those of the files it extends, and where each key was set."""
    if path.resolve() in seen:
        raise UserError(f"{path}: extends itself: {' -> '.join(p.name for p in (*seen, path))}; break the circle")
    data, lines = _read(path)
    places: dict[Keys, Place] = {keys: (str(path), line) for keys, line in lines.items() if keys}
    _anchor_files(data, path.parent)
    if "extends" not in data:
        return data, places
    parent, where = data.pop("extends"), f"{path}:{lines['extends',]}: extends"
    if not isinstance(parent, str):
        raise UserError(f"{where}: must be the name of one config file, not {_show(parent)}")
    if not (path.parent / parent).is_file():
        raise UserError(f"{where}: there is no file {path.parent / parent}")
    below, places_below = _read_with_parents(path.parent / parent, (*seen, path.resolve()))
    for own in ("name", "description"):
        below.pop(own, None)
    return _merge(below, data), places_below | places


def _read(path: Path) -> tuple[dict[str, Any], dict[Keys, int]]:
    """One YAML file and the line of each of its keys."""
    try:
        text = read_text(path, MAX_BYTES)
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file") from None
    data, lines = yaml12.parse(text, str(path))
    if data is None:
        raise UserError(f"{path}: is empty; write at least one setting, such as `description: my run`")
    if not isinstance(data, dict):
        raise UserError(f"{path}: must hold `key: value` lines, not {_show(data)}")
    return data, lines


def _override(data: dict[str, Any], places: dict[Keys, Place], override: str, folder: Path) -> None:
    """Set one `key.sub=value` in `data`; a number counts items of a list (`world.regions.0.count=50`)."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts) or len(parts) > MAX_DEPTH:
        raise UserError(f"{override}: write key=value, for example training.max_steps=20")
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
    for place in [place for place in places if place[: len(keys)] == keys]:
        del places[place]
    places[keys] = (override, None)
    _anchor_files(data, folder)


def _step(inner: Any, part: str, keys: Keys, override: str) -> str | int:
    """The key or position that `part` means inside `inner`, found at `keys`."""
    if isinstance(inner, dict):
        return part
    if not isinstance(inner, list):
        raise UserError(f"{override}: {_dotted(keys)} is {_show(inner)} and has no {part} inside")
    if part not in map(str, range(len(inner))):
        raise UserError(f"{override}: {_dotted(keys)} has items 0 to {len(inner) - 1}, not {part}")
    return int(part)


def _default(keys: Keys) -> Any:
    """What an override starts from where the file says nothing: a list of the defaults if there is one."""
    found: Any = RunConfig().model_dump(mode="json")
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, list) else {}


def _anchor_files(data: dict[str, Any], folder: Path) -> None:
    """Make the files named in `data` absolute, in place; a relative name is meant relative to `folder`."""
    for *parents, key in FILES:
        inner: Any = data
        for parent in parents:
            inner = inner.get(parent) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and isinstance(inner.get(key), str):
            inner[key] = os.path.abspath(folder / Path(inner[key]).expanduser())


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`, key by key; lists and values are replaced whole."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


# --- saying what is wrong


def _explain(problem: Any, model: type[BaseModel], places: dict[Keys, Place], default: str) -> tuple[Any, str]:
    """Order and text of one of pydantic's errors: where, which key, what is wrong, what to do."""
    keys: Keys = tuple(problem["loc"])
    above = [keys[:n] for n in range(len(keys), 0, -1) if keys[:n] in places]
    inside = [place for place in places if place[: len(keys)] == keys] if keys else []
    source, line = places[(above or inside)[0]] if above or inside else (default, None)
    where = source if line is None else f"{source}:{line}"
    named = "" if not keys or source.startswith(_dotted(keys) + "=") else f"{_dotted(keys)}: "
    return (line is None, source, line or 0), f"{where}: {named}{_what(problem, model, keys)}"


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


def _what(problem: Any, model: type[BaseModel], keys: Keys) -> str:
    kind, message, value = problem["type"], problem["msg"], problem.get("input")
    if kind == "extra_forbidden":
        return "unknown key" + _meant(model, keys)
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind in EXPECTED:
        return f"must be {EXPECTED[kind]}, not {_show(value)}"
    if kind == "missing":
        return "is missing; give it a value"
    if kind in ("too_short", "too_long"):
        wanted = problem["ctx"]["min_length" if kind == "too_short" else "max_length"]
        bound = "at least" if kind == "too_short" else "at most"
        return f"must have {bound} {wanted:,} {'item' if wanted == 1 else 'items'}, not {_show(value)}"
    options = re.findall(r"'([^']*)'", message) if kind == "literal_error" else []
    return f"{message.replace('Input should', 'must')}, not {_show(value)}{_did_you_mean(str(value), options)}"


def _meant(model: type[BaseModel], keys: Keys) -> str:
    """What the unknown key `keys` was probably meant to be, else what there is in its place."""
    every = list(_every_key(model))
    words = [key for key in keys if isinstance(key, str)]
    last = {key.split(".")[-1]: key for key in reversed(every)}
    if words[-1] in last:
        return f"; did you mean {last[words[-1]]}?"
    siblings = [key for key in every if key.split(".")[:-1] == words[:-1]]
    for word, options in ((".".join(words), siblings), (".".join(words), every), (words[-1], list(last))):
        close = difflib.get_close_matches(word, options, n=1)
        if close:
            return f"; did you mean {last.get(close[0], close[0])}?"
    return f"; known here: {', '.join(key.split('.')[-1] for key in siblings)}"


def _every_key(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """All dotted keys of a model; those of a list's items under the list's own name."""
    for name, field in model.model_fields.items():
        yield prefix + name
        annotation = VirtualRegionConfig if name == "regions" else field.annotation
        for inner in (annotation, *get_args(annotation)):  # or None
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _every_key(inner, f"{prefix}{name}.")


def _did_you_mean(word: str, options: Sequence[str]) -> str:
    """`; did you mean x?` with the closest of the options; empty if none is close."""
    close = difflib.get_close_matches(word, options, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _dotted(keys: Keys) -> str:
    return ".".join(map(str, keys))


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


# --- writing and comparing


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


def digest(config: Settings) -> str:
    """12 hexadecimal characters of all that can change a result: of a run, not its name, place or description."""
    return digest_of(_that_counts(config))


def difference(a: Settings, b: Settings) -> list[str]:
    """Lines such as `training.batch_size: 512 -> 64` for each setting that counts (see `digest`) and differs."""
    before, after = flat(a), flat(b)
    lines = []
    for key in [*before, *(key for key in after if key not in before)]:
        texts = [_show(values[key]) if key in values else "(absent)" for values in (before, after)]
        if texts[0] != texts[1] or before.get(key) != after.get(key):
            lines.append(f"{key}: {texts[0]} -> {texts[1]}")
    return lines


def flat(config: Settings) -> dict[str, Any]:
    """Every setting that counts (see `digest`) by its dotted key."""
    return dict(_flat(_that_counts(config)))


def _that_counts(config: Settings) -> dict[str, Any]:
    if not isinstance(config, RunConfig):
        return config.model_dump(mode="json")
    found = config.model_dump(mode="json", exclude=set(BOOKKEEPING))
    if not config.strategies:  # a run without counts as before there were any; so with anchors
        del found["strategy"]
    if config.dataset.order == "fair":
        del found["dataset"]["order"]
    if config.training.anchors is None:
        del found["training"]["anchors"]
    if config.probe.measures:
        del found["probe"]["measures"]
    return found


def _flat(data: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; lists of groups by their positions, other lists whole."""
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else key)
    elif isinstance(data, list) and any(isinstance(item, dict) for item in data):
        yield from _flat({str(i): item for i, item in enumerate(data)}, prefix)
    else:
        yield prefix, data
