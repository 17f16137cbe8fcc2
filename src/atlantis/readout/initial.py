"""What the weights of a run's model began as, before any training: the scale of the untrained model it is held to."""

from __future__ import annotations

from pathlib import Path

from atlantis import config as configs
from atlantis import trust
from atlantis.settings import ModelConfig


def initial_std(run: Path) -> float:
    """`model.init_std` of the run in which a model began: that of the first of the bases of the run in `run`.

    Where a base has no config beside it, or lies somewhere else by now, the last config that is known counts.
    """
    std, seen, folder = ModelConfig().init_std, set(), run
    while folder is not None and folder not in seen and (folder / trust.CONFIG).is_file():
        config = configs.load_of_run(folder)
        std = config.model.init_std
        seen.add(folder)
        base = trust.read_record(folder).get("base", {}).get("path") if config.base is not None else None
        folder = None if base is None else _config_folder(Path(base))
    return std


def _config_folder(checkpoint: Path) -> Path | None:
    """The folder with the config of the run that made a checkpoint: a shipped base's own, or the run it lies in."""
    folders = (checkpoint, checkpoint.parent.parent)
    return next((folder for folder in folders if (folder / trust.CONFIG).is_file()), None)
