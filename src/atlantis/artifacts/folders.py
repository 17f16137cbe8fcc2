"""Folders that are either complete or absent.

- A folder is made aside (`.<name>.partial-<pid>`), flushed to disk, and renamed into place: a crash leaves no half.
- Only a folder that carries our own manifest, and nothing beside what the manifest lists, is ever replaced or removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from atlantis.artifacts import flock, leases
from atlantis.artifacts.disk import files_below, fsync, make_folders, name_the_file, sha256
from atlantis.artifacts.files import RUN_WRITES, write_text
from atlantis.artifacts.leftovers import BEGUN, clear_leftovers, remove_folder
from atlantis.artifacts.manifests import MANIFEST, manifest, sealed, version
from atlantis.errors import UserError

NO_RENAME_ONTO_A_FOLDER = {errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.EPERM, errno.EACCES}


@contextlib.contextmanager
def new_folder(path: Path, *, kind: str, digest: str = "", overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill; when the block ends without an error it appears at `path` with its manifest.

    `kind` says what it is ("world", "dataset", ...), `digest` what produced it. When the block raises, nothing remains.
    Raises UserError, before anything is written, if `path` is a file, a folder that is not ours, one that another
    process is making, or a complete artifact (unless `overwrite`, for one of the same kind without foreign files).
    """
    target = _without_links(Path(path))
    clear_leftovers(target.parent, target.name)
    _check_target(target, path, kind, overwrite)
    aside = target.with_name(f".{target.name}.partial-{os.getpid()}")
    if aside.is_dir():
        raise UserError(f"{path}: is being made by another process; wait for it or choose another folder")
    try:
        make_folders(target.parent)
        aside.mkdir()
    except OSError as error:
        name_the_file(error, aside, path)
        raise
    _refuse_elsewhere(aside, path)
    with _held(aside):
        try:
            aside.mkdir(exist_ok=True)  # another machine may have cleared it away before it saw our lock
            (aside / MANIFEST).write_bytes(BEGUN + f"{leases.machine()}\n".encode())
            yield aside
            _seal(aside, kind, digest)
            _check_target(target, path, kind, overwrite)
            _move_into_place(aside, target, path)
        except BaseException as error:
            with contextlib.suppress(OSError):
                remove_folder(aside)
            name_the_file(error, aside, path)
            raise


def _without_links(path: Path) -> Path:
    """Where a folder is to be made: through links of the user's, but not through one that stands in a run's folder."""
    above = path.parent.parent
    is_in_a_run = path.parent.name in RUN_WRITES and any(
        (above / name).exists() for name in ("config.yaml", "run.json")
    )
    if not is_in_a_run:
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(above)) / path.parent.name / path.name


def _refuse_elsewhere(aside: Path, path: Path) -> None:
    """UserError, and nothing is left, if `aside` was just made elsewhere: a folder above it has become a link.

    If it has not, it may become one now: there is no folder of this name where it leads, so nothing is written there.
    """
    inside = os.open(aside, os.O_RDONLY | os.O_DIRECTORY)
    above = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=inside)
    try:
        if not os.path.samestat(os.fstat(above), os.lstat(aside.parent)):
            os.rmdir(aside.name, dir_fd=above)
            raise UserError(f"{path.parent}: is a symbolic link, and nothing is written through it; remove it")
    finally:
        os.close(above)
        os.close(inside)


def set_aside(path: Path) -> Path:
    """Rename a damaged folder, so that it can be made again, to `damaged-<name>`; returns where it is now."""
    aside, number = path.with_name(f"damaged-{path.name}"), 1
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"damaged-{path.name}-{number}")
    os.rename(path, aside)
    fsync(path.parent)
    return aside


def remove(path: Path, kind: str) -> None:
    """Remove the artifact of this kind at `path`; one that holds anything else, or is a link, is left alone.

    It is gone at once, even if this process is killed on the way.
    """
    if path.is_symlink():
        return
    with contextlib.suppress(UserError):
        _check_target(path, path, kind, overwrite=True)
        aside = path.with_name(f".{path.name}.removed-{os.getpid()}")
        os.rename(path, aside)
        remove_folder(aside)


def _check_target(target: Path, path: Path, kind: str, overwrite: bool) -> None:
    """UserError unless a new folder may appear at `target`; `path` is what the user called it."""
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise UserError(f"{path}: is a file; give the name of a folder")
    if target == Path.cwd():
        raise UserError(f"{path}: is the current folder; give the name of a new one inside it")
    if not any(target.iterdir()):
        return
    record = manifest(target)
    if record is None:
        raise UserError(f"{path}: holds files that are not ours and is left alone; choose another folder")
    if not overwrite:
        raise UserError(f"{path}: already holds a {record['kind']}; choose another folder or remove it")
    if record["kind"] != kind:
        raise UserError(f"{path}: holds a {record['kind']}, which a {kind} does not replace; choose another folder")
    foreign = sorted(set(files_below(target)) - record["files"].keys() - {MANIFEST})
    if foreign:
        raise UserError(f"{path}: holds {foreign[0]}, which is not ours, and is left alone; move that file away")


def _seal(folder: Path, kind: str, digest: str) -> None:
    """Flush every file and folder, then write the manifest."""
    files = {}
    for name in files_below(folder):
        if name == MANIFEST:  # `BEGUN`
            continue
        file = folder / name
        files[name] = {"sha256": sha256(file), "bytes": file.stat().st_size}
        fsync(file)
    for parent, _, _ in os.walk(folder):
        fsync(Path(parent))
    content = {"kind": kind, "digest": digest, "atlantis": version(), "files": files}
    write_text(folder / MANIFEST, sealed(content))


def _move_into_place(aside: Path, target: Path, path: Path) -> None:
    """Rename `aside` to `target`; an artifact already there steps aside first and is removed last."""
    replaced = None
    if target.is_dir() and any(target.iterdir()):
        replaced = target.with_name(f".{target.name}.replaced-{os.getpid()}")
        os.rename(target, replaced)
    try:
        _rename_onto(aside, target)  # an empty folder at the target is replaced; a full one, made meanwhile, is not
    except OSError as error:
        if replaced is not None and not target.exists():
            os.rename(replaced, target)
        if target.is_dir():
            raise UserError(f"{path}: was made by another process in the meantime; that one is kept") from error
        raise
    try:
        fsync(target.parent)
    except OSError:  # not known to be on disk: all as it was
        os.rename(target, aside)
        if replaced is not None:
            os.rename(replaced, target)
        raise
    if replaced is not None:
        remove_folder(replaced)


def _rename_onto(aside: Path, target: Path) -> None:
    """Rename a folder, onto an empty one if there is one. POSIX lets that pass, but not every file system does."""
    try:
        os.rename(aside, target)
    except OSError as error:
        if error.errno not in NO_RENAME_ONTO_A_FOLDER or not target.is_dir():
            raise
        try:
            os.rmdir(target)  # only an empty one
        except OSError:
            raise error from None
        os.rename(aside, target)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder itself; BlockingIOError if another has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with flock.held(folder, descriptor):
            yield
    finally:
        os.close(descriptor)
