"""A logistic regression on the features that the trees see, which may be mixed with them.

Trees find what only shows in combinations, and need many outcomes for it; a regression finds what adds up, and needs
few. On the scale of log odds a mixture of the two is a sum, so that the contributions of columns stay exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from leadscore.baselines.regression import ROWS_PER_BLOCK, Regression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.baselines.encoding import Encoding
    from leadscore.history.line import Float32s, Float64s

# Up to so many rows are added up in one call.
FEW_ROWS = 32


@dataclass(frozen=True, slots=True)
class Linear:
    """Regressions of some stages to reach, on the same encoded columns.

    Attributes
    ----------
    encoding : Encoding
        From features to the columns that are added up.
    reference : ndarray of float64, shape (n_encoded,)
        Mean of each encoded column: what contributions are measured against.
    coef : ndarray of float64, shape (n_later_stages, n_encoded)
        Log odds per standard deviation or category; 0 for stages without a regression.
    intercept : ndarray of float64, shape (n_later_stages,)
    """

    encoding: Encoding
    reference: Float64s
    coef: Float64s
    intercept: Float64s

    @classmethod
    def of_stages(cls, encoding: Encoding, reference: Float64s, fitted: Sequence[Regression | None]) -> Self:
        """Those that were fitted, one or none for each later stage."""
        nothing = Regression(np.zeros(encoding.width), 0.0)
        found = [each or nothing for each in fitted]
        return cls(
            encoding, reference, np.stack([each.coef for each in found]), np.array([each.intercept for each in found])
        )

    def margins(self, X: Float32s, places: Sequence[int]) -> Float64s:
        """Log odds of some stages to reach, shape (n_rows, n_places).

        The terms of a row are added in the order of the columns, so that a lead has the same bits alone and in a crowd.
        """
        found = np.empty((len(X), len(places)))
        encoded = np.empty((min(len(X), ROWS_PER_BLOCK), self.encoding.width), np.float32)
        for begin in range(0, len(X), ROWS_PER_BLOCK):
            rows = X[begin : begin + ROWS_PER_BLOCK]
            block = encoded[: len(rows)]
            self.encoding.encode(rows, block)
            columns = np.ascontiguousarray(block.T, np.float64)
            for at, place in enumerate(places):
                found[begin : begin + len(rows), at] = _added_up(self.intercept[place], self.coef[place], columns)
        return found

    def contributions(self, X: Float32s, place: int, n_columns: int) -> tuple[float, Float64s]:
        """Where every row starts, and what each column of X adds to that: none, and of shape (n_rows, n_columns)."""
        encoded = np.empty((len(X), self.encoding.width), np.float32)
        self.encoding.encode(X, encoded)
        terms = (encoded - self.reference) * self.coef[place]
        found = np.zeros((len(X), n_columns))
        np.add.at(found.T, self.encoding.column_of, terms.T)
        return float(self.intercept[place] + self.reference @ self.coef[place]), found


def _added_up(intercept: float, coef: Float64s, columns: Float64s) -> Float64s:
    """The intercept and, column after column, its coefficient times its values; (n_rows,) of (n_encoded, n_rows)."""
    n_rows = columns.shape[1]
    if n_rows <= FEW_ROWS:
        terms = np.empty((len(coef) + 1, n_rows))
        terms[0] = intercept
        np.multiply(columns, coef[:, None], out=terms[1:])
        # Unlike add.reduce, add.accumulate adds from first to last however few the rows are.
        return np.asarray(np.add.accumulate(terms, axis=0)[-1], np.float64)
    total: Float64s = np.full(n_rows, intercept)
    term = np.empty(n_rows)
    for weight, column in zip(coef.tolist(), columns, strict=True):
        total += np.multiply(column, weight, out=term)
    return total
