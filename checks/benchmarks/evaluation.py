"""Greedy answers to held-out prompts of the shipped base: ours against transformers' `generate`, from the same folder.

Ours answers all prompts in every round. The peer is slow: it answers a share of them in each round, in batches of 64
padded on the left, and its time is scaled to all of them. Over the rounds it answers every prompt once, and all answers
must be equal, but for ties of two tokens' logits in float32.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from atlantis import Dataset, DatasetConfig, World
from atlantis.data.encoding import encode, prefix
from atlantis.model.checkpoint import load_checkpoint
from atlantis.readout.generate import answer_tokens
from atlantis.tasks import Questions
from atlantis.tasks.distance import DISTANCE
from atlantis.vocabulary import PAD
from checks.benchmarks.common import BASE, Lap, Options, five_digits, race, ratio, summary
from checks.benchmarks.count import ASKED, PEER_BATCH

TIE = 1e-3
"""Logits that differ by less may change places with the order of float32 additions."""


def held_out(n: int) -> Questions:
    world = World.build(regions=())
    return Dataset.build(world, DatasetConfig(n_train=1, n_val=0, n_test=n)).splits["test"]


def ours(lap: Lap, n: int) -> None:
    """A rival: all `n` prompts a round; says its answers (n, 6)."""
    model, vocabulary = load_checkpoint(BASE)
    pairs = held_out(n)
    answer_tokens(model, vocabulary, pairs[:PEER_BATCH])
    lap()
    while True:
        lap(answer_tokens(model, vocabulary, pairs).astype(np.int8))


def peer(lap: Lap, n: int, rounds: int) -> None:
    """A rival: the next `n` / `rounds` prompts a round; says its answers (n / rounds, 6)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    pairs = held_out(n)
    texts = DISTANCE.form.text_columns(pairs.cities, pairs.answer)["prompt"].to_pylist()

    def answers(texts: list[str]) -> np.ndarray:
        found = np.full((len(texts), ASKED), PAD, np.int8)
        for start in range(0, len(texts), PEER_BATCH):
            batch = tokenizer(
                texts[start : start + PEER_BATCH], add_special_tokens=False, padding=True, return_tensors="pt"
            )
            out = model.generate(**batch, max_new_tokens=ASKED, do_sample=False)[:, batch["input_ids"].shape[1] :]
            found[start : start + len(out), : out.shape[1]] = out.numpy()
        return found

    answers(texts[:PEER_BATCH])
    lap()
    for part in np.array_split(np.arange(n), rounds):
        lap(answers([texts[row] for row in part]))


def differences(pairs: Questions, mine: np.ndarray, theirs: np.ndarray) -> tuple[int, int]:
    """Rows whose answers differ, and those of them where the first tokens that differ have equal logits (`TIE`)."""
    model, vocabulary = load_checkpoint(BASE)
    start = torch.tensor(prefix(DISTANCE.form, vocabulary))
    encoded = encode(DISTANCE.form, vocabulary, pairs.cities, pairs.answer)
    rows, ties = np.flatnonzero((mine != theirs).any(axis=1)), 0
    for row in rows:
        place = int((mine[row] != theirs[row]).argmax())
        tokens = np.concatenate([encoded.tokens[row, : encoded.prompt_length[row]], mine[row, :place]])
        with torch.no_grad():
            logits = model(start, torch.tensor(tokens)[None].long(), torch.tensor([[len(tokens) - 1]]))[0, 0]
        ties += abs(logits[mine[row, place]] - logits[theirs[row, place]]).item() < TIE
    return len(rows), ties


def run(options: Options) -> dict[str, Any]:
    """Prompts per second; raises RuntimeError if answers differ by more than ties."""
    n = 32 if options.quick else options.n_prompts
    works = {"ours": partial(ours, n=n), "peer": partial(peer, n=n, rounds=options.rounds)}
    rivals = race(works, options)
    parts = [len(found) for found in rivals["peer"].found]
    rates = {
        "ours": [n / seconds for seconds in rivals["ours"].seconds],
        "peer": [part / seconds for part, seconds in zip(parts, rivals["peer"].seconds, strict=True)],
    }
    theirs = np.concatenate(rivals["peer"].found)
    differing, ties = differences(held_out(n), rivals["ours"].found[-1], theirs)
    if differing > ties:
        raise RuntimeError(f"{differing} of {n} answers differ from transformers' and only {ties} of them are ties")
    return {
        "settings": {"prompts": n, "peer_prompts_per_round": max(parts), "peer_batch": PEER_BATCH},
        "answers": {"compared": len(theirs), "differing": differing, "ties": ties},
        "rivals": {
            name: {
                "prompts_per_second": summary(found),
                "seconds": five_digits(n / summary(found)["median"]),
                "against_peer": ratio(found, rates["peer"]),
                "peak_mb": round(rivals[name].peak_mb),
            }
            for name, found in rates.items()
        },
    }
