"""Logistic regression on the features that the model sees."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from leadscore.baselines.base_rate import BaseRate
from leadscore.baselines.encoding import Encoding
from leadscore.errors import TrainingError
from leadscore.features import catalogue, columns_of, fit_vocabulary, matrix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leadscore.config import Funnel
    from leadscore.features import Feature
    from leadscore.history import Snapshot, Vocabulary
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s

log = logging.getLogger(__name__)

# Rows that are in memory at once when predicting; of which so many are encoded at once, to fit the cache.
ROWS_AT_ONCE, ROWS_PER_BLOCK = 1 << 17, 1 << 12


class Logistic(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """How likely each lead is to reach each later stage within its horizon: one logistic regression per stage.

    Parameters
    ----------
    funnel : Funnel
        The settings; features and the least number of outcomes stand there.
    C : float, default 0.003
        Inverse of the strength of the L2 penalty, as in scikit-learn. Examples of one lead resemble each other, so
        there are fewer than it seems, and the best C is small.
    max_iter : int, default 300
        Most iterations of the solver per stage.
    n_jobs : int, default 1
        Threads that compute features.

    Attributes
    ----------
    vocabulary_ : Vocabulary
        The names with a code of their own.
    encoding_ : Encoding
        From features to the columns that are added up.
    base_rate_ : BaseRate
        What is served where a stage has too few outcomes.
    coef_ : ndarray of float64, shape (n_later_stages, n_encoded_columns)
        Log odds per standard deviation or category; NaN where the base rate is served.
    intercept_ : ndarray of float64, shape (n_later_stages,)
    fallback_ : ndarray of bool, shape (n_later_stages,)
        Whether the base rate is served, for want of outcomes.
    converged_ : ndarray of bool, shape (n_later_stages,)
        Whether the solver came to its end; true where there was nothing to solve.
    """

    vocabulary_: Vocabulary
    encoding_: Encoding
    base_rate_: BaseRate
    coef_: Float64s
    intercept_: Float64s
    fallback_: Bools
    converged_: Bools

    def __init__(self, funnel: Funnel, C: float = 0.003, max_iter: int = 300, n_jobs: int = 1) -> None:
        self.funnel = funnel
        self.C = C
        self.max_iter = max_iter
        self.n_jobs = n_jobs

    def fit(
        self, X: Snapshot, y: Float32s, sample_weight: Float64s | None = None, on_morning: Bools | None = None
    ) -> Self:
        """Learn from examples.

        Parameters
        ----------
        X : Snapshot
            Leads at past moments.
        y : ndarray of float32, shape (n_examples, n_later_stages)
            1 reached within the horizon, 0 not, NaN passed or not ripe (`leadscore.labels.reached`).
        sample_weight : ndarray of float64, shape (n_examples,), optional
            How much each example counts in the regressions; 1 by default.
        on_morning : ndarray of bool, shape (n_examples,), optional
            Which examples base rates are taken from; all by default.

        Raises
        ------
        TrainingError
            No outcome is known.
        """
        learnt = ~np.isnan(y).all(axis=1)
        if not learnt.any():
            raise TrainingError("no example is ripe: the recorded history is shorter than every horizon_days")
        counted = learnt if on_morning is None or not on_morning[learnt].any() else learnt & on_morning
        self.base_rate_ = BaseRate().fit(X[np.flatnonzero(counted)], y[counted])
        weight = np.ones(len(y), np.float32) if sample_weight is None else sample_weight.astype(np.float32)
        X, y, weight = X[np.flatnonzero(learnt)], y[learnt], weight[learnt]
        self.vocabulary_ = fit_vocabulary(X, self.funnel.features.min_category_leads)
        encoded = self._learnt_encoding(X)
        self.coef_ = np.full((y.shape[1], encoded.shape[1]), np.nan)
        self.intercept_ = np.full(y.shape[1], np.nan)
        self.fallback_ = np.array([self._too_few(X.lead, outcome) for outcome in y.T])
        self.converged_ = np.ones(y.shape[1], np.bool_)
        for place in map(int, np.flatnonzero(~self.fallback_)):
            self._fit_stage(place, encoded, y[:, place], weight)
        return self

    def _learnt_encoding(self, X: Snapshot) -> Float32s:
        features = self._features
        X_ = matrix(features, X.coded(self.vocabulary_), self.n_jobs)
        # The stage is a place, not a quantity: each step of the funnel has odds of its own.
        n_open = {"stage": len(self.funnel.stages) - 1}
        n_codes = [len(column.names) or n_open.get(column.name, 0) for column in columns_of(features)]
        self.encoding_ = Encoding.learnt(X_, n_codes)
        return self._encoded(X_)

    def _too_few(self, lead: Int64s, outcome: Float32s) -> bool:
        leads = [len(np.unique(lead[outcome == value])) for value in (0, 1)]
        return min(leads) < self.funnel.lightgbm.min_outcome_leads

    def _fit_stage(self, place: int, encoded: Float32s, outcome: Float32s, weight: Float32s) -> None:
        known = ~np.isnan(outcome)
        rows = encoded if known.all() else encoded[known]
        # newton-cholesky takes half the time, but in float32 stumbles over columns that nearly add up to others.
        regression = LogisticRegression(C=self.C, solver="lbfgs", max_iter=self.max_iter)
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always", ConvergenceWarning)
            regression.fit(rows, outcome[known], weight[known])
        for each in raised:
            if issubclass(each.category, ConvergenceWarning):
                self.converged_[place] = False
            else:
                warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        self.coef_[place], self.intercept_[place] = regression.coef_[0], regression.intercept_[0]
        log.info("%s: %d iterations", self.funnel.later_stages[place], regression.n_iter_[0])

    @property
    def _features(self) -> tuple[Feature, ...]:
        return catalogue(self.funnel, self.vocabulary_)

    def _encoded(self, X: Float32s) -> Float32s:
        encoded = np.empty((len(X), self.encoding_.width), np.float32)
        for rows in _blocks(len(X), ROWS_PER_BLOCK):
            self.encoding_.encode(X[rows], encoded[rows])
        return encoded

    def predict_proba(self, X: Snapshot) -> Float64s:
        """Probability of reaching each later stage within its horizon, shape (n_examples, n_later_stages).

        NaN for stages already passed, and everywhere for leads that are won or lost.
        """
        probability = self.base_rate_.predict_proba(X)
        coded, features, fitted = X.coded(self.vocabulary_), self._features, np.flatnonzero(~self.fallback_)
        for rows in _blocks(len(X), ROWS_AT_ONCE):
            encoded = self._encoded(matrix(features, coded[rows], self.n_jobs))
            margin = encoded @ self.coef_[fitted].T.astype(np.float32) + self.intercept_[fitted]
            ahead = ~np.isnan(probability[rows][:, fitted])
            probability[rows, fitted] = np.where(ahead, expit(margin), np.nan)
        return probability


def _blocks(n_rows: int, size: int) -> Iterator[slice]:
    return (slice(begin, begin + size) for begin in range(0, n_rows, size))
