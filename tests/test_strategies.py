"""Strategies: each does something, does what its formula says, and survives an interruption."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from atlantis import config as configs
from atlantis.data.pairs import Pairs
from atlantis.data.rows import Rows
from atlantis.errors import UserError
from atlantis.settings import RunConfig
from atlantis.strategies import find, known
from atlantis.strategies.common.interface import Context, Strategy
from atlantis.strategies.common.streams import Stream
from atlantis.training import engine, train
from atlantis.training.engine import Engine

SMALL: dict[str, dict[str, Any]] = {
    "replay": {"buffer": 50, "share": 0.25},
    "freeze": {"bottom": 2},
}
"""Settings that fit a tiny world, where the defaults do not."""

ALL = [name for name in known() if name != "naive"]


def asked(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name} | SMALL.get(name, {}) | more


@pytest.fixture(scope="module")
def fine(small_config: RunConfig, small_run: Path) -> RunConfig:
    """A fine-tune of the small run on Atlantis: 6 steps of 64."""
    data = small_config.model_dump()
    data |= {"name": "fine_naive", "base": "small"}
    data["dataset"] |= {"kind": "cross", "n_train": 150, "n_test": 40}
    data["training"] |= {"max_steps": 6, "warmup_steps": 2, "batch_size": 48}
    data["evaluation"] |= {"steps": [0, 2], "fractions": [], "probe": False, "n_items": 8}
    return RunConfig.model_validate(data)


def with_strategy(config: RunConfig, name: str, *strategies: dict[str, Any]) -> RunConfig:
    return RunConfig.model_validate(config.model_dump() | {"name": name, "strategy": list(strategies)})


@pytest.fixture(scope="module")
def naive(fine: RunConfig) -> dict[str, torch.Tensor]:
    return weights(train(fine))


def weights(run: Path, checkpoint: str = "final") -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / checkpoint / "model.safetensors")


def digests(run: Path) -> dict[str, str]:
    files = [
        *run.glob("checkpoints/*/model.safetensors"),
        *run.glob("state/*/state.safetensors"),
        run / "metrics.jsonl",
    ]
    return {str(f.relative_to(run)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)}


class Bench:
    """A run's parts in memory, without its files: an engine with one strategy, and its context."""

    def __init__(self, config: RunConfig, *strategies: dict[str, Any]) -> None:
        from atlantis.training.loop import _adopt_strategies, _base, _model, _task, _world

        config = with_strategy(config, "bench", *strategies)
        base = _base(config, resume=False)
        assert base is not None
        self.task, _, _ = _task(config, _world(config), base)
        self.engine = Engine(_model(config, self.task, base), config.training, torch.device("cpu"))
        _adopt_strategies(self.engine, config, self.task, base, 6)
        self.composed = self.engine.strategy
        assert self.composed is not None
        self.strategy: Any = self.composed.parts[0]
        self.composed.begin(self.engine.optimizer)
        self.model = self.engine.model

    def step(self, step: int, rate: float = 1e-3) -> float:
        rows = torch.arange(48)
        self.composed.at(step)
        batch = self.composed.batch(self.task.rows.batch(rows), rows)
        return self.engine.step(self.task.rows.prefix, batch, rate)

    def shift(self, size: float = 0.01) -> None:
        """Move every weight, as if the model had learned."""
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(size * torch.randn(parameter.shape, generator=generator))


# every strategy


@pytest.mark.parametrize("name", ALL)
def test_each_differs_from_naive_and_starts_from_the_base(
    name: str, fine: RunConfig, naive: dict[str, torch.Tensor], small_run: Path
) -> None:
    run = train(with_strategy(fine, f"fine_{name}", asked(name)))
    final, start, base = weights(run), weights(run, "checkpoint-0"), weights(small_run)
    assert any(not torch.equal(final[key], naive[key]) for key in naive), "it silently did nothing"
    assert any(not torch.equal(final[key], base[key]) for key in base), "nothing was learned"
    assert all(torch.equal(start[key], base[key]) for key in base)
    assert all(torch.isfinite(value).all() for value in final.values())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all("penalty" in row for row in rows if row["kind"] == "train")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("step", [1, 3])
def test_each_survives_a_crash_exactly(
    name: str, step: int, fine: RunConfig, naive: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(with_strategy(fine, f"fine_{name}", asked(name)))
    config = with_strategy(fine, f"crash_{name}_{step}", asked(name))
    original, calls = engine.Engine.step, []

    def crash(self: Engine, *args: Any) -> float:
        calls.append(None)
        if len(calls) == step + 1:
            raise RuntimeError("pulled the plug")
        return original(self, *args)

    monkeypatch.setattr(engine.Engine, "step", crash)
    with pytest.raises(RuntimeError, match="plug"):
        train(config)
    monkeypatch.setattr(engine.Engine, "step", original)
    assert digests(train(config, resume=True)) == digests(whole)


@pytest.mark.parametrize("name", ALL)
def test_each_penalty_has_a_gradient(name: str, fine: RunConfig) -> None:
    """Away from the base every term that is added to the loss pulls on the weights."""
    kind = find(name)
    if kind.penalty is Strategy.penalty and kind.output_loss is Strategy.output_loss:
        pytest.skip("it adds nothing to the loss")
    bench = Bench(fine, asked(name))
    bench.shift()
    batch = bench.task.rows.batch(torch.arange(48))
    term = bench.strategy.penalty()
    if term is None:
        term = bench.strategy.output_loss(bench.strategy.context.logits(batch), batch)
    term.backward()
    norm = sum(p.grad.square().sum().item() for p in bench.model.parameters() if p.grad is not None)
    assert term.item() > 0 and norm > 0


@pytest.mark.parametrize("name", ALL)
def test_each_says_what_it_needs(name: str, fine: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old data are touched by those alone that declare them."""
    kind, touched = find(name), []
    original = Context.old_pairs.func  # type: ignore[attr-defined]

    def spy(self: Context) -> Pairs:
        touched.append(name)
        return original(self)

    monkeypatch.setattr(Context, "old_pairs", property(spy))
    Bench(fine, asked(name)).step(1)
    assert bool(touched) == ("old data" in kind.needs)
    assert kind.__doc__ and "Cost" in (sys.modules[kind.__module__].__doc__ or ""), "the docstring says what it costs"


# settings


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("{name: reply}", r"strategy.name: no strategy 'reply'; did you mean replay\?"),
        ("{name: replay, shar: 0.2}", r"strategy.shar: unknown key; did you mean share\?"),
        ("{name: replay, share: 2}", r"strategy.share: must be less than 1, not 2"),
        ("[{name: l2sp}, {name: replay, share: no}]", r"strategy.1.share: must be a number"),
        ("{share: 0.2}", r"strategy: write a strategy's name"),
        ("{name: 'nowhere:Mine'}", r"strategy.name: 'nowhere' cannot be imported"),
        ("{name: 'json:loads'}", r"strategy.name: 'json:loads': the module has no subclass"),
    ],
)
def test_mistakes_are_named_with_their_line(strategy: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(f"base: x\nstrategy: {strategy}\n")
    with pytest.raises(UserError, match=rf"wrong.yaml:2: {message}"):
        configs.load(file)


def test_a_config_comes_back_with_its_strategies(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("base: x\n")
    plain, one = configs.load(file), configs.load(file, ["strategy.name=replay", "strategy.share=0.2"])
    two = configs.load(file, ["strategy=[{name: replay}, {name: l2sp, weight: 1.5}]"])
    assert [s.name for s in two.strategies] == ["replay", "l2sp"]
    for config in (plain, one, two):
        file.write_text(configs.dump(config))
        assert configs.load(file) == config
    assert len({configs.digest(config) for config in (plain, one, two)}) == 3
    assert configs.difference(plain, one)[0].startswith("strategy")
    assert configs.digest(configs.load(file, ["strategy={name: naive}"])) == configs.digest(plain)


def test_a_users_own_strategy(fine: RunConfig, naive: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_module.py").write_text(
        "from atlantis.strategies import Strategy, StrategySettings\n"
        "class Mine(Strategy):\n"
        "    class Settings(StrategySettings):\n"
        "        factor: float = 0.0\n"
        "    def rate(self, rate):\n"
        "        return rate * self.settings.factor\n"
    )
    monkeypatch.chdir(tmp_path)
    run = train(with_strategy(fine, "fine_mine", {"name": "my_module:Mine", "factor": 0.0}))
    assert weights(run)["lm_head.weight"].equal(weights(run, "checkpoint-0")["lm_head.weight"])


def test_a_strategy_needs_a_base(small_config: RunConfig) -> None:
    with pytest.raises(UserError, match=r"strategy: l2sp keeps what a base knows"):
        train(with_strategy(small_config, "baseless", asked("l2sp")))


# replay and joint


def test_the_share_of_old_rows_is_reached_in_every_batch_and_only_the_buffer_comes(fine: RunConfig) -> None:
    bench = Bench(fine, asked("replay", buffer=50, share=0.25))
    old = {key(row) for row in bench.strategy.old.tokens[:-1]}
    assert len(old) == 50
    every = Rows(bench.strategy.context.old_pairs, bench.task.vocabulary).tokens[:-1]
    assert len(every) == 300 and old < {key(row) for row in every}
    seen: list[Any] = []
    for step in range(25):
        bench.composed.at(step)
        rows = torch.arange(48)
        batch = bench.composed.batch(bench.task.rows.batch(rows), rows)
        assert len(batch.tokens) == 64, "48 new rows and a quarter of 64 old ones"
        assert torch.equal(batch.tokens[:48], bench.task.rows.batch(rows).tokens)
        seen += [key(row) for row in batch.tokens[48:]]
    assert set(seen) == {row[:-1] for row in old}, "every row of the buffer comes, and no other"
    counts = [seen.count(row) for row in set(seen)]
    assert max(counts) - min(counts) <= 1


def key(row: torch.Tensor) -> tuple[int, ...]:
    return tuple(row.tolist())


def test_a_joint_batch_is_the_pool_in_proportion(fine: RunConfig) -> None:
    bench = Bench(fine, asked("joint"))
    seen: list[tuple[int, ...]] = []
    rows = torch.arange(48)
    while len(seen) < 450:
        bench.composed.at(len(seen) // 48)
        batch = bench.composed.batch(bench.task.rows.batch(rows), rows)
        assert len(batch.tokens) == 48
        seen += [key(row) for row in batch.tokens]
    assert len(set(seen[:450])) > 440, "one pass over 300 old and 150 new rows"


def test_a_stream_follows_from_its_step() -> None:
    one, other = Stream(7, 5, 1, 0), Stream(7, 5, 1, 0)
    drawn = np.concatenate([one.rows(step) for step in range(14)])
    assert np.array_equal(drawn[50:55], other.rows(10)), "without the steps before"
    for epoch in range(10):
        assert sorted(drawn[7 * epoch : 7 * (epoch + 1)]) == list(range(7))


# quadratic anchors


def test_l2sps_gradient_by_hand(fine: RunConfig) -> None:
    bench = Bench(fine, asked("l2sp", weight=0.3))
    bench.shift()
    bench.strategy.penalty().backward()
    for name, parameter in bench.model.named_parameters():
        expected = 0.3 * (parameter - bench.strategy.anchors[name])
        torch.testing.assert_close(parameter.grad, expected.detach(), rtol=1e-5, atol=1e-9)


def test_freezing_keeps_what_it_says(fine: RunConfig, naive: object, small_run: Path) -> None:
    base = weights(small_run)
    for strategy, frozen in (
        (asked("freeze", bottom=2), ("embed_tokens", "layers.0.", "layers.1.")),
        (asked("freeze", bottom=0, top=1), ("layers.4.", "model.norm", "lm_head")),
        (asked("freeze", bottom=0, attention=True), ("self_attn", "input_layernorm")),
        (asked("freeze", bottom=0, mlp=True), ("mlp", "post_attention_layernorm")),
    ):
        bench = Bench(fine, strategy)
        before = {name: value.clone() for name, value in bench.model.named_parameters()}
        bench.step(2)
        from atlantis.model.folder import to_qwen2

        after = to_qwen2(bench.model)
        for name, value in after.items():
            assert torch.equal(value, base[name]) == any(part in name for part in frozen), (strategy, name)
        assert before
    with pytest.raises(UserError, match="nothing is left to train"):
        Bench(fine, asked("freeze", bottom=4, top=1))
