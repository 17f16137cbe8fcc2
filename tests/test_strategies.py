"""Strategies: each does something, does what its formula says, and survives an interruption."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch._dynamo.exc import TorchDynamoException

from atlantis import config as configs
from atlantis import trust
from atlantis.data.rows import Batch, Rows
from atlantis.errors import UserError
from atlantis.model import completion_loss
from atlantis.model.transformer import answer_logits
from atlantis.readout.activations import probe_features
from atlantis.settings import RunConfig
from atlantis.strategies.agem import projected
from atlantis.strategies.common.context import Context
from atlantis.strategies.common.old import (
    answered,
    drawing,
    mean_rows_beside,
    old_prompts,
    padded_base_logits,
    recalled,
)
from atlantis.strategies.common.row_stream import RowStream
from atlantis.strategies.common.strategy import Strategy
from atlantis.strategies.distill import kl_to
from atlantis.strategies.ewc import diagonal_fisher
from atlantis.strategies.fixed_mean import last_states, shift
from atlantis.strategies.flow import weights_of
from atlantis.strategies.gpm import basis, off
from atlantis.strategies.integration import principal, share_outside, states
from atlantis.strategies.registry import find, known
from atlantis.strategies.repair import distance, target_states
from atlantis.strategies.wise import interpolated
from atlantis.tasks import Questions
from atlantis.tasks.score import by_slice, scores_of
from atlantis.training import step as engine
from atlantis.training import train
from atlantis.training.base import find_base
from atlantis.training.past import Past
from atlantis.training.scaling import LossScale
from atlantis.training.step import Engine
from atlantis.vocabulary import PAD
from atlantis.world import World
from tests.distances import distances
from tests.modules import forget_module

SMALL: dict[str, dict[str, Any]] = {
    "replay": {"buffer": 50, "share": 0.25},
    "freeze": {"bottom": 2},
    "distill": {"prompts": 60},
    "der": {"buffer": 50},
    "ewc": {"samples": 8},
    "online_ewc": {"samples": 8},
    "mas": {"samples": 8},
    "agem": {"rows": 16, "buffer": 50, "project": "update"},
    "averaging": {"every": 2},
    "early": {"moments": True},
    "integration": {"cities": 5, "energy": 0.5},
    "gpm": {"rows": 60, "energy": 0.9},
    "repair": {"blocks": 1, "prompts": 60},
    "fixed_mean": {"prompts": 8},
}
"""Settings that fit a tiny world, where the defaults do not."""

NO_PEFT = pytest.mark.skipif(find_spec("peft") is None, reason="needs peft")
OTHERS = [name for name in known() if name not in ("naive", "lora")]
ALL = [*OTHERS, pytest.param("lora", marks=NO_PEFT)]
CARRIED = ("replay", "ewc", "online_ewc", "ema", "averaging", "new_rows", "der", "gpm", "agem", "early")
"""With lora, one or two of each kind of state that a strategy carries over an interruption."""
SOME = [name if name in CARRIED else pytest.param(name, marks=pytest.mark.whole) for name in OTHERS] + ALL[-1:]


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


@pytest.fixture(scope="module")
def fine_city(fine: RunConfig, small_config: RunConfig) -> RunConfig:
    """The same with one token per city, on a base of that kind."""
    base = small_config.model_dump() | {"name": "small_city", "tokenizer": {"kind": "city"}}
    base["world"] = base["world"] | {"regions": []}  # the vocabulary grows by the new cities
    base["training"] |= {"max_steps": 10}
    train(RunConfig.model_validate(base))
    changes = {"name": "city_naive", "base": "small_city", "tokenizer": {"kind": "city"}}
    return RunConfig.model_validate(fine.model_dump() | changes)


@pytest.fixture
def ground(name: str, fine: RunConfig, request: pytest.FixtureRequest) -> RunConfig:
    """The naive run beside which the strategy `name` is tried: of the vocabulary that it works with."""
    return request.getfixturevalue("fine_city") if find(name).vocabulary == "city" else fine


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
        from atlantis.training.assemble import new_engine
        from atlantis.training.inputs import load_inputs
        from atlantis.training.loop import load_base

        config = with_strategy(config, "bench", *strategies)
        base = load_base(config, resume=False)
        assert base is not None
        self.inputs = load_inputs(config, World.from_config(config.world), base)
        self.engine = new_engine(config, self.inputs, base, 6)
        self.composed = self.engine.strategy
        assert self.composed is not None
        self.strategy: Any = self.composed.parts[0]
        self.composed.begin(self.engine.optimizer)
        self.model = self.engine.model

    def step(self, step: int, rate: float = 1e-3) -> float:
        rows = torch.arange(48)
        self.composed.at(step)
        batch = self.composed.batch(self.inputs.rows.batch(rows), rows)
        return self.engine.step(batch, rate)

    def shift(self, size: float = 0.01) -> None:
        """Move every weight, as if the model had learned."""
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(size * torch.randn(parameter.shape, generator=generator))


# every strategy


@pytest.mark.parametrize("name", ALL)
def test_each_differs_from_naive_and_starts_from_the_base(name: str, ground: RunConfig, small_run: Path) -> None:
    run, naive = train(with_strategy(ground, f"fine_{name}", asked(name))), weights(train(ground))
    final, start, base = weights(run), weights(run, "checkpoint-0"), weights(small_run.parent / str(ground.base))
    assert start["model.embed_tokens.weight"].shape == naive["model.embed_tokens.weight"].shape
    grown = {key for key in base if len(start[key]) > len(base[key])}  # the city vocabulary has
    assert bool(grown) == (name == "new_rows") and grown <= {"model.embed_tokens.weight", "lm_head.weight"}
    start |= {key: start[key][: len(base[key])] for key in grown}
    assert any(not torch.equal(final[key], naive[key]) for key in naive), "it silently did nothing"
    assert any(not torch.equal(final[key], value) for key, value in weights(run, "checkpoint-0").items())
    assert all(torch.equal(start[key], base[key]) for key in base)
    assert all(torch.isfinite(value).all() for value in final.values())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all("penalty" in row for row in rows if row["kind"] == "train")


@pytest.mark.parametrize("name", SOME)
def test_each_survives_a_crash_exactly(name: str, ground: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(with_strategy(ground, f"fine_{name}", asked(name)))
    config = with_strategy(ground, f"crash_{name}", asked(name))
    original, calls = engine.Engine.step, []

    def crash(self: Engine, *args: Any) -> float:
        calls.append(None)
        if len(calls) == 4:  # the state was saved after step 2
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
    bench.composed.at(5)
    batch = bench.inputs.rows.batch(torch.arange(48))
    term = bench.strategy.penalty()
    if term is None:
        term = bench.strategy.output_loss(bench.strategy.context.logits(batch), batch)
    term.backward()
    norm = sum(p.grad.square().sum().item() for p in bench.model.parameters() if p.grad is not None)
    assert term.item() > 0 and norm > 0


@pytest.mark.parametrize("name", ALL)
def test_each_says_what_it_needs(name: str, ground: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old data are touched by those alone that declare them."""
    kind, touched = find(name), []
    original = Context.old_questions.func  # type: ignore[attr-defined]

    def spy(self: Context) -> Questions:
        touched.append(name)
        return original(self)

    monkeypatch.setattr(Context, "old_questions", property(spy))
    Bench(ground, asked(name)).step(1)
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


def test_a_users_own_strategy(
    fine: RunConfig,
    naive: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "my_module.py").write_text(
        "from atlantis.strategies import Strategy, StrategySettings\n"
        "class Mine(Strategy):\n"
        "    class Settings(StrategySettings):\n"
        "        factor: float = 0.0\n"
        "    def rate(self, rate):\n"
        "        return rate * self.settings.factor\n"
    )
    monkeypatch.chdir(tmp_path)
    config = with_strategy(fine, "fine_mine", {"name": "my_module:Mine", "factor": 0.0})
    run = train(config)
    assert weights(run)["lm_head.weight"].equal(weights(run, "checkpoint-0")["lm_head.weight"])
    module = tmp_path / "my_module.py"
    module.write_text(f"# a remark\n\n{module.read_text()}")
    forget_module("my_module")
    capsys.readouterr()
    train(config, resume=True)
    assert "has been changed" not in capsys.readouterr().err
    module.write_text(module.read_text().replace("rate * ", "2 * rate * "))
    train(config, resume=True)
    assert "has been changed" not in capsys.readouterr().err, "the class in use is still the one of before"
    forget_module("my_module")
    train(config, resume=True)
    assert "my_module:Mine has been changed since" in capsys.readouterr().err
    trust.write_record(run, trust.read_record(run) | {"status": "running"})
    with pytest.raises(UserError, match=r"other code.*--fork"):
        train(config, resume=True)


def past_of(fine: RunConfig, run: Path, world: World) -> Past:
    base = find_base(fine.model_copy(update={"base": str(run)}))
    assert base is not None
    return Past(base, fine, world, lambda run, world: distances(np.arange(2), np.arange(2), np.arange(2)))


def test_the_base_of_a_base_is_the_one_that_was_used(fine: RunConfig, tmp_path: Path) -> None:
    world = World.from_config(fine.world)
    run = Path(shutil.copytree(train(fine), tmp_path / "experiments" / "copy"))
    shutil.copytree(Path(fine.output_root) / "worlds", tmp_path / "worlds")
    assert [config.name for config in past_of(fine, run, world).runs] == ["fine_naive", "small"]
    record = trust.read_record(run)
    trust.write_record(run, record | {"digests": record["digests"] | {"base": "0" * 64}})
    with pytest.raises(UserError, match=r"copy was trained from another small than your own run .*small; bring that"):
        past_of(fine, run, world)


def test_old_questions_are_about_cities_at_the_same_places(fine: RunConfig) -> None:
    world, run = World.from_config(fine.world), train(fine)
    assert len(past_of(fine, run, World.of_places(world.lon, world.lat)).questions()) == 4
    north = world.lat + np.where(world.is_virtual, 1.0, 0.0)
    with pytest.raises(UserError, match="fine_naive was trained on cities that are not the first of this run's world"):
        past_of(fine, run, World.of_places(world.lon, north)).questions()


def test_a_strategy_needs_a_base(small_config: RunConfig) -> None:
    with pytest.raises(UserError, match=r"strategy: l2sp keeps what a base knows"):
        train(with_strategy(small_config, "baseless", asked("l2sp")))
    assert not (Path(small_config.output_root) / "experiments" / "baseless").exists()


OTHER_TASK = '''
from atlantis.tasks import Form, Task


class North(Task):
    """How many degrees does the first city lie north of the equator, if it does?"""

    name, unit, penalty = "north", "degrees", 90.0
    form = Form("tid({city},{city})={int:5}")

    def answer(self, places, cities):
        return places.lat[cities[:, 0]].clip(min=0).round().astype(int)
'''


@pytest.fixture
def of_another_task(fine: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """`fine`, whose base learned distances, on a task of which a row begins otherwise."""
    (tmp_path / "other_task.py").write_text(OTHER_TASK)
    monkeypatch.syspath_prepend(str(tmp_path))
    data = fine.model_dump() | {"name": "fine_other"}
    part = {"task": "other_task:North", "cities": {"touching": "Atlantis"}, "n_train": 150}
    data["dataset"] = {"parts": [part], "n_test": 40}
    return RunConfig.model_validate(data)


@pytest.mark.parametrize("name, more", [("distill", {}), ("der", {"beta": 0.0}), ("repair", {"start": 0.0})])
def test_old_rows_are_of_the_bases_task_whatever_the_run_asks(
    name: str, more: dict[str, Any], of_another_task: RunConfig
) -> None:
    bench = Bench(of_another_task, asked(name, **more))
    vocabulary = bench.inputs.vocabulary
    assert vocabulary.decode(bench.inputs.rows.prefix[None].numpy()) == ["<bos>tid(c_"]
    bench.composed.at(0)
    assert bench.strategy.penalty().item() == pytest.approx(0, abs=1e-5), "the model is still the base"
    whole = recalled(bench.strategy.memory, torch.arange(5)).whole().numpy()
    assert all(text.startswith("<bos>dist(c_") for text in vocabulary.decode(whole))


# several in one run


@pytest.mark.parametrize(
    "names, said",
    [
        (("replay", "joint"), "joint alone decides which rows a step trains on, and replay would too"),
        (("joint", "flow"), "joint alone decides which rows a step trains on, and flow would too"),
        pytest.param(("lora", "freeze"), "lora alone decides which weights are trained, and freeze", marks=NO_PEFT),
        pytest.param(("gpm", "lora"), "gpm alone decides what the weights are after a step, and lora", marks=NO_PEFT),
        pytest.param(("lora", "averaging"), "lora alone decides what the weights are after a step", marks=NO_PEFT),
        pytest.param(("agem", "lora"), "lora alone decides what the weights are after a step, and agem", marks=NO_PEFT),
        (("repair", "averaging"), "repair alone decides what the weights are after a step, and averaging would too"),
        (("gpm", "agem"), "gpm alone decides what the weights are after a step, and agem would too"),
        (("wise", "ema"), "ema drops what wise says about which weights are evaluated and saved; put ema before it"),
    ],
)
def test_two_that_would_undo_each_other_are_refused(names: tuple[str, ...], said: str, fine: RunConfig) -> None:
    with pytest.raises(UserError, match=said):
        Bench(fine, *map(asked, names))


def test_an_average_of_the_weights_goes_with_what_changes_them(fine: RunConfig) -> None:
    both, slow = Bench(fine, asked("ema"), asked("wise", alpha=0.25)), Bench(fine, asked("ema"))
    base = slow.model.layers[0].out.weight.detach().clone()
    for step in range(2):
        both.step(step)
        slow.step(step)
    with slow.composed.shown():
        average = slow.model.layers[0].out.weight.detach().clone()
    with both.composed.shown():
        torch.testing.assert_close(both.model.layers[0].out.weight.detach(), 0.75 * base + 0.25 * average)


def test_an_average_is_of_what_others_leave(fine: RunConfig) -> None:
    """In whatever order: what a repair puts back stands in the average as it was."""
    bench = Bench(fine, asked("ema", decay=0.5), asked("repair", blocks=1, prompts=60, start=0.0))
    before = bench.model.embedding.weight.detach().clone()
    for step in range(3):
        bench.step(step)
    with bench.composed.shown():
        assert torch.equal(bench.model.embedding.weight, before)


def test_agem_by_gradients_goes_with_what_sets_weights(fine: RunConfig) -> None:
    Bench(fine, asked("agem", project="gradient"), asked("gpm")).step(0)


@pytest.mark.parametrize("name", [pytest.param("lora", marks=NO_PEFT), "l2sp"])
def test_gradients_are_divided_by_the_scale_of_fp16(name: str, fine: RunConfig) -> None:
    """With the scale alone, and arithmetic in float32, the optimizer gets the gradients that it gets without."""

    def norms(scaled: bool) -> list[float]:
        bench = Bench(fine, asked(name))
        if scaled:
            bench.engine.scaling = LossScale(torch.device("cpu"))
        bench.step(0)
        return [p.grad.norm().item() for p in bench.engine.trained.values() if p.grad is not None]

    assert len(norms(False)) > 10 and norms(True) == pytest.approx(norms(False), rel=1e-4, abs=1e-9)


def test_a_repair_begins_after_a_step_that_fp16_left_out(fine: RunConfig) -> None:
    bench = Bench(fine, asked("repair", blocks=1, prompts=60, start=0.5))
    bench.engine.scaling = LossScale(torch.device("cpu"))
    first = bench.strategy.first_step
    for step in range(first):
        bench.engine.scaling.scale.fill_(float("inf") if step == first - 1 else 1024.0)
        bench.step(step)
    bench.engine.scaling.scale.fill_(1024.0)
    before = bench.model.embedding.weight.detach().clone()
    bench.step(first)
    assert torch.equal(bench.model.embedding.weight, before)


@pytest.mark.parametrize("name", ["ewc", "mas", "l2sp"])
def test_without_a_compiler_a_strategy_goes_on_in_plain_pytorch(
    name: str, fine: RunConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise TorchDynamoException("no compiler today")

    monkeypatch.setattr(torch, "compile", lambda way, **_: fails)
    bench = Bench(configs.changed(fine, ["training.compile=yes"]), asked(name))
    bench.step(0)
    assert capsys.readouterr().err.count("training goes on in plain PyTorch") == 1


def test_two_that_remember_old_rows_are_saved(fine: RunConfig) -> None:
    run = train(with_strategy(fine, "two_memories", asked("distill"), asked("repair")))
    memory = load_file(run / "state" / "state-6" / "state.safetensors")
    assert {"strategy.0.prefix", "strategy.1.prefix"} <= memory.keys()


def test_weighted_rows_and_old_rows_go_together_in_either_order(fine: RunConfig) -> None:
    def first_batch(*names: str) -> Batch:
        bench, rows = Bench(fine, *map(asked, names)), torch.arange(48)
        bench.composed.at(0)
        return bench.composed.batch(bench.inputs.rows.batch(rows), rows)

    one, other = first_batch("flow", "replay"), first_batch("replay", "flow")
    assert one.weights is not None and other.weights is not None
    assert torch.equal(one.weights, other.weights) and torch.equal(one.tokens, other.tokens)
    assert len(one.weights) > 48 and (one.weights[48:] == 1).all() and one.weights[:48].std() > 0


# replay and joint


def test_the_share_of_old_rows_is_reached_in_every_batch_and_only_the_buffer_comes(fine: RunConfig) -> None:
    bench = Bench(fine, asked("replay", buffer=50, share=0.25))
    old = {key(row) for row in bench.strategy.old.tokens[:-1]}
    assert len(old) == 50
    every = Rows(bench.strategy.context.old_questions, bench.inputs.vocabulary).tokens[:-1]
    assert len(every) == 300 and old < {key(row) for row in every}
    seen: list[Any] = []
    for step in range(25):
        bench.composed.at(step)
        rows = torch.arange(48)
        batch = bench.composed.batch(bench.inputs.rows.batch(rows), rows)
        assert len(batch.tokens) == 64, "48 new rows and a quarter of 64 old ones"
        assert torch.equal(batch.tokens[:48], bench.inputs.rows.batch(rows).tokens)
        seen += [key(row) for row in batch.tokens[48:]]
    assert set(seen) == {row[:-1] for row in old}, "every row of the buffer comes, and no other"
    counts = [seen.count(row) for row in set(seen)]
    assert max(counts) - min(counts) <= 1


def n_old_rows(bench: Bench, batch_size: int, steps: int) -> list[int]:
    """How many old rows, fillers aside, stand beside the new ones of each step."""
    rows, counts = torch.arange(batch_size) % 150, []
    for step in range(steps):
        bench.composed.at(step)
        batch = bench.composed.batch(bench.inputs.rows.batch(rows), rows)
        counts.append(int((batch.targets[batch_size:] != PAD).any(dim=1).sum()))
    return counts


@pytest.mark.parametrize("batch_size", [64, 128, 512])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.1, 0.3])
def test_the_share_over_many_steps_is_the_one_asked_for(batch_size: int, share: float) -> None:
    """By the stream alone: of all rows that 1,000 steps see, and steps differ by one row at most."""
    size = mean_rows_beside(batch_size, share)
    stream = RowStream(20_000, size, 42, purpose=1)
    counts = [len(stream.rows(step)) for step in range(1000)]
    assert sum(counts) / (sum(counts) + 1000 * batch_size) == pytest.approx(share, rel=0.02)
    assert max(counts) - min(counts) <= 1 and sum(counts) == stream.before(1000)
    assert isinstance(size, int) == (len(set(counts)) == 1)


def test_a_share_that_is_about_a_whole_number_of_rows_has_it_at_every_step() -> None:
    """So that runs with the default share have the bytes that they had when every share was rounded."""
    assert [mean_rows_beside(size, 0.1) for size in (64, 128, 512)] == [7, 14, 57]
    assert mean_rows_beside(48, 0.25) == 16 and mean_rows_beside(72, 0.1) == 8
    assert mean_rows_beside(128, 0.01) == Fraction(128, 99) and mean_rows_beside(512, 0.01) == Fraction(512, 99)


def test_one_per_cent_is_one_per_cent_in_a_run(fine: RunConfig) -> None:
    bench = Bench(fine, asked("replay", share=0.01))
    counts = n_old_rows(bench, 48, 300)
    assert sum(counts) / (sum(counts) + 48 * 300) == pytest.approx(0.01, rel=0.02) and set(counts) == {0, 1}
    first = bench.composed.batch(bench.inputs.rows.batch(torch.arange(48)), torch.arange(48))
    assert len(first.tokens) == 49, "a filler stands where a row is missing, so that batches have one shape"
    later = Bench(fine, asked("replay", share=0.01))
    later.composed.at(299)
    rows = torch.arange(48)
    bench.composed.at(299)
    one, other = (b.composed.batch(b.inputs.rows.batch(rows), rows) for b in (bench, later))
    assert torch.equal(one.tokens, other.tokens), "what a step draws follows from its number, as after an interruption"
    assert np.isfinite(bench.step(0)) and np.isfinite(bench.step(1))


def test_a_share_that_never_brings_a_row_is_refused(fine: RunConfig) -> None:
    with pytest.raises(UserError, match=r"strategy.share: 1e-05 beside batches of 48 is not one old row in 6 steps"):
        Bench(fine, asked("replay", share=1e-5))


def key(row: torch.Tensor) -> tuple[int, ...]:
    return tuple(row.tolist())


def test_a_joint_batch_is_the_pool_in_proportion(fine: RunConfig) -> None:
    bench = Bench(fine, asked("joint"))
    seen: list[tuple[int, ...]] = []
    rows = torch.arange(48)
    while len(seen) < 450:
        bench.composed.at(len(seen) // 48)
        batch = bench.composed.batch(bench.inputs.rows.batch(rows), rows)
        assert len(batch.tokens) == 48
        seen += [key(row) for row in batch.tokens]
    assert len(set(seen[:450])) > 440, "one pass over 300 old and 150 new rows"


def test_a_stream_follows_from_its_step() -> None:
    one, other = RowStream(7, 5, 1, 0), RowStream(7, 5, 1, 0)
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


def test_ewcs_fisher_is_that_of_softmax_regression() -> None:
    """p(y | x) = softmax(W x): F of W[k, j] is the mean over x of p_k (1 - p_k) x_j^2."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 3, generator=generator)
    w = torch.randn(4, 3, generator=generator).requires_grad_()
    p = (x @ w.T).softmax(-1).detach()
    labels = torch.multinomial(p, 1, generator=generator)
    losses = (torch.nn.functional.cross_entropy((row @ w.T)[None], label) for row, label in zip(x, labels, strict=True))
    found = diagonal_fisher({"w": w}, losses)["w"]
    expected = torch.einsum("nk,nj->kj", p * (1 - p), x.square()) / len(x)
    torch.testing.assert_close(found, expected, rtol=0.15, atol=0.005)
    whole = torch.nn.functional.cross_entropy(x @ w.T, labels[:, 0])
    of_batch = torch.autograd.grad(whole, w)[0].square()
    assert of_batch.mean() < 0.01 * expected.mean(), "the square of a batch's gradient is no Fisher information"


def test_importances_hold_some_weights_more_than_others(fine: RunConfig) -> None:
    for name in ("ewc", "mas"):
        bench = Bench(fine, asked(name))
        assert bench.strategy.penalty().item() == 0.0, "at the base"
        bench.shift()
        bench.strategy.penalty().backward()
        parameter, key = bench.model.layers[2].qkv.weight, "blocks.2.qkv.weight"
        importance = bench.strategy.memory[key]
        assert (importance >= 0).all() and importance.std() > 0
        expected = bench.strategy.weight * importance * (parameter - bench.strategy.anchors[key])
        torch.testing.assert_close(parameter.grad, expected.detach(), rtol=1e-4, atol=1e-10)


def test_mas_is_the_papers_importance_over_targets_and_symbols(fine: RunConfig) -> None:
    """The paper's norm is a sum of squares, and its penalty has no half: weight 1 here is a few hundredths of that."""
    bench = Bench(fine, asked("mas", samples=4))
    context, name = bench.strategy.context, "blocks.2.qkv.weight"
    batch = answered(context, old_prompts(context, 4, 42), 42)
    parameter, papers, factors = dict(bench.model.named_parameters())[name], [], []
    for i in range(4):
        logits = context.logits(batch.select(slice(i, i + 1)))
        papers.append(torch.autograd.grad(logits.square().sum(), parameter)[0].abs())
        factors.append(logits.numel())
    ours = torch.stack([paper / factor for paper, factor in zip(papers, factors, strict=True)]).mean(0)
    torch.testing.assert_close(bench.strategy.memory[name], ours, rtol=1e-4, atol=1e-9)
    assert {factor % 44 for factor in factors} == {0} and min(factors) >= 88 and max(factors) <= 6 * 44
    bench.shift()
    moved = (parameter - bench.strategy.anchors[name]).square()
    bench.strategy.penalty().backward()
    papers_pull = 2 * torch.stack(papers).mean(0) * (parameter - bench.strategy.anchors[name])
    pull = parameter.grad
    assert pull is not None and moved.any()
    ratio = (papers_pull.norm() / pull.norm()).item()
    assert 2 * min(factors) <= ratio <= 2 * max(factors)


def test_online_ewc_adds_what_the_bases_run_knew(fine: RunConfig, naive: object) -> None:
    one = train(with_strategy(fine, "fine_online_ewc", asked("online_ewc")))
    earlier = load_file(next(one.glob("state/state-6")) / "state.safetensors")
    second = fine.model_copy(update={"base": "fine_online_ewc"})
    alone = Bench(second, asked("ewc")).strategy.memory
    both = Bench(second, asked("online_ewc", decay=0.5)).strategy.memory
    for name, importance in both.items():
        torch.testing.assert_close(importance, alone[name] + 0.5 * earlier[f"strategy.0.{name}"])


def test_online_ewc_does_not_forget_in_silence(fine: RunConfig) -> None:
    """The base's run had it, and its memory is gone: it is not EWC instead."""
    one = train(with_strategy(fine, "fine_online_gone", asked("online_ewc")))
    shutil.rmtree(one / "state")
    with pytest.raises(UserError, match="whose memory of it is not there"):
        Bench(fine.model_copy(update={"base": "fine_online_gone"}), asked("online_ewc"))


# the base's answers


def test_at_the_base_there_is_nothing_to_learn_from_it(fine: RunConfig) -> None:
    distill = Bench(fine, asked("distill"))
    assert abs(distill.strategy.penalty().item()) < 1e-5
    lwf = Bench(fine, asked("lwf"))
    batch = lwf.inputs.rows.batch(torch.arange(48))
    assert abs(lwf.strategy.output_loss(lwf.strategy.context.logits(batch), batch).item()) < 1e-4


def test_lwfs_loss_by_hand(fine: RunConfig) -> None:
    bench = Bench(fine, asked("lwf", temperature=2.0, weight=3.0))
    bench.shift(0.1)
    batch, context = bench.inputs.rows.batch(torch.arange(48)), bench.strategy.context
    logits, base = context.logits(batch), context.base_logits(batch)
    p, q = (base / 2).softmax(-1), (logits / 2).softmax(-1)
    expected = 3 * 4 * (p * (p.log() - q.log())).sum()
    assert bench.strategy.output_loss(logits, batch).item() == pytest.approx(expected.item(), rel=1e-4)
    total = bench.engine.loss(batch)
    plain = torch.nn.functional.cross_entropy(logits, batch.targets[batch.targets != PAD], reduction="sum")
    assert total.item() == pytest.approx((plain + expected).item(), rel=1e-4)


@pytest.mark.parametrize(("weight", "right"), [(3.0, 0.18), (1.0, 0.49), (0.3, 0.77), (0.1, 0.90), (0.03, 0.96)])
def test_what_lwf_leaves_of_a_right_digit(weight: float, right: float) -> None:
    """The best compromise with a base that gives one of ten digits 0.90 where the task wants another (lwf.py)."""
    base = torch.full((10,), 0.1 / 9, dtype=torch.float64)
    base[0] = 0.9
    logits = base.log().requires_grad_()
    optimizer = torch.optim.LBFGS([logits], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = -logits.log_softmax(-1)[1] + weight * 4 * kl_to(base.log() / 2, logits / 2)
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    assert logits.softmax(-1)[1].item() == pytest.approx(right, abs=0.006)


def test_pseudo_prompts_name_old_cities_and_have_the_bases_answers(fine: RunConfig) -> None:
    assert len(Bench(fine, asked("distill", prompts=400)).strategy.memory["tokens"]) == 6 * 5, "those that will come"
    bench = Bench(fine, asked("distill", prompts=400, share=0.9))
    memory, context = bench.strategy.memory, bench.strategy.context
    texts = context.vocabulary.decode(memory["tokens"].numpy())
    found = [re.match(r"(\d+),c_(\d+)\)=", text) for text in texts]
    ids = np.array([[int(match[1]), int(match[2])] for match in found if match])
    assert len(ids) == 400 and set(ids.ravel()) == set(range(30)) and (ids[:, 0] != ids[:, 1]).all()
    first = memory["targets"][:, 0]
    expected = memory["outputs"][:, 0].softmax(-1)
    share = torch.nn.functional.one_hot(first, expected.shape[1]).float().mean(0)
    assert (share - expected.mean(0)).abs().max() < 0.08, "answers are drawn from the base's distribution"
    assert first.unique().numel() > 1


def test_ders_two_terms_by_hand(fine: RunConfig) -> None:
    terms = {}
    for alpha, beta in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.25)):
        bench = Bench(fine, asked("der", alpha=alpha, beta=beta))
        if alpha == 1.0:
            assert bench.strategy.penalty().item() < 1e-9, "the base's logits are its own"
        bench.shift(0.05)
        terms[alpha, beta] = bench.strategy.penalty().item()
    assert terms[0.5, 0.25] == pytest.approx(0.5 * terms[1.0, 0.0] + 0.25 * terms[0.0, 1.0], rel=1e-4)
    context = bench.strategy.context
    rows = torch.as_tensor(bench.strategy.light.rows(0))
    answers = context.loss(context.encode(bench.strategy.old).batch(rows))
    assert terms[0.0, 1.0] == pytest.approx(answers.item(), rel=1e-4)


def test_der_stores_the_logits_of_the_rows_that_will_come_and_of_no_other(fine: RunConfig) -> None:
    bench = Bench(fine, asked("der", share=0.1))  # 5 rows a step, 6 steps, of 50
    strategy, context = bench.strategy, bench.strategy.context
    assert len(strategy.memory["tokens"]) == 30 < len(strategy.old)
    bench.shift(0.05)
    for step in (0, 5):
        bench.composed.at(step)
        drawn = torch.as_tensor(strategy.dark.rows(step))
        rows = context.encode(strategy.old).batch(drawn)
        by_hand = (context.logits(rows) - context.base_logits(rows)).square().mean()
        light = context.loss(context.encode(strategy.old).batch(torch.as_tensor(strategy.light.rows(step))))
        assert strategy.penalty().item() == pytest.approx(0.5 * (by_hand + light).item(), rel=1e-4)


def test_stored_logits_do_not_depend_on_the_order_of_rows(fine: RunConfig) -> None:
    context = Bench(fine, asked("lwf")).strategy.context
    batch = context.rows.batch(torch.arange(40))
    logits = padded_base_logits(context, batch)
    shuffled = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    of_shuffled = padded_base_logits(context, batch.select(shuffled))
    torch.testing.assert_close(of_shuffled, logits[shuffled], rtol=1e-4, atol=1e-5)
    wanted = batch.targets != PAD
    torch.testing.assert_close(logits[wanted], context.base_logits(batch), rtol=1e-4, atol=1e-5)
    assert not logits[~wanted].any()


def test_answers_are_drawn_and_not_the_likeliest(fine: RunConfig) -> None:
    """Gumbel's noise: how often a digit is drawn is its probability, and the seed decides."""
    context = Bench(fine, asked("lwf")).strategy.context
    unembedding = context.base.unembedding
    hidden = torch.randn(1, context.base.width, generator=torch.Generator().manual_seed(0)).expand(20_000, -1)
    model = drawing(context.base, seed=3)
    drawn = model.unembedding(hidden).argmax(-1)
    logits = unembedding(hidden[0])
    logits[PAD] = -torch.inf
    share = torch.bincount(drawn, minlength=len(logits)) / len(drawn)
    assert (share - logits.softmax(-1)).abs().max() < 0.015 and share.max() < 0.9
    assert context.base.unembedding is unembedding, "the base itself is as it was"
    assert torch.equal(drawn, drawing(context.base, seed=3).unembedding(hidden).argmax(-1))
    pairs = old_prompts(context, 50, 1)
    one, same, other = (answered(context, pairs, seed).targets for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_flows_weights(fine: RunConfig) -> None:
    losses = torch.tensor([1.0, 2.0, 4.0])
    torch.testing.assert_close(weights_of(losses) * torch.exp(-losses / 2).mean(), torch.exp(-losses / 2))
    bench = Bench(fine, asked("flow"))
    rows, table = torch.tensor([3, 5, 150]), bench.inputs.rows
    batch = bench.composed.batch(table.batch(rows), rows)
    by_hand = bench.strategy.memory["weights"]
    assert by_hand.mean().item() == pytest.approx(1.0, abs=1e-5)
    assert batch.weights is not None and batch.weights.tolist() == [by_hand[3], by_hand[5], 0.0]
    total = bench.engine.loss(batch)
    parts = [bench.engine.loss(table.batch(rows[i : i + 1])) * by_hand[rows[i]] for i in (0, 1)]
    assert total.item() == pytest.approx(sum(parts).item(), rel=1e-5)  # type: ignore[union-attr]


# projections


def test_agems_projection_by_hand() -> None:
    g, reference = [torch.tensor([1.0, 0.0]), torch.tensor([-2.0])], [torch.tensor([0.0, 1.0]), torch.tensor([1.0])]
    found = projected(g, reference, -1.0)  # <g, r> = -2, <r, r> = 2: g + r
    assert torch.equal(found[0], torch.tensor([1.0, 1.0])) and torch.equal(found[1], torch.tensor([-1.0]))
    assert projected(g, reference, 1.0) is g, "no conflict, no change"


@pytest.mark.parametrize("project", ["gradient", "update"])
def test_agem_removes_what_goes_against_the_old_gradient(project: str, fine: RunConfig) -> None:
    bench = Bench(fine, asked("agem", project=project, rows=16))
    bench.step(0)  # gives every weight a gradient
    parameters, context = list(bench.model.parameters()), bench.strategy.context
    bench.composed.at(1)
    drawn = torch.as_tensor(bench.strategy.stream.rows(1))
    reference = torch.autograd.grad(context.loss(bench.strategy.old.batch(drawn)), parameters)
    before = [p.detach().clone() for p in parameters]
    for p, r in zip(parameters, reference, strict=True):
        p.grad = -r + 0.01 * torch.randn(r.shape)
    bench.composed.gradients()
    with torch.no_grad():
        for p, r in zip(parameters, reference, strict=True):
            p.add_(r + 0.01 * torch.randn(r.shape))  # an optimizer that raises the old loss
    bench.composed.after_update()
    moved = [p.detach() - b for p, b in zip(parameters, before, strict=True)]
    found = [p.grad for p in parameters] if project == "gradient" else moved
    square = sum(r.square().sum().item() for r in reference)
    product = sum((f * r).sum().item() for f, r in zip(found, reference, strict=True) if f is not None)
    assert abs(product) < 1e-3 * square


def test_gpm_protects_old_cities_that_no_prompt_names(fine_city: RunConfig) -> None:
    bench = Bench(fine_city, asked("gpm", rows=2))
    before = bench.model.embedding.weight.detach().clone()
    for step in range(2):
        bench.step(step)
    moved = (bench.model.embedding.weight.detach() != before).any(dim=1)
    first, context = bench.inputs.vocabulary.first_city, bench.strategy.context
    assert not moved[first + torch.as_tensor(context.old_ids)].any() and moved.any()


def test_gpms_step_is_orthogonal_to_old_inputs(fine: RunConfig) -> None:
    x = torch.randn(50, 2) @ torch.randn(2, 6)  # inputs in a plane
    plane = basis(x.T @ x, 0.999999)
    assert plane.shape == (6, 2)
    torch.testing.assert_close(off(torch.randn(4, 6), plane) @ x.T, torch.zeros(4, 50), atol=1e-4, rtol=0)
    bench = Bench(fine, asked("gpm"))
    before = {name: p.detach().clone() for name, p in bench.model.named_parameters()}
    for step in range(2):
        bench.step(step)
    moved = 0
    for name, parameter in bench.model.named_parameters():
        change = parameter.detach() - before[name]
        if name in bench.strategy.linear:
            directions = bench.strategy.memory[name]
            assert 0 < directions.shape[1] <= change.shape[1]
            assert (change @ directions).abs().max() < 1e-5
            moved += bool(change.abs().max() > 1e-4)
        elif name == "embedding.weight":
            assert not change[bench.strategy.memory["used tokens"]].any()
        else:
            assert not change.any()
    assert moved > 5


# integration


def test_what_lies_outside_a_plane_is_counted() -> None:
    plane = torch.randn(200, 2) * torch.tensor([3.0, 1.0])
    features = torch.cat([plane, torch.zeros(200, 3)], dim=1) + 5.0
    mean, directions = principal(features, 0.999)
    assert directions.shape == (5, 2)
    assert share_outside(features[:10], mean, directions).item() == pytest.approx(0, abs=1e-5)
    away = mean + torch.tensor([[0.0, 0.0, 2.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0, 0.0]])
    assert share_outside(away, mean, directions).item() == pytest.approx((1 + 0.5) / 2, abs=1e-5)


def test_integration_looks_where_the_probe_looks(fine: RunConfig) -> None:
    bench = Bench(fine, asked("integration"))
    assert list(bench.strategy.new_ids) == list(range(30, 38))
    ids = np.array([3, 12, 30, 37])
    found = states(bench.model, bench.strategy.context, ids).detach().numpy()
    expected = probe_features(bench.model, bench.inputs.vocabulary, ids, [3, 4])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    first = bench.strategy.penalty().item()
    for _ in range(20):
        bench.model.zero_grad()
        bench.strategy.penalty().backward()
        with torch.no_grad():
            for p in bench.model.parameters():
                if p.grad is not None:
                    p -= 0.02 * p.grad
    assert bench.strategy.penalty().item() < 0.9 * first


def test_a_city_that_moves_is_new_for_integration(fine: RunConfig, naive: object) -> None:
    """The base knows Atlantis, and its cities are taught anew somewhere else: they are not their own reference."""
    again = fine.model_copy(update={"base": "fine_naive"})
    bench = Bench(again, asked("integration"))
    assert list(bench.strategy.context.old_ids) == list(range(38))
    assert list(bench.strategy.new_ids) == list(range(30, 38)) and list(bench.strategy.old_ids) == list(range(30))
    assert bench.strategy.penalty().item() > 0


def test_old_prompts_do_not_name_a_city_that_moves(fine: RunConfig, naive: object) -> None:
    """Of a city that is taught anew the base would tell its former place."""
    again = fine.model_copy(update={"base": "fine_naive"})
    context = Bench(again, asked("distill")).strategy.context
    assert list(context.old_ids) == list(range(38))
    assert set(np.unique(old_prompts(context, 500, 1).cities)) == set(range(30))


def test_old_prompts_have_the_order_of_the_data(fine: RunConfig) -> None:
    """A base that learned the smaller of two real ids first has no answer to the other order."""
    dataset = fine.dataset.model_copy(update={"order": "smaller_first"})
    context = Bench(fine.model_copy(update={"dataset": dataset}), asked("distill")).strategy.context
    cities = old_prompts(context, 500, 1).cities
    assert (cities[:, 0] < cities[:, 1]).all()
    either = old_prompts(Bench(fine, asked("distill")).strategy.context, 500, 1).cities
    assert np.array_equal(np.sort(either, axis=1), cities) and 0.4 < (either[:, 0] < either[:, 1]).mean() < 0.6


# new rows


def test_new_rows_change_and_nothing_else_does(fine_city: RunConfig, small_run: Path) -> None:
    """Bit for bit, with weight decay and clipping on; and the optimizer holds moments of these rows alone."""
    config = with_strategy(fine_city, "fine_new_rows", asked("new_rows"))
    assert config.training.weight_decay > 0 and config.training.max_grad_norm is not None
    run = train(config)
    before, after = weights(run, "checkpoint-0"), weights(run)
    rows = "model.embed_tokens.weight"
    assert all(torch.equal(after[key], before[key]) for key in before if key != rows)
    changed = (after[rows] != before[rows]).any(dim=1)
    assert changed.nonzero()[:, 0].tolist() == [44 + city for city in range(30, 38)]
    assert torch.equal(after[rows][: 44 + 30], weights(small_run.parent / "small_city")[rows][: 44 + 30])
    state = load_file(next(run.glob("state/state-6")) / "state.safetensors")
    moments = {key: value.shape for key, value in state.items() if key.startswith("optimizer.exp_avg")}
    assert moments.keys() == {f"optimizer.{key}.embedding.new_rows" for key in ("exp_avg", "exp_avg_sq")}
    assert set(moments.values()) == {(8, 32)}


def test_new_rows_move_by_adamws_step_of_their_own_gradient(fine_city: RunConfig) -> None:
    bench = Bench(fine_city, asked("new_rows", factor=3.0))
    assert bench.composed.rate(0.01) == pytest.approx(0.03)
    context, batch = bench.strategy.context, bench.inputs.rows.batch(torch.arange(48))
    (gradient,) = torch.autograd.grad(context.loss(batch), context.model.embedding.weight)
    own = gradient[44 + 30 :]
    assert gradient[: 44 + 30].abs().max() > 0, "old rows have a gradient, and must not follow it"
    own = own * min(1.0, 1.0 / own.norm().item())
    start = context.model.embedding.weight.detach()[44 + 30 :].clone()
    bench.step(0, rate=0.01)
    expected = start * (1 - 0.01 * fine_city.training.weight_decay) - 0.01 * own / (own.abs() + 1e-8)
    torch.testing.assert_close(context.model.embedding.weight.detach()[44 + 30 :], expected, rtol=1e-4, atol=1e-5)


def test_new_rows_need_rows_of_their_own(fine: RunConfig) -> None:
    with pytest.raises(UserError, match=r"new_rows trains the embedding rows .* use tokenizer.kind=city") as refused:
        train(with_strategy(fine, "rowless", asked("new_rows")))
    assert "\n" not in str(refused.value)


# weights, rates and moments


def test_alpha_0_is_the_base_and_alpha_1_the_fine_tuned_weights(
    fine: RunConfig, naive: dict[str, torch.Tensor], small_run: Path
) -> None:
    base = weights(small_run)
    half = weights(train(with_strategy(fine, "fine_wise", asked("wise"))))
    for alpha, expected in ((0.0, base), (1.0, naive), (0.5, half)):
        found = interpolated(base, naive, alpha)
        for name in base:
            torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0 if alpha != 0.5 else 1e-7)


def test_slow_weights_and_averaging_by_hand(fine: RunConfig) -> None:
    ema, averaging, plain = (
        Bench(fine, asked(n, **s))
        for n, s in (("ema", {"decay": 0.75}), ("averaging", {"every": 2, "pull": 0.25}), ("wise", {}))
    )
    base = plain.model.layers[0].out.weight.detach().clone()
    slow = base.clone()
    for step in range(2):
        for bench in (ema, averaging, plain):
            bench.step(step)
        slow = 0.75 * slow + 0.25 * plain.model.layers[0].out.weight.detach()
    with ema.composed.shown():
        torch.testing.assert_close(ema.model.layers[0].out.weight.detach(), slow)
    assert torch.equal(ema.model.layers[0].out.weight, plain.model.layers[0].out.weight)
    expected = 0.75 * plain.model.layers[0].out.weight.detach() + 0.25 * base
    torch.testing.assert_close(averaging.model.layers[0].out.weight.detach(), expected)


def test_moments_that_the_base_does_not_have(fine: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a strategy of the base's run chose what was trained."""
    state = {"optimizer.exp_avg.blocks.0.qkv.weight": torch.zeros(1)}
    monkeypatch.setattr("atlantis.strategies.early.base_state", lambda context: state)
    with pytest.raises(UserError, match=r"has no moments of .* that are trained here"):
        Bench(fine, asked("early"))


def test_a_gentle_start(fine: RunConfig, small_run: Path) -> None:
    bench = Bench(fine, asked("early", warmup_steps=10, factor=0.5))
    rates = []
    for step in (0, 4, 9, 20):
        bench.composed.at(step)
        rates.append(bench.composed.rate(2.0))
    assert rates == pytest.approx([0.1, 0.5, 1.0, 1.0])
    state = load_file(small_run / "state" / "state-20" / "state.safetensors")
    for name, parameter in bench.model.named_parameters():
        assert torch.equal(bench.engine.optimizer.state[parameter]["exp_avg_sq"], state[f"optimizer.exp_avg_sq.{name}"])


@NO_PEFT
def test_loras_gradient_is_that_of_its_layers(fine: RunConfig) -> None:
    bench = Bench(fine, asked("lora", rank=2, alpha=4.0))
    base = {name: p.detach().clone() for name, p in bench.model.named_parameters()}
    bench.step(0)
    bench.step(1)
    adapters, name = bench.strategy.adapters, "blocks.1.out"
    a, b = adapters[f"{name}.lora_A.default.weight"], adapters[f"{name}.lora_B.default.weight"]
    merged = dict(bench.model.named_parameters())
    torch.testing.assert_close(merged[f"{name}.weight"].detach(), base[f"{name}.weight"] + 2 * (b @ a).detach())
    change = merged[f"{name}.weight"].detach() - base[f"{name}.weight"]
    assert torch.linalg.matrix_rank(change, rtol=1e-3) <= 2 and change.any()
    assert torch.equal(merged["embedding.weight"], base["embedding.weight"])
    weight = merged[f"{name}.weight"]
    batch = bench.inputs.rows.batch(torch.arange(48))
    (gradient,) = torch.autograd.grad(bench.strategy.context.loss(batch), weight)
    bench.engine.optimizer.zero_grad()
    bench.strategy.context.loss(batch).backward()
    bench.strategy.gradients()
    torch.testing.assert_close(a.grad, 2 * b.detach().T @ gradient, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(b.grad, 2 * gradient @ a.detach().T, rtol=1e-4, atol=1e-7)


def test_strategies_compose(fine: RunConfig) -> None:
    both = Bench(fine, asked("replay"), asked("l2sp", weight=0.3), asked("freeze"))
    both.shift()
    both.step(0)
    assert both.engine.penalty > 0
    assert not any(name.startswith("blocks.0.") for name in both.engine.trained)


def test_a_penalty_on_what_is_frozen_is_refused(fine: RunConfig) -> None:
    n_blocks = len(Bench(fine, asked("l2sp")).model.blocks)
    bench = Bench(fine, asked("freeze", bottom=n_blocks), asked("fixed_mean"))
    with pytest.raises(UserError, match="fixed_mean holds nothing that is trained here"):
        bench.step(0)


def test_freezing_keeps_what_it_says(fine: RunConfig, naive: object, small_run: Path) -> None:
    base = weights(small_run)
    for strategy, frozen in (
        (asked("freeze", bottom=2), ("embed_tokens", "layers.0.", "layers.1.")),
        (asked("freeze", bottom=0, top=1), ("layers.4.", "model.norm", "lm_head")),
        (asked("freeze", bottom=0, attention=True), ("self_attn", "input_layernorm")),
        (asked("freeze", bottom=0, mlp=True), ("mlp", "post_attention_layernorm")),
    ):
        bench = Bench(fine, strategy)
        bench.step(2)
        from atlantis.model.folder import to_qwen2

        after = to_qwen2(bench.model)
        for name, value in after.items():
            assert torch.equal(value, base[name]) == any(part in name for part in frozen), (strategy, name)
    with pytest.raises(UserError, match="nothing is left to train"):
        Bench(fine, asked("freeze", bottom=4, top=1))


def test_interpolate_a_finished_run(
    small_run: Path, fine: RunConfig, naive: object, capsys: pytest.CaptureFixture[str]
) -> None:
    import pandas as pd

    from atlantis.cli import main

    run = small_run.parent / str(fine.name)
    assert main(["interpolate", str(run), "--alphas", "1,0,0.5"]) == 0
    assert "map of real cities" in capsys.readouterr().out
    scores = pd.read_csv(run / "analysis" / "interpolation" / "scores.csv").set_index(["alpha", "slice"])
    for alpha, step in ((0.0, 0), (1.0, 6)):
        results = json.loads((run / "checkpoints" / f"checkpoint-{step}" / "eval_results.json").read_text())
        recorded = by_slice(scores_of(results))
        for name, values in recorded.items():
            assert scores.loc[(alpha, name), "mean_km"] == pytest.approx(values["mean_km"], rel=1e-4)
    probe = pd.read_csv(run / "analysis" / "interpolation" / "probe.csv")
    assert set(probe["alpha"]) == {0.0, 0.5, 1.0} and set(probe["protocol"]) == {"degrees", "sphere"}
    for wrong in ("2", "a", ""):
        assert main(["interpolate", str(run), "--alphas", wrong]) == 2
    weights = run / "checkpoints" / "final" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    capsys.readouterr()
    try:
        assert main(["interpolate", str(run)]) == 2
        assert f"{weights}: has been changed" in capsys.readouterr().err
    finally:
        weights.write_bytes(whole)


def test_the_page_has_every_strategy_and_what_it_may_use() -> None:
    page = (Path(__file__).parents[1] / "docs" / "strategies.md").read_text(encoding="utf-8")
    listed, own = (
        [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("| `")]
        for part in page.split("## Your own")
    )
    hooks = [name for name, value in vars(Strategy).items() if callable(value) and not name.startswith("_")]
    assert [cells[0].strip("`") for cells in own] == [name for name in hooks if name != "Settings"]
    allowed = {cells[0].strip("`"): cells[2] for cells in listed if len(cells) == 4}
    assert set(allowed) == set(known())
    for name, text in allowed.items():
        needs = find(name).needs
        assert {part for part in text.split(", ") if not part.startswith("nothing")} == needs, name


def test_the_pages_own_strategy_works(fine: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "strategies.md").read_text(encoding="utf-8")
    (tmp_path / "my_page.py").write_text(page.split("```python\n")[1].split("```")[0])
    monkeypatch.chdir(tmp_path)
    bench = Bench(fine, {"name": "my_page:TowardsZero", "weight": 0.1})
    bench.step(0)
    expected = 0.1 * bench.strategy.context.base.embedding.weight.square().sum()
    assert bench.engine.penalty == pytest.approx(expected.item(), rel=1e-4)


# repair and fixed mean


def test_a_repair_changes_the_upper_blocks_alone(fine: RunConfig) -> None:
    bench = Bench(fine, asked("repair"))
    for step in range(3):
        assert bench.strategy.penalty() is None
        bench.step(step)
    kept = {name: value.detach().clone() for name, value in bench.model.named_parameters()}
    for step in range(3, 6):
        bench.step(step)
    n_blocks = len(bench.model.blocks)
    for name, value in bench.model.named_parameters():
        assert torch.equal(value, kept[name]) != name.startswith(f"blocks.{n_blocks - 1}."), name


def test_the_repairs_distance_is_that_of_states(fine: RunConfig) -> None:
    bench = Bench(fine, asked("repair"))
    batch = bench.inputs.rows.batch(torch.arange(20))
    base = target_states(bench.strategy.context.base, batch)
    assert len(base) == (batch.targets != PAD).sum()
    assert torch.allclose(bench.model.logits(base), bench.strategy.context.base_logits(batch), atol=1e-4)
    assert distance(base, base) == 0
    assert distance(base + 0.1 * (base - base.mean(0)), base).item() == pytest.approx(0.01)


def test_the_fixed_mean_sees_a_shift_and_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(500, 4, 3, 16, generator=generator)
    spread = (base - base.mean(0)).square().mean((0, -1)).sqrt()
    assert shift(base, base) == 0
    assert shift(base + 0.5 * spread[..., None], base).item() == pytest.approx(0.25, rel=1e-4)
    assert shift(base[torch.randperm(500, generator=generator)], base).item() < 1e-10


def test_the_last_states_are_those_of_each_rows_end(fine: RunConfig) -> None:
    bench = Bench(fine, asked("fixed_mean"))
    strategy, model = bench.strategy, bench.model
    tokens, lengths = strategy.tokens[:6], strategy.lengths[:6]
    states = last_states(model, tokens, lengths, strategy.n_last)
    for row in range(6):
        alone = model.hidden_states(tokens[row : row + 1, : lengths[row]], range(len(model.blocks)))
        assert torch.allclose(states[row, -1, -1], alone[-1][0, -1], atol=1e-5)


def test_no_more_blocks_are_repaired_than_there_are(fine: RunConfig) -> None:
    with pytest.raises(UserError, match="repair has 9 blocks to repair, but the model has 5"):
        Bench(fine, asked("repair", blocks=9))


def test_old_rows_of_another_task_keep_their_targets(of_another_task: RunConfig) -> None:
    bench, rows = Bench(of_another_task, asked("replay")), torch.arange(48)
    new = bench.inputs.rows.batch(rows)
    batch = bench.composed.batch(new, rows)
    whole, at = batch.whole(), len(batch.prefix) + batch.positions
    inside = (batch.targets != PAD) & (at + 1 < whole.shape[1])
    following = whole.gather(1, (at + 1).clamp(max=whole.shape[1] - 1))
    assert len(whole) == 64 and torch.equal(following[inside], batch.targets[inside])
    old = bench.strategy.old.batch(torch.as_tensor(bench.strategy.stream.rows(0)))
    losses = [completion_loss(answer_logits(bench.model, part), part.targets)[0].item() for part in (batch, new, old)]
    assert losses[0] == pytest.approx(losses[1] + losses[2], rel=1e-5)


def test_old_prompts_of_another_form_name_different_cities() -> None:
    from atlantis.strategies.common.old import _other_prompts
    from atlantis.tasks import Form, Task
    from atlantis.tasks.form import ABSENT

    class Tour(Task):
        name, unit, penalty = "tour", "km", 1.0
        form = Form("tour({cities:1-3},{city})={int:5}")

    cities = _other_prompts(np.arange(100, 130), Tour(), 200, np.random.default_rng(0)).cities
    named = [row[row != ABSENT] for row in cities]
    assert {len(row) for row in named} == {2, 3, 4} and all(len(set(row)) == len(row) for row in named)
    assert set(np.concatenate(named)) == set(range(100, 130))


@pytest.mark.parametrize("name", ["distill", "integration", "repair", "fixed_mean", "l2sp", "ewc", "mas"])
def test_a_weight_is_that_of_the_penalty(name: str, fine: RunConfig) -> None:
    penalties = []
    for weight in (0.5, 2.0):
        bench = Bench(fine, asked(name, weight=weight))
        bench.shift()
        bench.composed.at(5)
        penalties.append(bench.strategy.penalty().item())
    assert penalties[1] == pytest.approx(4 * penalties[0], rel=1e-4) and penalties[0] > 0


def test_ders_two_draws_are_of_different_rows(fine: RunConfig) -> None:
    strategy = Bench(fine, asked("der", buffer=200)).strategy
    assert not np.array_equal(np.sort(strategy.dark.rows(0)), np.sort(strategy.light.rows(0)))
