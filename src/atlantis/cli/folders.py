"""Which folder a command's argument means: names and output roots, alike in every command."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlantis.errors import UserError

if TYPE_CHECKING:
    from atlantis.data.dataset import Dataset

OUTPUTS = Path("outputs")


def at_home(path: Path | None) -> Path | None:
    """The path, with the home folder for a `~` that begins it: shells leave the one in `--output-root=~/big` alone."""
    return None if path is None else Path(os.path.expanduser(path))


def all_at_home(paths: list[Path] | None) -> list[Path] | None:
    """The same for an option that may be repeated."""
    return None if paths is None else [Path(os.path.expanduser(path)) for path in paths]


OutputRoot = Annotated[
    Path, typer.Option("--output-root", metavar="DIR", help="Where runs and their data lie.", callback=at_home)
]
ConfigsOutputRoot = Annotated[
    Path | None,
    typer.Option(
        "--output-root",
        metavar="DIR",
        help="Where everything goes.  [default: as the config says, outputs]",
        callback=at_home,
    ),
]
"""Of commands that read a config, in which it is the setting `output_root`."""


def with_root(overrides: Sequence[str] | None, output_root: Path | None) -> list[str]:
    """The overrides of a config, and --output-root as one of them."""
    root = [] if output_root is None else [f"output_root={json.dumps(str(output_root), ensure_ascii=False)}"]
    return [*(overrides or ()), *root]


def config_or_run(name: str, output_root: Path | None) -> Path:
    """The config file that a name means: a path, a config, or that of the run of this name. Raises UserError."""
    from atlantis.config import find, is_run
    from atlantis.lookup import named_run

    try:
        return find(name)
    except UserError:
        folder = named_run(name, output_root or OUTPUTS)
        if folder is None or not is_run(folder):
            raise
        return folder / "config.yaml"


def where_it_lies(file: Path, output_root: Path | None, overrides: Sequence[str]) -> list[str]:
    """Overrides with which the config of a run means the folder that it lies in, also where that was moved or renamed.

    None for another config, and where the overrides name a new run.
    """
    from atlantis.config import load

    folder = Path(os.path.abspath(file.parent))
    is_new = any(override.strip().startswith("name=") for override in overrides)
    if file.name != "config.yaml" or not (folder / "run.json").is_file() or is_new:
        return []
    config, found = load(file, own_code=False), []
    if folder.name != config.name:
        found.append(f"name={json.dumps(folder.name, ensure_ascii=False)}")
    root = folder.parent.parent
    moved = os.path.realpath(config.output_root) != os.path.realpath(root)
    if output_root is None and folder.parent.name == "experiments" and moved:
        found.append(f"output_root={json.dumps(str(root), ensure_ascii=False)}")
    return found


def run_of(name: str, output_root: Path | None) -> Path:
    """The folder of the run that `train NAME` makes or has made: by its name or folder, or by its config."""
    from atlantis.config import find, load
    from atlantis.lookup import named_run, run_folder

    folder = named_run(name, output_root or OUTPUTS)
    if folder is not None:
        return folder
    try:
        file = find(name)
    except UserError:
        return run_folder(name, output_root or OUTPUTS)
    if (file.parent / "run.json").is_file():
        return file.parent
    config = load(file, own_code=False)
    root = output_root or config.output_root
    if named_run(str(config.name), root) is None:
        runs = Path(root) / "experiments"
        raise UserError(f"{name}: has no run in {runs} yet; train it first: atlantis train {name}")
    return run_folder(str(config.name), root)


def refuse_owned(out: Path, option: str = "--out") -> None:
    """UserError if a file that a command is to write would lie in a run or an artifact, whose files are its own."""
    from atlantis.artifacts import manifest
    from atlantis.config import is_run

    place = Path(os.path.realpath(out.parent)) / out.name
    for folder in place.parents:
        record = manifest(folder)
        is_a_run = is_run(folder) and (folder / "run.json").is_file()
        kind = "run" if is_a_run else record["kind"] if record is not None else None
        if kind is not None:
            raise UserError(f"{option} {out}: lies in the {kind} {folder} and may not; give a file somewhere else")


def last_checkpoint(folder: Path) -> Path:
    """The checkpoint in `folder`, or the last one of the run that is there."""
    from atlantis.config import is_run
    from atlantis.model.checkpoint import checkpoint_folders

    if (folder / "config.json").is_file():
        return folder
    final = folder / "checkpoints" / "final"
    last = list(checkpoint_folders(folder).values())[-1:]
    if not final.is_dir() and not last and is_run(folder):
        raise UserError(f"{folder}: this run has no checkpoint yet; train it first")
    return final if final.is_dir() else last[0] if last else folder


def dataset_of(model: Path, dataset: Path | None, output_root: Path) -> Dataset:
    """The dataset at a path, or of a name in `<output_root>/datasets/`; None: that on which a model was trained.

    Raises UserError if it is not there, or if the model does not say which it was.
    """
    from atlantis.config import is_run, load_of_run
    from atlantis.data.dataset import Dataset
    from atlantis.world.of_run import world_of

    if dataset is not None:
        named = output_root / "datasets" / dataset
        return Dataset.load(named if not dataset.exists() and named.is_dir() else dataset)
    for folder in (model, Path(os.path.abspath(model)).parent.parent):
        if is_run(folder):
            config = load_of_run(folder)
            return Dataset.build(world_of(folder, config), config.dataset)
    raise UserError(f"{model}: has no config.yaml that says what it was trained on; name a dataset after it")
