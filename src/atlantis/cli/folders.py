"""Which folder a command's argument means."""

from __future__ import annotations

from pathlib import Path

from atlantis.errors import UserError


def run_folder(run: Path) -> Path:
    """`run` as a path, or else as the name of a run in the default place."""
    by_name = Path("outputs") / "experiments" / run
    return by_name if not run.exists() and by_name.is_dir() else run


def last_checkpoint(folder: Path) -> Path:
    """The checkpoint in `folder`, or the last one of the run that is there."""
    from atlantis.model.checkpoint import checkpoint_folders

    if (folder / "config.json").is_file():
        return folder
    final = folder / "checkpoints" / "final"
    last = list(checkpoint_folders(folder).values())[-1:]
    if not final.is_dir() and not last and (folder / "config.yaml").is_file():
        raise UserError(f"{folder}: this run has no checkpoint yet; train it first")
    return final if final.is_dir() else last[0] if last else folder
