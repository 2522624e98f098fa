"""Drift: what moved between the latest time and the time before, by more than it used to move.

Every statistic is taken window by window, and what it differed by between past windows, beyond chance, is noise: so
seasons and growth that were there before are no drift. The statistics need a history and windows; level and order need
in addition what a model predicted on mornings from which it had not learnt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leadscore.backtest import judge
from leadscore.drift.ended import OnlyLearnt, only_learnt
from leadscore.drift.entering import new_leads
from leadscore.drift.level import levels
from leadscore.drift.meaning import meanings
from leadscore.drift.open_leads import OpenLeads, touch_volumes
from leadscore.drift.outcomes import Outcomes, orders
from leadscore.drift.result import GO_ON, LOOK, RECALIBRATE, RETRAIN, Advice, Drift, Finding, drift_among
from leadscore.drift.statistic import findings_of
from leadscore.drift.windows import LEAST_PAST, Windows, window_days
from leadscore.examples import judging_examples

if TYPE_CHECKING:
    from leadscore.history import History
    from leadscore.metrics import Judged
    from leadscore.model import FunnelModel

__all__ = [
    "GO_ON",
    "LOOK",
    "RECALIBRATE",
    "RETRAIN",
    "Advice",
    "Drift",
    "Finding",
    "OnlyLearnt",
    "drift",
    "drift_since",
    "only_learnt",
]


def drift(history: History, judged: Judged) -> Drift:
    """What moved lately.

    Parameters
    ----------
    judged : Judged
        What a model predicted on mornings from which it had not learnt.
    """
    days = window_days(history)
    windows = Windows.until(history, history.known_until, days)
    late = windows.last(1)
    if len(windows) <= LEAST_PAST:
        return Drift()
    rows = OpenLeads.since(history, int(windows.edges[0]))
    inputs = [*new_leads(history, windows, ~late, late), *touch_volumes(history, rows, windows, ~late, late)]
    outcomes = Outcomes.of(history, rows, days)
    of_model = [*levels(judged, outcomes), *orders(judged, outcomes)]
    return drift_among([*findings_of(inputs, late, ~late), *of_model, *meanings(history, windows)])


def drift_since(history: History, model: FunnelModel) -> Drift:
    """What moved lately, with what a model says on the mornings since its last label ended."""
    return drift(history, judge(history, model, judging_examples(history, model.trained_until_)))
