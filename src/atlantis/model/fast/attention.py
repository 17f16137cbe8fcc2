"""Attention on a GPU over rows that share their first tokens: one kernel forward, one backward, written in Triton.

The study's sequences are short (26 tokens): the keys of a row and a head fit into one tile, so that one program has the
whole of its attention in registers. General kernels take longer to start than this takes to compute, want the shared
keys copied to every row, and the rotary embedding computed before. The gradients of the shared keys and values are
written per row and then added up in a fixed order, so that a run can be repeated to the bit.

Shapes: B rows of T tokens that continue P shared ones; N = P + B * T tokens in one matrix, the shared ones first;
H heads of width K, D = H * K.
"""
# pyright: reportMissingImports=false, reportIndexIssue=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

LONGEST = 128
"""Tokens of a row, the shared ones included, that fit into a tile."""


@triton.jit
def _places(row, n_rows, n_shared, length, n_queries: tl.constexpr, n_keys: tl.constexpr):
    """A row's tokens as queries and as keys, and which of them exist. Row `n_rows` is the shared tokens themselves."""
    own = row < n_rows
    t = tl.arange(0, n_queries)
    position = tl.where(own, n_shared + t, t)
    query = position + tl.where(own, row * length, 0)
    is_query = t < tl.where(own, length, n_shared)
    j = tl.arange(0, n_keys)
    key = tl.where(j < n_shared, j, j + row * length)
    is_key = j < n_shared + tl.where(own, length, 0)
    return position, query, is_query, j, key, is_key


@triton.jit
def _rotated(start, token, is_token, stride, cos, sin, half: tl.constexpr):
    """Both halves of a head's rotated vectors of some tokens, which begin at `start`."""
    at = start + token[:, None] * stride + tl.arange(0, half)[None, :]
    left = tl.load(at, mask=is_token[:, None], other=0.0)
    right = tl.load(at + half, mask=is_token[:, None], other=0.0)
    a, b = left.to(tl.float32), right.to(tl.float32)
    return (a * cos - b * sin).to(left.dtype), (b * cos + a * sin).to(left.dtype)


@triton.jit
def _table(table, position, half: tl.constexpr):
    """The rotary embedding's cos or sin at some positions; both halves of a row of the table are the same."""
    return tl.load(table + position[:, None] * (2 * half) + tl.arange(0, half)[None, :])


@triton.jit
def _weights(q1, q2, k1, k2, position, j, is_key, scale, precision: tl.constexpr):
    """Softmax over the keys that a query may see: float32 (queries, keys)."""
    scores = tl.dot(q1, tl.trans(k1), input_precision=precision) + tl.dot(q2, tl.trans(k2), input_precision=precision)
    seen = (j[None, :] <= position[:, None]) & is_key[None, :]
    scores = tl.where(seen, scores * scale, -float("inf"))
    weights = tl.exp(scores - tl.max(scores, axis=1)[:, None])
    return weights / tl.sum(weights, axis=1)[:, None]


@triton.jit
def _forward(
    qkv, cos, sin, mixed, n_rows, n_shared, length, last, scale, width,
    half: tl.constexpr, n_queries: tl.constexpr, n_keys: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0), tl.program_id(1)
    position, query, is_query, j, key, is_key = _places(row, n_rows, n_shared, length, n_queries, n_keys)
    place = tl.minimum(position, last)
    q_cos, q_sin = _table(cos, place, half), _table(sin, place, half)
    k_cos, k_sin = _table(cos, tl.minimum(j, last), half), _table(sin, tl.minimum(j, last), half)
    start, column = head * 2 * half, tl.arange(0, 2 * half)[None, :]
    q1, q2 = _rotated(qkv + start, query, is_query, 3 * width, q_cos, q_sin, half)
    k1, k2 = _rotated(qkv + width + start, key, is_key, 3 * width, k_cos, k_sin, half)
    v = tl.load(qkv + 2 * width + start + key[:, None] * 3 * width + column, mask=is_key[:, None], other=0.0)
    weights = _weights(q1, q2, k1, k2, position, j, is_key, scale, precision)
    out = tl.dot(weights.to(v.dtype), v, input_precision=precision)
    tl.store(mixed + start + query[:, None] * width + column, out.to(v.dtype), mask=is_query[:, None])


@triton.jit
def _backward(
    qkv, cos, sin, d_mixed, d_qkv, parts, n_rows, n_shared, length, last, scale, width,
    half: tl.constexpr, n_queries: tl.constexpr, n_keys: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0), tl.program_id(1)
    position, query, is_query, j, key, is_key = _places(row, n_rows, n_shared, length, n_queries, n_keys)
    place = tl.minimum(position, last)
    q_cos, q_sin = _table(cos, place, half), _table(sin, place, half)
    k_cos, k_sin = _table(cos, tl.minimum(j, last), half), _table(sin, tl.minimum(j, last), half)
    start, column = head * 2 * half, tl.arange(0, 2 * half)[None, :]
    q1, q2 = _rotated(qkv + start, query, is_query, 3 * width, q_cos, q_sin, half)
    k1, k2 = _rotated(qkv + width + start, key, is_key, 3 * width, k_cos, k_sin, half)
    v = tl.load(qkv + 2 * width + start + key[:, None] * 3 * width + column, mask=is_key[:, None], other=0.0)
    d_out = tl.load(d_mixed + start + query[:, None] * width + column, mask=is_query[:, None], other=0.0)

    weights = _weights(q1, q2, k1, k2, position, j, is_key, scale, precision)
    d_v = tl.dot(tl.trans(weights.to(v.dtype)), d_out, input_precision=precision)
    d_weights = tl.dot(d_out, tl.trans(v), input_precision=precision)
    d_scores = weights * (d_weights - tl.sum(weights * d_weights, axis=1)[:, None]) * scale
    d_scores = tl.where(is_query[:, None], d_scores, 0.0).to(v.dtype)
    a, b = tl.dot(d_scores, k1, input_precision=precision), tl.dot(d_scores, k2, input_precision=precision)
    at = d_qkv + start + query[:, None] * 3 * width + tl.arange(0, half)[None, :]
    tl.store(at, (a * q_cos + b * q_sin).to(v.dtype), mask=is_query[:, None])
    tl.store(at + half, (b * q_cos - a * q_sin).to(v.dtype), mask=is_query[:, None])

    transposed = tl.trans(d_scores)
    a, b = tl.dot(transposed, q1, input_precision=precision), tl.dot(transposed, q2, input_precision=precision)
    d_k1, d_k2 = a * k_cos + b * k_sin, b * k_cos - a * k_sin
    own = (is_key & (j >= n_shared))[:, None]
    at = d_qkv + width + start + key[:, None] * 3 * width + tl.arange(0, half)[None, :]
    tl.store(at, d_k1.to(v.dtype), mask=own)
    tl.store(at + half, d_k2.to(v.dtype), mask=own)
    tl.store(d_qkv + 2 * width + start + key[:, None] * 3 * width + column, d_v.to(v.dtype), mask=own)
    shared = (j < n_shared)[:, None]
    at = parts + ((row * n_shared + j) * 2 * width + start)[:, None]
    tl.store(at + tl.arange(0, half)[None, :], d_k1, mask=shared)
    tl.store(at + half + tl.arange(0, half)[None, :], d_k2, mask=shared)
    tl.store(at + width + column, d_v, mask=shared)


@triton.jit
def _add_up(parts, d_qkv, width, n_parts: tl.constexpr, columns: tl.constexpr, n_at_once: tl.constexpr):
    """The sum of all rows' parts of some columns of a shared token's gradient."""
    token, column = tl.program_id(0), tl.program_id(1) * columns + tl.arange(0, columns)
    inside = column < 2 * width
    total = tl.zeros((n_at_once, columns), tl.float32)
    for start in range(0, n_parts, n_at_once):
        row = start + tl.arange(0, n_at_once)
        at = parts + (row * tl.num_programs(0) + token)[:, None] * 2 * width + column[None, :]
        total += tl.load(at, mask=(row < n_parts)[:, None] & inside[None, :], other=0.0)
    at = d_qkv + token * 3 * width + width + column
    tl.store(at, tl.sum(total, axis=0).to(d_qkv.dtype.element_ty), mask=inside)


class SharedAttention(torch.autograd.Function):
    """Causal attention of a block: (N, D) from queries, keys and values side by side, (N, 3 D), not yet rotated.

    As `shared.attend_shared` for the rows and `transformer.attend` for the shared tokens, `rotate` included; cos
    and sin are `Transformer.cos` and `.sin`. float32 and bfloat16; softmax and sums are float32. K must be a power of 2
    from 32 on, P + T at most `LONGEST`.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor, n_shared: int, n_heads: int, n_rows: int) -> Tensor:
        ctx.save_for_backward(qkv, cos, sin)
        ctx.sizes = n_shared, n_heads, n_rows
        mixed = qkv.new_empty(len(qkv), qkv.shape[1] // 3)
        _forward[(n_rows + 1, n_heads)](qkv, cos, sin, mixed, *_arguments(qkv, cos, *ctx.sizes), num_warps=WARPS)
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        qkv, cos, sin = ctx.saved_tensors
        n_shared, n_heads, n_rows = ctx.sizes
        width = qkv.shape[1] // 3
        d_mixed, d_qkv = gradients[0].contiguous(), torch.empty_like(qkv)
        parts = torch.empty(n_rows + 1, n_shared, 2 * width, device=qkv.device)
        arguments = _arguments(qkv, cos, *ctx.sizes)
        _backward[(n_rows + 1, n_heads)](qkv, cos, sin, d_mixed, d_qkv, parts, *arguments, num_warps=WARPS)
        grid = (n_shared, triton.cdiv(2 * width, COLUMNS))
        _add_up[grid](parts, d_qkv, width, n_rows + 1, COLUMNS, AT_ONCE, num_warps=4)
        return d_qkv, None, None, None, None, None


WARPS, COLUMNS, AT_ONCE = 1, 32, 64


def _arguments(qkv: Tensor, cos: Tensor, n_shared: int, n_heads: int, n_rows: int) -> tuple[Any, ...]:
    """Of both kernels: sizes, the last position of the table, the softmax's scale; then tile sizes and precision."""
    width = qkv.shape[1] // 3
    head_width, length = width // n_heads, (len(qkv) - n_shared) // n_rows
    # Triton multiplies tiles whose sides are powers of two, from 16 on.
    n_queries, n_keys = (max(16, triton.next_power_of_2(n)) for n in (max(n_shared, length), n_shared + length))
    sizes = n_rows, n_shared, length, len(cos) - 1, head_width**-0.5, width
    precision = "ieee" if qkv.dtype == torch.float32 else "tf32"  # for bfloat16 it says nothing
    return *sizes, head_width // 2, n_queries, n_keys, precision


def fits(n_shared: int, length: int, width: int, n_heads: int) -> bool:
    """Whether `SharedAttention` takes these sizes."""
    head_width = width // n_heads
    return head_width >= 32 and head_width & (head_width - 1) == 0 and n_shared + length <= LONGEST
