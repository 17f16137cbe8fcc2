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
One thing differs: Chaudhry's maximum runs over all earlier i, those before task j's own turn among them. Here it begins
at i = j, because a run's world has no region that comes later, so R[i, j] is not known for i < j - 1.

The benchmark's skills are those of `SequenceErrors`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atlantis.settings import Settings


class SequenceErrors(Settings):
    """Errors of the map's probes along a sequence of runs, by region; `names` are the real cities and then the oceans.

    Skill is the error that an untrained model makes there less the error, over the untrained model's error on the real
    cities: R[i, j] = (C_j - E_ij) / C_0. So 0 is chance in every region; 1 is an error of 0 for the real cities, and
    C_j / C_0 for an ocean. One unit is the same number of km everywhere (C_0, some 6,100 km), so that the mean over
    regions is one of km.
    """

    names: list[str]
    km: list[list[float | None]]
    """(T, T): of region j after run i, i = 0 the base; None where run i's world does not have the region yet."""
    chance_km: list[float]
    """(T,): C, of an untrained model."""

    def skills(self) -> NDArray[np.float64]:
        """R (T, T), NaN where there is no error."""
        km = np.array([[np.nan if e is None else e for e in row] for row in self.km], dtype=np.float64)
        chance = np.asarray(self.chance_km, dtype=np.float64)
        return (chance - km) / chance[0]


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
    """Mean fall of the earlier tasks since their best from their own turn on; positive is bad."""
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


def above_chance(measures: Continual, chance_km: ArrayLike) -> Continual:
    """What measures of the skills 1 - E / C_0 are with each region's own chance as zero, as in `SequenceErrors`.

    Such records were made until 2026-11-28. With the chance C_j of each region (T,), real cities first, skill j rises
    by C_j / C_0 - 1. Forgetting and backward transfer are differences and stay.
    """
    chance = np.asarray(chance_km, dtype=np.float64)
    zero = chance / chance[0] - 1
    return Continual(
        average_skill=measures.average_skill + float(zero.mean()),
        forgetting=measures.forgetting,
        backward_transfer=measures.backward_transfer,
        forward_transfer=measures.forward_transfer + float(zero[1:].mean()),
    )


def _square(skills: ArrayLike) -> NDArray[np.float64]:
    """The matrix. Raises ValueError for one that is not square, of fewer than two tasks, or lacks what is read."""
    r = np.asarray(skills, dtype=np.float64)
    if r.ndim != 2 or r.shape[0] != r.shape[1] or len(r) < 2:
        raise ValueError(f"a square matrix of at least two tasks is needed, not {r.shape}")
    if np.isnan(r[np.tril_indices(len(r), k=1)]).any():
        raise ValueError("a skill is missing on or below the diagonal, or right above it")
    return r
