"""Which strength a method is scored with: the choice among its trials, and which trials that takes."""

from __future__ import annotations

from collections.abc import Sequence

from atlantis.bench.methods import Method
from atlantis.bench.record import Trial


def choose(trials: Sequence[Trial], default: float | None) -> float | None:
    """The value of the largest mean volume; None if every trial failed.

    Of equals it is the one nearest to `default` in the order of the values, and of two as near the lower.
    """
    values = sorted(trial.value for trial in trials)
    middle = values.index(default) if default in values else len(values) // 2
    scored = [
        (trial.volume, -abs(values.index(trial.value) - middle), -trial.value)
        for trial in trials
        if trial.volume is not None
    ]
    return -max(scored)[2] if scored else None


def further(method: Method, trials: Sequence[Trial]) -> float | None:
    """The value to be tried beyond the five, if the best of them is at an end; None for none."""
    of_five = [trial for trial in trials if trial.value in method.values]
    return method.further(choose(of_five, method.default))


def are_complete(method: Method, trials: Sequence[Trial]) -> bool:
    """Whether these are all the trials of a method's strength, and no other."""
    beyond = further(method, trials) if method.values else None
    wanted = [*method.values, *([] if beyond is None else [beyond])]
    return sorted(trial.value for trial in trials) == sorted(wanted)
