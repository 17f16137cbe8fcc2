"""docs/architecture.md: its example of a task works as it is printed, its paths exist, its glossary is in order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from yaml import safe_load as load

from atlantis.config import checked
from atlantis.data.dataset import Dataset
from atlantis.settings import DatasetConfig, VirtualRegionConfig, WorldConfig
from atlantis.world import World

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_task_of_the_page_is_drawn_and_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = next(block for block in blocks("python") if "class Hemisphere(Task)" in block)
    (tmp_path / "hemisphere_of_the_page.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    text = next(block for block in blocks("yaml") if "parts:" in block)
    settings: Any = load(text.replace("task: hemisphere", "task: hemisphere_of_the_page:Hemisphere"))
    for part in settings["dataset"]["parts"]:
        part["n_train"] //= 1_000
    world = World.from_config(WorldConfig(regions=[VirtualRegionConfig(count=20)]))
    dataset = Dataset.build(world, checked(DatasetConfig, {**settings["dataset"], "n_test": 50}, "the page"))
    train = dataset.splits["train"]
    north = train[[i for i, k in enumerate(train.task) if train.tasks[k].name == "hemisphere"]]
    assert len(train) == 120 and len(north) == 100
    expected = world.lat[north.cities[:, 0]] > world.lat[north.cities[:, 1]]
    assert (north.answer == expected).all() and 20 < expected.sum() < 80
    dataset.save(tmp_path / "dataset")
    assert "north(c_" in (tmp_path / "dataset" / "README.md").read_text()


def test_the_world_of_the_page_is_a_world() -> None:
    text = next(block for block in blocks("yaml") if "regions:" in block)
    config = checked(WorldConfig, {**load(text)["world"], "cities": None}, "the page")
    assert len(World.from_config(config)) == 5_175


def test_every_file_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`((?:src/|tests/)?[\w/]+(?:\.py|/))`", PAGE))
    named = {name for name in named if not name.startswith(("outputs/", "analysis/"))}
    named -= {"src/atlantis/tasks/hemisphere.py"}
    assert len(named) > 30
    missing = [name for name in named if not any((ROOT / top / name).exists() for top in ("", "src/atlantis"))]
    files = {path.name for path in (ROOT / "src").rglob("*.py")}
    assert [name for name in missing if name not in files] == []


def test_the_glossary_is_in_order() -> None:
    rows = re.findall(r"^\| ([^|]+?) \|", PAGE.partition("## Glossary")[2], flags=re.MULTILINE)[2:]
    assert len(rows) >= 25 and rows == sorted(rows)
