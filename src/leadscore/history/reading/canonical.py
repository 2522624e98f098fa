"""One text for one value, whatever type a source gives it: of categories and of ids.

A category is the same as 3, 3.0, Decimal("3.00") and the text "3.0", because a column of whole numbers becomes
floating point as soon as one value is missing. An id stays as it is written where it is text: "1.0" may be another
lead than "1".
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from leadscore.history.line import Bools, Int8s

# Texts of one category that programs write differently: 3.0 and 1.5e+16 for a floating-point number, True for true.
# A version such as 3.10 and a code such as 007.0 or 1e5 are not among them.
_is_variant = re.compile(
    r"-?(?:0|[1-9][0-9]*)\.0+|-0|-?[1-9](?:\.[0-9]{0,15}[1-9])?e[+-][0-9]{2,3}|T(?:rue|RUE)|F(?:alse|ALSE)"
).fullmatch

# What is wrong with an id.
INEXACT, NOT_WHOLE = 1, 2
# As spreadsheets and pandas write large whole numbers that became floating point.
_SCIENTIFIC = r"^-?[0-9](?:[.,][0-9]+)?[eE]\+[0-9]+$"
_LONG_FLOAT = r"^-?[0-9]{16,}\.0+$"
_is_scientific, _is_long_float = re.compile(_SCIENTIFIC).match, re.compile(_LONG_FLOAT).match
# From here on not every whole number is a float: 2^53 may have been 2^53 + 1.
EXACT_BELOW = 2**53


class InexactIdError(ValueError):
    """A value that is no text and no whole number of which every digit is known; ``fault`` says which."""

    def __init__(self, fault: int) -> None:
        super().__init__(fault)
        self.fault = fault


def category_text(value: Any) -> str | None:
    """The text of a category; None where it is missing.

    Whole numbers are their digits, other numbers the shortest decimal digits that read back as the same number,
    without exponent. True and false are in small letters; times are in ISO 8601, in UTC where they have a zone; NaN
    is missing. Text stays as it is written, unless it is a number with only zeros after the point, a number with
    an exponent as Python writes it, or True, TRUE, False or FALSE.
    """
    match value:
        case str():
            return _variant_text(value) if _is_variant(value) else str(value) or None
        case None:
            return None
        case bool() | np.bool_():
            return str(value).lower()
        case int() | float() | Decimal() | np.number():
            return _number_text(value)
        case date():
            return _time_text(value)
    return category_text(value.item() if isinstance(value, np.generic) else _other_text(value))


@lru_cache(1 << 12)
def known_text(text: str) -> str | None:
    """`category_text` of a text, kept, because requests name the same few categories again and again."""
    return category_text(text)


def cell_text(value: Any) -> str | None:
    """The text of a value in a column of several types, which its reader reads as it reads the value itself."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float | np.floating) and not _is_exact(value):
        return str(value)
    return category_text(value)


def id_text(value: Any) -> str | None:
    """The text of an id: text as it is written, whole numbers as their digits; None where it is missing.

    Raises
    ------
    InexactIdError
        A number with a fraction, true or false, or a float so large that it may stand for several whole numbers.
    """
    match value:
        case bool() | np.bool_():
            raise InexactIdError(NOT_WHOLE)
        case float() | np.floating():
            if np.isnan(value):
                return None
            if not _is_exact(value):
                raise InexactIdError(NOT_WHOLE if float(value) % 1 > 0 else INEXACT)
            return str(int(value))
        case Decimal() if value % 1:
            raise InexactIdError(NOT_WHOLE)
        case str():
            if is_inexact(value):
                raise InexactIdError(INEXACT)
            return str(value)
    return category_text(value)


def is_inexact(text: str) -> bool:
    """Whether the text of an id is that of a floating-point number that has lost digits."""
    if "+" in text:
        return _is_scientific(text) is not None
    return ".0" in text and _is_long_float(text) is not None and abs(float(text)) >= EXACT_BELOW


def category_texts(column: pa.Array) -> list[str | None]:
    """`category_text` of each value of a column."""
    return [category_text(value) for value in _values(column)]


def ids_as_text(column: pa.Array) -> pa.Array:
    """`id_text` of each value of a column, as `pa.string`; ids with a fault are as Arrow writes them."""
    column = _decoded(column)
    if pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False)
        exact = _exact(values)
        digits = pa.array(np.where(exact, values, 0).astype(np.int64)).cast(pa.string())
        text = pc.if_else(pa.array(exact), digits, column.cast(pa.string()))
        return pc.if_else(pa.array(np.isnan(values)), None, text)
    if pa.types.is_decimal(column.type):
        text = column.cast(pa.string())
        if pc.any(pc.match_substring(text, "E")).as_py():
            return pa.array([None if value is None else _number_text(value) for value in column.to_pylist()])
        return pc.replace_substring_regex(text, r"\.0+$", "")
    return as_text(column)


def id_faults(column: pa.Array) -> Int8s:
    """What is wrong with each id of a column, shape (n_rows,): 0, `INEXACT` or `NOT_WHOLE`."""
    column = _decoded(column)
    fault = np.zeros(len(column), np.int8)
    if pa.types.is_boolean(column.type):
        fault[column.is_valid().to_numpy(zero_copy_only=False)] = NOT_WHOLE
    elif pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False)
        wrong = ~_exact(values) & ~np.isnan(values)
        fault[wrong] = np.where(np.floor(values[wrong]) == values[wrong], INEXACT, NOT_WHOLE)
    elif pa.types.is_decimal(column.type):
        fault[_matches(ids_as_text(column), r"\.")] = NOT_WHOLE
    elif not pa.types.is_integer(column.type):
        fault[_inexact(as_text(column))] = INEXACT
    return fault


def as_text(column: pa.Array) -> pa.Array:
    """A column as `pa.string` as Arrow writes its values, null where it is null."""
    column = _decoded(column)
    if pa.types.is_string(column.type):
        return column
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # bytes that are no text; lists and the like
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())


def _variant_text(text: str) -> str:
    if text[0] in "TF":
        return text.lower()
    if "e" in text:
        return _number_text(float(text)) or text
    whole = text.partition(".")[0]
    return "0" if whole == "-0" else whole


def _number_text(value: Any) -> str | None:
    if isinstance(value, Decimal) and value.is_finite():
        text = f"{value:f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    elif isinstance(value, int | np.integer):
        text = str(int(value))
    elif np.isnan(value := value if isinstance(value, np.floating) else float(value)):
        return None
    else:
        text = np.format_float_positional(value, trim="-")
    return "0" if text == "-0" else text


def _time_text(value: date) -> str:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return _in_utc(value).isoformat()
    return value.isoformat()


def _other_text(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    return str(value)


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # within a day of the first or the last year there is
        return moment


def _is_exact(value: float | np.floating[Any]) -> bool:
    return bool(_exact(np.asarray(value)))


def _exact(values: np.ndarray[Any, Any]) -> Bools:
    with np.errstate(invalid="ignore"):
        exact: Bools = (np.abs(values) < _exact_below(values.dtype)) & (np.floor(values) == values)
    return exact


def _exact_below(kind: np.dtype[Any]) -> int:
    return int(min(2 ** (int(np.finfo(kind).nmant) + 1), EXACT_BELOW))


def _inexact(text: pa.Array) -> Bools:
    # One search of all letters at once: nearly always there is neither.
    letters = b"" if text.buffers()[2] is None else text.buffers()[2].to_pybytes()
    found = np.zeros(len(text), np.bool_)
    if b"+" in letters:
        found |= _matches(text, _SCIENTIFIC)
    if b".0" in letters:
        rows = np.flatnonzero(_matches(text, _LONG_FLOAT))
        found[rows] = np.abs(text.take(pa.array(rows)).cast(pa.float64()).to_numpy()) >= EXACT_BELOW
    return found


def _matches(text: pa.Array, pattern: str) -> Bools:
    matches: Bools = pc.fill_null(pc.match_substring_regex(text, pattern), fill_value=False).to_numpy(
        zero_copy_only=False
    )
    return matches


def _decoded(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _values(column: pa.Array) -> list[Any]:
    """The values of a column as scalars; numbers of less precision stay what they are."""
    if pa.types.is_floating(column.type):
        return list(column.to_numpy(zero_copy_only=False))
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError):  # a time that Python has no year for
        values = as_text(column).to_pylist()
    return values
