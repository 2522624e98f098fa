"""Base rates: what is known of a lead that is known by its stage alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    from leadscore.history import Snapshot
    from leadscore.history.line import Float32s, Float64s

# A stage that few leads were seen in has no rate of 0 or 1.
PRIOR = 10.0


class BaseRate(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """The share of leads that reached each later stage, by current stage.

    Attributes
    ----------
    rates_ : ndarray of float64, shape (n_stages - 1, n_later_stages)
        Share by (current stage, stage to reach), shrunk towards the share among all examples that had not
        passed the stage as if `PRIOR` more examples had shown it; NaN where none shows it.
    """

    rates_: Float64s

    def fit(self, X: Snapshot, y: Float32s) -> Self:
        """Learn the rates.

        Parameters
        ----------
        X : Snapshot
            Leads open on past mornings.
        y : ndarray of float32, shape (n_examples, n_later_stages)
            1 reached, 0 not, NaN not known.
        """
        stage = X.steps.stage
        n, n_reached = _known(y)
        overall = np.divide(n_reached, n, out=np.full(y.shape[1], np.nan), where=n > 0)
        by_stage = (_known(y[stage == current]) for current in range(y.shape[1]))
        self.rates_ = np.array([(reached + PRIOR * overall) / (seen + PRIOR) for seen, reached in by_stage])
        return self

    def predict_proba(self, X: Snapshot) -> Float64s:
        """Rate of each later stage, shape (n_examples, n_later_stages); NaN for stages already passed."""
        stage = X.steps.stage
        n_later = self.rates_.shape[1]
        rates: Float64s = self.rates_.take(np.minimum(stage, n_later - 1), axis=0)
        rates[np.arange(1, n_later + 1) <= stage[:, None]] = np.nan
        return rates


def _known(y: Float32s) -> tuple[Float64s, Float64s]:
    """How many outcomes of each column are known, and how many of them are 1."""
    return np.count_nonzero(~np.isnan(y), axis=0).astype(np.float64), np.nansum(y, axis=0, dtype=np.float64)
