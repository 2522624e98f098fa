"""What may break around the service, and what callers notice of it."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
import pytest
import sqlalchemy as sa

from leadscore.api.serving import serve
from leadscore.api.settings import ServiceSettings
from leadscore.batch import publish_list
from leadscore.registry.connection import connected, experiment_id
from leadscore.registry.runs import log_model
from leadscore.registry.versions import CHAMPION
from leadscore.scoring import score_leads
from leadscore.store import open_store, reading
from leadscore.store.schema import touches
from tests.fixtures import enter
from tests.served import serving_base_rates
from tests.service import Clock, Running, leads_as_sent, running, settings_of
from tests.stores import fresh_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess

    from leadscore.history import History
    from leadscore.model import FunnelModel

pytestmark = pytest.mark.integration

TIMES = 25
QUICK = {"champion_seconds": 0.1}
KIND = "sent by a test"


@pytest.fixture
def clock(small_history: History) -> Clock:
    return Clock(small_history.known_until)


def until(true: Any, seconds: float = 20.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to hold"
        time.sleep(0.01)


def touch(lead_id: str, name: str) -> dict[str, Any]:
    return {
        "type": "touch",
        "event_id": name,
        "lead_id": lead_id,
        "kind": KIND,
        "occurred_at": "2025-06-30T10:00:00Z",
    }


@pytest.mark.parametrize("n_swaps", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_a_champion_is_swapped_under_load(  # noqa: PLR0917
    registry: Path, small: Path, small_model: FunnelModel, sqlite_url: str, clock: Clock, n_swaps: int
) -> None:
    import mlflow  # noqa: PLC0415 - conftest sets its environment first

    other = serving_base_rates(small_model, set(small_model.funnel.later_stages))
    lead = list(leads_as_sent(small).values())[:3]
    records = [{**each["attributes"], **each} for each in lead]
    expected = {}
    for version, model in (("1", small_model), ("2", other)):
        scores = score_leads(model, records, np.full(3, clock.now))
        expected[version] = {
            scores.lead_id[row]: [each for each in scores.probability[place].tolist() if each == each]  # noqa: PLR0124 - no NaN
            for place, row in enumerate(scores.scored.tolist())
        }
    assert expected["1"] != expected["2"]
    with connected() as client, mlflow.start_run(experiment_id=experiment_id(client)):
        log_model(other, {"jitter": {}})

    stop, failed, seen = threading.Event(), [], set()

    def ask(api: Running) -> int:
        asked = 0
        with httpx2.Client(base_url=api.client.base_url, timeout=30) as client:
            while not stop.is_set():
                answer = client.post("/v1/scores", json={"leads": lead})
                told = answer.json()["scores"] if answer.status_code == 200 else []
                versions = {each["model_version"] for each in told}
                asked += 1
                if len(versions) != 1:
                    failed.append(answer.text)
                    continue
                (version,) = versions
                seen.add(version)
                said = {each["lead_id"]: [p["probability"] for p in each["probabilities"]] for each in told}
                if {name: values for name, values in said.items() if values} != {
                    name: values for name, values in expected[version].items() if values
                }:
                    failed.append(answer.text)
        return asked

    with running(settings_of(registry, max_per_second=1e6, **QUICK), clock) as api, ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, api) for _ in range(4)]
        swaps = 0
        with connected() as client:
            while swaps < n_swaps:
                next_version = 2 - swaps % 2
                client.set_registered_model_alias("leadscore", CHAMPION, str(next_version))
                until(partial(_serves, api, next_version))
                swaps += 1
        stop.set()
        asked = sum(each.result() for each in asking)

    assert failed == []
    assert seen == {"1", "2"}
    assert asked > 100


def _serves(api: Running, version: int) -> bool:
    served = api.service.champion.served
    return served is not None and served.version == version


def test_without_a_champion_it_says_so_and_begins_when_there_is_one(
    registry: Path, sqlite_url: str, clock: Clock, small: Path
) -> None:
    with connected() as client:
        client.delete_registered_model_alias("leadscore", CHAMPION)
    lead = {"leads": list(leads_as_sent(small).values())[:1]}
    with running(settings_of(registry, **QUICK), clock) as api:
        ready = api.get("/readyz")
        assert ready.status_code == 503
        assert "no champion" in ready.json()["model"]
        refused = api.post("/v1/scores", lead)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        with connected() as client:
            client.set_registered_model_alias("leadscore", CHAMPION, "1")
        until(lambda: api.get("/readyz").status_code == 200)
        assert api.post("/v1/scores", lead).status_code == 200


def test_the_registry_is_deleted_while_serving(registry: Path, sqlite_url: str, clock: Clock, small: Path) -> None:
    lead = {"leads": list(leads_as_sent(small).values())[:1]}
    with running(settings_of(registry, **QUICK), clock) as api:
        before = api.post("/v1/scores", lead).json()
        (registry / "models" / "mlflow.db").write_text("no database")
        until(lambda: api.get("/readyz").json()["model"] != "ok")

        assert api.get("/readyz").status_code == 200
        assert api.post("/v1/scores", lead).json() == before
    with running(settings_of(registry, **QUICK), clock) as again:
        assert again.get("/readyz").json()["model_version"] == "1"
        assert again.post("/v1/scores", lead).json() == before


def test_version_1_of_a_new_registry_is_taken(
    registry: Path, empty_store: Path, sqlite_url: str, clock: Clock, small_model: FunnelModel
) -> None:
    import mlflow  # noqa: PLC0415

    new = registry / "new"
    with pytest.MonkeyPatch.context() as patch:
        shutil.copytree(empty_store, new)
        enter(new, patch)
        with connected() as client, mlflow.start_run(experiment_id=experiment_id(client)):
            log_model(small_model, {"data": "of a new registry", "jitter": {}})
            client.set_registered_model_alias("leadscore", CHAMPION, "1")
    with running(settings_of(registry, **QUICK), clock) as api:
        assert api.get("/v1/model").json()["data"] is None
        (new / "models" / "mlflow.db").replace(registry / "models" / "mlflow.db")
        until(lambda: api.get("/v1/model").json()["data"] == "of a new registry")
    with running(settings_of(registry, champion_seconds=60), clock) as again:
        assert again.get("/v1/model").json()["data"] == "of a new registry"


def test_an_empty_registry_is_not_served_by_the_copy_of_another(
    registry: Path, empty_store: Path, sqlite_url: str, clock: Clock
) -> None:
    with running(settings_of(registry, **QUICK), clock) as api:
        assert api.get("/readyz").status_code == 200
    with connected() as client:
        client.delete_registered_model_alias("leadscore", CHAMPION)
    with running(settings_of(registry, **QUICK), clock) as without_alias:
        # The registry still has the model that was served last.
        assert without_alias.get("/readyz").json()["model_version"] == "1"
    shutil.copyfile(empty_store / "models" / "mlflow.db", registry / "models" / "mlflow.db")
    with running(settings_of(registry, **QUICK), clock) as empty:
        ready = empty.get("/readyz")
        assert (ready.status_code, ready.json()["model_version"]) == (503, None)


def test_another_registered_model_is_not_served_by_the_copy_of_the_first(
    registry: Path, sqlite_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(settings_of(registry, **QUICK), clock) as api:
        assert api.get("/readyz").status_code == 200
    (registry / "models" / "mlflow.db").write_text("no database")
    monkeypatch.setenv("LEADSCORE_MODEL", "other")
    with running(settings_of(registry, **QUICK), clock) as other:
        assert other.get("/readyz").json()["model_version"] is None
    monkeypatch.setenv("LEADSCORE_MODEL", "leadscore")
    with running(settings_of(registry, **QUICK), clock) as first:
        assert first.get("/readyz").json()["model_version"] == "1"


def test_a_new_champion_that_does_not_load_is_not_served(
    registry: Path, sqlite_url: str, clock: Clock, small: Path, small_model: FunnelModel
) -> None:
    import mlflow  # noqa: PLC0415

    with connected() as client, mlflow.start_run(experiment_id=experiment_id(client)):
        log_model(small_model, {})
        source = client.get_model_version("leadscore", "2").source
    damaged = next(Path(mlflow.artifacts.download_artifacts(source)).rglob("trees_1.txt"))
    damaged.write_text("no trees")
    with running(settings_of(registry, **QUICK), clock) as api:
        with connected() as client:
            client.set_registered_model_alias("leadscore", CHAMPION, "2")
        until(lambda: api.get("/readyz").json()["model"] != "ok")
        told = api.get("/readyz")
        assert (told.status_code, told.json()["model_version"]) == (200, "1")
        assert api.get("/v1/model").json()["trouble"]


@pytest.mark.slow
def test_two_services_two_writers_and_ten_readers_on_one_sqlite_file(
    registry: Path, sqlite_url: str, clock: Clock, small_history: History, small_model: FunnelModel
) -> None:
    lead_ids = small_history.ids.tolist()
    stop, refused = threading.Event(), []

    def read(api: Running) -> int:
        asked = 0
        with httpx2.Client(base_url=api.client.base_url, timeout=60) as client:
            while not stop.is_set():
                answer = client.get("/v1/leads", params={"limit": 20})
                asked += 1
                if answer.status_code != 200 or len(answer.json()["leads"]) != 20:
                    refused.append(answer.text)
        return asked

    def write(api: Running, name: str) -> int:
        with httpx2.Client(base_url=api.client.base_url, timeout=60) as client:
            for number in range(TIMES):
                sent = [
                    touch(lead_ids[(number + each) % len(lead_ids)], f"{name} {number} {each}") for each in range(3)
                ]
                answer = client.post("/v1/events", json={"events": sent})
                if answer.status_code != 200 or set(answer.json()["outcomes"]) != {"new"}:
                    refused.append(answer.text)
        return 3 * TIMES

    with (
        running(settings_of(registry, max_per_second=1e6), clock) as one,
        running(settings_of(registry, max_per_second=1e6), clock) as two,
        ThreadPoolExecutor(13) as pool,
    ):
        publish_list(one.service.store, small_model, "1", clock.now, keep_from=0, now=clock)
        reading_ = [pool.submit(read, api) for api in (one, two) for _ in range(5)]
        writing = [pool.submit(write, api, name) for api, name in ((one, "a"), (two, "b"))]
        published = publish_list(two.service.store, small_model, "1", clock.now, keep_from=0, now=clock)
        written = sum(each.result() for each in writing)
        stop.set()
        asked = sum(each.result() for each in reading_)

    assert refused == []
    assert asked > 20
    assert published.leads > 100
    assert kept(sqlite_url) == written


def kept(url: str) -> int:
    """How many touches are stored of the kind that only these tests send."""
    store = open_store(url)
    with reading(store) as connection:
        query = sa.select(sa.func.count()).where(touches.c.kind == KIND)
        found = int(connection.execute(query).scalar_one())
    store.close()
    return found


class Proxy:
    """A way to a server that can be closed and opened."""

    def __init__(self, host: str, port: int) -> None:
        self.target = host, port
        self.listening: socket.socket | None = None
        self.port = 0
        self.pairs: list[socket.socket] = []

    def open(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listening,), daemon=True).start()

    def close(self) -> None:
        assert self.listening is not None
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for each in self.pairs:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self.pairs.clear()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                caller, _ = listening.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            self.pairs += [caller, server]
            for one, other in ((caller, server), (server, caller)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while said := one.recv(65_536):
                other.sendall(said)
        with suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def postgres(ingested: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The way to a PostgreSQL database with the small company, named to services."""
    with fresh_url("postgresql", tmp_path, ingested("postgresql")) as url:
        server = sa.make_url(url)
        proxy = Proxy(str(server.host), int(server.port or 5432))
        proxy.open()
        monkeypatch.setenv("LEADSCORE_DATABASE_URL", server.set(port=proxy.port).render_as_string(hide_password=False))
        yield proxy
        proxy.close()


@pytest.mark.parametrize("away_seconds", [0.5, pytest.param(10.0, marks=pytest.mark.slow)])
def test_the_database_is_away_and_comes_back(
    registry: Path, postgres: Proxy, clock: Clock, small_history: History, away_seconds: float
) -> None:
    lead_id = small_history.ids[0]
    with running(settings_of(registry, max_per_second=1e6, **QUICK), clock) as api:
        stored, refused = [], []

        def send(name: str) -> None:
            answer = api.post("/v1/events", {"events": [touch(lead_id, name)]})
            if answer.status_code == 200:
                stored.append(name)
            else:
                assert answer.status_code == 503, answer.text
                assert answer.headers["retry-after"]
                assert answer.json()["detail"] == "the database does not answer"
                refused.append(name)

        for number in range(20):
            send(f"before {number}")
        postgres.close()
        end = time.monotonic() + away_seconds
        number = 0
        while time.monotonic() < end:
            send(f"away {number}")
            number += 1
            assert api.get("/healthz").status_code == 200
        assert api.get("/readyz").status_code == 503
        postgres.open()
        until(lambda: api.get("/readyz").status_code == 200)
        for number in range(20):
            send(f"after {number}")
        again = [api.post("/v1/events", {"events": [touch(lead_id, name)]}).json()["outcomes"] for name in stored]
    assert again == [["repeat"]] * len(stored)
    assert len(refused) > 0
    assert stored[:20] == [f"before {number}" for number in range(20)]
    assert stored[-20:] == [f"after {number}" for number in range(20)]


@pytest.mark.slow
def test_the_server_is_killed_ten_times_and_keeps_what_it_acknowledged(
    registry: Path, sqlite_url: str, small_history: History
) -> None:
    lead_ids = small_history.ids.tolist()
    acknowledged: list[str] = []
    rng = np.random.default_rng(1)
    for time_ in range(10):
        with serving(registry, sqlite_url) as (process, url), httpx2.Client(base_url=url, timeout=10) as client:
            kill_after = int(rng.integers(20, 180))
            with ThreadPoolExecutor(4) as pool:
                names = [f"kill {time_} {number}" for number in range(200)]
                sending = [pool.submit(_acknowledged, client, lead_ids, name) for name in names]
                while sum(each.done() for each in sending) < kill_after:
                    time.sleep(0.001)
                process.kill()
                acknowledged += [name for name, each in zip(names, sending, strict=True) if each.result()]
    assert len(acknowledged) > 300
    with serving(registry, sqlite_url) as (_, url), httpx2.Client(timeout=30) as client:
        sent = [touch(lead_ids[int(name.split()[2]) % len(lead_ids)], name) for name in acknowledged]
        answer = client.post(f"{url}/v1/events", json={"events": sent})
        assert set(answer.json()["outcomes"]) == {"repeat"}
    stored = kept(sqlite_url)
    assert len(acknowledged) <= stored <= 2_000
    with open_store(sqlite_url).engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


def _acknowledged(client: httpx2.Client, lead_ids: list[str], name: str) -> bool:
    sent = {"events": [touch(lead_ids[int(name.split()[2]) % len(lead_ids)], name)]}
    try:
        return bool(client.post("/v1/events", json=sent).status_code == 200)
    except httpx2.HTTPError:
        return False


@contextmanager
def serving(folder: Path, url: str) -> Iterator[tuple[BaseProcess, str]]:
    """`make serve` as a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    named = {"DATABASE_URL": url, "PORT": str(port), "MAX_PER_SECOND": "1e6"}
    apart = multiprocessing.get_context("forkserver")
    # Imported once: most of a start is that.
    apart.set_forkserver_preload(["leadscore.api.app", "leadscore.api.serving", "mlflow.pyfunc"])
    process = apart.Process(target=serve_in, args=(folder, named), daemon=True)
    process.start()
    try:
        until(lambda: _is_ready(port), 60)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.join()


def serve_in(folder: Path, named: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ |= {f"LEADSCORE_{name}": value for name, value in named.items()}
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'models' / 'mlflow.db'}"
    serve(ServiceSettings())


def _is_ready(port: int) -> bool:
    try:
        return bool(httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200)
    except httpx2.HTTPError:
        return False


@pytest.mark.slow
def test_a_stop_ends_the_requests_under_way(registry: Path, sqlite_url: str, small: Path) -> None:
    leads = {"leads": list(leads_as_sent(small).values())[:400], "reasons": True}
    with serving(registry, sqlite_url) as (process, url), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx2.post, f"{url}/v1/scores", json=leads, timeout=60)
        time.sleep(0.3)
        process.terminate()
        answer = asked.result()
        assert answer.status_code == 200
        assert len(json.loads(answer.text)["scores"]) == 400
        process.join(30)
        assert process.exitcode in {0, -signal.SIGTERM}
