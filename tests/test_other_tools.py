"""What transformers answers, unprompted, from a checkpoint of ours: as our own code does, in few lines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from atlantis.lookup import base_folder
from atlantis.model.checkpoint import load_checkpoint
from atlantis.readout.generate import answers
from atlantis.settings import RunConfig
from atlantis.training import train
from atlantis.training.base import Base, base_digests
from atlantis.vocabulary import BOS_FIRST
from atlantis.world import World
from tests.distances import distances

BASES = {"dist_100k_1M_20epochs": 60, "warm_start": 130, "city_dist_100k": 120}
"""The shipped bases, and what the median error (km) of their answers is below."""
FILES_IN_0_1 = {
    "dist_100k_1M_20epochs": "d91ce843d3d0",
    "warm_start": "8f0299ca6bf4",
    "city_dist_100k": "396b4bc2c33b",
}
"""Digests of their small files in version 0.1, as the records of runs from then have them."""


@pytest.fixture(scope="module")
def questions() -> Any:
    from atlantis.sphere import haversine_km

    world = World.build(regions=())
    first, second = np.random.default_rng(0).integers(0, len(world), (2, 60)).astype(np.int32)
    km = haversine_km(world.lon[first], world.lat[first], world.lon[second], world.lat[second])
    return distances(first, second, np.round(km).astype(np.int64))


def prompts(questions: Any) -> list[str]:
    return [f"dist(c_{first},c_{second})=" for first, second in questions.cities]


def shipped(base: str) -> Path:
    folder = base_folder(base)
    assert folder is not None
    return folder


def our_answers(folder: Path, questions: Any) -> list[str]:
    model, vocabulary = load_checkpoint(folder)
    return [str(km) for km in answers(model, vocabulary, questions)]


def median_km(texts: list[str], questions: Any) -> float:
    answered = np.array([int(text) if text.isdigit() else 99_999 for text in texts])
    return float(np.median(np.abs(answered - questions.answer)))


ONE_BY_ONE = [(base, 1) for base in BASES]


@pytest.mark.parametrize(
    ("base", "batch_size"),
    [ONE_BY_ONE[-1], *(pytest.param(*case, marks=pytest.mark.whole) for case in ONE_BY_ONE[:-1])]
    + [(base, 16) for base in BASES],
)
def test_a_pipeline_answers_a_plain_prompt(base: str, batch_size: int, questions: Any) -> None:
    ask: Any = pipeline("text-generation", model=str(shipped(base)), device="cpu", batch_size=batch_size)
    greedy = {} if Version(transformers.__version__) >= Version("5.16") else {"do_sample": False}
    texts = [found[0]["generated_text"] for found in ask(prompts(questions), return_full_text=False, **greedy)]
    assert texts == our_answers(shipped(base), questions)
    assert median_km(texts, questions) < BASES[base]


@pytest.mark.parametrize("base", BASES)
def test_generate_needs_no_settings(base: str, questions: Any) -> None:
    folder = shipped(base)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    batch = tokenizer(prompts(questions), return_tensors="pt", padding=True)
    written = model.generate(**batch)[:, batch["input_ids"].shape[1] :]
    texts = tokenizer.batch_decode(written, skip_special_tokens=True)
    assert texts == our_answers(folder, questions)


def test_markers_that_are_written_out_are_read_once(questions: Any) -> None:
    """As the columns `prompt` and `completion` of a dataset have them."""
    folder = shipped("warm_start")
    plain, texts = AutoTokenizer.from_pretrained(folder), prompts(questions)
    expected = plain(texts)["input_ids"]
    written = [f"<bos>{text}" for text in texts]
    assert plain(written, add_special_tokens=False)["input_ids"] == expected
    assert AutoTokenizer.from_pretrained(folder, add_bos_token=False)(written)["input_ids"] == expected


def test_a_run_s_checkpoint_says_how_it_is_asked(small_config: RunConfig, small_run: Path) -> None:
    final = small_run / "checkpoints" / "final"
    said = json.loads((final / "generation_config.json").read_text())
    assert said == {"do_sample": False, "max_new_tokens": 6, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    assert AutoTokenizer.from_pretrained(final).model_max_length == small_config.model.context == 32
    model: Any = AutoModelForCausalLM.from_pretrained(final)
    assert model.generation_config.do_sample is False and model.generation_config.max_new_tokens == 6


def test_a_longer_context_than_the_base_s(small_config: RunConfig, small_run: Path) -> None:
    changes = {
        "name": "longer",
        "base": str(small_run),
        "model": small_config.model.model_copy(update={"context": 48}),
        "training": small_config.training.model_copy(update={"max_steps": 1}),
        "evaluation": small_config.evaluation.model_copy(update={"probe": False}),
    }
    longer = train(small_config.model_copy(update=changes))
    final = longer / "checkpoints" / "final"
    assert AutoTokenizer.from_pretrained(final).model_max_length == 48
    model, vocabulary = load_checkpoint(final)
    assert model.context == json.loads((final / "config.json").read_text())["max_position_embeddings"] == 48
    tokens = torch.full((1, 40), vocabulary.bos)
    assert model(tokens).shape == (1, 40, 44)
    base, _ = load_checkpoint(small_run / "checkpoints" / "final")
    base.set_context(48)
    start, _ = load_checkpoint(longer / "checkpoints" / "checkpoint-0")
    assert torch.equal(base(tokens), start(tokens))


@pytest.mark.parametrize("base", BASES)
def test_a_checkpoint_of_version_0_1_is_the_same_base(base: str, questions: Any, tmp_path: Path) -> None:
    """Its tokenizer adds no `<bos>`, and it does not say how it is asked."""
    old = tmp_path / base
    shutil.copytree(shipped(base), old)
    for name in ("manifest.json", "generation_config.json"):
        (old / name).unlink()
    for name, changes in {
        "tokenizer.json": {"post_processor": None},
        "tokenizer_config.json": {"add_bos_token": False, "padding_side": "right"},
    }.items():
        content = json.loads((old / name).read_text())
        (old / name).write_text(json.dumps(content | changes, indent=1) + "\n")
    (old / "atlantis.json").rename(tmp_path / "atlantis.json")  # with it, and no manifest, a folder of ours is damaged
    models = [load_checkpoint(folder)[0] for folder in (old, shipped(base))]
    tokens = torch.arange(20)[None]
    assert torch.equal(models[0](tokens), models[1](tokens))
    (tmp_path / "atlantis.json").rename(old / "atlantis.json")
    assert base_digests(Base(old, "", None)) == base_digests(Base(shipped(base), "", None))
    assert base_digests(Base(old, "", None))["base_files"] == FILES_IN_0_1[base]
    written = [f"<bos>{text}" for text in prompts(questions)]
    assert (
        AutoTokenizer.from_pretrained(old)(written)["input_ids"]
        == AutoTokenizer.from_pretrained(shipped(base))(prompts(questions))["input_ids"]
    )


def test_another_tokenizer_is_another_base(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(shipped("warm_start"), other)
    file = other / "tokenizer.json"
    content = json.loads(file.read_text())
    assert content["post_processor"] == BOS_FIRST
    file.write_text(json.dumps(content | {"post_processor": BOS_FIRST | {"single": BOS_FIRST["pair"]}}))
    assert base_digests(Base(other, "", None))["base_files"] != FILES_IN_0_1["warm_start"]
