"""When was the damage done? Pure functions over a run's recorded numbers: first, worst, final, half way, recovered.

Damage is what a number lost against its first step, in the direction that is bad for it: a fall of R2, a rise of km.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
import pandas as pd
from jaxtyping import Num

from atlantis.readout.catalogue import is_better_high


class When(NamedTuple):
    """One number's course over a run.

    half_damage_step: the first step at which half of the final damage was done; NaN where the end is no worse than the
    beginning. recovered: the share of the worst damage that is gone at the end, 1 where it ends no worse than it
    began; NaN where there never was any.
    """

    first: float
    final: float
    worst: float
    worst_step: int
    half_damage_step: float
    recovered: float


def course(steps: Num[np.ndarray, " n"], values: Num[np.ndarray, " n"], better_high: bool) -> When:
    """The course of `values` at ascending `steps`.

    Between two evaluated steps a number is taken to change linearly with the step: nothing is known of what lies
    between, and the evaluated steps are dense where changes are quick. Raises ValueError for no values, or for steps
    that do not ascend.
    """
    steps, values = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if not len(values) or (np.diff(steps) <= 0).any():
        raise ValueError("needs at least one value, at steps that ascend")
    damage = values[0] - values if better_high else values - values[0]
    worst, final = int(np.argmax(damage)), damage[-1]
    recovered = 1 - max(0.0, final) / damage[worst] if damage[worst] > 0 else float("nan")
    half = _first_reach(steps, damage, final / 2) if final > 0 else float("nan")
    return When(values[0], values[-1], values[worst], int(steps[worst]), half, float(recovered))


def _first_reach(steps: np.ndarray, damage: np.ndarray, level: float) -> float:
    """The first step at which the damage, linear between steps, reaches a level > 0 that it does reach."""
    i = int(np.argmax(damage >= level))
    share = (level - damage[i - 1]) / (damage[i] - damage[i - 1])
    return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))


def when_table(measures: pd.DataFrame) -> pd.DataFrame:
    """One row per metric and group of tidy measures (columns step, group, metric, value): its `course`."""
    rows = []
    for key, history in measures.groupby(["metric", "group"], sort=False):
        metric, group = map(str, cast(tuple, key))
        history = history.sort_values("step")
        when = course(history["step"].to_numpy(), history["value"].to_numpy(), is_better_high(metric))
        rows.append({"metric": metric, "group": group} | when._asdict())
    return pd.DataFrame(rows, columns=["metric", "group", *When._fields])
