"""From a run's folder to what a person looks at: tables, figures, the animated map and the HTML page.

Everything here is a pure reader of the files that `train` and `probe` wrote (`run_data.py` loads them once).
Nothing is imported here, so that one part can be used without paying for the others.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from atlantis.home import quiet_fonts

quiet_fonts()


class _Callable(ModuleType):
    """`atlantis.report(run)` writes a report: a package's name and a function's are one here."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from atlantis.report.page import write_report

        return write_report(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
