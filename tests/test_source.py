"""Probing what others bring: transformers folders of any architecture, arrays of hidden states, any layer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from atlantis.data.encoding import needed_by, probe_prompt
from atlantis.errors import UserError
from atlantis.model.checkpoint import facts_of, save_checkpoint
from atlantis.model.transformer import Transformer
from atlantis.readout import read
from atlantis.readout.analysis import probe_checkpoint, probe_folder
from atlantis.readout.layers import layer_table, positions_of
from atlantis.readout.source import Source, open_source
from atlantis.settings import ProbeConfig
from atlantis.sphere import unit_vectors
from atlantis.tasks import Form, Task
from atlantis.vocabulary import Vocabulary
from atlantis.world import OCEANS, World

CONFIG = ProbeConfig(n_cities=25, n_train=15, layers=[0, 1], repeats=2)


@pytest.fixture(scope="module")
def world(small_world: World) -> World:
    return small_world


def save_ours(folder: Path, world: World, kind: Any = "characters") -> Path:
    vocabulary = Vocabulary(kind, len(world))
    model = Transformer(vocabulary.size, 44, width=16, n_layers=3, n_heads=2, mlp_width=32)
    model.initialise(0.1, torch.Generator().manual_seed(0))
    save_checkpoint(folder, model, vocabulary, facts_of(world, vocabulary, "small", 0), None)
    return folder


def save_theirs(folder: Path, ours: Path, architecture: str) -> Path:
    """A folder made by transformers alone."""
    torch.manual_seed(0)
    if architecture == "qwen2":
        model: Any = AutoModelForCausalLM.from_pretrained(ours, dtype=torch.float32)
    elif architecture == "llama":
        sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
        model = LlamaForCausalLM(LlamaConfig(vocab_size=44, intermediate_size=32, max_position_embeddings=32, **sizes))
    elif architecture == "bloom":  # has no largest position
        model = BloomForCausalLM(BloomConfig(vocab_size=44, hidden_size=16, n_layer=3, n_head=2))
    else:
        model = GPT2LMHeadModel(GPT2Config(vocab_size=44, n_embd=16, n_layer=3, n_head=2, n_positions=32))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(ours).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["characters", "city"])
def test_a_folder_saved_by_transformers_reads_as_ours_does(
    kind: str, world: World, thirty_cities: Path, tmp_path: Path
) -> None:
    ours = save_ours(tmp_path / "ours", world, kind)
    theirs = save_theirs(tmp_path / "theirs", ours, "qwen2")
    mine, foreign = open_source(ours, world), open_source(theirs, world)
    assert mine.layers == ["embedding", "0", "1", "2", "norm"] and foreign.layers == ["embedding", "0", "1", "norm"]
    assert foreign.vocabulary == mine.vocabulary
    fewer = open_source(theirs, World.build(thirty_cities, regions=[]))
    assert np.array_equal(fewer.states(np.array([3]), ["0"], 2), foreign.states(np.array([3]), ["0"], 2))
    ids = np.array([37, 0, 12, 9])
    found = [source.states(ids, foreign.layers, 2) for source in (mine, foreign)]
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)
    readings = [probe_checkpoint(folder, world, CONFIG) for folder in (ours, theirs)]
    for protocol in ("degrees", "sphere"):
        pd.testing.assert_frame_equal(readings[0][protocol].dynamics, readings[1][protocol].dynamics, rtol=1e-3)


class Padded(Task):
    """Another task's prompts, with zeros before short ids."""

    name, unit, penalty = "padded", "degrees", 180.0
    form = Form("angle({city:04},{city:04},{city:04})={int:3}")


def test_cities_may_be_named_in_the_prompts_of_another_task(world: World, tmp_path: Path) -> None:
    ours = save_ours(tmp_path / "ours", world)
    theirs = save_theirs(tmp_path / "theirs", ours, "qwen2")
    mine, foreign = (open_source(folder, world, Padded()) for folder in (ours, theirs))
    ids = np.array([37, 0])
    states = mine.states(ids, ["0", "1"], 2)
    np.testing.assert_allclose(states, foreign.states(ids, ["0", "1"], 2), rtol=1e-5, atol=1e-5)
    prompt = mine.vocabulary.encode(["<bos>angle(c_0037,c_", "<bos>angle(c_0000,c_"])[0]
    assert mine.model is not None
    expected = mine.model.hidden_states(torch.as_tensor(prompt).long(), [0, 1])
    np.testing.assert_allclose(states[:, :, 1], expected[1][:, -2:].detach(), rtol=1e-5, atol=1e-5)
    assert not np.allclose(states, open_source(ours, world).states(ids, ["0", "1"], 2))


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bloom"])
def test_any_architecture_can_be_probed(architecture: str, world: World, tmp_path: Path) -> None:
    folder = save_theirs(tmp_path / "theirs", save_ours(tmp_path / "ours", world), architecture)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    features = open_source(folder, world).features(world, [0, 1])
    for city in (0, 9, 10, 37):
        prompt = tokenizer(f"<bos>dist(c_{city},c_", add_special_tokens=False, return_tensors="pt")
        states = model(**prompt, output_hidden_states=True).hidden_states
        expected = torch.cat([states[1], states[2]], dim=-1)[0, -3:].flatten()
        np.testing.assert_allclose(features[city], expected.detach(), rtol=1e-5, atol=1e-5)
    readings, table = probe_folder(folder, world, CONFIG, tmp_path / "out", by_layer=True)
    written = pd.read_csv(tmp_path / "out" / "degrees" / "representation_dynamics.csv")
    assert written["mean_km"].to_numpy() == pytest.approx(readings["degrees"].dynamics["mean_km"], rel=1e-5)
    assert table is not None
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "layers" / "layers.parquet"), table)


def test_what_cannot_be_probed_is_said(world: World, tmp_path: Path) -> None:
    """One message each, and nothing is left behind."""
    ours = save_ours(tmp_path / "ours", world)
    theirs = save_theirs(tmp_path / "theirs", ours, "llama")
    out = tmp_path / "out"

    def refused(match: str, folder: Path, the_world: World = world, config: ProbeConfig = CONFIG) -> None:
        with pytest.raises(UserError, match=match):
            probe_folder(folder, the_world, config, out)
        assert not any("out" in path.name for path in tmp_path.iterdir())

    refused("no such checkpoint folder", tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused("no config.json in it", empty)
    refused("there is no layer 3 in .*ours, which has embedding, blocks 0 to 2, norm", ours, config=layers(3))
    refused("there is no layer 2 in .*theirs, which has embedding, blocks 0 to 1, norm", theirs, config=layers(2))
    elsewhere = World.build(regions=())
    refused("trained on another world", ours, elsewhere)
    few = World.of_places(np.arange(9.0), np.arange(9.0))
    refused("at least 10 real cities; this world has 9", theirs, few)
    lopsided = ProbeConfig(n_cities=5000, n_train=4999, layers=[0])
    refused("leaves 30 to fit on and 0 to test on", theirs, config=lopsided)
    weights = load_file(theirs / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0] = torch.nan
    save_file(weights, theirs / "model.safetensors", metadata={"format": "pt"})
    refused("theirs: its hidden states hold NaN or infinity", theirs)
    (theirs / "tokenizer.json").unlink()
    refused("no tokenizer.json in it", theirs)
    (theirs / "model.safetensors").write_bytes(b"cut")
    (theirs / "tokenizer.json").write_bytes((ours / "tokenizer.json").read_bytes())
    refused("transformers cannot open its model and tokenizer", theirs)
    (ours / "model.safetensors").write_bytes(b"cut")
    refused("model.safetensors", ours)


def test_a_model_of_one_block_names_no_blocks() -> None:
    source = Source(Path("theirs"), Vocabulary("characters", 9), 8, ["embedding", "norm"], lambda *_: np.empty(0))
    with pytest.raises(UserError, match=r"no layer 3 in theirs, which has embedding, norm$"):
        source.check([3])


def layers(*blocks: int) -> ProbeConfig:
    return CONFIG.model_copy(update={"layers": list(blocks)})


def test_damaged_and_foreign_tokens_are_refused(world: World, tmp_path: Path) -> None:
    ours = save_ours(tmp_path / "ours", world, "city")
    theirs = save_theirs(tmp_path / "theirs", ours, "qwen2")
    larger = World.of_places(np.linspace(-170, 170, 50), np.linspace(-80, 80, 50))
    with pytest.raises(UserError, match=r"has tokens for 38 cities, this world has 50; .* --real-only"):
        open_source(theirs, larger)
    characters = save_theirs(tmp_path / "small", save_ours(tmp_path / "other", world), "gpt2")
    text = (characters / "tokenizer.json").read_text().replace('"d": 11', '"D": 11')
    (characters / "tokenizer.json").write_text(text)
    with pytest.raises(UserError, match="its tokenizer reads <bos>dist"):
        open_source(characters, world)


def test_other_virtual_cities_are_said(
    world: World, thirty_cities: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = save_ours(tmp_path / "ours", world)
    for same in (world, World.build(thirty_cities, regions=())):
        open_source(ours, same)
    assert capsys.readouterr().err == ""
    open_source(ours, World.build(thirty_cities, regions=(OCEANS["indian"],)))
    assert "ours: its run's world has other virtual cities than this one" in capsys.readouterr().err


def planted(n: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places on the sphere, and features that are their coordinates, turned, among noise."""
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-180, 180, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    turn = np.linalg.qr(rng.normal(size=(24, 24)))[0]
    return np.column_stack([unit_vectors(lon, lat) * 10, rng.normal(size=(n, 21))]) @ turn, lon, lat


@pytest.mark.parametrize("protocol", ["degrees", "sphere"])
def test_any_features_can_be_read(protocol: str) -> None:
    features, lon, lat = planted()
    groups = np.where(lon > 0, "east", "west")
    linear = np.column_stack([features, lon, lat]) if protocol == "degrees" else features  # degrees, or directions
    found = read(linear, lon, lat, groups, protocol).dynamics
    held_out = found[found["split"] == "test"].set_index("group")
    assert set(held_out.index) == {"real", "east", "west"}
    assert (held_out["mean_km"] < 30).all()
    assert held_out.loc["real", "lat_r2"] > 0.999
    shuffled = np.random.default_rng(1).permutation(len(features))
    chance = read(linear[shuffled], lon, lat, protocol=protocol)
    assert set(chance.dynamics["group"]) == {"real"}
    row = chance.dynamics[chance.dynamics["split"] == "test"].iloc[0]
    assert row["lat_r2"] < 0.15 and row["mean_km"] > 8_000
    assert len(chance.predictions) == len(features)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"features": np.zeros(600)}, "shape"),
        ({"features": np.zeros((600, 3), complex)}, "must be real numbers"),
        ({"features": np.zeros((599, 3))}, "599 rows and there are 600 places"),
        ({"lat": np.full(600, 91.0)}, "row 0: longitude .* latitude 91 is no place"),
        ({"lon": np.full(600, np.nan)}, "row 0: longitude nan"),
        ({"lon": np.zeros(3)}, "one value per place"),
        ({"groups": ["real"] * 600}, "'real' is a name of ours"),
        ({"protocol": "other"}, "no protocol 'other'; use one of degrees, sphere"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, Any], match: str) -> None:
    features, lon, lat = planted()
    with pytest.raises(UserError, match=match):
        read(**({"features": features, "lon": lon, "lat": lat} | change))
    features[5, 2] = np.inf
    with pytest.raises(UserError, match="row 5 holds what is no finite number"):
        read(features, lon, lat)


@pytest.mark.parametrize(
    "template, characters, city",
    [
        ("dist({city},{city})={int:5}", ["digit", ",", "c", "_"], ["city", ","]),
        ("inside({city};{cities:3-5})={word:n|y}", ["digit", ";", "c", "_"], ["city", ";"]),
        ("loc({city})={int}", ["digit", ")", "="], ["city", ")", "="]),
        ("a({city}==){int}", ["digit", "= (1)", "= (2)", ")"], ["city", "= (1)", "= (2)", ")"]),
    ],
)
def test_positions_are_called_by_the_tasks_own_tokens(template: str, characters: list[str], city: list[str]) -> None:
    form = Form(template)
    for kind, names in (("characters", characters), ("city", city)):
        vocabulary = Vocabulary(kind, 20, version=needed_by([SimpleNamespace(form=form)]))  # type: ignore[arg-type, list-item]
        assert positions_of(form, vocabulary) == names
        tokens, last = probe_prompt(form, vocabulary, np.array([7]))
        texts = [vocabulary.decode(tokens[:, k : k + 1])[0] for k in range(last[0] + 1)]
        assert texts[1 - len(names) :] == [name.partition(" ")[0] for name in names[1:]]


def test_the_layer_table_finds_where_the_map_was_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """At layer 1 and position `c` alone; also when memory allows one layer at a time."""
    world, rng = World.build(), np.random.default_rng(0)
    map_ = np.column_stack([world.lon, world.lat, rng.normal(size=(len(world), 6))])

    def read_planted(ids: np.ndarray, names: list[str], n_positions: int) -> np.ndarray:
        states = rng.normal(size=(len(ids), n_positions, len(names), 8)).astype(np.float32)
        if "1" in names:
            states[:, 2, names.index("1")] = map_
        return states

    source = Source(Path("planted"), Vocabulary("characters", len(world)), 8, ["embedding", "0", "1"], read_planted)
    for most in (2**30, 1):
        monkeypatch.setattr("atlantis.readout.layers.MOST_BYTES", most)
        table = layer_table(source, world, ProbeConfig())
        assert len(table) == 3 * 4 * 2 and set(table["group"]) == {"real", "Atlantis"}
        real = table[table["group"] == "real"].set_index(["layer", "position"])
        assert real.loc[("1", "c"), "lon_r2"] > 0.999 and real.loc[("1", "c"), "mean_km"] < 5
        assert (real["n"] == 2_000).all()
        assert (real.drop(("1", "c"))["lat_r2"] < 0.05).all()
