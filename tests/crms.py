"""Stand-ins of CRMs: each knows two leads, in the vendor's own names, and keeps what is written to it."""

from __future__ import annotations

import itertools
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

TOKEN = "the CRM's own"  # noqa: S105
TRENDS = ("improving", "steady", "declining", "too early")
NAMED = {"chance": "Probability", "grade": "Grade", "trend": "Trend"}
Answer = tuple[int, Any]
Move = tuple[float, str]


@dataclass(frozen=True)
class Asked:
    """A request that a CRM gets; ``match`` is its If-Match."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    match: str | None


@dataclass(frozen=True)
class Activity:
    """A call, an e-mail or a meeting that took place; ``day`` is relative to the CRM's now."""

    number: int
    kind: str
    inbound: bool
    day: float
    leads: tuple[str, ...]
    minutes: int | None = None
    recorded: float = -20

    def touch(self) -> str:
        return self.kind if self.kind == "meeting" else f"{self.kind}_{'in' if self.inbound else 'out'}"


@dataclass
class StandIn:
    """A CRM with two leads: what it answers, and what is written to it.

    Attributes
    ----------
    now : datetime
        Ten days after the leads came in.
    pair : int
        Which two leads, so that tests do not share any.
    phase : int
        0 new; 1 moved on, with another owner and more activities; 2 lost; 3 open again.
    shared, edited, deleted, merged : bool
        Whether the first call is one of both leads; took place later than was noted first; is deleted; whether the
        second lead is merged into the first.
    written : list of (method, address, body)
        Of every request that was no question, in order.
    turned_away : int
        How many requests were answered with "not now".
    """

    now: datetime
    pair: int = 0
    phase: int = 0
    shared: bool = False
    edited: bool = False
    deleted: bool = False
    merged: bool = False
    written: list[tuple[str, str, Any]] = field(default_factory=list)
    turned_away: int = 0
    name: ClassVar[str]
    heading: ClassVar[str]
    secrets: ClassVar[dict[str, str]]
    # How the script gets to know of a deleted activity that the CRM no longer shows.
    deletion: ClassVar[str | None] = None

    @property
    def leads(self) -> tuple[str, str]:
        """The ids of the lead that stays, and of the one that goes."""
        raise NotImplementedError

    @property
    def first(self) -> str:
        return self.leads[0]

    @property
    def second(self) -> str:
        return self.leads[1]

    def at(self, days: float, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
        return (self.now + timedelta(days=days)).strftime(form)

    def owners(self) -> list[Move]:
        """The days of the owners of a lead, and their places in the alphabet."""
        owners: list[Move] = [(-9, "a"), (1, "b")]
        return owners[: 2 if self.phase else 1]

    def moves(self, lead_id: str) -> list[Move]:
        """The stages that a lead has entered, by day; the entry stage is not one of them."""
        if lead_id == self.first:
            return [(-5, "mql"), (4, "sql"), (8, "lost"), (8.5, "sql")][: self.phase + 1]
        return [(-5, "mql"), (8, "lost"), (8.5, "mql")][: max(self.phase, 1)]

    def modified(self, lead_id: str) -> float:
        """The day of the last change of a lead."""
        return max([-2, self.moves(lead_id)[-1][0], self.owners()[-1][0]])

    def activities(self, lead_id: str) -> list[Activity]:
        """Those of a lead that are listed: deleted ones are not."""
        both = self.leads if self.shared else (self.first,)
        first = Activity(self.number(1), "call", inbound=False, day=-3, leads=both, minutes=12)
        rows = [replace(first, day=-2.5, minutes=30)] if self.edited else [first]
        rows = rows[: not self.deleted]
        rows += [Activity(self.number(4), "email", inbound=False, day=-4, leads=(self.second,))]
        if self.phase:
            rows += [Activity(self.number(2), "call", inbound=True, day=5, leads=(self.first,), recorded=5.25)]
            rows += [Activity(self.number(3), "email", inbound=True, day=6, leads=(self.first,))]
        if self.merged:
            rows = [replace(row, leads=(self.first,)) for row in rows]
        return [row for row in rows if lead_id in row.leads]

    def number(self, number: int) -> int:
        """A number that no activity of another pair has."""
        return 10 * self.pair + number

    def touches(self, lead_id: str) -> list[str]:
        """The kinds of touch that leadscore gets."""
        return sorted(row.touch() for row in self.activities(lead_id))

    def wrote(self, method: str, path: str, body: Any) -> Answer:
        self.written.append((method, path, body))
        return 204, None

    def answer(self, asked: Asked) -> Answer:
        raise NotImplementedError

    def score(self) -> dict[str, Any]:
        raise NotImplementedError


class Dynamics(StandIn):
    name, heading = "DYNAMICS", "Dynamics 365"
    secrets: ClassVar = {"DYNAMICS_TOKEN": TOKEN}
    deletion = "00000000-0000-0000-0000-{:012}"

    @property
    def leads(self) -> tuple[str, str]:
        return f"00aa00aa-bb11-cc22-dd33-{self.pair:012}", f"22cc22cc-bb11-cc22-dd33-{self.pair:012}"

    @property
    def opportunity(self) -> str:
        return f"11bb11bb-bb11-cc22-dd33-{self.pair:012}"

    def answer(self, asked: Asked) -> Answer:
        table = asked.path.removeprefix("/api/data/v9.2/")
        if asked.method != "GET":
            return self._score(table, asked)
        if table == f"opportunities({self.opportunity})":
            state = 2 if self.moves(self.first)[-1][1] == "lost" else 0
            at = self.at(self.modified(self.first))
            return 200, {"opportunityid": self.opportunity, "statecode": state, "modifiedon": at}
        if one := re.fullmatch(r"leads\((.+)\)", table):
            return (200, self._lead(one[1])) if one[1] in self.leads else (404, {"error": {}})
        [lead_id] = re.findall(r"[0-9a-f-]{36}", asked.query["$filter"])
        if table == "leads":
            assert asked.query["$filter"] == f"_masterid_value eq {lead_id}"
            return 200, {
                "value": [self._lead(each) for each in self.leads[1:] if self.merged and lead_id == self.first]
            }
        return 200, {"value": getattr(self, f"_{table}")(lead_id, asked.query["$filter"])}

    def _lead(self, lead_id: str) -> dict[str, Any]:
        is_qualified = lead_id == self.first and self.phase > 1
        merged = self.merged and lead_id == self.second
        lost = merged or self.moves(lead_id)[-1][1] == "lost"
        return {
            "leadid": lead_id,
            "createdon": self.at(-10),
            "modifiedon": self.at(self.modified(lead_id)),
            "leadsourcecode": 8,
            "numberofemployees": 120,
            "statecode": 1 if is_qualified else 2 if lost else 0,
            "merged": merged,
            "_masterid_value": self.first if merged else None,
            "_ownerid_value": self.owners()[-1][1],
            "_qualifyingopportunityid_value": self.opportunity if is_qualified else None,
        }

    def _leadtoopportunitysalesprocesses(self, lead_id: str, _: str) -> list[dict[str, Any]]:
        # A record that is closed stays at its stage, and has not entered it again when it is opened.
        day, stage = [(day, stage) for day, stage in self.moves(lead_id)[:2] if stage != "lost"][-1]
        name = {"mql": "Qualify", "sql": "Develop"}[stage]
        return [{"activestagestartedon": self.at(day), "activestageid": {"stagename": name}}]

    def _phonecalls(self, lead_id: str, query: str) -> list[dict[str, Any]]:
        return self._completed(lead_id, query, "phonecall", "call")

    def _emails(self, lead_id: str, query: str) -> list[dict[str, Any]]:
        return self._completed(lead_id, query, "email", "email")

    def _completed(self, lead_id: str, query: str, table: str, kind: str) -> list[dict[str, Any]]:
        assert query == f"{table}_activity_parties/any(p:p/_partyid_value eq {lead_id}) and statecode eq 1"
        return [
            {
                "activityid": f"00000000-0000-0000-0000-{row.number:012}",
                "directioncode": not row.inbound,
                "actualend": self.at(row.day),
                "createdon": self.at(row.recorded),
                "actualdurationminutes": row.minutes,
            }
            for row in self.activities(lead_id)
            if row.kind == kind
        ]

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
        _, _, said = self.written[-1]
        return {
            "chance": said["msdyn_score"],
            "grade": "ABCD"[said["msdyn_grade"]],
            "trend": TRENDS[said["msdyn_scoretrend"]],
        }


class Salesforce(StandIn):
    name, heading = "SALESFORCE", "Salesforce"
    secrets: ClassVar = {"SALESFORCE_TOKEN": TOKEN}
    form = "%Y-%m-%dT%H:%M:%S.000+0000"
    statuses: ClassVar = {"mql": "Marketing Qualified", "sql": "Sales Qualified", "lost": "Unqualified"}

    @property
    def leads(self) -> tuple[str, str]:
        return f"00Q5e0000{self.pair:04}deEEAV", f"00Q5e0000{self.pair:04}deEFAV"

    @property
    def opportunity(self) -> str:
        return f"0065e0000{self.pair:04}deEEAV"

    def is_converted(self, lead_id: str) -> bool:
        """A task belongs to one lead, but an opportunity to all leads that were converted to it."""
        return self.shared or (lead_id == self.first and self.phase > 1)

    def moves(self, lead_id: str) -> list[Move]:
        if lead_id == self.first:
            opportunity: list[Move] = [(7, "opportunity"), (8, "lost"), (8.5, "opportunity")]
            return [*super().moves(lead_id)[:2], *opportunity[: self.phase if self.phase > 1 else 0]]
        # The second comes back to a status before the first stage.
        return [(day, "lead" if day == 8.5 else stage) for day, stage in super().moves(lead_id)]

    def answer(self, asked: Asked) -> Answer:
        path = asked.path.removeprefix("/services/data/v62.0/")
        if asked.method != "GET":
            assert asked.method == "PATCH"
            return self.wrote(asked.method, path, asked.body)
        assert path == "queryAll", "a query leaves out what is deleted"
        query = re.search(r"SELECT (.+) FROM (\w+) WHERE \(?(\w+) = '(\w+)'(?: OR WhatId = '(\w+)')?", asked.query["q"])
        assert query is not None
        rows = getattr(self, f"_{query[2]}")(query[3], query[4], query[5])
        # As there: the fields asked for, and no others.
        records = [{name.strip(): row[name.strip()] for name in query[1].split(",")} for row in rows]
        return 200, {"totalSize": len(rows), "done": True, "records": records}

    def _Lead(self, by: str, value: str, _: None) -> list[dict[str, Any]]:  # noqa: N802 - the vendor's name
        rows = [self._lead(lead_id) for lead_id in self.leads]
        return [row for row in rows if row[by] == value]

    def _lead(self, lead_id: str) -> dict[str, Any]:
        gone = self.merged and lead_id == self.second
        return {
            "Id": lead_id,
            "IsDeleted": gone,
            "MasterRecordId": self.first if gone else None,
            "CreatedDate": self.at(-10, self.form),
            "LeadSource": "Webinar",
            "Industry": "Software",
            "NumberOfEmployees": 120,
            "OwnerId": "005" + self.owners()[-1][1],
            "IsConverted": self.is_converted(lead_id),
            "ConvertedOpportunityId": self.opportunity if self.is_converted(lead_id) else None,
        }

    def _LeadHistory(self, _: str, lead_id: str, __: None) -> list[dict[str, Any]]:  # noqa: N802
        rows: list[tuple[float, str, str | None, str | None]] = [(-10, "created", None, None)]
        for day, stage in self.moves(lead_id):
            if lead_id == self.second or day < 7:
                rows.append((day, "Status", None, self.statuses.get(stage, "Nurturing")))
        for (_day, old), (day, new) in itertools.pairwise(self.owners()):
            rows += [(day, "Owner", f"005{old}", f"005{new}"), (day, "Owner", old, new)]
        rows.sort(key=lambda row: row[0])
        return [
            {"Id": f"017{lead_id[8:15]}{n}", "Field": of, "CreatedDate": self.at(day, self.form)}
            | {"OldValue": old, "NewValue": new}
            for n, (day, of, old, new) in enumerate(rows)
        ]

    def _Task(self, _: str, lead_id: str, opportunity: str | None) -> list[dict[str, Any]]:  # noqa: N802
        assert (opportunity is not None) == self.is_converted(lead_id)
        rows = self.activities(lead_id)
        if self.deleted and lead_id == self.first:
            call = Activity(self.number(1), "call", inbound=False, day=-3, leads=self.leads)
            rows.append(call)
        return [
            {
                "Id": f"00T{row.number:015}",
                "IsDeleted": self.deleted and row.number == self.number(1),
                "TaskSubtype": row.kind.title(),
                "CallType": None if row.kind == "email" else "Inbound" if row.inbound else "Outbound",
                "CallDurationInSeconds": row.minutes and 60 * row.minutes,
                "CreatedDate": self.at(row.recorded, self.form),
                "CompletedDateTime": self.at(row.day, self.form),
            }
            for row in rows
        ]

    def touches(self, lead_id: str) -> list[str]:
        # Tasks of e-mails do not say which way they went.
        return sorted(each.replace("email_in", "email_out") for each in super().touches(lead_id))

    def _OpportunityHistory(self, _: str, opportunity: str, __: None) -> list[dict[str, Any]]:  # noqa: N802
        assert opportunity == self.opportunity
        names = {"opportunity": "Prospecting", "lost": "Closed Lost"}
        return [
            {"Id": f"008{self.pair}{n}", "StageName": names[of], "CreatedDate": self.at(day, self.form)}
            for n, (day, of) in enumerate(self.moves(self.first))
            if day >= 7
        ]

    def score(self) -> dict[str, Any]:
        _, target, said = self.written[-1]
        targets = {f"sobjects/Lead/{each}" for each in self.leads if not self.is_converted(each)}
        assert target in targets | {f"sobjects/Opportunity/{self.opportunity}"}
        return {name: said[f"Leadscore_{of}__c"] for name, of in NAMED.items()}


class HubSpot(StandIn):
    name, heading = "HUBSPOT", "HubSpot"
    secrets: ClassVar = {"HUBSPOT_TOKEN": TOKEN}
    deletion = "calls {}"
    form = "%Y-%m-%dT%H:%M:%S.000Z"

    @property
    def leads(self) -> tuple[str, str]:
        return f"51{self.pair}", f"52{self.pair}"

    def answer(self, asked: Asked) -> Answer:
        path, body = asked.path.removeprefix("/crm/v3/objects/"), asked.body
        if asked.method == "PATCH":
            assert list(body) == ["properties"]
            self.wrote(asked.method, path, body["properties"])
            return 200, {"id": path.rpartition("/")[2]}
        if asked.method == "GET":
            table, _, lead_id = path.partition("/")
            assert table == "contacts"
            return (200, self._contact(lead_id, asked.query)) if lead_id in self.leads else (404, None)
        [of] = body["filterGroups"][0]["filters"]
        assert (of["propertyName"], of["operator"]) == ("associations.contact", "EQ")
        rows = getattr(self, f"_{path.partition('/')[0]}")(of["value"])
        for each in rows:
            assert set(each["properties"]) == set(body["properties"]), "what is not asked for is not answered"
        # Pages of one.
        begin = int(body["after"])
        more = {"paging": {"next": {"after": str(begin + 1)}}} if begin + 1 < len(rows) else {}
        return 200, {"total": len(rows), "results": rows[begin : begin + 1]} | more

    def _contact(self, lead_id: str, query: dict[str, str]) -> dict[str, Any]:
        lead_id = self.first if self.merged else lead_id
        known = {"createdate": self.at(-10, self.form), "hs_analytics_source": "PAID_SEARCH", "industry": None}
        known["hs_merged_object_ids"] = self.second if self.merged else None
        named = {"mql": "marketingqualifiedlead", "sql": "salesqualifiedlead"}
        moves = self.moves(lead_id)
        history: dict[str, list[Move]] = {
            "lifecyclestage": [(-10, "lead"), *((day, named[of]) for day, of in moves if of != "lost" and day < 8)],
            "hs_lead_status": [(-9, "OPEN"), *((day, "UNQUALIFIED") for day, of in moves if of == "lost")],
            "hubspot_owner_id": self.owners(),
        }
        # Requalified: its stage is the one that it had.
        history["hs_lead_status"] += [(day, "IN_PROGRESS") for day, _ in moves if day > 8]
        assert set(query["properties"].split(",")) == set(known)
        assert set(query["propertiesWithHistory"].split(",")) == set(history)
        versions = {
            of: [
                {"value": value, "timestamp": self.at(day, self.form), "sourceType": "CRM_UI"}
                for day, value in reversed(said)
            ]
            for of, said in history.items()
        }
        return {"id": lead_id, "properties": known, "propertiesWithHistory": versions, "archived": False}

    def activities(self, lead_id: str) -> list[Activity]:
        rows = super().activities(lead_id)
        meeting = Activity(self.number(9), "meeting", inbound=False, day=6, leads=(self.first,))
        return [*rows, meeting] if self.phase and lead_id == self.first else rows

    def _calls(self, lead_id: str) -> list[dict[str, Any]]:
        return [
            self._row(row, row.number)
            | {
                "properties": {
                    "hs_timestamp": self.at(row.day, self.form),
                    "hs_call_direction": "INBOUND" if row.inbound else "OUTBOUND",
                    "hs_call_duration": row.minutes and str(60_000 * row.minutes),
                }
            }
            for row in self.activities(lead_id)
            if row.kind == "call"
        ]

    def _emails(self, lead_id: str) -> list[dict[str, Any]]:
        # Numbers that calls have too.
        return [
            self._row(row, row.number - 2)
            | {
                "properties": {
                    "hs_timestamp": self.at(row.day, self.form),
                    "hs_email_direction": "INCOMING_EMAIL" if row.inbound else "EMAIL",
                }
            }
            for row in self.activities(lead_id)
            if row.kind == "email"
        ]

    def _meetings(self, lead_id: str) -> list[dict[str, Any]]:
        rows = [(row, "COMPLETED") for row in self.activities(lead_id) if row.kind == "meeting"]
        rows += [(replace(row, number=row.number + 1, day=30), "SCHEDULED") for row, _ in rows]
        return [
            self._row(row, row.number)
            | {"properties": {"hs_timestamp": self.at(row.day, self.form), "hs_meeting_outcome": of}}
            for row, of in rows
        ]

    def _row(self, row: Activity, number: int) -> dict[str, Any]:
        return {"id": str(number), "createdAt": self.at(row.recorded, self.form), "archived": False}

    def score(self) -> dict[str, Any]:
        _, target, said = self.written[-1]
        assert target in {f"contacts/{each}" for each in self.leads}
        found = {name: said[f"leadscore_{of.lower()}"] for name, of in NAMED.items()}
        return {name: None if value == "" else value for name, value in found.items()}


class Odoo(StandIn):
    name, heading = "ODOO", "Odoo"
    secrets: ClassVar = {"ODOO_DB": "company", "ODOO_LOGIN": "leadscore", "ODOO_KEY": TOKEN}
    deletion = "message {}"
    form = "%Y-%m-%d %H:%M:%S"
    fields: ClassVar = {31: "stage_id", 32: "user_id", 33: "active", 34: "expected_revenue"}
    stages: ClassVar = {"mql": "Marketing Qualified", "sql": "Qualified"}

    @property
    def leads(self) -> tuple[str, str]:
        return f"41{self.pair}", f"42{self.pair}"

    def owners(self) -> list[Move]:
        return [(day, {"a": "7", "b": "8"}[who]) for day, who in super().owners()]

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
            assert model == "crm.lead"
            self.wrote(what, f"{args[0][0]}", args[1])
            return True
        rows = getattr(self, "_" + model.replace(".", "_"))(args[0])
        return [{name: row[name] for name in ("id", *more["fields"])} for row in rows]

    def _crm_lead(self, domain: list[Any]) -> list[dict[str, Any]]:
        [_, _, number], active = domain
        assert active == ["active", "in", [True, False]], "else archived leads are left out"
        there = self.leads[:1] if self.merged else self.leads
        created = self.at(-10, self.form)
        return [{"id": number, "create_date": created, "source_id": [3, "Search engine"]}] * (str(number) in there)

    def _ir_model_fields(self, _: list[Any]) -> list[dict[str, Any]]:
        return [{"id": n, "name": name} for n, name in self.fields.items() if n < 34]

    def activities(self, lead_id: str) -> list[Activity]:
        # An activity does not say which way it went, an incoming message does.
        rows = [replace(row, inbound=row.inbound and row.kind == "email") for row in super().activities(lead_id)]
        meeting = Activity(self.number(9), "meeting", inbound=False, day=6, leads=(self.first,))
        return [*rows, meeting] if self.phase and lead_id == self.first else rows

    def _mail_message(self, domain: list[Any]) -> list[dict[str, Any]]:
        lead_id = str(domain[1][2])
        names = {"call": [2, "Call"], "meeting": [3, "Meeting"], "email": False}
        rows: list[tuple[Any, ...]] = []
        for row in self.activities(lead_id):
            kind = "notification" if row.kind != "email" else "email" if row.inbound else "email_outgoing"
            rows.append((row.number, row.day, row.recorded, kind, names[row.kind], []))
        # Of a merge, the messages are moved to the lead that stays.
        for each in self.leads if self.merged else (lead_id,):
            for tracking, day, *_ in self._tracking(each):
                rows.append((100_000 + tracking, day, day, "notification", False, [tracking, 0]))
        fields = ("id", "date", "create_date", "message_type", "mail_activity_type_id", "tracking_value_ids")
        rows.sort(key=lambda row: (row[1], row[0]))
        return [
            dict(zip(fields, (n, self.at(day, self.form), self.at(known, self.form), *rest), strict=True))
            for n, day, known, *rest in rows
        ]

    def _mail_tracking_value(self, numbers: list[int]) -> list[dict[str, Any]]:
        rows = [row for lead_id in self.leads for row in self._tracking(lead_id)]
        rows += [(0, 0, [34, "Expected Revenue (crm.lead)"], 0, False)]
        names = ("id", "field_id", "new_value_integer", "new_value_char")
        return [dict(zip(names, (n, *rest), strict=True)) for n, _, *rest in rows if n in numbers]

    def _tracking(self, lead_id: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for n, (day, stage) in enumerate(self.moves(lead_id)):
            if day < 8:
                rows.append((n, day, [31, "Stage (crm.lead)"], 2, self.stages[stage]))
            else:
                rows.append((n, day, [33, "Active (crm.lead)"], int(stage != "lost"), False))
        rows += [
            (n, day, [32, "Salesperson (crm.lead)"], int(who), "Ann") for n, (day, who) in enumerate(self.owners(), 5)
        ]
        return [(int(lead_id) * 10 + n, *row) for n, *row in rows]

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
