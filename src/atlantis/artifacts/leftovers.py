"""What a killed process leaves behind carries its number, and is removed by the next one that comes by."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
from pathlib import Path

from atlantis.artifacts import flock, leases
from atlantis.artifacts.manifests import MANIFEST, manifest
from atlantis.errors import UserError
from atlantis.reading import read_bytes

BEGUN = b"being written\n"
"""How the manifest of a folder in the making begins: by it a killed process's folder is known as ours. The machine
that makes it follows."""
LEFTOVER = re.compile(r"\.(.+)\.(partial|replaced|removed|tmp)-(\d+)")


def clear_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left in `folder` (only beside `name`, if given); what one moved aside comes back."""
    pattern = f".{'*' if name is None else glob.escape(name)}.*-*"
    for entry in sorted(Path(folder).glob(pattern)):
        match = LEFTOVER.fullmatch(entry.name)
        if match is None or name not in (None, match[1]) or not _is_ours(entry):
            continue
        if not _is_stale(entry, int(match[3])):
            continue
        if match[2] == "replaced" and not os.path.lexists(entry.with_name(match[1])):
            os.rename(entry, entry.with_name(match[1]))
        elif entry.is_dir():
            with contextlib.suppress(FileNotFoundError):
                remove_folder(entry)
        else:
            entry.unlink(missing_ok=True)
    leases.clear(folder, LEFTOVER)


def _is_ours(entry: Path) -> bool:
    """Whether we made what carries such a name, finished or not. An empty folder, killed at birth, holds nothing."""
    if entry.is_symlink() or not entry.is_dir():
        return not entry.is_symlink() and entry.is_file() and ".tmp-" in entry.name
    if not any(entry.iterdir()) or manifest(entry) is not None:
        return True
    try:
        begun = read_bytes(entry / MANIFEST)
    except (FileNotFoundError, UserError):
        return False
    return begun.startswith(BEGUN) or BEGUN.startswith(begun)


def _is_stale(entry: Path, pid: int) -> bool:
    """Whether the process that made `entry` is gone. A lock on it tells us from a namesake in a container."""
    if pid != os.getpid() and leases.is_alive(pid):
        return False
    try:
        descriptor = os.open(entry, os.O_RDONLY)
    except OSError:  # gone by now
        return False
    try:
        is_free = flock.can_be_held(entry, descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return _was_made_here(entry) if is_free is None else is_free


def _was_made_here(entry: Path) -> bool:
    """Where no lock tells who made `entry`: whether it was this machine, or nobody can be at work in it."""
    if entry.is_file() or ".partial-" not in entry.name:
        return True
    try:
        begun = (entry / MANIFEST).read_bytes()
    except OSError:
        begun = b""
    if begun.startswith(BEGUN):
        return begun[len(BEGUN) :].decode("ascii", "replace").strip() == leases.machine()
    return not any(entry.iterdir())  # killed at birth; a living process makes its empty folder anew (`new_folder`)


def remove_folder(folder: Path) -> None:
    """Remove a folder of ours, its manifest last: by that a half-removed one is known as ours."""
    for entry in folder.iterdir():
        if entry.name == MANIFEST:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    shutil.rmtree(folder)
