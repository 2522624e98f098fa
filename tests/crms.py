"""Stand-ins of CRMs: each knows one lead, in the vendor's own names, and keeps what is written to it."""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

TOKEN = "the CRM's own"  # noqa: S105
GUID, OPPORTUNITY = "00aa00aa-bb11-cc22-dd33-44ee44ee44ee", "11bb11bb-bb11-cc22-dd33-44ee44ee44ee"
TRENDS = ("improving", "steady", "declining", "too early")
NAMED = {"chance": "Probability", "grade": "Grade", "trend": "Trend"}
Answer = tuple[int, Any]


@dataclass(frozen=True)
class Asked:
    """A request that a CRM gets; ``match`` is its If-Match."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    match: str | None


@dataclass
class StandIn:
    """A CRM with one lead: what it answers, and what is written to it.

    Attributes
    ----------
    now : datetime
        Ten days after the lead came in.
    phase : int
        0, then 1, where more has happened by nine days later; 2 where the lead is lost.
    written : list of (method, address, body)
        Of every request that was no question, in order.
    turned_away : int
        How many requests were answered with "not now".
    """

    now: datetime
    phase: int = 0
    written: list[tuple[str, str, Any]] = field(default_factory=list)
    turned_away: int = 0
    name: ClassVar[str]
    heading: ClassVar[str]
    lead_id: ClassVar[str]
    secrets: ClassVar[dict[str, str]]
    expected: ClassVar[tuple[tuple[list[str], list[str], list[str]], ...]]

    def at(self, days: float, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
        return (self.now + timedelta(days=days)).strftime(form)

    def wrote(self, method: str, path: str, body: Any) -> Answer:
        self.written.append((method, path, body))
        return 204, None

    def answer(self, asked: Asked) -> Answer:
        raise NotImplementedError

    def score(self) -> dict[str, Any]:
        raise NotImplementedError


class Dynamics(StandIn):
    name, heading, lead_id = "DYNAMICS", "Dynamics 365", GUID
    secrets: ClassVar = {"DYNAMICS_TOKEN": TOKEN}
    # Lost; 0 is open.
    opportunity_state = 2
    expected = (
        (["mql"], ["call_out"], ["o1"]),
        (["mql"], ["call_in", "call_out", "email_in"], ["o1", "o2"]),
        (["mql", "lost"], ["call_in", "call_out", "email_in"], ["o1", "o2"]),
    )

    def answer(self, asked: Asked) -> Answer:
        table = asked.path.removeprefix("/api/data/v9.2/")
        if asked.method != "GET":
            return self._score(table, asked)
        if table == f"leads({self.lead_id})":
            return 200, self._lead()
        if table == f"opportunities({OPPORTUNITY})":
            return 200, {"opportunityid": OPPORTUNITY, "statecode": self.opportunity_state, "modifiedon": self.at(8)}
        assert self.lead_id in asked.query["$filter"]
        return 200, {"value": getattr(self, f"_{table}")()}

    def _lead(self) -> dict[str, Any]:
        return {
            "leadid": self.lead_id,
            "createdon": self.at(-10),
            "modifiedon": self.at(-2 if self.phase == 0 else 3),
            "leadsourcecode": 8,
            "numberofemployees": 120,
            "statecode": 1 if self._is_qualified else 0,
            "_ownerid_value": "o1" if self.phase == 0 else "o2",
            "_qualifyingopportunityid_value": OPPORTUNITY if self._is_qualified else None,
        }

    @property
    def _is_qualified(self) -> bool:
        return self.phase == 2 or self.opportunity_state == 0

    def _leadtoopportunitysalesprocesses(self) -> list[dict[str, Any]]:
        return [{"activestagestartedon": self.at(-5), "activestageid": {"stagename": "Qualify"}}]

    def _phonecalls(self) -> list[dict[str, Any]]:
        rows = [{"activityid": "p1", "directioncode": True, "actualend": self.at(-3), "actualdurationminutes": 12}]
        late = {"activityid": "p2", "directioncode": False, "actualend": self.at(5), "actualdurationminutes": None}
        return rows + [late] * (self.phase > 0)

    def _emails(self) -> list[dict[str, Any]]:
        return [{"activityid": "e1", "directioncode": False, "actualend": self.at(6)}] * (self.phase > 0)

    def _score(self, table: str, asked: Asked) -> Answer:
        body = asked.body
        key = re.fullmatch(r"msdyn_predictivescores\(msdyn_entityid='(.+)',msdyn_entitytype='(.+)'\)", table)
        kept = {(said["msdyn_entityid"], said["msdyn_entitytype"]) for how, _, said in self.written if how == "POST"}
        if asked.method == "PATCH":
            assert key is not None
            assert asked.match == "*", "without it, a PATCH creates"
            assert not {"msdyn_entityid", "msdyn_entitytype"} & set(body)
            return self.wrote(asked.method, table, body) if key.groups() in kept else (404, {"error": {}})
        assert table == "msdyn_predictivescores"
        assert (body["msdyn_entityid"], body["msdyn_entitytype"]) not in kept, "the key is taken"
        return self.wrote(asked.method, table, body)

    def score(self) -> dict[str, Any]:
        said: dict[str, Any] = {}
        for _, _, body in self.written:
            said |= body
        return {
            "chance": said["msdyn_score"],
            "grade": "ABCD"[said["msdyn_grade"]],
            "trend": TRENDS[said["msdyn_scoretrend"]],
        }


class Salesforce(StandIn):
    name, heading, lead_id = "SALESFORCE", "Salesforce", "00Q5e00001AbCdEEAV"
    secrets: ClassVar = {"SALESFORCE_TOKEN": TOKEN}
    expected = (
        (["mql"], ["call_out"], ["005A"]),
        (["mql", "sal"], ["call_in", "call_out", "email_out"], ["005A", "005B"]),
        (["mql", "sal", "opportunity", "lost"], ["call_in", "call_out", "email_out"], ["005A", "005B"]),
    )
    form = "%Y-%m-%dT%H:%M:%S.000+0000"

    def answer(self, asked: Asked) -> Answer:
        path = asked.path.removeprefix("/services/data/v62.0/")
        if asked.method != "GET":
            assert asked.method == "PATCH"
            return self.wrote(asked.method, path, asked.body)
        assert path == "query"
        query = re.search(r"SELECT (.+) FROM (\w+) WHERE \w+ = '\w+'", asked.query["q"])
        assert query is not None
        rows = getattr(self, f"_{query[2]}")()
        # As there: the fields asked for, and no others.
        records = [{name.strip(): row[name.strip()] for name in query[1].split(",")} for row in rows]
        return 200, {"totalSize": len(rows), "done": True, "records": records}

    def _Lead(self) -> list[dict[str, Any]]:  # noqa: N802 - the vendor's name
        return [
            {
                "CreatedDate": self.at(-10, self.form),
                "LeadSource": "Webinar",
                "Industry": "Software",
                "NumberOfEmployees": 120,
                "OwnerId": "005A" if self.phase == 0 else "005B",
                "IsConverted": self.phase == 2,
                "ConvertedOpportunityId": "006X" if self.phase == 2 else None,
            }
        ]

    def _LeadHistory(self) -> list[dict[str, Any]]:  # noqa: N802
        rows = [("created", -10, None, None), ("Status", -5, "Open", "Marketing Qualified")]
        if self.phase:
            rows += [("Owner", 1, "Ann", "Bob"), ("Owner", 1, "005A", "005B")]
            rows += [("Status", 4, "Marketing Qualified", "Sales Accepted")]
        return [
            {"Id": f"017{n}", "Field": of, "CreatedDate": self.at(day, self.form), "OldValue": old, "NewValue": new}
            for n, (of, day, old, new) in enumerate(rows)
        ]

    def _Task(self) -> list[dict[str, Any]]:  # noqa: N802
        rows: list[tuple[str, str | None, int | None, int]] = [("Call", "Outbound", 720, -3)]
        if self.phase:
            rows += [("Call", "Inbound", None, 5), ("Email", None, None, 6)]
        return [
            {
                "Id": f"00T{n}",
                "TaskSubtype": kind,
                "CallType": way,
                "CallDurationInSeconds": seconds,
                "CompletedDateTime": self.at(day, self.form),
            }
            for n, (kind, way, seconds, day) in enumerate(rows)
        ]

    def _OpportunityHistory(self) -> list[dict[str, Any]]:  # noqa: N802
        rows = [("Prospecting", 7), ("Closed Lost", 8)]
        return [
            {"Id": f"008{n}", "StageName": of, "CreatedDate": self.at(day, self.form)}
            for n, (of, day) in enumerate(rows)
        ]

    def score(self) -> dict[str, Any]:
        _, target, said = self.written[-1]
        assert target == ("sobjects/Opportunity/006X" if self.phase == 2 else f"sobjects/Lead/{self.lead_id}")
        return {name: said[f"Leadscore_{of}__c"] for name, of in NAMED.items()}


class HubSpot(StandIn):
    name, heading, lead_id = "HUBSPOT", "HubSpot", "51"
    secrets: ClassVar = {"HUBSPOT_TOKEN": TOKEN}
    expected = (
        (["mql"], ["call_out"], ["77"]),
        (["mql", "sql"], ["call_out", "email_in", "meeting"], ["77", "78"]),
        (["mql", "sql", "lost"], ["call_out", "email_in", "meeting"], ["77", "78"]),
    )
    form = "%Y-%m-%dT%H:%M:%S.000Z"

    def answer(self, asked: Asked) -> Answer:
        path, body = asked.path.removeprefix("/crm/v3/objects/"), asked.body
        if asked.method == "PATCH":
            assert list(body) == ["properties"]
            self.wrote(asked.method, path, body["properties"])
            return 200, {"id": self.lead_id}
        if asked.method == "GET":
            assert path == "contacts/51"
            return 200, self._contact(asked.query)
        [of] = body["filterGroups"][0]["filters"]
        assert of == {"propertyName": "associations.contact", "operator": "EQ", "value": "51"}
        rows = getattr(self, f"_{path.partition('/')[0]}")()
        results = [{"id": each.pop("id"), "properties": each} for each in rows]
        for each in results:
            assert set(each["properties"]) == set(body["properties"]), "what is not asked for is not answered"
        return 200, {"total": len(rows), "results": results}

    def _contact(self, query: dict[str, str]) -> dict[str, Any]:
        known = {"createdate": self.at(-10, self.form), "hs_analytics_source": "PAID_SEARCH", "industry": None}
        history = {
            "lifecyclestage": [("lead", -10), ("marketingqualifiedlead", -5)],
            "hs_lead_status": [("OPEN", -9)],
            "hubspot_owner_id": [("77", -9)],
        }
        if self.phase:
            history["lifecyclestage"].append(("salesqualifiedlead", 4))
            history["hubspot_owner_id"].append(("78", 1))
        if self.phase == 2:
            history["hs_lead_status"].append(("UNQUALIFIED", 8))
        assert set(query["properties"].split(",")) == set(known)
        assert set(query["propertiesWithHistory"].split(",")) == set(history)
        versions = {
            of: [{"value": value, "timestamp": self.at(day, self.form), "sourceType": "CRM_UI"} for value, day in said]
            for of, said in history.items()
        }
        return {"id": "51", "properties": known, "propertiesWithHistory": versions, "archived": False}

    def _calls(self) -> list[dict[str, Any]]:
        at = self.at(-3, self.form)
        return [{"id": "512", "hs_timestamp": at, "hs_call_direction": "OUTBOUND", "hs_call_duration": "720000"}]

    def _emails(self) -> list[dict[str, Any]]:
        # A number that a call has too.
        row = {"id": "512", "hs_timestamp": self.at(5, self.form), "hs_email_direction": "INCOMING_EMAIL"}
        return [row] * (self.phase > 0)

    def _meetings(self) -> list[dict[str, Any]]:
        rows = [("9", 6, "COMPLETED"), ("10", 30, "SCHEDULED")]
        told = [{"id": n, "hs_timestamp": self.at(day, self.form), "hs_meeting_outcome": of} for n, day, of in rows]
        return told * (self.phase > 0)

    def score(self) -> dict[str, Any]:
        _, target, said = self.written[-1]
        assert target == "contacts/51"
        found = {name: said[f"leadscore_{of.lower()}"] for name, of in NAMED.items()}
        return {name: None if value == "" else value for name, value in found.items()}


class Odoo(StandIn):
    name, heading, lead_id = "ODOO", "Odoo", "42"
    secrets: ClassVar = {"ODOO_DB": "company", "ODOO_LOGIN": "leadscore", "ODOO_KEY": TOKEN}
    expected = (
        (["mql"], ["call_out"], ["7"]),
        (["mql"], ["call_out", "email_in", "meeting"], ["7", "8"]),
        (["mql", "lost"], ["call_out", "email_in", "meeting"], ["7", "8"]),
    )
    form = "%Y-%m-%d %H:%M:%S"
    fields: ClassVar = {31: "stage_id", 32: "user_id", 33: "active", 34: "expected_revenue"}

    def answer(self, asked: Asked) -> Answer:
        body = asked.body
        assert (asked.method, asked.path, body["method"]) == ("POST", "/jsonrpc", "call")
        params = body["params"]
        if params["service"] == "common":
            assert (params["method"], params["args"]) == ("authenticate", ["company", "leadscore", TOKEN, {}])
            return 200, {"jsonrpc": "2.0", "id": body["id"], "result": 2}
        database, user, secret, model, what, args, more = params["args"]
        assert (params["method"], database, user, secret) == ("execute_kw", "company", 2, TOKEN)
        result = self._result(model, what, args, more)
        return 200, {"jsonrpc": "2.0", "id": body["id"], "result": result}

    def _result(self, model: str, what: str, args: list[Any], more: dict[str, Any]) -> Any:
        if what == "write":
            assert (model, args[0]) == ("crm.lead", [42])
            self.wrote(what, model, args[1])
            return True
        rows = {
            "crm.lead": [{"id": 42, "create_date": self.at(-10, self.form), "source_id": [3, "Search engine"]}],
            "ir.model.fields": [{"id": n, "name": name} for n, name in self.fields.items() if n < 34],
            "mail.message": self._messages(),
            "mail.tracking.value": self._tracked(),
        }[model]
        if what == "read":
            rows = [row for row in rows if row["id"] in args[0]]
        return [{name: row[name] for name in ("id", *more["fields"])} for row in rows]

    def _messages(self) -> list[dict[str, Any]]:
        rows = [
            (1, -10, "notification", False, []),
            (2, -9, "notification", False, [101]),
            (3, -5, "notification", False, [102, 103]),
            (4, -3, "notification", [2, "Call"], []),
        ]
        if self.phase:
            rows += [(5, 1, "notification", False, [104]), (6, 5, "email", False, [])]
            rows += [(7, 6, "notification", [3, "Meeting"], [])]
        if self.phase == 2:
            rows += [(8, 8, "notification", False, [105])]
        names = ("id", "date", "message_type", "mail_activity_type_id", "tracking_value_ids")
        return [dict(zip(names, (n, self.at(day, self.form), *rest), strict=True)) for n, day, *rest in rows]

    def _tracked(self) -> list[dict[str, Any]]:
        rows = [
            (101, [32, "Salesperson (crm.lead)"], 7, "Ann"),
            (102, [31, "Stage (crm.lead)"], 2, "Marketing Qualified"),
            (103, [34, "Expected Revenue (crm.lead)"], 0, False),
            (104, [32, "Salesperson (crm.lead)"], 8, "Bob"),
            (105, [33, "Active (crm.lead)"], 0, False),
        ]
        names = ("id", "field_id", "new_value_integer", "new_value_char")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def score(self) -> dict[str, Any]:
        _, _, said = self.written[-1]
        found = {name: said[f"x_leadscore_{of.lower()}"] for name, of in NAMED.items()}
        return {name: value or None for name, value in found.items()}


CRMS = (Dynamics, Salesforce, HubSpot, Odoo)


@contextmanager
def answering(crm: StandIn) -> Iterator[str]:
    """The address of a CRM that turns the first request away, to be asked again at once."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers["Content-Length"] or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if not crm.turned_away:
                crm.turned_away += 1
                status, told = 503, None
            elif not isinstance(crm, Odoo) and self.headers["Authorization"] != f"Bearer {TOKEN}":
                status, told = 401, None
            else:
                status, told = self._asked(body)
            said = b"" if told is None else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def _asked(self, body: Any) -> Answer:
            where = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(where.query).items()}
            try:
                return crm.answer(Asked(self.command, unquote(where.path), query, body, self.headers["If-Match"]))
            except (AssertionError, KeyError, AttributeError) as error:
                return 400, repr(error)

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815

        def log_message(self, *said: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
