"""A thousand leads by every way to a score: the same probabilities, bit for bit."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from leadscore.batch import publish_list
from leadscore.features import matrix
from leadscore.funnel import open_leads
from leadscore.history import DAY
from leadscore.model.stage import margin_of
from leadscore.simulate import simulate
from leadscore.store import ingest, listed_rows, open_store, read_store, reading
from tests.service import Clock, Running, leads_as_sent, running, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from leadscore.model import FunnelModel

pytestmark = pytest.mark.integration

LEADS, N = 2_800, 1_000
TOUCH = {"kind": "meeting", "direction": "inbound", "occurred_at": "2025-07-01T08:30:00Z"}
AT = "2025-07-01T09:00:00Z"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parity") / "company"
    simulate(folder, leads=LEADS, seed=11, truth_from=None)
    return folder


@pytest.fixture
def api(folder: Path, registry: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("LEADSCORE_DATABASE_URL", f"sqlite:///{registry}/store.db")
    store = open_store()
    ingest(store, folder, received_at=0)
    store.close()
    with running(settings_of(registry, max_per_second=1e6), Clock(1_751_360_400_000_000)) as api:
        yield api


def asked(api: Running, path: str, name: str, parts: Sequence[list[dict[str, Any]]]) -> dict[str, list[float]]:
    """Scores of leads that are sent in parts, several at a time, by lead."""

    def scores(part: list[dict[str, Any]]) -> list[dict[str, Any]]:
        answer = api.post(path, {name: part})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["scores"])

    with ThreadPoolExecutor(8) as pool:
        told = [score for each in pool.map(scores, parts) for score in each]
    return {score["lead_id"]: [each["probability"] for each in score["probabilities"]] for score in told}


def test_a_thousand_leads_have_the_same_probabilities_on_every_way(
    api: Running, folder: Path, small_model: FunnelModel
) -> None:
    store, now = api.service.store, api.service.now()
    everyone = read_store(store, funnel=small_model.funnel)
    rng = np.random.default_rng(5)
    seen = open_leads(everyone, everyone.known_until)
    chosen = rng.choice(everyone.ids[seen.lead], N, replace=False).tolist()
    parts = np.split(np.array(chosen, object), np.sort(rng.choice(np.arange(1, N), 120, replace=False)))

    by_events = asked(
        api, "/v1/events", "events", [[{"type": "touch", "lead_id": each} | TOUCH for each in part] for part in parts]
    )
    sent = leads_as_sent(folder)
    for lead_id in chosen:
        sent[lead_id]["touches"].append(TOUCH | {"recorded_at": AT})
    by_request = asked(api, "/v1/scores", "leads", [[sent[each] for each in part] for part in parts])
    publish_list(store, small_model, "1", now, keep_from=0, now=lambda: now + DAY)
    with reading(store) as connection:
        rows = listed_rows(connection, chosen)
    history = read_store(store, funnel=small_model.funnel, known_until=now)
    place = {lead_id: number for number, lead_id in enumerate(history.ids)}
    snapshot = history.at(np.array([place[each] for each in chosen]), np.full(N, now))
    trained_on = matrix(small_model.features_, snapshot.coded(small_model.vocabulary_))
    probability = small_model.predict_proba(snapshot)

    assert by_events.keys() == by_request.keys() == rows.keys() == set(chosen)
    for number, lead_id in enumerate(chosen):
        expected = probability[number][~np.isnan(probability[number])].tolist()
        listed = [each for each in json.loads(rows[lead_id].probabilities) if each is not None]
        assert by_request[lead_id] == by_events[lead_id] == listed == expected
    for stage, learnt in enumerate(small_model.stages_):
        ahead = snapshot.steps.stage <= stage
        if learnt.booster is not None and small_model.funnel.horizons[stage] == max(small_model.funnel.horizons):
            margin = margin_of(learnt.booster, trained_on[ahead], 1)
            assert np.array_equal(learnt.calibrated(margin, snapshot.steps.stage[ahead]), probability[ahead, stage])
