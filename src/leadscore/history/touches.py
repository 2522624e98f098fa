"""The touches that were known of some leads at their ``as_of``, read from running counts.

A running count per channel over the line makes every windowed count one subtraction:
touches in (as_of - w, as_of] = count[position(as_of)] - count[position(as_of - w)]. A channel is a kind of
touch or a direction. The same counts say which touch of a channel was the last and the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from leadscore.history.line import DAY

if TYPE_CHECKING:
    from leadscore.history.line import Bools, Float64s, Int16s, Int32s, Int64s, Positions, Touches, UInt64s

Counted = npt.NDArray[np.unsignedinteger[Any]]
Channel = Literal["kind", "direction", "any"]
DIRECTIONS = ("inbound", "outbound")


MINUTES_PER_DAY = 1_440
MINUTE = DAY // MINUTES_PER_DAY
# 142 years are fewer minutes than this has bits.
MINUTE_BITS = 27
# Values are kept in millionths.
VALUE_UNIT = 1_000_000


@dataclass(frozen=True)
class _Counts:
    """Running counts of one set of channels over the touches of a stretch of leads.

    Several counts share one number of 64 bits, each in a lane of its own: adding and subtracting the number adds
    and subtracts them all. No lane runs over, because none counts more than there are touches.

    Attributes
    ----------
    running : ndarray of uint64, shape (n_touches + 1, n_numbers)
        Touches of each channel before each row.
    lane : dtype
        16 bits, or 32 for a stretch of more than 65,535 touches.
    n_channels : int
        Lanes in use.
    known : ndarray of int64, shape (n_touches,)
        Known times, channel after channel.
    begin : ndarray of int64, shape (n_channels,)
        Where each channel begins in ``known``.
    """

    running: UInt64s
    lane: np.dtype[np.unsignedinteger[Any]]
    n_channels: int
    known: Int64s
    begin: Int64s

    @classmethod
    def of(cls, channel: Int64s, known: Int64s, n_channels: int) -> _Counts:
        """Count ``channel``, -1 for none, shape (n_touches,)."""
        lane: np.dtype[np.unsignedinteger[Any]] = np.dtype(np.uint16 if len(channel) < 1 << 16 else np.uint32)
        running = np.zeros((len(channel) + 1, -(-n_channels * lane.itemsize // 8)), np.uint64)
        lanes = running.view(lane)
        row = np.flatnonzero(channel >= 0)
        lanes.reshape(-1)[(row + 1) * lanes.shape[1] + channel[row]] = 1
        np.add.accumulate(running, axis=0, out=running)
        order = np.argsort(channel.astype(np.int16), kind="stable")[len(channel) - len(row) :]
        begin = np.concatenate(([0], np.cumsum(lanes[-1, : n_channels - 1], dtype=np.int64)))
        return cls(running, lane, n_channels, known[order], begin)

    def unpacked(self, packed: UInt64s) -> Counted:
        """The counts in rows of ``running`` or their differences, shape (n, n_channels)."""
        return packed.view(self.lane)[:, : self.n_channels]


@dataclass(frozen=True)
class TouchesKnown:
    """The touches known of each example at its ``as_of``; counts of touches, times in days.

    Attributes
    ----------
    line : Touches
        The touches of all leads.
    n_kinds : int
        Channels of ``kind``.
    day_begins : int
        Microseconds by which standard time is ahead of UTC.
    lead, as_of : ndarray of int64, shape (n_examples,)
        The examples.
    positions : Positions
        Where the examples stand in ``line``.
    """

    line: Touches
    n_kinds: int
    day_begins: int
    lead: Int64s
    as_of: Int64s
    positions: Positions
    _read: dict[tuple[Channel, int | None], UInt64s] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def _stretch(self) -> slice:
        return slice(int(self._starts[0]), int(self._starts[-1]))

    @cached_property
    def _known(self) -> Int64s:
        return self.line.known[self._stretch]

    @cached_property
    def _begin(self) -> Int64s:
        begin: Int64s = self.line.start[self.lead] - self._stretch.start
        return begin

    @cached_property
    def _starts(self) -> Int64s:
        first, last = (int(self.lead.min()), int(self.lead.max())) if len(self.lead) else (0, -1)
        return self.line.start[first : last + 2]

    def _end(self, days_back: int = 0) -> Int64s:
        end: Int64s = self.positions.at(days_back) - self._stretch.start
        return end

    @cached_property
    def _by_kind(self) -> _Counts:
        return _Counts.of(self.line.kind[self._stretch].astype(np.int64), self._known, self.n_kinds)

    @cached_property
    def _by_direction(self) -> _Counts:
        said = self.line.direction
        n = len(self._known)
        direction = np.full(n, -1) if said is None else said[self._stretch].astype(np.int64) - 1
        return _Counts.of(direction, self._known, len(DIRECTIONS))

    def _counts(self, channel: Channel) -> _Counts:
        return self._by_kind if channel == "kind" else self._by_direction

    def _upto(self, channel: Channel, days_back: int | None = 0) -> UInt64s:
        """Touches before the position so many days before ``as_of``, or before the lead's first; in lanes."""
        key = (channel, days_back)
        if key not in self._read:
            row = self._begin if days_back is None else self._end(days_back)
            self._read[key] = self._counts(channel).running.take(row, axis=0)
        return self._read[key]

    def count(self, channel: Channel, days: int | None = None) -> Counted | Int64s:
        """Touches in ``(as_of - days, as_of]``, all known ones without ``days``; shape (n_examples, n_channels).

        Of a kind or a direction they are unsigned: add them, but do not subtract.
        """
        if channel == "any":
            return (self._end() - (self._begin if days is None else self._end(days)))[:, None]
        return self._counts(channel).unpacked(self._upto(channel) - self._upto(channel, days))

    def days_since_last(self, channel: Channel) -> Float64s:
        """Days from the last touch to ``as_of``, NaN where there was none; shape (n_examples, n_channels)."""
        if channel == "any":
            return self._days_since(self._end() - 1)[:, None]
        counts = self._counts(channel)
        return self._days(channel, counts.unpacked(self._upto(channel)) + (counts.begin - 1))

    def days_since_first(self, channel: Channel) -> Float64s:
        """Days from the first touch to ``as_of``, NaN where there was none; shape (n_examples, n_channels)."""
        if channel == "any":
            return self._days_since(self._begin)[:, None]
        counts = self._counts(channel)
        return self._days(channel, counts.unpacked(self._upto(channel, None)) + counts.begin)

    def active_days(self, days: int | None = None) -> Int64s:
        """Calendar days with a touch in ``(as_of - days, as_of]``, shape (n_examples,).

        A calendar day is one of standard time: were it one of summer time, a shift by whole weeks could
        change the count.
        """
        end, begin = self._end(), self._begin if days is None else self._end(days)
        new_day = self._new_days
        # A window that opens in the middle of a day counts that day though its first touch lies before.
        opens_within = (end > begin) & (new_day[begin + 1] == new_day[begin])
        active: Int64s = new_day[end] - new_day[begin] + opens_within
        return active

    @cached_property
    def _new_days(self) -> Int64s:
        day = (self._known + self.day_begins) // DAY
        new = np.ones(len(day) + 2, np.int64)
        new[0] = 0
        new[2:-1] = (day[1:] != day[:-1]) | self._is_first[1:]
        return np.cumsum(new)

    @cached_property
    def _is_first(self) -> Bools:
        first = np.zeros(len(self._known) + 1, np.bool_)
        first[self._starts - self._stretch.start] = True
        return first[:-1]

    def gap_days(self) -> tuple[Float64s, Float64s, Float64s]:
        """Mean, standard deviation and longest of the gaps between touches, in days; each of shape (n_examples,).

        NaN with fewer than two touches. Deviation (the population's) and longest are of gaps in whole minutes.
        """
        begin, end = self._begin, self._end()
        n = np.maximum(end - begin - 1, 0)
        several = n > 0
        known = np.append(self._known, 0)
        minutes, squares, longest = self._gaps
        total, squared = minutes[end] - minutes[begin], squares[end] - squares[begin]
        columns = np.full((3, len(n)), np.nan)
        np.divide(known[end - 1] - known[begin], n * float(DAY), out=columns[0], where=several)
        # From the whole part of the mean, so that long gaps that are nearly equal lose no digits.
        mean, rest = np.divmod(total, np.maximum(n, 1))
        about_mean = squared - mean * (2 * total - n * mean)
        variance = (about_mean - rest * rest / np.maximum(n, 1)) / np.maximum(n, 1)
        np.sqrt(np.maximum(variance, 0), out=columns[1], where=several)
        columns[1] /= MINUTES_PER_DAY
        np.divide(longest[end], MINUTES_PER_DAY, out=columns[2], where=several)
        return columns[0], columns[1], columns[2]

    @cached_property
    def _gaps(self) -> tuple[Int64s, Int64s, Int64s]:
        """Sum, sum of squares and longest of the gaps before each row, in minutes."""
        minutes = np.diff(self._known, prepend=self._known[:1]) // MINUTE
        minutes[self._is_first] = 0
        # The longest gap so far within each lead: the lead's place above the gap keeps the leads apart.
        place = np.cumsum(self._is_first) << MINUTE_BITS
        longest = np.maximum.accumulate(place + minutes) - place
        return _before(np.cumsum(minutes)), _before(np.cumsum(minutes * minutes)), _before(longest)

    def value_sum(self, days: int | None = None) -> Float64s:
        """Sum of ``value`` in ``(as_of - days, as_of]``, in the source's unit; shape (n_examples,)."""
        end, begin = self._end(), self._begin if days is None else self._end(days)
        return (self._values[end] - self._values[begin]) / VALUE_UNIT

    @cached_property
    def _values(self) -> Int64s:
        value = self.line.value
        return _before(np.zeros_like(self._known) if value is None else np.cumsum(value[self._stretch]))

    def last_kind(self, missing: int) -> Int64s:
        """Code of the kind of the last touch, ``missing`` where there was none; shape (n_examples,)."""
        return self._last(self.line.kind, missing)

    def last_by(self, missing: int) -> Int64s:
        """Code of who touched last on our side, ``missing`` where nobody did; shape (n_examples,)."""
        return np.full(len(self.lead), missing) if self.line.by is None else self._last(self.line.by, missing)

    def _last(self, codes: Int16s | Int32s, missing: int) -> Int64s:
        end = self._end()
        # One code more, so that a stretch without touches has something to read where none is wanted.
        stretch = np.append(codes[self._stretch].astype(np.int64), missing)
        return np.where(end > self._begin, stretch[end - 1], missing)

    def _days(self, channel: Channel, row: Int64s) -> Float64s:
        known = self._counts(channel).known
        if not len(known):
            return np.full(row.shape, np.nan)
        days = (self.as_of[:, None] - known.take(row, mode="clip")) / DAY
        days[self.count(channel) == 0] = np.nan
        return days

    def _days_since(self, row: Int64s) -> Float64s:
        days = np.full(len(self.lead), np.nan)
        if len(self._known):
            moment = self._known.take(row, mode="clip")
            np.divide(self.as_of - moment, DAY, out=days, where=self._end() > self._begin)
        return days


def _before(running: Int64s) -> Int64s:
    """Running totals before each row rather than after it, and the last total at the end."""
    return np.concatenate(([0], running))
