"""The compiled kernels in the cache, damaged, exchanged or made by a compiler that fails: the same ones, or a word."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from checks.faults.common import Outcome, Tally, fork, scratch

TRUE_COMPILER = 'exec {compiler} "$@"\n'
COPYING = """while [ "$1" != -o ]; do shift; done; cp {good} "$2"\n"""
"""Instead of a compiler, in a second less."""
BAD_COMPILERS = {
    "silent": "exit 1\n",
    "not UTF-8": "printf 'caf\\351 failed\\n' >&2; exit 1\n",
    "hangs": "exec sleep 60\n",
    "killed": "kill -9 $$\n",
    "makes nothing": "exit 0\n",
    "makes an empty library": 'while [ "$1" != -o ]; do shift; done; : > "$2"\n',
    "makes no library": 'while [ "$1" != -o ]; do shift; done; echo hello > "$2"\n',
    "not to be run": "",
}


def tally(every: int) -> Tally:
    """Attacks on the library in a cache, and compilers that fail; none at all where there is no compiler."""
    from atlantis.model.fast import kernels

    found, compiler = Tally(), kernels.compiler()
    if compiler is None:
        return found
    folder = scratch() / "kernels"
    (folder / "bin").mkdir(parents=True)
    _script(folder / "bin", TRUE_COMPILER.format(compiler=compiler))
    first = _digest(folder)
    library = next((folder / "cache/atlantis").glob("*.so"))
    good = folder / "good.so"
    good.write_bytes(library.read_bytes())
    copying_compiler(folder / "bin", good)
    expected = first.said.strip().splitlines()[-1] if first.said else "nothing"
    for name, attack in list(_attacks(folder).items())[::every]:
        attack(library)
        outcome = _digest(folder)
        reasons = [] if outcome.said.strip().endswith(expected) and "again" in outcome.said else [outcome.said[-300:]]
        reasons += [] if outcome.code == 0 else [f"exit code {outcome.code}"]
        silent = _digest(folder)  # what was made again is believed
        reasons += [] if silent.said.strip() == expected else [f"afterwards: {silent.said[-300:]}"]
        found.add([f"{name}: {reason}" for reason in reasons])
    for name, script in list(BAD_COMPILERS.items())[::every]:
        library.unlink(missing_ok=True)
        _script(folder / "bin", script)
        outcome = _digest(folder)
        lines = outcome.said.strip().splitlines()
        good_end = outcome.code == 0 and lines[-1:] == ["none"] and "could not be compiled" in outcome.said
        found.add([] if good_end and len(lines) == 2 else [f"{name}: {outcome.code}: {outcome.said[-300:]}"])
    return found


def copying_compiler(folder: Path, library: Path) -> None:
    """A `g++` in a folder that makes nothing but a copy of a library."""
    folder.mkdir(exist_ok=True)
    _script(folder, COPYING.format(good=library))


def _script(folder: Path, text: str) -> None:
    file = folder / "g++"
    file.write_text(f"#!/bin/sh\n{text}" if text else "\0\1\2")
    file.chmod(0o755)


def _digest(folder: Path) -> Outcome:
    """A new process's word about the kernels, and their digest."""

    def work() -> int:
        import sys

        from atlantis.model.fast import kernels

        os.environ["PATH"] = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        kernels.COMPILING_S = 2.0 if "sleep" in (folder / "bin/g++").read_text() else kernels.COMPILING_S
        kernels.library.cache_clear()
        print(kernels.library_digest(), file=sys.stderr)
        return 0

    return fork(work, folder).wait()


def _attacks(folder: Path) -> dict[str, Callable[[Path], object]]:
    def flipped(place: float) -> Callable[[Path], object]:
        def attack(library: Path) -> None:
            data = bytearray(library.read_bytes())
            data[int(place * len(data))] ^= 1
            library.write_bytes(data)

        return attack

    def other(library: Path) -> None:
        """A library without our functions, with a digest that agrees."""
        import hashlib

        (folder / "x.c").write_text("int x;\n")
        made = folder / "x.so"
        subprocess.run(["cc", "-shared", "-o", str(made), str(folder / "x.c")], check=True)
        library.write_bytes(made.read_bytes())
        library.with_suffix(".sha256").write_text(hashlib.sha256(made.read_bytes()).hexdigest() + "\n")

    return {
        **{f"flipped at {place:.0%}": flipped(place) for place in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999)},
        "truncated": lambda library: os.truncate(library, 1000),
        "empty": lambda library: os.truncate(library, 0),
        "another library": other,
        "digest gone": lambda library: library.with_suffix(".sha256").unlink(),
        "digest torn": lambda library: os.truncate(library.with_suffix(".sha256"), 10),
        "writable by everybody": lambda library: library.chmod(stat.S_IMODE(library.stat().st_mode) | 0o002),
    }
