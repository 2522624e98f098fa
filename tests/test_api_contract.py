"""The service keeps what its OpenAPI document promises: schemathesis asks, with every check it has."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
import schemathesis
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished

from leadscore.batch import publish_list
from leadscore.store import create_key, transaction
from tests.fixtures import enter
from tests.service import Clock, Running, running, settings_of
from tests.stores import fresh_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from schemathesis.engine.recorder import ScenarioRecorder

    from leadscore.history import History
    from leadscore.model import FunnelModel

pytestmark = pytest.mark.integration


TIME = "^202[2-4]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"


PHASES = ("examples", "coverage", "fuzzing", "stateful")
# Of each kind: what may be sent, and what may not. How many come of so many examples differs by machine.
CASES_QUICK, CASES_SLOW = 50, 2_000
CHECKS = {
    "allow_header_conformance",
    "content_type_conformance",
    "ensure_resource_availability",
    "ignored_auth",
    "missing_required_header",
    "negative_data_rejection",
    "not_a_server_error",
    "positive_data_acceptance",
    "response_headers_conformance",
    "response_schema_conformance",
    "status_code_conformance",
    "unsupported_method",
    "use_after_free",
}


@dataclass
class Asked:
    """What schemathesis has asked, and what it found."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    checks: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Asked) -> None:
        """Count what was asked in another run, too."""
        self.cases += other.cases
        self.statuses += other.statuses
        self.checks |= other.checks
        self.wrong += other.wrong

    def take(self, recorder: ScenarioRecorder) -> None:
        """Count what was asked, and note what is wrong with the answers."""
        self.cases += len(recorder.interactions)
        self.statuses.update(each.response.status_code for each in recorder.interactions.values() if each.response)
        for case_id, checks in recorder.checks.items():
            self.checks.update(each.name for each in checks)
            for each in checks:
                if each.failure_info is not None:
                    case, answered = recorder.cases[case_id].value, recorder.interactions[case_id].response
                    asked = f"{case.method} {case.path} {case.path_parameters} {case.query} {str(case.body)[:600]}"
                    said = answered.text[:600] if answered else "nothing"
                    self.wrong.append(f"{each.name}: {each.failure_info.failure}\nasked: {asked}\nanswered: {said}")


@dataclass(frozen=True)
class Served:
    """A service.

    Attributes
    ----------
    url, key : str
        Where it is, and a key with all scopes.
    document, narrowed : dict
        Its OpenAPI document, and that with what this company permits.
    """

    url: str
    key: str
    document: dict[str, Any]
    narrowed: dict[str, Any]


@pytest.fixture(scope="module")
def served(
    ingested_url: str,
    registered: Path,
    small_model: FunnelModel,
    small_history: History,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """A service with a list, and a key to it."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "models").symlink_to(registered / "models")
    kind = ingested_url.partition(":")[0].partition("+")[0]
    clock = Clock(small_history.known_until)
    with pytest.MonkeyPatch.context() as patch, fresh_url(kind, folder, ingested_url) as url:
        enter(folder, patch)
        patch.setenv("LEADSCORE_DATABASE_URL", url)
        with running(settings_of(folder, max_per_second=1e6), clock) as service:
            publish_list(service.service.store, small_model, "1", clock(), keep_from=0, now=clock)
            with transaction(service.service.store) as connection:
                key = create_key(connection, ("score", "read", "write", "erase"), at=clock())
            document = service.get("/v1/openapi.json").json()
            # All at once: a connection that idles while others ask is closed, perhaps just when it is used again.
            yield Served(str(service.client.base_url), key, document, of_this_company(document, service, key))


def of_this_company(document: dict[str, Any], service: Running, key: str) -> dict[str, Any]:
    """The document with what `funnel.toml` and the history permit: which is valid is not for the document to say."""
    page = service.get("/v1/leads", params={"limit": 3}, headers={"Authorization": f"Bearer {key}"}).json()
    funnel = service.service.served().model.funnel
    found = copy.deepcopy(document)
    schemas = found["components"]["schemas"]
    time = {"type": "string", "pattern": TIME}
    text = {"type": "string", "pattern": "^[A-Za-z0-9 '=<-]{1,20}$"}
    attributes = {"employees": {"type": ["number", "null"], "minimum": 0, "maximum": 1e6}}
    attributes |= {each: {"anyOf": [text, {"type": "null"}]} for each in ("source", "industry", "country")}
    narrower: dict[str, Any] = {
        "occurred_at": time,
        "created_at": time,
        "as_of": time,
        "stage": {"type": "string", "enum": list(funnel.stages)},
        "attributes": {"type": "object", "properties": attributes, "additionalProperties": False},
        "attribute": {"const": "owner"},
        "value": {"type": ["number", "null"], "minimum": -1e6, "maximum": 1e6},
        "direction": {"enum": ["inbound", "outbound", None]},
    }
    for name, schema in schemas.items():
        if name.endswith(("Sent", "Event", "Asked")):
            for each, said in narrower.items():
                if each in schema["properties"]:
                    schema["properties"][each] = said
            schema["properties"].pop("recorded_at", None)
    query = found["paths"]["/v1/leads"]["get"]["parameters"]
    for each in query:
        if each["name"] == "cursor":
            each["schema"] = {"enum": [page["next"]]}
    return found


@schemathesis.hook("before_call")
def each_lead_once(context: Any, case: Any, kwargs: Any) -> None:
    """What no schema can say: a lead is sent once to be scored, was created by then, and is merged with another."""
    if case.meta is None or not case.meta.generation.mode.is_positive or not isinstance(case.body, dict):
        return
    for number, lead in enumerate(case.body.get("leads", ())):
        lead["lead_id"] = f"{number} {lead['lead_id']}"[:500]
        lead["created_at"] = min(lead["created_at"], case.body.get("as_of") or lead["created_at"])
    for event in case.body.get("events", ()):
        if event.get("type") == "merge":
            event["into_lead_id"] = "+" + event["lead_id"][:499]


def asked(served: Served, mode: str, phases: tuple[str, ...], *, examples: int) -> Asked:
    """Let schemathesis ask."""
    document = served.narrowed if mode == "positive" else served.document
    config = schemathesis.Config.from_dict(
        {
            "seed": 4,
            "base-url": served.url,
            "headers": {"Authorization": f"Bearer {served.key}"},
            "generation": {
                "mode": mode,
                "max-examples": examples,
                "deterministic": True,
                "database": "none",
                "no-shrink": True,
            },
            "continue-on-failure": True,
            "phases": {name: {"enabled": name in phases} for name in PHASES},
        }
    )
    found = Asked()
    for event in from_schema(schemathesis.openapi.from_dict(document, config=config)).execute():
        match event:
            case ScenarioFinished():
                found.take(event.recorder)
            case NonFatalError() | FatalError():
                found.wrong.append(repr(event))
    return found


def test_each_operation_has_a_short_name_words_and_a_way_to_refuse(served: Served) -> None:
    document = served.document
    operations = [each for path in document["paths"].values() for each in path.values()]

    assert {each["operationId"] for each in operations} >= {
        "score",
        "send_events",
        "list_leads",
        "show_lead",
        "erase_lead",
    }
    assert all(each["summary"] and each["description"] for each in operations)
    for each in operations:
        for status, said in each["responses"].items():
            if status != "200":
                problem = said["content"]["application/problem+json"]["schema"]
                assert problem == {"$ref": "#/components/schemas/Problem"}
        assert set(each["responses"]) >= {"200", "400", "408", "413", "431", "503"}
        assert ("security" in each) == ({"401", "403", "429"} <= set(each["responses"]))
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])


def test_the_examples_of_the_document_are_what_it_says(served: Served) -> None:
    document = served.document
    found = 0
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            found += 1
            root = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
            jsonschema_rs.validator_for(root).validate(example)
            # What is not described would be refused, or is never answered.
            assert set(example) <= set(schema["properties"]), name
    assert found == 12


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_the_service_answers_as_documented(served: Served, mode: str) -> None:
    found = asked(served, mode, ("examples", "fuzzing"), examples=6)

    assert_kept(found, CASES_QUICK)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "alone", "in_a_row"), [("positive", 360, 150), ("negative", 90, 28)])
def test_the_service_answers_as_documented_to_thousands(served: Served, mode: str, alone: int, in_a_row: int) -> None:
    found = asked(served, mode, ("examples", "coverage", "fuzzing"), examples=alone)
    found.add(asked(served, mode, ("stateful",), examples=in_a_row))

    assert_kept(found, CASES_SLOW)
    assert found.checks >= CHECKS


def assert_kept(found: Asked, cases: int) -> None:
    wrong = "\n\n".join(found.wrong[:10])
    assert not found.wrong, f"{len(found.wrong)} answers are wrong; the first:\n\n{wrong}"
    assert found.cases >= cases, found.cases
    assert not [status for status in found.statuses if status >= 500], found.statuses
