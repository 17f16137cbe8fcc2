"""The counts are those of the real models; the benchmarks run in miniature; the page is what the records say."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from tracked import copied

from atlantis import Dataset, DatasetConfig, ProbeConfig, World
from atlantis.data.encoding import prefix as prefix_of
from atlantis.data.rows import Batch, Rows
from atlantis.model import completion_loss
from atlantis.model.fast.shared import run_blocks, shared_logits
from atlantis.model.fast.tree import tree_logits
from atlantis.model.folder import qwen2_config
from atlantis.readout.activations import probe_features
from atlantis.readout.generate import answer_tokens
from atlantis.vocabulary import Vocabulary
from checks import pages
from checks.benchmarks import count, page
from checks.benchmarks.__main__ import BENCHMARKS
from checks.benchmarks.common import Options, Rival, alternate, race, ratio, summary
from checks.benchmarks.count import Need, Product, Sizes
from checks.benchmarks.train import new_model
from checks.records import ROOT
from tests.distances import FORM
from tests.rivals import fails, holds

BATCH = 16


@cache
def world() -> World:
    """The shipped cities and the default regions, made once and not before a test needs them."""
    return World.build()


def flops_of(work: Callable[[], object]) -> int:
    """Counted by PyTorch, which sees attention only where it is plain products."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def one_step(way: str) -> None:
    """Loss and gradients of a batch, computed in one of the ways that `count.training` counts."""
    model, vocabulary = new_model(Sizes()), Vocabulary("characters", len(world()))
    pairs = Dataset.build(world(), DatasetConfig(n_train=BATCH, n_val=0, n_test=0)).splits["train"]
    rows = Rows(pairs, vocabulary)
    batch, prefix = rows.batch(torch.arange(BATCH)), rows.prefix
    whole = batch.whole()
    if way in ("both", "last block where asked"):
        if way == "both":
            logits = shared_logits(model, batch)
        else:
            logits = shared_logits(model, Batch(prefix[:0], whole, batch.positions + len(prefix), batch.targets))
        total, n = completion_loss(logits, batch.targets)
        (total / n).backward()
    elif way == "shared prefix":
        _, x = run_blocks(model, model.embedding(prefix), model.embedding(batch.tokens), range(len(model.blocks)))
        model.logits(x).sum().backward()
    else:
        from transformers import Qwen2Config, Qwen2ForCausalLM

        tokens = torch.nn.functional.pad(whole, (0, count.CONTEXT - whole.shape[1])) if way == "peer" else whole
        Qwen2ForCausalLM(Qwen2Config(**qwen2_config(model)))(tokens, labels=tokens).loss.backward()


@pytest.mark.parametrize("way", ["both", "shared prefix", "last block where asked", "neither", "peer"])
def test_training_counts_are_pytorchs(way: str) -> None:
    s, vocabulary = Sizes(), Vocabulary("characters", len(world()))
    counted = count.training(s, vocabulary, world(), BATCH)[way].flops * BATCH
    if way == "shared prefix":  # nobody reads what the last block makes of the prefix, so no gradient comes back
        n = len(prefix_of(FORM, vocabulary))
        counted -= 2 * count.need([*count.attention(s, 1, n, n), *count.after_attention(s, n)], 1).flops
    # The peer's few operations for the rotations are counted or not, by its version.
    assert counted == pytest.approx(flops_of(lambda: one_step(way)), rel=1e-6)


def test_the_trees_counts_are_pytorchs() -> None:
    """All but attention, which the kernels compute out of PyTorch's sight, and that by hand."""
    model, vocabulary = new_model(Sizes()), Vocabulary("characters", len(world()))
    (tree,) = count.trees(vocabulary, world(), BATCH, 1)
    products = count.tree_forward(Sizes(), tree)
    seen = flops_of(lambda: tree_logits(model, tree).sum().backward())
    attention = [p for p in products if p.name in ("scores", "mixing")]
    assert seen == count.need(products, 1, True).flops - count.need(attention, 1, True).flops
    lengths = [
        (tree.path[:, : t + 1] >= 0).all(1)[tree.first[:, t] >= 0].sum() * (t + 1) for t in range(tree.path.shape[1])
    ]
    assert sum(p.k * p.n for p in attention[:1]) == 32 * sum(lengths)


def test_decoding_and_probing_do_about_what_is_counted() -> None:
    """Less, where prompts share more than the prefix; PyTorch does not see the attention of the kernels."""
    model, vocabulary = new_model(Sizes()), Vocabulary("characters", len(world()))
    pairs = Dataset.build(world(), DatasetConfig(n_train=BATCH, n_val=0, n_test=0)).splits["train"]
    counted = count.evaluation(Sizes(), world(), vocabulary, BATCH)
    done = flops_of(lambda: answer_tokens(model, vocabulary, pairs)) / BATCH  # not trained: its answers are long
    assert 0.5 < done / counted["needed"].flops < 2
    assert counted["needed"].flops < counted["peer"].flops

    config, ids = ProbeConfig(), np.arange(1000, 1100)  # as long as almost all
    counted = count.probing(Sizes(), world(), vocabulary, config)
    features = flops_of(lambda: probe_features(model, vocabulary, ids, config.layers)) / len(ids)
    gram = 2 * 768**2 * (config.n_train + world().n_real) / len(world())
    assert 0.4 < (features + gram) / counted["needed"].flops < 1.5
    assert counted["needed"].flops < counted["peer"].flops


def test_parameters_and_bytes_by_hand() -> None:
    assert Sizes().n_parameters == 1_588_096
    products = [Product("a", 2, 3, 5, times=7), Product("b", 1, 1, 1, gradients=1)]
    assert count.need(products, samples=2) == Need((7 * 60 + 2) / 2, 4 * (7 * 31 + 3) / 2)
    assert count.need(products, 1, training=True, itemsize=2) == Need(3 * 7 * 60 + 2 * 2, 2 * (3 * 7 * 31 + 2 * 3))


def test_rivals_take_turns() -> None:
    turns: list[str] = []

    def turn(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    found = alternate({name: partial(turn, name) for name in "ab"}, rounds=3)
    assert "".join(turns) == "abbaab"
    assert found == {"a": [1, 4, 5], "b": [2, 3, 6]}
    assert ratio(found["b"], found["a"])["rounds"] == [2, 0.75, 1.2]
    assert summary([3, 1, 2]) == {"median": 2, "min": 1, "max": 3, "rounds": [3, 1, 2]}


def test_a_rival_has_memory_of_its_own() -> None:
    here = bytearray(b"1") * 600_000_000  # if they began with this, the two would hold the same at most
    rivals = race({str(n): partial(holds, megabytes=n) for n in (1, 300)}, Options(rounds=2))
    assert len(here) > 0 and 290 < rivals["300"].peak_mb - rivals["1"].peak_mb < 400
    assert rivals["300"].found == [300_000_000] * 2


def test_a_rival_that_fails_says_why() -> None:
    rival = Rival(fails)
    with pytest.raises(RuntimeError, match="a planted mistake"):
        rival()


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, warm_python: str) -> Path:
    """Records of every benchmark in miniature."""
    folder = tmp_path_factory.mktemp("records")
    command = [warm_python, "-m", "checks.benchmarks", "--quick", "--rounds", "2", "--records", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_benchmark_writes_a_record(records: Path) -> None:
    found = {file.stem.split("_")[1]: json.loads(file.read_text()) for file in records.glob("*.json")}
    assert set(found) == {name for name in BENCHMARKS if name != "gpu" or torch.cuda.is_available()}
    for name, content in found.items():
        assert content["benchmark"] == name and content["quick"] and content["rounds"] == 2
        assert set(content["machine"]) == {"cpu", "system", "cores", "threads", "gpu"}
        assert {"python", "torch", "transformers"} <= set(content["versions"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", content["date"])
        assert "commit" in content
        assert not re.search(r'"[^"]*/(home|root|tmp|usr|work)/', json.dumps(content)), "a path of this machine"
    train = found["train"]["results"]
    assert set(train["rivals"]) >= {"engine", "trainer"}
    for rival in train["rivals"].values():
        assert len(rival["samples_per_second"]["rounds"]) == 2 and rival["peak_mb"] > 0
        assert rival["share"]["median"] > 0
    assert found["evaluation"]["results"]["answers"]["compared"] == 32


def test_quick_records_are_not_on_the_page(records: Path) -> None:
    assert page.read_records(records) == {}


def measured(records: Path, **changes: Any) -> pages.Records:
    """The miniature records as if they were real ones."""
    found = {file.stem: json.loads(file.read_text()) | changes for file in sorted(records.glob("*.json"))}
    return found | {content["benchmark"]: content for content in found.values()}


def test_the_page_shows_what_the_records_say(records: Path) -> None:
    found = measured(records, commit="abc123")
    text = pages.render(page.TEMPLATE.read_text(encoding="utf-8"), found, page.TABLES)
    assert "{{" not in text and "abc123" in text
    rate = found["train"]["results"]["rivals"]["engine"]["samples_per_second"]
    assert f"**{rate['median']:,.0f}** ({rate['min']:,.0f} to {rate['max']:,.0f})" in text
    if "gpu" not in found:
        assert "no record of `gpu`" in text
    older = dict(found["train"], date="2001-02-03T00:00:00+00:00")
    rows = page.history({"2001-02-03T000000Z_train": older} | found).splitlines()[2:]
    assert [row[:12] for row in rows] == ["| 2001-02-03", f"| {found['train']['date'][:10]}"]
    assert pages.figure("train:settings.batch_size|05d", found) == "00016"
    assert pages.figure("2001-02-03T000000Z_train:settings.steps", {"2001-02-03T000000Z_train": older}) == "1"


def test_bfloat16_is_shown_from_where_it_was_measured(records: Path) -> None:
    newest = measured(records)["train"]
    rivals = newest["results"]["rivals"]
    with_bf16 = {**rivals, "bf16": rivals["engine"]}
    older = {**newest, "date": "2001-02-03", "results": {**newest["results"], "rivals": with_bf16}}
    for found, said in (
        ({"b_train": newest, "train": newest}, "Not measured yet"),
        ({"a_train": older, "b_train": newest, "train": newest}, "2001-02-03"),
        ({"a_train": newest, "b_train": older, "train": older}, "above"),
    ):
        assert said in page.rates_bf16(found)


def test_without_records_the_page_says_so() -> None:
    text = pages.render(page.TEMPLATE.read_text(encoding="utf-8"), {}, page.TABLES)
    assert "no record of `train`" in text and "(not measured)" in text


def test_no_figure_stands_in_the_prose() -> None:
    prose = page.TEMPLATE.read_text(encoding="utf-8")
    prose = re.sub(r"(?s)```.*?```|\{\{.*?\}\}|<!--.*?-->|\]\(.*?\)", "", prose)
    assert not re.findall(r".*\b\d.*", prose)


def test_the_committed_page_is_that_of_the_committed_records(tmp_path: Path) -> None:
    found = page.read_records(copied("checks/benchmarks/records/*.json", tmp_path / "records"))
    assert page.PAGE.is_file() == bool(found)
    if found:
        prose = page.TEMPLATE.read_text(encoding="utf-8")
        assert page.PAGE.read_text(encoding="utf-8") == pages.render(prose, found, page.TABLES)
