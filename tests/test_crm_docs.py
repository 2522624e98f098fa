"""docs/crm.md: its scripts, as they stand there, between the real service and a stand-in of the CRM."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from leadscore.batch import publish_list
from leadscore.history.line import DAY
from leadscore.store import SCOPES, Outcome, create_key, ingest, listed_rows, reading, records_of, transaction
from tests.crms import CRMS, TRENDS, Dynamics, HubSpot, Odoo, Salesforce, StandIn, answering
from tests.fixtures import enter
from tests.service import Clock, Running, running, settings_of
from tests.stores import contents, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leadscore.history import History
    from leadscore.model import FunnelModel

PAGE = (Path(__file__).parents[1] / "docs" / "crm.md").read_text(encoding="utf-8")
EVENTS = ("transitions", "touches", "changes")
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
    backfill_key: str

    def get(self, path: str, **more: Any) -> Any:
        answer = self.api.get(path, headers={"Authorization": f"Bearer {self.key}"} | more.pop("headers", {}), **more)
        assert answer.status_code == 200, answer.text
        return answer

    def run(self, script: str, *arguments: str, **environment: str) -> str:
        """What a script of the page prints."""
        return self.output(script, *arguments, **environment)[0]

    def output(self, script: str, *arguments: str, **environment: str) -> tuple[str, str]:
        """What a script of the page prints, and its messages."""
        known = {"LEADSCORE_URL": str(self.api.client.base_url).rstrip("/"), "LEADSCORE_KEY": self.key}
        printed, messages, ended = io.StringIO(), io.StringIO(), ""
        # In this process, since another takes longer to start than the script to run; with nothing that the test has.
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(messages):
            patch.setattr(os, "environ", known | environment)
            patch.setattr(sys, "argv", ["-c", *arguments])
            try:
                exec(script, {"__name__": "__main__"})  # noqa: S102 - it stands on the page
            except SystemExit as end:
                ended = str(end.code or "")
        assert not ended or "there is no score to write" in ended, ended
        return printed.getvalue(), messages.getvalue()

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
            backfill_key = create_key(connection, ["read", "write", "backfill"], note="first load", at=clock())
    with pytest.MonkeyPatch.context() as patch:
        enter(registered, patch)
        patch.setenv("LEADSCORE_DATABASE_URL", url)
        with running(settings_of(folder), clock) as api:
            yield Connected(api, clock, key, backfill_key)


@pytest.fixture(params=CRMS)
def kind(request: pytest.FixtureRequest) -> type[StandIn]:
    """A CRM."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def start(connected: Connected, small_history: History) -> Iterator[Callable[..., Bridge]]:
    """Connect a CRM whose leads came in ten days before the end of the recorded history."""
    connected.clock.now = small_history.known_until
    with ExitStack() as stack:

        def start(crm: type[StandIn], pair: int, **happened: Any) -> Bridge:
            stand_in = crm(datetime.fromtimestamp(small_history.known_until / 1e6, UTC), pair=pair, **happened)
            return Bridge(connected, stand_in, stack.enter_context(answering(stand_in)))

        yield start


@dataclass(frozen=True)
class Bridge:
    """The script of a CRM, between it and the service."""

    connected: Connected
    crm: StandIn
    address: str

    def run(self, lead_id: str, *arguments: str, **environment: str) -> list[str]:
        """The outcomes of the events that the script sends; a second run changes nothing."""
        outcomes, _ = self.output(lead_id, *arguments, **environment)
        before = self.stored()
        again, _ = self.output(lead_id, *arguments, **environment)
        assert set(again.split()) - {"retracted"} == {"repeat"}
        assert self.stored() == before
        return outcomes.split()

    def output(self, lead_id: str, *arguments: str, **environment: str) -> tuple[str, str]:
        [script] = examples(self.crm.heading)
        variables = {f"{self.crm.name}_URL": self.address} | self.crm.secrets | environment
        return self.connected.output(script, lead_id, *arguments, **variables)

    def stored(self) -> list[Any]:
        """What the service has of the CRM's leads."""
        with reading(self.connected.api.service.store) as connection:
            return records_of(connection, self.crm.leads)

    def stages(self, lead_id: str) -> list[str]:
        return [row["stage"] for row in self.connected.stored(lead_id)["transitions"]]

    def touches(self, lead_id: str) -> list[str]:
        return sorted(row["kind"] for row in self.connected.stored(lead_id)["touches"])

    def owners(self, lead_id: str) -> list[str]:
        """Each owner once in a row: the only date that Dynamics has is that of the last change of any kind."""
        return [value for value, _ in itertools.groupby(self.connected.stored(lead_id)["changes"], _value)]

    def stage(self, lead_id: str) -> str:
        return str(self.connected.get(f"/v1/leads/{lead_id}").json()["score"]["stage"])


def _value(change: dict[str, Any]) -> str:
    return str(change["value"]).removeprefix("005")


def test_new_moved_lost_reopened(start: Callable[..., Bridge], kind: type[StandIn]) -> None:
    bridge = start(kind, 0)
    crm, clock = bridge.crm, bridge.connected.clock
    for phase in range(4):
        crm.phase = phase
        for lead_id in crm.leads:
            outcomes = bridge.run(lead_id)

            assert set(outcomes) <= {"new", "repeat"}
            expected = [stage for _, stage in crm.moves(lead_id)]
            assert bridge.stages(lead_id) == expected
            assert bridge.stage(lead_id) == expected[-1]
            assert bridge.owners(lead_id) == [who for _, who in crm.owners()]
            assert bridge.touches(lead_id) == crm.touches(lead_id)
            shows_its_score(bridge, lead_id, is_new=phase == 0)
        clock.now += 9 * DAY * (phase == 0)


def shows_its_score(bridge: Bridge, lead_id: str, *, is_new: bool) -> None:
    """What the script has written to the CRM is what the service says."""
    lead = bridge.connected.get(f"/v1/leads/{lead_id}").json()
    if lead["score"]["closed"]:
        # Of a closed lead there is nothing that Dynamics could take.
        assert isinstance(bridge.crm, Dynamics) or set(bridge.crm.score().values()) == {None}
        return
    with reading(bridge.connected.api.service.store) as connection:
        chance = listed_rows(connection, [lead_id])[lead_id].key
    written = {Dynamics: round(100 * chance), Salesforce: 100 * chance}.get(type(bridge.crm), chance)
    assert bridge.crm.score() == {"chance": written, "grade": lead["score"]["grade"], "trend": lead["trend"]}
    assert (lead["trend"] == "too early") == is_new


def test_score_of_qualified_lead_goes_to_its_opportunity(start: Callable[..., Bridge]) -> None:
    bridge = start(Dynamics, 1, phase=3)
    bridge.connected.clock.now += 9 * DAY
    bridge.run(bridge.crm.first)

    assert isinstance(bridge.crm, Dynamics)
    (method, _, body), *_ = bridge.crm.written
    assert (method, body["msdyn_entityid"], body["msdyn_entitytype"]) == ("POST", bridge.crm.opportunity, "opportunity")


@pytest.mark.parametrize("kind", [Dynamics, Salesforce, HubSpot])
def test_shared_activity_reaches_both_leads(start: Callable[..., Bridge], kind: type[StandIn]) -> None:
    bridge = start(kind, 2, shared=True)
    for lead_id in bridge.crm.leads:
        assert "conflict" not in bridge.run(lead_id)

    assert bridge.touches(bridge.crm.first) == ["call_out"]
    assert bridge.touches(bridge.crm.second) == ["call_out", "email_out"]


def test_edited_activity_replaces_the_former(start: Callable[..., Bridge], kind: type[StandIn]) -> None:
    bridge = start(kind, 3)
    bridge.run(bridge.crm.first)
    [before] = bridge.connected.stored(bridge.crm.first)["touches"]
    bridge.crm.edited = True
    outcomes = bridge.run(bridge.crm.first)

    [after] = bridge.connected.stored(bridge.crm.first)["touches"]
    assert sorted(outcomes) == ["changed"] + ["repeat"] * (len(outcomes) - 1)
    assert after["occurred_at"] - before["occurred_at"] == DAY // 2
    assert (before["value"], after["value"]) == ((None, None) if kind is Odoo else (12.0, 30.0))


def test_deleted_activity_is_taken_back(start: Callable[..., Bridge], kind: type[StandIn]) -> None:
    bridge = start(kind, 4)
    bridge.run(bridge.crm.first)
    bridge.crm.deleted = True
    deleted = [] if kind.deletion is None else [kind.deletion.format(bridge.crm.number(1))]
    assert "new" in bridge.run(bridge.crm.first, *deleted)
    assert bridge.touches(bridge.crm.first) == []

    # Whatever comes in late does not bring it back.
    bridge.crm.deleted = False
    assert "retracted" in bridge.run(bridge.crm.first)
    assert bridge.touches(bridge.crm.first) == []


# Elsewhere an activity belongs to one lead, or to the opportunity of converted leads, which cannot be merged.
@pytest.mark.parametrize(("kind", "shared"), [*((kind, False) for kind in CRMS), (Dynamics, True), (HubSpot, True)])
def test_merged_leads_are_one(start: Callable[..., Bridge], kind: type[StandIn], shared: bool) -> None:  # noqa: FBT001
    bridge = start(kind, 5 + shared, shared=shared)
    for lead_id in bridge.crm.leads:
        bridge.run(lead_id)
    bridge.crm.merged = True
    told = [f"lead {bridge.crm.second}"] if kind is Odoo else []
    outcomes = bridge.run(bridge.crm.first, *told)

    assert not {"conflict", "unknown"} & set(outcomes)
    assert bridge.touches(bridge.crm.first) == ["call_out", "email_out"]
    assert bridge.stage(bridge.crm.second) == bridge.stage(bridge.crm.first) == "mql"
    if kind is not Odoo:
        # Told of the lead that went, the script goes on with the one that stays.
        assert set(bridge.run(bridge.crm.second)) == {"repeat"}


def test_deleted_record_changes_nothing(start: Callable[..., Bridge], kind: type[StandIn]) -> None:
    bridge, gone = start(kind, 7), start(kind, 8)
    before = contents(bridge.connected.api.service.store)
    with pytest.raises(AssertionError, match="was it deleted"):
        bridge.output(gone.crm.first)
    assert contents(bridge.connected.api.service.store) == before


def test_first_load_keeps_the_dates(start: Callable[..., Bridge], kind: type[StandIn]) -> None:
    bridge = start(kind, 9, phase=1)
    bridge.connected.clock.now += 9 * DAY
    lead_id, now = bridge.crm.first, bridge.connected.clock.now
    first_load = {"LEADSCORE_BACKFILL": "1", "LEADSCORE_KEY": bridge.connected.backfill_key}
    assert set(bridge.run(lead_id, **first_load)) == {"new"}

    stored = bridge.connected.stored(lead_id)
    logged = {row["occurred_at"]: row["recorded_at"] for row in stored["touches"]}
    assert sorted(known - at for at, known in logged.items()).count(DAY // 4) == 1
    rows = [row for name in EVENTS for row in stored[name]]
    assert all(row["occurred_at"] <= row["recorded_at"] < now for row in rows)
    assert sum(row["occurred_at"] == row["recorded_at"] for row in rows) == len(rows) - 1

    # From then on with a key that may not date back: what is known stays as it is.
    assert set(bridge.run(lead_id)) == {"repeat"}
    assert bridge.connected.stored(lead_id) == stored


def test_undated_history_is_reported(start: Callable[..., Bridge], kind: type[StandIn]) -> None:
    bridge = start(kind, 10)
    outcomes, details = bridge.output(bridge.crm.first)

    assert details.count("dated late") == outcomes.count("new")
    assert {row["recorded_at"] for row in bridge.connected.stored(bridge.crm.first)["touches"]} == {
        bridge.connected.clock.now
    }


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

    assert sum(bool(line.strip()) for line in script.splitlines()) < 90
    assert max(map(len, script.splitlines())) <= 120
    assert re.search(rf"^### {heading}\n.*?^Sources: ", PAGE, re.MULTILINE | re.DOTALL)
