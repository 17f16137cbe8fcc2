"""What the command line reports in one line: a user's mistake, and a run that was asked to stop."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user can mend: the message names the file, line or key, what is wrong and what to do.

    The command line prints the message alone, without a traceback, and exits with code 2.
    """


class Interrupted(Exception):
    """A signal asked the run to stop, and its state is saved. The command line exits with 128 + `signum`."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum
