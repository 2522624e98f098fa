"""Logistic regressions of encoded features."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from leadscore.baselines.encoding import Encoding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.features import Column
    from leadscore.history.line import Float32s, Float64s

# Examples of one lead resemble each other, so there are fewer than it seems, and the best C is small.
C, MAX_ITER, TOLERANCE = 0.003, 300, 1e-4
# Rows encoded at once, to fit the cache.
ROWS_PER_BLOCK = 1 << 12


@dataclass(frozen=True, slots=True)
class Regression:
    """A fitted regression.

    Attributes
    ----------
    coef : ndarray of float64, shape (n_encoded,)
    intercept : float
    converged : bool
        Whether the solver came to its end.
    n_iterations : int
        How many steps it took.
    """

    coef: Float64s
    intercept: float
    converged: bool = True
    n_iterations: int = 0

    def margin(self, encoded: Float32s) -> Float64s:
        """Log odds of encoded rows, shape (n_rows,); their last bits depend on the number of rows."""
        return np.asarray(encoded @ self.coef.astype(np.float32), np.float64) + self.intercept


def regress(
    encoded: Float32s,
    outcome: Float32s,
    weight: Float32s,
    *,
    C: float = C,
    max_iter: int = MAX_ITER,
    tol: float = TOLERANCE,
) -> Regression:
    """Fit a logistic regression with an L2 penalty.

    Parameters
    ----------
    encoded : ndarray of float32, shape (n_examples, n_encoded)
    outcome, weight : ndarray of float32, shape (n_examples,)
    C, max_iter, tol
        As in scikit-learn.
    """
    # newton-cholesky takes half the time, but in float32 stumbles over columns that nearly add up to others.
    regression = LogisticRegression(C=C, solver="lbfgs", max_iter=max_iter, tol=tol)
    converged = True
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always", ConvergenceWarning)
        regression.fit(encoded, outcome, weight)
    for each in raised:
        if issubclass(each.category, ConvergenceWarning):
            converged = False
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    coef = np.asarray(regression.coef_[0], np.float64)
    return Regression(coef, float(regression.intercept_[0]), converged, int(regression.n_iter_[0]))


def learnt_encoding(X: Float32s, columns: Sequence[Column], n_open: int) -> Encoding:
    """The encoding of these examples; the stage is a place, not a quantity: each step has odds of its own.

    Parameters
    ----------
    n_open : int
        Stages that open leads may stand in.
    """
    of_stage = {"stage": n_open}
    return Encoding.learnt(X, [len(column.names) or of_stage.get(column.name, 0) for column in columns])


def encoded_by(encoding: Encoding, X: Float32s) -> Float32s:
    """All rows of X encoded, shape (n_rows, n_encoded)."""
    encoded = np.empty((len(X), encoding.width), np.float32)
    for begin in range(0, len(X), ROWS_PER_BLOCK):
        rows = slice(begin, begin + ROWS_PER_BLOCK)
        encoding.encode(X[rows], encoded[rows])
    return encoded
