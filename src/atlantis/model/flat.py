"""The training loss on a GPU, where each kernel that is started costs microseconds and the model is small.

The shared tokens and those of all rows are one matrix of N = P + B * T tokens, so that a block takes as many kernels
for both as it would for one. Attention is `attention.SharedAttention`; what lies between two attentions is a function
compiled once for all blocks. The last block goes on at the completion positions alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from atlantis.data.rows import Batch
from atlantis.model.loss import completion_loss
from atlantis.model.transformer import RMS_EPS, Transformer

Attention = Callable[[Tensor, Tensor, Tensor, int, int, int], Tensor]
"""`SharedAttention.apply`, or what computes the same."""

copy_each = torch._foreach_copy_  # pyright: ignore[reportPrivateImportUsage]
"""Copies tensors to tensors in one kernel, their types cast."""

FEW = 256
"""Input symbols up to which the embedding's gradient is a product with a 0/1 matrix."""


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + RMS_EPS) * weight


def enter(x: Tensor, norm1: Tensor, qkv: Tensor, bias: Tensor) -> Tensor:
    """Queries, keys and values (N, 3 D) of the first block."""
    return F.linear(rms_norm(x, norm1).to(qkv.dtype), qkv, bias.to(qkv.dtype))


def finish(x: Tensor, mixed: Tensor, out: Tensor, norm2: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """A block's output (N, D) from its input x and its attention's output."""
    x = x + F.linear(mixed, out)
    gate, up = F.linear(rms_norm(x, norm2).to(out.dtype), gate_up).chunk(2, dim=-1)
    return x + F.linear(F.silu(gate) * up, down)


def between(
    x: Tensor, mixed: Tensor, out: Tensor, norm2: Tensor, gate_up: Tensor, down: Tensor,
    norm1: Tensor, qkv: Tensor, bias: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A block's output, and the next block's queries, keys and values."""
    x = finish(x, mixed, out, norm2, gate_up, down)
    return x, enter(x, norm1, qkv, bias)


def leave(
    x: Tensor, mixed: Tensor, at: Tensor, targets: Tensor, out: Tensor, norm2: Tensor, gate_up: Tensor, down: Tensor,
    norm: Tensor, unembedding: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Summed loss and number of targets (M,), from the last block's input and attention at the tokens `at` (M,).

    Tokens that are taken twice have a target once at most, so that their gradient does not depend on the order of sums.
    """
    x = finish(x[at], mixed.float()[at].to(mixed.dtype), out, norm2, gate_up, down)
    logits = F.linear(rms_norm(x, norm).to(unembedding.dtype), unembedding)
    return completion_loss(logits.float()[None], targets[None])


class Lookup(torch.autograd.Function):
    """Rows `ids` (N,) of an embedding. Its gradient is a product, where PyTorch's would add in no fixed order."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.n, ctx.dtype = len(weight), dtype
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (ids,), (gradient,) = ctx.saved_tensors, gradients
        if ctx.n > FEW:
            return torch.ops.aten.embedding_dense_backward(gradient, ids, ctx.n, -1, False), None, None
        named = (torch.arange(ctx.n, device=ids.device)[:, None] == ids).to(ctx.dtype)
        return (named @ gradient.to(ctx.dtype)).float(), None, None


class FlatLoss:
    """The loss of a model and its gradients; matrices are taken in `dtype`, everything else in float32.

    `compiled`: whether torch.compile makes what is between two attentions.
    """

    def __init__(self, model: Transformer, dtype: torch.dtype, attention: Attention, compiled: bool) -> None:
        self.model, self.dtype, self.attention = model, dtype, attention
        self.parameters = list(model.parameters())
        self.copied = [dtype != torch.float32 and p.ndim == 2 for p in self.parameters]
        self.copied[0] = False  # the embedding is read in float32
        assert self.parameters[0] is model.embedding.weight
        self.leaves = [
            torch.empty_like(p, dtype=dtype, requires_grad=True) if copied else p
            for p, copied in zip(self.parameters, self.copied, strict=True)
        ]
        parts: list[Callable[..., Any]] = [enter, between, leave]
        if compiled:
            parts = [torch.compile(part, fullgraph=True, dynamic=False) for part in parts]
        self.enter, self.between, self.leave = parts

    def loss(self, prefix: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Summed loss of a batch without row weights, and the number of its targets; `leaves` have its gradients."""
        with torch.no_grad():
            copies = [leaf for leaf, copied in zip(self.leaves, self.copied, strict=True) if copied]
            if copies:
                masters: list[Tensor] = [p for p, copied in zip(self.parameters, self.copied, strict=True) if copied]
                copy_each(copies, masters)
        leaf = {id(p): own for p, own in zip(self.parameters, self.leaves, strict=True)}

        def w(*parameters: Tensor) -> list[Tensor]:
            return [leaf[id(p)] for p in parameters]

        model, n_shared, (n_rows, length) = self.model, len(prefix), batch.tokens.shape
        cos, sin = model.cos.squeeze(1), model.sin.squeeze(1)
        blocks = model.layers
        into = [w(b.norm1.weight, b.qkv.weight, b.qkv.bias) for b in blocks]
        rest = [w(b.out.weight, b.norm2.weight, b.gate_up.weight, b.down.weight) for b in blocks]
        ids = torch.cat([prefix, batch.tokens.flatten()])
        x = Lookup.apply(*w(model.embedding.weight), ids, self.dtype)
        qkv = self.enter(x, *into[0])
        for i in range(len(blocks) - 1):
            mixed = self.attention(qkv, cos, sin, n_shared, model.n_heads, n_rows)
            x, qkv = self.between(x, mixed, *rest[i], *into[i + 1])
        mixed = self.attention(qkv, cos, sin, n_shared, model.n_heads, n_rows)
        first = torch.arange(n_rows, device=ids.device)[:, None] * length + n_shared
        at = (first + batch.positions).flatten()
        last = w(model.norm.weight, model.unembedding.weight)
        return self.leave(x, mixed, at, batch.targets.flatten(), *rest[-1], *last)

    def gradients(self, loss: Tensor, into: list[Tensor]) -> None:
        """Write the gradients of a loss that `loss` gave into float32 tensors of the parameters' shapes, in order."""
        copy_each(into, torch.autograd.grad(loss, self.leaves))
