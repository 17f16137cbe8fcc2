"""Old data, and old prompts with a model's own answers."""

from __future__ import annotations

import numpy as np

from atlantis.data.pairs import Pairs
from atlantis.strategies.common.interface import Context


def old_buffer(context: Context, size: int | None, seed: int) -> Pairs:
    """`size` of the old pairs at random (None, or more than there are: all), in random order."""
    pairs = context.old_pairs
    chosen = np.random.Generator(np.random.PCG64([seed, 0])).permutation(len(pairs))[:size]
    return pairs[chosen]
