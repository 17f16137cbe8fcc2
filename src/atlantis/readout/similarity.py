"""How alike are the hidden states of the same cities at two checkpoints? Arrays in, numbers out.

Everything here works on clouds: n cities as rows of a centred matrix of p features. Products of features (p, p) stand
in for the products of cities (n, n) that the papers write, which at n > p is the same number for less work.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num
from scipy.linalg import eigh, subspace_angles, svd


class Cloud(NamedTuple):
    """Hidden states about their mean: x (n, p) = states - mean, and their products gram = x' x (p, p)."""

    x: np.ndarray
    mean: np.ndarray
    gram: np.ndarray

    @classmethod
    def of(cls, states: Num[np.ndarray, "n p"]) -> Cloud:
        """The cloud of states, in float64."""
        states = np.asarray(states, dtype=np.float64)
        mean = states.mean(0)
        x = states - mean
        return cls(x, mean, x.T @ x)


def linear_cka(a: Cloud, b: Cloud, cross: Num[np.ndarray, "p q"], debiased: bool = True) -> float:
    """Linear centred kernel alignment (Kornblith et al., 2019) of two clouds; `cross` = a.x' b.x.

    CKA = H(a, b) / sqrt(H(a, a) H(b, b)). It does not see rotations, shifts or one common scale. Biased, H is
    ||cross||_F^2, and independent noise reads far above 0 as soon as p is not small against n. Debiased, H is the
    unbiased estimate of Song et al. (2012), as in Nguyen et al. (2021): for centred rows, with k_i = |a_i|^2 and
    m_i = |b_i|^2, and up to a factor that cancels,

        H = ||cross||_F^2 - n / (n - 2) sum_i k_i m_i + sum_i k_i sum_i m_i / ((n - 1) (n - 2)).

    Noise then reads 0 on average (and may fall below). NaN for fewer than four rows, or a cloud without extent.
    """
    if debiased and len(a.x) < 4:
        return float("nan")
    k, m = (np.einsum("ij,ij->i", cloud.x, cloud.x) for cloud in (a, b))
    h = [_hsic(product, u, v, debiased) for product, u, v in ((cross, k, m), (a.gram, k, k), (b.gram, m, m))]
    return float(h[0] / np.sqrt(h[1] * h[2])) if h[1] > 0 and h[2] > 0 else float("nan")


def _hsic(product: np.ndarray, k: np.ndarray, m: np.ndarray, debiased: bool) -> float:
    n, squares = len(k), float((product**2).sum())
    return squares - n / (n - 2) * float(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) if debiased else squares


def procrustes_disparity(a: Cloud, b: Cloud, cross: Num[np.ndarray, "p q"]) -> float:
    """What is left of cloud b when a is moved, turned, mirrored and scaled onto it, as a share of b: 0 to 1.

    1 - (||cross||_* / (||a||_F ||b||_F))^2 (Schönemann, 1966; Gower, 1975), symmetric in a and b; the same number as
    `scipy.spatial.procrustes`. NaN for a cloud without extent.
    """
    size = np.sqrt(np.trace(a.gram) * np.trace(b.gram))
    return float(1.0 - min(1.0, np.linalg.norm(cross, "nuc") / size) ** 2) if size > 0 else float("nan")


def orthogonal_turn(cross: Num[np.ndarray, "p p"]) -> Float[np.ndarray, "p p"]:
    """The orthogonal matrix Q for which x Q is nearest to y in least squares; `cross` = x' y.

    With cross = U S V', Q = U V' (Schönemann, 1966): a rotation, perhaps with a reflection.
    """
    u, _, vt = svd(cross)
    return u @ vt


def principal_subspace(gram: Num[np.ndarray, "p p"], share: float) -> Float[np.ndarray, "p k"]:
    """An orthonormal basis of the fewest principal components that hold `share` of a cloud's energy."""
    values, vectors = eigh(gram, driver="evd")
    values, vectors = values[::-1].clip(min=0.0), vectors[:, ::-1]
    k = int(np.searchsorted(values.cumsum(), share * values.sum())) + 1
    return vectors[:, : min(k, len(values))]


def leading_subspace(gram: Num[np.ndarray, "p p"], k: int) -> Float[np.ndarray, "p {k}"]:
    """An orthonormal basis of the first k principal components."""
    return eigh(gram, subset_by_index=(len(gram) - k, len(gram) - 1))[1][:, ::-1]


def principal_angles(a: Num[np.ndarray, "p k"], b: Num[np.ndarray, "p k"]) -> Float[np.ndarray, " k"]:
    """Angles in degrees, ascending, between the subspaces with bases a and b (Björck and Golub, 1973).

    The i-th is the smallest angle that a direction of one makes with the other, once the earlier ones are taken out.
    """
    return np.degrees(subspace_angles(a, b))[::-1]


def off_subspace(x: Num[np.ndarray, "n p"], basis: Num[np.ndarray, "p k"]) -> Float[np.ndarray, " n"]:
    """Share of each row's energy outside a subspace: |x - x B B'|^2 / |x|^2."""
    energy = np.einsum("ij,ij->i", x, x)
    inside = x @ basis
    return 1.0 - np.einsum("ij,ij->i", inside, inside) / np.where(energy > 0, energy, np.inf)
