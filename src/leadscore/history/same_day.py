"""Transitions of which only the day is known, beside transitions with a time on that day.

The worked example: lead A became an MQL "on 2025-01-05" and was won at 2025-01-05 12:00. The date is known at the end
of the day, after the win, and must not overturn it. Had lead A been an MQL at 12:00 and an SQL by the date, the date
would count: of two transitions on one day that nothing puts in order, the further one stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from leadscore.history.line import DAY
from leadscore.history.zone import utc_offset

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from leadscore.history.line import Bools, Int8s, Int32s, Int64s

# Days of the years 1 to 9998 as a number from 0, below the lead.
DAY_BITS = 23
FIRST_DAY = -(1 << 21)
# More than any stage has for a code.
STAGES = 1 << 6


class Settled(NamedTuple):
    """Which transitions stand, and when they happened: a time that a date must not overturn at the end of its day."""

    kept: Bools
    occurred: Int64s


def settle_same_day(
    lead: Int32s, occurred: Int64s, recorded: Int64s, stage: Int8s, whole_day: Bools, *, zone: ZoneInfo
) -> Settled:
    """Compare whole days with the times on them, as they became known; all of shape (n_rows,).

    A whole day is left out where the newest time on that day, among those known before it, is of a further stage, or
    later than the whole day was recorded. A time of a further stage that becomes known after the whole day is moved
    to the end of the day. Neither depends on what became known later.

    Parameters
    ----------
    lead, occurred, recorded, stage, whole_day : ndarray, shape (n_rows,)
        In order of (lead, known time); ``occurred`` of a whole day is its last microsecond in ``zone``.
    """
    key = (lead.astype(np.int64) << DAY_BITS) + (occurred + utc_offset(occurred, zone)) // DAY - FIRST_DAY
    rows = np.flatnonzero(np.isin(key, np.intersect1d(key[whole_day], key[~whole_day])))
    kept = np.ones(len(lead), np.bool_)
    if not len(rows):
        return Settled(kept, occurred)
    rows = rows[np.argsort(key[rows], kind="stable")]
    _, group = np.unique(key[rows], return_inverse=True)
    whole, code = whole_day[rows], stage[rows].astype(np.int64)

    newest = _newest_time(group, occurred[rows], whole)
    later = occurred[rows[newest]] > recorded[rows]
    overturned = whole & (newest >= 0) & ((code[newest] > code) | later)
    kept[rows[overturned]] = False

    # The furthest whole day before each row: the group above it keeps the groups apart.
    reached = np.maximum.accumulate(group * STAGES + np.where(whole & ~overturned, code + 1, 0)) - group * STAGES
    late = ~whole & (newest == np.arange(len(rows))) & (reached > 0) & (code + 1 > reached)
    ends = np.zeros(group[-1] + 1, np.int64)
    ends[group[whole]] = occurred[rows[whole]]
    moved = occurred.copy()
    moved[rows[late]] = ends[group[late]]
    return Settled(kept, moved)


def _newest_time(group: Int64s, occurred: Int64s, whole: Bools) -> Int64s:
    """Row of the newest time known up to each row, within its group; -1 where there is none yet."""
    by_age = np.lexsort((occurred, ~whole, group))
    age = np.empty(len(group), np.int64)
    age[by_age] = np.arange(len(group))
    greatest = np.maximum.accumulate(np.where(whole, -1, age))
    newest = by_age[greatest]
    return np.where((greatest >= 0) & (group[newest] == group), newest, -1)
