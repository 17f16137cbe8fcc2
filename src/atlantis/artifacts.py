"""Folders that are either complete or absent, single files written whole, and a lock.

- A folder is made aside (`.<name>.partial-<pid>`), flushed to disk, and renamed into place: a crash leaves no half.
- `manifest.json` is written last, with the SHA-256 of every file: its presence is the mark of completion.
- A manifest holds no time and no machine, so that the same content gives the same bytes.
- Only a folder that carries our own manifest, and nothing beside what the manifest lists, is ever replaced or removed.
- No file is written through a symbolic link inside a run's folder or an artifact: it could lead anywhere.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
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

from atlantis.errors import UserError
from atlantis.reading import read_bytes, read_json

MANIFEST = "manifest.json"
LOCK = ".lock"
BUSY = "is working in this folder"
BEGUN = b"being written\n"
"""What the manifest of a folder in the making says: by it a killed process's folder is known as ours."""


def digest_of(obj: Any) -> str:
    """12 hexadecimal characters of the SHA-256 of `obj` (plain JSON data) in canonical JSON: sorted keys, no spaces.

    Raises ValueError for NaN or infinity and TypeError for what JSON cannot hold.
    """
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# --- single files


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old content or the new, never a part. Makes parent folders."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    aside.unlink(missing_ok=True)  # of a killed process with our number; a link is removed and not followed
    try:
        with open(aside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _fsync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with `\\n` line ends; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, obj: Any) -> None:
    """Write `obj` as indented JSON, keys in the order given; see `write_bytes`.

    NumPy scalars become numbers; NaN and infinity, which JSON does not have, become null.
    """
    write_text(path, json.dumps(_plain(obj), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(obj: Any) -> Any:
    if isinstance(obj, dict):
        return {str(key): _plain(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [_plain(value) for value in obj]
    if hasattr(obj, "tolist"):  # NumPy scalars and arrays, without importing NumPy here
        return _plain(obj.tolist())
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
        if error.errno not in (errno.ELOOP, errno.ENXIO, None):  # None: Python's word for a file that cannot be searched
            raise
        raise UserError(f"{path}: is a link or a pipe, and is not written to; remove it") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UserError(f"{path}: is not an ordinary file, and is not written to; remove it")
    return file


def refuse_links(run: Path, folders: Sequence[str] = ("checkpoints", "state", "analysis", "report")) -> None:
    """UserError if one of the folders that a run writes to is, or holds, a symbolic link."""
    for folder in (run / name for name in folders):
        for path in (folder, *folder.rglob("*")):
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
    target = Path(os.path.realpath(path))
    _clear_leftovers(target)
    _check_target(target, path, kind, overwrite)
    aside = target.with_name(f".{target.name}.partial-{os.getpid()}")
    if aside.is_dir():
        raise UserError(f"{path}: is being made by another process; wait for it or choose another folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.mkdir()
    except OSError as error:
        raise UserError(f"{path}: cannot be made here ({error.strerror}); choose another folder") from error
    with _held(aside):
        try:
            (aside / MANIFEST).write_bytes(BEGUN)
            yield aside
            _seal(aside, kind, digest)
            _check_target(target, path, kind, overwrite)
            _move_into_place(aside, target, path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


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
    """Remove the artifact of this kind at `path`; one that holds anything else, or is a link, is left alone."""
    if path.is_symlink():
        return
    with contextlib.suppress(UserError):
        _check_target(path, path, kind, overwrite=True)
        shutil.rmtree(path)


def is_complete(path: Path, digest: str | None = None) -> bool:
    """Whether `path` is a whole artifact (of this digest, if given): every file is there, with its size."""
    found = manifest(path)
    if found is None or digest not in (None, found["digest"]):
        return False
    return all(_size(Path(path) / name) == entry["bytes"] for name, entry in found["files"].items())


def verify(path: Path) -> None:
    """Read every file of the artifact at `path`; UserError naming the first that is missing or changed."""
    found = manifest(path)
    if found is None:
        raise UserError(f"{path}: not a complete artifact (no {MANIFEST} of ours); make it again")
    for name, entry in found["files"].items():
        file = Path(path) / name
        if not file.is_file():
            raise UserError(f"{file}: is missing; remove {path} and make it again")
        if _size(file) != entry["bytes"] or _sha256(file) != entry["sha256"]:
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
    write_json(folder / MANIFEST, {"kind": kind, "digest": digest, "atlantis": version(), "files": files})


def _move_into_place(aside: Path, target: Path, path: Path) -> None:
    """Rename `aside` to `target`; an artifact already there steps aside first and is removed last."""
    replaced = None
    if target.is_dir() and any(target.iterdir()):
        replaced = target.with_name(f".{target.name}.replaced-{os.getpid()}")
        os.rename(target, replaced)
    try:
        os.rename(aside, target)  # an empty folder at the target is replaced; a full one, made meanwhile, is not
    except OSError as error:
        if replaced is not None and not target.exists():
            os.rename(replaced, target)
        if target.is_dir():
            raise UserError(f"{path}: was made by another process in the meantime; that one is kept") from error
        raise
    _fsync(target.parent)
    if replaced is not None:
        shutil.rmtree(replaced)


def _clear_leftovers(target: Path) -> None:
    """Remove what killed processes left beside `target`; what one had moved aside to replace is put back."""
    pattern = re.compile(re.escape(f".{target.name}.") + r"(partial|replaced)-(\d+)")
    for folder in sorted(target.parent.glob(f".{glob.escape(target.name)}.*-*")) if target.parent.is_dir() else []:
        match = pattern.fullmatch(folder.name)
        if match is None or not _is_ours(folder) or not _is_stale(folder, int(match[2])):
            continue
        if match[1] == "replaced" and not target.exists():
            os.rename(folder, target)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Whether we made this folder, finished or not. An empty one, killed at birth, can be ours and holds nothing."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    if not any(folder.iterdir()) or manifest(folder) is not None:
        return True
    try:
        return BEGUN.startswith(read_bytes(folder / MANIFEST))
    except (FileNotFoundError, UserError):
        return False


def _is_stale(folder: Path, pid: int) -> bool:
    """Whether the process that made `folder` is gone. A lock on the folder tells us from a namesake in a container."""
    if pid != os.getpid() and _is_alive(pid):
        return False
    try:
        with _held(folder):
            return True
    except BlockingIOError:
        return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


# --- lock


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the folder `path` (made if missing) for this process; the system releases it however the process ends.

    Raises UserError if another process holds it.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    with open_own(path / LOCK, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            pid = file.read().strip() or "unknown"
            raise UserError(f"{path}: another process (pid {pid}) {BUSY}; wait for it to end") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def is_locked(path: Path) -> bool:
    """Whether another process holds the folder `path`."""
    try:
        with open(Path(path) / LOCK, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (FileNotFoundError, NotADirectoryError):
        pass
    return False


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder itself; BlockingIOError if another has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
