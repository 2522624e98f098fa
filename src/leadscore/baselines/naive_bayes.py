"""Odoo's predictive lead scoring on our histories."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.base import BaseEstimator

from leadscore.baselines.frequencies import NONE, LeadValues, LogOdds, learn
from leadscore.errors import TrainingError
from leadscore.history import MISSING
from leadscore.history.vocabulary import recode

if TYPE_CHECKING:
    from leadscore.history import History, Snapshot
    from leadscore.history.line import Bools, Float64s, Int64s

log = logging.getLogger(__name__)


class NaiveBayes(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """How likely each lead is to be won some day, by the stages and categories of leads that are closed.

    Fields are all attributes that are categories, but for those known late; numbers are not used. There are no teams:
    an owner is a person, of whom a team has several, and so is a field like the others. Probabilities state no horizon.

    Attributes
    ----------
    names_ : dict of str to tuple of str
        Values of each field in order of their codes.
    log_odds_ : LogOdds
        What was learnt.
    n_won_, n_lost_ : int
        Leads learnt from.
    """

    names_: dict[str, tuple[str, ...]]
    log_odds_: LogOdds
    n_won_: int
    n_lost_: int

    def fit(self, history: History, cut: int) -> Self:
        """Learn from the leads that are won or lost at ``cut``, with the values known just before they were.

        It takes a history, not examples: it learns from each closed lead once, and a lead is no example at the
        moment it closes.

        Parameters
        ----------
        history : History
            What became known after ``cut`` is not looked at.
        cut : int
            Microseconds since 1970 UTC.

        Raises
        ------
        TrainingError
            No lead is closed.
        """
        closed, stage, won = _closed_leads(history, cut)
        if not len(closed):
            raise TrainingError("no lead is won or lost at the cut; choose a later cut, or record how leads end")
        self.n_won_, self.n_lost_ = int(won.sum()), int((~won).sum())
        log.info("learning from %d leads won and %d lost", self.n_won_, self.n_lost_)
        late = history.funnel.known_late
        self.names_ = {name: names for name, names in history.vocabulary.categories.items() if name not in late}
        self.log_odds_ = learn(self._values(closed, stage), won, len(history.funnel.stages))
        return self

    def won_probability(self, X: Snapshot) -> Float64s:
        """Probability of being won some day, shape (n_examples,): 0.0001 to 0.9999 in steps of 0.0001.

        1 for a lead that is won, and 0 for one that is lost.
        """
        stage = X.steps.stage
        standing = np.where(stage == X.funnel.lost_code, NONE, stage)
        return self.log_odds_.percent(self._values(X, standing)) / 100

    def _values(self, X: Snapshot, stage: Int64s) -> LeadValues:
        fields = {name: self._codes(X, name) for name in self.names_}
        return LeadValues(stage, np.full(len(X), NONE), fields)

    def _codes(self, X: Snapshot, name: str) -> Int64s:
        names = self.names_[name]
        codes = recode(X.category(name), X.vocabulary.categories[name], names, np.int32).astype(np.int64)
        return np.where(codes == names.index(MISSING), NONE, codes)


def _closed_leads(history: History, cut: int) -> tuple[Snapshot, Int64s, Bools]:
    """Leads closed at the cut, just before that became known; the stage that each left; whether it was won.

    Lead A, an SQL that is known to be lost from 2024-03-06 09:00 on, is seen at 08:59:59.999999, and was lost in SQL.
    """
    lead, win = np.flatnonzero(history.known <= cut), len(history.funnel.stages) - 1
    steps = history.at(lead, np.full(len(lead), cut)).steps
    # As recorded: a lead that is lost because of lost_after_days has left no stage.
    closed = steps.stage_entered >= win
    row = steps.end[closed] - 1
    before = history.at(lead[closed], history.steps.known[row] - 1)
    # Not the stage of that snapshot: what became known at the same moment as the closing is not in it.
    return before, history.steps.left[row].astype(np.int64), steps.stage_entered[closed] == win
