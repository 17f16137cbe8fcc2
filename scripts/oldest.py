"""The oldest version of each package that pyproject.toml allows, as constraints for pip.

    python scripts/oldest.py > constraints-oldest.txt

`make oldest` installs these and runs the tests with them, so that the lower bounds are true.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
EXTRAS = ("lora", "tensorboard")
"""Those whose packages the tests install too."""


def oldest(text: str) -> str:
    """`name==version` of a requirement such as `name>=version,<next`. Raises ValueError if it has no lower bound."""
    asked = Requirement(text)
    lowest = [bound.version for bound in asked.specifier if bound.operator == ">="]
    if len(lowest) != 1:
        raise ValueError(f"pyproject.toml: {text} has no lower bound, or several; write name>=version")
    return f"{asked.name}=={lowest[0]}"


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in project["dependencies"] + [text for name in EXTRAS for text in project["optional-dependencies"][name]]:
        print(oldest(text))


if __name__ == "__main__":
    main()
