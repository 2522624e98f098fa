"""The registry, against a real MLflow on a SQLite file."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow.csv
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_array_equal

from leadscore.errors import ModelError, RegistryError
from leadscore.gate import Evidence, Rule, Verdict
from leadscore.history import History, read_history
from leadscore.registry import Handover, contenders, load_champion, promote, rollback, runs
from leadscore.registry.connection import connected, experiment_id
from leadscore.registry.record import clean
from leadscore.registry.runs import Candidate, log_model, log_training
from leadscore.registry.versions import CHAMPION, FORMER
from leadscore.scoring import probability_columns
from leadscore.training import Trained, train
from tests.fixtures import enter

NAME = "leadscore"
EVENTS = ("transitions", "touches", "changes")
ENOUGH = (Evidence("later mornings", "the models as they are", "sql", 40, 40),)
PASSED = Verdict(ENOUGH, (Rule("log loss", kept=True, found="the same"),))
HELD_BACK = Verdict(ENOUGH, (Rule("log loss", kept=False, found="much worse"),))


def put_in_service(version: int | None = None) -> Handover:
    """Promote a version as the gate does that lets it pass."""
    contest = contenders(version)
    return promote(contest, None if contest.champion is None else PASSED)


@pytest.fixture(scope="module")
def history(small: Path) -> History:
    return read_history(small)


@pytest.fixture(scope="module")
def trained(history: History) -> Trained:
    return train(history, n_jobs=1)


@pytest.fixture(scope="module")
def logged(
    trained: Trained, history: History, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Candidate]:
    """A folder with the store of one training run; not to be changed."""
    folder = tmp_path_factory.mktemp("logged")
    shutil.copytree(empty_store, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        patch.setattr(runs, "stage_figure", lambda *_: Figure())  # half of the time
        return folder, log_training(trained, history, "small")


@pytest.fixture
def one(logged: tuple[Path, Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Candidate:
    """The first candidate, in a store of the test's own; its artefacts stay where they are."""
    folder, candidate = logged
    (tmp_path / "models").mkdir()
    shutil.copy(folder / "models" / "mlflow.db", tmp_path / "models" / "mlflow.db")
    enter(tmp_path, monkeypatch)
    # MLflow's own functions would go on with the store of the test before.
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    return candidate


@pytest.fixture
def three(one: Candidate) -> None:
    """Versions 1, 2 and 3; version 1 is the champion."""
    with connected() as client:
        source = client.get_model_version(NAME, "1")
        for _ in range(2):
            client.create_model_version(NAME, str(source.source), source.run_id)


@pytest.fixture(scope="module")
def records(small: Path) -> pd.DataFrame:
    """One row per lead with its whole history, as it would come in by HTTP, as of the end of the history."""
    texts = pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    tables = {name: pyarrow.csv.read_csv(small / f"{name}.csv", convert_options=texts).to_pylist() for name in EVENTS}
    leads = pyarrow.csv.read_csv(small / "leads.csv", convert_options=texts).to_pylist()
    by_lead: dict[str, dict[str, Any]] = {str(lead["lead_id"]): lead | {name: [] for name in tables} for lead in leads}
    for name, rows in tables.items():
        for row in rows:
            by_lead[str(row.pop("lead_id"))][name].append(row)
    sent = [lead | {"as_of": "2025-07-01T08:00:00Z"} for lead in by_lead.values()]
    # Through JSON and back, as over HTTP.
    return pd.DataFrame(json.loads(json.dumps(sent, default=str)))


def champions() -> dict[str, int]:
    with connected() as client:
        return {alias: int(version) for alias, version in client.get_registered_model(NAME).aliases.items()}


def run_of(candidate: Candidate) -> mlflow.entities.Run:
    with connected() as client:
        return client.get_run(candidate.run_id)


def artefacts(client: mlflow.MlflowClient, run_id: str, folder: str = "") -> set[str]:
    found = set()
    for entry in client.list_artifacts(run_id, folder):
        found |= artefacts(client, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def test_the_first_candidate_is_champion_and_no_later_one(
    one: Candidate, trained: Trained, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "stage_figure", lambda *_: Figure())  # half of the time
    second = log_training(trained, history, "small")

    assert (one.version, one.is_champion) == (1, True)
    assert (second.version, second.is_champion) == (2, False)
    assert champions() == {CHAMPION: 1}


def test_a_run_tells_settings_data_and_code(one: Candidate, trained: Trained, history: History) -> None:
    run = run_of(one)

    assert run.info.status == "FINISHED"
    assert run.data.params["data.fingerprint"] == history.fingerprint()
    assert run.data.params["data.name"] == "small"
    assert run.data.params["data.known_until"] == "2025-07-01T08:00:00+00:00"
    assert run.data.params["horizon_days.sql"] == "45"
    assert run.data.params["funnel.handoff"] == '["mql", "sql"]'
    assert {f"lightgbm.{name}" for name in history.funnel.lightgbm.model_fields_set} <= set(run.data.params)
    assert set(type(history.funnel.lightgbm).model_fields) == {
        name.removeprefix("lightgbm.") for name in run.data.params if name.startswith("lightgbm.")
    }
    assert run.data.tags["leadscore.version"] == "0.1.0"
    assert run.data.tags["leadscore.drift"] == str(trained.drift)


def test_a_run_tells_figures_of_every_stage(one: Candidate, trained: Trained) -> None:
    metrics = run_of(one).data.metrics

    for stage in trained.model.funnel.later_stages:
        wanted = {"n", "base_rate", "mean_score", "log_loss", "base_log_loss", "auc", "trees", "fallback"}
        assert {f"{stage}/{figure}" for figure in wanted} <= set(metrics)
    assert metrics["examples"] == trained.n_examples
    assert 0 < metrics["overall/log_loss"] < 1


def test_a_run_holds_figures_plots_and_the_documentation_of_the_columns(one: Candidate, trained: Trained) -> None:
    with connected() as client:
        found = artefacts(client, one.run_id)
        columns = pd.read_csv(client.download_artifacts(one.run_id, "columns.csv"))
        table = pd.read_csv(client.download_artifacts(one.run_id, "figures.csv"))

    stages = trained.model.funnel.later_stages
    assert found == {"columns.csv", "figures.csv", "report.html"} | {
        f"plots/{n}_{stage}.png" for n, stage in enumerate(stages, 1)
    }
    assert list(columns["name"]) == [column.name for column in trained.model.columns_]
    assert columns["meaning"].notna().all()
    assert set(table["stage"]) == set(stages)


def test_the_model_is_text_and_holds_no_code(one: Candidate, tmp_path: Path) -> None:
    local = mlflow.artifacts.download_artifacts(f"models:/{NAME}/1", dst_path=str(tmp_path / "downloaded"))
    files = [path for path in (tmp_path / "downloaded").rglob("*") if path.is_file()]

    assert local
    assert {path.suffix for path in files} <= {"", ".txt", ".json", ".yaml"}
    assert {path.name for path in files if not path.suffix} <= {"MLmodel", "registered_model_meta"}
    for path in files:
        path.read_text(encoding="utf-8")


def test_the_champion_predicts_as_the_model_that_was_trained(
    one: Candidate, trained: Trained, history: History
) -> None:
    model, version = load_champion()
    everyone = history.at(np.arange(len(history)), np.full(len(history), history.known_until))

    assert version == 1
    assert_array_equal(model.predict_proba(everyone), trained.model.predict_proba(everyone))


def test_pyfunc_predicts_as_the_model_bit_for_bit(
    one: Candidate, trained: Trained, history: History, records: pd.DataFrame
) -> None:
    scores = mlflow.pyfunc.load_model(f"models:/{NAME}@{CHAMPION}").predict(records).set_index("lead_id")

    everyone = history.at(np.arange(len(history)), np.full(len(history), history.known_until))
    wanted = trained.model.predict_proba(everyone)
    assert np.isfinite(wanted).any(axis=0).all()
    assert_array_equal(scores.loc[list(history.ids), probability_columns(history.funnel)], wanted)


@pytest.mark.parametrize("asked", [contenders, rollback, load_champion], ids=["promote", "rollback", "load"])
def test_an_empty_registry_says_to_train(store: Path, asked: Any) -> None:
    with pytest.raises(RegistryError, match=r"no model called leadscore .* make train"):
        asked()


def test_promote_takes_the_newest_or_the_one_that_is_named(three: None) -> None:
    assert put_in_service() == Handover(3, former=1)
    assert put_in_service(2) == Handover(2, former=3)
    assert champions() == {CHAMPION: 2}


def test_promoting_the_champion_or_an_unknown_version_changes_nothing(three: None) -> None:
    with pytest.raises(RegistryError, match="version 1 is the champion already"):
        put_in_service(1)
    with pytest.raises(RegistryError, match="no version 4; it has 1, 2, 3"):
        put_in_service(4)
    assert champions() == {CHAMPION: 1}


def test_rollback_goes_back_step_by_step_and_then_says_that_nothing_is_left(three: None) -> None:
    put_in_service(2)
    put_in_service(3)

    assert rollback() == Handover(2, former=3)
    assert rollback() == Handover(1, former=2)
    for _ in range(2):
        with pytest.raises(RegistryError, match="nothing to roll back to"):
            rollback()
    assert champions() == {CHAMPION: 1}


def test_rollback_does_not_go_round_in_a_circle(three: None) -> None:
    put_in_service(2)
    put_in_service(1)

    assert [rollback().version, rollback().version] == [2, 1]
    with pytest.raises(RegistryError, match="nothing to roll back to"):
        rollback()


def test_after_a_rollback_the_withdrawn_version_is_no_former_champion(three: None) -> None:
    put_in_service(2)
    rollback()
    put_in_service(3)

    assert rollback() == Handover(1, former=3)


@pytest.mark.parametrize(
    ("champion", "former"),
    [("2", "[1, 2]"), ("1", "[1]")],
    ids=["promotion to 3 ended before the alias moved", "rollback to 1 ended before it was noted"],
)
def test_a_handover_that_ended_half_way_is_passed_over(three: None, champion: str, former: str) -> None:
    with connected() as client:
        client.set_registered_model_alias(NAME, CHAMPION, champion)
        client.set_registered_model_tag(NAME, FORMER, former)

    if champion == "2":
        assert rollback() == Handover(1, former=2)
    with pytest.raises(RegistryError, match="nothing to roll back to"):
        rollback()


def test_versions_that_were_deleted_are_passed_over(three: None) -> None:
    put_in_service(2)
    put_in_service(3)
    with connected() as client:
        client.delete_model_version(NAME, "2")

    assert rollback() == Handover(1, former=3)
    with pytest.raises(RegistryError, match="no version 2; it has 1, 3"):
        put_in_service(2)


def tags_of(version: int) -> dict[str, str]:
    with connected() as client:
        return dict(client.get_model_version(NAME, str(version)).tags)


def test_a_candidate_that_the_gate_holds_back_stays_one_and_the_version_says_why(three: None) -> None:
    with pytest.raises(RegistryError, match=r"(?s)leadscore version 2 is held back.*much worse.*FORCE"):
        promote(contenders(2), HELD_BACK)

    assert champions() == {CHAMPION: 1}
    assert "held back" in tags_of(2)["leadscore.gate"]
    assert "leadscore.forced" not in tags_of(2)


def test_what_cannot_be_compared_leaves_the_champion_in_service(three: None) -> None:
    few = Verdict((replace(ENOUGH[0], n_reached=39),), (Rule("leaks", kept=True, found="none"),), "2026-01-05")

    with pytest.raises(RegistryError, match=r"(?s)version 2 is not comparable; version 1 stays.*39 leads.*2026-01-05"):
        promote(contenders(2), few)

    assert champions() == {CHAMPION: 1}
    assert tags_of(2)["leadscore.gate"].startswith("not comparable")


def test_the_leak_alarms_of_the_training_run_go_with_its_version_and_what_is_recalibrated_from_it(three: None) -> None:
    with connected() as client:
        run_id = client.get_model_version(NAME, "2").run_id
        client.set_tag(str(run_id), "leadscore.leaks", "leak? won from lead: AUC 0.985")
        client.set_model_version_tag(NAME, "3", "leadscore.recalibrated_from", "2")

    assert contenders(2).leaks == contenders(3).leaks == "leak? won from lead: AUC 0.985"


def test_who_forces_a_candidate_says_why_and_it_is_recorded(three: None) -> None:
    assert promote(contenders(2), HELD_BACK, "the champion knows nothing of the new product") == Handover(2, 1)

    assert tags_of(2)["leadscore.forced"] == "the champion knows nothing of the new product"
    assert "much worse" in tags_of(2)["leadscore.gate"]


def test_a_candidate_that_passes_is_recorded_to_have_passed(three: None) -> None:
    put_in_service(3)

    assert tags_of(3)["leadscore.gate"].startswith("passed")


def test_the_gate_cannot_be_walked_around(three: None) -> None:
    with pytest.raises(ValueError, match="compared"):
        promote(contenders(2), None)


def test_of_two_promotions_at_once_one_is_told_to_compare_again(three: None) -> None:
    second, third = contenders(2), contenders(3)

    assert promote(second, PASSED).version == 2
    with pytest.raises(RegistryError, match=r"version 2 .* in the meantime"):
        promote(third, PASSED)
    assert champions() == {CHAMPION: 2}


RIVAL = """
import sys
from leadscore.errors import RegistryError
from leadscore.gate import Evidence, Rule, Verdict
from leadscore.registry import contenders, promote
contest = contenders(int(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    promote(contest, Verdict((Evidence("replay", "both", "sql", 40, 40),), (Rule("log loss", True, "the same"),)))
    print("promoted")
except RegistryError as error:
    print(error)
"""


@pytest.mark.slow
def test_two_processes_that_promote_at_once_leave_one_champion_and_one_former(three: None) -> None:
    rivals = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", RIVAL, version],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for version in ("2", "3")
    ]
    for rival in rivals:
        assert rival.stdout is not None
        assert rival.stdout.readline() == "ready\n"
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.write("go\n")
        rival.stdin.flush()
    told = [rival.communicate()[0].strip() for rival in rivals]

    assert told.count("promoted") == 1
    assert sum("in the meantime" in each for each in told) == 1
    winner = 2 if told[0] == "promoted" else 3
    assert champions() == {CHAMPION: winner}
    assert rollback() == Handover(1, former=winner)


def test_without_a_champion_the_next_promotion_has_no_former_one(three: None) -> None:
    with connected() as client:
        client.delete_registered_model_alias(NAME, CHAMPION)

    with pytest.raises(RegistryError, match="no champion; choose one"):
        load_champion()
    assert put_in_service() == Handover(3, former=None)


def test_models_of_another_name_are_apart(three: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADSCORE_MODEL", "another")

    with pytest.raises(RegistryError, match="no model called another"):
        put_in_service()


def test_a_damaged_champion_is_refused(store: Path, trained: Trained) -> None:
    with connected() as client, mlflow.start_run(experiment_id=experiment_id(client)):
        log_model(trained.model, {})
        client.set_registered_model_alias(NAME, CHAMPION, "1")
    trees = next((store / "models" / "artifacts").rglob("trees_1.txt"))
    trees.write_text(trees.read_text(encoding="utf-8") + " ", encoding="utf-8")

    with pytest.raises(ModelError, match=r"trees_1\.txt"):
        load_champion()


def test_what_mlflow_refuses_is_an_error_of_ours(store: Path, trained: Trained, history: History) -> None:
    with connected() as client:
        client.delete_experiment(client.create_experiment(NAME))

    with pytest.raises(RegistryError, match=r"MLflow refuses: .*deleted"):
        log_training(trained, history, "small")


@pytest.mark.parametrize("stage", ["sql", "Geschäft", "won/closed", "100 %", "a.b"])
def test_names_of_stages_are_made_fit_for_mlflow(store: Path, stage: str) -> None:
    with connected() as client:
        run = client.create_run("0")
        client.log_metric(run.info.run_id, f"{clean(stage)}/n", 1)
        client.log_param(run.info.run_id, f"horizon_days.{clean(stage)}", "1")

        assert list(client.get_run(run.info.run_id).data.metrics) == [f"{clean(stage)}/n"]


def test_different_names_of_stages_stay_different() -> None:
    assert len({clean(name) for name in ("a b", "a/b", "a.b", "a_b")}) == 4


@pytest.mark.slow
def test_mlflow_serves_the_champion(one: Candidate, trained: Trained, history: History, records: pd.DataFrame) -> None:
    sent = records[records["lead_id"].isin(history.ids)].head(20)
    port = free_port()
    command = ["models", "serve", "-m", f"models:/{NAME}@{CHAMPION}", "--env-manager", "local", "-p", str(port)]
    # MLflow looks for uvicorn on the path.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    server = subprocess.Popen([sys.executable, "-m", "mlflow", *command], env=environment, start_new_session=True)
    try:
        wait_for(server, port)
        body = json.dumps({"dataframe_records": sent.to_dict("records")}, default=str)
        scores = pd.DataFrame(json.loads(ask(port, "POST", "/invocations", body))["predictions"])
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()

    assert list(scores["lead_id"]) == list(sent["lead_id"])
    lead = np.searchsorted(history.ids, sent["lead_id"].to_numpy(object))
    wanted = trained.model.predict_proba(history.at(lead, np.full(len(lead), history.known_until)))
    assert_array_equal(scores[probability_columns(history.funnel)].astype(float), wanted)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, method: str, path: str, body: str | None = None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    assert answer.status == 200, content
    return content


def wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            ask(port, "GET", "/ping")
        except ConnectionError:
            assert server.poll() is None, "mlflow models serve ended"
            assert time.monotonic() < deadline, "mlflow models serve does not answer"
            time.sleep(0.2)  # there is nothing to wait on but the port
        else:
            return
