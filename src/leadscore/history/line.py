"""Lines of time: events of one sort, sorted by (lead, known time).

All times are microseconds since 1970 UTC in int64. Known time is the later of ``occurred_at`` and
``recorded_at``. A line is read at positions: how many of its events were known at a moment.

The worked example of this package: lead A has calls known on 2024-03-04 09:00 and 2024-03-06 09:00. At
2024-03-04 09:00 its position is 1 (what is known at ``as_of`` counts), a microsecond earlier it is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Int8s = npt.NDArray[np.int8]
Int16s = npt.NDArray[np.int16]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
UInt16s = npt.NDArray[np.uint16]
Integers = Int32s | Int64s
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Strings = npt.NDArray[np.object_]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
# An array: numpy takes longer to convert a Python number than to divide the columns of one lead by it.
ONE_DAY: Float64s = np.array(float(DAY))

# A sort key holds the lead's place in its block above 52 bits of microseconds (142 years).
TIME_BITS = 52
LEADS_PER_KEY = 1 << (63 - TIME_BITS)

SomeLine = TypeVar("SomeLine", bound="Line")
# The first and the last of some leads.
Span = tuple[int, int]


def span_of(lead: Int64s) -> Span:
    """The first and the last of some leads; of none, (0, -1)."""
    if len(lead) == 1:
        only = int(lead[0])
        return only, only
    return (int(lead.min()), int(lead.max())) if len(lead) else (0, -1)


@dataclass(frozen=True, slots=True)
class Search:
    """Positions of some leads in a line, by binary search among one sort key per event.

    Attributes
    ----------
    begin : int
        Row of the line at which the events searched begin.
    origin, span : int
        A microsecond before the first of them, and how many microseconds after that the last lies.
    keys : ndarray of int64, shape (n_events,)
        The lead's place above the microseconds since ``origin``.
    place : ndarray of int64, shape (n_examples,)
        The part of the key that is each example's lead.
    """

    begin: int
    origin: int
    span: int
    keys: Int64s
    place: Int64s

    def positions(self, moment: Int64s) -> Int64s:
        """Row after the last event known at each moment, counted from ``begin``; shape (..., n_examples)."""
        # side="right": what is known at as_of counts. Lead A at 2024-03-04 09:00:00 sees the call known at
        # 09:00:00.000000 and no later one. Moments before the first event or after the last are moved to
        # them, so that a moment never runs into another lead's part of the key.
        within = np.minimum(np.maximum(moment - self.origin, 0), self.span)
        return self.keys.searchsorted(self.place + within, side="right")


@dataclass(frozen=True, slots=True)
class Line:
    """Events of one sort, sorted by (lead, known time).

    Attributes
    ----------
    start : ndarray of int64, shape (n_leads + 1,)
        Events of lead ``i`` are the rows ``start[i]`` to ``start[i + 1]``.
    known : ndarray of int64, shape (n_events,)
        When we knew of the event.
    """

    start: Int64s
    known: Int64s

    def __len__(self) -> int:
        return len(self.known)

    @property
    def lead(self) -> Int64s:
        """Lead of each event, shape (n_events,)."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))

    def positions(self, lead: Int64s, moment: Int64s) -> Int64s:
        """Row after the last event of ``lead`` known at ``moment``, shape (..., n_examples).

        Always in ``start[lead]`` to ``start[lead + 1]``, so the events known are the rows from ``start[lead]``
        up to it. Leads that lie further apart than one sort key reaches are searched block by block.
        """
        found = np.empty(moment.shape, np.int64)
        block = lead // LEADS_PER_KEY
        order = np.argsort(block, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(block[order])) + 1):
            search = self.search(lead[rows], span_of(lead[rows]))
            found[..., rows] = search.positions(moment[..., rows]) + search.begin
        return found

    def search(self, lead: Int64s, span: Span) -> Search:
        """What is needed to find positions of these leads at any moments; they must fit one sort key.

        Parameters
        ----------
        lead : ndarray of int64, shape (n_examples,)
            Less than `LEADS_PER_KEY` apart.
        span : tuple of int
            The first of them and the last.
        """
        first, last = span
        start = self.start[first : last + 2]
        begin, end = int(start[0]), int(start[-1])
        if begin == end:
            return Search(begin, 0, 0, np.empty(0, np.int64), np.zeros(len(lead), np.int64))
        known = self.known[begin:end]
        origin = int(known.min()) - 1
        owner = np.arange(len(start) - 1) << TIME_BITS
        keys = known - origin
        keys += owner.repeat(start[1:] - start[:-1])
        return Search(begin, origin, int(known.max()) - origin, keys, (lead - first) << TIME_BITS)

    def rows(self: SomeLine, kept: Bools) -> SomeLine:
        """The line without the events that are not ``kept``."""
        before = np.concatenate(([0], np.cumsum(kept)))
        arrays = {
            each.name: getattr(self, each.name)[kept]
            for each in fields(self)
            if each.name != "start" and getattr(self, each.name) is not None
        }
        return replace(self, start=before[self.start], **arrays)


@dataclass(slots=True)
class Positions:
    """Positions of examples in a stretch of one line: the events of all leads from the first to the last.

    It does not know the snapshot that asks: a snapshot that it knew would live until the garbage collector came,
    which the parts of a large history cannot wait for.

    Attributes
    ----------
    line : Line
        What is searched.
    lead, as_of : ndarray of int64, shape (n_examples,)
        The examples.
    span : tuple of int
        The first and the last of the leads.
    stretch : slice
        Rows of the line. All other rows are counted from where it begins.
    begin, end : ndarray of int64, shape (n_examples,)
        Row of the first event of each lead, and row after its last event known at ``as_of``.
    """

    line: Line
    lead: Int64s
    as_of: Int64s
    span: Span
    stretch: slice = field(init=False)
    begin: Int64s = field(init=False)
    end: Int64s = field(init=False)
    _search: Search | None = None

    def __post_init__(self) -> None:
        start, (first, last) = self.line.start, self.span
        self.stretch = slice(int(start[first]), int(start[last + 1]))
        self.begin = start.take(self.lead) - self.stretch.start
        self.end = self._rows(self.as_of)

    def before(self, days: tuple[int | None, ...]) -> Int64s:
        """Row after the last event known so many days before ``as_of``, shape (n_days, n_examples).

        None, which stands last, is before all events of the lead.
        """
        rows = self._rows(self.as_of - _micros(days))
        return np.concatenate((rows, self.begin[None])) if None in days else rows

    def _rows(self, moment: Int64s) -> Int64s:
        first, last = self.span
        if first == last:
            # The events of one lead are in order of time already; "right", as in a search among keys.
            return self.line.known[self.stretch].searchsorted(moment, side="right")
        if last - first >= LEADS_PER_KEY:
            far_apart: Int64s = self.line.positions(self.lead, moment) - self.stretch.start
            return far_apart
        if self._search is None:
            self._search = self.line.search(self.lead, self.span)
        return self._search.positions(moment)


@cache
def _micros(days: tuple[int | None, ...]) -> Int64s:
    """Days in microseconds, without None; shape (n_days, 1)."""
    return np.array([each for each in days if each is not None], np.int64)[:, None] * DAY


@dataclass(frozen=True, slots=True)
class Touches(Line):
    """Touches of every lead.

    Attributes
    ----------
    kind : ndarray of int16, shape (n_events,)
        Code in ``Vocabulary.kinds``.
    direction : ndarray of int8, shape (n_events,), optional
        0 not said, 1 inbound, 2 outbound.
    by : ndarray of int32, shape (n_events,), optional
        Code in ``Vocabulary.agents``.
    value : ndarray of int64, shape (n_events,), optional
        Millionths of the source's unit; 0 where there was none. Integers, because running sums of floats
        differ in the last bits between one lead and a crowd.
    """

    kind: Int16s
    direction: Int8s | None = None
    by: Int32s | None = None
    value: Int64s | None = None


@dataclass(frozen=True, slots=True)
class Steps(Line):
    """Moves of every lead to another stage, as they became known.

    A transition that is older than the stage the lead is known to stand in, or that repeats it, is no step.

    Attributes
    ----------
    occurred : ndarray of int64, shape (n_events,)
        When the lead entered the stage. Never falls within a lead.
    stage : ndarray of int8, shape (n_events,)
        Code of the stage entered: its place in the funnel, or one past the win for lost.
    since : ndarray of int64, shape (n_events,)
        When the lead entered the stage that it left; ``occurred`` where it is not known what that was.
    left : ndarray of int8, shape (n_events,)
        Code of the stage that it left; the first stage for the first step.
    """

    occurred: Int64s
    stage: Int8s
    since: Int64s
    left: Int8s


@dataclass(frozen=True, slots=True)
class Changes(Line):
    """Values that one attribute took, as they became known; values older than the one known are left out.

    Attributes
    ----------
    value : ndarray of int32 (a code) or float64 (a number), shape (n_events,)
        What the attribute changed to.
    """

    value: Int32s | Float64s
