"""Values of a few records to numbers and codes, without Arrow, where each is written plainly.

What a value must be is said once, by the readers of columns: here a value is read only where they would read it the
same way. Any other value, bad or merely odd, is `NotPlain`, and they decide.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from leadscore.history.reading.canonical import category_text, is_inexact, known_text
from leadscore.history.tables import Coded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from leadscore.history.line import Float64s, Int8s

NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"

_is_number = re.compile(NUMBER).fullmatch
_NUMBERS = {int, float, type(None)}
_TEXTS = {str, type(None)}
_NEARLY_TEXTS = {str, int, bool, float, type(None)}
_IDS = {str, int, type(None)}


class NotPlain(Exception):  # noqa: N818
    """A value that only the reader of columns can judge."""


def numbers(values: Sequence[Any], largest: float) -> Float64s:
    """Numbers up to ``largest`` either way, NaN where missing; shape (n,).

    Raises
    ------
    NotPlain
        A value is neither a number nor the text of one, or it is too large.
    """
    kinds = set(map(type, values))
    if str in kinds:
        kinds.discard(str)
        values = [_number(value) if type(value) is str else value for value in values]
    if not kinds <= _NUMBERS:
        raise NotPlain
    try:
        read = np.array([np.nan if value is None else value for value in values], np.float64)
    except OverflowError:
        raise NotPlain from None
    # A NaN that was sent is no missing value.
    if np.count_nonzero(np.abs(read) <= largest) != len(values) - values.count(None):
        raise NotPlain
    return read


def _number(text: str) -> float | None:
    if not text:
        return None
    if not _is_number(text):
        raise NotPlain
    return float(text)


def texts(values: Sequence[Any]) -> Sequence[str | None]:
    """Text as it is, and the text of numbers and of true and false; None where missing.

    Raises
    ------
    NotPlain
        A value is something else, or text that UTF-8 cannot hold.
    """
    kinds = set(map(type, values))
    if not kinds <= _TEXTS:
        if not kinds <= _NEARLY_TEXTS:
            raise NotPlain
        values = [value if type(value) is str else category_text(value) for value in values]
    try:
        "".join(filter(None, values)).encode()
    except UnicodeEncodeError:
        raise NotPlain from None
    return values


def ids(values: Sequence[Any]) -> Sequence[str | None]:
    """Ids as text; None where missing.

    Raises
    ------
    NotPlain
        A value is neither text nor a whole number, or it may have been a floating-point number.
    """
    if not set(map(type, values)) <= _IDS:
        raise NotPlain
    written = texts(values)
    if any(map(is_inexact, filter(None, written))):
        raise NotPlain
    return written


def categories(values: Sequence[Any], *, required: bool) -> Coded:
    """Codes of categories, shape (n,), their names in alphabetical order.

    Raises
    ------
    NotPlain
        As `texts`; or a value is missing that is required.
    """
    written = texts(values)
    distinct = set(written)
    if required and not all(distinct):
        raise NotPlain
    names = list(filter(None, distinct))
    if (now := list(map(known_text, names))) != names:
        text_of: dict[str | None, str | None] = dict(zip(names, now, strict=True))
        written = [text_of.get(text) for text in written]
        names = list(filter(None, set(now)))
    names.sort()
    place: dict[str | None, int] = {name: code for code, name in enumerate(names)}
    return Coded(np.array([place.get(text, -1) for text in written], np.int32), tuple(names))


def choices(values: Sequence[Any], codes: Mapping[str | None, int], *, any_case: bool) -> Int8s:
    """Codes of words, shape (n,).

    Raises
    ------
    NotPlain
        As `texts`; or a value is none of the words.
    """
    written = texts(values)
    if any_case:
        written = [text.lower() if text else text for text in written]
    try:
        return np.array([codes[text] for text in written], np.int8)
    except KeyError:
        raise NotPlain from None


def distinct(values: Sequence[Any]) -> None:
    """Nothing, where no id occurs twice.

    Raises
    ------
    NotPlain
        As `ids`; or an id occurs twice.
    """
    given = [text for text in ids(values) if text]
    if len(set(given)) < len(given):
        raise NotPlain
