"""Rows that go on where others end: keys and values are kept, and each further token costs one position."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlantis.model.transformer import Transformer, attend

Cache = list[tuple[Tensor, Tensor]]
"""Rotated keys, and values, of whole rows, each (B, T, H, K): one pair per block, from the first."""


def extend(
    model: Transformer,
    tokens: Int[Tensor, "B T"],
    layers: Sequence[int],
    cache: Cache | None = None,
    rows: Int[Tensor, " B"] | None = None,
) -> tuple[list[Float[Tensor, "B T D"]], Cache]:
    """`hidden_states` of rows that go on where the rows of `cache` end, and their own cache.

    Row b continues row `rows[b]` of the cache; without `rows`, row b.
    """
    x = model.embedding(tokens)
    outputs, extended = go_on(model, x, range(max(layers) + 1), cache, rows)
    return [{-1: x, **outputs}[i] for i in layers], extended


def go_on(
    model: Transformer,
    x: Float[Tensor, "B T D"],
    blocks: range,
    cache: Cache | None = None,
    rows: Int[Tensor, " B"] | None = None,
) -> tuple[dict[int, Float[Tensor, "B T D"]], Cache]:
    """The outputs of consecutive blocks for the states that enter the first of them, and the rows' cache.

    `cache` has an entry for each of these blocks, and rows as in `extend`.
    """
    n, length = cache[0][0].shape[1] if cache else 0, x.shape[1]
    cos, sin = model.cos[n : n + length], model.sin[n : n + length]
    mask = model.causal[n : n + length, : n + length]
    outputs, extended = {}, []
    for entry, i in enumerate(blocks):
        block = model.layers[i]
        q, k, v = block.heads(x, cos, sin)
        if cache:
            before = cache[entry] if rows is None else (cache[entry][0][rows], cache[entry][1][rows])
            k, v = torch.cat([before[0], k], dim=1), torch.cat([before[1], v], dim=1)
        extended.append((k, v))
        outputs[i] = x = block.finish(x, attend(q, k, v, mask))
    return outputs, extended
