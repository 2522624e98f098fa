"""What the service answers, over real HTTP, on both databases."""

from __future__ import annotations

import csv
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pytest

from leadscore.api import leads as api_leads
from leadscore.api.cursors import place_of
from leadscore.api.json import JSON
from leadscore.api.leads import Page, read_together
from leadscore.api.problems import ProblemError
from leadscore.api.scores import Asked, score_together
from leadscore.batch import publish_list
from leadscore.errors import DataError
from leadscore.history import DAY
from leadscore.scoring import probability_columns, rank
from leadscore.store import Wanted, create_key, list_page, reading, records_of, transaction
from tests.service import Clock, Running, leads_as_sent, running, settings_of
from tests.stores import KINDS, fresh_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from leadscore.history import History
    from leadscore.model import FunnelModel

    Sent = dict[str, dict[str, Any]]

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def clock(small_history: History) -> Clock:
    return Clock(small_history.known_until)


@pytest.fixture(scope="module")
def sent(small: Path) -> Sent:
    """The leads of the small company as they are sent to be scored."""
    return leads_as_sent(small)


@pytest.fixture(scope="module", params=KINDS)
def company_api(  # noqa: PLR0917
    request: pytest.FixtureRequest,
    registered: Path,
    ingested: Callable[[str], str],
    small_model: FunnelModel,
    clock: Clock,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    """A service with a published list; tests of one module share it, so each works on leads of its own."""
    folder = tmp_path_factory.mktemp("api")
    with fresh_url(request.param, folder, ingested(request.param)) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEADSCORE_DATABASE_URL", url)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{registered / 'models' / 'mlflow.db'}")
        with running(settings_of(folder), clock) as api:
            publish_list(api.service.store, small_model, "1", clock.now, keep_from=0, now=clock)
            yield api


@pytest.fixture
def api(company_api: Running, clock: Clock, small_history: History) -> Iterator[Running]:
    clock.now = small_history.known_until
    yield company_api
    clock.now = small_history.known_until


@pytest.fixture(scope="module")
def ranked(small_history: History, small_model: FunnelModel) -> Any:
    return rank(small_history, small_model).set_index("lead_id")


def probabilities(score: dict[str, Any]) -> list[float]:
    return [each["probability"] for each in score["probabilities"]]


def of_stage(score: dict[str, Any], stage: str) -> float:
    return next(float(each["probability"]) for each in score["probabilities"] if each["stage"] == stage)


def score_of(api: Running, lead: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = api.post("/v1/scores", {"leads": [lead], **more})
    assert answer.status_code == 200, answer.text
    (score,) = answer.json()["scores"]
    return dict(score)


def happened(api: Running, *events: dict[str, Any]) -> dict[str, Any]:
    answer = api.post("/v1/events", {"events": list(events)})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def touch(lead_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "touch", "lead_id": lead_id, "kind": "call", "occurred_at": "2025-06-30T10:00:00Z"} | more


def test_it_lives_and_can_score(api: Running) -> None:
    assert api.get("/healthz").json() == {"status": "alive"}
    assert api.get("/readyz").json() == {
        "status": "ready",
        "model_version": "1",
        "model": "ok",
        "history": "ok",
        "database": "ok",
    }
    assert "leadscore_model_version 1.0" in api.get("/metrics").text


def test_leads_that_are_sent_get_the_probabilities_of_the_list_alone_and_in_a_crowd(
    api: Running, ranked: Any, sent: Sent, small_model: FunnelModel
) -> None:
    lead_ids = list(ranked.index[::7])
    answer = api.post("/v1/scores", {"leads": [sent[each] for each in lead_ids]})

    assert answer.status_code == 200, answer.text
    columns = probability_columns(small_model.funnel)
    scores = {score["lead_id"]: score for score in answer.json()["scores"]}
    assert scores.keys() == set(lead_ids)
    for lead_id in lead_ids:
        expected = ranked.loc[lead_id, columns].to_numpy(float)
        assert probabilities(scores[lead_id]) == expected[~np.isnan(expected)].tolist()
    for lead_id in lead_ids[:5]:
        alone = score_of(api, sent[lead_id])
        assert alone | {"rank": None} == scores[lead_id] | {"rank": None}


def test_requests_that_are_worked_on_together_get_what_each_gets_alone(api: Running, ranked: Any, sent: Sent) -> None:
    now, served = api.service.now(), api.service.served()
    likely, other, last = ({**sent[each]["attributes"], **sent[each]} for each in ranked.index[[0, 40, -1]])

    def requests() -> list[Asked]:
        return [
            Asked([dict(record) for record in records], now - days * DAY, now, served, reasons)
            for records, days, reasons in (
                ([other, likely], 0, True),
                ([likely], 30, True),
                ([likely | {"do_not_score": True}, last], 0, True),
                ([likely], 0, False),
                ([last, other], 1, False),
            )
        ]

    together = score_together(api.service.store, requests())
    alone = [told for each in requests() for told in score_together(api.service.store, [each])]
    assert together == alone
    assert [[bool(score["reasons"]) for score in told] for told in together if isinstance(told, list)] == [
        [True, True],
        [True],
        [True, False],
        [False],
        [False, False],
    ]


def test_what_is_wrong_with_one_request_is_told_to_that_one_only(api: Running, ranked: Any, sent: Sent) -> None:
    now, served = api.service.now(), api.service.served()
    lead = {**sent[ranked.index[0]]["attributes"], **sent[ranked.index[0]]}
    wrong = lead | {"created_at": "once upon a time"}
    asked = [Asked([dict(each)], now, now, served, reasons=True) for each in (lead, wrong, lead)]
    first, refused, last = score_together(api.service.store, asked)

    assert isinstance(refused, DataError)
    assert isinstance(first, list)
    assert first == last


def test_pages_that_are_read_together_are_each_what_it_is_alone(api: Running, small_model: FunnelModel) -> None:
    first = api.get("/v1/leads?limit=3").json()
    number, after = place_of(first["next"])
    gone = Page(small_model, number + 1_000, Wanted(), 3, after, None, 0)
    pages = [
        Page(small_model, None, Wanted(), 3, None, None, 0),
        gone,
        Page(small_model, number, Wanted(), 3, after, None, 0),
        Page(small_model, None, Wanted(stage="mql"), 2, None, "handoff", 0),
    ]
    shown = [each.body if isinstance(each, JSON) else each for each in read_together(api.service.store, pages)]

    assert isinstance(shown[1], ProblemError)
    assert shown[1].status_code == 410
    queries = ("limit=3", f"limit=3&cursor={first['next']}", "limit=2&stage=mql&list=handoff")
    assert [shown[0], *shown[2:]] == [api.get(f"/v1/leads?{query}").content for query in queries]


def test_nobody_waits_for_a_page_that_takes_long_to_find(api: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, found = threading.Event(), threading.Event()

    def slow(*args: Any, **named: Any) -> Any:
        if args[2].stage is not None:
            begun.set()
            assert found.wait(10)
        return list_page(*args, **named)

    monkeypatch.setattr(api_leads, "list_page", slow)
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(api.get, "/v1/leads?limit=3&stage=mql")
        assert begun.wait(10)
        assert api.get("/v1/leads?limit=3").status_code == 200
        assert not long.done()
        found.set()
        assert {each["stage"] for each in long.result().json()["leads"]} == {"mql"}


def test_a_score_says_all_that_it_should(api: Running, ranked: Any, sent: Sent) -> None:
    lead_id = ranked.index[0]
    score = score_of(api, sent[lead_id], as_of="2025-06-30T08:00:00+02:00", reasons=True)

    assert score["as_of"] == "2025-06-30T06:00:00Z"
    assert score["scored_at"] == "2025-07-01T08:00:00Z"
    assert score["model_version"] == "1"
    assert (score["list"], score["rank"], score["closed"]) == ("handoff", 1, False)
    assert score["grade"] in set("ABCD")
    assert all(each["horizon_days"] in {30, 45, 60, 90} for each in score["probabilities"])
    why = score["reasons"]
    told = sum(each["contribution"] for each in (*why["towards"], *why["against"]))
    assert told + why["base"] + why["everything_else"] == pytest.approx(why["margin"])
    assert why["probability"] == of_stage(score, "sql")


def test_a_closed_lead_is_answered_as_closed(api: Running, sent: Sent, ranked: Any) -> None:
    lead = sent[ranked.index[1]]
    won = [*lead["transitions"], {"stage": "won", "occurred_at": "2025-07-01T08:00:00Z"}]
    score = score_of(api, lead | {"transitions": won}, reasons=True)

    assert score["closed"]
    assert score["stage"] == "won"
    assert (score["probabilities"], score["rank"], score["grade"], score["reasons"]) == ([], None, None, None)


def test_the_list_pages_through_all_leads_in_order(api: Running, ranked: Any) -> None:
    pages, asked = [], {"limit": 37}
    while True:
        page = api.get("/v1/leads", params=asked).json()
        pages += page["leads"]
        if page["next"] is None:
            break
        asked = {"limit": 37, "cursor": page["next"]}
    listed = [each["lead_id"] for each in pages]
    assert len(listed) == len(set(listed))
    assert set(listed) >= set(ranked.index) - {"nobody"}
    by_list = {name: [each for each in pages if each["list"] == name] for name in ("handoff", "win")}
    assert pages == [*by_list["handoff"], *by_list["win"]]
    for name, stage in (("handoff", "sql"), ("win", "won")):
        keys = [of_stage(each, stage) for each in by_list[name]]
        assert keys == sorted(keys, reverse=True)


def test_the_list_is_filtered(api: Running, ranked: Any) -> None:
    of_stage = api.get("/v1/leads", params={"stage": "mql", "limit": 1000}).json()["leads"]
    assert {each["stage"] for each in of_stage} == {"mql"}
    likely = api.get("/v1/leads", params={"list": "handoff", "minimum": 0.1, "limit": 1000}).json()["leads"]
    assert 0 < len(likely) < len(ranked)
    assert all(probabilities(each)[-3] >= 0.1 for each in likely)
    assert api.get("/v1/leads", params={"owner": "nobody"}).json()["leads"] == []


def test_the_whole_list_as_csv(api: Running) -> None:
    answer = api.get("/v1/leads", headers={"Accept": "text/csv"})
    page = api.get("/v1/leads", params={"limit": 1000}).json()["leads"]

    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["lead_id"] for row in rows] == [each["lead_id"] for each in page]
    first = [float(row) for name, row in rows[0].items() if name.endswith("d") and name[-2].isdigit() and row]
    assert first == probabilities(page[0])


def test_an_event_scores_its_lead_again_and_a_repeat_changes_nothing(
    api: Running, ranked: Any, sent: Sent, clock: Clock
) -> None:
    lead_id = ranked.index[5]
    clock.now += DAY // 4
    told = happened(api, touch(lead_id, kind="meeting", direction="inbound", event_id="meeting 5"))
    again = happened(api, touch(lead_id, kind="meeting", direction="inbound", event_id="meeting 5"))

    assert (told["outcomes"], again["outcomes"], again["scores"]) == (["new"], ["repeat"], [])
    (score,) = told["scores"]
    assert score["as_of"] == told["received_at"] == "2025-07-01T14:00:00Z"
    meeting = {"kind": "meeting", "direction": "inbound", "occurred_at": "2025-06-30T10:00:00Z"}
    known = meeting | {"recorded_at": "2025-07-01T14:00:00Z"}
    same = score_of(api, sent[lead_id] | {"touches": [*sent[lead_id]["touches"], known]})
    assert probabilities(same) == probabilities(score)
    listed = api.get(f"/v1/leads/{lead_id}").json()
    assert probabilities(listed["score"]) == probabilities(score)
    assert listed["score"]["rank"] == score["rank"]
    assert [each["as_of"] for each in listed["history"]] == ["2025-07-01T08:00:00Z"]


def test_nobody_dates_back(api: Running, ranked: Any, clock: Clock) -> None:
    lead_id = ranked.index[6]
    happened(api, touch(lead_id, occurred_at="2024-01-01T00:00:00Z", event_id="long ago"))

    with reading(api.service.store) as connection:
        (record,) = records_of(connection, [lead_id])
    known = [
        row["recorded_at"] for row in record["touches"] if row["kind"] == "call" and row["recorded_at"] >= clock.now
    ]
    assert known == [clock.now]


def test_a_lead_that_is_new_is_scored_listed_and_closed(api: Running, clock: Clock) -> None:
    clock.now += DAY
    born = {
        "type": "lead",
        "lead_id": "new lead",
        "created_at": "2025-07-01T12:00:00Z",
        "attributes": {"source": "event"},
    }
    told = happened(api, touch("new lead", occurred_at="2025-07-02T07:00:00Z"), born)
    assert told["outcomes"] == ["new", "new"]
    assert (told["scores"][0]["stage"], told["scores"][0]["rank"]) == ("lead", None)
    listed = api.get("/v1/leads", params={"limit": 1000}).json()["leads"]
    assert "new lead" in {each["lead_id"] for each in listed}

    lost = {"type": "transition", "lead_id": "new lead", "stage": "lost", "occurred_at": "2025-07-02T08:00:00Z"}
    (score,) = happened(api, lost)["scores"]
    assert (score["closed"], score["stage"], score["rank"]) == (True, "lost", None)
    listed = api.get("/v1/leads", params={"limit": 1000}).json()["leads"]
    assert "new lead" not in {each["lead_id"] for each in listed}
    assert api.get("/v1/leads/new lead").json()["score"]["closed"]


def test_a_name_may_hold_slashes(api: Running) -> None:
    lead_id = "sales/2025/7 of 9"
    happened(api, {"type": "lead", "lead_id": lead_id, "created_at": "2025-06-01T12:00:00Z"})
    assert api.get("/v1/leads/sales%2F2025%2F7%20of%209").json()["lead_id"] == lead_id
    assert api.get(f"/v1/leads/{lead_id}/msdyn_predictivescore").json()["msdyn_entityid"] == lead_id
    for address, allowed in (("do-not-score", "PUT"), ("msdyn_predictivescore", "GET")):
        refused = api.client.delete(f"/v1/leads/{lead_id}/{address}")
        assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
        assert api.client.options(f"/v1/leads/{lead_id}/{address}").headers["allow"] == allowed
    assert api.client.delete(f"/v1/leads/{lead_id}").status_code == 200
    assert api.get(f"/v1/leads/{lead_id}").status_code == 404


@pytest.mark.parametrize("lead_id", ["two\nlines", "ends\n", "\r\u2028\x85"])
def test_a_name_may_hold_line_breaks(api: Running, lead_id: str) -> None:
    happened(api, {"type": "lead", "lead_id": lead_id, "created_at": "2025-06-01T12:00:00Z"})
    address = f"/v1/leads/{quote(lead_id)}"
    assert api.get(address).json()["lead_id"] == lead_id
    assert api.get(f"{address}/msdyn_predictivescore").json()["msdyn_entityid"] == lead_id
    assert api.client.delete(address).status_code == 200
    assert api.get(address).status_code == 404


def test_an_event_is_taken_back(api: Running, ranked: Any) -> None:
    lead_id = ranked.index[8]
    before = api.get(f"/v1/leads/{lead_id}").json()["score"]
    happened(api, touch(lead_id, kind="meeting", event_id="a mistake"))
    told = happened(api, {"type": "retraction", "event_id": "a mistake"})

    assert told["outcomes"] == ["new"]
    assert probabilities(told["scores"][0]) == probabilities(before)


def test_two_leads_become_one(api: Running, ranked: Any) -> None:
    goes, stays = ranked.index[10], ranked.index[11]
    told = happened(api, {"type": "merge", "lead_id": goes, "into_lead_id": stays})

    assert [each["lead_id"] for each in told["scores"]] == [stays]
    assert api.get(f"/v1/leads/{goes}").json()["lead_id"] == stays


def test_one_bad_event_stores_nothing_of_its_request(api: Running, ranked: Any) -> None:
    lead_id = ranked.index[12]
    bad = {"type": "transition", "lead_id": lead_id, "stage": "mqll", "occurred_at": "2025-06-30T10:00:00Z"}
    answer = api.post("/v1/events", {"events": [touch(lead_id, event_id="beside a bad one"), bad]})

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["field"], error["leads"]) == ("events.1.stage", [lead_id])
    assert happened(api, touch(lead_id, event_id="beside a bad one"))["outcomes"] == ["new"]


def test_an_erased_lead_is_nowhere_and_stays_away(api: Running, ranked: Any) -> None:
    lead_id = ranked.index[14]
    first, second = (api.client.delete(f"/v1/leads/{lead_id}") for _ in range(2))

    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert lead_id not in first.text
    assert api.get(f"/v1/leads/{lead_id}").status_code == 404
    listed = api.get("/v1/leads", params={"limit": 1000}).json()["leads"]
    assert lead_id not in {each["lead_id"] for each in listed}
    told = happened(api, touch(lead_id))
    assert (told["outcomes"], told["scores"]) == (["erased"], [])


def test_a_lead_that_objects_is_scored_nowhere_until_it_takes_that_back(
    api: Running, ranked: Any, sent: Sent, small_model: FunnelModel, clock: Clock
) -> None:
    lead_id = ranked.index[16]
    assert api.client.put(f"/v1/leads/{lead_id}/do-not-score").json() == {"lead_id": lead_id, "do_not_score": True}

    for score in (score_of(api, sent[lead_id]), api.get(f"/v1/leads/{lead_id}").json()["score"]):
        assert score["do_not_score"]
        assert (score["probabilities"], score["list"], score["reasons"]) == ([], None, None)
    (score,) = happened(api, touch(lead_id, event_id="objected"))["scores"]
    assert score["do_not_score"]
    publish_list(api.service.store, small_model, "1", clock.now, keep_from=0, now=clock)
    assert lead_id not in {each["lead_id"] for each in api.get("/v1/leads", params={"limit": 1000}).json()["leads"]}

    back = api.client.put(f"/v1/leads/{lead_id}/do-not-score", json={"do_not_score": False})
    assert back.json() == {"lead_id": lead_id, "do_not_score": False}
    assert probabilities(api.get(f"/v1/leads/{lead_id}").json()["score"])
    assert api.client.put("/v1/leads/nobody at all/do-not-score").status_code == 404


def test_a_trend_counts_only_beyond_the_jitter(
    api: Running, ranked: Any, clock: Clock, small_model: FunnelModel
) -> None:
    lead_id = ranked.index[20]
    assert api.get(f"/v1/leads/{lead_id}").json()["trend"] == "too early"
    clock.now += 2 * DAY
    happened(api, touch(lead_id, kind="meeting", direction="inbound", occurred_at="2025-07-03T07:00:00Z"))
    moved = api.get(f"/v1/leads/{lead_id}").json()
    now, then = of_stage(moved["score"], "sql"), of_stage(moved["history"][-1], "sql")
    assert moved["trend"] == ("improving" if now > then else "declining")
    assert len(moved["history"]) >= 1

    jitter = api.service.champion.served
    assert jitter is not None
    jitter.about["jitter"] |= {"sql": 100.0}
    assert api.get(f"/v1/leads/{lead_id}").json()["trend"] == "steady"
    payload = api.get(f"/v1/leads/{lead_id}/msdyn_predictivescore").json()
    del jitter.about["jitter"]["sql"]
    assert payload["msdyn_scoretrend"] == 1
    assert payload["msdyn_score"] == round(100 * now)
    assert payload["msdyn_grade"] == "ABCD".index(moved["score"]["grade"])
    assert (payload["msdyn_entityid"], payload["msdyn_entitytype"]) == (lead_id, "lead")


def test_a_stage_forward_is_an_improvement(api: Running, ranked: Any, clock: Clock) -> None:
    lead_id = next(each for each in ranked.index[25:] if ranked.loc[each, "stage"] == "mql")
    clock.now += 2 * DAY
    forward = {"type": "transition", "lead_id": lead_id, "stage": "sal", "occurred_at": "2025-07-03T07:00:00Z"}
    happened(api, forward)
    assert api.get(f"/v1/leads/{lead_id}").json()["trend"] == "improving"


def test_old_scores_are_stale(api: Running, clock: Clock) -> None:
    clock.now += 30 * DAY
    page = api.get("/v1/leads", params={"limit": 3}).json()
    assert all("stale" in each["flags"] for each in page["leads"])


def test_the_model_says_what_it_is(api: Running, small_model: FunnelModel) -> None:
    told = api.get("/v1/model").json()
    assert told["model_version"] == "1"
    assert [each["stage"] for each in told["stages"]] == list(small_model.funnel.later_stages)
    assert [each["horizon_days"] for each in told["stages"]] == list(small_model.funnel.horizons)
    assert told["handoff"] == ["mql", "sql"]


def test_where_there_are_keys_each_may_do_what_its_scopes_say(api: Running, sent: Sent, ranked: Any) -> None:
    with transaction(api.service.store) as connection:
        keys = {scope: create_key(connection, [scope], at=1) for scope in ("score", "read", "write", "erase")}
    api.service.callers._open = (float("-inf"), False)
    lead = {"leads": [sent[ranked.index[0]]]}
    asked = {
        "score": ("POST", "/v1/scores", lead),
        "read": ("GET", "/v1/leads", None),
        "write": ("POST", "/v1/events", {"events": [touch(ranked.index[30], event_id="with a key")]}),
        "erase": ("DELETE", "/v1/leads/nobody", None),
    }
    for needed, (method, path, body) in asked.items():
        without = api.client.request(method, path, json=body)
        assert (without.status_code, without.headers["www-authenticate"]) == (401, "Bearer")
        for scope, key in keys.items():
            answer = api.client.request(method, path, json=body, headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == (200 if scope == needed else 403), answer.text
    assert api.get("/readyz").status_code == 200
    with transaction(api.service.store) as connection:
        connection.exec_driver_sql("DELETE FROM api_keys")
    api.service.callers._open = (float("-inf"), False)
