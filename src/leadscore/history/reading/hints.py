"""What values that cannot be read look like, so that one message says the likely cause and what to do."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# What exports write where a value is missing, folded to lower case.
MISSING_WORDS = frozenset(
    {
        *("null", "(null)", "<null>", "[null]", "\\n", "none", "(none)", "<none>", "--none--", "nil", "undefined"),
        *("n/a", "na", "#n/a", "#na", "<na>", "n.a.", "nan", "nat", "(no value)", "no value", "(not set)", "not set"),
        *("(blank)", "(empty)", "empty", "blank", "-", "--", "—"),
    }
)
# Odoo writes False where a text is missing; beside other texts it is hardly a category.
FALSE = "false"
BOOLEAN_WORDS = frozenset({FALSE, "true", "t", "f", "yes", "no", "y", "n", "0", "1", "0.0", "1.0"})

_NAMES_OF_MONTHS = r"(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DAY_MONTH_YEAR = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})\b.*", re.DOTALL)
_TIMES = (
    (
        re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.* ?[A-Z]{3,5}"),
        "times with the name of a zone: write Z for UTC, or an offset such as +01:00",
    ),
    (re.compile(r"\d{4}[./]\d{1,2}[./]\d{1,2}.*"), "dates with dots or slashes"),
    (re.compile(r"(19|20)\d\d[01]\d[0-3]\d([T ]?\d{4,6})?"), "dates without hyphens"),
    (re.compile(rf".*\b{_NAMES_OF_MONTHS}\b.*", re.DOTALL), "dates with the name of a month"),
)
_EPOCHS = {10: ("seconds", 1), 13: ("milliseconds", 1_000), 16: ("microseconds", 10**6), 19: ("nanoseconds", 10**9)}
_EPOCH = re.compile(r"(\d{10}|\d{13}|\d{16}|\d{19})(\.\d*)?")
_SERIAL = re.compile(r"[2-6]\d{4}(\.\d+)?")
_EPOCH_OF_SHEETS = datetime(1899, 12, 30, tzinfo=UTC)

_SPACES = "\u00a0\u202f\u2009 "
_NUMBERS = (
    (re.compile(rf"[^%]*\d[{_SPACES}]?%"), "percent signs"),
    (re.compile(r"(?=.*\d).*([$€£¥₽₹₴₺₩]|\b[A-Z]{3}\b).*"), "currencies"),
    (re.compile(rf"\D*\d{{1,3}}([{_SPACES}'\u2019]\d{{3}})+(?!\d).*"), "spaces or apostrophes between thousands"),
    (re.compile(r"\D*\d{1,3}(\.\d{3})+,\d+\D*|\D*\d{1,3}(\.\d{3}){2,}\D*"), "points between thousands"),
    (re.compile(r"\D*\d{1,3}(,\d{3})+(\.\d*)?\D*"), "commas between thousands"),
    (re.compile(r".*\d,(\d{1,2}|\d{4,})\D*"), "decimal commas"),
    (re.compile(r"\(\s*[\d.,]+\s*\)|[\d.,]+-"), "brackets or a minus at the end where they are negative"),
    (re.compile(r"[+-]?[\d.,]+\s*(?i:k|m|mn|mio|b|bn)\.?"), "K or M for thousands or millions"),
    (re.compile(r"\d+\s*(-|\u2013|to|\.\.)\s*\d+|[<>]=?\s*\d+|\d+\s*\+"), "ranges, which are categories"),
)


def times(values: Sequence[str]) -> tuple[str, ...]:
    """What unreadable times look like, a sentence for each sort."""
    written = [value.strip() for value in values]
    found = [*_missing_words(written), *_epochs(written), *_day_or_month_first(written)]
    for pattern, what in _TIMES:
        if any(pattern.fullmatch(value) for value in written):
            found.append(f"They look like {what}.")
    return tuple(found)


def numbers(values: Sequence[str]) -> tuple[str, ...]:
    """What unreadable numbers look like, a sentence for each sort."""
    written = [value.strip() for value in values]
    sorts = [what for pattern, what in _NUMBERS if any(pattern.fullmatch(value) for value in written)]
    found = _missing_words([value for value in written if value.casefold() != FALSE])
    if any(value.casefold() == FALSE for value in written):
        found = [*found, "'False' looks like a missing value: leave it empty."]
    return (*found, *([f"They look like numbers with {', '.join(sorts)}."] if sorts else []))


def missing_words(values: Sequence[str]) -> list[str]:
    """Those of the distinct values of a category that look like a missing value."""
    words = [value for value in values if value.strip().casefold() in MISSING_WORDS]
    folded = {value.strip().casefold() for value in values}
    if FALSE in folded and len(folded - BOOLEAN_WORDS - MISSING_WORDS):
        words += [value for value in values if value.strip().casefold() == FALSE]
    return words


def _missing_words(values: Sequence[str]) -> list[str]:
    words = list(dict.fromkeys(value for value in values if value.casefold() in MISSING_WORDS))
    if not words:
        return []
    if len(words) == 1:
        return [f"{words[0]!r} looks like a missing value: leave it empty."]
    return [f"{', '.join(map(repr, words))} look like missing values: leave them empty."]


def _epochs(values: Sequence[str]) -> list[str]:
    found = {}
    for value in values:
        if (match := _EPOCH.fullmatch(value)) is not None:
            unit, per_second = _EPOCHS[len(match[1])]
            moment = datetime.fromtimestamp(int(match[1]) // per_second, UTC)
            found[unit] = f"They look like {unit} since 1970: write {match[1]} as {moment:%Y-%m-%dT%H:%M:%SZ}."
        elif _SERIAL.fullmatch(value):
            day = _EPOCH_OF_SHEETS + timedelta(days=float(value))
            found["days"] = f"They look like days as a spreadsheet counts them: write {value} as {day:%Y-%m-%d}."
    return list(found.values())


def _day_or_month_first(values: Sequence[str]) -> list[str]:
    dates = [match for value in values if (match := _DAY_MONTH_YEAR.fullmatch(value)) is not None]
    if not dates:
        return []
    first, second = (max(int(match[place]) for match in dates) for place in (1, 3))
    if first > 12 >= second:
        order = "the day first"
    elif second > 12 >= first:
        order = "the month first"
    else:
        order = "the day or the month first, and which is not clear from them"
    return [f"They look like dates with {order}."]
