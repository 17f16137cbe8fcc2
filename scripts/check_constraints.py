"""Whether constraints.txt pins all that the project needs, and what is installed is what it pins.

    python scripts/check_constraints.py

Works offline, and so knows nothing of vulnerabilities that were published: that takes a database (`pip-audit`).
"""

from __future__ import annotations

import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def needed(requirements: list[str]) -> dict[str, str]:
    """Installed version of every package that these need, directly or not; "" for one that is not installed."""
    found: dict[str, str] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        extras = asked.extras or {""}
        if name in found or (asked.marker and not any(asked.marker.evaluate({"extra": e}) for e in extras)):
            continue
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
            continue
        found[name] = package.version.partition("+")[0]
        for text in package.requires or []:
            inner = Requirement(text)
            if inner.marker is None or any(inner.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(Requirement(text.partition(";")[0]))
    return found


def mistakes(project: Path, constraints: Path) -> list[str]:
    """A line for each package that is not pinned, or installed in another version."""
    about = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    extras = about["optional-dependencies"]
    pins = {}
    for line in constraints.read_text(encoding="utf-8").splitlines():
        name, equals, pin = line.partition("#")[0].partition("==")
        if equals:
            pins[canonicalize_name(name.strip())] = pin.partition(";")[0].strip()
    said = []
    for name, found in sorted(needed([*about["dependencies"], *extras["dev"], *extras["docs"]]).items()):
        if name not in pins and name != "setuptools":  # which is part of the environment, as pip is
            said.append(f"{name}: needed, and not in {constraints.name}")
        elif found and found != pins.get(name, found):
            said.append(f"{name}: {found} is installed, {constraints.name} has {pins[name]}")
    return said


if __name__ == "__main__":
    found = mistakes(ROOT / "pyproject.toml", ROOT / "constraints.txt")
    print("\n".join(found) or "constraints.txt pins all that is needed")
    sys.exit(bool(found))
