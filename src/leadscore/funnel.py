"""Where each lead stood, and from when to when: the stays of every lead in every open stage."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from leadscore.history import History, Snapshot
    from leadscore.history.line import Bools, Int64s

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stays:
    """Stays of leads in stages that are neither the win nor lost, in order of (lead, begin).

    A lead is known to stand in the stage at every moment of ``[begin, end)``: lead A, known to be an MQL from
    2024-03-04 09:00 and an SQL from 2024-03-06 09:00, is an MQL at the first moment and no longer at the second.

    Attributes
    ----------
    lead : ndarray of int64, shape (n_stays,)
        Position of the lead in the history.
    stage : ndarray of int64, shape (n_stays,)
        Code of the stage.
    begin, end : ndarray of int64, shape (n_stays,)
        From when to when it was known; ``end`` of the last stay is a microsecond after ``known_until``.
    """

    lead: Int64s
    stage: Int64s
    begin: Int64s
    end: Int64s

    def __len__(self) -> int:
        return len(self.lead)

    def of(self, kept: Bools) -> Stays:
        """The stays that are kept."""
        return Stays(self.lead[kept], self.stage[kept], self.begin[kept], self.end[kept])


def open_stays(history: History) -> Stays:
    """All stays in open stages, from the moment the lead was known, up to ``known_until``.

    Where a lead that was created before ``time.history_begins`` stood until its first transition is not known: that
    is no stay.
    """
    steps = history.steps
    every_lead = np.arange(len(history))
    # Each lead's stays: one in the first stage before its first step, then one per step.
    lead = np.concatenate((every_lead, steps.lead))
    order = np.argsort(lead, kind="stable")
    lead = lead[order]
    stage = np.concatenate((np.zeros(len(history), np.int64), steps.stage.astype(np.int64)))[order]
    begin = np.concatenate((np.full(len(history), -(2**62)), steps.known))[order]
    end = np.append(begin[1:], 0)
    end[np.append(lead[1:] != lead[:-1], True)[: len(lead)]] = history.known_until + 1
    begin = np.maximum(begin, history.known[lead])
    end = np.minimum(end, history.known_until + 1)
    win = len(history.funnel.stages) - 1
    initial = np.append(True, lead[1:] != lead[:-1])[: len(lead)]
    unknown = initial & (history.created[lead] < history.begins)
    return Stays(lead, stage, begin, end).of((stage < win) & (begin < end) & ~unknown)


def open_leads(history: History, as_of: int) -> Snapshot:
    """The leads that are known and neither won nor lost at ``as_of``, in order of ``lead_id``.

    Leads of which it is not known where they stand are left out, and counted in the log.
    """
    lead = np.flatnonzero(history.known <= as_of)
    snapshot = history.at(lead, np.full(len(lead), as_of))
    known = snapshot.steps.known
    if n_unknown := len(known) - np.count_nonzero(known):
        log.info(
            "%d leads created before history_begins have no transition: where they stand is not known, and they are "
            "not listed",
            n_unknown,
        )
    return snapshot[np.flatnonzero(known & (snapshot.steps.stage < len(history.funnel.stages) - 1))]
