"""How well some columns of X alone order the leads of one morning, for one current stage and one stage to reach."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from pandas.util import hash_array
from scipy.stats import norm

from leadscore.examples import known_by
from leadscore.features import matrix
from leadscore.labels import reached
from leadscore.leaks.sources import is_known, own_columns, sources_of, without_touches
from leadscore.metrics import WithinMornings
from leadscore.metrics.within_mornings import BOUND
from leadscore.model.lightgbm_fit import data_set, grow

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from leadscore.backtest import Backtest
    from leadscore.funnel import NeverClosed
    from leadscore.history import History
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s
    from leadscore.leaks.sources import ColumnSource
    from leadscore.metrics.judged import Outcomes
    from leadscore.model import FunnelModel

QUICK = {
    "objective": "binary",
    "learning_rate": 0.1,
    "num_leaves": 8,
    "min_data_in_leaf": 20,
    "num_threads": 1,
    "deterministic": True,
    "verbosity": -1,
}
QUICK_ROUNDS = 60
# A leak shows in a sample: where there are more examples, leads are sampled.
MOST_EXAMPLES = 50_000


@dataclass(frozen=True)
class Ordered:
    """How well a score orders the leads of one morning and current stage.

    Attributes
    ----------
    within : WithinMornings
        The judged examples in that order.
    """

    within: WithinMornings

    @cached_property
    def value(self) -> float:
        """The order: .5 is chance, 1 is perfect."""
        return self.within.value(np.ones(self.within.leads.n_leads))

    @cached_property
    def least(self) -> float:
        """Its lower 99 % bound."""
        return self.within.order().least

    def is_clearly_better_than(self, other: Ordered) -> bool:
        """Whether the lower 99 % bound of the difference lies above zero; of the same examples."""
        ours, theirs = self.within, other.within
        [found] = ours.leads.intervals(lambda drawn: np.array([ours.value(drawn) - theirs.value(drawn)]))
        deviation = (found.high - found.low) / (2 * norm.isf((1 - 0.95) / 2))
        return bool(found.value - norm.isf(1 - BOUND) * deviation > 0)


@dataclass(frozen=True)
class Cell:
    """The judged examples of one current stage, for one stage to reach, and examples to learn quick trees from.

    Attributes
    ----------
    history : History
        What the examples are of.
    model : FunnelModel
        Of the first cut: its vocabulary and its columns.
    judged : Outcomes
        On the mornings after the first cut.
    lead, as_of : ndarray of int64, shape (n_learnt,)
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
    lead: Int64s
    as_of: Int64s
    outcome: Float64s
    sources: dict[ColumnSource, list[int]]
    all_sources: bool
    _matrices: dict[tuple[ColumnSource, ...], tuple[Float32s, Float32s]] = field(default_factory=dict, repr=False)

    def by_model(self) -> Ordered:
        """Order by the probabilities of the judged models."""
        return self._ordered(self.judged.probability)

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
        return Ordered(
            WithinMornings.of(replace(self.judged, probability=score), self.history.funnel.judging.resamples)
        )

    def _columns(self, without: tuple[ColumnSource, ...]) -> tuple[Float32s, Float32s]:
        """X of the examples learnt and judged, without the touches of some kinds."""
        if without not in self._matrices:
            history = without_touches(self.history, without)
            learnt, judged = (
                matrix(self.model.features_, history.at(lead, as_of).coded(self.model.vocabulary_))
                for lead, as_of in ((self.lead, self.as_of), (self.judged.lead, self.judged.as_of))
            )
            self._matrices[without] = learnt, judged
        return self._matrices[without]


def cell_of(history: History, past: Backtest, place: int, current: int, closed: NeverClosed | None) -> Cell | None:
    """The examples of one current stage, for one stage to reach; None where there are too few outcomes.

    Where many leads were never closed, time in stage and touches that ended long ago tell them from the others, which
    is no leak: these leads are left out. Where too few outcomes are left then, because hardly any lead was ever closed,
    only the examples that had been in their stage for more than ``closed.days`` are left out, and touches are not
    looked at: that there are no more of them is all that tells a lead that was given up.
    """
    model, cut = past.models[0], past.cuts[0]
    if model.stages_[place].fallback:
        return None
    learnt = past.examples.of(past.examples.as_of <= cut)
    outcome = known_by(reached(history, learnt.lead, learnt.as_of), learnt.as_of, history.funnel, cut)[:, place]
    learnt_here = (history.at(learnt.lead, learnt.as_of).steps.stage == current) & ~np.isnan(outcome)
    learnt, outcome = learnt.of(learnt_here), outcome[learnt_here]
    judged, sources = past.judged.reaching(place, current), sources_of(model.columns_)
    for never_closed in (True, False) if closed is not None else (False,):
        of_judged, of_learnt = (
            _sampled(history, each.lead, _credible(history, closed, each.lead, each.as_of, whole_leads=never_closed))
            for each in (judged, learnt)
        )
        chosen, all_sources = judged.of(of_judged), never_closed or closed is None
        if _n_leads(chosen) >= history.funnel.lightgbm.min_outcome_leads and 0 < outcome[of_learnt].mean() < 1:
            return Cell(
                history=history,
                model=model,
                judged=chosen,
                lead=learnt.lead[of_learnt],
                as_of=learnt.as_of[of_learnt],
                outcome=outcome[of_learnt].astype(np.float64),
                sources={each: found for each, found in sources.items() if all_sources or not each.is_touch},
                all_sources=all_sources,
            )
    return None


def _credible(history: History, closed: NeverClosed | None, lead: Int64s, as_of: Int64s, *, whole_leads: bool) -> Bools:
    """The examples that are not of leads that nobody closed, or only not at a moment from when on nobody does."""
    if closed is None:
        return np.ones(len(lead), np.bool_)
    if not whole_leads:
        kept: Bools = history.at(lead, as_of).steps.days_in_stage <= closed.days
        return kept
    everyone = np.arange(len(history))
    steps = history.at(everyone, np.full(len(everyone), history.known_until)).steps
    still_open = (steps.stage < len(history.funnel.stages) - 1) & (steps.days_in_stage > closed.days)
    of_closed: Bools = ~still_open[lead]
    return of_closed


def _sampled(history: History, lead: Int64s, kept: Bools) -> Bools:
    """Of the examples that are kept, those of so many leads that they are about `MOST_EXAMPLES` at most."""
    n = int(np.count_nonzero(kept))
    if n <= MOST_EXAMPLES:
        return kept
    sampled: Bools = kept & (hash_array(history.ids) < np.uint64(MOST_EXAMPLES / n * 2**64))[lead]
    return sampled


def _n_leads(judged: Outcomes) -> int:
    """Leads of the rarer outcome."""
    return min(len(np.unique(judged.lead[judged.outcome == value])) for value in (0, 1))
