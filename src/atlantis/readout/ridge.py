"""Ridge regression with its penalty chosen by leave-one-out error, from one eigendecomposition.

scikit-learn's RidgeCV does the same (a test compares the two) through a singular value decomposition of all rows,
which at 4,000 x 768 takes several times as long; a probe of thirty checkpoints notices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh, solve

ALPHAS = tuple(float(a) for a in np.logspace(-2, 5, 15))


class Ridge(NamedTuple):
    """A fitted ridge regression: x (n, p) -> x @ coefficients (p, t) + intercept (t,)."""

    coefficients: np.ndarray
    intercept: np.ndarray
    alpha: float

    def predict(self, x: np.ndarray) -> np.ndarray:
        return x @ self.coefficients + self.intercept


def fit_ridge(x: np.ndarray, y: np.ndarray, alphas: Sequence[float] = ALPHAS) -> Ridge:
    """Ridge regression of y (n, t) on x (n, p) with an intercept; the penalty is the best of `alphas`.

    Best is the least leave-one-out squared error, which for a linear smoother is residual / (1 - leverage), summed
    over rows and targets (Golub, Heath and Wahba, 1979; Hastie et al., 2009, eq. 7.52). One penalty for all targets.
    Penalties are on the scale of the features as they are. Raises ValueError for fewer than two rows.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    n, p = x.shape
    if n < 2:
        raise ValueError(f"a ridge regression needs at least two rows, not {n}")
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    if n > p and len(alphas) == 1 and alphas[0] > 0:  # nothing to choose: one solve
        best = alphas[0]
        coefficients = solve(x.T @ x + best * np.eye(p), x.T @ y, assume_a="pos")
    elif n > p:
        values, vectors = eigh(x.T @ x, driver="evd")
        values = values.clip(min=0.0)
        scores, target = x @ vectors, vectors.T @ (x.T @ y)  # (n, p), (p, t)
        best = min(alphas, key=lambda a: _left_out_error(scores, target / (values + a)[:, None], 1 / (values + a), y))
        coefficients = vectors @ (target / (values + best)[:, None])
    else:
        values, vectors = eigh(x @ x.T, driver="evd")
        values = values.clip(min=0.0)
        target = vectors.T @ y
        scores = vectors * values
        best = min(
            alphas,
            key=lambda a: _left_out_error(scores, target / (values + a)[:, None], 1 / (values + a), y, vectors),
        )
        coefficients = x.T @ (vectors @ (target / (values + best)[:, None]))
    return Ridge(coefficients, y_mean - x_mean @ coefficients, float(best))


def _left_out_error(
    scores: np.ndarray, weights: np.ndarray, shrink: np.ndarray, y: np.ndarray, vectors: np.ndarray | None = None
) -> float:
    """Sum of squared leave-one-out residuals; the leverage includes the intercept's 1/n."""
    other = scores if vectors is None else vectors
    leverage = np.einsum("np,p,np->n", scores, shrink, other) + 1.0 / len(y)
    residual = (y - scores @ weights) / (1.0 - leverage).clip(min=1e-12)[:, None]
    return float((residual**2).sum())
