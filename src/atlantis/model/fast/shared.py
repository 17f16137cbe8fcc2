"""Rows that begin alike, in PyTorch's own operations: what `torch.compile` and other devices than the CPU can use.

All rows of a batch begin with the same tokens (`<bos>dist(c_`). Their states are computed once, as one row of their
own, and their keys and values are shared by all rows; the gradient flows through them, so that nothing is approximated.
The last block goes on at the positions that predict the answer, and gives keys and values at the others.

Shapes as in `transformer.py`; P tokens of the prefix, T of a row after it, C positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from atlantis.data.rows import Batch
from atlantis.model.transformer import Block, Transformer, attend, rotate


def attend_shared(
    q: Float[Tensor, "B C H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H K"],
    pk: Float[Tensor, "P H K"],
    pv: Float[Tensor, "P H K"],
    mask: Bool[Tensor, "*mask C T"],
) -> Float[Tensor, "B C H K"]:
    """As `attend`, over the prefix's keys and values, which every query sees, and then over the rows' own."""
    n_rows, n = q.shape[0], pk.shape[0]
    k = torch.cat([pk.expand(n_rows, -1, -1, -1), k], dim=1)
    v = torch.cat([pv.expand(n_rows, -1, -1, -1), v], dim=1)
    return attend(q, k, v, F.pad(mask, (n, 0), value=True))


def next_states(
    block: Block,
    p: Float[Tensor, "P D"],
    x: Float[Tensor, "B T D"],
    cos: Float[Tensor, "N 1 K"],
    sin: Float[Tensor, "N 1 K"],
    mask: Bool[Tensor, "N N"],
) -> tuple[Float[Tensor, "P D"], Float[Tensor, "B T D"]]:
    """What a block makes of the prefix's states and of the rows'; N = P + T."""
    n, length = p.shape[0], x.shape[1]
    pq, pk, pv = block.heads(p, cos[:n], sin[:n])
    q, k, v = block.heads(x, cos[n:], sin[n:])
    p = block.finish(p, attend(pq[None], pk[None], pv[None], mask[:n, :n])[0])
    return p, block.finish(x, attend_shared(q, k, v, pk, pv, mask[:length, :length]))


def last_states(
    block: Block,
    p: Float[Tensor, "P D"],
    x: Float[Tensor, "B T D"],
    cos: Float[Tensor, "N 1 K"],
    sin: Float[Tensor, "N 1 K"],
    positions: Int[Tensor, "B C"],
) -> Float[Tensor, "B C D"]:
    """What a block makes of the rows' states at some positions only.

    Rows are picked by a product with a 0/1 matrix: its gradient is a product too, where that of indexing would add in
    an order that changes from run to run.
    """
    n, length, width = p.shape[0], x.shape[1], x.shape[2]
    column = torch.arange(length, device=x.device)
    picked = torch.bmm((column == positions[..., None]).to(x.dtype), x)
    weight, bias = block.qkv.weight, block.qkv.bias
    q = F.linear(block.norm1(picked), weight[:width], bias[:width]).unflatten(-1, (block.n_heads, -1))
    q = rotate(q, cos[n + positions], sin[n + positions])
    k, v = _keys_and_values(block, x, cos[n:], sin[n:])
    pk, pv = _keys_and_values(block, p, cos[:n], sin[:n])
    return block.finish(picked, attend_shared(q, k, v, pk, pv, (column <= positions[..., None])[:, None]))


def _keys_and_values(
    block: Block, x: Float[Tensor, "*rows T D"], cos: Float[Tensor, "T 1 K"], sin: Float[Tensor, "T 1 K"]
) -> tuple[Float[Tensor, "*rows T H K"], Float[Tensor, "*rows T H K"]]:
    width = x.shape[-1]
    kv = F.linear(block.norm1(x), block.qkv.weight[width:], block.qkv.bias[width:])
    k, v = kv.unflatten(-1, (2, block.n_heads, -1)).unbind(-3)
    return rotate(k, cos, sin), v


def shared_logits(model: Transformer, batch: Batch, *compiled: Callable[..., Any]) -> Float[Tensor, "B C O"]:
    """`answer_logits` with the prefix computed once; by `next_states` and `last_states`, or what they compile to."""
    through, last = compiled or (next_states, last_states)
    p, x = model.embedding(batch.prefix), model.embedding(batch.tokens)
    p, x = run_blocks(model, p, x, range(len(model.blocks) - 1), through)
    return last_logits(model, p, x, batch.positions, last)


def run_blocks(
    model: Transformer,
    p: Float[Tensor, "P D"],
    x: Float[Tensor, "B T D"],
    blocks: range,
    next_states: Callable[..., Any] = next_states,
) -> tuple[Float[Tensor, "P D"], Float[Tensor, "B T D"]]:
    """The prefix's states and the rows' after some of the blocks."""
    length = p.shape[0] + x.shape[1]
    cos, sin, mask = model.cos[:length], model.sin[:length], model.causal[:length, :length]
    for i in blocks:
        p, x = next_states(model.layers[i], p, x, cos, sin, mask)
    return p, x


def last_logits(
    model: Transformer,
    p: Float[Tensor, "P D"],
    x: Float[Tensor, "B T D"],
    positions: Int[Tensor, "B C"],
    last_states: Callable[..., Any] = last_states,
) -> Float[Tensor, "B C O"]:
    """Logits at some positions, from the last block's inputs; it attends to all of them."""
    length = p.shape[0] + x.shape[1]
    return model.logits(last_states(model.layers[-1], p, x, model.cos[:length], model.sin[:length], positions))
