"""The touches that were known of some leads at their ``as_of``, read from running totals over their line."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from leadscore.history.counts import Counts
from leadscore.history.line import DAY, ONE_DAY

if TYPE_CHECKING:
    from leadscore.history.counts import Counted
    from leadscore.history.line import Bools, Float64s, Int16s, Int32s, Int64s, Positions, Touches, UInt64s

Channel = Literal["kind", "direction", "any"]
# Days before as_of; None, which stands last, for all that is known.
Windows = tuple[int | None, ...]
DIRECTIONS = ("inbound", "outbound")


MINUTES_PER_DAY = 1_440
MINUTE = DAY // MINUTES_PER_DAY
# 142 years are fewer minutes than this has bits.
MINUTE_BITS = 27
# Values are kept in millionths.
VALUE_UNIT = 1_000_000


@dataclass(frozen=True)
class TouchesKnown:
    """The touches known of each example at its ``as_of``; counts of touches, times in days.

    A channel is a kind of touch or a direction. Everything is read at rows of a stretch of the line, the touches of
    all leads from the first to the last: where a window opens, and the row after the last touch known.

    Attributes
    ----------
    line : Touches
        The touches of all leads.
    n_kinds : int
        Channels of ``kind``.
    day_begins : int
        Microseconds by which standard time is ahead of UTC.
    as_of : ndarray of int64, shape (n_examples,)
        The moments.
    positions : Positions
        Where the examples stand in ``line``.
    """

    line: Touches
    n_kinds: int
    day_begins: int
    as_of: Int64s
    positions: Positions
    _opened: dict[Windows, Int64s] = field(default_factory=dict, repr=False, compare=False)
    _counted: dict[Windows, Counted] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def _known(self) -> Int64s:
        return self.line.known[self.positions.stretch]

    @cached_property
    def _n(self) -> Int64s:
        """Touches known of each example, shape (n_examples,)."""
        return self.positions.end - self.positions.begin

    @cached_property
    def _silent(self) -> Bools:
        silent: Bools = self._n == 0
        return silent

    def _opens(self, windows: Windows) -> Int64s:
        """Row at which each window opens, shape (n_windows, n_examples)."""
        if windows not in self._opened:
            self._opened[windows] = self.positions.before(windows)
        return self._opened[windows]

    @cached_property
    def _counts(self) -> Counts:
        kind, direction = self.line.kind[self.positions.stretch], self.line.direction
        if direction is None:
            return Counts.of(kind[None].astype(np.int64), self._known, self.n_kinds)
        channel = np.empty((2, len(kind)), np.int64)
        channel[0] = kind
        channel[1] = direction[self.positions.stretch]
        channel[1] += self.n_kinds
        # A channel more than there are directions: the first is of touches of which none is said.
        return Counts.of(channel, self._known, self.n_kinds + 1 + len(DIRECTIONS))

    def _lanes(self, channel: Channel) -> slice:
        if channel == "kind":
            return slice(self.n_kinds)
        return slice(self.n_kinds + 1, self.n_kinds + 1 + len(DIRECTIONS))

    @cached_property
    def _upto_end(self) -> UInt64s:
        return self._counts.upto(self.positions.end)

    @cached_property
    def _upto_begin(self) -> UInt64s:
        return self._counts.upto(self.positions.begin)

    def count(self, channel: Channel, windows: Windows = (None,)) -> Counted | Int64s:
        """Touches in each ``(as_of - days, as_of]``, shape (n_examples, n_windows, n_channels).

        Of a kind or a direction they are unsigned: add them, but do not subtract.
        """
        if channel == "any":
            return (self.positions.end - self._opens(windows)).T[:, :, None]
        if channel == "direction" and self.line.direction is None:
            return np.zeros((len(self.as_of), len(windows), len(DIRECTIONS)), np.int64)
        if windows not in self._counted:
            counts = self._counts
            self._counted[windows] = counts.unpacked(self._upto_end - counts.upto(self._opens(windows)))
        return self._counted[windows].transpose(1, 0, 2)[:, :, self._lanes(channel)]

    def days_since_last(self, channel: Channel) -> Float64s:
        """Days from the last touch to ``as_of``, NaN where there was none; shape (n_examples, n_channels)."""
        return self._since_any[1] if channel == "any" else self._of_channels(channel, self._since_last)

    def days_since_first(self, channel: Channel) -> Float64s:
        """Days from the first touch to ``as_of``, NaN where there was none; shape (n_examples, n_channels)."""
        return self._since_any[0] if channel == "any" else self._of_channels(channel, self._since_first)

    @cached_property
    def _since_any(self) -> Float64s:
        """Days since the first touch and since the last, shape (2, n_examples, 1)."""
        row = np.array((self.positions.begin, self.positions.end - 1))
        if not len(self._known):
            return np.full((*row.shape, 1), np.nan)
        days: Float64s = (self.as_of - self._known.take(row, mode="clip")) / ONE_DAY
        np.copyto(days, np.nan, where=self._silent)
        return days[:, :, None]

    def _of_channels(self, channel: Channel, days: Float64s) -> Float64s:
        if channel == "direction" and self.line.direction is None:
            return np.full((len(days), len(DIRECTIONS)), np.nan)
        return days[:, self._lanes(channel)]

    @cached_property
    def _since_last(self) -> Float64s:
        counts = self._counts
        return self._days_of_channels(counts.unpacked(self._upto_end) + (counts.begin - 1))

    @cached_property
    def _since_first(self) -> Float64s:
        counts = self._counts
        return self._days_of_channels(counts.unpacked(self._upto_begin) + counts.begin)

    @cached_property
    def _absent(self) -> Bools:
        absent: Bools = self._counts.unpacked(self._upto_end - self._upto_begin) == 0
        return absent

    def _days_of_channels(self, row: Int64s) -> Float64s:
        """Days since these rows of the known times, channel after channel; NaN where a channel has no touch."""
        known = self._counts.known
        if not len(known):
            return np.full(row.shape, np.nan)
        days = (self.as_of[:, None] - known.take(row, mode="clip")) / ONE_DAY
        np.copyto(days, np.nan, where=self._absent)
        return days

    def active_days(self, windows: Windows = (None,)) -> Int64s:
        """Calendar days with a touch in each ``(as_of - days, as_of]``, shape (n_examples, n_windows).

        A calendar day is one of standard time: were it one of summer time, a shift by whole weeks could
        change the count.
        """
        opens, new_days = self._opens(windows), self._new_days
        # The first touch of a window makes a day active, new or not; each later one only if its day is new.
        active = new_days.take(self.positions.end) - new_days.take(opens + 1, mode="clip") + 1
        active *= self.positions.end > opens
        return active.T

    @cached_property
    def _new_days(self) -> Int64s:
        """Touches before each row whose day is not that of the touch before them."""
        day = (self._known + self.day_begins) // DAY
        new = np.zeros(len(day) + 1, np.int64)
        np.not_equal(day[1:], day[:-1], out=new[2:])
        return np.add.accumulate(new, out=new)

    @cached_property
    def _firsts(self) -> Int64s:
        """Row of the first touch of each lead that has one."""
        first, last = self.positions.span
        rows: Int64s = self.line.start[first : last + 1] - self.positions.stretch.start
        return rows[rows < len(self._known)]

    def gap_days(self) -> Float64s:
        """Mean, standard deviation and longest of the gaps between touches, in days; shape (3, n_examples).

        NaN with fewer than two touches. Deviation (the population's) and longest are of gaps in whole minutes.
        """
        upto_end = self._gaps.take(self.positions.end, axis=1)
        summed, total, squared, _ = upto_end - self._gaps.take(self.positions.begin, axis=1)
        n = np.maximum(self._n - 1, 1)
        columns = np.empty((3, len(n)))
        np.divide(summed, n * ONE_DAY, out=columns[0])
        # From the whole part of the mean, so that long gaps that are nearly equal lose no digits.
        mean, rest = np.divmod(total, n)
        about_mean = squared - mean * (total + rest)
        variance = (about_mean - rest * rest / n) / n
        np.sqrt(np.maximum(variance, 0), out=columns[1])
        columns[2] = upto_end[-1]
        columns[1:] /= MINUTES_PER_DAY
        np.copyto(columns, np.nan, where=self._n < 2)
        return columns

    @cached_property
    def _gaps(self) -> Int64s:
        """Of the gaps before each row: their sum in microseconds; in minutes the sum, the sum of squares, the longest.

        Of shape (4, n_touches + 1). The longest alone is of one lead.
        """
        known, firsts = self._known, self._firsts
        gaps = np.zeros((4, len(known) + 1), np.int64)
        micros, minutes, squares, longest = gaps[:, 1:]
        np.subtract(known[1:], known[:-1], out=micros[1:])
        micros[firsts] = 0
        np.floor_divide(micros, MINUTE, out=minutes)
        np.multiply(minutes, minutes, out=squares)
        # The lead's place above the gap keeps the leads apart.
        place = np.zeros_like(known)
        place[firsts] = 1 << MINUTE_BITS
        np.add.accumulate(place, out=place)
        np.add(place, minutes, out=longest)
        np.maximum.accumulate(longest, out=longest)
        longest -= place
        np.add.accumulate(gaps[:3], axis=1, out=gaps[:3])
        return gaps

    def value_sum(self, windows: Windows = (None,)) -> Float64s:
        """Sum of ``value`` in each ``(as_of - days, as_of]``, in the source's unit; shape (n_examples, n_windows)."""
        if self.line.value is None:
            return np.zeros((len(self.as_of), len(windows)))
        total: Float64s = (
            self._values.take(self.positions.end) - self._values.take(self._opens(windows))
        ).T / VALUE_UNIT
        return total

    @cached_property
    def _values(self) -> Int64s:
        """Sum of the values before each row."""
        total = np.zeros(len(self._known) + 1, np.int64)
        if self.line.value is not None:
            np.add.accumulate(self.line.value[self.positions.stretch], out=total[1:])
        return total

    def last_kind(self, missing: int) -> Int64s:
        """Code of the kind of the last touch, ``missing`` where there was none; shape (n_examples,)."""
        return self._last(self.line.kind, missing)

    def last_by(self, missing: int) -> Int64s:
        """Code of who touched last on our side, ``missing`` where nobody did; shape (n_examples,)."""
        return np.full(len(self.as_of), missing) if self.line.by is None else self._last(self.line.by, missing)

    def _last(self, codes: Int16s | Int32s, missing: int) -> Int64s:
        stretch = codes[self.positions.stretch]
        if not len(stretch):
            return np.full(len(self.as_of), missing)
        last = stretch.take(self.positions.end - 1, mode="clip").astype(np.int64)
        np.copyto(last, missing, where=self._silent)
        return last
