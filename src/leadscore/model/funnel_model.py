"""The model of a whole funnel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import lightgbm as lgb
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from leadscore.baselines import BaseRate
from leadscore.errors import ModelError, TrainingError
from leadscore.features import catalogue, columns_of, fit_vocabulary, matrix
from leadscore.history import DAY
from leadscore.model.stage import Learning, StageModel, tree_settings
from leadscore.progress import progress

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from leadscore.config import Funnel
    from leadscore.features import Column, Feature
    from leadscore.history import Snapshot, Vocabulary
    from leadscore.history.line import Bools, Float32s, Float64s, Int8s, Int64s

# Rows of X that are in memory at once when predicting.
ROWS_AT_ONCE = 1 << 18
# What is typical of a stage is read from at most so many examples, spread evenly over all.
TYPICAL_EXAMPLES = 20_000
# Sorts of a number: below the typical one, at it, above it, unknown. Each name of a category is a sort of its own.
BELOW, AT, ABOVE, UNKNOWN = range(4)


@dataclass(frozen=True, slots=True)
class Typical:
    """What is typical of the leads in each current stage, and what it says of a lead to be otherwise.

    Attributes
    ----------
    n_names : ndarray of int64, shape (n_columns,)
        Names of each category; 0 for a number.
    value : ndarray of float64, shape (n_stages - 1, n_columns)
        By current stage, the median of the known numbers (the lower of two) or the code of the most frequent name;
        NaN where nothing is known.
    missing : ndarray of float64, shape (n_stages - 1, n_columns)
        Share of NaN; NaN for a stage without examples.
    direction : ndarray of int8, shape (n_stages - 1, n_later_stages, n_sorts)
        1 where leads of the current stage with a value of that sort reached the later stage more often than the
        others of the stage, -1 where less often, 0 where as often or where there were none; for the column
        ``stage``, than leads of the other stages. The sorts stand column after column.
    """

    n_names: Int64s
    value: Float64s
    missing: Float64s
    direction: Int8s

    @classmethod
    def of(cls, X: Float32s, y: Float32s, stage: Int64s, listed: Bools, columns: Sequence[Column]) -> Self:
        """Learn it from the examples that are ``listed``."""
        n_names, n_stages = np.array([len(column.names) for column in columns], np.int64), y.shape[1]
        value, missing = np.full((2, n_stages, len(columns)), np.nan)
        n_sorts = int(np.where(n_names > 0, n_names, UNKNOWN + 1).sum())
        typical = cls(n_names, value, missing, np.zeros((n_stages, n_stages, n_sorts), np.int8))
        place = typical.first_sorts[[column.name for column in columns].index("stage")]
        everywhere = _outcomes(y[listed])
        for current in range(n_stages):
            rows = np.flatnonzero(listed & (stage == current))
            typical.direction[current, :, place : place + UNKNOWN + 1] = _lean(_outcomes(y[rows]), everywhere)[:, None]
            n = min(len(rows), TYPICAL_EXAMPLES)
            if n:
                spread = rows[np.arange(n) * len(rows) // n]
                typical._learn(current, X[spread], y[spread], skipped=slice(place, place + UNKNOWN + 1))
        return typical

    def _learn(self, current: int, X: Float32s, y: Float32s, skipped: slice) -> None:
        numbers, unknown = self.n_names == 0, np.isnan(X)
        self.missing[current] = unknown.mean(axis=0)
        middle = np.maximum(len(X) - unknown.sum(axis=0) - 1, 0) // 2
        self.value[current] = np.sort(X, axis=0)[middle, np.arange(X.shape[1])]
        for column in np.flatnonzero(~numbers):
            self.value[current, column] = np.bincount(X[:, column].astype(np.int64)).argmax()
        sorts = self.sorts(X, np.full(len(X), current)).ravel()
        kept = np.delete(np.arange(self.direction.shape[2]), skipped)
        for later in range(current, y.shape[1]):
            known = ~np.isnan(y[:, later])
            counts = (known, np.nan_to_num(y[:, later]))
            n, n_reached = (
                np.bincount(sorts, np.repeat(count, X.shape[1]), self.direction.shape[2]) for count in counts
            )
            everyone = (float(known.sum()), float(counts[1].sum(dtype=np.float64)))
            self.direction[current, later, kept] = _lean((n, n_reached), everyone)[kept]

    @property
    def first_sorts(self) -> Int64s:
        """Where the sorts of each column begin, shape (n_columns,)."""
        n_sorts = np.where(self.n_names > 0, self.n_names, UNKNOWN + 1)
        first: Int64s = np.cumsum(n_sorts) - n_sorts
        return first

    def sorts(self, X: Float32s, stage: Int64s) -> Int64s:
        """Sort of each value of leads in their current stages, shape (n_rows, n_columns)."""
        side = AT + np.sign(X - self.value[stage])
        number = np.where(np.isnan(X), UNKNOWN, np.where(np.isnan(side), AT, side))
        sort: Int64s = self.first_sorts + np.where(self.n_names > 0, X, number).astype(np.int64)
        return sort


def _outcomes(y: Float32s) -> tuple[Float64s, Float64s]:
    """Known outcomes of each later stage, and how many of them are 1."""
    return np.count_nonzero(~np.isnan(y), axis=0).astype(np.float64), np.nansum(y, axis=0, dtype=np.float64)


def _lean(some: tuple[Any, Any], everyone: tuple[Any, Any]) -> Int8s:
    """Sign of the share that reached among some less that among the others; both are (known, reached)."""
    (n, n_reached), (all_, all_reached) = some, everyone
    lean: Int8s = np.sign(n_reached * (all_ - n) - (all_reached - n_reached) * n).astype(np.int8)
    return lean


class FunnelModel(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """How likely each lead is to reach each later stage within its horizon: one LightGBM per stage.

    Parameters
    ----------
    funnel : Funnel
        The settings; every number that changes a prediction stands there.
    n_jobs : int, default 1
        Threads. They change no bit of a prediction.

    Attributes
    ----------
    vocabulary_ : Vocabulary
        The names with a code of their own.
    stages_ : tuple of StageModel
        One per later stage.
    base_rate_ : BaseRate
        What is served where a stage has too few outcomes.
    typical_ : Typical
        What is typical of each current stage, from the examples that base rates are taken from.
    trained_until_ : int
        End of the last label learnt from, in microseconds since 1970 UTC.
    """

    vocabulary_: Vocabulary
    stages_: tuple[StageModel, ...]
    base_rate_: BaseRate
    typical_: Typical
    trained_until_: int

    def __init__(self, funnel: Funnel, n_jobs: int = 1) -> None:
        self.funnel = funnel
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
            How much each example counts when trees are grown; 1 by default.
        on_morning : ndarray of bool, shape (n_examples,), optional
            Which examples base rates are taken from; all by default.

        Raises
        ------
        TrainingError
            No outcome is known.
        """
        known = ~np.isnan(y)
        learnt: Bools = np.any(known, axis=1)
        if not learnt.any():
            raise TrainingError("no example is ripe: the recorded history is shorter than every horizon_days")
        counted = learnt if on_morning is None or not on_morning[learnt].any() else learnt & on_morning
        self.base_rate_ = BaseRate().fit(X[np.flatnonzero(counted)], y[counted])
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        X, y, weight = X[np.flatnonzero(learnt)], y[learnt], weight[learnt]
        self.vocabulary_ = fit_vocabulary(X, self.funnel.features.min_category_leads)
        self.trained_until_ = self._last_label_end(X.as_of, y)
        learning = self._learning(X, weight)
        self.typical_ = Typical.of(learning.X, y, X.steps.stage, counted[learnt], self.columns_)
        stages = []
        with ThreadPoolExecutor(self.n_jobs) as pool, progress("learning", "stages", y.shape[1]) as bar:
            for stage in pool.map(learning.stage, self.funnel.later_stages, y.T, self.funnel.horizons):
                stages.append(stage)
                bar.update()
        self.stages_ = tuple(stages)
        return self

    def _last_label_end(self, as_of: Int64s, y: Float32s) -> int:
        end = as_of[:, None] + np.array(self.funnel.horizons) * DAY
        return int(end[~np.isnan(y)].max())

    def _learning(self, X: Snapshot, weight: Float64s) -> Learning:
        features = matrix(self.features_, X.coded(self.vocabulary_), self.n_jobs)
        categories = [place for place, column in enumerate(self.columns_) if column.names]
        binned = lgb.Dataset(
            features,
            np.zeros(len(features), np.float32),
            categorical_feature=categories,
            params=tree_settings(self.funnel.lightgbm, self.n_jobs),
        ).construct()
        return Learning(binned, features, X.lead, X.as_of, weight, self.funnel.lightgbm)

    @property
    def features_(self) -> tuple[Feature, ...]:
        """The features that the trees were grown on."""
        if not hasattr(self, "vocabulary_"):
            raise NotFittedError("this FunnelModel has learnt nothing yet; call fit first")
        return catalogue(self.funnel, self.vocabulary_)

    @property
    def columns_(self) -> tuple[Column, ...]:
        """The columns of X."""
        return columns_of(self.features_)

    def predict_proba(self, X: Snapshot) -> Float64s:
        """Probability of reaching each later stage within its horizon, shape (n_examples, n_later_stages).

        NaN for stages already passed, and everywhere for leads that are won or lost. A later stage with an
        equal or shorter horizon is never likelier than an earlier one.

        Raises
        ------
        ModelError
            The leads are of another funnel: stages, horizons, attributes or time zone differ.
        """
        features = self.features_
        self._check_funnel(X.funnel)
        coded = X.coded(self.vocabulary_)
        probability = np.empty((len(X), len(self.funnel.later_stages)))
        with progress("scoring", "leads", len(X), hidden=len(X) <= ROWS_AT_ONCE) as bar:
            for begin in range(0, len(X), ROWS_AT_ONCE):
                rows = slice(begin, begin + ROWS_AT_ONCE)
                probability[rows] = self._predict(coded[rows], features)
                bar.update(len(probability[rows]))
        return probability

    def serving_base_rates(self, stages: Collection[str]) -> Self:
        """The same model, but with base rates for some stages to reach, whose trees have no signal."""
        served = copy(self)
        served.stages_ = tuple(
            replace(each, no_signal=name in stages)
            for name, each in zip(self.funnel.later_stages, self.stages_, strict=True)
        )
        return served

    def _check_funnel(self, funnel: Funnel) -> None:
        ours, theirs = self.funnel, funnel
        if theirs is ours:
            return
        parts = ("funnel", "horizon_days", "attributes", "changes")
        differ = [part for part in parts if getattr(theirs, part) != getattr(ours, part)]
        if theirs.time.timezone != ours.time.timezone:
            differ.append("time.timezone")
        if differ:
            raise ModelError(
                f"the model is of another funnel: {', '.join(differ)} of funnel.toml differ from what it was trained "
                "with; train a model for these data"
            )

    def _predict(self, X: Snapshot, features: tuple[Feature, ...]) -> Float64s:
        probability = self.base_rate_.predict_proba(X)
        stage, matrix_ = X.steps.stage, matrix(features, X, self.n_jobs)
        for place, model in enumerate(self.stages_):
            ahead = stage <= place
            if not model.serves_base_rate and ahead.any():
                rows = matrix_ if ahead.all() else matrix_[ahead]
                probability[ahead, place] = model.predict(rows, self.n_jobs)
        return self._ordered(probability)

    def _ordered(self, probability: Float64s) -> Float64s:
        horizons = self.funnel.horizons
        for later, days in enumerate(horizons):
            for earlier in range(later):
                if days <= horizons[earlier]:
                    # fmin: a stage already passed (NaN) bounds nothing. Only a stage ahead can be bounded.
                    bounded = np.fmin(probability[:, later], probability[:, earlier])
                    probability[:, later] = np.where(np.isnan(probability[:, later]), np.nan, bounded)
        return probability
