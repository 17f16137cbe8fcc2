"""What both files and folders need of the disk: flushing, sizes, hashes, and folders that nobody may move away."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from atlantis.errors import UserError

NO_FOLDER_FSYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS}
"""How file systems (some of FUSE and of network shares) say that a folder cannot be flushed."""


def fsync(path: Path) -> None:
    """Flush a file, or a folder's names, to disk.

    That a folder can be flushed is no promise of POSIX; where it cannot, the file system orders renames by itself or
    not at all, and nothing is left to do. A file that cannot be flushed is an error, and so is a folder that the disk
    fails to write.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in NO_FOLDER_FSYNC and stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)


def sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return -1


def files_below(folder: Path) -> list[str]:
    """Relative names, with `/`, of all files and links below `folder`, sorted. Links are not followed."""
    paths = (file for file in folder.rglob("*") if file.is_symlink() or not file.is_dir())
    return sorted(file.relative_to(folder).as_posix() for file in paths)


def name_the_file(error: BaseException, aside: Path, path: Path) -> None:
    """Have an error of the system name the file that the user knows, and not the one aside."""
    if isinstance(error, OSError):
        error.filename = str(error.filename or path).replace(str(aside), str(path))


_watched: dict[Path, tuple[int, int]] = {}
"""Folders that a process works in, by their absolute paths: device and number of each."""


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[None]:
    """While the block runs, `folder` is never made anew where somebody has moved or removed it; see `refuse_moved`."""
    status, path = os.stat(folder), Path(os.path.abspath(folder))
    _watched[path] = (status.st_dev, status.st_ino)
    try:
        yield
    finally:
        del _watched[path]


def refuse_moved(folder: Path) -> None:
    """UserError if the folder that is `watched` under this path stands there no more."""
    path = Path(os.path.abspath(folder))
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        status = None
    if path in _watched and (status is None or (status.st_dev, status.st_ino) != _watched[path]):
        raise UserError(
            f"{folder}: was moved or removed while this process worked in it, and nothing more is written; "
            "bring it back and go on with --resume"
        )


def make_folders(path: Path) -> None:
    """Make a folder and those above it, their names flushed to disk; UserError for one that is `watched`."""
    if not path.is_dir():
        refuse_moved(path)
        make_folders(path.parent)
        refuse_file(path)
        path.mkdir(exist_ok=True)
        fsync(path.parent)


def refuse_file(path: Path, key: str = "") -> None:
    """UserError if a file stands where the folder `path`, or one above it, is to be; `key` is where that was set."""
    for folder in (path, *path.parents):
        if folder.exists() and not folder.is_dir():
            setting = f"{key} {path}: " if key else ""
            raise UserError(f"{setting}{folder}: is a file, where a folder is needed; give another name")
