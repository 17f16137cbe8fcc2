"""Where a run starts from: the user's own base run if there is one, else the one shipped, else one made now."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from atlantis import artifacts, trust
from atlantis import config as configs
from atlantis.artifacts import digest_of
from atlantis.errors import UserError, without_remedy
from atlantis.lookup import base_folder, bases_elsewhere, hint, known_bases, known_runs
from atlantis.reading import read_json
from atlantis.settings import RunConfig
from atlantis.training.schedule import total_steps
from atlantis.vocabulary import BOS_FIRST, file_text

WEIGHTS = "model.safetensors"
OTHERS = ("config.json", "vocabulary.json", "tokenizer.json", "atlantis.json")
"""What else a base is loaded from."""


@dataclass(frozen=True)
class Base:
    """A checkpoint to start from, how it was found, and config and folder of the run that made it (None: not known)."""

    checkpoint: Path
    note: str
    config: RunConfig | None
    folder: Path | None = None

    @property
    def is_run(self) -> bool:
        """Whether it is what a run of ours ended with."""
        return self.checkpoint.name == "final" and (self.checkpoint.parent.parent / trust.RECORD).is_file()


def find_base(config: RunConfig) -> Base | None:
    """The base that `config.base` names, or None if it does not exist anywhere yet.

    Looked up as a path, then as a finished run below `output_root`, then among the shipped bases. `pretrained/` before
    the name means the shipped one. A path that exists but is no base is a UserError.
    """
    assert config.base is not None
    named = Path(config.base)
    if named.is_dir():
        return _base_in(named, f"the folder {named}", strict=True)
    folder = experiments(config) / config.base
    base = _base_in(folder, f"your own run {folder}", strict=False) if folder.is_dir() else None
    if base is not None:
        return base
    shipped = base_folder(config.base)
    return shipped and _base_in(shipped, f"pretrained/{shipped.name}, shipped with the project", strict=True)


def config_of_base(config: RunConfig, build_base: bool = False) -> RunConfig:
    """The run that makes a base which does not exist yet, by the config's `base_config`.

    A mistyped name would begin a long run. So the base must have the name of the config that makes it, or must have
    been begun before, unless `build_base`. Raises UserError with the nearest name otherwise, and without a base_config.
    """
    if config.base is None or config.base_config is None:
        raise UserError(_no_base(config))
    made = configs.load(_file_or_name(Path(config.base_config)), [f"output_root={config.output_root}"])
    if not build_base and made.name != config.base and not (experiments(config) / config.base / trust.CONFIG).is_file():
        n_steps = total_steps(made.training, made.dataset.sizes[0])
        raise UserError(
            f"{_no_base(config)}. To train a new base of this name first, by {Path(config.base_config).name} "
            f"({n_steps:,} steps), add --build-base"
        )
    return made.model_copy(update={"name": config.base})


def _file_or_name(file: Path) -> Path | str:
    """A `base_config`: the file beside the config that names it, or else what is known by this name.

    Settings have made the name an absolute path, so a known one (`demo`, `study_2025/base`) is the end of it.
    """
    if file.suffix or file.is_file():
        return file
    known = configs.known_configs()
    ends = ("/".join(file.parts[i:]) for i in range(1, len(file.parts)))  # the longest first
    return next((end for end in ends if end in known), file.name)


def _no_base(config: RunConfig) -> str:
    """That the base is nowhere, with the nearest name and what there is."""
    assert config.base is not None
    finished = [name for name in known_runs(config.output_root) if _final(experiments(config) / name).is_dir()]
    remedy = bases_elsewhere(config.base) or hint(config.base, [*finished, *known_bases()])
    return (
        f"base: {config.base!r} is no folder, no finished run in {experiments(config)} and no shipped base{remedy}; "
        "or train it first, or give the path of a checkpoint"
    )


def _final(run: Path) -> Path:
    return run / "checkpoints" / "final"


def whole_base(config: RunConfig, base: Base | None) -> Base:
    """The base that a config names, as it was written; UserError if there is none, or it is damaged."""
    assert config.base is not None
    if base is None:
        folder = experiments(config) / config.base
        if folder.is_dir() and trust.read_record(folder).get("status") == "finished":
            raise UserError(
                f"base {folder}: is finished, but its checkpoints/final is missing; `atlantis train "
                f"{folder / trust.CONFIG} --resume` makes it again"
            )
        raise UserError(_no_base(config))
    if (base.checkpoint / artifacts.MANIFEST).is_file() and (problem := artifacts.damage(base.checkpoint)):
        run = base.checkpoint.parent.parent
        again = f"; `atlantis train {run / trust.CONFIG} --resume` makes it again" if base.is_run else ""
        raise UserError(f"{without_remedy(problem) if again else problem}{again}")
    return base


def base_digests(base: Base) -> dict[str, str]:
    """SHA-256 of a base's weights, and digests of its other files and of the config that says what it has learned.

    They tell a base from another one under the same name, whether it has a manifest or is a folder of the user's.
    """
    files = {name: base.checkpoint / name for name in (WEIGHTS, *OTHERS)}
    by_file = {name: _file_digest(file) for name, file in files.items() if file.is_file()}
    digests = {"base": by_file.pop(WEIGHTS)} if WEIGHTS in by_file else {}
    digests |= {"base_files": digest_of(by_file)}
    return digests if base.config is None else digests | {"base_config": trust.config_digest(base.config)}


def _file_digest(file: Path) -> str:
    """SHA-256 of a file; of a tokenizer that writes `<bos>` as of one that does not, as those of version 0.1 are.

    So a run that was begun from a shipped base before it had such a tokenizer finds the same base.
    """
    if file.name == "tokenizer.json":
        with suppress(UserError):
            content = read_json(file)
            if content.get("post_processor") == BOS_FIRST:
                return hashlib.sha256(file_text(content | {"post_processor": None}).encode()).hexdigest()
    return artifacts.sha256(file)


def experiments(config: RunConfig) -> Path:
    """Folder of all runs below the config's output root."""
    return Path(config.output_root) / "experiments"


def _base_in(folder: Path, note: str, strict: bool) -> Base | None:
    """The base in a run folder (its final checkpoint), a shipped folder or a checkpoint."""
    if (folder / "checkpoints").is_dir():
        checkpoint = _final(folder)
        if not (checkpoint / "config.json").is_file():
            if not strict:
                return None
            raise UserError(
                f"base {folder}: the run has no checkpoints/final; `atlantis train {folder / trust.CONFIG} --resume` "
                "finishes it, or makes that again"
            )
    else:
        checkpoint = folder
        if not (checkpoint / "config.json").is_file():
            raise UserError(f"base {folder}: no config.json in it, so it is neither a run nor a checkpoint")
    # A run, a checkpoint with its config beside it, or a checkpoint inside its run.
    for path in (folder, checkpoint, checkpoint.parent.parent):
        if configs.is_run(path):
            made_by = configs.load_of_run(path)
            trust.check_config(path, trust.read_record(path), made_by)
            return Base(checkpoint, note, made_by, path)
    return Base(checkpoint, note, None)
