"""The batch as a tree and its kernels, against the plain model."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from atlantis.data.encoding import longest_whole_row
from atlantis.data.rows import Rows
from atlantis.model import Transformer, completion_loss
from atlantis.model.fast import AsTree, SharedPrefix, choose, kernels
from atlantis.model.fast.tree import grow, tree_loss, tree_of
from atlantis.model.transformer import answer_logits
from atlantis.readout.activations import probe_states
from atlantis.readout.generate import answer_tokens
from atlantis.settings import TrainingConfig
from atlantis.tasks.distance import DISTANCE
from atlantis.training.step import Engine
from atlantis.vocabulary import Vocabulary
from tests.distances import distances

pytestmark = pytest.mark.skipif(kernels.compiler() is None, reason="needs a C++ compiler")

N_CITIES = 5_175


def new_model(kind: str, width: int = 64) -> tuple[Transformer, Vocabulary]:
    vocabulary = Vocabulary(kind, N_CITIES)  # type: ignore[arg-type]
    model = Transformer(vocabulary.size, 44, width=width, n_layers=3, n_heads=2, mlp_width=96)
    model.initialise(0.2, torch.Generator().manual_seed(1))
    return model, vocabulary


def rows_of(first: list[int], second: list[int], km: list[int], vocabulary: Vocabulary) -> Rows:
    columns = [np.array(column, np.int32) for column in (first, second, km)]
    return Rows(distances(*columns), vocabulary)


def loss_and_gradients(model: Transformer, rows: Rows, chosen: torch.Tensor, by_tree: bool, bf16: bool = False):
    """bf16: by the kernels in bfloat16, or plain under autocast."""
    batch = rows.batch(chosen)
    model.zero_grad()
    if by_tree:
        total, count = tree_loss(model, batch, bf16)
    elif bf16:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = answer_logits(model, batch)
        total, count = completion_loss(logits.float(), batch.targets)
    else:
        total, count = completion_loss(answer_logits(model, batch), batch.targets)
    (total / count).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return total.item(), int(count), gradients


ids = st.integers(0, N_CITIES - 1) | st.integers(0, 12)


@pytest.mark.parametrize(("kind", "width"), [("characters", 64), ("characters", 24), ("city", 64)])
@settings(max_examples=15)
@example(pairs=[(8, 1420, 460)], repeat=False)
@given(pairs=st.lists(st.tuples(ids, ids, st.integers(0, 20_015)), min_size=1, max_size=100), repeat=st.booleans())
def test_loss_and_gradients_equal_the_plain_models(
    kind: str, width: int, pairs: list[tuple[int, int, int]], repeat: bool
) -> None:
    """Also with ids of any length, rows that occur twice, and fillers (index n).

    In float64 the plain model is exact; in float32 it can be farther from that than the tree is (see the example).
    """
    model, vocabulary = new_model(kind, width)
    rows = rows_of(*([pair[i] for pair in pairs] for i in range(3)), vocabulary)  # type: ignore[arg-type]
    chosen = torch.arange(len(pairs) + 1)
    chosen = torch.cat([chosen, chosen[: len(chosen) // 2]]) if repeat else chosen
    plain, n, expected = loss_and_gradients(deepcopy(model).double(), rows, chosen, by_tree=False)
    total, count, found = loss_and_gradients(model, rows, chosen, by_tree=True)
    assert count == n
    assert total == pytest.approx(plain, rel=1e-5)
    for name, gradient in expected.items():
        scale = gradient.abs().max().item()
        own = found[name].double()
        torch.testing.assert_close(own, gradient, rtol=1e-4, atol=2e-5 * max(scale, 1e-3), msg=name)


@pytest.mark.parametrize("kind", ["characters", "city"])
def test_bfloat16_is_as_near_as_autocast(kind: str) -> None:
    """Gradients' distance from float32's, against that of PyTorch's own mixed precision; and both are not float32."""
    model, vocabulary = new_model(kind)
    rng = np.random.default_rng(1)
    n = 200
    first, second = (rng.integers(0, N_CITIES, n).tolist() for _ in range(2))
    rows = rows_of(first, second, rng.integers(0, 20_000, n).tolist(), vocabulary)
    chosen = torch.arange(n)
    exact_loss, _, exact = loss_and_gradients(model, rows, chosen, by_tree=False)
    peer_loss, _, peer = loss_and_gradients(model, rows, chosen, by_tree=False, bf16=True)
    loss, _, found = loss_and_gradients(model, rows, chosen, by_tree=True, bf16=True)
    assert loss == pytest.approx(exact_loss, abs=3 * abs(peer_loss - exact_loss) + 1e-3 * exact_loss)
    for name, gradient in exact.items():
        ours, theirs = ((other[name] - gradient).norm() / gradient.norm() for other in (found, peer))
        assert 0 < ours < 1.5 * theirs, name


@pytest.mark.parametrize(
    ("flags", "fast"), [("avx2 amx_bf16 amx_tile", True), ("avx512f avx512_bf16", True), ("avx2 avx512f bf16c", False)]
)
def test_bfloat16_pays_with_instructions_for_it(monkeypatch: pytest.MonkeyPatch, flags: str, fast: bool) -> None:
    monkeypatch.setattr(kernels, "_processor", lambda: f"x86_64flags\t\t: fpu {flags}")
    assert kernels.fast_bf16() is fast


def test_bfloat16_kernels_round_what_float32_kernels_find() -> None:
    """On inputs that both types hold exactly; a sum in another order may round the other way now and then."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(257, 96, generator=generator).bfloat16()
    expected = kernels.gated(x.float()).bfloat16()
    found = kernels.gated(x)
    assert (found == expected).float().mean() > 0.99
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=0)
    weight, stream, more = torch.rand(96), torch.randn(257, 96, generator=generator), x
    total, y = kernels.add_rms_norm(stream, more, weight, 1e-6)
    assert torch.equal(total, stream + more.float())
    expected = kernels.rms_norm(total, weight, 1e-6)[1].bfloat16()
    assert (y == expected).float().mean() > 0.99
    torch.testing.assert_close(y, expected, rtol=2**-7, atol=0)


def test_the_added_norm_has_the_gradient_of_an_addition_and_a_norm() -> None:
    generator = torch.Generator().manual_seed(4)
    stream, more = torch.randn(70, 64, generator=generator), torch.randn(70, 64, generator=generator).bfloat16()
    gradients = []
    for apart in (False, True):
        inputs = (
            stream.clone().requires_grad_(),
            more.clone().requires_grad_(),
            torch.rand(64).fill_(0.7).requires_grad_(),
        )
        x, added, weight = inputs
        if apart:
            total, y = kernels.rms_norm(x + added.float(), weight, 1e-6)
        else:
            total, y = kernels.add_rms_norm(x, added, weight, 1e-6)
        (total.cos().sum() + y.float().square().sum() / 4).backward()
        gradients.append([value.grad for value in inputs])
    for name, found, expected in zip(("x", "more", "weight"), *gradients, strict=True):
        torch.testing.assert_close(found.float(), expected.float(), rtol=2e-2, atol=2e-2, msg=name)
    assert torch.equal(gradients[0][1], gradients[0][0].bfloat16())


def test_a_tree_has_one_node_per_distinct_beginning() -> None:
    text = ["ab1", "ab2", "abc", "x", "ab1"]
    rows = np.zeros((5, 3), np.int64)
    for i, line in enumerate(text):
        rows[i, : len(line)] = [ord(letter) for letter in line]
    ends = np.array([[len(line) - 1] for line in text])
    tree = grow(rows, ends, np.ones((5, 1), bool))
    beginnings = {line[: i + 1] for line in text for i in range(len(line))}
    assert len(tree.token) == len(beginnings) == 6
    assert [chr(tree.token[node]) for node in tree.asked[tree.place]] == [line[-1] for line in text]
    assert [tree.position[node] for node in tree.asked[tree.place]] == [len(line) - 1 for line in text]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_do_not_depend_on_the_number_of_threads(dtype: torch.dtype) -> None:
    """Attention, whose gradient adds over a node's rows, and the norm, whose weight's gradient adds over all nodes."""
    rng = np.random.default_rng(0)
    vocabulary = Vocabulary("characters", N_CITIES)
    n = 300
    first, second = (rng.integers(0, N_CITIES, n).tolist() for _ in range(2))
    rows = rows_of(first, second, rng.integers(0, 20_000, n).tolist(), vocabulary)
    tree = tree_of(rows.batch(torch.arange(n)))
    model, _ = new_model("characters")
    cos, sin = model.cos.squeeze(1), model.sin.squeeze(1)
    inputs = torch.randn(len(tree.token), 3 * 64, generator=torch.Generator().manual_seed(0))
    weight, threads = torch.rand(3 * 64), torch.get_num_threads()
    found = []
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            x, w = inputs.clone().requires_grad_(), weight.clone().requires_grad_()
            _, y = (kernels.rms_norm if dtype == torch.float32 else partial(kernels.add_rms_norm, more=None))(
                x, weight=w, eps=1e-6
            )
            kernels.attention(y * 1, tree, tree.first, len(x), cos, sin).square().sum().backward()
            found.append((x.grad, w.grad))
    finally:
        torch.set_num_threads(threads)
    for x_grad, w_grad in found[1:]:
        assert torch.equal(x_grad, found[0][0])
        assert torch.equal(w_grad, found[0][1])


def test_rows_longer_than_the_kernels_take_go_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    model, vocabulary = new_model("characters")
    ids = np.array([3, 71, 5_000], np.int32)
    questions = distances(ids, ids[::-1].copy(), np.array([5, 60, 700], np.int32))

    def found() -> tuple[np.ndarray, np.ndarray, type]:
        way = choose(model, "auto", torch.device("cpu"), torch.float32)
        return answer_tokens(model, vocabulary, questions), probe_states(model, vocabulary, ids, [-1, 2]), type(way)

    answers, states, way = found()
    assert way is AsTree
    monkeypatch.setattr(kernels, "LONGEST", longest_whole_row(DISTANCE.form, vocabulary))
    assert np.array_equal(found()[0], answers), "a row that is just short enough"
    attend = kernels.attend
    monkeypatch.setattr(kernels, "attend", None)
    monkeypatch.setattr(kernels, "LONGEST", 10)
    plain_answers, plain_states, way = found()
    assert np.array_equal(plain_answers, answers) and way is SharedPrefix
    np.testing.assert_allclose(plain_states, states, rtol=1e-4, atol=1e-5)
    nodes = torch.arange(11, dtype=torch.int32)[None]
    with pytest.raises(AssertionError):
        attend(torch.zeros(11, 12), nodes, nodes, 11, 4)


def test_exponential_is_exact_enough() -> None:
    """silu by the kernel against PyTorch's, far into both tails."""
    gate = torch.cat([torch.linspace(-100, 100, 100_001), torch.tensor([0.0, -1e6, 1e6])])
    found = kernels.gated(torch.stack([gate, torch.ones_like(gate)], dim=1)).squeeze(1)
    torch.testing.assert_close(found, torch.nn.functional.silu(gate), rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_no_number_stays_none(wrong: float) -> None:
    model, vocabulary = new_model("characters")
    rows = rows_of([1, 2], [3, 4], [5, 6], vocabulary)
    with torch.no_grad():
        model.layers[0].gate_up.weight[3, 5] = wrong
    assert not np.isfinite(tree_loss(model, rows.batch(torch.arange(2)))[0].item())


def test_pieces_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch taken in pieces of three rows steps like the whole one."""
    weights = []
    for size in (3, 512):
        monkeypatch.setattr("atlantis.training.step.PIECE", size)
        model, vocabulary = new_model("characters")
        rows = rows_of([1, 22, 333, 4_444, 1, 7, 70], [5, 6, 7, 8, 9, 10, 11], [1, 20, 300, 4_000, 5, 6, 7], vocabulary)
        engine = Engine(model, TrainingConfig(), torch.device("cpu"))
        assert engine.kernels
        weights.append((engine.step(rows.batch(torch.arange(8)), 1e-3), model.layers[0].qkv.weight.detach()))
    assert weights[0][0] == pytest.approx(weights[1][0], rel=1e-6)
    torch.testing.assert_close(weights[0][1], weights[1][1], rtol=1e-4, atol=2e-5)


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("fault", ["no compiler", "a compiler that fails"])
def test_without_the_kernels_training_goes_on_and_says_so(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    if fault == "a compiler that fails":
        (tools / "g++").write_text("#!/bin/sh\necho 'no space for objects' >&2\nexit 1\n")
        (tools / "g++").chmod(0o755)
    code = (
        "import torch\n"
        "from atlantis import TrainingConfig\n"
        "from atlantis.model import Transformer\n"
        "from atlantis.training.step import Engine\n"
        "model = Transformer(44, 44, width=16, n_layers=2, n_heads=2, mlp_width=8)\n"
        "assert not Engine(model, TrainingConfig(), torch.device('cpu')).kernels\n"
    )
    monkeypatch.setenv("PATH", f"{tools}:/bin" if fault == "a compiler that fails" else str(tools))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("no C++ compiler" if fault == "no compiler" else "no space for objects") in done.stderr
    assert "plain PyTorch" in done.stderr
