"""When the damage was done, from curves whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlantis.readout.forgetting import course, when_table

STEPS = np.array([0, 10, 20, 40])


def test_half_of_the_damage_lies_on_the_line_between_two_steps() -> None:
    found = course(STEPS, np.array([100.0, 100.0, 300.0, 500.0]), better_high=False)
    assert found == (100.0, 500.0, 500.0, 40, 20.0, 0.0)
    fallen = course(STEPS, np.array([1.0, 0.9, 0.9, 0.0]), better_high=True)
    assert fallen.half_damage_step == pytest.approx(20 + 20 * (0.5 - 0.1) / 0.9)


def test_recovery_is_the_share_of_the_worst_that_is_gone() -> None:
    found = course(STEPS, np.array([1.0, 0.2, 0.6, 0.8]), better_high=True)
    assert (found.worst, found.worst_step) == (0.2, 10)
    assert found.recovered == pytest.approx(0.75)
    assert found.half_damage_step == pytest.approx(1.25), "half of the final damage was passed on the way down"


def test_what_only_improves_has_no_half_way() -> None:
    found = course(STEPS, np.array([900.0, 500.0, 400.0, 100.0]), better_high=False)
    assert found.worst_step == 0 and math.isnan(found.half_damage_step) and math.isnan(found.recovered)
    healed = course(STEPS, np.array([1.0, 3.0, 2.0, 0.5]), better_high=False)
    assert healed.recovered == 1 and math.isnan(healed.half_damage_step)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8), st.booleans())
def test_the_half_way_step_is_where_the_curve_says(values: list[float], better_high: bool) -> None:
    steps, curve = np.arange(len(values)) * 3.0, np.array(values)
    found = course(steps, curve, better_high)
    if not math.isnan(found.half_damage_step):
        half = (found.first + found.final) / 2
        assert np.interp(found.half_damage_step, steps, curve) == pytest.approx(half, rel=1e-6, abs=1e-6)


def test_steps_must_ascend() -> None:
    for steps in ([0, 0], [3, 1]):
        with pytest.raises(ValueError, match="ascend"):
            course(np.array(steps), np.array([1.0, 2.0]), better_high=True)


def test_the_table_has_a_row_for_each_metric_and_group() -> None:
    rows = [(step, "real", "cka", 1 - step / 100) for step in (20, 0, 10)]
    rows += [(step, "world-world", "task_km", 100.0 + step) for step in (0, 10, 20)]
    table = when_table(pd.DataFrame(rows, columns=["step", "group", "metric", "value"])).set_index("metric")
    assert list(table.index) == ["cka", "task_km"]
    assert table.loc["cka", "worst_step"] == 20 and table.loc["cka", "final"] == 0.8
    assert table.loc["task_km", "half_damage_step"] == 10
