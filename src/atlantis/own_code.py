"""Classes of a user's own, named `my_module:MyClass`; the module is looked for in the current folder too."""

from __future__ import annotations

import ast
import os
import sys
from importlib import import_module
from inspect import getsource, isclass
from typing import TypeVar

from atlantis.artifacts import digest_of

T = TypeVar("T")


def own_class(name: str, base: type[T]) -> type[T]:
    """The subclass of `base` that `my_module:MyClass` means. Raises ValueError saying why there is none."""
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError as error:
        raise ValueError(f"{module!r} cannot be imported ({error}); run from the folder it is in") from None
    except Exception as error:  # whatever a user's module does wrong while it is imported
        where = f"{error.filename}, line {error.lineno}: " if isinstance(error, SyntaxError) else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        if type(error) is ValueError:  # what a form or another class of ours refuses says it well
            raise ValueError(f"{module!r}: {reason}") from None
        raise ValueError(f"{module!r} cannot be imported: {where}{type(error).__name__}: {reason}") from None
    if not (isclass(found) and issubclass(found, base)):
        package = ".".join(base.__module__.split(".")[:2])  # where it is imported from
        raise ValueError(f"{name!r}: the module has no subclass of {package}.{base.__name__} named {attribute!r}")
    return found


def code_digest(kind: type) -> str | None:
    """Digest of the module that a user's class is in; None where there is no source, as of a compiled module.

    Comments, blank lines and the layout of the source do not count; nor does what the module imports.
    """
    try:
        source = getsource(sys.modules[kind.__module__])
    except (OSError, TypeError):
        return None
    return digest_of(ast.unparse(ast.parse(source)))
