"""Where each lead stood, and from when to when: the stays of every lead in every open stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from leadscore.history import History, Snapshot
    from leadscore.history.line import Bools, Int64s


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
        From when to when it was known; ``end`` of the last stay is when the lead left the CRM, or a microsecond after
        ``known_until``.
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
    """All stays in open stages, from the moment the lead was known, until it left the CRM or ``known_until``."""
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
    if history.gone is not None:
        end = np.minimum(end, history.gone[lead])
    win = len(history.funnel.stages) - 1
    return Stays(lead, stage, begin, end).of((stage < win) & (begin < end))


def open_leads(history: History, as_of: int) -> Snapshot:
    """The leads that are in the CRM and neither won nor lost at ``as_of``, in order of ``lead_id``."""
    there = history.known <= as_of
    if history.gone is not None:
        there &= history.gone > as_of
    lead = np.flatnonzero(there)
    snapshot = history.at(lead, np.full(len(lead), as_of))
    return snapshot[np.flatnonzero(snapshot.steps.stage < len(history.funnel.stages) - 1)]
