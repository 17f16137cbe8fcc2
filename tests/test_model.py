"""The transformer against transformers' Qwen2, and its folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch.nn import functional as F

from atlantis.data.rows import Rows
from atlantis.errors import UserError
from atlantis.model import Transformer, completion_loss, fast, load_model, save_model
from atlantis.model.checkpoint import grow
from atlantis.model.fast import flat, kernels, tree
from atlantis.model.fast.cache import extend
from atlantis.model.fast.shared import shared_logits
from atlantis.model.transformer import answer_logits
from atlantis.readout.ridge import fit_ridge
from atlantis.settings import TrainingConfig
from atlantis.tasks import Questions
from atlantis.training.step import Engine
from atlantis.vocabulary import PAD, Vocabulary
from atlantis.world import World
from tests.distances import distances
from tests.distances import prompt as prompt_of

N_CITIES = 120


def new_model(kind: str, seed: int = 0) -> tuple[Transformer, Vocabulary]:
    vocabulary = Vocabulary(kind, N_CITIES)  # type: ignore[arg-type]
    model = Transformer(vocabulary.size, 44, width=32, n_layers=3, n_heads=2, mlp_width=64)
    model.initialise(0.1, torch.Generator().manual_seed(seed))
    return model, vocabulary


def some_pairs(n: int = 40) -> Questions:
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, N_CITIES, (2, n)).astype(np.int32)
    return distances(first, second, rng.integers(0, 20_000, n))


def peer(model: Transformer, vocabulary: Vocabulary, folder: Path):
    """The same model as transformers loads it, from a folder with a tokenizer."""
    from transformers import AutoModelForCausalLM

    save_model(model, folder)
    vocabulary.save_transformers(folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def test_the_studys_model_has_1588096_parameters() -> None:
    assert sum(p.numel() for p in Transformer(44, 44).parameters()) == 1_588_096


@pytest.mark.parametrize("kind", ["characters", "city"])
def test_logits_hidden_states_and_gradients_equal_transformers(kind: str, tmp_path: Path) -> None:
    model, vocabulary = new_model(kind)
    theirs = peer(model, vocabulary, tmp_path)
    rows = Rows(some_pairs(), vocabulary)
    batch = rows.batch(torch.arange(40))
    tokens, n = batch.whole(), len(batch.prefix)
    logits = answer_logits(model, batch)
    output = theirs(tokens, output_hidden_states=True)
    expected = output.logits[torch.arange(40)[:, None], n + batch.positions][..., :44]
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    for ours, layer in zip(model.hidden_states(tokens, [-1, 0, 1]), (0, 1, 2), strict=True):
        torch.testing.assert_close(ours, output.hidden_states[layer], rtol=1e-5, atol=1e-5)

    loss, count = completion_loss(logits, batch.targets)
    (loss / count).backward()
    F.cross_entropy(expected.flatten(0, 1), batch.targets.flatten(), ignore_index=PAD).backward()
    assert model.embedding.weight.grad is not None
    torch.testing.assert_close(model.embedding.weight.grad, theirs.model.embed_tokens.weight.grad, rtol=1e-4, atol=1e-6)
    fused = model.blocks[0].qkv.weight.grad
    attention = theirs.model.layers[0].self_attn
    parts = [layer.weight.grad for layer in (attention.q_proj, attention.k_proj, attention.v_proj)]
    torch.testing.assert_close(fused, torch.cat(parts), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "form", [fast.Plain(), fast.SharedPrefix(), fast.AsTree()], ids=lambda form: type(form).__name__
)
def test_the_loss_of_whole_rows_equals_that_of_transformers(form: fast.Forward, tmp_path: Path) -> None:
    """Labels are the tokens themselves; the library shifts them, and takes -100 for none."""
    model, vocabulary = new_model("characters")
    theirs = peer(model, vocabulary, tmp_path)
    rows = Rows(some_pairs(), vocabulary, loss_on="row")
    batch = rows.batch(torch.arange(41))  # the last is the filler
    tokens = batch.whole()[:40]
    whole = torch.cat([tokens, rows.tokens[:40, -1:].long()], dim=1)
    n_targets = (whole[:, 1:] != PAD).sum()
    assert (batch.targets != PAD).sum() == n_targets
    expected = theirs(whole, labels=whole.masked_fill(whole == PAD, -100)).loss * n_targets
    loss = form.loss(model, batch)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    (loss / n_targets).backward()
    (expected / n_targets).backward()
    assert model.embedding.weight.grad is not None
    torch.testing.assert_close(model.embedding.weight.grad, theirs.model.embed_tokens.weight.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["characters", "city"])
def test_greedy_answers_equal_transformers_generate(kind: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from atlantis.readout.generate import answer_tokens

    model, vocabulary = new_model(kind)
    theirs = peer(model, vocabulary, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    pairs = some_pairs()
    ours = answer_tokens(model, vocabulary, pairs, batch=7)
    for i in range(len(pairs)):
        prompt = tokenizer(prompt_of(*pairs.cities[i]), add_special_tokens=False, return_tensors="pt")["input_ids"]
        out = theirs.generate(prompt, max_new_tokens=6, do_sample=False, attention_mask=torch.ones_like(prompt))
        answer = out[0, prompt.shape[1] :].tolist()
        assert ours[i].tolist() == answer + [PAD] * (6 - len(answer))


def test_rows_point_at_the_answer() -> None:
    vocabulary = Vocabulary("characters", N_CITIES)
    pairs = some_pairs(5)
    rows = Rows(pairs, vocabulary)
    batch = rows.batch(torch.tensor([0, 4, 5]))  # 5 is the filler
    for place, i in enumerate((0, 4)):
        assert vocabulary.decode(batch.targets[place : place + 1].numpy()) == [f"{pairs.answer[i]}<eos>"]
        before = batch.tokens[place, batch.positions[place, 0]].item()
        assert vocabulary.decode(np.array([[before]])) == ["="]
    assert (batch.targets[2] == PAD).all()


@pytest.mark.parametrize("kind", ["characters", "city"])
def test_the_shared_prefix_gives_the_plain_logits_and_gradients(kind: str) -> None:
    model, vocabulary = new_model(kind)
    rows = Rows(some_pairs(), vocabulary)
    batch = rows.batch(torch.tensor([*range(24), 3, len(rows)]))
    plain, shared = answer_logits(model, batch), shared_logits(model, batch)
    wanted = batch.targets != PAD
    torch.testing.assert_close(shared[wanted], plain[wanted], rtol=1e-5, atol=1e-5)
    results = [
        torch.autograd.grad(completion_loss(x, batch.targets)[0], list(model.parameters())) for x in (plain, shared)
    ]
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)


def test_rows_that_go_on_from_kept_keys_are_whole_rows() -> None:
    model, vocabulary = new_model("characters")
    whole = Rows(some_pairs(6), vocabulary).batch(torch.arange(6)).whole()
    expected = model.hidden_states(whole, [-1, 1, 2])
    _, cache = extend(model, whole[:1, :8], [2])  # the prefix, the same for all
    states, _ = extend(model, whole[:, 8:], [-1, 1, 2], cache, rows=torch.zeros(6, dtype=torch.long))
    for ours, theirs in zip(states, expected, strict=True):
        torch.testing.assert_close(ours, theirs[:, 8:], rtol=1e-5, atol=1e-5)


def test_a_filler_changes_neither_loss_nor_gradient() -> None:
    model, vocabulary = new_model("characters")
    rows = Rows(some_pairs(), vocabulary)
    results = []
    for chosen in (torch.arange(6), torch.tensor([0, 1, 2, 3, 4, 5, 40, 40])):
        batch = rows.batch(chosen)
        model.zero_grad()
        loss, count = completion_loss(answer_logits(model, batch), batch.targets)
        (loss / count).backward()
        assert model.blocks[1].gate_up.weight.grad is not None
        results.append((loss / count, model.blocks[1].gate_up.weight.grad.clone()))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-7)


def test_a_folder_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model, _ = new_model("city")
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.unembedding.out_features == 44
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_new_cities_get_new_rows_and_old_ones_keep_theirs() -> None:
    model, vocabulary = new_model("city")
    before = model.embedding.weight.detach().clone()
    grown = grow(model, vocabulary.size + 9, std=0.1, seed=5)
    assert torch.equal(grown.embedding.weight[: len(before)], before)
    assert len(grown.embedding.weight) == len(before) + 9
    assert 0.05 < grown.embedding.weight[len(before) :].std().item() < 0.2
    with pytest.raises(UserError, match="more cities than this world"):
        grow(grown, 50, std=0.1, seed=5)


def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config.json: not found"):
        load_model(tmp_path)
    model, _ = new_model("characters")
    save_model(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(UserError, match="do not fit"):
        load_model(tmp_path)
    for key, value in (
        ("rms_norm_eps", 1e-5),
        ("hidden_act", "gelu"),
        ("use_sliding_window", True),
        ("layer_types", ["sliding_attention"]),
        ("rope_scaling", {"rope_type": "linear", "factor": 4.0}),
        ("rope_parameters", {"rope_type": "yarn", "rope_theta": 10_000.0}),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
        with pytest.raises(UserError, match=rf"config\.json: .*{key}"):
            load_model(tmp_path)
    same = {"hidden_act": "swish", "use_sliding_window": None, "layer_types": 3, "rope_scaling": {"rope_type": None}}
    (tmp_path / "config.json").write_text(json.dumps(config | same))
    load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    with pytest.raises(UserError, match="model_type must be 'qwen2'"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    data = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        load_model(tmp_path)


def test_the_world_decides_what_ids_mean(small_run: Path, thirty_cities: Path) -> None:
    from atlantis.model.checkpoint import check_world

    other = World.build(thirty_cities, regions=(), seed=7)
    check_world(small_run / "checkpoints" / "final", World.build(thirty_cities, regions=()))
    with pytest.raises(UserError, match="another world"):
        check_world(small_run / "checkpoints" / "final", other)


def test_a_dataset_of_another_world_is_not_evaluated(small_run: Path, small_world: World, thirty_cities: Path) -> None:
    from atlantis.data.dataset import Dataset
    from atlantis.readout.evaluate import evaluate_checkpoint
    from atlantis.settings import DatasetConfig
    from atlantis.tasks.score import by_slice
    from atlantis.world import OCEANS

    final = small_run / "checkpoints" / "final"
    asked = DatasetConfig(kind="cross", n_train=20, n_val=5, n_test=30)
    assert by_slice(evaluate_checkpoint(final, Dataset.build(small_world, asked)))["all"]["n"] == 30
    shuffled = World.build(thirty_cities, regions=(OCEANS["atlantic"],), seed=7)
    with pytest.raises(UserError, match="another world"):
        evaluate_checkpoint(final, Dataset.build(shuffled, asked))
    other_ocean = World.build(thirty_cities, regions=(OCEANS["indian"],))
    with pytest.raises(UserError, match="virtual cities are not those"):
        evaluate_checkpoint(final, Dataset.build(other_ocean, asked))


def test_rows_longer_than_the_context_are_not_evaluated(small_world: World, tmp_path: Path) -> None:
    from atlantis.data.dataset import Dataset
    from atlantis.model.checkpoint import facts_of, save_checkpoint
    from atlantis.readout.evaluate import evaluate_checkpoint
    from atlantis.settings import DatasetConfig

    vocabulary = Vocabulary("characters", len(small_world))
    model = Transformer(vocabulary.size, 44, width=16, n_layers=1, n_heads=2, mlp_width=8, context=22)
    model.initialise(0.1, torch.Generator().manual_seed(0))
    save_checkpoint(tmp_path / "short", model, vocabulary, facts_of(small_world, vocabulary, "short", 0), None)
    dataset = Dataset.build(small_world, DatasetConfig(kind="distance", n_train=20, n_val=5, n_test=30))
    with pytest.raises(UserError, match="short: reads 22 tokens, and rows of task distance have up to 23"):
        evaluate_checkpoint(tmp_path / "short", dataset)


def test_compile_no_trains_with_the_model_as_it_is_written() -> None:
    model, vocabulary = new_model("characters")
    batch = Rows(some_pairs(), vocabulary).batch(torch.arange(16))
    engine = Engine(model, TrainingConfig(compile="no"), torch.device("cpu"))
    expected = completion_loss(answer_logits(model, batch), batch.targets)[0]
    assert torch.equal(engine.loss(batch), expected)
    logits = model(batch.whole())
    assert torch.equal(answer_logits(model, batch)[3, 1], logits[3, len(batch.prefix) + batch.positions[3, 1]])


def test_shapes_are_checked_while_tests_run() -> None:
    model, _ = new_model("characters")
    if not torch.cuda.is_available():
        with pytest.raises(TypeCheckError, match="tokens"):
            model(torch.zeros(4, dtype=torch.long))
        with pytest.raises(TypeCheckError, match="bias"):
            flat.enter(torch.zeros(4, 3), torch.zeros(9, 3), torch.zeros(8))
        with pytest.raises(TypeCheckError, match="is_query"):
            tree.grow(np.zeros((3, 4), int), np.zeros((3, 2), int), np.ones((3, 1), bool))
        with pytest.raises(TypeCheckError, match="rows"):
            kernels.pick(torch.zeros(4, 3), torch.zeros(2, 1, dtype=torch.long))
        with pytest.raises(TypeCheckError, match="y"):
            fit_ridge(np.zeros((4, 2)), np.zeros((3, 1)))
