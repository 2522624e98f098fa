"""What the model must beat, as estimators on the same examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    from leadscore.history import Snapshot
    from leadscore.history.line import Float32s, Float64s


class BaseRate(BaseEstimator):
    """The share of leads that reached each later stage, by current stage.

    Attributes
    ----------
    rates_ : ndarray of float64, shape (n_stages - 1, n_later_stages)
        Share by (current stage, stage to reach). Where no example says it, the share among all examples that
        had not passed the stage; NaN where there is none.
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
        overall = _mean(y)
        by_stage = [_mean(y[stage == current]) for current in range(y.shape[1])]
        self.rates_ = np.array([np.where(np.isnan(rates), overall, rates) for rates in by_stage])
        return self

    def predict_proba(self, X: Snapshot) -> Float64s:
        """Rate of each later stage, shape (n_examples, n_later_stages); NaN for stages already passed."""
        stage = X.steps.stage
        n_later = self.rates_.shape[1]
        rates = self.rates_.take(np.minimum(stage, n_later - 1), axis=0)
        rates[np.arange(1, n_later + 1) <= stage[:, None]] = np.nan
        return rates


def _mean(y: Float32s) -> Float64s:
    """Mean of each column where it is known, NaN where it never is."""
    n = np.count_nonzero(~np.isnan(y), axis=0)
    return np.divide(np.nansum(y, axis=0), n, out=np.full(y.shape[1], np.nan), where=n > 0)
