"""What a sweep consists of: a file is read, every run's config is made and checked, before anything runs.

A sweep file is a config with two more keys:

    extends: demo                     # a config beside this file, or the bare name of one in configs/
    grid:
      training.learning_rate: [1e-5, 5e-5]
      training.batch_size: [64, 512]
    seeds: [42, 43]                   # each sets dataset.seed, model.seed and training.seed

or a Python file with a function `runs()` that returns RunConfigs, of which `grid` makes some.
"""

from __future__ import annotations

import itertools
import json
import re
import runpy
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atlantis import config as configs
from atlantis import yaml12
from atlantis.artifacts import digest_of
from atlantis.errors import UserError
from atlantis.settings import MOST_BYTES, SEEDED, RunConfig

NAME_LENGTH, VALUE_LENGTH = 120, 32
OWN = ("name", "output_root")  # of the sweep as a whole


@dataclass(frozen=True)
class Planned:
    """One run to be: its config, what the sweep varies in it, and which other run has to end before it begins.

    `factors` is None for a base that the sweep makes because others start from it.
    """

    config: RunConfig
    factors: dict[str, Any] | None = field(default_factory=dict)
    after: str | None = None

    @property
    def name(self) -> str:
        assert self.config.name is not None
        return self.config.name

    @property
    def folder(self) -> Path:
        return Path(self.config.output_root) / "experiments" / self.name


@dataclass(frozen=True)
class Sweep:
    """A named set of runs with distinct names and one output root; bases that others start from come first.

    `place`: its folder in the output root; default: `sweeps/<name>`.
    """

    name: str
    runs: Sequence[Planned]
    place: str | None = None

    @property
    def folder(self) -> Path:
        return Path(self.runs[0].config.output_root) / (self.place or f"sweeps/{self.name}")

    @property
    def results(self) -> Path:
        return self.folder / "results.parquet"


# --- reading


def read(path: Path | str, overrides: Sequence[str] = (), build_base: bool = False) -> Sweep:
    """The sweep that a YAML or Python file describes, with `overrides` on top of every run's config.

    An override of `name` names the sweep (default: the file's name). `build_base`: see `sweep_of`. Raises UserError
    with all mistakes.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"{path}: no such sweep file; give a YAML file with lines such as `extends: demo` and "
            "`grid: {training.seed: [1, 2]}`, or a Python file with `def runs()`"
        )
    if path.suffix == ".py":
        return sweep_of(*_from_python(path, overrides), build_base=build_base)
    base, beside = _load(path, overrides)
    settings, seeds = _checked_grid(path, beside, overrides)
    varied = _grid(base, settings, seeds, path.parent, f"{path}: grid: ")
    if base.name is None:
        raise UserError(f"{path}: name: a sweep needs one; leave name= out, or give it a value")
    runs, factors = [config for config, _ in varied], [factors for _, factors in varied]
    return sweep_of(base.name, runs, factors, build_base)


def grid(
    config: RunConfig | Path | str, settings: Mapping[str, Sequence[Any]], seeds: Sequence[int] = ()
) -> list[RunConfig]:
    """A run for every combination of values, named after the config and the values.

    `settings`: values by dotted key, such as {"training.batch_size": [64, 512]}. `seeds`: each sets the seeds of data,
    weights and order at once. Raises UserError with all mistakes.
    """
    base = config if isinstance(config, RunConfig) else configs.load(configs.find(str(config)))
    lists = {key: _of_python(values) for key, values in settings.items()}
    return [run for run, _ in _grid(base, lists, _of_python(seeds), Path.cwd(), "grid: ")]


def _of_python(values: Iterable[Any]) -> list[Any]:
    """As a list, with NumPy's numbers as Python's."""
    return [value.tolist() if hasattr(value, "tolist") else value for value in values]


def sweep_of(
    name: str, runs: Sequence[RunConfig], factors: Sequence[dict[str, Any]] | None = None, build_base: bool = False
) -> Sweep:
    """A sweep of these runs, checked, with the bases that have to be made first.

    `factors` defaults to the settings in which the runs differ. `build_base` makes a missing base by its base_config
    whatever its name, as `train` does. Raises UserError with all mistakes.
    """
    configs.checked(RunConfig, {"name": name}, "sweep")
    runs = [configs.changed(run) for run in runs]
    mistakes = [] if runs else [f"{name}: has no runs"]
    names = Counter(run.name for run in runs)
    if names.pop(None, 0):
        mistakes.append("a run has no name; give each RunConfig its own `name`")
    mistakes += [f"{n} runs are named {run}; give each its own name" for run, n in names.items() if n > 1]
    if len(roots := {run.output_root for run in runs}) > 1:
        mistakes.append(f"output_root: the runs of a sweep share one, and these have {', '.join(sorted(roots))}")
    _refuse(mistakes)
    by_run = _differences(runs) if factors is None else factors
    planned = [
        Planned(run, varied, run.base if run.base in names else None) for run, varied in zip(runs, by_run, strict=True)
    ]
    return Sweep(name, _with_bases(planned, build_base))


def _refuse(mistakes: Sequence[str]) -> None:
    """UserError with every mistake, if there is one; a mistake that many runs share is said once."""
    lines = list(dict.fromkeys(mistakes))
    if lines:
        raise UserError(lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} mistakes:", *lines]))


def _load(path: Path, overrides: Sequence[str]) -> tuple[RunConfig, dict[str, Any]]:
    """The config in a sweep file, and its `grid` and `seeds`."""
    return configs.load_with(path, overrides, extra=("grid", "seeds"))


def _from_python(path: Path, overrides: Sequence[str]) -> tuple[str, list[RunConfig]]:
    pairs = [override.partition("=") for override in overrides]
    name = next((value for key, _, value in reversed(pairs) if key.strip() == "name"), path.stem)
    rest = [override for override, (key, _, _) in zip(overrides, pairs, strict=True) if key.strip() != "name"]
    try:
        runs = runpy.run_path(str(path)).get("runs")
        if not callable(runs):
            raise UserError(f"{path}: has no function `runs`; define `def runs(): return [RunConfig(...), ...]`")
        made = runs()
        made_runs: list[Any] = list(made) if isinstance(made, Iterable) else [made]
    except UserError:
        raise
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else "?"
        raise UserError(f"{path}:{line}: {type(error).__name__}: {error}") from error
    if wrong := [run for run in made_runs if not isinstance(run, RunConfig)]:
        raise UserError(f"{path}: runs() must give RunConfigs, not {type(wrong[0]).__name__}")
    return name, [configs.changed(run, rest) for run in made_runs]


# --- the grid


def _checked_grid(
    path: Path, content: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, list[Any]], list[int]]:
    settings, seeds = content.get("grid") or {}, content.get("seeds") or []
    mistakes = []
    if not isinstance(settings, dict):
        mistakes.append(f"{path}: grid: must be lines such as `training.batch_size: [64, 512]`")
        settings = {}
    if not isinstance(seeds, list) or not all(type(seed) is int and seed >= 0 for seed in seeds):
        mistakes.append(f"{path}: seeds: must be a list of whole numbers from 0 on, such as [42, 43]")
        seeds = []
    for key, values in settings.items():
        if not isinstance(values, list) or not values:
            mistakes.append(f"{path}: grid: {key}: must be a list of values, such as [64, 512]")
        if key in OWN:
            mistakes.append(f"{path}: grid: {key}: cannot vary within a sweep")
        if seeds and key in SEEDED:
            mistakes.append(f"{path}: grid: {key}: is set by `seeds` too; leave one of them out")
    varied = [*settings, *(SEEDED if seeds else ())]
    for override in overrides:
        key, _, text = override.partition("=")
        for leaf in _leaves(key.strip(), yaml12.parse(text, override, one_line=True)[0]):
            if leaf in varied:
                mistakes.append(f"{leaf}: is varied by {path}; an override would make its runs the same")
            elif whole := next((axis for axis in varied if leaf.startswith(f"{axis}.")), None):
                mistakes.append(f"{leaf}: is lost, for {path} varies the whole of {whole}; set it in those values")
    if not settings and not seeds and not mistakes:
        mistakes.append(f"{path}: has neither `grid:` nor `seeds:`; for one run use `atlantis train`")
    _refuse(mistakes)
    return settings, seeds


def _grid(
    base: RunConfig, settings: Mapping[str, Sequence[Any]], seeds: Sequence[int], folder: Path, where: str
) -> list[tuple[RunConfig, dict[str, Any]]]:
    """Config and factors of every combination, the last key varying fastest; `where` begins each mistake."""
    _refuse([f"{where}seed: is no setting; add its values to `seeds`"] if seeds and "seed" in settings else [])
    axes = {**settings, **({"seed": seeds} if seeds else {})}
    _refuse([where + mistake for mistake in _overlaps({**settings, "seeds": seeds})])
    runs, mistakes = [], []
    for values in itertools.product(*axes.values()):
        factors = dict(zip(axes, values, strict=True))
        overrides = []
        for key, value in factors.items():
            keys = SEEDED if key == "seed" and seeds else (key,)
            overrides += [f"{dotted}={json.dumps(value, ensure_ascii=False)}" for dotted in keys]
        try:
            config = configs.changed(base, overrides, folder)
            runs.append((config.model_copy(update={"name": _name(str(base.name), factors)}), factors))
        except UserError as error:
            lines = str(error).splitlines()
            mistakes += [where + line.strip() for line in (lines[1:] if len(lines) > 1 else lines)]
    _refuse(mistakes)
    return runs


def _overlaps(axes: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """What would be varied twice: a value that is listed again, or a key that lies inside another."""
    for key, values in axes.items():
        for n, value in enumerate(values):
            # True equals 1 in Python, and is another value of a setting.
            if any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in values[:n]):
                yield f"{key}: {json.dumps(value, ensure_ascii=False)} is listed twice; leave one of them out"
        for other in axes:
            if other.startswith(f"{key}."):
                yield f"{other}: is a part of {key}, which is varied too; leave one of them out"
        for leaf in sorted({leaf for value in values for leaf in _leaves(key, value)} if axes.get("seeds") else ()):
            if leaf in SEEDED and leaf != key:
                yield f"{key}: a value of it sets {leaf}, which `seeds` sets too; leave one of them out"


def _leaves(key: str, value: Any) -> Iterator[str]:
    """The dotted keys of all settings that a value sets."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(f"{key}.{name}", inner)
    else:
        yield key


def _name(sweep: str, factors: Mapping[str, Any]) -> str:
    """A name that says the values: `rates_learning_rate=1e-05_seed=43`; one too long ends in a digest instead."""
    last = Counter(key.split(".")[-1] for key in factors)
    parts = [f"{key if last[key.split('.')[-1]] > 1 else key.split('.')[-1]}={_text(v)}" for key, v in factors.items()]
    name = "_".join([sweep, *parts])
    if len(name) <= NAME_LENGTH and len(name.encode()) <= MOST_BYTES:
        return name
    ending = f"-{digest_of(dict(factors))}"
    beginning = name[: NAME_LENGTH - len(ending)].encode()[: MOST_BYTES - len(ending)]
    return beginning.decode(errors="ignore") + ending  # a letter that was cut through is left out


def _text(value: Any) -> str:
    """A value as part of a folder's name; one that does not fit there gets a few characters of its digest."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    usable = re.sub(r"[^\w.+=-]+", "-", text)
    return text if usable == text and len(text) <= VALUE_LENGTH else f"{usable[:16].strip('-')}-{digest_of(value)[:6]}"


def _differences(runs: Sequence[RunConfig]) -> list[dict[str, Any]]:
    """For each run the settings that are not the same in all runs; None where a run does not have one."""
    every = [configs.all_settings(run) for run in runs]
    keys = [
        key for key in dict.fromkeys(itertools.chain(*every)) if any(a.get(key) != every[0].get(key) for a in every)
    ]
    return [{key: settings.get(key) for key in keys} for settings in every]


# --- bases


def _with_bases(runs: list[Planned], build_base: bool) -> list[Planned]:
    """The runs, after those that make a base which is nowhere yet. Raises UserError for a base that nobody makes."""
    from atlantis.training.base import config_of_base, find_base

    names = {run.name for run in runs}
    made: dict[str, Planned] = {}
    result, mistakes, queue = [], [], list(runs)
    while queue:
        # A base that is made here may start from one that is nowhere either, so it is queued too.
        run = queue.pop(0)
        config, after = run.config, run.after
        if config.base is not None and after is None and find_base(config) is None:
            after = config.base
            try:
                if after not in made and after not in names:
                    made[after] = Planned(config_of_base(config, build_base), None)
                    queue.append(made[after])
            except UserError as error:
                mistakes.append(str(error))
        result.append(Planned(config, run.factors, after))
    _refuse(mistakes or _circles({run.name: run.after for run in result}))
    return sorted(result, key=lambda run: run.factors is not None)


def _circles(after: Mapping[str, str | None]) -> list[str]:
    for start in after:
        seen, name = [start], after[start]
        while name is not None and name in after and name not in seen:
            seen.append(name)
            name = after[name]
        if name == start:
            return [f"base: {' starts from '.join([*seen, start])}; break the circle"]
    return []
