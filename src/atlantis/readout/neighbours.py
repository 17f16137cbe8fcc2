"""Which cities are nearest to each other in the hidden states, whatever any probe makes of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

NEIGHBOURS = 5
"""Of each city."""

MOST_CITIES = 12_000
"""Of a larger world there is no table: all pairs of its cities would take minutes and gigabytes."""

ROWS = 1024
"""Cities whose distances to all others are in memory at once."""

COLUMNS = ("step", "id", "rank", "neighbour")


def nearest(features: Float[np.ndarray, "n p"], k: int = NEIGHBOURS) -> Int[np.ndarray, "n k"]:
    """For each row the numbers of the k other rows with the least Euclidean distance to it, the nearest first.

    Of fewer than k + 1 rows there are as many as there are.
    """
    n = len(features)
    k = min(k, n - 1)
    found = np.empty((n, max(k, 0)), np.int64)
    x = (features - features.mean(0)).astype(np.float32)
    squares = np.einsum("ij,ij->i", x, x)
    for start in range(0, n if k > 0 else 0, ROWS):
        rows = np.arange(start, min(n, start + ROWS))
        away = squares - 2 * (x[rows] @ x.T)  # squared distances, but for a number that a row's all share
        away[rows - start, rows] = np.inf
        closest = np.argpartition(away, k - 1, axis=1)[:, :k]
        order = np.take_along_axis(away, closest, axis=1).argsort(axis=1, kind="stable")
        found[rows] = np.take_along_axis(closest, order, axis=1)
    return found


def neighbour_table(step: int, features: Float[np.ndarray, "n p"]) -> pd.DataFrame:
    """step, id, rank (from 1), neighbour; `features` of all cities by id. No rows for more than `MOST_CITIES`."""
    if len(features) > MOST_CITIES:
        return no_neighbours()
    found = nearest(features)
    n, k = found.shape
    rows = (np.full(n * k, step), np.repeat(np.arange(n), k), np.tile(np.arange(1, k + 1), n), found.ravel())
    return pd.DataFrame(dict(zip(COLUMNS, rows, strict=True)))


def no_neighbours() -> pd.DataFrame:
    """The table without rows."""
    return pd.DataFrame({name: np.empty(0, np.int64) for name in COLUMNS})
