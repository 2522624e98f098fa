"""Every hostile request gets its documented refusal, and the service goes on as if nothing had been."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

import pytest

from leadscore.api import wire
from leadscore.api.documents import Problem
from leadscore.batch import publish_list
from leadscore.store import create_key, revoke_key, transaction
from tests import hostile
from tests.fixtures import enter
from tests.hostile import (
    ALL,
    CHUNKED,
    EVENTS,
    HTML,
    LEADS,
    MARK,
    READER,
    REVOKED,
    SCORES,
    SQL,
    TIME,
    get,
    post,
    request,
)
from tests.service import Clock, Running, running, settings_of
from tests.stores import contents, fresh_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from leadscore.history import History
    from leadscore.model import FunnelModel

pytestmark = pytest.mark.integration

CASES = list(hostile.corpus())
# How the service is made is no caller's business.
INTERNAL = re.compile(
    r"Traceback|\.py|site-packages|sqlalchemy|psycopg|sqlite|pydantic|starlette|SELECT |/work|/tmp", re.I
)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: str


@dataclass(frozen=True)
class Besieged:
    """A service with keys and a list.

    Attributes
    ----------
    running : Running
    keys : dict
        Of the names in `hostile`.
    document : dict
        The OpenAPI document.
    """

    running: Running
    keys: dict[bytes, bytes]
    document: dict[str, Any]

    def answer(self, sent: bytes) -> Answer:
        for name, key in self.keys.items():
            sent = sent.replace(name, key).replace(name.replace(b">", b"-id>"), key.partition(b".")[0])
        return answer(self.running, sent)

    def documented(self, sent: bytes, status: int) -> dict[str, Any] | None:
        """What the document says of an answer to a request; None where it is to none of its operations."""
        method, target = sent.split(b" ", 2)[:2] if sent.count(b" ") > 1 else (b"", b"")
        path = target.partition(b"?")[0].decode(errors="replace")
        for template, operations in self.document["paths"].items():
            operation = operations.get(method.decode(errors="replace").lower())
            if operation is not None and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
                assert str(status) in operation["responses"], f"{method!r} {template} has no {status} in the document"
                found: dict[str, Any] = operation["responses"][str(status)]
                return found
        return None


def answer(service: Running, sent: bytes) -> Answer:
    """What comes back for bytes that are sent."""
    port = service.client.base_url.port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        # It may be refused before all of it was sent.
        with suppress(OSError):
            connection.sendall(sent)
        said = HTTPResponse(connection, method=sent.partition(b" ")[0].decode(errors="replace"))
        said.begin()
        return Answer(said.status, {name.lower(): value for name, value in said.getheaders()}, said.read().decode())


@pytest.fixture(scope="module")
def place(ingested_url: str, registered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of the services here, with a registry and a database of its own."""
    folder = tmp_path_factory.mktemp("besieged")
    (folder / "models").symlink_to(registered / "models")
    kind = ingested_url.partition(":")[0].partition("+")[0]
    with pytest.MonkeyPatch.context() as patch, fresh_url(kind, folder, ingested_url) as url:
        enter(folder, patch)
        patch.setenv("LEADSCORE_DATABASE_URL", url)
        yield folder


@pytest.fixture(scope="module")
def now(small_history: History) -> Clock:
    return Clock(small_history.known_until)


@pytest.fixture(scope="module")
def open_to_all(place: Path, now: Clock) -> Iterator[tuple[Running, Clock]]:
    """A service without keys and with little patience, and the clock of its rate."""
    seconds = Clock(0)
    settings = settings_of(place, request_seconds=0.3, max_per_second=2, burst_seconds=10)
    with running(settings, now, seconds=seconds) as service:
        yield service, seconds


@pytest.fixture
def hasty(open_to_all: tuple[Running, Clock]) -> Running:
    """The same, its rate unused."""
    service, seconds = open_to_all
    seconds.now += 100
    return service


@pytest.fixture(scope="module")
def besieged(place: Path, small_model: FunnelModel, now: Clock) -> Iterator[Besieged]:
    settings = settings_of(place, max_history=500, max_body_bytes=2_000_000)
    with running(settings, now) as service:
        publish_list(service.service.store, small_model, "1", now(), keep_from=0, now=now)
        with transaction(service.service.store) as connection:
            scopes = {ALL: ("score", "read", "write", "erase"), READER: ("read",), REVOKED: ("read",)}
            keys = {name: create_key(connection, each, at=now()).encode() for name, each in scopes.items()}
            revoke_key(connection, keys[REVOKED].decode().partition(".")[0], at=now())
        yield Besieged(service, keys, service.get("/v1/openapi.json").json())


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """The log of a service at its most talkative. Not `caplog`, which listens to what nobody is to hear, too."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield log
    root.setLevel(level)
    root.removeHandler(handler)


# Before there are keys.
def test_without_keys_this_machine_is_let_in(hasty: Running) -> None:
    for host in (b"127.0.0.1", b"127.0.0.1:8000", b"localhost:8000", b"LOCALHOST", b"[::1]:8000"):
        sent = get("/v1/model", key=None).replace(b"Host: 127.0.0.1", b"Host: " + host)
        assert answer(hasty, sent).status == 200, host


@pytest.mark.parametrize(
    "host", [b"kilroy.example", b"127.0.0.1.kilroy.example:8000", b"kilroy.example:127", b"[kilroy", b"", b"::::"]
)
def test_without_keys_no_web_page_is_let_in_whose_name_leads_here(hasty: Running, host: bytes) -> None:
    sent = get("/v1/model", key=None).replace(b"Host: 127.0.0.1", b"Host: " + host)
    assert answer(hasty, sent).status == 401


def test_without_keys_a_wrong_one_is_still_wrong(hasty: Running) -> None:
    assert answer(hasty, get("/v1/model", key=MARK.encode())).status == 401


def test_who_asks_too_often_is_told_when_to_ask_again(hasty: Running) -> None:
    said = [hasty.get("/v1/model") for _ in range(21)]

    assert [each.status_code for each in said] == [200] * 20 + [429]
    assert said[-1].headers["retry-after"] == "1"
    assert said[-1].json()["detail"] == "too many requests"


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /v1/mo", get("/v1/model", key=None)[:-2], get("/v1/model", key=None, headers=[b"X-Kilroy: "])[:-4]],
    ids=["nothing", "half a path", "no end", "half a header"],
)
def test_headers_that_do_not_come_are_not_waited_for(
    hasty: Running, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "HEADER_SECONDS", 0.05)

    said = answer(hasty, sent)

    assert said.status == 408
    assert_problem(said)


@pytest.mark.parametrize(
    "sent",
    [
        request("POST", EVENTS, key=None, headers=[b"Content-Length: 100", b"Content-Type: application/json"]) + b"{",
        request("POST", EVENTS, key=None, headers=[CHUNKED, b"Content-Type: application/json"]) + b"1\r\n{\r\n",
    ],
    ids=["a length", "chunks"],
)
def test_a_body_that_does_not_come_is_not_waited_for(hasty: Running, sent: bytes) -> None:
    said = answer(hasty, sent)

    assert (said.status, said.headers["retry-after"]) == (503, "2")
    assert_problem(said)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_gets_its_refusal(besieged: Besieged, case: hostile.Hostile) -> None:
    said = besieged.answer(case.request)

    assert said.status == case.status, said
    assert all(each in said.body for each in case.says), said
    documented = besieged.documented(case.request, said.status)
    if documented is not None:
        assert said.headers["content-type"].partition(";")[0] in documented["content"]
    if case.status >= 400 and not case.request.startswith(b"HEAD"):
        assert_problem(said)


def assert_problem(said: Answer) -> None:
    assert said.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(said.body, strict=True)
    assert (problem.status, problem.request_id) == (said.status, said.headers["x-request-id"])
    assert not INTERNAL.search(said.body), said.body


def test_after_all_of_them_nothing_is_stored_nothing_logged_and_all_is_well(
    besieged: Besieged, written: io.StringIO
) -> None:
    before = contents(besieged.running.service.store)

    assert max(besieged.answer(case.request).status for case in CASES) < 500

    assert besieged.answer(get("/readyz")).status == 200
    assert besieged.answer(hostile.scored()).status == 200
    assert contents(besieged.running.service.store) == before
    secrets = [MARK, MARK.lower(), *(key.decode().partition(".")[2] for key in besieged.keys.values())]
    log = written.getvalue()
    assert "Invalid HTTP request received" in log
    assert not [each for each in (*secrets, "ERROR", "Traceback") if each in log], log


# The routers of both are to be made with `Guarded` first.
@pytest.mark.parametrize("path", [SCORES, EVENTS])
@pytest.mark.parametrize(("key", "status"), [(None, 401), (READER, 403)], ids=["stranger", "reader"])
def test_who_may_not_call_is_told_so_before_a_body_is_read(
    besieged: Besieged, path: str, key: bytes | None, status: int
) -> None:
    assert besieged.answer(post(path, b"[", key=key)).status == status


def test_garbage_behind_a_request_ends_the_connection(besieged: Besieged) -> None:
    sent = get("/healthz").replace(b"Connection: close\r\n", b"") + b"\x00\xff garbage\r\n\r\n"

    assert_problem(besieged.answer(sent))


@pytest.mark.parametrize(("length", "status"), [(0, 200), (3_000_000, 413)], ids=["fits", "too large"])
def test_who_asks_before_sending_is_answered(besieged: Besieged, length: int, status: int) -> None:
    body = json.dumps({"leads": [hostile.a_lead()]}).encode() + b" " * length

    assert besieged.answer(post(SCORES, body, headers=[b"Expect: 100-continue"])).status == status


def test_an_event_id_of_500_makes_a_repeat_harmless(besieged: Besieged) -> None:
    lead = {"type": "lead", "lead_id": "repeated", "created_at": TIME}
    touch = {"type": "touch", "lead_id": "repeated", "kind": "call", "occurred_at": TIME, "event_id": "ü" * 500}

    said = [json.loads(besieged.answer(post(EVENTS, {"events": [lead, touch]})).body)["outcomes"] for _ in range(2)]

    assert [each[1] for each in said] == ["new", "repeat"]


HARMFUL = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=2",
    "\n=3",
    '=HYPERLINK("http://a","b")',
    SQL,
    HTML,
    "a,=b",
    'a"=b',
]


def test_text_that_does_harm_elsewhere_does_none_here(besieged: Besieged) -> None:
    born = [
        {"type": "lead", "lead_id": each, "created_at": TIME, "attributes": {"source": each, "country": each}}
        for each in HARMFUL
    ]
    said = besieged.answer(post(EVENTS, {"events": born}))
    assert said.status == 200, said
    assert {each["lead_id"] for each in json.loads(said.body)["scores"]} == set(HARMFUL)

    rows = besieged.answer(get(f"{LEADS}?limit=1000")).body
    assert set(HARMFUL) <= {each["lead_id"] for each in json.loads(rows)["leads"]}
    table = besieged.answer(get(LEADS, headers=[b"Accept: text/csv"]))
    assert table.headers["content-type"].startswith("text/csv")
    written = {row["lead_id"] for row in csv.DictReader(io.StringIO(table.body, newline=""))}
    assert {f"'{each}" if each[0] in "=+-@\t\r\n" else each for each in HARMFUL} <= written
    assert not [row for row in written if row[0] in "=+-@\t\r\n"]
