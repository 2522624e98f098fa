"""Times as sources write them, to microseconds since 1970 UTC.

A whole day is the day that was written: 2024-03-05T00:00:00Z is 2024-03-05 in New York, too, where it is 19:00 of the
day before. Where another time of day stands, it is the day in the zone: Berlin's midnight of 2024-03-05 is often
written as 2024-03-04T23:00:00Z.

The worked example of local times: in Europe/Berlin the clocks skip 02:00 to 03:00 on 2024-03-31, so 02:30 is taken as
03:30 (01:30 UTC); they repeat 02:00 to 03:00 on 2024-10-27, and 02:30 is taken as the first of the two (00:30 UTC).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from leadscore.history.line import DAY, HOUR, MINUTE, SECOND
from leadscore.history.reading.plain import NotPlain
from leadscore.history.zone import EPOCH, micros, utc_offset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.config import Times
    from leadscore.history.line import Bools, Int8s, Int64s

# What a value was written as, and two faults of the moment that it means.
MISSING, UNREADABLE, DATE, NAIVE, ZONED, OUTSIDE, SKIPPED = range(7)

# A slice that Arrow refuses is read by the slow path, so that one odd row does not slow a whole column.
SLICE = 1 << 15
# So many times Python reads sooner than Arrow begins.
FEW = 64
# Of a column of days at least this share is midnight; somebody may have typed a time among them.
MOSTLY = 0.9
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
ISO = (
    r"^(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"(?:[Tt ](?P<hour>[0-9]{2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?)?)?"
    r"(?P<zone> ?(?:[Zz]|(?P<sign>[+-])(?P<zone_hour>[0-9]{2})(?::?(?P<zone_minute>[0-9]{2}))?))?)?$"
)
# Of these forms those that Python's own reading takes the same way. It would take 01:60 as an offset of two hours.
_is_plain = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ](?:[01][0-9]|2[0-3])(?::[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)?"
    r"(?:Z|[+-][0-9]{2}(?::?[0-5][0-9])?)?)?"
).fullmatch
DATE_LENGTH = len("2024-03-04")
ONE_MICROSECOND = timedelta(microseconds=1)
LOCAL_EPOCH = EPOCH.replace(tzinfo=None)
NO_TIME = np.iinfo(np.int64).min


def to_utc(local: Int64s, zone: ZoneInfo) -> Int64s:
    """Moments of local times of a zone, shape as given.

    A local time that occurs twice is its first occurrence; one that the clocks skip is moved forward by what
    they skip.
    """
    return _to_utc(local, zone)[0]


def _to_utc(local: Int64s, zone: ZoneInfo) -> tuple[Int64s, Bools | None]:
    """As `to_utc`, and which of the local times the clocks skip; None where none."""
    before, after = utc_offset(local - DAY, zone), utc_offset(local + DAY, zone)
    moment = local - before
    if (before == after).all():
        return moment, None
    # In winter time 2024-10-27T02:30 would come later, and 2024-03-31T02:30 is not there in summer time either.
    changed = utc_offset(moment, zone) != before
    there = utc_offset(local - after, zone) == after
    return np.where(changed & there, local - after, moment), changed & ~there


class TimesOfDay(NamedTuple):
    """How many values of a column have a time of day, and of how many it is midnight."""

    n_times: int = 0
    n_midnight: int = 0

    def plus(self, other: TimesOfDay) -> TimesOfDay:
        """Those of two parts of a column."""
        return TimesOfDay(self.n_times + other.n_times, self.n_midnight + other.n_midnight)


@dataclass(frozen=True, slots=True)
class Clock:
    """How the times of a source are to be understood.

    Attributes
    ----------
    zone : ZoneInfo, optional
        The zone of naive times and of whole days; without it they cannot be read.
    begin, end : int
        Moments outside ``[begin, end)`` are outside the configured years.
    """

    zone: ZoneInfo | None
    begin: int
    end: int

    @classmethod
    def of(cls, times: Times) -> Clock:
        """The clock of ``[time]`` in ``funnel.toml``."""
        begin, end = (micros(datetime(year, 1, 1, tzinfo=UTC)) for year in (times.years[0], times.years[1] + 1))
        return cls(ZoneInfo(times.timezone) if times.timezone else None, begin, end)

    def moments(self, column: pa.Array, *, whole_days: bool = False) -> tuple[Int64s, Int8s]:
        """Read a column of times.

        Text in ISO 8601 (a date, or a date, ``T`` or a space, and a time with or without seconds, fraction and
        offset), Arrow timestamps of any unit with or without a zone, and Arrow dates. Naive times are local
        times of the zone: of an hour that occurs twice the first, of an hour that is skipped the time moved
        forward by what was skipped. Fractions are cut to microseconds.

        Parameters
        ----------
        column : Array, shape (n_rows,)
            As read.
        whole_days : bool
            Each value means a day: the one that was written where it was written at 00:00, else the day in the zone.
            A date always means a day. A day is known at its end, a microsecond before the next local midnight.

        Returns
        -------
        moment : ndarray of int64, shape (n_rows,)
            Microseconds since 1970 UTC; any value where the fault is not 0.
        fault : ndarray of int8, shape (n_rows,)
            0, or 1 + one of ``MISSING``, ``UNREADABLE``, ``NAIVE`` (no zone is set), ``OUTSIDE`` and ``SKIPPED`` (a
            local time that the clocks skip, of which the moment is moved forward).
        """
        if whole_days:
            return self._days(*_with_wall(column))
        return self._checked(*_as_written(column))

    def times_of_day(self, column: pa.Array, *, whole_days: bool = False) -> TimesOfDay:
        """How many values have a time of day, and of how many it is midnight.

        Of a column of ``whole_days`` those with an offset count, and midnight is one that was written as 00:00; of any
        other also midnight in the zone is one, and where most of the first few are none, no more is looked at.
        """
        if whole_days:
            return self._times_of_day(column, ZONED, in_zone=False)
        first = self._times_of_day(column.slice(0, FEW), NAIVE, in_zone=True)
        if first.n_midnight < MOSTLY * first.n_times:
            return first
        return self._times_of_day(column, NAIVE, in_zone=True)

    def _times_of_day(self, column: pa.Array, least_kind: int, *, in_zone: bool) -> TimesOfDay:
        moment, kind, wall = _with_wall(column)
        midnight = wall % DAY == 0
        if in_zone and self.zone is not None:
            midnight |= (moment + utc_offset(moment, self.zone)) % DAY == 0
        timed = (kind >= least_kind) & (kind <= ZONED)
        return TimesOfDay(int(np.count_nonzero(timed)), int(np.count_nonzero(timed & midnight)))

    def plain(self, values: Sequence[Any], *, whole_days: bool, required: bool) -> Int64s:
        """Read a few times that are text or `datetime`, as `moments` reads them; shape (n,).

        Where an optional one is missing the moment is `NO_TIME`, which is earlier than any time.

        Raises
        ------
        NotPlain
            A value is no such time, is written in a rare form, or breaks a rule.
        """
        try:
            if len(values) > FEW and set(map(type, values)) <= {str, type(None)}:
                column = pa.array(values, pa.string())
                missing = np.array([not value for value in values])
                moment, fault = self.moments(column, whole_days=whole_days)
            else:
                written = [_plain(value) for value in values]
                moment = np.array([moment for moment, _ in written], np.int64)
                if not whole_days and all(kind == ZONED and self.begin <= at < self.end for at, kind in written):
                    return moment
                kind = np.array([kind for _, kind in written], np.int8)
                missing = kind == MISSING
                if whole_days:
                    moment, fault = self._days(moment, kind, np.array([_wall(value) for value in values], np.int64))
                else:
                    moment, fault = self._checked(moment, kind)
        except (ValueError, TypeError):
            raise NotPlain from None
        if not required:
            moment[missing], fault[missing] = NO_TIME, 0
        # That clocks skip a time is a matter of warning, and of whole columns.
        if (fault[fault != SKIPPED + 1] != 0).any():
            raise NotPlain
        return moment

    def _checked(self, moment: Int64s, kind: Int8s) -> tuple[Int64s, Int8s]:
        fault = np.zeros(len(kind), np.int8)
        if (lowest := kind.min(initial=ZONED)) <= UNREADABLE:
            fault[kind <= UNREADABLE] = kind[kind <= UNREADABLE] + 1
        if lowest < ZONED:
            moment = self._resolved(moment, kind, fault)
        return moment, self._outside(moment, fault)

    def _resolved(self, moment: Int64s, kind: Int8s, fault: Int8s) -> Int64s:
        naive, days = kind == NAIVE, kind == DATE
        if self.zone is None:
            fault[days | naive] = NAIVE + 1
            return moment
        utc = moment
        if naive.any():
            local_as_utc, skipped = _to_utc(moment, self.zone)
            utc = np.where(naive, local_as_utc, moment)
            if skipped is not None:
                fault[naive & skipped] = SKIPPED + 1
        return np.where(days, _day_end(moment, self.zone), utc) if days.any() else utc

    def _days(self, moment: Int64s, kind: Int8s, wall: Int64s) -> tuple[Int64s, Int8s]:
        """The end of the day that each value means."""
        fault = np.zeros(len(kind), np.int8)
        fault[kind <= UNREADABLE] = kind[kind <= UNREADABLE] + 1
        if self.zone is None:
            fault[kind > UNREADABLE] = NAIVE + 1
            return moment, fault
        in_zone = (kind == ZONED) & (wall % DAY != 0)
        ends = _day_end(np.where(in_zone, moment + utc_offset(moment, self.zone), wall), self.zone)
        return ends, self._outside(ends, fault)

    def _outside(self, moment: Int64s, fault: Int8s) -> Int8s:
        readable = (fault == 0) | (fault == SKIPPED + 1)
        fault[((moment < self.begin) | (moment >= self.end)) & readable] = OUTSIDE + 1
        return fault


def _day_end(local: Int64s, zone: ZoneInfo) -> Int64s:
    return to_utc((local // DAY + 1) * DAY, zone) - 1


def _plain(value: Any) -> tuple[int, int]:
    if value is None or value == "":
        return 0, MISSING
    kind = ZONED
    if type(value) is str:
        if not _is_plain(value):
            raise NotPlain
        kind = DATE if len(value) == DATE_LENGTH else ZONED
        value = datetime.fromisoformat(value)
    elif type(value) is not datetime:
        raise NotPlain
    if value.tzinfo is None:
        since, kind = value - LOCAL_EPOCH, min(kind, NAIVE)
    else:
        since = value - EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds, kind


def _wall(value: Any) -> int:
    """What the clock showed where a plain value was written, in microseconds since 1970; 0 where it is missing."""
    if not value:
        return 0
    written = datetime.fromisoformat(value) if type(value) is str else value
    wall: int = (written.replace(tzinfo=None) - LOCAL_EPOCH) // ONE_MICROSECOND
    return wall


def are_dates(column: pa.Array) -> Bools:
    """Which values of a column of times that can be read are dates without a time, shape (n_rows,)."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_date(column.type):
        return np.ones(len(column), np.bool_)
    if not _is_text(column):
        return np.zeros(len(column), np.bool_)
    dates: Bools = pc.fill_null(pc.equal(pc.binary_length(column), DATE_LENGTH), fill_value=False).to_numpy(
        zero_copy_only=False
    )
    return dates


def _is_text(column: pa.Array) -> bool:
    kind = column.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _with_wall(column: pa.Array) -> tuple[Int64s, Int8s, Int64s]:
    """Moments and what they were written as, as of `_as_written`, and what the clock showed where they were written."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_text(column):
        return _matched(pc.if_else(pc.equal(column, ""), None, column))
    moment, kind = _as_written(column)
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        wall, _ = _timestamps(pc.local_timestamp(column))
        return moment, kind, wall
    return moment, kind, moment


def _as_written(column: pa.Array) -> tuple[Int64s, Int8s]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _timestamps(column)
    if pa.types.is_date(kind):
        days = column.cast(pa.date32()).cast(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False)
        return days.astype(np.int64) * DAY, _kinds(column, DATE)
    if _is_text(column):
        return _texts(column)
    return np.zeros(len(column), np.int64), _kinds(column, UNREADABLE)


def _kinds(column: pa.Array, kind: int) -> Int8s:
    kinds = np.full(len(column), kind, np.int8)
    if column.null_count:
        kinds[column.is_null().to_numpy(zero_copy_only=False)] = MISSING
    return kinds


def _timestamps(column: pa.Array) -> tuple[Int64s, Int8s]:
    ticks = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    kinds = _kinds(column, NAIVE if column.type.tz is None else ZONED)
    per_second = PER_SECOND[column.type.unit]
    if per_second > SECOND:
        return ticks // (per_second // SECOND), kinds
    # Further from 1970 than fits microseconds is outside any year anyway; it must not come round again.
    furthest = np.iinfo(np.int64).max // SECOND // 2 * per_second
    return np.clip(ticks, -furthest, furthest) * (SECOND // per_second), kinds


def _texts(column: pa.Array) -> tuple[Int64s, Int8s]:
    if (read := _cast(column)) is not None:
        return read
    if len(column) <= SLICE:
        moment, kind, _ = _matched(column)
        return moment, kind
    slices = [_texts(column.slice(begin, SLICE)) for begin in range(0, len(column), SLICE)]
    return np.concatenate([moment for moment, _ in slices]), np.concatenate([kind for _, kind in slices])


def _cast(column: pa.Array) -> tuple[Int64s, Int8s] | None:
    # Only a date has ten characters, so a column without one is all zoned, all naive or mixed.
    sizes = pc.min_max(pc.binary_length(column))
    shortest, longest = sizes.as_py().values()
    if shortest == 0:
        return _texts(pc.if_else(pc.equal(column, ""), None, column))
    if shortest is None:
        return np.zeros(len(column), np.int64), _kinds(column, MISSING)
    if longest == 10:
        targets = [(pa.date32(), DATE)]
    elif shortest > 10:
        targets = [(pa.timestamp("us", "UTC"), ZONED), (pa.timestamp("us"), NAIVE)]
    else:
        return None
    for target, kind in targets:
        try:
            read = column.cast(target)
        except pa.ArrowInvalid:
            continue
        moment, _ = _as_written(read)
        return moment, _kinds(column, kind)
    return None


def _matched(column: pa.Array) -> tuple[Int64s, Int8s, Int64s]:
    """As `_with_wall`, of text in any of the forms."""
    parts = pc.extract_regex(column.cast(pa.string()), ISO)
    kinds = _kinds(column, ZONED)
    matches = parts.is_valid().to_numpy(zero_copy_only=False)

    def number(name: str, digits: int = 2) -> Int64s:
        text = pc.fill_null(parts.field(name), "")
        digits_only: Int64s = pc.utf8_rpad(text, digits, "0").cast(pa.int64()).to_numpy()
        return digits_only

    month, day = number("month"), number("day")
    months = (number("year", 4) - 1970).astype("M8[Y]").astype("M8[M]") + (month - 1)
    begin, end = (each.astype("M8[D]").astype(np.int64) for each in (months, months + 1))
    hour, minute, second = number("hour"), number("minute"), number("second")
    zone_hour, zone_minute = number("zone_hour"), number("zone_minute")
    fraction = pc.utf8_slice_codeunits(pc.fill_null(parts.field("fraction"), ""), 0, 6)
    micros = pc.utf8_rpad(fraction, 6, "0").cast(pa.int64()).to_numpy()

    written = pc.fill_null(pc.binary_length(parts.field("hour")), 0).to_numpy() > 0
    zoned = pc.fill_null(pc.binary_length(parts.field("zone")), 0).to_numpy() > 0
    kinds[~zoned & (kinds == ZONED)] = NAIVE
    kinds[~written & (kinds == NAIVE)] = DATE
    exists = (month >= 1) & (month <= 12) & (day >= 1) & (day <= end - begin) & (hour <= 23) & (minute <= 59)
    exists &= (second <= 59) & (zone_hour <= 23) & (zone_minute <= 59)
    kinds[~(matches & exists) & (kinds != MISSING)] = UNREADABLE

    sign = np.where(
        pc.fill_null(pc.equal(parts.field("sign"), "-"), fill_value=False).to_numpy(zero_copy_only=False), -1, 1
    )
    ahead = sign * (zone_hour * HOUR + zone_minute * MINUTE)
    wall = (begin + day - 1) * DAY + hour * HOUR + minute * MINUTE + second * SECOND + micros
    return wall - ahead, kinds, wall
