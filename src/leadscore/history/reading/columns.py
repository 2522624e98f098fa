"""Columns as sources write them, to numbers and codes; what cannot be read is a fault, never a guess."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from leadscore.errors import SHOWN
from leadscore.history.reading import hints, plain, times
from leadscore.history.reading.canonical import (
    INEXACT,
    NOT_WHOLE,
    as_text,
    category_text,
    category_texts,
    id_faults,
    ids_as_text,
)
from leadscore.history.reading.faults import OF_A_BAD_LEAD, Effect, Fault, Rule
from leadscore.history.reading.likely_causes import LikelyCauses
from leadscore.history.reading.lookup import Places, hashes
from leadscore.history.tables import Coded

if TYPE_CHECKING:
    from leadscore.config import Funnel
    from leadscore.history.line import Bools, Float64s, Int8s, Int32s

# Values are summed in millionths in int64; attributes become float32.
LARGEST_VALUE = 9e12
LARGEST_ATTRIBUTE = 3e38
DISTINCT_ROWS = 100_000  # among so many bad rows the first few distinct values are looked for
LOOKED_AT = 200  # so many of these are looked at for what they may be

NOT_EMPTY = Rule("must not be empty", "Fill it in, or leave the row out")
KNOWN_LEAD = Rule("must be the lead_id of a lead", "Export the lead too, or leave the row out")
ID_RULES = {
    INEXACT: Rule(
        "must be an id with all of its digits",
        "The id column became a floating-point number, which keeps 15 to 17 digits, so that several ids become one;"
        " export it as text",
    ),
    NOT_WHOLE: Rule("must be text or a whole number", "Export the id column as text"),
}
READABLE = Rule("must be a time in ISO 8601", "Write it as 2024-03-04T09:00:00Z or as a date")
ZONED = Rule(
    "must have a time zone, because [time] timezone is not set",
    'Set [time] timezone = "Europe/Berlin" or the like, or write times as 2024-03-04T09:00:00Z',
)
SKIPPED = Rule(
    "local times that the clocks skip are read as the time that much later",
    "Write times with their offset, such as 2024-03-31T03:30:00+02:00",
)
NUMBER = Rule("must be a number", "Write it as 1234.5, and leave it empty where it is missing")
LIKE_MISSING = Rule(
    "values are read as categories and look like missing ones", "Leave them empty where they are missing"
)
FINITE = Rule("must be a finite number", "Leave it empty where it is missing")
BOOLEAN = Rule("must be true or false", "Write true or false, 1 or 0, yes or no; empty is false", ("true", "false"))
DIRECTION_NAMES = (None, "inbound", "outbound")
DIRECTIONS = {"inbound": 1, "in": 1, "outbound": 2, "out": 2}
DIRECTION = Rule("must be a direction", "Write inbound or outbound, or leave it empty", tuple(DIRECTIONS))
BOOLEANS = ("true", "t", "yes", "1", "false", "f", "no", "0")


@dataclass(frozen=True, slots=True)
class Read:
    """A column, shape (n_rows,), and the rows of it that break a rule.

    Values of rows that are set aside mean nothing; those of faults that only cost the value are missing. ``times`` is
    of a column of times.
    """

    values: Values
    faults: tuple[Fault, ...] = ()
    times: times.TimesOfDay | None = None


Values = npt.NDArray[Any] | Coded
ColumnReader = Callable[[str, pa.Array], Read]
Looks = Callable[[Sequence[str]], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Reader:
    """How to read the values of a column.

    Attributes
    ----------
    column : callable
        Of the column's name and its array, which may hold anything.
    plain : callable
        Of a few Python values, to what ``column`` would make of them; raises `plain.NotPlain` where a value is not
        written plainly or breaks a rule, so that ``column`` is asked.
    """

    column: ColumnReader
    plain: Callable[[list[Any]], Any]

    def __call__(self, name: str, column: pa.Array) -> Read:
        """Read a whole column."""
        return self.column(name, column)


def moments(clock: times.Clock, years: tuple[int, int], *, whole_days: bool, required: bool) -> Reader:
    """Reader of times; where an optional one is missing the value is earlier than any time."""
    inside = Rule(f"must lie in the years {years[0]} to {years[1]}", "Put it right, or widen [time] years")
    rules = {times.UNREADABLE: READABLE, times.NAIVE: ZONED, times.OUTSIDE: inside, times.MISSING: NOT_EMPTY}
    looks = {times.UNREADABLE: hints.times}

    def read(name: str, column: pa.Array) -> Read:
        moment, fault = clock.moments(column, whole_days=whole_days)
        seen = clock.times_of_day(column, whole_days=whole_days)
        if not fault.any():
            return Read(moment, times=seen)
        if not required:
            missing = fault == times.MISSING + 1
            moment = np.where(missing, times.NO_TIME, moment)
            fault = np.where(missing, 0, fault)
        found = [bad(name, rule, column, fault == code + 1, looks=looks.get(code)) for code, rule in rules.items()]
        found.append(bad(name, SKIPPED, column, fault == times.SKIPPED + 1, effect=Effect.NOTHING))
        return Read(moment, tuple(fault for fault in found if len(fault.rows)), seen)

    return Reader(read, partial(clock.plain, whole_days=whole_days, required=required))


def number(largest: float) -> Reader:
    """Reader of finite numbers up to ``largest`` either way; NaN where missing."""
    small = Rule(f"must not be larger than {largest:g}", "Put it right, or give it in a larger unit")

    def read(name: str, column: pa.Array) -> Read:
        values, unreadable = _floats(column)
        ok = np.abs(values) <= largest
        if ok.all():
            return Read(values)
        wrong = ~ok & column.is_valid().to_numpy(zero_copy_only=False) & ~unreadable
        if _is_text(column):
            wrong &= ~_blank(column)
        finite = np.isfinite(values)
        return Read(
            np.where(ok, values, np.nan),
            (
                bad(name, NUMBER, column, unreadable, effect=Effect.VALUE, looks=hints.numbers),
                bad(name, FINITE, column, wrong & ~finite, effect=Effect.VALUE),
                bad(name, small, column, wrong & finite, effect=Effect.VALUE),
            ),
        )

    return Reader(read, partial(plain.numbers, largest=largest))


def category(*, required: bool = False) -> Reader:
    """Reader of categories, by `leadscore.history.reading.canonical.category_text`."""

    def read(name: str, column: pa.Array) -> Read:
        coded = encoded(column)
        return Read(coded, (bad(name, NOT_EMPTY, column, coded.codes < 0) if required else _like_missing(name, coded),))

    return Reader(read, partial(plain.categories, required=required))


def choice(
    rule: Rule,
    codes: dict[str, int],
    *,
    missing: int | None = None,
    any_case: bool = False,
    effect: Effect = Effect.ROW,
) -> Reader:
    """Reader of one of few words, to int8, other words as ``missing``; without ``missing`` it must not be empty."""
    codes = {category_text(word) or word: code for word, code in codes.items()}
    words = pa.array(list(codes), pa.string())
    code = np.array([*codes.values(), missing or 0], np.int8)
    any_word: dict[str | None, int] = {} if missing is None else {None: missing, "": missing}
    any_word.update(codes.items())

    def read(name: str, column: pa.Array) -> Read:
        coded = encoded(column)
        names = pa.array(coded.names, pa.string())
        places = pc.index_in(pc.utf8_lower(names) if any_case else names, value_set=words)
        place = np.append(places.fill_null(-2).to_numpy(), -1)[coded.codes]
        faults = [bad(name, rule, column, place == -2, effect=effect)] if places.null_count else []
        if missing is None:
            faults.append(bad(name, NOT_EMPTY, column, coded.codes < 0))
        return Read(code[np.where(place < 0, len(codes), place)], tuple(faults))

    return Reader(read, partial(plain.choices, codes=any_word, any_case=any_case))


def stage(funnel: Funnel) -> Reader:
    """Reader of stages, to their codes."""
    names = {name: code for code, name in enumerate(funnel.stages)} | dict.fromkeys(
        funnel.funnel.lost, funnel.lost_code
    )
    fix = f"The stages are {', '.join(names)}: put the source right, or name it in [funnel] stages or lost"
    return choice(Rule("must be a stage of the funnel", fix, tuple(names)), names)


def direction() -> Reader:
    """Reader of directions: 0 not said, 1 inbound, 2 outbound."""
    return choice(DIRECTION, DIRECTIONS, missing=0, any_case=True, effect=Effect.VALUE)


def boolean() -> Reader:
    """Reader of true and false, 1 and 0; false where missing.

    Another word costs the row: it may be an objection.
    """
    return choice(BOOLEAN, dict(zip(BOOLEANS, (1,) * 4 + (0,) * 4, strict=True)), missing=0, any_case=True)


def lead_row(good: pa.Array, refused: pa.Array) -> ColumnReader:
    """Reader of ``lead_id``, to its place in ``good``."""
    places = Places.of(pa.concat_arrays([good, refused]))
    likely_causes = LikelyCauses(good)

    def read(name: str, column: pa.Array) -> Read:
        text = ids_as_text(column)
        row = places.find(text)
        if not len(refused) and row.min(initial=0) >= 0:
            return Read(row)
        empty = _blank(text)
        unknown = np.flatnonzero((row < 0) & ~empty)
        # An id that is found is as exact as that of its lead.
        wrong = np.zeros(len(row), np.int8)
        wrong[unknown] = id_faults(column.take(pa.array(unknown)))
        not_found = (row < 0) & ~empty & (wrong == 0)
        return Read(
            row,
            (
                bad(name, NOT_EMPTY, column, empty),
                *_bad_ids(name, column, wrong),
                bad(name, KNOWN_LEAD, column, not_found, looks=likely_causes.hints),
                bad(name, OF_A_BAD_LEAD, column, row >= len(good)),
            ),
        )

    return read


def lead_id() -> ColumnReader:
    """Reader of ``lead_id`` where it is not known which leads there are."""

    def read(name: str, column: pa.Array) -> Read:
        empty = bad(name, NOT_EMPTY, column, _blank(ids_as_text(column)))
        return Read(np.zeros(len(column), np.int64), (empty, *_bad_ids(name, column, id_faults(column))))

    return read


def event_key() -> Reader:
    """Reader of ``event_id``, to a hash of it; 0 where missing."""

    def read(name: str, column: pa.Array) -> Read:
        return Read(hashes(ids_as_text(column)), _bad_ids(name, column, id_faults(column)))

    return Reader(read, plain.distinct)


def _bad_ids(name: str, column: pa.Array, fault: Int8s) -> tuple[Fault, ...]:
    return tuple(bad(name, rule, column, fault == code) for code, rule in ID_RULES.items()) if fault.any() else ()


def bad(
    name: str,
    rule: Rule,
    column: pa.Array,
    where: Bools,
    *,
    effect: Effect = Effect.ROW,
    looks: Looks | None = None,
) -> Fault:
    """The fault of the rows ``where`` a rule is broken; ``looks`` says what some of their values look like."""
    rows = np.flatnonzero(where)
    if not len(rows) or rule in {NOT_EMPTY, OF_A_BAD_LEAD}:
        return Fault(name, rule, rows, effect=effect)
    values = as_text(column.take(pa.array(rows[:DISTINCT_ROWS]))).unique()[:LOOKED_AT].to_pylist()
    written = [str(value) for value in values]
    # Leads are named by their ids anyway.
    shown = () if rule is KNOWN_LEAD else tuple(written[:SHOWN])
    return Fault(name, rule, rows, shown, hints=looks(written) if looks else (), effect=effect)


def _like_missing(name: str, coded: Coded) -> Fault:
    words = hints.missing_words(coded.names)
    codes = [code for code, each in enumerate(coded.names) if each in words]
    rows = np.flatnonzero(np.isin(coded.codes, codes)) if codes else np.empty(0, np.int64)
    return Fault(name, LIKE_MISSING, rows, tuple(words[:SHOWN]), effect=Effect.NOTHING)


def encoded(column: pa.Array) -> Coded:
    """Codes of a column of categories; null, NaN and the empty text are missing."""
    if not pa.types.is_dictionary(column.type):
        column = _with_dictionary(column)
    indices = column.indices.fill_null(-1) if column.null_count else column.indices
    codes: Int32s = indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    names = category_texts(column.dictionary)
    place: dict[str, int] = {}
    new = [place.setdefault(name, len(place)) if name else -1 for name in names]
    if new != list(range(len(names))):  # an empty name, or one that occurs twice
        codes = np.array([*new, -1], np.int32)[codes]
    return Coded(codes, tuple(place))


def _with_dictionary(column: pa.Array) -> pa.DictionaryArray:
    try:
        return column.dictionary_encode()
    except pa.ArrowNotImplementedError:  # lists and the like
        return pa.array(category_texts(column), pa.string()).dictionary_encode()


def _is_text(column: pa.Array) -> bool:
    kind = column.type
    return any(check(kind) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _blank(text: pa.Array) -> Bools:
    blank: Bools = pc.fill_null(pc.equal(text, ""), fill_value=True).to_numpy(zero_copy_only=False)
    return blank


def _floats(column: pa.Array) -> tuple[Float64s, Bools]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_decimal(column.type) or pa.types.is_binary(column.type):
        column = as_text(column)  # Arrow's own cast of decimals is off in the last bit
    nothing = np.zeros(len(column), np.bool_)
    if not _is_text(column):
        if not _is_number(column):
            return np.full(len(column), np.nan), column.is_valid().to_numpy(zero_copy_only=False)
        return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), nothing
    try:
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return values, np.isnan(values) & column.is_valid().to_numpy(zero_copy_only=False)  # "nan" is no number
    except pa.ArrowInvalid:
        text = as_text(column)
    written = pc.match_substring_regex(text, plain.NUMBER)
    special = pc.match_substring_regex(text, r"^(?i:[+-]?(inf|infinity))$")
    readable = pc.or_(written, special)
    values = pc.if_else(readable, text, None).cast(pa.float64()).to_numpy(zero_copy_only=False)
    wrong = pc.fill_null(pc.invert(readable), fill_value=False).to_numpy(zero_copy_only=False) & ~_blank(text)
    return values, wrong


def _is_number(column: pa.Array) -> bool:
    # True is no number, though Arrow would make 1 of it.
    return any(check(column.type) for check in (pa.types.is_integer, pa.types.is_floating, pa.types.is_null))
