"""Flags that answers carry: a model whose history ended long before, and leads that stand at no known stage."""

from __future__ import annotations

import json
import logging
from copy import copy
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from leadscore.batch import publish_list
from leadscore.history import DAY
from leadscore.history.zone import EPOCH
from leadscore.model import load_model, save_model
from leadscore.model.staleness import STALE_MODEL_DAYS, stale_from, warn_of_stale_history
from leadscore.registry.connection import connected, experiment_id
from leadscore.registry.runs import log_model
from leadscore.registry.versions import CHAMPION
from leadscore.scoring import rank, score_leads, score_records
from tests.fixtures import SAID
from tests.service import Clock, leads_as_sent, running, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from leadscore.history import History
    from leadscore.model import FunnelModel
    from tests.service import Running

STALE = "stale_model"


def iso(moment: int) -> str:
    return (EPOCH + timedelta(microseconds=moment)).isoformat()


def an_open_lead(small: Path, model: FunnelModel, now: int) -> dict[str, Any]:
    for lead in leads_as_sent(small).values():
        scores = score_leads(model, [{**lead["attributes"], **lead}], np.array([now]))
        if len(scores.scored) and scores.stage[0] == 1:
            return lead
    raise AssertionError("no lead is open")


@pytest.fixture
def clock(small_model: FunnelModel) -> Clock:
    """At the last moment at which the model is not stale."""
    return Clock(stale_from(small_model))


@pytest.fixture
def api(registry: Path, sqlite_url: str, clock: Clock) -> Iterator[Running]:
    with running(settings_of(registry), clock) as service:
        yield service


def test_a_stale_model_is_flagged_everywhere(
    api: Running, clock: Clock, small: Path, small_model: FunnelModel, caplog: pytest.LogCaptureFixture
) -> None:
    lead = an_open_lead(small, small_model, clock.now)
    lead_id = lead["lead_id"]
    touch = {"type": "touch", "lead_id": lead_id, "kind": "call", "occurred_at": iso(clock.now)}

    def flags() -> list[bool]:
        publish_list(api.service.store, small_model, "1", clock.now, keep_from=0, now=clock)
        answers = [
            api.post("/v1/scores", {"leads": [lead]}).json()["scores"][0],
            api.post("/v1/events", {"events": [touch | {"event_id": str(clock.now)}]}).json()["scores"][0],
            api.get("/v1/leads").json()["leads"][0],
            api.get(f"/v1/leads/{lead_id}").json()["score"],
        ]
        listed = api.get("/v1/leads", headers={"accept": "text/csv"}).text.splitlines()[1]
        return [*(STALE in each["flags"] for each in answers), STALE in listed]

    assert flags() == [False] * 5
    assert api.get("/readyz").json()["history"] == "ok"
    assert api.get("/v1/model").json()["warnings"] == []
    assert api.get("/v1/model").json()["drift"] == SAID.as_json()
    assert "retrain" not in caplog.text
    clock.now += 1
    assert flags() == [True] * 5
    ready = api.get("/readyz")
    assert ready.json()["history"] == f"ends {STALE_MODEL_DAYS:.0f} days before now: retrain"
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert api.get("/v1/model").json()["warnings"] == [
        "The history that the model has learnt from ends 90 days before now: retrain"
    ]
    assert "the history that the model has learnt from ends 90 days before" in caplog.text
    past = {"leads": [lead], "as_of": iso(small_model.trained_until_)}
    assert STALE not in api.post("/v1/scores", past).json()["scores"][0]["flags"]


def test_closed_leads_have_no_stale_score(api: Running, clock: Clock, small: Path, small_model: FunnelModel) -> None:
    clock.now += DAY
    leads = list(leads_as_sent(small).values())[:200]
    publish_list(api.service.store, small_model, "1", clock.now, keep_from=0, now=clock)

    scores = api.post("/v1/scores", {"leads": leads}).json()["scores"]

    assert {each["closed"] for each in scores} == {True, False}
    assert all((STALE in each["flags"]) is (each["probability"] is not None) for each in scores)


def test_the_days_to_a_stale_model_are_a_setting(registry: Path, sqlite_url: str, clock: Clock) -> None:
    clock.now += 400 * DAY
    with running(settings_of(registry, stale_model_days=490), clock) as patient:
        assert patient.get("/readyz").json()["history"] == "ok"
    with running(settings_of(registry, stale_model_days=489), clock) as strict:
        assert strict.get("/readyz").json()["history"] == "ends 490 days before now: retrain"


def test_a_rank_long_after_the_history_warns(small_model: FunnelModel, caplog: pytest.LogCaptureFixture) -> None:
    warn_of_stale_history(small_model, stale_from(small_model), STALE_MODEL_DAYS)
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        warn_of_stale_history(small_model, small_model.trained_until_ + 520 * DAY, STALE_MODEL_DAYS)

    assert f"ends 520 days before {iso(small_model.trained_until_ + 520 * DAY)[:10]}: retrain" in caplog.text


@pytest.fixture
def late_model(small_model: FunnelModel, small_history: History) -> FunnelModel:
    """A model of a CRM that recorded stages only from the median lead on."""
    model = copy(small_model)
    begins = EPOCH + timedelta(microseconds=int(np.median(small_history.created)))
    time = small_model.funnel.time.model_copy(update={"history_begins": begins})
    model.funnel = small_model.funnel.model_copy(update={"time": time})
    return model


def older(lead_id: str) -> dict[str, Any]:
    return {"lead_id": lead_id, "created_at": "2024-02-01T09:00:00Z"}


def test_a_lead_of_unknown_stage_has_no_score(late_model: FunnelModel) -> None:
    moved = [{"stage": "lead", "occurred_at": "2025-05-01T09:00:00Z"}]
    young = {"lead_id": "C", "created_at": "2025-05-01T09:00:00Z"}
    records = [older("A"), older("B") | {"transitions": moved}, young, older("D") | {"do_not_score": True}]
    begins = late_model.funnel.time.history_begins
    assert begins is not None
    as_of = np.full(4, late_model.trained_until_)

    scores = score_leads(late_model, records, as_of)

    assert (scores.scored.tolist(), scores.unknown.tolist()) == ([1, 2], [0])
    assert scores.part(0, ["a"]).unknown.tolist() == [0]
    assert scores.part(1, ["b", "c", "d"]).unknown.tolist() == []
    sent = pd.DataFrame([each | {"as_of": iso(int(as_of[0]))} for each in records])
    told = score_records(late_model, sent)
    assert told["stage"].fillna("").tolist() == ["", "lead", "lead", ""]
    assert told.iloc[:, 2].isna().tolist() == [True, False, False, True]


def test_a_lead_of_unknown_stage_is_flagged_and_not_listed(
    registry: Path, sqlite_url: str, late_model: FunnelModel, small: Path, small_history: History
) -> None:
    clock = Clock(small_history.known_until)
    with connected() as client, mlflow.start_run(experiment_id=experiment_id(client)):
        log_model(late_model, {"jitter": {}})
        client.set_registered_model_alias("leadscore", CHAMPION, "2")
    begins = late_model.funnel.time.history_begins
    assert begins is not None
    moved = set(pd.read_csv(small / "transitions.csv")["lead_id"])
    early = small_history.created < (begins - EPOCH) // timedelta(microseconds=1)
    unknown = [lead_id for lead_id in small_history.ids[early] if lead_id not in moved]
    touch = {"type": "touch", "event_id": "1", "lead_id": unknown[0], "kind": "call", "occurred_at": iso(clock.now)}
    with running(settings_of(registry), clock) as api:
        publish_list(api.service.store, late_model, "2", clock.now, keep_from=0, now=clock)
        answers = [
            api.post("/v1/scores", {"leads": [older(unknown[0])]}).json()["scores"][0],
            api.post("/v1/events", {"events": [touch]}).json()["scores"][0],
            api.get(f"/v1/leads/{unknown[0]}").json()["score"],
        ]
        listed = api.get("/v1/leads", params={"limit": 1000}).json()["leads"]
        assert api.get(f"/v1/leads/{unknown[0]}/msdyn_predictivescore").status_code == 409

    for answer in answers:
        assert answer["flags"] == ["unknown_stage"], json.dumps(answer)
        assert (answer["stage"], answer["probability"], answer["list"]) == (None, None, None)
        assert (answer["closed"], answer["do_not_score"]) == (False, False)
    assert len(listed) > 50
    assert not {each["lead_id"] for each in listed} & set(unknown)


DOUBTS = ("leak? won from sql", "on later mornings base rate is clearly better in log loss: \N{SNOWMAN}")


@pytest.fixture
def doubtful(small_model: FunnelModel) -> FunnelModel:
    model = copy(small_model)
    model.doubts_ = DOUBTS
    return model


def test_a_doubtful_champion_warns_wherever_it_is_served(
    registry: Path, sqlite_url: str, clock: Clock, small: Path, doubtful: FunnelModel
) -> None:
    with connected() as client, mlflow.start_run(experiment_id=experiment_id(client)):
        log_model(doubtful, {"jitter": {}})
        client.set_registered_model_alias("leadscore", CHAMPION, "2")
    lead = an_open_lead(small, doubtful, clock.now)
    lead_id = lead["lead_id"]
    touch = {"type": "touch", "lead_id": lead_id, "kind": "call", "occurred_at": iso(clock.now), "event_id": "1"}
    with running(settings_of(registry), clock) as api:
        scored = api.post("/v1/scores", {"leads": [lead]})
        touched = api.post("/v1/events", {"events": [touch]})
        publish_list(api.service.store, doubtful, "2", clock.now, keep_from=0, now=clock)
        in_json = [scored, touched, api.get("/v1/leads"), api.get(f"/v1/leads/{lead_id}"), api.get("/v1/model")]
        others = [
            api.get("/v1/leads", headers={"accept": "text/csv"}),
            api.get(f"/v1/leads/{lead_id}/msdyn_predictivescore"),
        ]

    assert {answer.status_code for answer in (*in_json, *others)} == {200}
    assert [answer.json()["warnings"] for answer in in_json] == [list(DOUBTS)] * len(in_json)
    header = "leak? won from sql | on later mornings base rate is clearly better in log loss: ?"
    assert [answer.headers["X-Leadscore-Warning"] for answer in others] == [header] * 2


def test_a_model_without_doubts_warns_of_nothing(
    api: Running, clock: Clock, small: Path, small_model: FunnelModel
) -> None:
    publish_list(api.service.store, small_model, "1", clock.now, keep_from=0, now=clock)

    assert api.get("/v1/leads").json()["warnings"] == []
    assert "X-Leadscore-Warning" not in api.get("/v1/leads", headers={"accept": "text/csv"}).headers


def test_lists_and_the_pyfunc_have_a_column_of_doubts(
    small: Path, small_history: History, small_model: FunnelModel, doubtful: FunnelModel, tmp_path: Path
) -> None:
    lead = an_open_lead(small, doubtful, small_history.known_until)
    records = pd.DataFrame([{**lead["attributes"], **lead, "as_of": iso(small_history.known_until)}])
    save_model(doubtful, tmp_path / "model")

    assert load_model(tmp_path / "model").doubts_ == DOUBTS
    assert set(rank(small_history, doubtful)["warning"]) == {" | ".join(DOUBTS)}
    assert score_records(doubtful, records)["warning"].tolist() == [" | ".join(DOUBTS)]
    assert "warning" not in rank(small_history, small_model)
    assert "warning" not in score_records(small_model, records)
