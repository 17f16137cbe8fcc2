"""The distance task: how many kilometres lie between two cities?

<bos>dist(c_12,c_5101)=4821<eos>
------- prompt --------====-----  completion
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from atlantis.sphere import HALF_CIRCUMFERENCE_KM

penalty_km = HALF_CIRCUMFERENCE_KM
"""The error that an answer counts with when it cannot be read: nothing on Earth is farther away."""

_ANSWER = re.compile(r"([0-9]{1,9})<eos>(?:<pad>)*")


def prompt(first: int, second: int) -> str:
    """`<bos>dist(c_12,c_5101)=`"""
    return f"<bos>dist(c_{first},c_{second})="


def completion(km: int) -> str:
    """`4821<eos>`"""
    return f"{km}<eos>"


def text(first: int, second: int, km: int) -> str:
    """`dist(c_12,c_5101)=4821`: the row without markers."""
    return f"dist(c_{first},c_{second})={km}"


def text_columns(first: ArrayLike, second: ArrayLike, km: ArrayLike) -> dict[str, pa.Array]:
    """Columns `prompt`, `completion` and `text` of n rows, from int arrays [n]: the functions above, all at once."""
    a, b, answer = (pc.cast(pa.array(np.asarray(numbers)), pa.string()) for numbers in (first, second, km))
    question = _join("dist(c_", a, ",c_", b, ")=")
    return {"prompt": _join("<bos>", question), "completion": _join(answer, "<eos>"), "text": _join(question, answer)}


def _join(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")  # type: ignore[attr-defined]  # pyarrow makes it when imported


def parse(answer: str) -> int | None:
    """The kilometres in what a model wrote after the prompt; None unless it is digits closed by `<eos>`.

    What follows `<eos>` must be padding: a model that goes on has not answered.
    """
    match = _ANSWER.fullmatch(answer)
    return int(match[1]) if match else None


def error_km(predicted: int | None, true: int) -> float:
    """|predicted - true| in km, or `penalty_km` when there is no readable answer."""
    return penalty_km if predicted is None else float(abs(predicted - true))


def errors_km(predicted: ArrayLike, true: ArrayLike) -> NDArray[np.float64]:
    """`error_km` for arrays [n], where a predicted value below 0 stands for an unreadable answer."""
    predicted, true = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    return np.where(predicted < 0, penalty_km, np.abs(predicted - true))
