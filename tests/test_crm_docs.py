"""docs/crm.md: its scripts, each a process of its own, between the real service and a stand-in of the CRM."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from leadscore.batch import publish_list
from leadscore.history.line import DAY
from leadscore.store import SCOPES, Outcome, create_key, ingest, listed_rows, reading, records_of, transaction
from tests.conftest import enter
from tests.crms import CRMS, OPPORTUNITY, TRENDS, Dynamics, Salesforce, StandIn, answering
from tests.service import Clock, Running, running, settings_of
from tests.stores import contents, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leadscore.history import History
    from leadscore.model import FunnelModel

PAGE = (Path(__file__).parents[1] / "docs" / "crm.md").read_text(encoding="utf-8")
EVENTS = ("transitions", "touches", "changes")
# A lead that is an opportunity by now.
OTHER = "22cc22cc-bb11-cc22-dd33-44ee44ee44ee"
# Of the vendors' own addresses, which the page names too.
VENDORS = ("/api/data/", "/services/data/", "/crm/v3/", "/jsonrpc", "/json/2")


def examples(heading: str) -> list[str]:
    """The scripts under a heading."""
    part = re.search(rf"^#+ {re.escape(heading)}.*?(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert part is not None, heading
    return re.findall(r"^```python\n(.*?)^```", part[0], re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Connected:
    """The service with a published list, and a key to it."""

    api: Running
    clock: Clock
    key: str

    def get(self, path: str, **more: Any) -> Any:
        answer = self.api.get(path, headers={"Authorization": f"Bearer {self.key}"} | more.pop("headers", {}), **more)
        assert answer.status_code == 200, answer.text
        return answer

    def run(self, script: str, *arguments: str, **environment: str) -> str:
        """What a script of the page prints."""
        known = {"LEADSCORE_URL": str(self.api.client.base_url).rstrip("/"), "LEADSCORE_KEY": self.key}
        done = subprocess.run(
            [sys.executable, "-I", "-W", "error", "-c", script, *arguments],
            env=known | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert not done.returncode or "there is no score to write" in done.stderr, done.stderr
        return done.stdout

    def stored(self, lead_id: str) -> dict[str, list[Any]]:
        """The events of a lead, in order of time."""
        with reading(self.api.service.store) as connection:
            [record] = records_of(connection, [lead_id])
        return {name: sorted(record[name], key=lambda row: row["occurred_at"]) for name in EVENTS}


@pytest.fixture(scope="module")
def connected(
    registered: Path,
    small: Path,
    small_history: History,
    small_model: FunnelModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Connected]:
    folder, clock = tmp_path_factory.mktemp("crm"), Clock(small_history.known_until)
    url = f"sqlite:///{folder / 'store.db'}"
    with opened(url) as store:
        ingest(store, small, received_at=clock())
        publish_list(store, small_model, "1", clock(), keep_from=0, now=clock)
        with transaction(store) as connection:
            key = create_key(connection, ["read", "write"], note="crm", at=clock())
    with pytest.MonkeyPatch.context() as patch:
        enter(registered, patch)
        patch.setenv("LEADSCORE_DATABASE_URL", url)
        with running(settings_of(folder), clock) as api:
            yield Connected(api, clock, key)


@pytest.mark.parametrize("kind", CRMS)
def test_a_script_tells_the_service_what_the_crm_knows_and_the_crm_what_the_service_says(
    connected: Connected, small_history: History, kind: type[StandIn]
) -> None:
    connected.clock.now = small_history.known_until
    crm = kind(datetime.fromtimestamp(small_history.known_until / 1e6, UTC))
    [script] = examples(crm.heading)
    with answering(crm) as address:
        variables = {f"{crm.name}_URL": address} | crm.secrets
        for phase in range(3):
            crm.phase = phase
            first = connected.run(script, crm.lead_id, **variables)
            told_of(connected, crm)
            before = contents(connected.api.service.store)

            second = connected.run(script, crm.lead_id, **variables)

            assert "new" in first.split()
            assert set(second.split()) == {"repeat"}
            after = contents(connected.api.service.store)
            assert {name: after[name] for name in ("leads", *EVENTS)} == {
                name: before[name] for name in ("leads", *EVENTS)
            }
            told_of(connected, crm)
            connected.clock.now += 9 * DAY * (phase == 0)


def told_of(connected: Connected, crm: StandIn) -> None:
    """The service knows what the CRM does, and the CRM what the service says."""
    stages, kinds, owners = crm.expected[crm.phase]
    stored = connected.stored(crm.lead_id)
    assert [row["stage"] for row in stored["transitions"]] == stages
    assert sorted(row["kind"] for row in stored["touches"]) == kinds
    assert [row["value"] for row in stored["changes"]] == owners
    told = connected.get(f"/v1/leads/{crm.lead_id}").json()
    assert told["score"]["stage"] == stages[-1]
    said = crm.score()
    if crm.phase == 2:
        assert told["score"]["closed"]
        assert isinstance(crm, Dynamics) or set(said.values()) == {None}
        return
    with reading(connected.api.service.store) as connection:
        chance = listed_rows(connection, [crm.lead_id])[crm.lead_id].key
    written = {Dynamics: round(100 * chance), Salesforce: 100 * chance}.get(type(crm), chance)
    assert said == {"chance": written, "grade": told["score"]["grade"], "trend": told["trend"]}
    assert (told["trend"] == "too early") == (crm.phase == 0)


class Qualified(Dynamics):
    lead_id = OTHER
    opportunity_state = 0


def test_the_score_of_a_qualified_lead_goes_to_its_opportunity(connected: Connected, small_history: History) -> None:
    connected.clock.now = small_history.known_until
    crm = Qualified(datetime.fromtimestamp(small_history.known_until / 1e6, UTC))
    with answering(crm) as address:
        connected.run(examples(crm.heading)[0], OTHER, DYNAMICS_URL=address, **crm.secrets)

    [(method, _, body)] = crm.written
    assert (method, body["msdyn_entityid"], body["msdyn_entitytype"]) == ("POST", OPPORTUNITY, "opportunity")


def test_the_list_by_night_is_the_list(connected: Connected) -> None:
    by_night, _ = examples("The list")
    rows = csv.DictReader(io.StringIO(connected.get("/v1/leads?list=handoff", headers={"Accept": "text/csv"}).text))
    expected = [" ".join(row[name] for name in ("rank", "lead_id", "stage", "grade", "sql_45d")) for row in rows]

    assert len(expected) > 20
    assert connected.run(by_night).splitlines() == expected


@pytest.mark.parametrize(("capacity", "minimum"), [(3, 0.0), (1_500, 0.0), (1_500, 0.2)])
def test_no_more_mqls_are_handed_over_than_there_is_time_for(
    connected: Connected, capacity: int, minimum: float
) -> None:
    _, handoff = examples("The list")
    asked = {"list": "handoff", "stage": "mql", "limit": "1000"}
    leads = connected.get("/v1/leads", params=asked).json()["leads"]
    chances = [{each["stage"]: each["probability"] for each in lead["probabilities"]}["sql"] for lead in leads]
    worth = [
        f"{lead['lead_id']} {lead['grade']} {chance}"
        for lead, chance in zip(leads, chances, strict=True)
        if chance >= minimum
    ]

    assert 3 < len(worth) < 1_000
    assert connected.run(handoff, str(capacity), str(minimum)).splitlines() == worth[:capacity]


def test_it_turns_pages_until_there_is_no_more_time(connected: Connected) -> None:
    _, handoff = examples("The list")
    in_pages = handoff.replace("min(capacity, 1000)", "2")

    assert in_pages != handoff
    assert connected.run(in_pages, "7", "0") == connected.run(handoff, "7", "0")


def test_every_endpoint_is_on_the_page_and_every_one_on_the_page_exists(connected: Connected) -> None:
    document = connected.get("/v1/openapi.json").json()
    there = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    named = set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`?\s]*)", PAGE))

    assert {each for each in named if not each.split()[1].startswith(VENDORS)} == there


def test_the_words_of_the_service_are_on_the_page(connected: Connected) -> None:
    document = connected.get("/v1/openapi.json").json()
    schemas = document["components"]["schemas"]
    words = {str(each) for each in Outcome} | set(SCOPES) | {"stale", "fallback", "no_signal"} | set(TRENDS)
    words |= {each for name, schema in schemas.items() if name.endswith("Event") for each in schema["properties"]}
    words |= {schema["properties"]["type"]["const"] for name, schema in schemas.items() if name.endswith("Event")}
    words |= {each["name"] for each in document["paths"]["/v1/leads"]["get"]["parameters"]} - {"accept"}

    assert {each for each in words if f"`{each}`" not in PAGE} == set()


def test_every_answer_that_the_service_documents_is_on_the_page(connected: Connected) -> None:
    paths = connected.get("/v1/openapi.json").json()["paths"].values()
    refusals = {status for path in paths for of in path.values() for status in of["responses"] if status >= "400"}
    table = re.search(r"^\| status .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)

    assert table is not None
    assert refusals - set(re.findall(r"\b\d{3}\b", table[0])) == set()


@pytest.mark.parametrize("heading", [crm.heading for crm in CRMS])
def test_a_script_is_short_and_names_its_sources(heading: str) -> None:
    [script] = examples(heading)

    assert sum(bool(line.strip()) for line in script.splitlines()) < 60
    assert max(map(len, script.splitlines())) <= 120
    assert re.search(rf"^### {heading}\n.*?^Sources: ", PAGE, re.MULTILINE | re.DOTALL)
