"""Single files, written whole: a reader sees the old content or the new, never a part.

No file is written through a symbolic link inside a run's folder or an artifact: it could lead anywhere.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from atlantis.artifacts.disk import fsync, make_folders, name_the_file
from atlantis.artifacts.leftovers import clear_leftovers
from atlantis.errors import UserError

RUN_WRITES = ("metrics.jsonl", "checkpoints", "state", "analysis", "report")


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old content or the new, never a part. Makes parent folders.

    An OSError names `path`.
    """
    path = Path(path)
    make_folders(path.parent)
    clear_leftovers(path.parent, path.name)
    aside = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        aside.unlink(missing_ok=True)  # of a killed process with our number; a link is removed and not followed
        with open(aside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        fsync(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        name_the_file(error, aside, path)
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
            fsync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        name_the_file(error, path, path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with `\\n` line ends; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, obj: Any) -> None:
    """Write `obj` as indented JSON, keys in the order given; see `write_bytes`.

    NumPy scalars become numbers; NaN and infinity, which JSON does not have, become null.
    """
    write_text(path, json.dumps(plain(obj), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def dump_json(path: Path, obj: Any) -> None:
    """Write `obj` into a folder that is being made, in the form of transformers and datasets: ASCII, two spaces."""
    path.write_text(json.dumps(obj, indent=2) + "\n", encoding="utf-8", newline="\n")


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
        # Not blocking: to open a pipe would wait for somebody at its other end.
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


def refuse_links(run: Path, names: Sequence[str] = RUN_WRITES) -> None:
    """UserError if something that a run writes to is, or holds, a symbolic link; or is a pipe or a device."""
    for entry in (run / name for name in names):
        if entry.exists() and not entry.is_file() and not entry.is_dir():
            raise UserError(f"{entry}: is not an ordinary file, and is not written to; remove it")
        for path in (entry, *entry.rglob("*")):
            if path.is_symlink():
                raise UserError(f"{path}: is a symbolic link, and nothing is written through it; remove it")
