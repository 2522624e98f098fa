"""Logistic regression on the features that the model sees."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator

from leadscore.baselines.base_rate import BaseRate
from leadscore.baselines.regression import MAX_ITER, C, encoded_by, learnt_encoding, regress
from leadscore.errors import TrainingError
from leadscore.features import catalogue, columns_of, fit_vocabulary, matrix

if TYPE_CHECKING:
    from leadscore.baselines.encoding import Encoding
    from leadscore.config import Funnel
    from leadscore.features import Feature
    from leadscore.history import Snapshot, Vocabulary
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s

log = logging.getLogger(__name__)

# Rows that are in memory at once when predicting.
ROWS_AT_ONCE = 1 << 17


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

    def __init__(self, funnel: Funnel, C: float = C, max_iter: int = MAX_ITER, n_jobs: int = 1) -> None:
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
        self.encoding_ = learnt_encoding(X_, columns_of(features), len(self.funnel.stages) - 1)
        return encoded_by(self.encoding_, X_)

    def _too_few(self, lead: Int64s, outcome: Float32s) -> bool:
        leads = [len(np.unique(lead[outcome == value])) for value in (0, 1)]
        return min(leads) < self.funnel.lightgbm.min_outcome_leads

    def _fit_stage(self, place: int, encoded: Float32s, outcome: Float32s, weight: Float32s) -> None:
        known = ~np.isnan(outcome)
        rows = encoded if known.all() else encoded[known]
        found = regress(rows, outcome[known], weight[known], C=self.C, max_iter=self.max_iter)
        self.coef_[place], self.intercept_[place], self.converged_[place] = found.coef, found.intercept, found.converged
        log.info("%s: %d iterations", self.funnel.later_stages[place], found.n_iterations)

    @property
    def _features(self) -> tuple[Feature, ...]:
        return catalogue(self.funnel, self.vocabulary_)

    def predict_proba(self, X: Snapshot) -> Float64s:
        """Probability of reaching each later stage within its horizon, shape (n_examples, n_later_stages).

        NaN for stages already passed, and everywhere for leads that are won or lost.
        """
        probability = self.base_rate_.predict_proba(X)
        coded, features, fitted = X.coded(self.vocabulary_), self._features, np.flatnonzero(~self.fallback_)
        for begin in range(0, len(X), ROWS_AT_ONCE):
            rows = slice(begin, begin + ROWS_AT_ONCE)
            encoded = encoded_by(self.encoding_, matrix(features, coded[rows], self.n_jobs))
            margin = encoded @ self.coef_[fitted].T.astype(np.float32) + self.intercept_[fitted]
            ahead = ~np.isnan(probability[rows][:, fitted])
            probability[rows, fitted] = np.where(ahead, expit(margin), np.nan)
        return probability
