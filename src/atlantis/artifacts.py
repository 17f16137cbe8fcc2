"""Folders that are either complete or absent, single files written whole, and a lock.

- A folder is made aside (`.<name>.partial-<pid>`), flushed to disk, and renamed into place: a crash leaves no half.
- `manifest.json` is written last, with the SHA-256 of every file and a seal over itself: its presence is the mark of
  completion.
- What a killed process leaves behind carries its number, and is removed by the next one that comes by.
- A manifest holds no time and no machine, so that the same content gives the same bytes.
- Only a folder that carries our own manifest, and nothing beside what the manifest lists, is ever replaced or removed.
- No file is written through a symbolic link inside a run's folder or an artifact: it could lead anywhere.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from atlantis import leases, locks
from atlantis.errors import UserError
from atlantis.reading import read_bytes, read_json

MANIFEST = "manifest.json"
MANIFEST_KEYS = ("kind", "digest", "atlantis", "files")
LOCK = ".lock"
BUSY = "is working in this folder"
BEGUN = b"being written\n"
"""How the manifest of a folder in the making begins: by it a killed process's folder is known as ours. The machine
that makes it follows."""
LEFTOVER = re.compile(r"\.(.+)\.(partial|replaced|removed|tmp)-(\d+)")
NO_FOLDER_FSYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS}
"""How file systems (some of FUSE and of network shares) say that a folder cannot be flushed."""

NO_RENAME_ONTO_A_FOLDER = {errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.EPERM, errno.EACCES}


def digest_of(obj: Any) -> str:
    """12 hexadecimal characters of the SHA-256 of `obj` (plain JSON data) in canonical JSON: sorted keys, no spaces.

    Raises ValueError for NaN or infinity and TypeError for what JSON cannot hold.
    """
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# --- single files


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old content or the new, never a part. Makes parent folders.

    An OSError names `path`.
    """
    path = Path(path)
    make_folders(path.parent)
    clear_leftovers(path.parent, path.name)
    aside = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    aside.unlink(missing_ok=True)  # of a killed process with our number; a link is removed and not followed
    try:
        with open(aside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        _fsync(path.parent)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        _name(error, aside, path)
        raise


def append_text(path: Path, text: str) -> None:
    """Append `text` to a file, on disk before this returns; when that fails the file is as it was."""
    is_new = not path.is_file()
    size = 0 if is_new else path.stat().st_size
    try:
        with open_own(path, "ab") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            _fsync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        _name(error, path, path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with `\\n` line ends; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, obj: Any) -> None:
    """Write `obj` as indented JSON, keys in the order given; see `write_bytes`.

    NumPy scalars become numbers; NaN and infinity, which JSON does not have, become null.
    """
    write_text(path, json.dumps(plain(obj), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def plain(obj: Any) -> Any:
    """`obj` as JSON has it; see `write_json`."""
    if isinstance(obj, dict):
        return {str(key): plain(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [plain(value) for value in obj]
    if hasattr(obj, "tolist"):  # NumPy scalars and arrays, without importing NumPy here
        return plain(obj.tolist())
    if isinstance(obj, float) and not math.isfinite(obj):
        return None
    return str(obj) if isinstance(obj, Path) else obj


def open_own(path: Path, mode: str) -> IO[Any]:
    """Open a file that is written in place, as text in UTF-8. UserError if a link or a pipe stands there."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)

    try:
        file = open(path, mode, encoding=None if "b" in mode else "utf-8", opener=opener)  # noqa: SIM115
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, None):  # None: one that cannot be searched
            raise
        raise UserError(f"{path}: is a link or a pipe, and is not written to; remove it") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UserError(f"{path}: is not an ordinary file, and is not written to; remove it")
    return file


RUN_WRITES = ("metrics.jsonl", "checkpoints", "state", "analysis", "report")


def refuse_links(run: Path, names: Sequence[str] = RUN_WRITES) -> None:
    """UserError if something that a run writes to is, or holds, a symbolic link; or is a pipe or a device."""
    for own in (run / name for name in names):
        if own.exists() and not own.is_file() and not own.is_dir():
            raise UserError(f"{own}: is not an ordinary file, and is not written to; remove it")
        for path in (own, *own.rglob("*")):
            if path.is_symlink():
                raise UserError(f"{path}: is a symbolic link, and nothing is written through it; remove it")


# --- folders


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
        _name(error, aside, path)
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
                _remove_folder(aside)
            _name(error, aside, path)
            raise


def _without_links(path: Path) -> Path:
    """Where a folder is to be made: through links of the user's, but not through one that stands in a run's folder."""
    if path.parent.name not in RUN_WRITES:
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(path.parent.parent)) / path.parent.name / path.name


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
    _fsync(path.parent)
    return aside


def manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of the artifact at `path` (kind, digest, files, atlantis: the version); None if not ours."""
    try:
        found = read_json(Path(path) / MANIFEST)
    except (FileNotFoundError, UserError):
        return None
    ours = all(isinstance(found.get(key), str) for key in ("kind", "digest", "atlantis"))
    files = found.get("files")
    return found if ours and isinstance(files, dict) and all(map(_is_entry, files.items())) else None


def _is_entry(entry: tuple[str, Any]) -> bool:
    """Whether a manifest's line names a file inside its folder, with its size and SHA-256."""
    name, facts = PurePosixPath(entry[0]), entry[1]
    inside = bool(name.parts) and not name.is_absolute() and ".." not in name.parts and "\0" not in entry[0]
    return inside and isinstance(facts, dict) and type(facts.get("bytes")) is int and "sha256" in facts


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
        _remove_folder(aside)


def _remove_folder(folder: Path) -> None:
    """Remove a folder of ours, its manifest last: by that a half-removed one is known as ours."""
    for entry in folder.iterdir():
        if entry.name == MANIFEST:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    shutil.rmtree(folder)


def is_complete(path: Path, digest: str | None = None) -> bool:
    """Whether `path` is a whole artifact (of this digest, if given): every file is there, with its size.

    What the files hold is not looked at; `is_whole` and `verify` do that.
    """
    found = manifest(path)
    if found is None or digest not in (None, found["digest"]):
        return False
    return all(_size(Path(path) / name) == entry["bytes"] for name, entry in found["files"].items())


def is_whole(path: Path, digest: str | None = None) -> bool:
    """Whether `path` is an artifact (of this digest, if given) as it was written, by the hash of every file."""
    return is_complete(path, digest) and damage(path) is None


def damage(path: Path) -> str | None:
    """What is wrong with the artifact at `path`, by the hash of every file; None if it is as it was written."""
    try:
        verify(path)
    except UserError as error:
        return str(error)
    return None


def verify(path: Path, text: str = "") -> None:
    """Read every file of the artifact at `path`; UserError naming the first that is missing or changed.

    The file named `text` may have got the line ends of another system.
    """
    found = manifest(path)
    if found is None:
        raise UserError(f"{path}: not a complete artifact (no {MANIFEST} of ours); remove it and make it again")
    if found.keys() != set(MANIFEST_KEYS) and read_bytes(Path(path) / MANIFEST) != sealed(found).encode():
        raise UserError(
            f"{Path(path) / MANIFEST}: has been changed since it was written; remove {path} and make it again"
        )
    for name, entry in found["files"].items():
        file = Path(path) / name
        if not file.is_file():
            raise UserError(f"{file}: is missing; remove {path} and make it again")
        if _size(file) == entry["bytes"] and _sha256(file) == entry["sha256"]:
            continue
        if name != text or hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest() != entry["sha256"]:
            raise UserError(f"{file}: has been changed since it was written; remove {path} and make it again")


def verify_some(path: Path, names: Sequence[str]) -> None:
    """As `verify`, of the small files that somebody shows, and not of all; a folder without a manifest passes."""
    found = manifest(path)
    if found is None:
        return
    if found.keys() != set(MANIFEST_KEYS) and read_bytes(Path(path) / MANIFEST) != sealed(found).encode():
        raise UserError(
            f"{Path(path) / MANIFEST}: has been changed since it was written; remove {path} and make it again"
        )
    for name in names:
        file, entry = Path(path) / name, found["files"].get(name)
        if entry is not None and (_size(file) != entry["bytes"] or _sha256(file) != entry["sha256"]):
            raise UserError(f"{file}: has been changed since it was written; remove {path} and make it again")


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
    found = manifest(target)
    if found is None:
        raise UserError(f"{path}: holds files that are not ours and is left alone; choose another folder")
    if not overwrite:
        raise UserError(f"{path}: already holds a {found['kind']}; choose another folder or remove it")
    if found["kind"] != kind:
        raise UserError(f"{path}: holds a {found['kind']}, which a {kind} does not replace; choose another folder")
    foreign = sorted(set(_files(target)) - found["files"].keys() - {MANIFEST})
    if foreign:
        raise UserError(f"{path}: holds {foreign[0]}, which is not ours, and is left alone; move that file away")


def _seal(folder: Path, kind: str, digest: str) -> None:
    """Flush every file and folder, then write the manifest."""
    files = {}
    for name in _files(folder):
        if name == MANIFEST:  # `BEGUN`
            continue
        file = folder / name
        files[name] = {"sha256": _sha256(file), "bytes": file.stat().st_size}
        _fsync(file)
    for parent, _, _ in os.walk(folder):
        _fsync(Path(parent))
    content = {"kind": kind, "digest": digest, "atlantis": version(), "files": files}
    write_text(folder / MANIFEST, sealed(content))


def sealed(content: dict[str, Any]) -> str:
    """The text of a manifest, ending in a digest of itself; not one bit of it can change unseen."""
    content = {key: content[key] for key in MANIFEST_KEYS}
    return json.dumps(content | {"seal": digest_of(content)}, indent=1, ensure_ascii=False) + "\n"


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
        _fsync(target.parent)
    except OSError:  # not known to be on disk: all as it was
        os.rename(target, aside)
        if replaced is not None:
            os.rename(replaced, target)
        raise
    if replaced is not None:
        _remove_folder(replaced)


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
                _remove_folder(entry)
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
        is_free = locks.can_be_held(entry, descriptor)
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


def is_passing(name: str) -> bool:
    """Whether a file of this name is a lock, or what a killed process left: it makes no folder one that is in use."""
    return name == LOCK or any(pattern.fullmatch(name) for pattern in (LEFTOVER, leases.CLAIM))


# --- lock


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the folder `path` (made if missing) for this process; it is free again however the process ends.

    Raises UserError if another process holds it.
    """
    path = Path(path)
    make_folders(path)
    with open_own(path / LOCK, "a+b") as file, contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.held(path / LOCK, file.fileno(), record=True))
        except locks.Busy as busy:
            raise UserError(f"{path}: another process ({busy.holder}) {BUSY}; wait for it to end") from None
        except OSError as error:
            error.filename = error.filename or str(path / LOCK)
            raise
        yield


def is_locked(path: Path) -> bool:
    """Whether another process holds the folder `path`."""
    try:
        with open(Path(path) / LOCK, "rb") as file:
            return locks.is_held(Path(path) / LOCK, file.fileno())
    except (FileNotFoundError, NotADirectoryError):
        return False


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder itself; BlockingIOError if another has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with locks.held(folder, descriptor):
            yield
    finally:
        os.close(descriptor)


# --- small things


def version() -> str:
    """The installed version of atlantis, "source" when it runs without having been installed."""
    from importlib import metadata

    try:
        return metadata.version("atlantis-lab")
    except metadata.PackageNotFoundError:
        return "source"


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
        _fsync(path.parent)


def refuse_file(path: Path, key: str = "") -> None:
    """UserError if a file stands where the folder `path`, or one above it, is to be; `key` is where that was set."""
    for folder in (path, *path.parents):
        if folder.exists() and not folder.is_dir():
            setting = f"{key} {path}: " if key else ""
            raise UserError(f"{setting}{folder}: is a file, where a folder is needed; give another name")


def _name(error: BaseException, aside: Path, path: Path) -> None:
    """Have an error of the system name the file that the user knows, and not the one aside."""
    if isinstance(error, OSError):
        error.filename = str(error.filename or path).replace(str(aside), str(path))


def _files(folder: Path) -> list[str]:
    """Relative names, with `/`, of all files and links below `folder`, sorted. Links are not followed."""
    found = (file for file in folder.rglob("*") if file.is_symlink() or not file.is_dir())
    return sorted(file.relative_to(folder).as_posix() for file in found)


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return -1


def _fsync(path: Path) -> None:
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
