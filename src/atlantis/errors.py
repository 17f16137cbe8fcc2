"""The one exception that is a user's mistake rather than ours."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user can mend: the message names the file, line or key, what is wrong and what to do.

    The command line prints the message alone, without a traceback, and exits with code 2.
    """
