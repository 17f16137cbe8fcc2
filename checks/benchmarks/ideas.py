"""What each idea of the training step is worth on a CPU: the same steps with one thing changed, in alternation.

default             a batch as one tree, with the kernels, in memory that glibc keeps
pieces of 256, 128  the tree in parts that fit a cache better and share less
memory returned     glibc maps large tensors anew each time, as it does unasked
plain               the model as it is written: whole rows, PyTorch's fused attention
shared prefix       no tree, no kernels, but the prefix once and the last block only where an answer is
shared, memory returned
shared, explicit    as shared prefix, its attention written as products and a softmax
shared, pieces of 128
torch.compile       as shared prefix, its blocks compiled by torch.compile
bf16                as shared prefix, under autocast to bfloat16
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from atlantis import TrainingConfig
from atlantis.data.rows import Rows
from atlantis.model import transformer
from atlantis.model.fast import SharedPrefix
from atlantis.model.fast import shared as of_shared
from atlantis.training import step as engines
from checks.benchmarks import count
from checks.benchmarks.common import Lap, Options, race, ratio, summary
from checks.benchmarks.count import Sizes
from checks.benchmarks.train import N_BATCHES, new_model, some_pairs

IDEAS: dict[str, dict[str, Any]] = {
    "default": {},
    "pieces of 256": {"piece": 256},
    "pieces of 128": {"piece": 128},
    "memory returned": {"keep": False},
    "plain": {"compile": "no"},
    "shared prefix": {"shared": True},
    "shared, memory returned": {"shared": True, "keep": False},
    "shared, explicit attention": {"shared": True, "explicit": True},
    "shared, pieces of 128": {"shared": True, "piece": 128},
    "torch.compile": {"compile": "yes"},
    "bf16": {"shared": True, "precision": "bf16"},
}


def explicit(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """`transformer.attend` by products and a softmax."""
    scores = torch.einsum("bthk,bshk->bhts", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("bhts,bshk->bthk", scores.masked_fill(~mask, float("-inf")).softmax(-1), v)


def steps(
    lap: Lap,
    s: Sizes,
    batch: int,
    compile: str = "auto",
    precision: str = "fp32",
    piece: int = engines.PIECE,
    keep: bool = True,
    explicit: bool = False,
    shared: bool = False,
) -> None:
    """A rival: two steps a round, with the ideas as told; a piece of a batch is a part that is done on its own."""
    if not keep:
        engines.keep_freed_memory = lambda: None
    if explicit:
        transformer.attend = of_shared.attend = globals()["explicit"]
    settings = TrainingConfig.model_validate({"compile": compile, "precision": precision, "batch_size": batch})
    engine = engines.Engine(new_model(s), settings, torch.device("cpu"))
    if shared:
        engine.forward = SharedPrefix(engine.dtype)
    if piece < batch:
        engines.pieces = partial(_pieces, size=piece)
    pairs, vocabulary = some_pairs(N_BATCHES * batch)
    rows = Rows(pairs, vocabulary)
    done = 0
    while True:
        for _ in range(2 if done else 1):
            chosen = torch.arange(batch) + done % N_BATCHES * batch
            engine.step(rows.batch(chosen), settings.learning_rate)
            done += 1
        lap(None)


_all_pieces = engines.pieces


def _pieces(batch: Any, _: int, size: int) -> Any:
    return _all_pieces(batch, size)


def run(options: Options) -> dict[str, Any]:
    """Samples per second of each, and its ratio to the default, round by round."""
    s = Sizes(width=32, n_layers=2, n_heads=2, mlp_width=64) if options.quick else Sizes()
    batch = 16 if options.quick else count.BATCH
    names = ["default", "shared, explicit attention"] if options.quick else list(IDEAS)
    rivals = race({name: partial(steps, s=s, batch=batch, **IDEAS[name]) for name in names}, options)
    default = rivals["default"].seconds
    return {
        "settings": {"batch_size": batch},
        "ideas": {
            name: {
                "samples_per_second": summary([2 * batch / seconds for seconds in rival.seconds]),
                "against_default": ratio(default, rival.seconds),
                "peak_mb": round(rival.peak_mb),
            }
            for name, rival in rivals.items()
        },
    }
