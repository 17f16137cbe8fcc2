"""A user's own regressor in place of the probes' ridge regression: anything with scikit-learn's `fit` and `predict`."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Num

from atlantis.errors import UserError, in_a_line


class Regressor(Protocol):
    """What scikit-learn's regressors have in common."""

    def fit(self, X: Any, y: Any) -> Any: ...
    def predict(self, X: Any) -> Any: ...


def fitted(estimator: Regressor, x: Num[np.ndarray, "n p"], y: Float[np.ndarray, "n t"]) -> Regressor:
    """A copy of an estimator, fitted on x (n, p) and all columns of y (n, t) at once. UserError if it cannot be."""
    from sklearn.base import clone

    try:
        copy: Any = clone(estimator)  # type: ignore[type-var]
        copy.fit(x, y)
        shape = np.shape(copy.predict(x[:2]))
    except Exception as error:  # whatever a user's estimator does
        raise UserError(
            f"estimator {estimator!r} cannot be fitted: {type(error).__name__}: {in_a_line(error)}"
        ) from None
    if shape != (2, y.shape[1]):
        raise UserError(
            f"estimator {estimator!r}: predicts {shape} for 2 rows with {y.shape[1]} targets; one for a single target "
            "goes into sklearn.multioutput.MultiOutputRegressor"
        )
    return copy
