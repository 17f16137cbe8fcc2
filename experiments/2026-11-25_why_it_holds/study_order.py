"""`atlantis`, but with the smaller id first in every pair, as the study's data had it, in place of a coin.

    python experiments/2026-11-25_why_it_holds/study_order.py study --seeds 43 --only cross --base shipped \\
        --output-root outputs/study_order training.precision=bf16

The pairs, their split and all seeds stay as they are; only the two cities of a pair may change places. Give it an
output root of its own: a record does not know of the order.
"""

from __future__ import annotations

import sys

import numpy as np

from atlantis import cli
from atlantis.data.draw import Pool
from atlantis.tasks.form import Ints

fair = Pool._ordered


def smaller_first(self: Pool, lower: Ints, upper: Ints) -> Ints:
    """The pairs (n, 2) as `atlantis` draws them, each with its smaller id first."""
    return np.sort(fair(self, lower, upper), axis=1)


if __name__ == "__main__":
    Pool._ordered = smaller_first
    sys.exit(cli.main())
