"""Ridge regression with its penalty chosen by leave-one-out error, from one eigendecomposition.

scikit-learn's RidgeCV does the same (a test compares the two) through a singular value decomposition of all rows,
which at 4,000 x 768 takes several times as long; a probe of thirty checkpoints notices. For the same reason the sums
over rows (`Sums`) can be handed in: those of a fold's fit are those of all rows less those of the rows left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num
from scipy.linalg import cho_factor, cho_solve

ALPHAS = tuple(float(a) for a in np.logspace(-2, 5, 15))


@dataclass(frozen=True)
class Sums:
    """Sums over n rows of x (p,) and y (t,) and of their products; they add up over sets of rows that share none."""

    n: int
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray

    @classmethod
    def of(cls, x: Num[np.ndarray, "n p"], y: Num[np.ndarray, "n t"]) -> Sums:
        """The sums over the rows of x and y, in float64."""
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        return cls(len(x), x.sum(0), y.sum(0), x.T @ x, x.T @ y)

    def centred(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Means of x and y, and the sums of products of the deviations from them: (p,), (t,), (p, p), (p, t)."""
        x, y = self.x / self.n, self.y / self.n
        return x, y, self.xx - np.outer(self.x, x), self.xy - np.outer(self.x, y)

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.n + other.n, self.x + other.x, self.y + other.y, self.xx + other.xx, self.xy + other.xy)

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.n - other.n, self.x - other.x, self.y - other.y, self.xx - other.xx, self.xy - other.xy)


class Ridge(NamedTuple):
    """A fitted ridge regression: x (n, p) -> x @ coefficients (p, t) + intercept (t,)."""

    coefficients: np.ndarray
    intercept: np.ndarray
    alpha: float

    def predict(self, x: Num[np.ndarray, "n p"]) -> Float[np.ndarray, "n t"]:
        return x @ self.coefficients + self.intercept


def fit_ridge(
    x: Num[np.ndarray, "n p"], y: Num[np.ndarray, "n t"], alphas: Sequence[float] = ALPHAS, sums: Sums | None = None
) -> Ridge:
    """Ridge regression of y on x with an intercept; the penalty is the best of `alphas`.

    Best is the least leave-one-out squared error, which for a linear smoother is residual / (1 - leverage), summed
    over rows and targets (Golub, Heath and Wahba, 1979; Hastie et al., 2009, eq. 7.52). One penalty for all targets.
    Penalties are on the scale of the features as they are. `sums` is `Sums.of(x, y)`, where that is known already.
    Raises ValueError for fewer than two rows.
    """
    n, p = x.shape
    if len(alphas) == 1 or n < 2:  # nothing to choose, or nothing to choose by
        return solve_ridge(sums or Sums.of(x, y), alphas[0])
    if n <= p:
        return _fit_few(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), alphas)
    x_mean, y_mean, xx, xy = (sums or Sums.of(x, y)).centred()
    values, vectors = np.linalg.eigh(xx)
    values, target = values.clip(min=0.0), vectors.T @ xy
    scores = x @ vectors - x_mean @ vectors  # (n, p)
    best = _best(alphas, values, target, scores, scores**2, y - y_mean)
    coefficients = vectors @ (target / (values + best)[:, None])
    return Ridge(coefficients, y_mean - x_mean @ coefficients, best)


def solve_ridge(sums: Sums, alpha: float) -> Ridge:
    """Ridge regression with penalty `alpha` from the sums over its rows. Raises ValueError for fewer than two.

    A penalty that is lost in rounding errors leaves least squares, and of its solutions the smallest.
    """
    if sums.n < 2:
        raise ValueError(f"a ridge regression needs at least two rows, not {sums.n}")
    x_mean, y_mean, xx, xy = sums.centred()
    penalised = xx + alpha * np.eye(len(xx))
    if alpha > len(xx) * np.finfo(np.float64).eps * np.trace(sums.xx):
        coefficients = cho_solve(cho_factor(penalised), xy)
    else:
        coefficients = np.linalg.lstsq(penalised, xy)[0]
    return Ridge(coefficients, y_mean - x_mean @ coefficients, alpha)


def _fit_few(x: np.ndarray, y: np.ndarray, alphas: Sequence[float]) -> Ridge:
    """`fit_ridge` where there are no more rows than features: through the products of rows."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    values, vectors = np.linalg.eigh(x @ x.T)
    values, target = values.clip(min=0.0), vectors.T @ y
    scores = vectors * values
    best = _best(alphas, values, target, scores, scores * vectors, y)
    coefficients = x.T @ (vectors @ (target / (values + best)[:, None]))
    return Ridge(coefficients, y_mean - x_mean @ coefficients, best)


def _best(
    alphas: Sequence[float],
    values: np.ndarray,
    target: np.ndarray,
    scores: np.ndarray,
    squares: np.ndarray,
    y: np.ndarray,
) -> float:
    """The penalty with the least sum of squared leave-one-out residuals.

    With a penalty a, the fit of y (n, t) is scores (n, k) @ target (k, t) / (values (k,) + a), and the leverage is
    squares (n, k) @ 1 / (values + a), and 1 / n for the intercept.
    """
    shrink = 1.0 / (values[:, None] + np.asarray(alphas))  # (k, a)
    leverage = squares @ shrink + 1.0 / len(y)
    fitted = scores @ (target[:, :, None] * shrink[:, None, :]).reshape(len(target), -1)  # (n, t * a)
    residual = y[:, :, None] - fitted.reshape(*y.shape, -1)
    left_out = residual / (1.0 - leverage).clip(min=1e-12)[:, None, :]
    return alphas[int(np.argmin((left_out**2).sum((0, 1))))]
