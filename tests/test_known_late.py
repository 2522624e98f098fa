"""Attributes that are known late are read and stored on every way, and no feature is made of them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from benchmarks import drift_leaks
from benchmarks.drift_leaks import DEMO, FUNNEL, NOTE, LeakWorld
from leadscore.backtest import judge, learn_until
from leadscore.baselines import NaiveBayes
from leadscore.config import parse_funnel
from leadscore.drift.entering import new_leads
from leadscore.drift.windows import Windows
from leadscore.errors import ConfigError
from leadscore.examples import judging_examples
from leadscore.funnel import open_leads
from leadscore.gate import segments
from leadscore.history import History, read_history
from leadscore.model import FunnelModel, load_model, save_model
from leadscore.registry.connection import connected, experiment_id
from leadscore.registry.runs import log_model
from leadscore.registry.versions import CHAMPION
from leadscore.scoring import rank
from leadscore.store import ingest, open_store, read_store
from tests.service import Clock, leads_as_sent, running, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.service import Running

pytestmark = pytest.mark.integration

LATE = {"employees", "industry", "amount"}


@pytest.fixture(scope="module")
def folder(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small company, whose employees, industry and amount are filled in late."""
    folder = tmp_path_factory.mktemp("late") / "company"
    shutil.copytree(small, folder)
    settings = (folder / "funnel.toml").read_text(encoding="utf-8")
    settings = settings.replace("[attributes]", '[attributes]\nknown_late = ["employees", "industry"]')
    settings = settings.replace("[changes]", '[changes]\nknown_late = ["amount"]')
    (folder / "funnel.toml").write_text(settings, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def history(folder: Path) -> History:
    return read_history(folder)


@pytest.fixture(scope="module")
def model(history: History) -> FunnelModel:
    return learn_until(history, history.known_until, n_jobs=1)


@pytest.fixture
def api(
    folder: Path, model: FunnelModel, history: History, store: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    """A service with this model and this company."""
    monkeypatch.setenv("LEADSCORE_DATABASE_URL", f"sqlite:///{store}/store.db")
    database = open_store()
    ingest(database, folder, received_at=history.known_until)
    database.close()
    with connected() as client, mlflow.start_run(experiment_id=experiment_id(client)):
        log_model(model, {"note": "a test", "jitter": {}})
        client.set_registered_model_alias("leadscore", CHAMPION, "1")
    with running(settings_of(store), Clock(history.known_until)) as service:
        yield service


def test_known_late_must_be_declared() -> None:
    with pytest.raises(ConfigError, match=r"attributes: known_late names attributes .* of this section: amount, size$"):
        parse_funnel('preset = "b2b"\n[attributes]\nnumbers = ["a"]\nknown_late = ["a", "amount", "size"]')
    with pytest.raises(ConfigError, match="named twice: a"):
        parse_funnel('preset = "b2b"\n[attributes]\nnumbers = ["a"]\nknown_late = ["a", "a"]')


def test_what_is_known_late_is_kept_and_is_no_feature(history: History, model: FunnelModel) -> None:
    assert np.isfinite(history.numbers["employees"]).any()
    assert len(np.unique(history.categories["industry"])) > 1
    assert len(history.changes["amount"])
    assert not {column.topic.removeprefix("attribute ") for column in model.columns_} & LATE
    assert {"source", "country", "owner"} <= {column.name for column in model.columns_}


def test_what_is_known_late_does_not_move_a_score(
    folder: Path, history: History, model: FunnelModel, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "company")
    leads = pd.read_csv(tmp_path / "company" / "leads.csv", dtype=str)
    leads["employees"], leads["industry"] = "7", "never seen before"
    leads.to_csv(tmp_path / "company" / "leads.csv", index=False)
    changed = read_history(tmp_path / "company")

    before, after = rank(history, model, reasons=3), rank(changed, model, reasons=3)

    pd.testing.assert_frame_equal(before, after)


def test_a_saved_model_knows_what_is_known_late(history: History, model: FunnelModel, tmp_path: Path) -> None:
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")

    everyone = open_leads(history, history.known_until)
    assert loaded.funnel.known_late == LATE
    np.testing.assert_array_equal(loaded.predict_proba(everyone), model.predict_proba(everyone))


def test_baselines_and_segments_do_without(history: History, model: FunnelModel) -> None:
    judged = judge(history, model, judging_examples(history, model.trained_until_))

    assert set(NaiveBayes().fit(history, history.known_until).names_) == {"source", "country", "owner"}
    assert not any(name.startswith("industry ") for name, _ in segments(history, judged))
    assert any(name.startswith("source ") for name, _ in segments(history, judged))


def test_the_store_keeps_what_is_known_late(folder: Path, history: History, model: FunnelModel, tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    ingest(store, folder, received_at=history.known_until)
    stored = read_store(store)
    store.close()

    assert stored.funnel.known_late == LATE
    np.testing.assert_array_equal(stored.numbers["employees"], history.numbers["employees"])
    pd.testing.assert_frame_equal(rank(stored, model), rank(history, model))


def test_the_api_takes_what_is_known_late_and_does_not_score_with_it(api: Running, folder: Path) -> None:
    lead = next(each for each in leads_as_sent(folder).values() if len(each["touches"]) > 3)

    def probabilities(**attributes: Any) -> list[float]:
        answer = api.post("/v1/scores", {"leads": [lead | {"attributes": lead["attributes"] | attributes}]})
        assert answer.status_code == 200, answer.text
        return [each["probability"] for each in answer.json()["scores"][0]["probabilities"]]

    assert probabilities(employees=3, industry="mining") == probabilities(employees=90_000, industry="retail")
    wrong = api.post("/v1/scores", {"leads": [lead | {"attributes": {"employees": "many"}}]})
    assert wrong.status_code == 422


def test_the_api_stores_what_is_known_late(api: Running, history: History, model: FunnelModel) -> None:
    event = {
        "type": "lead",
        "lead_id": "late",
        "created_at": "2025-06-30T10:00:00Z",
        "attributes": {"industry": "mining", "employees": 12},
    }
    change = {
        "type": "change",
        "lead_id": "late",
        "attribute": "amount",
        "value": "900",
        "occurred_at": "2025-06-30T11:00:00Z",
    }

    answer = api.post("/v1/events", {"events": [event, change]})

    assert answer.status_code == 200, answer.text
    stored = read_store(api.service.store, funnel=model.funnel)
    [place] = np.flatnonzero(stored.ids == "late")
    assert stored.numbers["employees"][place] == 12
    assert stored.vocabulary.categories["industry"][stored.categories["industry"][place]] == "mining"
    amount = stored.changes["amount"]
    assert amount.value[amount.lead == place].tolist() == [900.0]


def test_a_column_that_is_known_late_is_no_drift() -> None:
    world = LeakWorld(planted=(NOTE, DEMO))
    declared = FUNNEL.replace("[attributes]", f'[attributes]\nknown_late = ["{NOTE}", "{DEMO}"]')
    history, plain = (drift_leaks.company(world, 600, 1, settings) for settings in (declared, FUNNEL))

    def compared(of: History) -> set[str]:
        windows = Windows.until(of, of.known_until, 28)
        late = np.arange(len(windows)) == len(windows) - 1
        subjects = [each.subject for each in new_leads(of, windows, ~late, late)]
        return {name for name in (NOTE, DEMO) if any(name in subject for subject in subjects)}

    assert compared(plain) == {NOTE, DEMO}
    assert not compared(history)
