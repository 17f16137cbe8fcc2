"""The examples run, and the package has the names it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import atlantis
from atlantis.sweep import read

ROOT = Path(__file__).parents[1]


@pytest.mark.usefixtures("warm")
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


def test_the_example_of_a_sweep_is_that_of_the_page() -> None:
    file = ROOT / "examples" / "rates.yaml"
    assert len(read(file).runs) == 8
    settings = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert "\n".join(settings) in (ROOT / "docs" / "sweeps.md").read_text()


def test_every_public_name_is_there() -> None:
    for name in atlantis.__all__:
        assert getattr(atlantis, name) is not None
    with pytest.raises(AttributeError):
        atlantis.nothing_of_the_kind  # noqa: B018
