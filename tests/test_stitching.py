"""Stitching, against planted answers: a model with itself, a rotated copy, a copy that was broken in one block."""

from __future__ import annotations

import tracemalloc
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from atlantis import load_config, stitch
from atlantis.data.rows import Rows
from atlantis.errors import UserError
from atlantis.model import Transformer
from atlantis.model.checkpoint import load_checkpoint
from atlantis.readout.compared import like
from atlantis.readout.generate import answers
from atlantis.readout.stitching import (
    FitRows,
    Stitched,
    _draw_rows,
    fit_maps,
    fit_rows,
    parts_of,
    parts_table,
    stitch_table,
    stitched_answers,
)
from atlantis.settings import RunConfig
from atlantis.tasks import Questions
from atlantis.tasks.distance import DISTANCE
from atlantis.training import inputs
from atlantis.training.base import find_base
from atlantis.vocabulary import Vocabulary
from atlantis.world import World

WIDTH, BLOCKS = 32, 3


@pytest.fixture(scope="module")
def world() -> World:
    return World.build()


@pytest.fixture(scope="module")
def vocabulary(world: World) -> Vocabulary:
    return Vocabulary("characters", len(world))


def model_of(seed: int, vocabulary: Vocabulary) -> Transformer:
    """Random weights, large enough that answers differ from row to row."""
    model = Transformer(vocabulary.size, 44, width=WIDTH, n_layers=BLOCKS, n_heads=2, mlp_width=64).eval()
    model.initialise(0.4, torch.Generator().manual_seed(seed))
    return model


def rotated(model: Transformer, seed: int = 0) -> Transformer:
    """The same function, with its states turned: norms whose weights are all 1 do not see a rotation."""
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(seed)))[0]
    copy = deepcopy(model)
    with torch.no_grad():
        for weight in (copy.embedding.weight, copy.unembedding.weight):
            weight.copy_(weight @ turn)
        for block in copy.layers:
            for reader in (block.qkv, block.gate_up):
                reader.weight.copy_(reader.weight @ turn)
            for writer in (block.out, block.down):
                writer.weight.copy_(turn.T @ writer.weight)
    return copy


@pytest.fixture(scope="module")
def questions(world: World) -> Questions:
    cities = np.random.default_rng(0).integers(0, 400, (30, 2))
    cities[:, 1] += 500
    cities[20:, 1] = world.first_virtual + np.arange(10)
    return Questions.ask(DISTANCE, world, cities)


@pytest.fixture(scope="module")
def rows(world: World, vocabulary: Vocabulary, questions: Questions) -> FitRows:
    return fit_rows(world, vocabulary, questions, 400, seed=1)


@pytest.fixture(scope="module")
def trained(world: World) -> tuple[Transformer, Vocabulary]:
    """A shipped model, whose answers can be read, with tokens for Atlantis as well."""
    base = find_base(load_config("configs/atlantis_cross_finetune.yaml"))
    assert base is not None
    model, _ = load_checkpoint(base.checkpoint)
    return model.eval(), Vocabulary("characters", len(world))


@pytest.mark.parametrize("cut", [-1, 0, 4])
def test_a_model_joined_to_itself_is_itself(
    trained: tuple[Transformer, Vocabulary], questions: Questions, cut: int
) -> None:
    model, vocabulary = trained
    own = answers(model, vocabulary, questions)
    assert (own >= 0).mean() > 0.9
    assert np.array_equal(stitched_answers(Stitched(model, model, cut), vocabulary, questions), own)


@torch.no_grad()
def test_an_affine_map_finds_a_rotation(vocabulary: Vocabulary, rows: FitRows) -> None:
    base = model_of(1, vocabulary)
    turned, cut = rotated(base), 1
    true = base(rows.tokens)
    assert torch.allclose(turned(rows.tokens), true, atol=1e-2)
    x, y = (rows.states(model)[cut + 1] for model in (turned, base))
    error = {}
    inside = torch.as_tensor(np.arange(rows.tokens.shape[1]) < rows.lengths[:, None])
    for kind in ("nothing", "shift", "affine", "permuted"):
        joined = Stitched(turned, base, cut, fit_maps(kind, x, y, rows))
        states, _ = joined.above(joined.below(rows.tokens)[0])
        error[kind] = float((base.logits(states) - true)[inside].square().mean() / true[inside].var())
    assert error["affine"] < 0.05, error
    assert min(error["nothing"], error["shift"], error["permuted"]) > 4 * error["affine"], error


def test_a_shift_finds_a_shift(rows: FitRows) -> None:
    x = np.random.default_rng(0).normal(size=(*rows.tokens.shape, 4))
    moved = x + np.arange(4.0)
    maps = fit_maps("shift", x, moved, rows)
    assert maps is not None
    used = int(rows.lengths.max())
    assert torch.allclose(maps.offsets[:used], torch.arange(4.0).expand(used, 4), atol=1e-5)
    assert torch.equal(maps.weights, torch.eye(4).expand_as(maps.weights))


def named_in(rows: FitRows, vocabulary: Vocabulary) -> np.ndarray:
    texts = vocabulary.decode(rows.tokens.numpy())
    return np.array([[int(city) for city in text.split("(c_")[1].split(")")[0].split(",c_")] for text in texts])


def test_rows_have_the_order_of_training(
    world: World, vocabulary: Vocabulary, questions: Questions, rows: FitRows
) -> None:
    drawn = named_in(rows, vocabulary)
    assert 0.4 < (drawn[:, 0] < drawn[:, 1]).mean() < 0.6
    in_order = fit_rows(world, vocabulary, questions, 400, seed=1, order="smaller_first")
    assert np.array_equal(named_in(in_order, vocabulary), np.sort(drawn, axis=1))


def test_rows_are_drawn_some_at_a_time() -> None:
    n, n_cities, size = 200, 30_000, 2
    whole = np.argsort(np.random.default_rng(0).random((n, n_cities)), axis=1)[:, :size]
    tracemalloc.start()
    drawn = _draw_rows(np.random.default_rng(0), n, n_cities, size)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(drawn, whole)
    assert most < n * n_cities * 16 / 3, "of random numbers and their order, in bytes"


def test_maps_are_fitted_on_other_cities(vocabulary: Vocabulary, questions: Questions, rows: FitRows) -> None:
    assert not np.isin(named_in(rows, vocabulary), questions.cities).any()


def test_the_broken_block_is_found(trained: tuple[Transformer, Vocabulary], world: World, questions: Questions) -> None:
    base, vocabulary = trained
    rows = fit_rows(world, vocabulary, questions, 100, seed=1)
    broken = deepcopy(base)
    with torch.no_grad():
        broken.layers[1].down.weight.neg_()
    truth = answers(base, vocabulary, questions)
    asked = Questions.of(DISTANCE, questions.cities, truth.clip(min=0), questions.slice)
    real = parts_table(base, broken, vocabulary, asked).query("slice == 'world-world'")
    mean = dict(zip(zip(real["part"], real["mode"], strict=True), real["mean"], strict=True))
    whole, harmed = mean["all", "put back"], mean["all", "alone"]
    assert mean["block 1", "put back"] == whole < harmed
    assert mean["block 1", "alone"] == mean["block 0", "put back"] == harmed
    assert set(real["part"][real["change"] > 0]) == {"block 1", "block 1 mlp", "all"}
    assert mean["block 1 mlp", "put back"] == whole and mean["block 1 attention", "put back"] == harmed
    untrained = like(base, 0.1, seed=0)
    table = stitch_table(base, broken, vocabulary, asked, rows, ["nothing"], cuts=[-1, 0, 1], untrained=untrained)
    control = table.query("lower == 'untrained' and slice == 'world-world'")
    assert set(control["between"]) == {"affine"} and control["mean"].min() > 10 * whole
    below = table.query("lower == 'tuned' and slice == 'world-world'")
    below = dict(zip(below["cut"], below["mean"], strict=True))
    assert below[-1] == below[0] == whole < below[1]


def test_parts_hold_every_weight_and_gradients_add_up(
    trained: tuple[Transformer, Vocabulary], questions: Questions
) -> None:
    model, vocabulary = trained
    parts = parts_of(model)
    leaves = [part for part in parts if part in ("embedding", "output") or part.count(" ") == 2]
    assert sorted(key for part in leaves for key in parts[part]) == sorted(parts["all"]) == sorted(model.state_dict())
    batch = Rows(questions, vocabulary).batch(torch.arange(len(questions)))
    table = parts_table(model, model, vocabulary, questions[:2], batch).query("mode == 'alone'")
    shares = dict(zip(table["part"], table["gradient"], strict=True))
    assert shares["all"] == pytest.approx(1) == pytest.approx(sum(shares[part] for part in leaves))
    assert min(shares.values()) > 0


def test_what_does_not_fit_is_refused(
    world: World, vocabulary: Vocabulary, questions: Questions, rows: FitRows
) -> None:
    model = model_of(1, vocabulary)
    wider = Transformer(vocabulary.size, 44, width=64, n_layers=BLOCKS, n_heads=2, mlp_width=64)
    with pytest.raises(UserError, match="the base has 32 width and the other model 64"):
        stitch_table(model, wider, vocabulary, questions, rows)
    with pytest.raises(UserError, match="no cut after block 7"):
        stitch_table(model, model, vocabulary, questions, rows, cuts=[7])
    everyone = Questions.ask(DISTANCE, world, np.arange(world.n_real - 1).reshape(-1, 2))
    with pytest.raises(UserError, match="too few to fit"):
        fit_rows(world, vocabulary, everyone, 400, seed=1)


def test_the_command(
    small_config: RunConfig, small_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where there is a GPU: the models, and the rows that they are given, are on the CPU."""
    from atlantis import train
    from atlantis.cli import main

    tuned = small_config.model_copy(
        update={
            "name": "stitched",
            "base": str(small_run / "checkpoints" / "final"),
            "dataset": small_config.dataset.model_copy(
                update={"kind": "cross", "n_train": 150, "n_test": 20, "order": "smaller_first"}
            ),
            "training": small_config.training.model_copy(update={"max_steps": 3, "epochs": 50.0}),
        }
    )
    run, orders = train(tuned), []
    gpu = torch.device("meta")
    monkeypatch.setattr(inputs, "choose_device", lambda name: torch.device("cpu") if name == "cpu" else gpu)
    monkeypatch.setattr(stitch, "fit_rows", lambda *given: orders.append(given[-1]) or fit_rows(*given))
    assert main(["stitch", str(run), "--items", "2", "--rows", "100", "--steps", "0"]) == 0
    assert "put back" in capsys.readouterr().out and orders == ["smaller_first"]
    stitched = pd.read_csv(run / "analysis" / "stitching" / "stitched.csv")
    assert set(stitched["step"]) == {0} and set(stitched["lower"]) == {"base", "tuned", "untrained"}
    start = stitched[(stitched["step"] == 0) & (stitched["between"] == "nothing")]
    assert max(start.groupby("slice")["mean"].nunique()) == 1  # the base with itself, wherever it is cut
    for arguments, message in (
        ([str(small_run)], "trained from scratch"),
        ([str(run), "--steps", "4"], "no such checkpoint"),
        ([str(run), "--steps", "x"], "write steps with commas"),
    ):
        assert main(["stitch", *arguments]) == 2
        assert message in capsys.readouterr().err
