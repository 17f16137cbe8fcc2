"""The training loss on a GPU, where each kernel that is started costs microseconds and the model is small.

The shared tokens and those of all rows are one matrix of N = P + B * T tokens, so that a block takes as many kernels
for both as it would for one. Attention is `attention.SharedAttention`; what lies between two attentions is a function
compiled once for all blocks. The last block goes on at the completion positions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from atlantis.data.rows import Batch
from atlantis.model.transformer import RMS_EPS, Transformer, completion_loss

Attention = Callable[[Tensor, Tensor, Tensor, int, int, int], Tensor]
"""`SharedAttention.apply`, or what computes the same."""

copy_each = torch._foreach_copy_  # pyright: ignore[reportPrivateImportUsage]
"""Copies tensors to tensors in one kernel, if all of the first are of one type, and all of the second."""

FEW = 256
"""Input symbols up to which the embedding's gradient is a product with a 0/1 matrix."""


def normalised(x: Float[Tensor, "N D"], dtype: torch.dtype) -> Float[Tensor, "N D"]:
    """RMSNorm without its weight: that is in the matrix which comes next (`FlatLoss._prepare`)."""
    return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + RMS_EPS)).to(dtype)


def enter(x: Float[Tensor, "N D"], qkv: Float[Tensor, "3*D D"], bias: Float[Tensor, " 3*D"]) -> Float[Tensor, "N 3*D"]:
    """Queries, keys and values of the first block."""
    return F.linear(normalised(x, qkv.dtype), qkv, bias.to(qkv.dtype))


def finish(
    x: Float[Tensor, "N D"],
    mixed: Float[Tensor, "N D"],
    out: Float[Tensor, "D D"],
    gate_up: Float[Tensor, "G D"],
    down: Float[Tensor, "D G//2"],
) -> Float[Tensor, "N D"]:
    """A block's output from its input x and its attention's output."""
    x = x + F.linear(mixed, out)
    gate, up = F.linear(normalised(x, out.dtype), gate_up).chunk(2, dim=-1)
    return x + F.linear(F.silu(gate) * up, down)


def between(
    x: Float[Tensor, "N D"],
    mixed: Float[Tensor, "N D"],
    out: Float[Tensor, "D D"],
    gate_up: Float[Tensor, "G D"],
    down: Float[Tensor, "D G//2"],
    qkv: Float[Tensor, "3*D D"],
    bias: Float[Tensor, " 3*D"],
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N 3*D"]]:
    """A block's output, and the next block's queries, keys and values."""
    x = finish(x, mixed, out, gate_up, down)
    return x, enter(x, qkv, bias)


def leave(
    x: Float[Tensor, "N D"],
    mixed: Float[Tensor, "N D"],
    at: Int[Tensor, " M"],
    targets: Int[Tensor, " M"],
    out: Float[Tensor, "D D"],
    gate_up: Float[Tensor, "G D"],
    down: Float[Tensor, "D G//2"],
    unembedding: Float[Tensor, "O D"],
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Summed loss and number of targets, from the last block's input and attention at the tokens `at`.

    Tokens that are taken twice have a target once at most, so that their gradient does not depend on the order of sums.
    """
    x = finish(x[at], mixed.float()[at].to(mixed.dtype), out, gate_up, down)
    logits = F.linear(normalised(x, unembedding.dtype), unembedding)
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
        # A 0/1 matrix: row i marks the tokens that read symbol i.
        named = (torch.arange(ctx.n, device=ids.device)[:, None] == ids).to(ctx.dtype)
        return (named @ gradient.to(ctx.dtype)).float(), None, None


class Stacked:
    """Parameters of one kind, of all blocks: one behind the other in memory, and so are their gradients.

    weight (L, O, I), L = 1 for what there is once; norm (L, I): the weights of the norms before them, if any;
    d_weight, d_norm: their gradients; leaves: the products of both, from which the loss is computed.
    """

    def __init__(self, weights: Sequence[Tensor], norms: Sequence[Tensor], dtype: torch.dtype) -> None:
        self.weight, self.d_weight = _together(weights)
        self.norm, self.d_norm = _together(norms) if norms else (None, None)
        self.product = torch.empty_like(self.weight, dtype=dtype)
        self.d_product = torch.empty_like(self.product) if norms else self.d_weight
        self.leaves = [leaf.requires_grad_() for leaf in self.product]


def _together(parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Move parameters of one shape into one tensor, and their gradients into another."""
    stacked = torch.stack([p.detach() for p in parameters])
    gradients = torch.zeros_like(stacked)
    for parameter, row, gradient in zip(parameters, stacked, gradients, strict=True):
        parameter.data, parameter.grad = row, gradient
    return stacked, gradients


class FlatLoss:
    """The loss of a model and its gradients; matrices are taken in `dtype`, everything else in float32.

    A norm's weight is multiplied into the matrix after it: its gradient then takes a small matrix, and not a sum over
    all tokens. The model's parameters are moved in memory and get a `grad` each, which stay where they are.
    `compiled`: whether torch.compile makes what is between two attentions.
    """

    def __init__(self, model: Transformer, dtype: torch.dtype, attention: Attention, compiled: bool) -> None:
        self.model, self.dtype, self.attention = model, dtype, attention
        blocks = model.layers
        self.qkv = Stacked([b.qkv.weight for b in blocks], [b.norm1.weight for b in blocks], dtype)
        self.out = Stacked([b.out.weight for b in blocks], [], dtype)
        self.gate_up = Stacked([b.gate_up.weight for b in blocks], [b.norm2.weight for b in blocks], dtype)
        self.down = Stacked([b.down.weight for b in blocks], [], dtype)
        self.unembedding = Stacked([model.unembedding.weight], [model.norm.weight], dtype)
        self.bias = Stacked([b.qkv.bias for b in blocks], [], torch.float32)
        self.embedding = Stacked([model.embedding.weight], [], torch.float32)
        self.scaled = [self.qkv, self.gate_up, self.unembedding]
        self.others = [self.out, self.down, self.bias, self.embedding]
        self.gradients = [kind.d_weight for kind in self.scaled + self.others]
        self.gradients += [kind.d_norm for kind in self.scaled if kind.d_norm is not None]
        parts: list[Callable[..., Any]] = [enter, between, leave]
        if compiled:
            parts = [torch.compile(part, fullgraph=True, dynamic=False) for part in parts]
        self.enter, self.between, self.leave = parts

    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
        """Summed loss of a batch without row weights, and the number of its targets."""
        self._prepare()
        model, n_shared, (n_rows, length) = self.model, len(batch.prefix), batch.tokens.shape
        cos, sin = model.cos.squeeze(1), model.sin.squeeze(1)
        into = list(zip(self.qkv.leaves, self.bias.leaves, strict=True))
        rest = list(zip(self.out.leaves, self.gate_up.leaves, self.down.leaves, strict=True))
        ids = torch.cat([batch.prefix, batch.tokens.flatten()])
        x = Lookup.apply(self.embedding.leaves[0], ids, self.dtype)
        qkv = self.enter(x, *into[0])
        for i in range(len(into) - 1):
            mixed = self.attention(qkv, cos, sin, n_shared, model.n_heads, n_rows)
            x, qkv = self.between(x, mixed, *rest[i], *into[i + 1])
        mixed = self.attention(qkv, cos, sin, n_shared, model.n_heads, n_rows)
        first = torch.arange(n_rows, device=ids.device)[:, None] * length + n_shared
        at = (first + batch.positions).flatten()
        return self.leave(x, mixed, at, batch.targets.flatten(), *rest[-1], self.unembedding.leaves[0])

    @torch.no_grad()
    def _prepare(self) -> None:
        for kind in self.scaled:
            assert kind.norm is not None
            torch.mul(kind.weight, kind.norm[:, None], out=kind.product)
        for kind in self.others:
            kind.product.copy_(kind.weight)

    def backward(self, loss: Float[Tensor, ""]) -> None:
        """Write the gradients of a loss that `loss` gave into those of the parameters."""
        kinds = self.scaled + self.others
        gradients = iter(torch.autograd.grad(loss, [leaf for kind in kinds for leaf in kind.leaves]))
        for kind in kinds:
            copy_each(list(kind.d_product), [next(gradients) for _ in kind.leaves])
        with torch.no_grad():
            for kind in self.scaled:
                assert kind.norm is not None
                torch.mul(kind.d_product, kind.norm[:, None], out=kind.d_weight)
                torch.sum(kind.d_product * kind.weight, 1, out=kind.d_norm)
