"""Quantities with bounds, and the way from each to the real line, on which its interval is worked out.

SciPy is imported where it is used: whoever only asks for a metric's name and unit does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Values = np.ndarray | np.floating
"""An array, or one number of numpy."""


@dataclass(frozen=True)
class Scale:
    """A quantity between two bounds, and the way to and from the real line. `slope` is the derivative of `forward`."""

    name: str
    low: float
    high: float
    forward: Callable[[Values], Values]
    back: Callable[[Values], Values]
    slope: Callable[[Values], Values]

    def holds(self, values: Values) -> bool:
        """Whether all values are strictly between the bounds."""
        return bool(np.isfinite(values).all() and (values > self.low).all() and (values < self.high).all())


def _same(x: Values) -> Values:
    return x


def _logit(x: Values) -> Values:
    from scipy import special

    return special.logit(x)


def _expit(x: Values) -> Values:
    from scipy import special

    return special.expit(x)


IDENTITY = Scale("as it is", -np.inf, np.inf, _same, _same, np.ones_like)
"""Differences, and what has no bound."""

LOG = Scale("log", 0.0, np.inf, np.log, np.exp, lambda x: 1 / x)
"""Kilometres, losses, ratios: above 0."""

BELOW_ONE = Scale("log(1 - x)", -np.inf, 1.0, lambda x: np.log1p(-x), lambda x: -np.expm1(x), lambda x: -1 / (1 - x))
"""R2 and skill: at most 1, and any number below."""

SHARE = Scale("logit", 0.0, 1.0, _logit, _expit, lambda x: 1 / (x * (1 - x)))
"""Shares, and scores from 0 to 1."""
