"""Leads sent with their whole history are read as the same contents in tables are, and refused in the same words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadscore.config import parse_funnel
from leadscore.errors import ConfigError, DataError
from leadscore.history import Rules, build_history, check_records, check_tables
from leadscore.history.reading import columns, records, times
from leadscore.history.reading.faults import Effect
from leadscore.history.reading.plain import NUMBER, NotPlain
from leadscore.history.reading.rules import OPTIONAL, REQUIRED
from leadscore.history.zone import micros

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import DrawFn, SearchStrategy

    from leadscore.config import Funnel, TableName
    from leadscore.errors import Problem
    from leadscore.history.tables import Tables

    Record = dict[str, Any]

TOML = """
preset = "b2b"
[time]
{time}
[attributes]
numbers = ["employees"]
categories = ["source"]
[changes]
numbers = ["amount"]
categories = ["owner"]
"""
BERLIN = 'timezone = "Europe/Berlin"'
TIMES = {
    "no zone": "",
    "a zone": BERLIN,
    "whole days": BERLIN + '\nwhole_days = ["touches.occurred_at", "leads.recorded_at"]',
    "whole days, no zone": 'whole_days = ["transitions.occurred_at"]',
    "few years": "years = [2020, 2030]",
}
FUNNELS = {name: parse_funnel(TOML.format(time=time)) for name, time in TIMES.items()}
UNTIL = 1_720_000_000_000_000
AT = "2024-03-05T09:00:00Z"
EVENTS: tuple[TableName, ...] = ("transitions", "touches", "changes")

PLAIN_TIMES = [
    AT,
    "2024-03-05 10:00:00.5+01:00",
    "2024-03-31T00:30:00.123456Z",
    "2024-10-27T02:30-0100",
    "2024-03-06T23:30+01",
    "1996-02-29T00:00:00Z",
    datetime(2024, 3, 5, 9, tzinfo=UTC),
    datetime(2024, 3, 1, 9, 0, 0, 7, tzinfo=timezone(timedelta(hours=-5))),
]
LOCAL_TIMES = ["2024-03-31T02:30:00", "2024-10-27 02:30", "2024-03-05", datetime(2024, 3, 31, 2, 30)]  # noqa: DTZ001
ODD_TIMES = ["2024-03-05t09:00:00.123456789z", "2024-03-05 09:00:00 +01:00", date(2024, 3, 5)]
BAD_TIMES = ["never", "2024-02-30", "2024-03-05T09:00+01:60", "9999-12-31T23:59:59Z", "2102-01-01T00:00Z", 5, 2.5, True]
GOOD: dict[str, list[Any]] = {
    "lead_id": ["A", "B", "C", "Ü", "D"],
    "time": PLAIN_TIMES,
    "recorded_at": [None, None, "", *PLAIN_TIMES],
    "do_not_score": [None, "", True, False, "YES", "0", 1],
    "employees": [None, "", 0, 5, -2.5, "7", "+1e3", ".5"],
    "source": [None, "", "web", "ads", "Ü"],
    "stage": ["mql", "sal", "lost", "won"],
    "reason": [None, "because"],
    "kind": ["call", "mail", "visit"],
    "direction": [None, "", "in", "OUT", "outbound"],
    "by": [None, "", "ann", "bob"],
    "value": [None, "", 1, 2.5, "3"],
    "event_id": [None, ""],
    "attribute": ["amount", "owner", "mood"],
    "amount": [None, "", 10, 0.1, "12.5"],
    "owner": [None, "", "ann", "bob"],
    "mood": [None, "bad", 7],
}
ODD: dict[str, list[Any]] = {
    "lead_id": ["", None, 7, 7.0, "7", "A", "B"],
    "time": [None, "", *LOCAL_TIMES, *ODD_TIMES, *BAD_TIMES],
    "recorded_at": [*LOCAL_TIMES, *ODD_TIMES, *BAD_TIMES],
    "do_not_score": ["maybe", 2, 0.5, "da"],
    "employees": ["ten", "1_0", "1,5", "nan", float("inf"), float("nan"), 10**400, 2**70, 1e39, "1e999", True, [1]],
    "source": [5, 2.5, True, {"a": 1}, "__other__"],
    "stage": ["MQL", "", None, "nope", 3],
    "kind": ["", None, 5, False, " call "],
    "direction": ["sideways", "İn", 1, "inbnd"],
    "by": [5, 0.5, "__missing__"],
    "value": ["x", float("nan"), 9e12, -9_000_000_000_001, "0x1", " 1"],
    "event_id": ["e1", "e2", 7, "7", 7.0],
    "attribute": ["", None, 5],
    "amount": ["much", float("inf"), 4e38],
    "owner": [5, 1.5, True],
}
TIME_COLUMNS = {"created_at", "occurred_at"}
COLUMNS = [
    ("leads", name) for name in ("lead_id", "created_at", "recorded_at", "do_not_score", "employees", "source")
] + [
    *(("transitions", name) for name in ("occurred_at", "recorded_at", "stage", "event_id")),
    *(("touches", name) for name in ("occurred_at", "recorded_at", "kind", "direction", "by", "value", "event_id")),
    *(("changes", name) for name in ("occurred_at", "recorded_at", "attribute", "value", "event_id")),
]


@st.composite
def sent(draw: DrawFn, *, odd_columns: int) -> list[Record]:
    """A few leads with some events each, that have values which are odd or bad in so many columns at most."""
    odd = draw(st.sets(st.sampled_from(COLUMNS), max_size=odd_columns))

    def value(table: str, name: str, of: str) -> Any:
        return draw(st.sampled_from(GOOD[of] + (2 * ODD.get(of, []) if (table, name) in odd else [])))

    def row(table: TableName) -> Record:
        names = [*REQUIRED[table], *OPTIONAL[table], *(["employees", "source"] if table == "leads" else ["reason"])]
        found = {
            name: value(table, name, "time" if name in TIME_COLUMNS else name)
            for name in names
            if name != "lead_id" and (table, name) != ("changes", "value")
        }
        if table == "changes":
            of = found["attribute"] if found["attribute"] in GOOD else "amount"
            found["value"] = value(table, "value", of)
        return {name: each for name, each in found.items() if each is not None or draw(st.booleans())}

    ids = draw(st.lists(st.sampled_from(GOOD["lead_id"]), unique=True, min_size=1, max_size=4))
    found = []
    for lead_id in ids:
        record = row("leads") | {"lead_id": lead_id, "as_of": AT}
        if ("leads", "lead_id") in odd:
            record["lead_id"] = draw(st.sampled_from([lead_id, *ODD["lead_id"]]))
        for table in EVENTS:
            if draw(st.booleans()):
                few = [row(table) for _ in range(draw(st.integers(0, 4)))]
                record[table] = few + few[: draw(st.integers(0, 2))]
        found.append(record)
    return found


def tables_of(leads: list[Record]) -> dict[TableName, pa.Table]:
    """The same contents as tables: a column of one type as it is, any other as text; ids of events as of each lead."""
    found: dict[TableName, pa.Table] = {}
    for table in ("leads", *EVENTS):
        rows = leads
        if table != "leads":
            rows = [
                event | {"lead_id": lead.get("lead_id"), "event_id": own_id(number, event.get("event_id"))}
                for number, lead in enumerate(leads)
                for event in lead.get(table) or ()
            ]
        needed = [*REQUIRED[table], *(("employees", "source") if table == "leads" else ())]
        columns = {name: [row.get(name) for row in rows] for name in [*needed, *OPTIONAL[table]]}
        found[table] = pa.table(
            {
                name: array(values)
                for name, values in columns.items()
                if name in needed or any(value is not None for value in values)
            }
        )
    return found


def own_id(lead: int, event_id: Any) -> str | None:
    return f"{lead}:{text(event_id)}" if event_id not in {None, ""} else None


def array(values: list[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds in ({int}, {float}) and not any(isinstance(value, int) and value >= 2**63 for value in values):
        return pa.array(values)
    return pa.array([text(value) for value in values], pa.string())


def text(value: Any) -> str | None:
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return pa.array([value]).cast(pa.string())[0].as_py()  # type: ignore[no-any-return]
    return None if value is None else str(value)


def outcome(read: Callable[[], Tables], funnel: Funnel) -> tuple[Problem, ...] | dict[str, Any]:
    """All arrays of the tables and of their history, as bytes; or what is wrong."""
    try:
        # Warnings are about whole tables.
        tables = replace(read(), warnings=())
        history = build_history(tables, funnel)
    except DataError as error:
        return error.problems
    return flat("tables", tables) | flat("history", history)


def flat(place: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {name: each for key, some in value.items() for name, each in flat(f"{place}.{key}", some).items()}
    if hasattr(value, "__dataclass_fields__"):
        return flat(place, {name: getattr(value, name) for name in value.__dataclass_fields__})
    if isinstance(value, np.ndarray):
        return {place: (value.dtype, value.tolist() if value.dtype == object else value.tobytes())}
    return {place: value}


def assert_read_alike(leads: list[Record], funnel: Funnel) -> tuple[Problem, ...] | dict[str, Any]:
    rules = Rules.of(funnel)
    found = outcome(lambda: check_records(leads, rules, UNTIL), funnel)
    assert found == outcome(lambda: check_tables(tables_of(leads), funnel, UNTIL, rules=rules), funnel)
    return found


def lead(**change: Any) -> Record:
    """One lead, a value changed."""
    touches = [
        {"kind": "mail", "occurred_at": AT, "recorded_at": "2024-03-06T09:00:00Z", "value": 1.5},
        {"kind": "call", "occurred_at": "2024-03-05", "direction": "IN", "by": "rep", "event_id": "e1"},
        {"kind": "mail", "occurred_at": AT, "recorded_at": "2024-03-06T09:00:00Z", "value": 1.5},
    ]
    changes = [
        {"attribute": "amount", "value": "10", "occurred_at": AT},
        {"attribute": "mood", "value": ["of any kind"], "occurred_at": "never"},
        {"attribute": "owner", "value": "rep", "occurred_at": AT},
    ]
    fixed = {"lead_id": "A", "created_at": datetime(2024, 3, 1, 9, tzinfo=UTC), "employees": 10, "source": "web"}
    return (
        fixed | {"transitions": [{"stage": "mql", "occurred_at": AT}], "touches": touches, "changes": changes} | change
    )


def problems(leads: Any, funnel: Funnel = FUNNELS["a zone"]) -> tuple[Problem, ...]:
    with pytest.raises(DataError) as caught:
        check_records(leads, Rules.of(funnel), UNTIL)
    return caught.value.problems


@pytest.mark.parametrize("name", FUNNELS)
@settings(deadline=None, max_examples=12, derandomize=True)
@given(leads=sent(odd_columns=2))
def test_records_are_read_and_refused_as_tables_are(name: str, leads: list[Record]) -> None:
    assert_read_alike(leads, FUNNELS[name])


@pytest.mark.integration
@pytest.mark.parametrize(("table", "name"), COLUMNS)
def test_each_value_alone_is_read_as_in_a_table(table: str, name: str) -> None:
    for of in {"value": ["value", "amount", "owner"]}.get(name, ["time" if name in TIME_COLUMNS else name]):
        for value in [*GOOD[of], *ODD.get(of, [])]:
            record = lead()
            row = record if table == "leads" else record[table][2 if (table, of) == ("changes", "owner") else 0]
            row[name] = value
            assert_read_alike([record], FUNNELS["a zone"])


@settings(deadline=None, max_examples=12, derandomize=True)
@given(leads=sent(odd_columns=1))
def test_many_times_are_read_as_few_are(leads: list[Record]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(times, "FEW", 0)
        assert_read_alike(leads, FUNNELS["whole days"])


@settings(deadline=None, max_examples=20, derandomize=True)
@given(leads=sent(odd_columns=0))
def test_plain_records_never_become_tables(leads: list[Record]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "read_as_tables", lambda *_: pytest.fail("took the long way"))
        check_records(leads, Rules.of(FUNNELS["a zone"]), UNTIL)
    assert isinstance(assert_read_alike(leads, FUNNELS["a zone"]), dict)


@settings(deadline=None, max_examples=12, derandomize=True)
@given(leads=sent(odd_columns=0))
def test_a_lead_alone_has_the_events_that_it_has_among_others(leads: list[Record]) -> None:
    rules, funnel = Rules.of(FUNNELS["whole days"]), FUNNELS["whole days"]
    crowd = build_history(check_records(leads, rules, UNTIL), funnel)
    for place, lead_id in enumerate(crowd.ids):
        alone = build_history(
            check_records([each for each in leads if each["lead_id"] == lead_id], rules, UNTIL), funnel
        )
        for one, many in ((alone.touches, crowd.touches), (alone.steps, crowd.steps)):
            assert one.known.tolist() == many.known[many.start[place] : many.start[place + 1]].tolist()


def test_a_lead_in_full() -> None:
    tables = check_records([lead()], Rules.of(FUNNELS["a zone"]), UNTIL)
    at, late = micros(datetime(2024, 3, 5, 9, tzinfo=UTC)), micros(datetime(2024, 3, 6, 9, tzinfo=UTC))
    touches = tables.touches
    assert (tables.leads.ids.tolist(), tables.leads.created.tolist()) == (["A"], [at - 4 * 86_400_000_000])
    assert tables.leads.numbers["employees"].tolist() == [10]
    assert (tables.leads.categories["source"].names, tables.leads.do_not_score.tolist()) == (("web",), [False])
    assert (tables.transitions.stage.tolist(), tables.transitions.known.tolist()) == ([1], [at])
    assert touches.known.tolist() == [late, at + 14 * 3_600_000_000 - 1, late]
    assert (touches.kind.names, touches.kind.codes.tolist()) == (("call", "mail"), [1, 0, 1])
    assert touches.direction is not None
    assert touches.by is not None
    assert (touches.direction.tolist(), touches.by.codes.tolist()) == ([0, 1, 0], [-1, 0, -1])
    np.testing.assert_array_equal(touches.value, [1.5, np.nan, 1.5])
    assert {name: table.occurred.tolist() for name, table in tables.changes.items()} == {"amount": [at], "owner": [at]}
    assert tables.changes["amount"].value.tolist() == [10]  # type: ignore[union-attr]
    assert tables.known_until == UNTIL


def touch(lead_id: Any = "A", **change: Any) -> Record:
    return lead(lead_id=lead_id, touches=[{"kind": "call", "occurred_at": AT} | change])


TWICE = [{"kind": kind, "occurred_at": AT, "event_id": "e1"} for kind in ("call", "mail")]


@pytest.mark.parametrize(
    ("sent", "where", "rule"),
    [
        ([], ("leads", ""), "must have a row"),
        ([lead(), lead(source="ads")], ("leads", "lead_id"), "must not repeat with different contents"),
        ([lead(lead_id=None)], ("leads", "lead_id"), "must not be empty"),
        ([lead(created_at="soon")], ("leads", "created_at"), "must be a time in ISO 8601, not 'soon'"),
        ([lead(employees=float("inf"))], ("leads", "employees"), "must be a finite number, not 'inf'"),
        ([lead(employees=True)], ("leads", "employees"), "must be a number, not 'true'"),
        ([touch(value=9.1e12)], ("touches", "value"), "must not be larger than 9e+12"),
        ([touch(kind="")], ("touches", "kind"), "must not be empty"),
        ([lead(touches=TWICE)], ("touches", "event_id"), "must not repeat with different contents"),
        ([touch(occurred_at="1889-01-01T00:00Z")], ("touches", "occurred_at"), "must lie in the years 1990 to 2100"),
        ([touch(direction="up")], ("touches", "direction"), "must be a direction, not 'up'"),
        ([lead(transitions=[{"stage": "mqll", "occurred_at": AT}])], ("transitions", "stage"), "must be a stage"),
        ([lead(changes=[{"attribute": "owner"}])], ("changes", "occurred_at"), "must not be empty"),
        # What no table could hold.
        ([lead(), 5], ("leads", ""), "must be objects"),
        ([lead(touches={"kind": "call"})], ("touches", ""), "must be a list of objects"),
        ([lead(touches="")], ("touches", ""), "must be a list of objects"),
        ([lead(changes=["x"])], ("changes", ""), "must be a list of objects"),
        ([touch(by="\ud800")], ("touches", "by"), "must be text that UTF-8 can hold"),
        ([lead(lead_id="A\udc80")], ("leads", "lead_id"), "must be text that UTF-8 can hold"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_fault_has_its_error(sent: list[Any], where: tuple[str, str], rule: str) -> None:
    found = problems(sent)[0]
    assert (found.table, found.column) == where
    assert found.rule.startswith(rule)
    str(found).encode()


def test_all_faults_of_all_tables_come_in_one_error() -> None:
    bad = [lead(employees="x", transitions=[{"stage": "nope"}]), touch("B", kind=None, value="x")]
    found = problems(bad)
    assert found == assert_read_alike(bad, FUNNELS["a zone"])
    assert [(each.table, each.column) for each in found] == [
        ("leads", "employees"),
        ("transitions", "occurred_at"),
        ("transitions", "stage"),
        ("touches", "kind"),
        ("touches", "value"),
    ]


def test_an_event_sent_twice_counts_once_and_a_lead_sent_twice_is_one() -> None:
    event = {"kind": "call", "occurred_at": AT, "event_id": "e1"}
    rules = Rules.of(FUNNELS["a zone"])
    assert len(check_records([lead(touches=[event, event])], rules, UNTIL).touches.lead) == 1
    assert check_records([touch(), touch()], rules, UNTIL).leads.ids.tolist() == ["A"]


def test_values_of_several_types_are_each_read_as_text() -> None:
    one, other, third = touch(), touch(1e15), touch("C")
    leads = [one | {"employees": 5, "source": 7}, other | {"employees": "6", "source": "x"}, third | {"source": 2.5}]
    read = check_records(leads, Rules.of(FUNNELS["a zone"]), UNTIL).leads
    assert read.numbers["employees"].tolist() == [5, 6, 10]
    assert read.ids.tolist() == ["A", "1000000000000000", "C"]
    assert read.categories["source"].names == ("2.5", "7", "x")


@pytest.mark.parametrize("value", [4e12, -4e12])
def test_the_values_of_one_lead_have_a_largest_sum_and_those_of_two_do_not(value: float) -> None:
    funnel, once = FUNNELS["a zone"], [{"kind": "call", "occurred_at": AT, "value": value}]
    rules = Rules.of(funnel)
    assert len(build_history(check_records([lead(touches=once), touch("B", value=value)], rules, UNTIL), funnel)) == 2
    with pytest.raises(DataError, match="the values of one lead must sum to less than"):
        build_history(check_records([lead(touches=once + once)], rules, UNTIL), funnel)


def test_an_event_before_1970_is_known_when_it_happened() -> None:
    rules = Rules.of(parse_funnel(TOML.format(time="years = [1960, 2030]")))
    long_ago, late = "1965-05-05T00:00:00Z", {"kind": "call", "occurred_at": AT, "recorded_at": AT}
    touches = [{"kind": "call", "occurred_at": long_ago}, late]
    known = check_records([lead(touches=touches)], rules, UNTIL).touches.known
    assert known[0] == micros(datetime(1965, 5, 5, tzinfo=UTC))


def test_lists_and_attributes_of_one_name_are_refused() -> None:
    funnel = parse_funnel(TOML.format(time="").replace('["source"]', '["touches"]'))
    with pytest.raises(ConfigError, match="touches cannot be sent"):
        check_records([lead()], Rules.of(funnel), UNTIL)


@pytest.mark.parametrize("source", ["web", 2.5], ids=["plain", "by way of tables"])
def test_changes_that_nobody_declares_are_not_looked_at(source: Any) -> None:
    rules = Rules.of(parse_funnel(TOML.format(time=BERLIN).partition("[changes]")[0]))
    for changes in (lead()["changes"], [{"attribute": ""}], 5):
        assert check_records([lead(changes=changes, source=source)], rules, UNTIL).changes == {}


# A value that is read without Arrow has the value that Arrow's readers find.

CLOCKS = {name: times.Clock.of(funnel.time) for name, funnel in FUNNELS.items()}
NEARLY = st.from_regex(times.ISO, fullmatch=True) | st.datetimes(
    datetime(1985, 1, 1),  # noqa: DTZ001
    datetime(2105, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([None, UTC]),
).map(lambda moment: moment.isoformat())


@pytest.mark.parametrize("name", CLOCKS)
@settings(deadline=None, max_examples=20, derandomize=True)
@given(written=NEARLY, whole_days=st.booleans())
def test_a_time_that_is_read_plainly_is_the_time_it_means(name: str, written: str, *, whole_days: bool) -> None:
    moment, fault = CLOCKS[name].moments(pa.array([written]), whole_days=whole_days)
    try:
        found = CLOCKS[name].plain([written], whole_days=whole_days, required=True)
    except NotPlain:
        return
    assert (found.tolist(), fault.tolist()) == (moment.tolist(), [0])


WORDS = st.text(st.sampled_from("iInNoOuUtTİK ")) | st.sampled_from(["inbound", "OUTBOUND", "true", "f", "1"])
READERS: dict[str, tuple[columns.Reader, SearchStrategy[Any]]] = {
    "number": (
        columns.number(9e12),
        st.from_regex(NUMBER, fullmatch=True) | st.text(st.sampled_from("01.eE+-_ nai٣")) | st.floats() | st.integers(),
    ),
    "category": (columns.category(), st.text(max_size=3) | st.integers() | st.booleans()),
    "direction": (columns.direction(), WORDS),
    "boolean": (columns.boolean(), WORDS | st.booleans()),
    "stage": (columns.stage(FUNNELS["a zone"]), WORDS | st.sampled_from(["mql", "Won"])),
}


@pytest.mark.parametrize("name", READERS)
@settings(deadline=None, max_examples=20, derandomize=True)
@given(more=st.data())
def test_a_value_that_is_read_plainly_is_read_so_in_a_column(name: str, more: st.DataObject) -> None:
    reader, values = READERS[name]
    value = more.draw(st.none() | values)
    try:
        found = flat("", reader.plain([value]))
    except NotPlain:
        return
    read = reader(name, array([value]))
    assert (found, [fault for fault in read.faults if len(fault.rows) and fault.effect != Effect.NOTHING]) == (
        flat("", read.values),
        [],
    )
