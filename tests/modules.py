"""A user's module, as another process would import it."""

from __future__ import annotations

import importlib
import linecache
import sys


def forget_module(name: str) -> None:
    """Import it anew the next time, from the file as it is then."""
    del sys.modules[name]
    importlib.invalidate_caches()
    linecache.checkcache()
