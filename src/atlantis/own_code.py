"""Classes found by name: in a file of one of our packages, or a user's own, `my_module:MyClass`."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from inspect import getmembers, getsource, isclass
from pathlib import Path
from typing import TypeVar

from atlantis.artifacts import digest_of
from atlantis.errors import in_a_line

T = TypeVar("T")


def file_class(name: str, base: type[T], names: Sequence[str]) -> type[T]:
    """The one subclass of `base` that a file of its package defines; `names` are those of the files, without .py.

    Raises ValueError, with the nearest name, if there is no such file, or if what it defines is something else.
    """
    package, word = ".".join(base.__module__.split(".")[:2]), base.__name__
    if name not in names:
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}; or give my_module:My{word}"
        raise ValueError(f"no {word.lower()} {name!r}; {hint}")
    file = f"src/{package.replace('.', '/')}/{name}.py"
    try:
        module = import_module(f"{package}.{name}")
    except Exception as error:  # whatever a new file does wrong while it is imported
        raise ValueError(f"{file} cannot be imported: {type(error).__name__}: {in_a_line(error)}") from error
    kinds = [kind for _, kind in getmembers(module, isclass) if kind.__module__ == module.__name__]
    kinds = [kind for kind in kinds if issubclass(kind, base)]
    if len(kinds) != 1:
        raise ValueError(f"{file}: must define one subclass of {word}, not {len(kinds)}")
    return kinds[0]


def own_class(name: str, base: type[T]) -> type[T]:
    """The subclass of `base` that `my_module:MyClass` means; the current folder is looked in too.

    Raises ValueError saying why there is none.
    """
    module, _, attribute = name.partition(":")
    if "/" in module or module.startswith(".") or module.endswith(".py"):
        stem = module.rsplit("/", 1)[-1].removesuffix(".py") or "my_module"
        raise ValueError(f"{name!r}: write a module's name and not a path, such as {stem}:{attribute or 'MyClass'}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        loaded = getattr(import_module(module), attribute, None)
    except ImportError as error:
        hint = "; run from the folder it is in" if f"{module}.".startswith(f"{error.name}.") else ""
        raise ValueError(f"{module!r} cannot be imported ({error}){hint}") from error
    except (Exception, SystemExit) as error:  # whatever a user's module does wrong while it is imported
        where = f"{error.filename}, line {error.lineno}: " if isinstance(error, SyntaxError) else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ValueError(f"{module!r} cannot be imported: {where}{type(error).__name__}: {reason}") from error
    if not (isclass(loaded) and issubclass(loaded, base)):
        package = ".".join(base.__module__.split(".")[:2])  # where it is imported from
        raise ValueError(f"{name!r}: the module has no subclass of {package}.{base.__name__} named {attribute!r}")
    code_digest(loaded)  # now: the file may be edited while this class is in use
    return loaded


@cache
def code_digest(kind: type) -> str | None:
    """Digest of the module that a user's class is in, as it was when the class was first asked for.

    Comments, blank lines and the layout of the source do not count; nor does what the module imports. Of a compiled
    module it is that of the file's bytes. None where there is no file, as of what was typed into an interpreter.
    """
    module = sys.modules[kind.__module__]
    try:
        return digest_of(ast.unparse(ast.parse(getsource(module))))
    except (OSError, TypeError):
        file = getattr(module, "__file__", None)
        return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
