"""Where a user's caches are, and what to do where there is no home: in containers and on the nodes of clusters.

A user may have no HOME, no entry in the list of users, or a home that is missing or cannot be written to. The compiled
kernels then go to a folder of the user's own among the temporary files. Libraries that look for a home while they are
imported are told of that folder, too.
"""

from __future__ import annotations

import atexit
import functools
import getpass
import os
import shutil
import stat
import tempfile
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

from atlantis.progress import say

CACHES = {
    "MPLCONFIGDIR": "matplotlib",
    "HF_HOME": "huggingface",
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
    "TRITON_CACHE_DIR": "triton",
}
"""Variables that tell a library where to keep things, and their folder's name in ours."""


@functools.cache
def cache_folder() -> Path:
    """The folder for what can be made again, there and writable; where the home has none, a private temporary one.

    Raises OSError where there is no place for temporary files either.
    """
    usual = usual_cache(os.environ)
    if usual is not None and _is_usable(usual / "atlantis"):
        return usual / "atlantis"
    folder = private_folder()
    why = "there is no home folder" if usual is None else f"{usual} cannot be written to"
    say(f"{why}: what is compiled is kept in {folder}")
    return folder


def usual_cache(environment: MutableMapping[str, str]) -> Path | None:
    """XDG_CACHE_HOME, which must be absolute to count, or else ~/.cache; None where no home is."""
    named = environment.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):
        return Path(named)
    home = os.path.expanduser("~")  # which stays as it is if nobody knows
    return Path(home) / ".cache" if os.path.isabs(home) and os.path.isdir(home) else None


def _is_usable(folder: Path) -> bool:
    """Whether the folder is there, or can be made, and files can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


@functools.cache
def private_folder() -> Path:
    """A folder among the temporary files that belongs to this user alone (0700), the same every time.

    If another user has taken its name, a new one that is removed at the end.
    """
    folder = Path(tempfile.gettempdir()) / f"atlantis-{os.geteuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    facts = folder.lstat()
    if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and not facts.st_mode & 0o077:
        return folder
    folder = Path(tempfile.mkdtemp(prefix="atlantis-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def prepare(environment: MutableMapping[str, str]) -> None:
    """Before anything heavy is imported: give libraries a cache where the home has none, and the user a name.

    matplotlib, Hugging Face's and PyTorch's caches lie below the home; PyTorch cannot be imported (by an optimizer)
    while nobody knows the user's name. What the user has set remains.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        environment["LOGNAME"] = f"uid{os.getuid()}"
    cache = usual_cache(environment)
    if cache is not None and _could_be_made(cache):
        return
    with suppress(OSError):
        for name, folder in CACHES.items():
            if not environment.get(name):
                environment[name] = str(private_folder() / folder)


def quiet_fonts() -> None:
    """Call this before matplotlib is imported: that it cannot keep its list of fonts, on a full disk, is no news."""
    import logging

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)


def _could_be_made(folder: Path) -> bool:
    """Whether the folder, or the first one above that is there, can be written to; nothing is made."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
