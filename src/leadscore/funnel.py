"""Where each lead stood, and from when to when: the stays of every lead in every open stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.history import DAY

if TYPE_CHECKING:
    from leadscore.history import History, Snapshot
    from leadscore.history.line import Bools, Int64s

# Days in stage after which leads that are still there may be ones that nobody closes.
LONG_DAYS = (30, 60, 90, 120, 180, 270, 365, 545, 730)
# They are, if at most this share of the leads that were there for longer moved afterwards, and if so many leads and
# such a share of all open leads are there now.
MOVED_SHARE, LEAST_LEADS, OPEN_SHARE = 0.05, 40, 0.25


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
    """All stays in open stages, from the moment the lead was known, until it left the CRM or ``known_until``.

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
    if history.lost_after is not None:
        entered = np.concatenate((history.created, steps.occurred))[order]
        end = np.minimum(end, entered + history.lost_after + 1)
    if history.gone is not None:
        end = np.minimum(end, history.gone[lead])
    win = len(history.funnel.stages) - 1
    initial = np.append(True, lead[1:] != lead[:-1])[: len(lead)]
    unknown = initial & (history.created[lead] < history.begins)
    return Stays(lead, stage, begin, end).of((stage < win) & (begin < end) & ~unknown)


def open_leads(history: History, as_of: int) -> Snapshot:
    """The leads that are in the CRM and neither won nor lost at ``as_of``, in order of ``lead_id``.

    Leads of which it is not known where they stand are left out; `not_listed` counts them.
    """
    there = history.known <= as_of
    if history.gone is not None:
        there &= history.gone > as_of
    lead = np.flatnonzero(there)
    snapshot = history.at(lead, np.full(len(lead), as_of))
    return snapshot[np.flatnonzero(snapshot.steps.known & (snapshot.steps.stage < len(history.funnel.stages) - 1))]


def not_listed(history: History, as_of: int) -> list[str]:
    """Sentences about leads that are not among `open_leads` for another reason than that they are won or lost."""
    known = history.known <= as_of
    lead = np.flatnonzero(known)
    steps = history.at(lead, np.full(len(lead), as_of)).steps
    timed_out, unknown = np.count_nonzero(steps.timed_out), np.count_nonzero(~steps.known)
    days = history.funnel.funnel.lost_after_days
    gone = 0 if history.gone is None else int(np.count_nonzero(history.gone[lead] <= as_of))
    counts = (
        (len(known) - len(lead), "leads were created, or became known, after the moment of the list: not listed"),
        (unknown, "leads created before history_begins have no transition: where they stand is not known, not listed"),
        (gone, "leads left the CRM: not listed"),
        (timed_out, f"leads have been in their stage for more than lost_after_days = {days} days: taken as lost"),
    )
    return [f"{n:,} {what}" for n, what in counts if n]


@dataclass(frozen=True, slots=True)
class NeverClosed:
    """Leads that stay open in the records although hardly any like them ever moved again.

    Attributes
    ----------
    days : int
        They have been in their stage for more days than this.
    n_leads, n_open : int
        How many they are at ``known_until``, and how many leads are open then.
    n_ever, n_moved : int
        Leads that were ever in an open stage for so long, and how many of them moved afterwards.
    """

    days: int
    n_leads: int
    n_open: int
    n_ever: int
    n_moved: int

    def __str__(self) -> str:
        moved = f"{self.n_moved:,}" if self.n_moved else "none"
        return (
            f"leads are not closed: {self.n_leads:,} of {self.n_open:,} open leads have been in their stage for more "
            f"than {self.days} days; of {self.n_ever:,} leads that ever were, {moved} moved afterwards. They "
            "make figures look good, because it is easy to tell that they will not move; the search for leaks leaves "
            f"them out. If they are lost, set lost_after_days = {self.days} under [funnel] in funnel.toml and train "
            "again"
        )


def never_closed(history: History) -> NeverClosed | None:
    """Leads that nobody closes; None where they are few, or ``funnel.lost_after_days`` is set."""
    if history.lost_after is not None:
        return None
    stays = open_stays(history)
    still_open, length = stays.end > history.known_until, stays.end - stays.begin
    n_open = int(np.count_nonzero(still_open))
    for days in LONG_DAYS:
        long = length > days * DAY
        n_leads = int(np.count_nonzero(long & still_open))
        n_ever, n_moved = (len(np.unique(stays.lead[each])) for each in (long, long & ~still_open))
        if n_moved <= MOVED_SHARE * n_ever and n_leads >= max(LEAST_LEADS, OPEN_SHARE * n_open):
            return NeverClosed(days, n_leads, n_open, n_ever, n_moved)
    return None
