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
    n, length = cache[0][0].shape[1] if cache else 0, tokens.shape[1]
    cos, sin = model.cos[n : n + length], model.sin[n : n + length]
    mask = model.causal[n : n + length, : n + length]
    x = model.embedding(tokens)
    outputs, extended = {-1: x}, []
    for i, block in enumerate(model.layers[: max(layers) + 1]):
        q, k, v = block.heads(x, cos, sin)
        if cache:
            before = cache[i] if rows is None else (cache[i][0][rows], cache[i][1][rows])
            k, v = torch.cat([before[0], k], dim=1), torch.cat([before[1], v], dim=1)
        extended.append((k, v))
        outputs[i] = x = block.finish(x, attend(q, k, v, mask))
    return [outputs[i] for i in layers], extended
