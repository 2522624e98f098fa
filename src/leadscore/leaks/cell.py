"""How well some columns of X alone order the leads of one morning, for one current stage and one stage to reach."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.stats import norm

from leadscore.examples import known_by
from leadscore.features import matrix
from leadscore.labels import reached
from leadscore.leaks.sources import is_known, own_columns, sources_of, without_touches
from leadscore.metrics import Ordering, WithinMornings, auc
from leadscore.metrics.within_mornings import BOUND
from leadscore.model.lightgbm_fit import data_set, grow

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from leadscore.backtest import Backtest
    from leadscore.examples import Examples
    from leadscore.funnel import NeverClosed
    from leadscore.history import History
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s
    from leadscore.leaks.sources import ColumnSource
    from leadscore.metrics.judged import Judged, Outcomes
    from leadscore.model import FunnelModel

QUICK = {
    "objective": "binary",
    "learning_rate": 0.2,
    "num_leaves": 8,
    "min_data_in_leaf": 20,
    "num_threads": 1,
    "deterministic": True,
    "verbosity": -1,
}
QUICK_ROUNDS = 30
# A leak shows in a sample. Where there are more examples, every n-th is learnt from, and every n-th morning judged: so
# all leads that stay for some time are there, and compared with all others of their morning.
MOST_EXAMPLES = 10_000


@dataclass(frozen=True)
class Ordered:
    """How well a score orders the leads of one morning and current stage.

    Attributes
    ----------
    judged : Outcomes
        What is ordered, with the score as the probability.
    resamples : int
        Bootstrap resamples of leads.
    """

    judged: Outcomes
    resamples: int

    @cached_property
    def over_all_mornings(self) -> float:
        """The AUC over all mornings together: not far from the order, and a tenth of the work."""
        return auc(*Ordering.of(self.judged.outcome, self.judged.probability).counts())

    @cached_property
    def value(self) -> float:
        """The order: .5 is chance, 1 is perfect."""
        return self._within.value(np.ones(self._within.leads.n_leads))

    @cached_property
    def least(self) -> float:
        """Its lower 99 % bound."""
        return self._within.order().least

    def is_clearly_better_than(self, other: Ordered) -> bool:
        """Whether the lower 99 % bound of the difference lies above zero; of the same examples."""
        ours, theirs = self._within, other._within
        [found] = ours.leads.intervals(lambda drawn: np.array([ours.value(drawn) - theirs.value(drawn)]))
        deviation = (found.high - found.low) / (2 * norm.isf((1 - 0.95) / 2))
        return bool(found.value - norm.isf(1 - BOUND) * deviation > 0)

    @cached_property
    def _within(self) -> WithinMornings:
        return WithinMornings.of(self.judged, self.resamples)


@dataclass(frozen=True)
class Cell:
    """The judged examples of one current stage, for one stage to reach, and examples to learn quick trees from.

    Attributes
    ----------
    history : History
        What the examples are of, under the vocabulary of the model.
    model : FunnelModel
        Of the first cut: its columns.
    judged : Outcomes
        On the mornings after the first cut.
    learnt : Examples
        Examples whose outcome was known at the first cut.
    outcome : ndarray of float64, shape (n_learnt,)
        1 reached, 0 not.
    sources : dict of ColumnSource to list of int
        What is looked at, with its columns of X.
    all_sources : bool
        Whether that is every source.
    """

    history: History
    model: FunnelModel
    judged: Outcomes
    learnt: Examples
    outcome: Float64s
    sources: dict[ColumnSource, list[int]]
    all_sources: bool
    _matrices: dict[tuple[ColumnSource, ...], tuple[Float32s, Float32s]] = field(default_factory=dict, repr=False)

    @cached_property
    def by_model(self) -> Ordered:
        """Order by the probabilities of the judged models."""
        return self._ordered(self.judged.probability)

    @cached_property
    def by_own_columns(self) -> Ordered:
        """Order by what leadscore computes from the clock and the transitions."""
        return self._by_columns(own_columns(self.model.columns_), ())

    def by_source(self, source: ColumnSource) -> Ordered:
        """Order by one source alone."""
        return self._by_columns(self.sources[source], ())

    def by_missingness(self, source: ColumnSource) -> tuple[Ordered, bool]:
        """Order by whether a value, or any touch, of a source is known; and whether it is rather of those who reached.

        Which way is taken from the examples known at the first cut.
        """
        learnt, judged = (
            is_known(source, self.model.columns_, self.sources[source], X).astype(np.float64) for X in self._columns(())
        )
        of_reached = bool(learnt[self.outcome == 1].mean() >= learnt[self.outcome == 0].mean())
        return self._ordered(judged if of_reached else -judged), of_reached

    def without(self, left_out: Collection[ColumnSource]) -> Ordered:
        """Order by all columns, computed without some sources."""
        dropped = {position for source in left_out for position in self.sources[source]}
        kept = [position for position in range(len(self.model.columns_)) if position not in dropped]
        return self._by_columns(kept, tuple(source for source in left_out if source.is_touch))

    def _by_columns(self, positions: Sequence[int], without: tuple[ColumnSource, ...]) -> Ordered:
        """Order by small trees that see some columns, learnt quickly."""
        learnt, judged = (X[:, positions] for X in self._columns(without))
        categories = [place for place, position in enumerate(positions) if self.model.columns_[position].names]
        trees = grow(QUICK, data_set(learnt, self.outcome, QUICK, categories=categories), QUICK_ROUNDS)
        return self._ordered(np.asarray(trees.predict(judged, num_threads=1), np.float64))

    def _ordered(self, score: Float64s) -> Ordered:
        return Ordered(replace(self.judged, probability=score), self.history.funnel.judging.resamples)

    def _columns(self, without: tuple[ColumnSource, ...]) -> tuple[Float32s, Float32s]:
        """X of the examples learnt and judged, without the touches of some kinds."""
        if without not in self._matrices:
            history = without_touches(self.history, without)
            learnt, judged = (
                matrix(self.model.features_, history.at(each.lead, each.as_of)) for each in (self.learnt, self.judged)
            )
            self._matrices[without] = learnt, judged
        return self._matrices[without]


@dataclass(frozen=True, slots=True)
class Cells:
    """What was learnt and judged, to be looked at by current stage and stage to reach.

    Attributes
    ----------
    history, coded : History
        As it is, and under the vocabulary of the model.
    model : FunnelModel
        Of the first cut.
    judged : Judged
        On the mornings after it.
    learnt : Examples
        Up to it.
    stage : ndarray of int64, shape (n_learnt,)
        Current stage of each.
    outcome : ndarray of float32, shape (n_learnt, n_later_stages)
        1 reached, 0 not, NaN not known at the first cut.
    closed : NeverClosed, optional
        Leads that nobody closed.
    given_up : ndarray of bool, shape (n_leads,)
        Which these are.
    """

    history: History
    coded: History
    model: FunnelModel
    judged: Judged
    learnt: Examples
    stage: Int64s
    outcome: Float32s
    closed: NeverClosed | None
    given_up: Bools

    @classmethod
    def of(cls, history: History, past: Backtest, closed: NeverClosed | None) -> Self:
        """What a backtest learnt at its first cut, and judged."""
        model, cut = past.models[0], past.cuts[0]
        learnt = past.examples.of(past.examples.as_of <= cut)
        return cls(
            history=history,
            coded=history.coded(model.vocabulary_),
            model=model,
            judged=past.judged,
            learnt=learnt,
            stage=history.at(learnt.lead, learnt.as_of).steps.stage,
            outcome=known_by(reached(history, learnt.lead, learnt.as_of), learnt.as_of, history.funnel, cut),
            closed=closed,
            given_up=_given_up(history, closed),
        )

    def cell(self, place: int, current: int) -> Cell | None:
        """The examples of one current stage, for one stage to reach; None where there are too few outcomes.

        Where many leads were never closed, time in stage and touches that ended long ago tell them from the others,
        which is no leak: these leads are left out. Where too few outcomes are left then, because hardly any lead was
        ever closed, only the examples that had been in their stage for more than ``closed.days`` are left out, and
        touches are not looked at: that there are no more of them is all that tells a lead that was given up.
        """
        if self.model.stages_[place].fallback:
            return None
        sources, judged = sources_of(self.model.columns_), self.judged.reaching(place, current)
        here = (self.stage == current) & ~np.isnan(self.outcome[:, place])
        learnt, outcome = self.learnt.of(here), self.outcome[here, place].astype(np.float64)
        for with_touches in (True,) if self.closed is None else (True, False):
            chosen = judged.of(self._credible(judged.lead, judged.as_of, whole_leads=with_touches))
            rows = np.flatnonzero(self._credible(learnt.lead, learnt.as_of, whole_leads=with_touches))
            rows = rows[:: _every(len(rows))]
            enough = _rarer_outcome(chosen) >= self.history.funnel.lightgbm.min_outcome_leads
            if enough and len(np.unique(outcome[rows])) == 2:
                return Cell(
                    history=self.coded,
                    model=self.model,
                    judged=_some_mornings(chosen),
                    learnt=learnt.of(rows),
                    outcome=outcome[rows],
                    sources={each: found for each, found in sources.items() if with_touches or not each.is_touch},
                    all_sources=with_touches,
                )
        return None

    def _credible(self, lead: Int64s, as_of: Int64s, *, whole_leads: bool) -> Bools:
        """The examples that are not of leads that nobody closed, or only not of a time when nobody closes any."""
        if whole_leads or self.closed is None:
            return ~self.given_up[lead]
        kept: Bools = self.history.at(lead, as_of).steps.days_in_stage <= self.closed.days
        return kept


def _given_up(history: History, closed: NeverClosed | None) -> Bools:
    """The leads that nobody closed, shape (n_leads,)."""
    if closed is None:
        return np.zeros(len(history), np.bool_)
    everyone = np.arange(len(history))
    steps = history.at(everyone, np.full(len(everyone), history.known_until)).steps
    given_up: Bools = (steps.stage < len(history.funnel.stages) - 1) & (steps.days_in_stage > closed.days)
    return given_up


def _some_mornings(judged: Outcomes) -> Outcomes:
    """The outcomes on all mornings, or on every n-th where they would be too many."""
    _, morning = np.unique(judged.as_of, return_inverse=True)
    return judged.of(morning % _every(len(judged)) == 0)


def _every(n: int) -> int:
    """As how many there are for each of `MOST_EXAMPLES`, at least 1."""
    return max(1, -(-n // MOST_EXAMPLES))


def _rarer_outcome(judged: Outcomes) -> int:
    """Leads of the rarer outcome."""
    return min(len(np.unique(judged.lead[judged.outcome == value])) for value in (0, 1))
