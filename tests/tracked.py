"""What is committed. A record that somebody has just made is not on the committed page, and that is no mistake."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def tracked(pattern: str) -> list[Path]:
    """The files of the repository that match a glob pattern and are known to git; all, outside a checkout."""
    files = sorted(ROOT.glob(pattern))
    try:
        top = _git("rev-parse", "--show-toplevel").strip()
        known = {ROOT / name for name in _git("ls-files", "-z").split("\0")}
    except (OSError, subprocess.CalledProcessError):  # no git, or an unpacked release
        return files
    return [file for file in files if file in known] if Path(top).resolve() == ROOT.resolve() else files


def copied(pattern: str, folder: Path) -> Path:
    """`folder`, made, with a copy of each of them."""
    folder.mkdir()
    for file in tracked(pattern):
        shutil.copy2(file, folder)
    return folder


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout
