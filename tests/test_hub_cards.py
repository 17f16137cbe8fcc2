"""Cards of shipped checkpoints and of datasets, as Hugging Face's Hub would read them; nothing is asked of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from huggingface_hub import DatasetCard, ModelCard, ModelCardData

from atlantis import artifacts, yaml12
from atlantis.data.card import SHIPPED_CITIES
from atlantis.data.dataset import Dataset
from atlantis.lookup import base_folder
from atlantis.settings import DatasetConfig
from atlantis.world import World
from scripts.hub_card import ASK, completed

BASES = ("city_dist_100k", "dist_100k_1M_20epochs", "warm_start")


def folder_of(base: str) -> Path:
    folder = base_folder(base)
    assert folder is not None
    return folder


@pytest.mark.parametrize("base", BASES)
def test_a_checkpoint_s_card_is_complete(base: str) -> None:
    card: Any = ModelCard.load(folder_of(base) / "README.md")
    assert (card.data.license, card.data.pipeline_tag, card.data.library_name) == (
        "mit",
        "text-generation",
        "transformers",
    )
    assert card.data.model_name == base and "atlantis-lab" in card.data.tags
    results: Any = card.data.eval_results
    assert [result.metric_type for result in results] == ["mean_km", "median_km", "r2", "r2", "mean_km", "median_km"]
    written = yaml12.parse((folder_of(base) / "README.md").read_text().split("---\n")[1], "card")[0]
    assert ModelCardData(model_name=base, eval_results=results).to_dict()["model-index"] == written["model-index"]


@pytest.mark.parametrize("base", BASES)
def test_the_numbers_of_a_card_are_the_records(base: str) -> None:
    folder = folder_of(base)
    card: Any = ModelCard.load(folder / "README.md")
    results = card.data.eval_results
    rows = pd.read_csv(folder / "probe_seed.csv")
    last: Any = rows[(rows["group"] == "real") & (rows["split"] == "test")].iloc[-1]
    found = {result.metric_name: result.metric_value for result in results}
    assert found["longitude, linear probe, R2"] == pytest.approx(last["lon_r2"], abs=6e-4)
    assert found["latitude, linear probe, R2"] == pytest.approx(last["lat_r2"], abs=6e-4)
    assert found["linear probe, mean km"] == pytest.approx(last["mean_km"], abs=0.6)
    assert 30 < found["median error of the answers, km"] < found["mean error of the answers, km"] < 200


@pytest.mark.parametrize("base", BASES)
def test_a_card_is_completed_once(base: str) -> None:
    text = (folder_of(base) / "README.md").read_text(encoding="utf-8")
    assert completed(text, base) == text and text.count(ASK) == 1
    body = text.partition("\n---\n\n")[2]
    assert body.startswith(f"# {base}\n") and "](../" not in body  # no links that lead nowhere on the Hub
    artifacts.verify(folder_of(base))


@pytest.mark.parametrize("cities", ["shipped", "one's own"])
def test_a_dataset_s_card_lets_the_hub_s_library_load_it(
    cities: str, thirty_cities: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World.build(None if cities == "shipped" else thirty_cities)
    dataset = Dataset.build(world, DatasetConfig(kind="cross", name="small", n_train=300, n_val=20, n_test=50))
    dataset.save(tmp_path / "small")
    card: Any = DatasetCard.load(tmp_path / "small" / "README.md")
    assert card.data.pretty_name == "small" and card.data.task_categories == ["text-generation"]
    assert card.data.size_categories == ["n<1K"]
    assert card.data.license == ("cc-by-4.0" if cities == "shipped" else None)
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    from datasets import load_dataset, load_from_disk

    loaded: Any = load_dataset(str(tmp_path / "small"), cache_dir=str(tmp_path / "cache"))
    saved: Any = load_from_disk(str(tmp_path / "small"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 300, "validation": 20, "test": 50}
    for split in saved:
        assert loaded[split].to_list() == saved[split].to_list()


def test_the_shipped_cities_are_known_by_their_digest() -> None:
    assert World.build().real_cities_digest == SHIPPED_CITIES
