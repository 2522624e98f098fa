"""Times as text mean what Python's own reading of them means, however the column is mixed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadscore.config import Times
from leadscore.history.reading.times import SKIPPED, Clock
from leadscore.history.zone import micros

ZONES = ["Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"]
YEARS = (1995, 2060)
LOCAL = st.datetimes(datetime(1996, 1, 1), datetime(2059, 1, 1))  # noqa: DTZ001
OFFSETS = st.none() | st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# A row that Arrow's own reading refuses, so that its neighbours take the slow path with it.
ODD = "2024-03-04T09:00:00.123456789Z"


def moments(texts: list[str], zone: str, *, whole_days: bool = False) -> list[int]:
    clock = Clock.of(Times(timezone=zone, years=YEARS))
    moment, fault = clock.moments(pa.array(texts, pa.string()), whole_days=whole_days)
    local = [datetime.fromisoformat(each) if len(each) > 10 and each != ODD else None for each in texts]
    skipped = [each is not None and not whole_days and is_skipped(each, zone) for each in local]
    assert fault.tolist() == [SKIPPED + 1 if each else 0 for each in skipped]
    return [int(each) for each in moment]


def is_skipped(local: datetime, zone: str) -> bool:
    """Whether the clocks of the zone never show this time."""
    if local.tzinfo is not None:
        return False
    there = local.replace(tzinfo=ZoneInfo(zone))
    return there.astimezone(UTC).astimezone(there.tzinfo).replace(tzinfo=None) != local


def meant(local: datetime, zone: str) -> int:
    return micros(local if local.tzinfo else local.replace(tzinfo=ZoneInfo(zone)))


def day_end(local: datetime, zone: str) -> int:
    at_midnight = (local.hour, local.minute, local.second, local.microsecond) == (0, 0, 0, 0)
    here = local.astimezone(ZoneInfo(zone)) if local.tzinfo and not at_midnight else local
    following = datetime(here.year, here.month, here.day, tzinfo=ZoneInfo(zone)) + timedelta(days=1)
    return micros(following) - 1


@pytest.mark.integration
@settings(deadline=None, max_examples=40)
@given(
    rows=st.lists(st.builds(lambda local, zone: local.replace(tzinfo=zone), LOCAL, OFFSETS), min_size=1, max_size=8),
    zone=st.sampled_from(ZONES),
    separator=st.sampled_from("T "),
)
def test_text_means_what_python_says_it_means(rows: list[datetime], zone: str, separator: str) -> None:
    texts = [each.isoformat(separator) for each in rows]
    expected = [meant(each, zone) for each in rows]
    assert moments(texts, zone) == expected
    assert moments([*texts, ODD], zone)[:-1] == expected
    assert moments([*texts, ODD], zone, whole_days=True)[:-1] == [day_end(each, zone) for each in rows]
    days = [each.date().isoformat() for each in rows]
    ends = [day_end(each.replace(tzinfo=None), zone) for each in rows]
    assert moments(days, zone) == ends
    assert moments([*days, ODD], zone)[:-1] == ends


@pytest.mark.parametrize("zone", ZONES)
def test_every_hour_of_a_year_of_changing_clocks(zone: str) -> None:
    hours = [datetime(2017, 1, 1) + timedelta(minutes=30 * half) for half in range(365 * 48)]  # noqa: DTZ001
    assert moments([each.isoformat() for each in hours], zone) == [meant(each, zone) for each in hours]


@pytest.mark.parametrize(
    "text",
    [
        *("2024-02-30", "2023-02-29T09:00Z", "2024-00-10", "2024-13-01T00:00Z", "2024-03-04T24:00:00Z"),
        *("2024-03-04T09:60Z", "2024-03-04T09:00:60Z", "2024-03-04T09:00+24:00", "2024-03-04T09:00+01:60"),
        *("20240304", "2024-3-4", "04.03.2024", "2024-03-04T", "2024-03-04Z", " 2024-03-04", "2024-03-04\n"),
        *("1709542800", "now", "2024-03-04T09:00:00.Z"),
    ],
)
def test_what_is_no_time_is_refused_alone_and_among_others(text: str) -> None:
    clock = Clock.of(Times(timezone="Europe/Berlin"))
    good = "2024-03-04T09:00:00Z"
    for column in ([text], [good, text, good], [good, text, ODD], ["2024-03-04", text, good], [None, text, ""]):
        _, fault = clock.moments(pa.array(column, pa.string()))
        assert [code == 2 for code in fault] == [each == text for each in column]


def test_one_odd_row_among_many_changes_no_other() -> None:
    texts = [(datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=place)).isoformat() for place in range(100_000)]
    plain = moments(texts, "UTC")
    assert moments([*texts[:50_000], ODD, *texts[50_000:]], "UTC") == [
        *plain[:50_000],
        micros(datetime(2024, 3, 4, 9, tzinfo=UTC)) + 123_456,
        *plain[50_000:],
    ]
