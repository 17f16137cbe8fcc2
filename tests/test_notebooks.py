"""The notebooks of examples/ run from first cell to last, and are stored without outputs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))

SHORTER = {
    "max_steps=30": "max_steps=4", "[0, 30]": "[0, 4]", "(run, 30)": "(run, 4)",
    "n_train=20000": "n_train=1000", "n_test=1000": "n_test=100",
}  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert cells and all(not cell.outputs and cell.execution_count is None for cell in cells)


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("steps", [4, pytest.param(30, marks=pytest.mark.whole)])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, steps: int, tmp_path: Path) -> None:
    """In a folder of their own, so that what they write stays there; and what trains, in fewer steps than it says."""
    shutil.copy(path, tmp_path)
    notebook = nbformat.read(tmp_path / path.name, as_version=4)
    if path.stem == "03_from_checkpoint_to_figure" and steps != 4:
        pytest.skip("it trains nothing")
    for cell in notebook.cells if steps != 30 else ():
        for long, short in SHORTER.items():
            cell.source = cell.source.replace(long, short)
    nbclient.NotebookClient(notebook, timeout=180, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = "".join(str(cell.outputs) for cell in notebook.cells if cell.cell_type == "code")
    expected = {"03_from_checkpoint_to_figure": "shuffled: ", "04_a_strategy_of_your_own": "hold_upper"}
    assert expected[path.stem] in shown
