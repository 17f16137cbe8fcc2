"""Standard measures of continual learning, from a matrix of skills: pure functions; their signs are defined here.

R[i, j] is the skill on task j after task i was learned, higher better; T tasks, (T, T). Task 0 is what the base knows:
the real cities. All but forgetting are good when positive:

    average skill      mean over all j   of  R[T-1, j]
    forgetting         mean over j < T-1 of  max over j <= i < T-1 of R[i, j]  -  R[T-1, j]
    backward transfer  mean over j < T-1 of  R[T-1, j] - R[j, j]
    forward transfer   mean over j > 0   of  R[j-1, j] - R_untrained[j]

Forgetting is positive for what was lost since a task's best, backward transfer negative for what was lost since its
own turn, forward transfer positive for what was known before it was taught.

Lopez-Paz and Ranzato (2017) for the transfers; Chaudhry et al. (2018, "Riemannian walk") for forgetting and average.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atlantis.settings import Settings


class Continual(Settings):
    """The four measures of one sequence."""

    average_skill: float
    forgetting: float
    backward_transfer: float
    forward_transfer: float


def average_skill(skills: ArrayLike) -> float:
    """Mean over the tasks of the skill after the last one."""
    return float(_square(skills)[-1].mean())


def forgetting(skills: ArrayLike) -> float:
    """Mean fall of the earlier tasks since their best; positive is bad."""
    r = _square(skills)
    best = [r[j:-1, j].max() for j in range(len(r) - 1)]
    return float(np.mean(best - r[-1, :-1]))


def backward_transfer(skills: ArrayLike) -> float:
    """Mean change of the earlier tasks since they were learned; negative is forgetting."""
    r = _square(skills)
    return float((r[-1] - np.diag(r))[:-1].mean())


def forward_transfer(skills: ArrayLike, untrained: ArrayLike = 0.0) -> float:
    """Mean skill on each later task just before its turn, above that of an untrained model, (T,) or a number."""
    r = _square(skills)
    before = np.diag(r, k=1)
    return float((before - np.broadcast_to(untrained, len(r))[1:]).mean())


def continual(skills: ArrayLike) -> Continual:
    """All four, of skills that are 0 for an untrained model."""
    return Continual(
        average_skill=average_skill(skills),
        forgetting=forgetting(skills),
        backward_transfer=backward_transfer(skills),
        forward_transfer=forward_transfer(skills),
    )


def _square(skills: ArrayLike) -> NDArray[np.float64]:
    """The matrix. Raises ValueError for one that is not square, of fewer than two tasks, or lacks what is read."""
    r = np.asarray(skills, dtype=np.float64)
    if r.ndim != 2 or r.shape[0] != r.shape[1] or len(r) < 2:
        raise ValueError(f"a square matrix of at least two tasks is needed, not {r.shape}")
    if np.isnan(r[np.tril_indices(len(r), k=1)]).any():
        raise ValueError("a skill is missing on or below the diagonal, or right above it")
    return r
