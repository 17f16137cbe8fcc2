"""Every way out of a command that raised: one line, and the exit code."""

from __future__ import annotations

import os
import re
import sys
import traceback
from pathlib import Path

from atlantis.errors import PART_FAILED, REMEDIES, USER_MISTAKE, PartFailed, UserError, is_out_of_memory
from atlantis.progress import printable

_SURROGATE = re.compile("[\ud800-\udfff]")


def explain(error: Exception) -> int:
    """Print what a command raised, in one line; returns the exit code."""
    if os.environ.get("ATLANTIS_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error)
    code, message = judge(error)
    line = re.sub(r"\n(?!  )", r"\\n", message)  # a new line begins a line of a list, not one of a file's name
    print(f"error: {printable(line)}", file=sys.stderr)
    return code


def judge(error: Exception) -> tuple[int, str]:
    """Exit code and message for what a command raised."""
    if not _has_current_folder():
        return USER_MISTAKE, "the current folder has been removed; change to one that is there (cd) and run it again"
    if isinstance(error, UserError):
        return PART_FAILED if isinstance(error, PartFailed) else USER_MISTAKE, str(error)
    if hasattr(error, "format_message"):  # typer's own: a wrong option or argument
        context = getattr(error, "ctx", None)
        hint = f"; see `{context.command_path} --help`" if context is not None else ""
        return USER_MISTAKE, f"{error.format_message().rstrip('.')}{hint}"  # type: ignore[attr-defined]
    if isinstance(error, OSError) and str(error.strerror).startswith("No usable temporary directory"):
        return USER_MISTAKE, f"{error.strerror}; set TMPDIR to a folder that can be written to"
    if isinstance(error, OSError) and error.strerror and (error.filename is not None or error.errno in REMEDIES):
        where = "" if error.filename is None else f"{error.filename}: "
        remedy = f"; {REMEDIES[error.errno]}" if error.errno in REMEDIES else ""
        return USER_MISTAKE, f"{where}{error.strerror}{remedy}"
    if isinstance(error, UnicodeEncodeError) and _SURROGATE.search(error.object):
        return (
            USER_MISTAKE,
            f"{error.object[:200].strip()}: the name of a file or folder is not UTF-8 text; rename it and run it again",
        )
    if is_out_of_memory(error):
        return PART_FAILED, "out of memory; ask for fewer pairs or smaller batches"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return PART_FAILED, f"unexpected {text} ({where}); run again with ATLANTIS_DEBUG=1 for the traceback"


def _has_current_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True
