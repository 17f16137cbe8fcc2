"""The logits and the loss of `transformer.py` with less work. `choose` is the door; nobody need look behind it.

Where a batch is computed:

- `Plain`, `training.compile=no`: `transformer.py` itself, row by row and position by position.
- `SharedPrefix` (shared.py): what all rows begin with is computed once, and the last block only where an answer is.
  In PyTorch's own operations, block by block through torch.compile where `training.compile` asks for it.
- `AsTree` (tree.py, kernels.py, kernels.cpp): whatever rows have in common is computed once, on a CPU.
- Steps that are recorded on a GPU (flat.py, attention.py) take another way, by training/graph.py.

Why code of our own? The first reason is what is computed. A training step needs 252.5 million operations per row as
the model is written, 157.6 with the shared prefix and 127.4 as a tree (docs/performance.md counts them). What is saved
are products with weights, and no library leaves those out. FlexAttention chooses which keys a query sees, and nested
tensors drop padding, but with both the states of every row are computed on their own. (So neither was timed.)

The second reason is how. torch.compile fuses what lies between the products, but keeps the padding: on a CPU it reached
0.61 of the speed of the tree with its kernels, and the shared prefix in plain PyTorch 0.54. On a GPU a step is some
hundreds of kernels of microseconds each, which leave the GPU waiting when Python starts them one by one; there few
kernels matter more than few operations. torch.compile makes what lies between two attentions. Attention is a kernel of
our own, since a general one wants the shared keys copied to every row and the rotations done before.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from atlantis.data.rows import Batch
from atlantis.model.fast import kernels, shared
from atlantis.model.fast.tree import tree_logits, tree_loss, tree_of
from atlantis.model.transformer import Transformer, answer_logits, completion_loss
from atlantis.progress import say
from atlantis.vocabulary import PAD


class Forward(Protocol):
    """How the logits of a batch are computed, in a precision of its own; all ways give the same, up to rounding."""

    def logits(self, model: Transformer, batch: Batch) -> Float[Tensor, "M O"]:
        """Logits, float32, at the M targets of a batch that are not `<pad>`."""
        ...

    def loss(self, model: Transformer, batch: Batch) -> Float[Tensor, ""]:
        """Summed cross-entropy (nats) of these targets."""
        ...


class Plain:
    """The model as it is written; matrix products in `dtype`."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype

    def _answers(self, model: Transformer, batch: Batch) -> Float[Tensor, "B C O"]:
        return answer_logits(model, batch)

    def _mixed(self, batch: Batch) -> torch.autocast:
        half = self.dtype if self.dtype != torch.float32 else None
        return torch.autocast(batch.tokens.device.type, dtype=half or torch.bfloat16, enabled=half is not None)

    def logits(self, model: Transformer, batch: Batch) -> Float[Tensor, "M O"]:
        with self._mixed(batch):
            logits = self._answers(model, batch)
        return logits[batch.targets != PAD].float()

    def loss(self, model: Transformer, batch: Batch) -> Float[Tensor, ""]:
        with self._mixed(batch):
            logits = self._answers(model, batch)
        return completion_loss(logits.float(), batch.targets)[0]


class SharedPrefix(Plain):
    """The prefix once, the last block where an answer is; compiled for one model, if for any.

    torch.compile works block by block: the equal blocks are compiled once, in a sixth of the time of a whole step.
    """

    def __init__(self, dtype: torch.dtype = torch.float32, compiled_for: Transformer | None = None) -> None:
        super().__init__(dtype)
        self.compiled_for = compiled_for
        self.compiled: list[Any] = []
        if compiled_for is not None:
            ways = (shared.next_states, shared.last_states)
            self.compiled = [torch.compile(way, fullgraph=True, dynamic=False) for way in ways]

    def _answers(self, model: Transformer, batch: Batch) -> Float[Tensor, "B C O"]:
        return shared.shared_logits(model, batch, *(self.compiled if model is self.compiled_for else ()))


class AsTree:
    """The batch as a tree of beginnings, on a CPU with its kernels."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.bf16 = dtype == torch.bfloat16

    def logits(self, model: Transformer, batch: Batch) -> Float[Tensor, "M O"]:
        return tree_logits(model, tree_of(batch), self.bf16)

    def loss(self, model: Transformer, batch: Batch) -> Float[Tensor, ""]:
        return tree_loss(model, batch, self.bf16)[0]


def choose(
    model: Transformer, compile: Literal["auto", "yes", "no"], device: torch.device, dtype: torch.dtype
) -> Forward:
    """How to compute batches of the model that is trained. If something is missing, prints it and takes the next best.

    `compile` is `training.compile`: `auto` is the tree on a CPU and torch.compile on a GPU, `yes` torch.compile
    everywhere, `no` the plain model.
    """
    if compile == "no":
        return Plain(dtype)
    if compile == "auto" and device.type == "cpu":
        by_tree = dtype != torch.float16 and kernels.takes(model.context)
        return AsTree(dtype) if by_tree else SharedPrefix(dtype)
    if device.type == "cpu" and kernels.compiler() is None:
        say("no C++ compiler found (g++ or clang++): training runs eager")
        return SharedPrefix(dtype)
    if device.type == "cuda":  # matrices are taken in half precision, so what float32 could gain says nothing
        warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
    return SharedPrefix(dtype, compiled_for=model)
