"""Files that somebody else may have written: read whole, up to a limit, and never from a pipe or a device.

What is wrong with a file is a UserError that names it. That there is none is left to the caller to explain:
FileNotFoundError, also for a name below something that is no folder.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from atlantis.errors import UserError

MAX_BYTES = 100_000_000
STEP = re.compile(r"0|[1-9][0-9]{0,11}")
"""The number in a name such as `checkpoint-200`."""


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The content of an ordinary file of at most `limit` bytes; a link to one will do."""
    try:
        # Not blocking, for opening a pipe would wait for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(2, "No such file or directory", str(path)) from None
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise UserError(f"{path}: is {what}; give an ordinary file")
    try:
        with open(descriptor, "rb") as file:
            data = file.read(limit + 1) if status.st_size <= limit else b""
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if status.st_size > limit or len(data) > limit:
        raise UserError(f"{path}: is larger than {limit:,} bytes, which no file of this kind should be")
    return data


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """The content as text, which must be UTF-8 (a byte-order mark is left out)."""
    data = read_bytes(path, limit)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: is not UTF-8 text; save it as UTF-8") from None


def read_json(path: Path, limit: int = 10_000_000) -> dict[str, Any]:
    """The JSON object that a file holds."""
    value = json_of(read_text(path, limit), str(path))
    if not isinstance(value, dict):
        raise UserError(f"{path}: must hold one JSON object {{...}}; it was cut short or changed")
    return value


def json_of(text: str, source: str) -> Any:
    """The JSON value that `text` spells; UserError that names `source`."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{source}:{error.lineno}: not valid JSON ({error.msg})") from None
    except RecursionError:
        raise UserError(f"{source}: not valid JSON (nested too deeply)") from None
    except ValueError as error:  # a whole number of thousands of digits
        raise UserError(f"{source}: not valid JSON ({str(error).partition(';')[0]})") from None


def by_step(folder: Path, prefix: str) -> dict[int, Path]:
    """The folders `<prefix><step>` in a folder, by their step, ascending."""
    try:  # not by glob, which finds nothing in a folder that may not be read
        names = [entry.name for entry in os.scandir(folder) if entry.name.startswith(prefix) and entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    steps = {name.removeprefix(prefix): folder / name for name in names}
    return dict(sorted((int(step), path) for step, path in steps.items() if STEP.fullmatch(step)))
