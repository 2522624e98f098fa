"""One text for one category and one id, whatever type a source gives it."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadscore.history import OTHER, canonical_names
from leadscore.history.reading.canonical import (
    EXACT_BELOW,
    INEXACT,
    NOT_WHOLE,
    InexactIdError,
    category_text,
    cell_text,
    id_faults,
    id_text,
    ids_as_text,
)
from leadscore.history.reading.columns import category, number, stage
from leadscore.history.reading.likely_causes import LikelyCauses, look_alikes, same_to_the_eye
from leadscore.history.reading.plain import NotPlain, categories, ids
from leadscore.history.reading.repeats import different_leads
from leadscore.history.reading.source import _column
from tests.hand import short_funnel

if TYPE_CHECKING:
    from leadscore.history.tables import Coded

SAME: dict[str, list[Any]] = {
    "3": [
        "3",
        "3.0",
        "3.00",
        3,
        3.0,
        np.int8(3),
        np.uint64(3),
        np.float32(3),
        np.float64(3),
        Decimal(3),
        Decimal("3.00"),
    ],
    "0": ["0", "-0", "-0.0", "0.0", 0, -0.0, Decimal("-0"), np.float32(-0.0)],
    "-17": ["-17", "-17.0", -17, -17.0, Decimal("-17.0")],
    "3.1": ["3.1", 3.1, np.float32(3.1), np.float64(3.1), Decimal("3.1"), Decimal("3.10")],
    "12345678901": ["12345678901", "1.2345678901e+10", 12345678901.0, 12345678901, Decimal("12345678901.0")],
    "1" + "0" * 16: ["1e+16", 1e16, 10**16, "10000000000000000.0"],
    "1" + "0" * 300: [1e300, "1e+300", 10**300],
    "0.0000001": [1e-7, "1e-07", Decimal("1e-7")],
    "true": ["true", "True", "TRUE", True, np.True_],
    "false": ["false", "False", "FALSE", False, np.False_],
    "web": ["web", np.str_("web"), b"web"],
    "2024-03-04": [date(2024, 3, 4), "2024-03-04"],
    "2024-03-04T09:00:00+00:00": [
        datetime(2024, 3, 4, 9, tzinfo=UTC),
        datetime(2024, 3, 4, 10, tzinfo=timezone(timedelta(hours=1))),
        np.datetime64("2024-03-04T09:00:00").astype(object).replace(tzinfo=UTC),
    ],
}
# No number is written so, or more may be meant than the number.
AS_WRITTEN = ["3.10", "3.", ".5", "+3.0", "007", "007.0", "1e5", "1E+16", "1.0.0", "tRUE", "yes", " 3.0", "3,0", "٣.0"]
AS_WRITTEN += ["nan", "NULL", "-", "e+10", "12e+16", "1.50e+16", "1e+9999", "Falsehood", "2.0\n"]
VALUES = (
    st.floats()
    | st.integers(-(2**62), 2**62)
    | st.booleans()
    | st.text(max_size=4)
    | st.sampled_from([*AS_WRITTEN, *(value for values in SAME.values() for value in values if isinstance(value, str))])
    | st.floats(width=32).map(np.float32)
    | st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**15), max_value=10**15)
    | st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1), timezones=st.sampled_from([UTC]))  # noqa: DTZ001
    | st.dates()
)


def texts(coded: Coded) -> list[str | None]:
    return [(*coded.names, None)[code] for code in coded.codes]


def typed(value: Any) -> pa.Array:
    return pa.array([value], pa.float32() if isinstance(value, np.float32) else None)


@pytest.mark.parametrize("text", SAME)
def test_same_category_has_one_text(text: str) -> None:
    assert [category_text(value) for value in SAME[text]] == [text] * len(SAME[text])
    assert [category_text(cell_text(value)) for value in SAME[text]] == [text] * len(SAME[text])


@pytest.mark.parametrize("text", AS_WRITTEN)
def test_other_text_stays_as_written(text: str) -> None:
    assert category_text(text) == text


@pytest.mark.parametrize("value", [None, "", float("nan"), np.float32("nan"), Decimal("nan"), np.datetime64("NaT")])
def test_missing_category(value: Any) -> None:
    assert category_text(value) is None


@settings(deadline=None, max_examples=300, derandomize=True)
@given(value=VALUES)
def test_column_and_single_value_have_one_text(value: Any) -> None:
    column = typed(value)
    expected = category_text(value)
    assert texts(category().column("source", column).values) == [expected]  # type: ignore[arg-type]
    assert texts(category().column("source", column.dictionary_encode()).values) == [expected]  # type: ignore[arg-type]
    assert category_text(expected) == expected
    if not (isinstance(value, float | np.floating) and np.isnan(value)):
        assert category_text(cell_text(value)) == expected
    try:
        assert texts(categories([value], required=False)) == [expected]
    except NotPlain:
        assert not isinstance(value, str | int | float) or isinstance(value, np.floating)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_equal_numbers_have_equal_texts(value: float) -> None:
    text = category_text(value)
    assert text is not None
    assert float(text) == value
    assert "e" not in text
    assert category_text(repr(value)) in {text, repr(value) if abs(value) < 1e-4 or abs(value) > 1e16 else text}
    if value % 1 == 0 and abs(value) < EXACT_BELOW:
        assert category_text(int(value)) == category_text(Decimal(int(value))) == text


def test_values_of_one_text_are_one_category() -> None:
    read = category().column("source", pa.array(["3", "3.0", "x", None, "", "True", "true"])).values
    assert texts(read) == ["3", "3", "x", None, None, "true", "true"]  # type: ignore[arg-type]
    assert texts(categories(["3", 3.0, "x", None, "", True, "True", 3], required=False)) == [
        *("3", "3", "x", None, None, "true", "true", "3")
    ]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([3, None], pa.float16()),
        pa.array([Decimal("3.00"), None]),
        pa.array(["3.0", None], pa.string_view()),
        pa.array([b"3.0", None]),
        pa.array([3.0, float("nan")]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_columns_of_any_type(column: pa.Array) -> None:
    assert texts(category().column("source", column).values) == ["3", None]  # type: ignore[arg-type]


def test_values_of_other_types_are_their_text() -> None:
    someone = uuid.UUID(int=7)
    assert texts(category().column("source", pa.array([someone])).values) == [str(someone)]  # type: ignore[arg-type]
    assert texts(category().column("source", pa.array([[1, 2]])).values) == ["[1, 2]"]  # type: ignore[arg-type]
    assert category_text(someone) == str(someone)


def test_rows_of_one_lead_are_compared_by_their_categories() -> None:
    ids = pa.array(["A", "A", "B", "B"])
    rows = pa.table({"lead_id": ids, "source": ["3", "3.0", "true", "x"]})
    different, repeat = different_leads(ids, rows)
    assert (different.tolist(), repeat.tolist()) == ([2, 3], [False, True, False, False])


def test_a_stage_may_be_a_number() -> None:
    funnel = short_funnel()
    numbered = funnel.model_copy(update={"funnel": funnel.funnel.model_copy(update={"lost": ("9.0",)})})
    read = stage(numbered)
    assert read.column("stage", pa.array([9.0])).values.tolist() == [numbered.lost_code]  # type: ignore[union-attr]
    assert read.plain([9]).tolist() == [numbered.lost_code]


# Ids.


EXACT: dict[Any, str] = {
    "1.0": "1.0",
    "007": "007",
    "True": "True",
    "1e5": "1e5",
    "12E34": "12E34",
    101.0: "101",
    -0.0: "0",
    2**63: "9223372036854775808",
    2**53 + 1: "9007199254740993",
    2.0**53 - 1: "9007199254740991",
    np.int64(5): "5",
    Decimal(2**70): str(2**70),
    Decimal("101.00"): "101",
    Decimal("1E+3"): "1000",
}
WRONG: list[tuple[Any, int]] = [
    (2.0**53, INEXACT),
    (1.2345678901234567e18, INEXACT),
    (float("inf"), INEXACT),
    (np.float32(2**24), INEXACT),
    (1.5, NOT_WHOLE),
    (-0.5, NOT_WHOLE),
    (Decimal("1.5"), NOT_WHOLE),
    (True, NOT_WHOLE),
    ("1.2345678901234567e+18", INEXACT),
    ("1.23E+17", INEXACT),
    ("1,23457E+17", INEXACT),
    ("1234567890123456768.0", INEXACT),
]


@pytest.mark.parametrize("value", EXACT, ids=repr)
def test_exact_ids(value: Any) -> None:
    assert id_text(value) == EXACT[value]
    column = pa.array([value], pa.uint64() if value == 2**63 else None)
    assert ids_as_text(column).to_pylist() == [EXACT[value]]
    assert id_faults(column).tolist() == [0]


@pytest.mark.parametrize(("value", "fault"), WRONG, ids=repr)
def test_ids_that_lost_digits(value: Any, fault: int) -> None:
    with pytest.raises(InexactIdError) as caught:
        id_text(value)
    assert caught.value.fault == fault
    assert id_faults(typed(value)).tolist() == [fault]
    with pytest.raises(NotPlain):
        ids([value])


@settings(deadline=None, max_examples=200, derandomize=True)
@given(value=VALUES.filter(lambda value: not isinstance(value, date)))
def test_column_and_single_id_have_one_text(value: Any) -> None:
    column = typed(value)
    (fault,) = id_faults(column).tolist()
    if fault:
        with pytest.raises(InexactIdError):
            id_text(value)
    else:
        assert ids_as_text(column).to_pylist() == [id_text(value)]


# Numbers.


NUMBERS = [1000, 1e3, "1e3", "1000.0", np.float32(1000), np.int16(1000), Decimal("1000.00"), b"1e3"]


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_same_number_is_one_float(value: Any) -> None:
    read = number(1e9).column("employees", typed(value))
    assert (read.values.tolist(), read.faults) == ([1000.0], ())  # type: ignore[union-attr]


@settings(deadline=None, max_examples=200, derandomize=True)
@given(value=st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**15), max_value=10**15))
def test_decimals_are_the_nearest_float(value: Decimal) -> None:
    assert number(1e17).column("amount", pa.array([value])).values.tolist() == [float(value)]  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [True, date(2024, 3, 4), "true", [1.0]])
def test_what_is_no_number(value: Any) -> None:
    faults = number(1e9).column("employees", pa.array([value])).faults
    assert [fault.rule.must for fault in faults if len(fault.rows)] == ["must be a number"]


# Mixed columns of a database.


def test_a_column_of_several_types_is_read_as_each_value_is() -> None:
    values = [3.0, "x", True, 101.0, 2**60 + 1, Decimal("3.00"), None, b"web", 1e300]
    read = texts(category().column("source", _column(values)).values)  # type: ignore[arg-type]
    assert read == [category_text(value) for value in values]
    numbers = number(1e301).column("amount", _column([2**60 + 1, 2.5, Decimal("1.25"), "7"]))
    assert numbers.values.tolist() == [2.0**60, 2.5, 1.25, 7.0]  # type: ignore[union-attr]
    assert ids_as_text(_column([101.0, "x", 2**60 + 1])).to_pylist() == ["101", "x", str(2**60 + 1)]
    assert id_faults(_column([2.0**53, "x", 1e18])).tolist() == [INEXACT, 0, INEXACT]


# Vocabularies of models that older versions trained.


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (("3.0", "True", "web", OTHER), ("3", "true", "web", OTHER)),
        (("3", "3.0", "4", OTHER), ("3", "3.0", "4", OTHER)),
        (("TRUE", "True", "true", OTHER), ("true", "True", "TRUE", OTHER)),
        (("1.2345678901e+10",), ("12345678901",)),
    ],
)
def test_names_of_an_older_vocabulary(before: tuple[str, ...], now: tuple[str, ...]) -> None:
    assert canonical_names(before) == now
    assert canonical_names(now) == now


# Likely causes.


LEADS = ["00Q8d0000000003EAA", "1.0", "A-1", "007", "ann", "x", "y", "1234", "caf\u00e9", "2F1E-AB", "b c"]
MEANT = [
    ("00Q8d0000000003", "Salesforce", "00Q8d0000000003EAA"),
    ("1", "floating-point", "1.0"),
    ("A-1\u00a0", "NBSP", "A-1"),
    (" A-1", "spaces", "A-1"),
    ("\ufeffA-1", "BOM", "A-1"),
    ("A\u200b-1", "BOM", "A-1"),
    ("a-1", "capital", "A-1"),
    ("7", "leading zeros", "007"),
    ('"ann"', "quotation marks", "ann"),
    ("1,234", "separators", "1234"),
    ("1 234", "separators", "1234"),
    ("cafe\u0301", "Unicode form", "caf\u00e9"),
    ("{2f1e-ab}", "braces", "2F1E-AB"),
    ("b\u00a0c", "Unicode form", "b c"),
    ("\ufeffANN ", "more than one difference", "ann"),
    ("x;y", "several ids", "x"),
    ("x, ann", "several ids", "ann"),
]


@pytest.mark.parametrize(("written", "cause", "lead"), MEANT, ids=[ascii(each[0]) for each in MEANT])
def test_likely_cause_of_an_unknown_id(written: str, cause: str, lead: str) -> None:
    (hint,) = LikelyCauses(pa.array(LEADS)).hints(["nobody", written, "nothing;x"])
    likely, _, example = hint.partition(": ")
    assert cause in likely
    assert example.startswith(ascii(written))
    assert ascii(lead) in example


def test_an_id_without_a_likely_cause() -> None:
    assert LikelyCauses(pa.array(LEADS)).hints(["A-2", "z;x", "100"]) == ()


PAIRS = [
    ("A", "A\u200b"),
    ("caf\u00e9", "cafe\u0301"),
    ("A", "A\u00a0"),
    ("A", "A "),
    ("b c", "b\u00a0c"),
    ("\ufeffA", "A"),
]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=ascii)
def test_two_ids_that_look_the_same(one: str, other: str) -> None:
    rows, pairs = look_alikes(pa.array(["x", one, "y", other, one, "\u00fc", None]))
    assert rows.tolist() == [1, 3, 4]
    assert set(pairs) <= {f"{one!a} and {other!a}", f"{other!a} and {one!a}"}
    assert same_to_the_eye(["x", one, other])


@pytest.mark.parametrize("ids", [["A", "a"], ["\u00fc", "u"], ["1", "1.0"], ["x ", "y "]])
def test_ids_that_differ(ids: list[str]) -> None:
    assert not len(look_alikes(pa.array(ids))[0])
    assert not same_to_the_eye(ids)
