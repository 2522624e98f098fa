"""What becomes of single events that are sent: their rules, their times, corrections and conflicts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from leadscore.api.events import Arrived, store_together
from leadscore.api.parse_events import parse_events
from leadscore.api.problems import ProblemError
from leadscore.batch import publish_list
from leadscore.config import parse_funnel
from leadscore.history import DAY, Rules
from leadscore.store import Change, Lead, Touch, Transition, create_key, reading, records_of, transaction
from leadscore.store.schema import api_keys, leads
from tests.service import Clock, Running, running, settings_of
from tests.stores import fresh_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leadscore.history import History
    from leadscore.model import FunnelModel
    from leadscore.store import Event

MINUTE = 60_000_000
NOW = 1_751_356_800_000_000  # 2025-07-01 08:00 UTC, the end of the small company's history
FUNNEL = parse_funnel("""
preset = "b2b"
[time]
years = [2010, 2100]
timezone = "Europe/Berlin"
[attributes]
numbers = ["employees"]
categories = ["source"]
[changes]
numbers = ["amount"]
categories = ["owner"]
""")
RULES = Rules.of(FUNNEL)


def at(moment: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment)).isoformat()


def event(kind: str, **more: Any) -> dict[str, Any]:
    needed: dict[str, dict[str, Any]] = {
        "lead": {"created_at": at(NOW - MINUTE)},
        "touch": {"kind": "call", "occurred_at": at(NOW - MINUTE)},
        "transition": {"stage": "mql", "occurred_at": at(NOW - MINUTE)},
        "change": {"attribute": "owner", "occurred_at": at(NOW - MINUTE)},
    }
    return {"type": kind, "lead_id": "a"} | needed[kind] | more


def parsed(*events: Any) -> list[Any]:
    return list(parse_events(events, RULES, NOW))


def faults(*events: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(ProblemError) as refused:
        parsed(*events)
    return [(each["field"], each["rule"]) for each in refused.value.faults]


def test_each_event_is_read_by_its_own_rules() -> None:
    found = parsed(
        event("touch", direction="IN", value=3, by="", event_id="t"),
        event("lead", attributes={"employees": "12", "source": 3}, do_not_score=True),
        event("change", value=7, version=2),
        event("change", attribute="amount", value=7),
        event("lead", lead_id="b"),
        event("transition", reason=""),
        {"type": "merge", "lead_id": "b", "into_lead_id": "a"},
    )

    then = NOW - MINUTE
    assert found[:6] == [
        Touch("a", "call", then, "inbound", None, 3.0, "t"),
        Lead("a", then, {"employees": 12.0, "source": "3"}, do_not_score=True),
        Change("a", "owner", "7", then, version=2),
        Change("a", "amount", 7.0, then),
        Lead("b", then),
        Transition("a", "mql", then),
    ]


def test_each_fault_is_named_where_it_is() -> None:
    found = faults(
        event("touch"),
        event("transition", stage="mqll"),
        event("lead", attributes={"employees": "many", "size": 1}),
        event("change", attribute="size", value=1),
        event("touch", occurred_at="2009-12-31T00:00:00Z", direction="sideways"),
    )

    assert [field for field, _ in found] == [
        "events.1.stage",
        "events.2.attributes.employees",
        "events.2.attributes.size",
        "events.3.attribute",
        "events.4.direction",
        "events.4.occurred_at",
    ]
    assert "'mqll'. Did you mean 'mql'" in found[0][1]


@pytest.mark.parametrize(
    ("kind", "ahead", "good"),
    [
        ("lead", 5 * MINUTE, True),
        ("lead", 6 * MINUTE, False),
        ("touch", 730 * DAY, True),
        ("touch", 731 * DAY, False),
        ("transition", 731 * DAY, False),
        ("change", 731 * DAY, False),
    ],
)
def test_how_far_ahead_an_event_may_lie(kind: str, ahead: int, good: bool) -> None:  # noqa: FBT001
    name = "created_at" if kind == "lead" else "occurred_at"
    sent = event(kind, **{name: at(NOW + ahead)})
    if good:
        assert parsed(sent)
    else:
        ((field, rule),) = faults(event("touch"), sent)
        assert (field, "after now" in rule) == (f"events.1.{name}", True)


@pytest.mark.parametrize("kind", ["lead", "touch", "transition", "change"])
def test_a_stated_recorded_at_lies_between_the_event_and_now(kind: str) -> None:
    (found,) = parsed(event(kind, recorded_at=at(NOW - 1)))
    assert found.recorded_at == NOW - 1
    for wrong in (NOW + 1, NOW - 2 * MINUTE):
        ((field, _),) = faults(event(kind, recorded_at=at(wrong)))
        assert field == "events.0.recorded_at"


def test_a_whole_day_may_be_recorded_on_that_day() -> None:
    sent = event("touch", occurred_at="2025-06-20", recorded_at="2025-06-20T09:00:00Z")
    assert parsed(sent)
    assert faults(sent | {"recorded_at": "2025-06-19T09:00:00Z"})


@pytest.fixture(scope="module")
def api(
    registered: Any,
    ingested: Callable[[str], str],
    small_model: FunnelModel,
    small_history: History,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    """A service with a published list; each test works on a lead of its own."""
    folder = tmp_path_factory.mktemp("events")
    with fresh_url("sqlite", folder, ingested("sqlite")) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEADSCORE_DATABASE_URL", url)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{registered / 'models' / 'mlflow.db'}")
        clock = Clock(NOW)
        assert small_history.known_until == NOW
        with running(settings_of(folder), clock) as api:
            publish_list(api.service.store, small_model, "1", NOW, keep_from=0, now=clock)
            yield api


def sent(api: Running, *events: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = api.post("/v1/events", {"events": list(events)}, **more)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def record(api: Running, lead_id: str) -> dict[str, Any]:
    with reading(api.service.store) as connection:
        return records_of(connection, [lead_id])[0]


def test_conflicts_corrections_and_stale_versions_are_answered(api: Running) -> None:
    born = [event("lead", lead_id=each) for each in ("one", "other")]
    call = event("touch", lead_id="one", event_id="call", value=1, version=2)
    assert sent(api, *born, call)["outcomes"] == ["new"] * 3

    told = sent(
        api,
        call,
        call | {"lead_id": "other"},
        event("transition", lead_id="one", event_id="call"),
        call | {"value": 2, "version": 1},
        call | {"value": 3},
    )

    assert told["outcomes"] == ["repeat", "conflict", "conflict", "repeat", "changed"]
    assert [(each["event"], each["field"]) for each in told["details"]] == [(1, "lead_id"), (2, "type")]
    assert [each["lead_id"] for each in told["scores"]] == ["one"]
    assert [each["value"] for each in record(api, "one")["touches"]] == [3.0]
    assert record(api, "other")["touches"] == record(api, "one")["transitions"] == []


def test_the_same_change_has_the_same_score_by_events_and_by_scores(api: Running) -> None:
    for number, value in enumerate(("3", 3)):
        lead_id = f"owned {number}"
        born = {"lead_id": lead_id, "created_at": at(NOW - 90 * MINUTE)}
        change = {"attribute": "owner", "value": value, "occurred_at": at(NOW - MINUTE)}
        touch = {"kind": "call", "direction": "in", "occurred_at": at(NOW - MINUTE)}
        one, two = ({"type": kind, "lead_id": lead_id} for kind in ("change", "touch"))
        (by_events,) = sent(api, {"type": "lead"} | born, one | change, two | touch)["scores"]
        known = {"recorded_at": at(NOW)}
        lead = born | {"changes": [change | known], "touches": [touch | known]}
        (by_scores,) = api.post("/v1/scores", {"leads": [lead]}).json()["scores"]

        assert by_events["probabilities"] == by_scores["probabilities"]
        assert record(api, lead_id)["changes"][0]["value"] == "3"
        assert record(api, lead_id)["touches"][0]["direction"] == "inbound"


def test_a_lead_is_not_scored_before_it_was_created(api: Running) -> None:
    soon, early = ({"lead_id": name, "created_at": at(NOW + ahead)} for name, ahead in (("s", MINUTE), ("e", DAY)))
    (by_scores,) = api.post("/v1/scores", {"leads": [soon]}).json()["scores"]
    (by_events,) = sent(api, {"type": "lead"} | soon)["scores"]
    assert by_scores | {"rank": None} == by_events
    assert by_scores["as_of"] == "2025-07-01T08:01:00Z"

    refused = api.post("/v1/scores", {"leads": [soon, early]})
    assert refused.status_code == 422
    assert [each["field"] for each in refused.json()["errors"]] == ["leads.1.created_at"]
    refused = api.post("/v1/scores", {"leads": [soon], "as_of": at(NOW - 10 * MINUTE)})
    assert [each["field"] for each in refused.json()["errors"]] == ["leads.0.created_at"]


def test_scores_refuse_events_far_ahead_and_pass_over_planned_ones(api: Running) -> None:
    lead: dict[str, Any] = {"lead_id": "x", "created_at": at(NOW - DAY)}
    planned = {"kind": "meeting", "occurred_at": at(NOW + 100 * DAY)}
    (without,) = api.post("/v1/scores", {"leads": [lead]}).json()["scores"]
    (score,) = api.post("/v1/scores", {"leads": [lead | {"touches": [planned]}]}).json()["scores"]
    assert score == without

    touches = [planned, planned | {"occurred_at": at(NOW + 731 * DAY)}]
    change = {"attribute": "owner", "value": "x", "occurred_at": "2036-05-05T00:00:00Z"}
    sent_late = {"leads": [lead, lead | {"lead_id": "y", "touches": touches, "changes": [change]}]}
    for as_of in ({}, {"as_of": at(NOW - DAY // 2)}):
        refused = api.post("/v1/scores", sent_late | as_of)
        assert refused.status_code == 422
        assert [(each["field"], each["leads"]) for each in refused.json()["errors"]] == [
            ("leads.1.touches.1.occurred_at", ["y"]),
            ("leads.1.changes.0.occurred_at", ["y"]),
        ]
    # Relative to the later of both moments.
    assert api.post("/v1/scores", sent_late | {"as_of": at(NOW + 4000 * DAY)}).status_code == 200


def test_what_is_sent_late_is_flagged_and_what_is_backfilled_is_marked(api: Running) -> None:
    long_ago = at(NOW - 400 * DAY)
    born = event("lead", lead_id="old", created_at=long_ago)
    late = event("touch", lead_id="old", occurred_at=at(NOW - DAY - 1), event_id="late")
    fresh = event("touch", lead_id="old", occurred_at=at(NOW - DAY), event_id="fresh")
    told = sent(api, born, late, fresh)
    assert [(each["event"], each["flags"]) for each in told["details"]] == [(0, ["dated late"]), (1, ["dated late"])]
    assert sent(api, born, late, fresh)["details"] == []

    stated = {"recorded_at": at(NOW - 399 * DAY)}
    healed = sent(api, born | stated, late | {"recorded_at": at(NOW - DAY)}, fresh)
    assert (healed["outcomes"], [each["flags"] for each in healed["details"]]) == (
        ["changed", "changed", "repeat"],
        [["backfilled"]] * 2,
    )
    assert sent(api, born | stated)["outcomes"] == ["repeat"]
    with reading(api.service.store) as connection:
        marked = connection.execute(sa.select(leads.c.backfilled).where(leads.c.lead_id == "old")).scalar_one()
    found = record(api, "old")
    assert (found["recorded_at"], marked) == (NOW - 399 * DAY, True)
    assert [each["recorded_at"] for each in found["touches"]] == [NOW - DAY, NOW]


def test_only_a_key_with_the_scope_backfills(api: Running) -> None:
    with transaction(api.service.store) as connection:
        keys = [create_key(connection, scopes, at=1) for scopes in (["write"], ["write", "backfill"])]
    api.service.callers._open = (float("-inf"), False)
    body = {"events": [event("lead", lead_id="keyed", recorded_at=at(NOW - 1))]}
    answers = [api.post("/v1/events", body, headers={"Authorization": f"Bearer {key}"}) for key in keys]
    with transaction(api.service.store) as connection:
        connection.execute(sa.delete(api_keys))
    api.service.callers._open = (float("-inf"), False)

    assert [each.status_code for each in answers] == [403, 200]
    assert "backfill" in answers[0].json()["detail"]


def test_requests_that_are_stored_together_keep_their_own_times(api: Running) -> None:
    served = api.service.served()
    events: list[list[Event]] = [[Lead("together", NOW - DAY)], [Touch("together", "call", NOW - DAY)]]
    arrived = [Arrived(each, NOW + number, served) for number, each in enumerate(events)]

    store_together(api.service.store, arrived)

    found = record(api, "together")
    assert (found["recorded_at"], found["touches"][0]["recorded_at"]) == (NOW, NOW + 1)
