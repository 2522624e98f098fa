"""Local time of many moments at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from leadscore.history.line import DAY, HOUR, SECOND

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from leadscore.history.line import Int64s

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Time zones had no standard before; after, they are as of the last year known.
FIRST_YEAR, LAST_YEAR = 1900, 2150
HOURS_PER_DAY = DAY // HOUR
# 1970-01-01 was a Thursday.
EPOCH_WEEKDAY = 3


def local_time(moment: Int64s, zone: ZoneInfo, parts: tuple[str, ...]) -> Int64s:
    """Parts of local time in ``zone``, shape (n, n_parts).

    Parameters
    ----------
    moment : ndarray of int64, shape (n,)
        Microseconds since 1970 UTC.
    parts : tuple of str
        ``hour`` (0 to 23), ``weekday`` (0 to 6, Monday is 0) and ``month`` (1 to 12), in any order.
    """
    local = moment + utc_offset(moment, zone)
    found = np.empty((len(local), len(parts)), np.int64)
    for place, part in enumerate(parts):
        found[:, place] = _PARTS[part](local)
    return found


def _hour(local: Int64s) -> Int64s:
    return local // HOUR % HOURS_PER_DAY


def _weekday(local: Int64s) -> Int64s:
    return (local // DAY + EPOCH_WEEKDAY) % 7


def _month(local: Int64s) -> Int64s:
    return (local // DAY).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1


_PARTS = {"hour": _hour, "weekday": _weekday, "month": _month}


def utc_offset(moment: Int64s, zone: ZoneInfo) -> Int64s:
    """Microseconds by which local time is ahead of UTC at each moment, shape (n,)."""
    since, offset = _offsets(zone)
    return offset.take(since.searchsorted(moment, side="right") - 1)


@cache
def standard_offset(zone: ZoneInfo) -> int:
    """Microseconds by which standard time is ahead of UTC: the least offset of the year 2025."""
    return min(_offset_at(datetime(2025, month, 1, tzinfo=UTC), zone) for month in range(1, 13))


def micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (moment - EPOCH) // timedelta(microseconds=1)


@cache
def _offsets(zone: ZoneInfo) -> tuple[Int64s, Int64s]:
    """Moments from which an offset holds, and the offsets."""
    week = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
    since, offset = [-(2**62)], [_offset_at(week, zone)]
    while week.year < LAST_YEAR:
        following = week + timedelta(days=7)
        if _offset_at(following, zone) != offset[-1]:
            since.append(micros(_change(week, following, zone)))
            offset.append(_offset_at(following, zone))
        week = following
    return np.array(since), np.array(offset)


def _change(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """First second of the offset of ``after``, found by halving."""
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if _offset_at(middle, zone) == _offset_at(after, zone):
            after = middle
        else:
            before = middle
    return after


def _offset_at(moment: datetime, zone: ZoneInfo) -> int:
    offset = moment.astimezone(zone).utcoffset()
    return 0 if offset is None else offset // timedelta(seconds=1) * SECOND
