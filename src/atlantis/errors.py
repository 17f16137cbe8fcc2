"""What the command line reports in one line: a user's mistake, and a run that was asked to stop."""

from __future__ import annotations

import errno

OK, PART_FAILED, USER_MISTAKE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
"""Exit codes of the command line; after a signal it is 128 + the signal's number, as these last two are."""

CANNOT = "the file system, or this name there, does not allow that; choose a folder on another one"
AWAY = "the file system's server is away; run the same command again"
REMEDIES = {
    errno.ENOSPC: "make room and run the same command again",
    errno.EDQUOT: "make room and run the same command again",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f) and run the same command again",
    errno.EROFS: "make it writable and run the same command again, or choose another folder",
    errno.EACCES: "change the permissions and run the same command again, or choose another folder",
    errno.EPERM: "change the permissions and run the same command again, or choose another folder",
    errno.EXDEV: "it lies on two file systems, or on two layers of a container; choose another folder",
    errno.EINVAL: CANNOT,
    errno.ENOTSUP: CANNOT,
    errno.EOPNOTSUPP: CANNOT,
    errno.ENOSYS: CANNOT,
    errno.ESTALE: AWAY,
    errno.ETIMEDOUT: AWAY,
    errno.EIO: "check the disk and run the same command again; what was complete is kept",
}
"""What to do about an error of the system while reading or writing a file."""


class UserError(ValueError):
    """Something the user can mend: the message names the file, line or key, what is wrong and what to do.

    The command line prints the message alone, without a traceback, and exits with code 2.
    """


class PartFailed(UserError):
    """Some of the work could not be done; the rest is done and written. The command line exits with code 1."""


def without_remedy(message: object) -> str:
    """What is wrong, without what to do about it: a message of ours is "what is wrong; what to do"."""
    return str(message).partition(";")[0]


def in_a_line(error: BaseException) -> str:
    """The first line of an error's message, shortened; its type's name where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is Python's, NumPy's or PyTorch's way (on a CPU, on a GPU) of saying that memory ran out."""
    phrases = ("out of memory", "can't allocate memory", "bad_alloc", "ALLOC_FAILED")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in phrases)
    )


class Interrupted(Exception):
    """A signal asked the run to stop, and its state is saved. The command line exits with 128 + `signum`."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum
