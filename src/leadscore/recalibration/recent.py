"""The recent mornings that calibration is fitted anew on, and which of them each stage takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from leadscore.baselines import BaseRate
from leadscore.examples import judging_examples, known_by, sampled
from leadscore.features import matrix
from leadscore.history import DAY
from leadscore.labels import reached

if TYPE_CHECKING:
    from leadscore.examples import Examples
    from leadscore.history import History, Snapshot
    from leadscore.history.line import Bools, Float32s, Int64s
    from leadscore.model import FunnelModel

# What counts as recent: this share of the time with known outcomes, and at least so many horizons, of which one is the
# gap between the mornings that a first calibration is fitted on and those that decide.
RECENT_SHARE, RECENT_HORIZONS = 0.25, 2
# Share of the time outside that gap that the first calibration is fitted on.
EARLY_SHARE = 0.5
# An intercept asks for so many leads of either outcome, both to fit it and to decide; a slope asks for
# lightgbm.min_outcome_leads.
LEAST_LEADS = 10


class Window(NamedTuple):
    """The mornings taken for one stage, as rows of the examples.

    Attributes
    ----------
    rows, early, late : ndarray of int64
        All of them; those to fit first; those to decide on, a horizon later.
    unseen : bool
        Whether the trees have learnt from none of them.
    enough : bool
        Whether both parts hold enough outcomes for an intercept.
    """

    rows: Int64s
    early: Int64s
    late: Int64s
    unseen: bool
    enough: bool

    def of(self, kept: Bools) -> Window:
        """The examples of the window that are kept; whether they are enough is left as it was."""
        rows, early, late = (each[kept[each]] for each in (self.rows, self.early, self.late))
        return self._replace(rows=rows, early=early, late=late)


@dataclass(frozen=True, slots=True)
class Recent:
    """All leads open on recent mornings, and what is known by then of what they reached.

    Attributes
    ----------
    history, model : History, FunnelModel
        Where the leads stand, and what is to be fitted anew.
    until : int
        Labels that ended later are not known.
    n_jobs : int
        Threads.
    examples, snapshot : Examples, Snapshot
        The leads on the mornings.
    outcome : ndarray of float32, shape (n_examples, n_later_stages)
        1 reached, 0 not, NaN passed or not known.
    X : ndarray of float32, shape (n_examples, n_columns)
        The features.
    """

    history: History
    model: FunnelModel
    until: int
    n_jobs: int
    examples: Examples
    snapshot: Snapshot
    outcome: Float32s
    X: Float32s

    @classmethod
    def of(cls, history: History, model: FunnelModel, until: int, n_jobs: int) -> Self:
        """The mornings that are recent for any stage.

        Raises
        ------
        ModelError
            The history is of another funnel than the model.
        """
        begin = min(_recent_from(history, days, until) for days in history.funnel.horizons)
        examples = sampled(history, judging_examples(history, begin), history.funnel.examples.max_examples)
        outcome = reached(history, examples.lead, examples.as_of)
        outcome = known_by(outcome, examples.as_of, history.funnel, until)
        known: Bools = np.any(~np.isnan(outcome), axis=1)
        examples, outcome = examples.of(known), outcome[known]
        snapshot = history.at(examples.lead, examples.as_of)
        # Refuses leads of another funnel before anything is read of them.
        model.predict_proba(snapshot[np.arange(0)])
        X = matrix(model.features_, snapshot.coded(model.vocabulary_), n_jobs)
        return cls(history, model, until, n_jobs, examples, snapshot, outcome, X)

    def window(self, place: int) -> Window:
        """The mornings of a stage: those that the trees have not learnt from if they are enough, else recent ones."""
        days = self.history.funnel.horizons[place]
        since = _recent_from(self.history, days, self.until)
        unseen = self._blocks(place, max(since, self.model.grown_until_), unseen=True)
        return unseen if unseen.enough else self._blocks(place, since, unseen=since >= self.model.grown_until_)

    def _blocks(self, place: int, since: int, *, unseen: bool) -> Window:
        rows = np.flatnonzero(~np.isnan(self.outcome[:, place]) & (self.examples.as_of >= since))
        as_of, gap = self.examples.as_of[rows], self.history.funnel.horizons[place] * DAY
        if not len(rows):
            return Window(rows, rows, rows, unseen, enough=False)
        first, last = int(as_of.min()), int(as_of.max())
        end = first + int(EARLY_SHARE * (last - first - gap))
        early, late = rows[as_of <= end], rows[as_of > end + gap]
        return Window(rows, early, late, unseen, self.enough(place, early, late))

    def enough(self, place: int, early: Int64s, late: Int64s) -> bool:
        """Whether two parts hold enough outcomes to fit an intercept on the one and to decide by the other."""
        return min(self.outcome_leads(place, block) for block in (early, late)) >= LEAST_LEADS

    def outcome_leads(self, place: int, rows: Int64s) -> int:
        """Leads of the rarer outcome among some rows."""
        lead, outcome = self.examples.lead[rows], self.outcome[rows, place]
        return min(len(np.unique(lead[outcome == value])) for value in (1, 0))

    def last_label_end(self, place: int, window: Window) -> int:
        """End of the last label that anything was fitted or decided on; 0 where nothing was."""
        if not window.enough:
            return 0
        return int(self.examples.as_of[window.rows].max()) + self.history.funnel.horizons[place] * DAY

    def base_rate(self, place: int, rows: Int64s) -> BaseRate:
        """Base rates of reaching one stage among some rows, in the bands of the model."""
        only = np.full((len(rows), self.outcome.shape[1]), np.nan, np.float32)
        only[:, place] = self.outcome[rows, place]
        return BaseRate().fit(self.snapshot[rows], only, self.model.base_rate_.band_days_)


def _recent_from(history: History, horizon_days: int, until: int) -> int:
    """The first moment that is recent for a stage."""
    gap = horizon_days * DAY
    first = int(history.known.min()) if len(history) else until
    ripe_until = until - gap
    return ripe_until - max(int(RECENT_SHARE * (ripe_until - first)), RECENT_HORIZONS * gap)
