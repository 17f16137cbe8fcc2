"""Similarity of clouds against planted answers, the papers' own (n, n) forms and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import procrustes
from sklearn.decomposition import PCA

from atlantis.readout.similarity import (
    Cloud,
    leading_subspace,
    linear_cka,
    off_subspace,
    orthogonal_turn,
    principal_angles,
    principal_subspace,
    procrustes_disparity,
)

shapes = st.tuples(st.integers(6, 40), st.integers(1, 12), st.integers(0, 2**16))


def noise(n: int, p: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, p))


def rotation(p: int, seed: int = 1) -> np.ndarray:
    return np.linalg.qr(noise(p, p, seed))[0]


def cka(x: np.ndarray, y: np.ndarray, debiased: bool = True) -> float:
    a, b = Cloud.of(x), Cloud.of(y)
    return linear_cka(a, b, a.x.T @ b.x, debiased)


def hsic_by_cities(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. (2012), eq. 5, as it is written: from products of rows, without their diagonals."""
    n = len(x)
    k, m = (v @ v.T - np.diag((v**2).sum(1)) for v in (x, y))
    ones = np.ones(n)
    total = np.trace(k @ m) + (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return (total - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3))


@given(shapes, st.floats(-50, 50))
@settings(max_examples=50)
def test_debiased_cka_is_the_papers_from_features(shape: tuple[int, int, int], shift: float) -> None:
    n, p, seed = shape
    x, y = noise(n, p, seed) + shift, noise(n, p + 2, seed + 1)
    y[:, 0] += x[:, 0]
    h = [hsic_by_cities(*pair) for pair in ((x, y), (x, x), (y, y))]
    if min(h[1:]) > 1e-6:
        assert cka(x, y) == pytest.approx(h[0] / math.sqrt(h[1] * h[2]), rel=1e-6, abs=1e-8)


def test_only_the_biased_cka_finds_likeness_in_independent_noise() -> None:
    pairs = [(noise(100, 256, 2 * i), noise(100, 256, 2 * i + 1)) for i in range(20)]
    debiased = [cka(x, y) for x, y in pairs]
    assert np.mean([cka(x, y, debiased=False) for x, y in pairs]) == pytest.approx(0.72, abs=0.03)
    assert abs(np.mean(debiased)) < 3 * np.std(debiased) / math.sqrt(len(pairs)) + 0.01
    assert max(map(abs, debiased)) < 0.1


def test_cka_sees_neither_turn_nor_shift_nor_scale() -> None:
    x = noise(80, 10) * np.arange(1, 11)
    assert cka(x, 3 * x @ rotation(10) + 7) == pytest.approx(1.0)
    assert cka(x, x**3) < 0.99
    assert math.isnan(cka(x, np.ones((80, 4)))) and math.isnan(cka(x[:3], x[:3]))


@given(shapes)
@settings(max_examples=50)
def test_procrustes_disparity_is_scipys(shape: tuple[int, int, int]) -> None:
    n, p, seed = shape
    x, y = noise(n, p, seed), noise(n, p, seed + 1) + 5
    a, b = Cloud.of(x), Cloud.of(y)
    assert procrustes_disparity(a, b, a.x.T @ b.x) == pytest.approx(procrustes(x, y)[2], abs=1e-9)


@given(shapes)
@settings(max_examples=50)
def test_the_orthogonal_turn_is_scipys_and_undoes_a_rotation(shape: tuple[int, int, int]) -> None:
    n, p, seed = shape
    n += p  # more rows than features: the turn is unique
    x, y = noise(n, p, seed), noise(n, p, seed + 1)
    np.testing.assert_allclose(orthogonal_turn(x.T @ y), orthogonal_procrustes(x, y)[0], atol=1e-8)
    q = rotation(p, seed)
    np.testing.assert_allclose(orthogonal_turn(x.T @ (x @ q)), q, atol=1e-8)


def test_principal_subspaces_are_scikit_learns() -> None:
    x = noise(200, 12) * 2.0 ** -np.arange(12) @ rotation(12)
    gram = Cloud.of(x).gram
    theirs = PCA(0.99, svd_solver="full").fit(x)
    basis = principal_subspace(gram, 0.99)
    assert basis.shape[1] == theirs.n_components_
    for ours in (basis, leading_subspace(gram, theirs.n_components_)):
        np.testing.assert_allclose(ours @ ours.T, theirs.components_.T @ theirs.components_, atol=1e-9)


def test_principal_angles_are_those_planted() -> None:
    """Two planes in five dimensions that share a direction, and of which the other is turned by 30 degrees."""
    axes = np.eye(5)
    turned = np.stack([axes[0], math.cos(math.pi / 6) * axes[1] + math.sin(math.pi / 6) * axes[2]], axis=1)
    basis = rotation(5)
    np.testing.assert_allclose(principal_angles(basis @ axes[:, :2], basis @ turned), [0, 30], atol=1e-6)


def test_energy_outside_a_subspace_is_what_was_planted() -> None:
    basis = rotation(20)[:, :6]
    rest = rotation(20)[:, 6:]
    inside = noise(50, 6) @ basis.T
    outside = noise(50, 14) @ rest.T
    scale = np.linalg.norm(inside, axis=1) / np.linalg.norm(outside, axis=1)
    np.testing.assert_allclose(off_subspace(inside, basis), 0, atol=1e-12)
    np.testing.assert_allclose(off_subspace(inside + outside * scale[:, None] / 3, basis), 0.1, atol=1e-9)
    assert off_subspace(np.zeros((1, 20)), basis)[0] == 1.0, "no energy at all is none inside"
