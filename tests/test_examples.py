"""The examples run, and the package's names and layers are what they say."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import atlantis

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "atlantis"

LAYERS = [
    ["errors", "names", "py.typed"],
    ["reading", "markdown", "progress", "limits", "signals"],
    ["home", "leases"],
    ["locks"],
    ["artifacts", "yaml12", "sphere", "statistics"],
    ["settings"],
    ["config"],
    ["trust"],
    ["world"],
    ["tokens"],
    ["tasks"],
    ["data"],
    ["model"],
    ["readout"],
    ["strategies"],
    ["training"],
    ["interpolate"],
    ["report"],
    ["show"],
    ["sweep"],
    ["study"],
    ["bench"],
    ["cli"],
    ["__main__", "__init__"],
]
"""Data flows down this list: a module imports only from lines above its own, or from its own package."""


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_examples_run(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(example), *(["out"] if "sys.argv" in example.read_text() else [])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert "Atlantis" in done.stdout


def test_every_public_name_is_there() -> None:
    for name in atlantis.__all__:
        assert getattr(atlantis, name) is not None
    with pytest.raises(AttributeError):
        atlantis.nothing_of_the_kind  # noqa: B018


def imports(file: Path) -> set[str]:
    """First parts of the names below `atlantis` that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "atlantis":
            parts = (node.module or "").split(".")[1:]
            found |= {parts[0]} if parts else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("atlantis.")}
    return found


def layer_of() -> dict[str, int]:
    return {name: i for i, names in enumerate(LAYERS) for name in names}


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_import_only_from_above(file: Path) -> None:
    layers, place = layer_of(), file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert place in layers, f"{place} is in no layer"
    public = {name for name in imports(file) if name in layers}
    wrong = {name for name in public if name != place and layers[name] >= layers[place]}
    assert not wrong, f"{place} imports {', '.join(sorted(wrong))}, which lie below it"
