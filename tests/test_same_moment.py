"""Rows of one moment, and days beside times: which of them counts, by every way in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadscore.config import parse_funnel
from leadscore.history import DAY, HOUR, Rules, build_history, check_records, check_tables, read_history
from leadscore.history.same_day import settle_same_day
from leadscore.history.zone import micros
from leadscore.store import Lead, Transition, ingest, read_store
from tests.hand import at, short_funnel
from tests.stores import fresh_url, opened, send

if TYPE_CHECKING:
    from leadscore.config import TableName
    from leadscore.history import History
    from leadscore.store import Store

FUNNEL = """
preset = "b2b"
[time]
known_until = 2025-12-31T00:00:00Z
timezone = "Europe/Berlin"
[changes]
numbers = ["amount"]
categories = ["owner"]
"""
UNTIL = at("2025-12-31 00:00")
CREATED = "2025-01-01T09:00:00Z"
NOON, LATER, LATEST = "2025-01-05T12:00:00Z", "2025-01-06T09:00:00Z", "2025-01-07T09:00:00Z"
ON_2ND, ON_3RD = "2025-01-02T09:00:00Z", "2025-01-03T09:00:00Z"
Row = dict[str, str | None]
Rows = dict[str, list[Row]]


def entered(stage: str, occurred_at: str, recorded_at: str | None = None) -> Row:
    return {"stage": stage, "occurred_at": occurred_at, "recorded_at": recorded_at}


def changed(attribute: str, value: str | None, recorded_at: str | None = None) -> Row:
    return {"attribute": attribute, "value": value, "occurred_at": NOON, "recorded_at": recorded_at}


# Transitions of a lead, and where it stands by them.
STAGES: dict[str, tuple[list[Row], str]] = {
    "corrected": ([entered("sql", NOON, LATER), entered("mql", NOON, LATEST)], "mql"),
    "reopened": ([entered("lost", NOON, LATER), entered("mql", NOON, LATEST)], "mql"),
    "lost later": ([entered("mql", NOON, LATER), entered("lost", NOON, LATEST)], "lost"),
    "recorded together": ([entered("mql", NOON, LATER), entered("sql", NOON, LATER)], "sql"),
    "not recorded": ([entered("sql", NOON), entered("mql", NOON)], "sql"),
    "one recorded": ([entered("sql", NOON), entered("mql", NOON, LATER)], "mql"),
    # Planned: both are known when they occur, and the plan was changed.
    "planned": ([entered("won", NOON, ON_2ND), entered("lost", NOON, ON_3RD)], "lost"),
    "planned otherwise": ([entered("lost", NOON, ON_2ND), entered("won", NOON, ON_3RD)], "won"),
    # A date and a time on that day.
    "date, won": ([entered("mql", "2025-01-05"), entered("won", NOON)], "won"),
    "date further": ([entered("sql", "2025-01-05"), entered("mql", NOON)], "sql"),
    "date, lost": ([entered("mql", "2025-01-05"), entered("lost", NOON)], "lost"),
    # The loss was recorded before the lead came back.
    "date, reopened later": (
        [entered("lost", "2025-01-05", "2025-01-05T09:00:00Z"), entered("mql", NOON, "2025-01-05T12:01:00Z")],
        "mql",
    ),
    # The date is no further than where the lead stands by the later time.
    "date, reopened": (
        [entered("lost", NOON), entered("mql", "2025-01-05T15:00:00Z"), entered("mql", "2025-01-05")],
        "mql",
    ),
    "won recorded after the date": ([entered("mql", "2025-01-05"), entered("won", NOON, LATEST)], "won"),
    "time of the day before": ([entered("mql", "2025-01-05"), entered("sql", "2025-01-04T12:00:00Z")], "mql"),
    # It is the next day in Berlin.
    "late in the evening": ([entered("mql", "2025-01-05"), entered("sql", "2025-01-04T23:30:00Z")], "sql"),
    "two dates": ([entered("mql", "2025-01-05"), entered("sql", "2025-01-05")], "sql"),
}
N_UNDECIDED = 3  # recorded together, not recorded, two dates
VALUES: dict[str, tuple[list[Row], str | float | None]] = {
    "text": ([changed("owner", "ann", LATEST), changed("owner", "bob", LATER)], "ann"),
    "missing": ([changed("owner", None, LATEST), changed("owner", "bob", LATER)], "__missing__"),
    "text, tie": ([changed("owner", "ann", LATER), changed("owner", "bob", LATER)], "bob"),
    "missing, tie": ([changed("owner", "ann"), changed("owner", None)], "ann"),
    "number": ([changed("amount", "7", LATEST), changed("amount", "9", LATER)], 7.0),
    "no number": ([changed("amount", "7", LATER), changed("amount", None, LATEST)], None),
    "number, tie": ([changed("amount", None), changed("amount", "-7"), changed("amount", "-9")], -7.0),
}
LEADS = [*STAGES, *VALUES]
OWN: dict[str, Rows] = {
    **{name: {"transitions": rows} for name, (rows, _) in STAGES.items()},
    **{name: {"changes": rows} for name, (rows, _) in VALUES.items()},
}
COLUMNS = {
    "transitions": ("stage", "occurred_at", "recorded_at"),
    "touches": ("kind", "occurred_at"),
    "changes": ("attribute", "value", "occurred_at", "recorded_at"),
}


def tables_of(own: dict[str, Rows], seed: int) -> dict[TableName, pa.Table]:
    """The tables of some leads, their rows in an order by chance."""
    rng = np.random.default_rng(seed)
    tables: dict[TableName, pa.Table] = {
        "leads": pa.table({"lead_id": list(own), "created_at": [CREATED] * len(own)}),
    }
    for name, columns in COLUMNS.items():
        rows = [(lead, row) for lead, each in own.items() for row in each.get(name, ())]
        rows = [rows[number] for number in rng.permutation(len(rows))]
        arrays = {column: pa.array([row.get(column) for _, row in rows], pa.string()) for column in columns}
        tables[name] = pa.table({"lead_id": pa.array([lead for lead, _ in rows], pa.string()), **arrays})  # type: ignore[index]
    return tables


@pytest.fixture(scope="module", params=["orders", "records", "folder", "sqlite", "postgresql"])
def histories(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[History]:
    """All leads, by each way in."""
    funnel, folder = parse_funnel(FUNNEL), tmp_path_factory.mktemp("ways")
    if request.param == "orders":
        return [build_history(check_tables(tables_of(OWN, seed), funnel, UNTIL), funnel) for seed in range(10)]
    if request.param == "records":
        sent = [{"lead_id": lead, "created_at": CREATED, **rows} for lead, rows in OWN.items()]
        return [build_history(check_records(sent, Rules.of(funnel), UNTIL), funnel)]
    (folder / "funnel.toml").write_text(FUNNEL)
    for name, each in tables_of(OWN, 0).items():
        pa.csv.write_csv(each, folder / f"{name}.csv")
    if request.param == "folder":
        return [read_history(folder)]
    with fresh_url(request.param, folder) as url, opened(url) as store:
        ingest(store, folder, received_at=0)
        return [read_store(store)]


def stage(history: History, moment: str, lead: int = 0) -> str:
    code = int(history.at([lead], [at(moment)]).steps.stage[0])
    return (*history.funnel.stages, "lost")[code]


def lead_of(history: History, name: str) -> int:
    return int(np.flatnonzero(history.ids == name)[0])


def test_of_one_moment_the_later_record_counts(histories: list[History]) -> None:
    for history in histories:
        stands = {name: stage(history, "2025-01-10 00:00", lead_of(history, name)) for name in STAGES}
        assert stands == {name: expected for name, (_, expected) in STAGES.items()}


def test_of_one_moment_the_value_recorded_later_counts(histories: list[History]) -> None:
    for history in histories:
        for name, (rows, expected) in VALUES.items():
            seen = history.at([lead_of(history, name)], [at("2025-01-10 00:00")])
            if rows[0]["attribute"] == "owner":
                assert seen.vocabulary.categories["owner"][seen.category("owner")[0]] == expected, name
            else:
                value = seen.number("amount")[0]
                assert value == expected or (expected is None and np.isnan(value)), name


def test_ties_are_counted_in_a_warning(histories: list[History]) -> None:
    for history in histories:
        of_steps, of_amount, of_owner = sorted(history.warnings, key=lambda each: (each[0] != "t", each))
        assert of_steps.startswith(f"transitions: {N_UNDECIDED} rows of the same moment")
        assert "the further stage counts" in of_steps
        assert of_amount.startswith("changes: 2 rows")
        assert of_owner.startswith("changes: 2 rows")


def test_a_date_is_known_at_the_end_of_its_day(histories: list[History]) -> None:
    moments = ["2025-01-05 12:00", "2025-01-05 22:59:59.999998", "2025-01-05 22:59:59.999999"]
    for history in histories:
        lead = lead_of(history, "date further")
        assert [stage(history, each, lead) for each in moments] == ["mql", "mql", "sql"]


Event = tuple[int, int, int, bool, int]  # lead, day, hour, whole day, stage


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 23), st.booleans(), st.integers(0, 5)),
        max_size=12,
    )
)
def test_what_becomes_known_later_does_not_settle_what_was_known(events: list[Event]) -> None:
    def settled(rows: list[Event]) -> list[tuple[bool, int]]:
        lead, day, hour, whole, code = (np.array([row[each] for row in rows]) for each in range(5))
        recorded = day * DAY + hour * HOUR
        occurred = np.where(whole, (day + 1) * DAY - 1, recorded)
        kept, moved = settle_same_day(
            lead.astype(np.int32), occurred, recorded, code.astype(np.int8), whole.astype(bool), zone=ZoneInfo("UTC")
        )
        return list(zip(kept.tolist(), moved.tolist(), strict=True))

    rows = sorted(events, key=lambda row: row[0])
    alone = [each for lead in range(3) for each in (settled([r for r in rows if r[0] == lead]) if rows else [])]
    if rows:
        assert settled(rows) == alone
    for lead in range(3):
        own = [row for row in rows if row[0] == lead]
        for end in range(1, len(own)):
            assert settled(own)[:end] == settled(own[:end])


@pytest.mark.parametrize(
    ("text", "zone", "day"),
    [
        ("2025-05-20T00:00:00Z", "America/New_York", "2025-05-20"),
        ("2025-05-20T00:00:00Z", "Europe/Berlin", "2025-05-20"),
        ("2025-05-19T22:00:00Z", "Europe/Berlin", "2025-05-20"),
        ("2025-05-20T04:00:00Z", "America/New_York", "2025-05-20"),
        ("2025-05-20T03:59:00Z", "America/New_York", "2025-05-19"),
        ("2025-05-20T00:00:00+09:00", "America/New_York", "2025-05-20"),
        ("2025-05-20", "America/New_York", "2025-05-20"),
        ("2025-05-20 00:00:00", "America/New_York", "2025-05-20"),
    ],
)
def test_a_whole_day_is_the_day_as_written(text: str, zone: str, day: str) -> None:
    funnel = short_funnel(f'[time]\ntimezone = "{zone}"\nwhole_days = ["transitions.occurred_at"]')
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)) + timedelta(days=1)
    end = micros(midnight.astimezone(UTC)) - 1
    columns = [pa.array([text])]
    if "T" in text:
        moment = datetime.fromisoformat(text)
        columns.append(pa.array([moment], pa.timestamp("ms", moment.isoformat()[-6:])))
    for column in columns:
        rows = tables_of({"A": {}}, 0)
        rows["transitions"] = pa.table({"lead_id": ["A"], "stage": ["mql"], "occurred_at": column})
        tables = check_tables(rows, funnel, UNTIL)
        assert (tables.transitions.occurred.tolist(), tables.transitions.known.tolist()) == ([end], [end])
    for value in (text, *([datetime.fromisoformat(text)] if "T" in text else [])):
        record = {"lead_id": "A", "created_at": CREATED, "transitions": [{"stage": "mql", "occurred_at": value}]}
        assert check_records([record], Rules.of(funnel), 0).transitions.occurred.tolist() == [end]


def warnings_of(times: list[str], declared: str = "", zone: str = "Europe/Berlin") -> tuple[str, ...]:
    funnel = short_funnel(f'[time]\ntimezone = "{zone}"\nwhole_days = [{declared}]')
    rows = [entered("mql", each) for each in times]
    return check_tables(tables_of({"A": {"transitions": rows}}, 0), funnel, UNTIL).warnings


DAYS = [f"2025-05-{day:02}" for day in range(1, 31)]


def test_times_that_are_all_midnight_are_warned_of() -> None:
    for suffix in ("T00:00:00Z", "T22:00:00Z", " 00:00:00"):
        (warning,) = warnings_of([f"{day}{suffix}" for day in DAYS])
        assert "transitions.occurred_at: every time is midnight" in warning
        assert '"transitions.occurred_at" to [time] whole_days' in warning
    for typed in (["2025-05-01T10:00:00Z"], [f"{day}T10:00:00Z" for day in DAYS[:4]]):
        midnights = [f"{day}T00:00:00Z" for day in DAYS]
        for times in ([*midnights, *typed], [*typed, *midnights]):
            named = [
                f"transitions.occurred_at: 30 of {len(times)} times are midnight" in each for each in warnings_of(times)
            ]
            assert named == ([True] if len(typed) == 1 else [])
    assert warnings_of([f"{day}T00:00:00Z" for day in DAYS[:5]]) == ()
    assert warnings_of(DAYS) == ()


def test_whole_days_written_in_two_ways_are_warned_of() -> None:
    declared = '"transitions.occurred_at"'
    both = [f"{DAYS[0]}T00:00:00Z", f"{DAYS[1]}T22:00:00Z", f"{DAYS[2]}T22:00:00Z", DAYS[3], f"{DAYS[4]} 10:00"]
    (warning,) = warnings_of(both, declared)
    assert "1 whole days are written as 00:00, 2 as another time of day" in warning
    assert warnings_of(both[1:], declared) == ()
    assert warnings_of([f"{day}T00:00:00Z" for day in DAYS], declared) == ()


def test_an_event_of_the_api_with_a_later_record_counts(database: Store) -> None:
    moment = at("2025-01-05 12:00")
    send(database, Lead("A", at("2025-01-01 09:00")), Transition("A", "sql", moment), at=moment + HOUR)
    send(database, Transition("A", "mql", moment), at=moment + 2 * HOUR)

    history = read_store(database, funnel=short_funnel(), known_until=moment + DAY)

    assert [stage(history, each) for each in ("2025-01-05 13:00", "2025-01-05 14:00")] == ["sql", "mql"]
