"""The GPU's way to the loss: all but its kernels is held to the plain model here, and its kernels where they run.

TRITON_INTERPRET=1 and an installed Triton run the kernels on a CPU.
"""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from atlantis import Dataset, DatasetConfig, TrainingConfig, World
from atlantis.data.rows import Batch, Rows
from atlantis.errors import UserError
from atlantis.model import Transformer, completion_loss
from atlantis.model.fast.flat import Attention, FlatLoss
from atlantis.model.fast.shared import attend_shared
from atlantis.model.transformer import answer_logits, attend, rotary_table, rotate
from atlantis.settings import RunConfig
from atlantis.training import graph, loop, scaling, state, train
from atlantis.training.graph import StepGraph
from atlantis.training.step import Engine, NotFinite
from atlantis.vocabulary import PAD, SYMBOLS, Vocabulary

interpreted = os.environ.get("TRITON_INTERPRET") == "1"
needs_kernels = pytest.mark.skipif(
    find_spec("triton") is None or not (torch.cuda.is_available() or interpreted), reason="needs a GPU"
)
DEVICE = "cuda" if torch.cuda.is_available() and not interpreted else "cpu"


def plain_attention(qkv: Tensor, cos: Tensor, sin: Tensor, n_shared: int, n_heads: int, n_rows: int) -> Tensor:
    """What `SharedAttention` computes, by the model's own functions."""
    heads = qkv.float().unflatten(-1, (3, n_heads, -1))
    own = heads[n_shared:].unflatten(0, (n_rows, -1))
    (pq, pk, pv), (q, k, v) = heads[:n_shared].unbind(-3), own.unbind(-3)
    end = n_shared + own.shape[1]
    cos, sin = cos[:end, None], sin[:end, None]
    causal = torch.ones(end, end, dtype=torch.bool, device=qkv.device).tril()
    pq, pk = rotate(pq, cos[:n_shared], sin[:n_shared]), rotate(pk, cos[:n_shared], sin[:n_shared])
    q, k = rotate(q, cos[n_shared:], sin[n_shared:]), rotate(k, cos[n_shared:], sin[n_shared:])
    shared = attend(pq[None], pk[None], pv[None], causal[:n_shared, :n_shared])
    length = end - n_shared
    mixed = attend_shared(q, k, v, pk, pv, causal[:length, :length])
    return torch.cat([shared.flatten(-2).flatten(0, 1), mixed.flatten(-2).flatten(0, 1)]).to(qkv.dtype)


def rows_of(kind: str, n: int, world: World, device: str = "cpu") -> Rows:
    pairs = Dataset.build(world, DatasetConfig(n_train=n, n_val=0, n_test=0)).splits["train"]
    return Rows(pairs, Vocabulary(kind, len(world)), device)  # type: ignore[arg-type]


def model_of(vocabulary: Vocabulary, width: int, n_layers: int, n_heads: int) -> Transformer:
    model = Transformer(
        vocabulary.size, len(SYMBOLS), width=width, n_layers=n_layers, n_heads=n_heads, mlp_width=2 * width
    )
    model.initialise(0.1, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    return model


def check_equal(model: Transformer, rows: Rows, batch: Batch, attention: Attention, compiled: bool = False) -> None:
    """Loss and gradients in float32 are the plain model's."""
    expected, n = completion_loss(answer_logits(model, batch), batch.targets)
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    flat = FlatLoss(model, torch.float32, attention, compiled)
    loss, count = flat.loss(batch)
    assert count == n
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    flat.backward(loss)
    for parameter, theirs in zip(model.parameters(), gradients, strict=True):
        ours = parameter.grad
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize(("kind", "n_layers"), [("characters", 3), ("characters", 1), ("city", 2)])
def test_the_flat_loss_is_the_plain_one(kind: str, n_layers: int) -> None:
    world = World.build(regions=())
    rows = rows_of(kind, 40, world)
    model = model_of(Vocabulary(kind, len(world)), 32, n_layers, 4)  # type: ignore[arg-type]
    filler = len(rows)
    check_equal(model, rows, rows.batch(torch.tensor([*range(24), 3, filler, filler])), plain_attention)


def test_gradients_in_bfloat16_are_near() -> None:
    world = World.build(regions=())
    rows, model = rows_of("characters", 64, world), model_of(Vocabulary("characters", len(world)), 64, 2, 4)
    batch = rows.batch(torch.arange(64))
    expected = completion_loss(answer_logits(model, batch), batch.targets)[0]
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    flat = FlatLoss(model, torch.bfloat16, plain_attention, compiled=False)
    flat.backward(flat.loss(batch)[0])
    for parameter, theirs in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is not None
        assert (parameter.grad - theirs).norm() < 0.05 * theirs.norm()


@needs_kernels
@pytest.mark.parametrize("sizes", [(8, 18, 5, 4, 32), (8, 5, 3, 2, 32), (3, 20, 2, 1, 64), (5, 40, 2, 2, 32)])
def test_the_kernels_are_the_plain_attention(sizes: tuple[int, int, int, int, int]) -> None:
    from atlantis.model.fast.attention import SharedAttention, fits

    n_shared, length, n_rows, n_heads, head_width = sizes
    assert fits(n_shared, length, n_heads * head_width, n_heads)
    cos, sin = rotary_table(64, head_width, 1e4, torch.device(DEVICE))
    random = np.random.default_rng(0)
    shape = n_shared + n_rows * length, 3 * n_heads * head_width
    qkv = torch.tensor(random.normal(size=shape), dtype=torch.float32, device=DEVICE, requires_grad=True)
    ours = SharedAttention.apply(qkv, cos, sin, n_shared, n_heads, n_rows)
    plain = plain_attention(qkv, cos, sin, n_shared, n_heads, n_rows)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
    weight = torch.tensor(random.normal(size=plain.shape), dtype=torch.float32, device=DEVICE)
    found, expected = (torch.autograd.grad(out, qkv, weight)[0] for out in (ours, plain))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    again = torch.autograd.grad(SharedAttention.apply(qkv, cos, sin, n_shared, n_heads, n_rows), qkv, weight)[0]
    assert torch.equal(again, found), "not the same twice"


class Unrecorded(StepGraph):
    """The same steps, not recorded: what is left to test where there is no GPU."""

    def _record(self) -> None:
        for group in self.engine.optimizer.param_groups:
            group["capturable"] = False  # a CPU has none
        self._step()
        self.bad.zero_()

    def replay(self) -> None:
        self._step()


def engines(limit: float) -> tuple[Engine, Engine, Rows]:
    world = World.build(regions=())
    rows = rows_of("characters", 64, world)
    settings = TrainingConfig(batch_size=16, compile="no", max_grad_norm=limit)
    make = [model_of(Vocabulary("characters", len(world)), 32, 2, 4) for _ in range(2)]
    return Engine(make[0], settings, torch.device("cpu")), Engine(make[1], settings, torch.device("cpu")), rows


@pytest.mark.parametrize("limit", [1e-2, 100.0])
def test_many_steps_at_once_are_those_one_by_one(limit: float) -> None:
    one, many, rows = engines(limit)
    graphed = Unrecorded(many, rows, 16, plain_attention)
    chosen = np.random.default_rng(0).integers(0, len(rows) + 1, (6, 16))
    rates = np.linspace(0, 1e-2, 6)
    expected = [one.step(rows.batch(torch.from_numpy(c)), r) for c, r in zip(chosen, rates, strict=True)]
    found = graphed.run(chosen[:4], rates[:4]) + graphed.run(chosen[4:], rates[4:])
    assert found == pytest.approx(expected, rel=1e-4)
    for ours, theirs in zip(many.model.parameters(), one.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert {int(state["step"]) for state in many.optimizer.state.values()} == {6}


def test_a_step_that_is_no_number_and_all_after_it_change_nothing() -> None:
    _, engine, rows = engines(1.0)
    graphed = Unrecorded(engine, rows, 16, plain_attention)
    chosen, rates = np.arange(48).reshape(3, 16), np.full(3, 1e-3)
    graphed.run(chosen[:1], rates[:1])
    before = [p.detach().clone() for p in engine.model.parameters()]
    engine.model.norm.weight.data.fill_(torch.inf)
    with pytest.raises(NotFinite, match="the loss is nan") as caught:
        graphed.run(chosen[1:], rates[1:])
    assert caught.value.losses == []
    for name, parameter, was in zip(*zip(*engine.model.named_parameters(), strict=True), before, strict=True):
        assert name == "norm.weight" or torch.equal(parameter, was), name


def fp16_engines(first_scale: float, monkeypatch: pytest.MonkeyPatch) -> tuple[Engine, Engine, Rows]:
    monkeypatch.setattr(scaling, "FIRST_SCALE", first_scale)
    monkeypatch.setattr(scaling, "PATIENCE", 3)
    one, many, rows = engines(1.0)
    training = one.training.model_copy(update={"precision": "fp16"})
    ours, other = (Engine(engine.model, training, torch.device("cpu")) for engine in (one, many))
    return ours, other, rows


@pytest.mark.parametrize("first_scale", [2.0**10, 2.0**30])
def test_fp16_steps_are_those_of_a_gradient_scaler(first_scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve steps, from a scale that fits and from one with which the first gradients overflow."""
    ours, theirs, rows = fp16_engines(first_scale, monkeypatch)
    peer = torch.amp.GradScaler("cpu", init_scale=first_scale, growth_interval=3)
    chosen = np.random.default_rng(0).integers(0, len(rows), (12, 16))
    for row in chosen:
        batch = rows.batch(torch.from_numpy(row))
        ours.step(batch, 1e-3)
        for group in theirs.optimizer.param_groups:
            group["lr"] = 1e-3
        theirs.optimizer.zero_grad(set_to_none=True)
        peer.scale(theirs.loss(batch) / (batch.targets != PAD).sum()).backward()
        peer.unscale_(theirs.optimizer)
        torch.nn.utils.clip_grad_norm_(theirs.model.parameters(), 1.0)
        peer.step(theirs.optimizer)
        peer.update()
    assert ours.scaling is not None and ours.scaling.scale.item() == peer.get_scale()
    for mine, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)
    expected = 12 if first_scale < 2**20 else 12 - round(np.log2(first_scale / ours.scaling.scale.item()))
    assert {int(state["step"]) for state in ours.optimizer.state.values()} <= set(range(1, min(expected, 10) + 3))


@pytest.mark.parametrize("first_scale", [2.0**10, 2.0**30])
def test_fp16_steps_at_once_are_those_one_by_one(first_scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    one, many, rows = fp16_engines(first_scale, monkeypatch)
    graphed = Unrecorded(many, rows, 16, plain_attention)
    assert many.scaling is not None and one.scaling is not None
    many.scaling.restore({"scale": torch.tensor(first_scale), "streak": torch.tensor(0, dtype=torch.int32)})
    chosen = np.random.default_rng(0).integers(0, len(rows), (8, 16))
    rates = np.full(8, 1e-3)
    expected = [one.step(rows.batch(torch.from_numpy(c)), r) for c, r in zip(chosen, rates, strict=True)]
    found = graphed.run(chosen[:4], rates[:4]) + graphed.run(chosen[4:], rates[4:])
    assert found == pytest.approx(expected, rel=2e-2)
    assert many.scaling.scale.item() == one.scaling.scale.item()


def test_fp16_goes_on_from_a_saved_scale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine, other, rows = fp16_engines(2.0**30, monkeypatch)
    for row in np.arange(96).reshape(6, 16) % len(rows):
        engine.step(rows.batch(torch.from_numpy(row)), 1e-3)
    state.save_state(tmp_path, engine, {"step": 6, "log_bytes": 0, "losses": [], "origin": {}, "checkpoints": {}})
    state.load_state(tmp_path / "state" / "state-6", other)
    assert engine.scaling is not None and other.scaling is not None
    assert other.scaling.scale == engine.scaling.scale < 2**30 and other.scaling.streak == engine.scaling.streak


def test_fp16_needs_a_gpu(small_config: RunConfig) -> None:
    training = small_config.training.model_copy(update={"precision": "fp16", "device": "cpu"})
    with pytest.raises(UserError, match=r"training\.precision: fp16 is for a GPU"):
        train(small_config.model_copy(update={"name": "half_precision", "training": training}))


def unprobed(config: RunConfig, name: str, **training: object) -> RunConfig:
    """The same run under another name, without probes, which take longest."""
    evaluation = config.evaluation.model_copy(update={"probe": False})
    settings = config.training.model_copy(update=training)
    return config.model_copy(update={"name": name, "training": settings, "evaluation": evaluation})


def losses_of(run: Path) -> dict[tuple[int, str], float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {(row["step"], row["kind"]): row["loss"] for row in rows}


def test_a_run_by_many_steps_at_once_is_one_by_single_steps(
    small_config: RunConfig, small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = losses_of(small_run)
    sizes = []

    class Noted(Unrecorded):
        def run(self, chosen: np.ndarray, rates: np.ndarray) -> list[float]:
            sizes.append(len(chosen))
            return super().run(chosen, rates)

    monkeypatch.setattr(loop, "MOMENT_S", 1e9)  # however slow this machine is
    monkeypatch.setattr(graph, "takes", lambda engine, rows: True)
    monkeypatch.setattr(graph, "StepGraph", lambda engine, rows, size: Noted(engine, rows, size, plain_attention))
    many = losses_of(train(unprobed(small_config, "many_at_once")))
    assert many.keys() == plain.keys()
    assert list(many.values()) == pytest.approx(list(plain.values()), rel=1e-3)
    assert sum(sizes) == 20 and max(sizes) > 1, "steps between evaluations are taken together"


def test_what_cannot_be_recorded_is_said_and_taken_step_by_step(
    small_config: RunConfig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    plain = losses_of(train(unprobed(small_config, "plain_steps", compile="no")))

    def refuse(engine: Engine, rows: Rows, size: int) -> StepGraph:
        raise RuntimeError("no graphs today\nand a long trace")

    monkeypatch.setattr(graph, "takes", lambda engine, rows: True)
    monkeypatch.setattr(graph, "StepGraph", refuse)
    found = losses_of(train(unprobed(small_config, "refused", compile="no")))
    assert "the step cannot be recorded (no graphs today): it is taken kernel by kernel" in capfd.readouterr().err
    assert found == plain
