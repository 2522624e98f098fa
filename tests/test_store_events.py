"""Events into the store: each once, known when they came, and what is taken back stays away."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from leadscore.store import (
    Change,
    Lead,
    Merge,
    Retraction,
    Store,
    Touch,
    Transition,
    accept,
    erase,
    object_to_scoring,
    reading,
    records_of,
    transaction,
)
from leadscore.store.event_keys import key_of_id, key_of_row
from leadscore.store.schema import EVENTS, leads, retracted, scores, touches
from tests.stores import NOON, contents, counts, opened, outcomes, send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from leadscore.store import Event

HOUR = 3_600_000_000
# The slow one is as many as one request may hold.
thousands = pytest.mark.parametrize("n_events", [2_000, pytest.param(8_000, marks=pytest.mark.slow)])


def record(store: Store, lead_id: str) -> dict[str, Any]:
    with reading(store) as connection:
        return records_of(connection, [lead_id])[0]


def kinds(store: Store, lead_id: str) -> list[str]:
    return [touch["kind"] for touch in record(store, lead_id)["touches"]]


@pytest.fixture
def two(database: Store) -> Store:
    """A store with leads a and b."""
    send(database, Lead("a", NOON - HOUR, {"employees": 5.0, "source": "web"}), Lead("b", NOON))
    return database


def test_what_was_sent_is_read_back_with_the_time_it_came(two: Store) -> None:
    send(
        two,
        Transition("a", "mql", NOON, "form"),
        Touch("a", "call", NOON + HOUR, "inbound", "ann", -1.5),
        Touch("a", "mail", NOON - HOUR),
        Change("a", "amount", 1200, NOON),
        Change("a", "owner", None, NOON + 1),
        at=NOON + 7,
    )

    assert record(two, "a") == {
        "lead": 1,
        "lead_id": "a",
        "created_at": NOON - HOUR,
        "recorded_at": NOON,
        "attributes": {"employees": 5.0, "source": "web"},
        "do_not_score": False,
        "gone_at": None,
        "incomplete": False,
        "transitions": [
            {"stage": "mql", "occurred_at": NOON, "recorded_at": NOON + 7, "reason": "form", "whole_day": False}
        ],
        "touches": [
            touch("mail", NOON - HOUR, NOON + 7),
            touch("call", NOON + HOUR, NOON + 7, direction="inbound", by="ann", value=-1.5),
        ],
        "changes": [
            {"attribute": "amount", "value": "1200.0", "occurred_at": NOON, "recorded_at": NOON + 7},
            {"attribute": "owner", "value": None, "occurred_at": NOON + 1, "recorded_at": NOON + 7},
        ],
    }


def touch(kind: str, occurred: int, recorded: int, **more: Any) -> dict[str, Any]:
    nothing = {"direction": None, "by": None, "value": None}
    return nothing | {"kind": kind, "occurred_at": occurred, "recorded_at": recorded} | more


def test_records_come_in_the_order_asked_for_in_four_statements(two: Store) -> None:
    asked: list[str] = []
    sa.event.listen(two.engine, "before_cursor_execute", lambda *said: asked.append(said[2]))
    with reading(two) as connection:
        asked.clear()
        found = records_of(connection, ["b", "nobody", "a", *(f"x{number}" for number in range(40_000)), "b"])

    assert [each["lead_id"] for each in found] == ["b", "a"]
    assert len(asked) == 4


def test_what_is_sent_again_is_a_repeat_and_changes_nothing(two: Store) -> None:
    events: list[Event] = [
        Lead("c", NOON),
        Touch("a", "call", NOON, event_id="1"),
        Touch("a", "call", NOON),
        Transition("b", "mql", NOON),
        Transition("b", "mql", NOON, event_id="2"),
    ]
    first = send(two, *events)
    before = contents(two)
    again = send(two, *events, at=NOON + HOUR)

    assert (first.outcomes, first.touched) == (("new",) * 5, ("c", "a", "b"))
    assert (again.outcomes, again.touched) == (("repeat",) * 5, ())
    assert contents(two) == before


def test_the_second_identical_touch_of_a_request_is_a_second_touch(two: Store) -> None:
    twice = [Touch("a", "call", NOON)] * 2

    assert outcomes(two, *twice) == ["new", "new"]
    assert outcomes(two, *twice, Touch("a", "call", NOON)) == ["repeat", "repeat", "new"]
    assert outcomes(two, *[Touch("a", "call", NOON, event_id="1")] * 2) == ["new", "repeat"]
    assert (kinds(two, "a"), kinds(two, "b")) == (["call"] * 4, [])


def test_events_of_a_lead_that_is_not_there_are_not_stored(two: Store) -> None:
    accepted = send(two, Touch("x", "call", NOON), Touch("a", "call", NOON), Merge("x", "a"), Merge("a", "x"))

    assert accepted.outcomes == ("unknown", "new", "unknown", "unknown")
    assert accepted.touched == ("a",)


def test_of_a_known_lead_the_attributes_named_are_changed(two: Store) -> None:
    changed = Lead("a", NOON + HOUR, {"source": None, "size": "é"})

    assert outcomes(two, changed, changed) == ["changed", "repeat"]
    found = record(two, "a")
    assert found["attributes"] == {"employees": 5.0, "source": None, "size": "é"}
    assert (found["created_at"], found["recorded_at"]) == (NOON - HOUR, NOON)


def test_an_objection_in_a_lead_is_taken_down_and_no_lead_takes_it_back(two: Store) -> None:
    first = send(two, Lead("a", NOON, do_not_score=True))
    second = send(two, Lead("a", NOON, {"size": 1.0}), Touch("b", "call", NOON))

    assert (first.touched, first.objecting) == (("a",), ("a",))
    assert (second.touched, second.objecting) == (("a", "b"), ("a",))
    with transaction(two) as connection:
        assert object_to_scoring(connection, "a", objects=False, at=NOON)
        assert not object_to_scoring(connection, "nobody", objects=True, at=NOON)
    assert send(two, Touch("a", "call", NOON)).objecting == ()


def test_what_is_taken_back_goes_and_stays_away(two: Store) -> None:
    event = Touch("a", "call", NOON, event_id="1")
    send(two, event, Transition("b", "mql", NOON, event_id="2"))

    back = send(two, Retraction("1"), Retraction("1"), Retraction("2"))

    assert (back.outcomes, set(back.touched)) == (("new", "repeat", "new"), {"a", "b"})
    assert outcomes(two, event, event) == ["retracted"] * 2
    assert (kinds(two, "a"), record(two, "b")["transitions"]) == ([], [])


@pytest.mark.parametrize("order", [1, -1], ids=["event first", "retraction first"])
def test_what_is_taken_back_in_the_same_request_does_not_come_in(two: Store, order: int) -> None:
    events: list[Event] = [Touch("a", "call", NOON, event_id="1"), Retraction("1")]

    assert sorted(outcomes(two, *events[::order])) == ["new", "retracted"]
    assert kinds(two, "a") == []


def test_two_leads_become_one(two: Store) -> None:
    send(two, Touch("a", "call", NOON), Touch("b", "mail", NOON + 1), Change("a", "owner", "ann", NOON))
    send(two, Lead("b", NOON, {"source": "fair", "employees": None}))

    merged = send(two, Merge("a", "b"), Touch("a", "visit", NOON + 2))

    assert (merged.outcomes, merged.touched) == (("new", "new"), ("b",))
    assert kinds(two, "b") == ["call", "mail", "visit"]
    found = record(two, "b")
    assert found["attributes"] == {"source": "fair", "employees": 5.0}
    assert (found["created_at"], len(found["changes"])) == (NOON - HOUR, 1)
    assert counts(two)["leads"] == 1
    assert outcomes(two, Merge("a", "b"), Lead("a", NOON, {"source": "x"}), Touch("a", "call", NOON)) == ["repeat"] * 3


def test_merges_lead_on_to_the_one_that_is_left(two: Store) -> None:
    send(two, Lead("c", NOON), Touch("a", "call", NOON))
    assert outcomes(two, Merge("a", "b"), Merge("b", "c"), Touch("a", "mail", NOON + 1)) == ["new"] * 3

    assert kinds(two, "c") == ["call", "mail"]
    assert outcomes(two, Touch("a", "visit", NOON + 2), Merge("c", "a"), Merge("c", "c")) == [
        "new",
        "unknown",
        "unknown",
    ]


def test_an_objection_outlives_a_merge(two: Store) -> None:
    send(two, Lead("a", NOON, do_not_score=True))

    assert send(two, Merge("a", "b")).objecting == ("b",)


def test_nothing_of_an_erased_lead_is_left_and_nothing_brings_it_back(two: Store) -> None:
    send(two, Lead("Zoë", NOON, {"mail": "zoe@example.org"}), Lead("old", NOON), Merge("old", "Zoë"))
    sent: list[Event] = [Touch("Zoë", "call", NOON), Transition("Zoë", "mql", NOON), Change("Zoë", "owner", "o", NOON)]
    send(two, *sent)
    score(two, record(two, "Zoë")["lead"])
    with transaction(two) as connection:
        receipt = erase(connection, "old", at=NOON)
    with transaction(two) as connection:
        assert erase(connection, "Zoë", at=NOON + 5) == receipt

    left = contents(two)
    assert not any(word in repr(left) for word in ("Zoë", "old", "zoe", "mql"))
    assert {"scores": len(left["scores"]), "touches": len(left["touches"])} == {"scores": 0, "touches": 0}
    again = [Lead("Zoë", NOON), *sent, Lead("old", NOON), Merge("a", "Zoë")]
    assert outcomes(two, *again) == ["erased"] * 6
    assert contents(two) == left


def score(store: Store, lead: int) -> None:
    row = {
        "lead": lead,
        "as_of": 1,
        "scored_at": 1,
        "model_version": "1",
        "stage": "x",
        "probabilities": "",
        "flags": "",
    }
    with transaction(store) as connection:
        connection.execute(sa.insert(scores), row)


def test_who_was_erased_before_it_came_does_not_come_in(two: Store) -> None:
    with transaction(two) as connection:
        erase(connection, "later", at=NOON)

    assert outcomes(two, Lead("later", NOON), Touch("later", "call", NOON)) == ["erased"] * 2


def test_a_fault_after_the_events_stores_none_of_them(two: Store) -> None:
    before = contents(two)
    with pytest.raises(RuntimeError), transaction(two) as connection:  # noqa: PT012 - the block is the transaction
        accept(connection, [Lead("c", NOON), Touch("a", "call", NOON), Merge("a", "b")], received_at=NOON)
        raise RuntimeError

    assert contents(two) == before


def test_texts_stay_texts(two: Store) -> None:
    hostile = "'; drop table leads; --\n\u202e=1+1 \\u0041 \U0001f600"
    send(two, Lead(hostile, NOON, {hostile: hostile}), Touch(hostile, hostile, NOON, event_id=hostile))

    found = record(two, hostile)
    assert (found["attributes"], found["touches"][0]["kind"]) == ({hostile: hostile}, hostile)


@thousands
def test_thousands_of_events_at_once(two: Store, n_events: int) -> None:
    many: list[Event] = [Touch("ab"[number % 2], "call", NOON + number) for number in range(n_events)]
    back = [Retraction(str(number)) for number in range(n_events // 4)]

    assert set(outcomes(two, *many, *back)) == {"new"}
    assert set(outcomes(two, *many, *back)) == {"repeat"}


def test_a_key_is_of_all_that_an_event_says() -> None:
    row = ("a", 1, "call", None, "x", 1.5)
    keys = {
        key_of_row("touches", row, 0),
        key_of_row("touches", row, 1),
        key_of_row("changes", row, 0),
        key_of_row("touches", ("a", 1, "call", "x", None, 1.5), 0),
        key_of_row("touches", ("a', 1, 'call", None, None, "x", 1.5), 0),
        key_of_id("touches", "a"),
        key_of_id("changes", "a"),
    }

    assert len(keys) == 7
    # A key outlives the program that made it.
    assert key_of_id("touches", "a").hex() == "310c9d7b9f6e88bd3f62f228d355a337"


def each(store: Store, events: Sequence[Event]) -> None:
    for event in events:
        send(store, event)


def in_threads(*works: Callable[[], None]) -> None:
    faults: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as fault:  # noqa: BLE001 - told to the test
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


def test_two_services_write_what_they_are_sent_while_others_read(database_url: str) -> None:
    born = [Lead(f"l{number}", NOON) for number in range(10)]
    with opened(database_url) as one, opened(database_url) as other:

        def write(store: Store, step: int) -> Callable[[], None]:
            def work() -> None:
                for number in range(25):
                    shared = [Touch(f"l{place}", "call", NOON + number) for place in range(10)]
                    own = Touch("l3", f"own {step}", NOON + number)
                    send(store, *born[::step], *shared[::step], own, Retraction(f"r{number}"))

            return work

        def read() -> None:
            for _ in range(25):
                with reading(other) as connection:
                    found = records_of(connection, ["l3", "l4"])
                    assert all(json.dumps(each) for each in found)

        in_threads(write(one, 1), write(other, -1), read, read)

        assert counts(one) == {"leads": 10, "touches": 300, "retracted": 75}


@pytest.mark.parametrize("what", ["leads", "events"])
def test_two_services_that_are_sent_the_same_in_other_orders_do_not_wait_for_each_other(
    database_url: str, what: str
) -> None:
    with opened(database_url) as one, opened(database_url) as other:
        send(one, Lead("1", NOON), Lead("-1", NOON))

        def write(store: Store, step: int) -> None:
            for number in range(5):
                ids = [f"{number} {place:03}" for place in range(300)][::step]
                born: list[Event] = [Lead(each, NOON) for each in ids]
                calls: list[Event] = [Touch(str(step), "call", NOON, event_id=each) for each in ids]
                send(store, *(born if what == "leads" else calls))

        in_threads(lambda: write(one, 1), lambda: write(other, -1))

        assert counts(one) == ({"leads": 1_502} if what == "leads" else {"leads": 2, "touches": 1_500})


def test_what_is_taken_back_while_it_comes_in_does_not_stay(database_url: str) -> None:
    with opened(database_url) as one, opened(database_url) as other:
        send(one, Lead("a", NOON))
        events = [Touch("a", "call", NOON + number, event_id=str(number)) for number in range(40)]
        in_threads(
            lambda: each(one, events),
            lambda: each(other, [Retraction(event.event_id) for event in events if event.event_id]),
        )

        assert kinds(one, "a") == []


def rows(store: Store, lead_id: str, table: str = "touches") -> list[tuple[Any, ...]]:
    return [tuple(each.values()) for each in record(store, lead_id)[table]]


def test_other_contents_of_a_known_id_replace_what_is_stored(two: Store) -> None:
    sent: list[Event] = [
        Touch("a", "call", NOON - HOUR, value=1, event_id="t"),
        Transition("a", "mql", NOON - HOUR, event_id="s"),
        Change("a", "amount", 5, NOON - HOUR, event_id="c"),
    ]
    send(two, *sent)
    corrected: list[Event] = [
        Touch("a", "call", NOON - HOUR, value=2, event_id="t"),
        Transition("a", "sal", NOON - HOUR, event_id="s"),
        Change("a", "amount", 6, NOON - HOUR, event_id="c"),
    ]

    again = send(two, *corrected, at=NOON + 9)

    assert (again.outcomes, again.touched) == (("changed",) * 3, ("a",))
    assert outcomes(two, *corrected, at=NOON + 10) == ["repeat"] * 3
    # A touch took place when it was known; a new stage or value was not known before.
    assert record(two, "a")["touches"] == [touch("call", NOON - HOUR, NOON, value=2.0)]
    assert rows(two, "a", "transitions") == [(NOON - HOUR, NOON + 9, "sal", None, False)]
    assert rows(two, "a", "changes") == [(NOON - HOUR, NOON + 9, "amount", "6.0")]
    assert {row[-2] for table in ("touches", "transitions", "changes") for row in contents(two)[table]} == {NOON + 9}


def test_a_reason_that_is_filled_in_later_moves_no_stage_in_time(two: Store) -> None:
    send(two, Transition("a", "lost", NOON, event_id="s"))

    assert outcomes(two, Transition("a", "lost", NOON, "price", event_id="s"), at=NOON + 9) == ["changed"]
    assert rows(two, "a", "transitions") == [(NOON, NOON, "lost", "price", False)]


def test_a_known_id_of_another_lead_or_type_is_a_conflict(two: Store) -> None:
    send(two, Touch("a", "call", NOON, event_id="1"))
    before = contents(two)

    accepted = send(two, Touch("b", "call", NOON, event_id="1"), Change("a", "owner", "x", NOON, event_id="1"))

    assert (accepted.outcomes, accepted.conflicts) == (("conflict",) * 2, {0: "lead_id", 1: "type"})
    assert (accepted.touched, contents(two)) == ((), before)
    send(two, Merge("a", "b"))
    assert outcomes(two, Touch("a", "call", NOON, event_id="1"), Touch("b", "call", NOON, event_id="1")) == [
        "repeat",
        "repeat",
    ]


def test_an_older_version_replaces_nothing(two: Store) -> None:
    def version(number: int | None, value: float) -> list[str]:
        return list(outcomes(two, Touch("a", "call", NOON, value=value, event_id="1", version=number)))

    steps: list[tuple[int | None, float, str]] = [
        (3, 1.0, "new"),
        (2, 2.0, "repeat"),
        (5, 1.0, "repeat"),  # the same contents, but older ones than these come too late from now on
        (4, 2.0, "repeat"),
        (5, 3.0, "changed"),
        (None, 4.0, "changed"),
        (4, 5.0, "repeat"),
    ]
    assert [version(number, value) for number, value, _ in steps] == [[outcome] for *_, outcome in steps]
    assert record(two, "a")["touches"][0]["value"] == 4.0


def test_what_was_planned_too_far_ahead_is_known_when_it_is_corrected(two: Store) -> None:
    """An import notes the later of both times as when the row was known."""
    far = NOON + 9_000 * 24 * HOUR
    send(two, Touch("a", "meeting", far, event_id="1", recorded_at=far))

    send(two, Touch("a", "meeting", NOON, event_id="1"), at=NOON + 9)

    assert record(two, "a")["touches"] == [touch("meeting", NOON, NOON + 9)]


def test_stated_times_heal_what_was_sent_late(two: Store) -> None:
    late: list[Event] = [
        Touch("a", "call", NOON - HOUR),
        Touch("a", "call", NOON - HOUR, event_id="1"),
        Lead("b", NOON),
    ]
    send(two, *late)
    stated = NOON - HOUR + 1
    healing: list[Event] = [
        Touch("a", "call", NOON - HOUR, recorded_at=stated),
        Touch("a", "call", NOON - HOUR, event_id="1", recorded_at=stated),
        Lead("b", NOON, recorded_at=stated),
    ]

    assert outcomes(two, *healing, at=NOON + 9) == ["changed"] * 3
    assert outcomes(two, *healing, at=NOON + 10) == outcomes(two, *late, at=NOON + 11) == ["repeat"] * 3
    assert [each["recorded_at"] for each in record(two, "a")["touches"]] == [stated] * 2
    assert record(two, "b")["recorded_at"] == stated
    with reading(two) as connection:
        for table in (touches, leads):
            counted = sa.select(sa.func.count()).select_from(table).where(table.c.backfilled)
            assert connection.execute(counted).scalar_one() == (2 if table is touches else 1)


@thousands
def test_thousands_of_corrections_at_once(two: Store, n_events: int) -> None:
    many = [Touch("a", "call", NOON, value=number, event_id=str(number)) for number in range(n_events)]
    send(two, *many)

    again = [Touch("a", "mail", NOON, value=event.value, event_id=event.event_id) for event in many]
    assert set(outcomes(two, *again)) == {"changed"}
    assert set(outcomes(two, *again)) == {"repeat"}


def test_two_services_that_are_sent_one_id_for_two_leads_store_it_once(database_url: str) -> None:
    with opened(database_url) as one, opened(database_url) as other:
        send(one, Lead("a", NOON), Lead("b", NOON))
        found: dict[str, list[str]] = {}

        def write(store: Store, lead_id: str) -> None:
            found[lead_id] = [
                each
                for number in range(40)
                for each in outcomes(store, Touch(lead_id, "call", NOON, event_id=str(number)))
            ]

        in_threads(lambda: write(one, "a"), lambda: write(other, "b"))

        assert counts(one)["touches"] == 40
        assert [sorted(pair) for pair in zip(*found.values(), strict=True)] == [["conflict", "new"]] * 40


IDS, LEADS, VALUES = ("1", "2", "3"), ("a", "b"), (1.0, 2.0)
STEPS = st.one_of(
    st.tuples(st.sampled_from(IDS), st.sampled_from(LEADS), st.sampled_from(VALUES), st.sampled_from((None, 1, 2, 3))),
    st.tuples(st.sampled_from(IDS), st.sampled_from(LEADS), st.none(), st.none()),  # a transition
    st.tuples(st.sampled_from(IDS)),  # a retraction
)


def expected(steps: Sequence[tuple[Any, ...]], known: dict[str, Any], gone: set[str]) -> list[str]:
    """What a plain reading of the rules says, one event after the other; retractions of a request come first."""
    found: dict[int, str] = {}
    for index, step in enumerate(steps):
        if len(step) == 1:
            found[index] = "repeat" if step[0] in gone else "new"
            gone.add(step[0])
            known.pop(step[0], None)
    for index, step in enumerate(steps):
        if index in found:
            continue
        name, lead, value, version = step
        if name in gone:
            found[index] = "retracted"
        elif name not in known:
            found[index], known[name] = "new", (lead, value, version)
        elif (known[name][0], known[name][1] is None) != (lead, value is None):
            found[index] = "conflict"
        elif version is not None and known[name][2] is not None and version < known[name][2]:
            found[index] = "repeat"
        else:
            found[index] = "repeat" if known[name][1] == value else "changed"
            known[name] = (lead, value, known[name][2] if version is None else version)
    return [found[index] for index in range(len(steps))]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(STEPS, min_size=1, max_size=6), min_size=1, max_size=5))
def test_any_events_end_as_if_sent_in_turn(one_store: Store, requests: list[list[tuple[Any, ...]]]) -> None:
    with transaction(one_store) as connection:
        for table in (*EVENTS.values(), retracted):
            connection.execute(sa.delete(table))
    known: dict[str, Any] = {}
    gone: set[str] = set()
    for request in requests:
        assert outcomes(one_store, *map(_event, request)) == expected(request, known, gone)

    stored = {(lead_id, each["value"]) for lead_id in LEADS for each in record(one_store, lead_id)["touches"]} | {
        (lead_id, None) for lead_id in LEADS if record(one_store, lead_id)["transitions"]
    }
    assert stored == {(lead, value) for lead, value, _ in known.values()}


def _event(step: tuple[Any, ...]) -> Event:
    match step:
        case (name,):
            return Retraction(name)
        case (name, lead, None, _):
            return Transition(lead, "mql", NOON, event_id=name)
        case (name, lead, value, version):
            return Touch(lead, "call", NOON, value=value, event_id=name, version=version)
    raise ValueError(step)


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with opened(f"sqlite:///{tmp_path_factory.mktemp('one') / 'store.db'}") as store:
        send(store, *(Lead(each, NOON) for each in LEADS))
        yield store
