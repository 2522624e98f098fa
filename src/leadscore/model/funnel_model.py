"""The model of a whole funnel."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.special import expit, logit
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from leadscore.baselines import BaseRate
from leadscore.errors import ModelError, TrainingError
from leadscore.features import catalogue, columns_of, fit_vocabulary, matrix
from leadscore.history import DAY
from leadscore.model.grades import Grades
from leadscore.model.learning import Learning
from leadscore.model.lightgbm_fit import data_set, tree_settings
from leadscore.model.pair import every
from leadscore.model.stage import StageModel, margin_of
from leadscore.model.trees import side_by_side
from leadscore.model.typical import Typical
from leadscore.model.withheld import Withheld, withheld
from leadscore.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    import lightgbm as lgb

    from leadscore.config import Funnel
    from leadscore.features import Column, Feature
    from leadscore.history import Snapshot, Vocabulary
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s
    from leadscore.model.compiled import CompiledTrees
    from leadscore.model.linear import Linear
    from leadscore.model.pair import Pair

# Rows of X that are in memory at once when predicting.
ROWS_AT_ONCE = 1 << 18
# From so many rows on each stage's trees are asked in a call of their own.
ROWS_APART = 1 << 13
# Grades are learnt from at most about so many examples, spread evenly over all.
GRADED_EXAMPLES = 20_000


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
    linear_ : Linear, optional
        Logistic regressions that are mixed with the trees of some stages; None where no stage asks for one.
    base_rate_ : BaseRate
        What is served where a stage has too few outcomes, or its trees no signal.
    typical_ : Typical
        What is typical of each current stage, from the examples that base rates are taken from.
    grades_ : Grades
        From which probability on a lead has which grade, by the same examples.
    half_life_ : float, optional
        Days after which an example counted half when the model learnt; None where all counted alike.
    trained_until_ : int
        End of the last label learnt from, in microseconds since 1970 UTC.
    grown_until_ : int
        End of the last label that the trees learnt from: earlier where calibration has been fitted anew since.
    recalibrated_ : bool
        Whether it has.
    doubts_ : tuple of str
        What its training run found that the gate would hold it back for, in sentences; whoever is served its
        probabilities is warned with them.
    joined_ : tuple
        Boosters of stages, and their trees as one; made when they are first asked.
    compiled_ : CompiledTrees, optional
        Their trees as machine code, of a model that `leadscore.model.compiled.compiled` gave.
    """

    vocabulary_: Vocabulary
    stages_: tuple[StageModel, ...]
    linear_: Linear | None
    base_rate_: BaseRate
    typical_: Typical
    grades_: Grades
    half_life_: float | None = None
    trained_until_: int
    grown_until_: int
    recalibrated_: bool
    doubts_: tuple[str, ...] = ()
    joined_: tuple[list[lgb.Booster], lgb.Booster | None] = ([], None)
    compiled_: CompiledTrees | None = None

    def __init__(self, funnel: Funnel, n_jobs: int = 1) -> None:
        self.funnel = funnel
        self.n_jobs = n_jobs

    def fit(
        self,
        X: Snapshot,
        y: Float32s,
        sample_weight: Float64s | None = None,
        on_morning: Bools | None = None,
        *,
        with_reasons: bool = True,
        rounds_from: FunnelModel | None = None,
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
        with_reasons : bool, default True
            Whether to learn what reasons and grades need, too. Without it `typical_` and `grades_` are not set:
            enough for a model whose probabilities are only judged, which are the same.
        rounds_from : FunnelModel, optional
            A model of the same funnel that has learnt from earlier time, whose numbers of trees are taken over; by
            default they are found on later blocks of the examples.

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
        self._forget()
        self.vocabulary_ = fit_vocabulary(X, self.funnel.features.min_category_leads)
        self.trained_until_ = self.grown_until_ = self._last_label_end(X.as_of, y)
        self.recalibrated_ = False
        learning = self._learning(X, y, weight, with_reasons=with_reasons, rounds_from=rounds_from)
        self.half_life_ = learning.half_life() if rounds_from is None else rounds_from.half_life_
        learning = learning.aged(self.half_life_)
        learnt_of = []
        with progress("learning", "stages", y.shape[1]) as bar:
            for each in learning.models():
                learnt_of.append(each)
                bar.update()
        stages, regressions = zip(*learnt_of, strict=True)
        self.stages_, self.linear_ = stages, learning.linear(regressions)
        if with_reasons:
            self.typical_ = Typical.of(learning.X, y, X.steps.stage, counted[learnt], self.columns_)
            rows = np.flatnonzero(counted[learnt])
            rows = rows[:: max(1, len(rows) // GRADED_EXAMPLES)]
            self.grades_ = self.graded(X[rows], self._probabilities(X[rows], learning.X[rows]))
        return self

    def graded(self, X: Snapshot, probability: Float64s) -> Grades:
        """The grades that leads at past moments would have, by their probabilities."""
        return Grades.of(*self.keys(X.steps.stage, probability))

    def keys(self, stage: Int64s, probability: Float64s) -> tuple[Float64s, Bools]:
        """What each lead's list is ordered by, and whether that is the list before the handoff; (n_leads,) each.

        A lead before the second stage of the handoff is ordered by its probability of reaching that; the others by
        that of the win.
        """
        handoff = self.funnel.stages.index(self.funnel.funnel.handoff[1])
        before: Bools = stage < handoff
        return np.where(before, probability[:, handoff - 1], probability[:, -1]), before

    def _forget(self) -> None:
        for name in ("features_", "columns_"):
            self.__dict__.pop(name, None)

    def _last_label_end(self, as_of: Int64s, y: Float32s) -> int:
        end = as_of[:, None] + np.array(self.funnel.horizons) * DAY
        return int(end[~np.isnan(y)].max())

    def _learning(
        self,
        X: Snapshot,
        y: Float32s,
        weight: Float64s,
        *,
        with_reasons: bool,
        rounds_from: FunnelModel | None,
    ) -> Learning:
        features = matrix(self.features_, X.coded(self.vocabulary_), self.n_jobs)
        binned = data_set(
            features,
            np.zeros(len(features), np.float32),
            tree_settings(self.funnel.lightgbm),
            categories=[place for place, column in enumerate(self.columns_) if column.names],
        )
        return Learning(
            self.funnel,
            binned,
            features,
            self.columns_,
            y,
            X.lead,
            X.as_of,
            weight,
            self.n_jobs,
            with_reasons=with_reasons,
            rounds_from=() if rounds_from is None else rounds_from.stages_,
        )

    @cached_property
    def features_(self) -> tuple[Feature, ...]:
        """The features that the trees were grown on."""
        if not hasattr(self, "vocabulary_"):
            raise NotFittedError("this FunnelModel has learnt nothing yet; call fit first")
        return catalogue(self.funnel, self.vocabulary_)

    @cached_property
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
                probability[rows] = self._probabilities(coded[rows], matrix(features, coded[rows], self.n_jobs))
                bar.update(len(probability[rows]))
        return probability

    def serving(self, pairs: Sequence[Sequence[Pair]]) -> Self:
        """The same model, but serving what pairs of current stage and stage to reach say.

        Parameters
        ----------
        pairs : sequence of sequence of Pair
            For each later stage one for each current stage before it.
        """
        served = copy(self)
        served.stages_ = tuple(
            replace(stage, pairs=tuple(each)) for stage, each in zip(self.stages_, pairs, strict=True)
        )
        return served

    def pairs(self) -> list[tuple[Pair, ...]]:
        """What is served for each later stage, one for each current stage before it."""
        return [every(stage.pairs, place) for place, stage in enumerate(self.stages_)]

    def withheld(self) -> list[Withheld]:
        """Where base rates are served rather than trees, and why; in order of the stages to reach."""
        return [each for place, stage in enumerate(self.stages_) for each in withheld(self.funnel, place, stage)]

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
                "with; train a model for these data, or put the one that was trained into service: make promote"
            )

    def _probabilities(self, X: Snapshot, features: Float32s) -> Float64s:
        probability, stage = self.base_rates(X), X.steps.stage
        if places := self._with_trees():
            margin = self._mixed(places, self._margins(features), features)
            for column, place in enumerate(places):
                rows = self.stages_[place].serves_trees(stage, place)
                probability[rows, place] = self.stages_[place].calibrated(margin[rows, column], stage[rows])
        return self._ordered(probability)

    def base_rates(self, X: Snapshot) -> Float64s:
        """Base rates as they are served, at the level of their pair; shape (n_examples, n_later_stages).

        NaN for stages already passed.
        """
        rates, stage = self.base_rate_.predict_proba(X), X.steps.stage
        for place, learnt in enumerate(self.stages_):
            for current, pair in enumerate(learnt.pairs):
                if pair.level and not (pair.trees and not learnt.fallback):
                    rows = np.flatnonzero(stage == current)
                    rates[rows, place] = expit(logit(rates[rows, place]) + pair.level)
        return rates

    def prepare(self) -> Self:
        """The same model, with all made that the first prediction would otherwise wait for."""
        if self.columns_ and self.boosters():
            self._side_by_side()
        return self

    def boosters(self) -> list[lgb.Booster]:
        """The trees of each stage that are served to any lead, in order."""
        found = [self.stages_[place].booster for place in self._with_trees()]
        return [booster for booster in found if booster is not None]

    def _margins(self, features: Float32s) -> Float64s:
        """What the trees of the stages that have some say, shape (n_examples, n_boosters).

        Of leads that have passed them, too. The same bits every way: for a few leads a call costs more than some
        trees; for many, the trees of one stage fit a core's cache, and those of all do not.
        """
        if len(features) < ROWS_APART:
            return margin_of(self._side_by_side(), features, self.n_jobs).reshape(len(features), -1)
        boosters, compiled = self.boosters(), self.compiled_
        if compiled is not None and _same(compiled.boosters, boosters):
            margins = compiled.margins(features, self.n_jobs)
            if margins is not None:
                return margins
        return np.column_stack([margin_of(booster, features, self.n_jobs) for booster in boosters])

    def _mixed(self, places: list[int], margin: Float64s, features: Float32s) -> Float64s:
        """The margins of the stages that have trees, of the shape of the sums of these."""
        mixed = [column for column, place in enumerate(places) if self.stages_[place].mix.weight != 1]
        if mixed and self.linear_ is not None:
            linear = self.linear_.margins(features, [places[column] for column in mixed])
            for at, column in enumerate(mixed):
                margin[:, column] = self.stages_[places[column]].mix.of(margin[:, column], linear[:, at])
        return margin

    def margin(self, place: int, features: Float32s) -> Float64s:
        """The margin of one stage that has trees, shape (n_rows,): log odds before calibration.

        Parameters
        ----------
        features : ndarray of float32, shape (n_rows, n_columns)
        """
        booster = self.stages_[place].booster
        if booster is None:
            raise ValueError("there are no trees; serve the base rate")
        trees = margin_of(booster, features, self.n_jobs)
        return self._mixed([place], trees[:, None], features)[:, 0]

    def _with_trees(self) -> list[int]:
        return [place for place, each in enumerate(self.stages_) if not each.serves_base_rate]

    def _side_by_side(self) -> lgb.Booster:
        """The trees of all these stages as one booster, made when it is first needed."""
        boosters = self.boosters()
        known, joined = self.joined_
        if not _same(known, boosters):
            joined = side_by_side(boosters, len(self.columns_))
            self.joined_ = boosters, joined
        if joined is None:
            raise ValueError("there are no trees; serve the base rate")
        return joined

    def _ordered(self, probability: Float64s) -> Float64s:
        horizons = self.funnel.horizons
        for later, days in enumerate(horizons):
            for earlier in range(later):
                if days <= horizons[earlier]:
                    # fmin: a stage already passed (NaN) bounds nothing. Only a stage ahead can be bounded.
                    bounded = np.fmin(probability[:, later], probability[:, earlier])
                    probability[:, later] = np.where(np.isnan(probability[:, later]), np.nan, bounded)
        return probability


def _same(known: Sequence[lgb.Booster], boosters: Sequence[lgb.Booster]) -> bool:
    return len(known) == len(boosters) and all(a is b for a, b in zip(known, boosters, strict=True))
