"""Whether the CRM began to record stages long after the first leads were created.

Such a CRM shows every lead that it had closed before as one that never left the first stage.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from leadscore.history.line import DAY
from leadscore.history.tables import STAYS
from leadscore.history.zone import EPOCH, micros

if TYPE_CHECKING:
    from datetime import date

    from leadscore.config import Times
    from leadscore.history.line import Int64s
    from leadscore.history.tables import LeadTable, TransitionTable

# Older leads without a transition that are worth a warning, and their least share of all older leads.
LEAST_LEADS, LEAST_SHARE = 100, 0.1
# Older leads that should have moved a week before the day, had they moved as soon as later leads do. Where all was
# recorded, more have moved than that: on 40 simulated companies, BPI 2012, bank marketing and Olist's deals of 2018
# fewer than 1 should have for each that had. Of Olist's first half year, whose deals were not published, 174 should
# have and none had.
LEAST_EXPECTED, WEEK = 30.0, 7 * DAY
# Share of them that may have moved all the same: rows that were typed in or imported with an old date.
STRAY_SHARE = 0.05
# Among the earliest leads to move, how many days are tried as the first.
DAYS_TRIED = 20


def late_start(leads: LeadTable, transitions: TransitionTable, times: Times) -> tuple[str, ...]:
    """A sentence where stages seem to be recorded only from some day on; none where not.

    Leads created before the day and since are compared: how many of the former should have moved well before it, had
    they moved as soon as the latter do, and how many did. Nothing is said where ``time.history_begins`` is set.

    Parameters
    ----------
    transitions : TransitionTable
        ``lead`` is the row of ``leads``; -1 is none.
    """
    if times.history_begins is not None or len(leads.ids) < LEAST_LEADS:
        return ()
    first = _first_transition(len(leads.ids), transitions)
    day = _first_day(leads.created, first, times)
    if day is None:
        return ()
    older, moved = leads.created < _midnight(day, times), first < STAYS
    n_older, n_still = int(np.count_nonzero(older)), int(np.count_nonzero(older & ~moved))
    if n_still < max(LEAST_LEADS, LEAST_SHARE * n_older):
        return ()
    return (
        f"{n_still:,} of {n_older:,} leads created before {day} have no transition, and hardly any transition is older "
        f"than that day; of the leads created since, {np.mean(moved[~older]):.0%} have one. The CRM seems to have "
        "recorded no stages before, so that leads closed by then look open. If so, add under [time] in funnel.toml: "
        f"history_begins = {day}",
    )


def _first_transition(n_leads: int, transitions: TransitionTable) -> Int64s:
    """When each lead first moved, `STAYS` where it has not; shape (n_leads,)."""
    first = np.full(n_leads, STAYS, np.int64)
    of_a_lead = transitions.lead >= 0
    np.minimum.at(first, transitions.lead[of_a_lead], transitions.occurred[of_a_lead])
    return first


def _first_day(created: Int64s, first: Int64s, times: Times) -> date | None:
    """The day before which leads should have moved and have not; None where there is none."""
    earliest = np.sort(first[first < STAYS])
    earliest = earliest[: int(STRAY_SHARE * len(earliest)) + 1]
    if not len(earliest):
        return None
    since = created >= earliest[-1]
    moved = since & (first < STAYS)
    # A row may be older than the CRM's record of its lead.
    lags = np.sort(np.maximum(first[moved] - created[moved], 0))
    if len(lags) < LEAST_EXPECTED:
        return None
    tried = earliest[np.linspace(0, len(earliest) - 1, DAYS_TRIED).astype(np.int64)]
    days = sorted({_day(int(moment), times) for moment in tried})
    begins = np.array([_midnight(day, times) for day in days])
    before = created[created < begins[-1]]
    expected = np.array([_expected(begin - WEEK - before, lags) for begin in begins]) / np.count_nonzero(since)
    excess = STRAY_SHARE * expected - earliest.searchsorted(begins)
    best = int(np.argmax(excess))
    return days[best] if expected[best] >= LEAST_EXPECTED and excess[best] > 0 else None


def _expected(open_for: Int64s, lags: Int64s) -> float:
    """How many of later leads' moves would have come in the time that leads were open for."""
    counts: Int64s = lags.searchsorted(open_for[open_for > 0])
    return float(counts.sum())


def _day(moment: int, times: Times) -> date:
    return (EPOCH + timedelta(microseconds=moment)).astimezone(times.zone).date()


def _midnight(day: date, times: Times) -> int:
    return micros(datetime(day.year, day.month, day.day, tzinfo=times.zone))
