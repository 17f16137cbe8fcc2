"""`atlantis`, but with the smaller id first in every pair, as the study's data had it, in place of a coin.

    python experiments/2026-11-25_why_it_holds/study_order.py study --seeds 43 --only cross --base shipped \\
        --output-root outputs/study_order training.precision=bf16

The pairs, their split and all seeds stay as they are; only the two cities of a pair may change places. Give it an
output root of its own: a record does not know of the order.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from atlantis import cli
from atlantis.data import draw as pairs

fair = pairs._ordered


def smaller_first(*arguments: object) -> pairs.Pairs:
    """The pairs as `atlantis` draws them, each with its smaller id first."""
    drawn = fair(*arguments)  # type: ignore[arg-type]
    first, second = np.minimum(drawn.first, drawn.second), np.maximum(drawn.first, drawn.second)
    return replace(drawn, first=first, second=second)


if __name__ == "__main__":
    pairs._ordered = smaller_first
    sys.exit(cli.main())
