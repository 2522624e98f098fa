"""Events that were sent, checked by the rules of the data set folder and read the way it is read."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from leadscore.api.declared import check_attributes, check_changing
from leadscore.api.problems import refused
from leadscore.history import check_records
from leadscore.store import Change, Lead, Merge, Retraction, Touch, Transition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.api.bodies import EventSent
    from leadscore.config import TableName
    from leadscore.history import Rules
    from leadscore.store import Event

    Sent = dict[str, Any]

TABLES: dict[str, TableName] = {"transition": "transitions", "touch": "touches", "change": "changes"}
# What a lead's own event says is checked as a lead of its own; the name of a table cannot be one.
OWN = ("type", "lead_id", "event_id")
LONG_AGO = "2000-01-01T00:00:00Z"


def understood(events: Sequence[EventSent], rules: Rules, now: int) -> list[Event]:
    """The events as the store takes them, in their order.

    Raises
    ------
    DataError, ProblemError
        One of them breaks a rule; the field and the rule are named.
    """
    sent: list[Sent] = [dict(event) for event in events]
    for place, event in enumerate(sent):
        if event["type"] == "lead":
            check_attributes(event.get("attributes", {}), rules, f"events.{place}.attributes")
        elif event["type"] == "change":
            check_changing(event["attribute"], rules, f"events.{place}.attribute")
        elif event["type"] == "merge" and event["lead_id"] == event["into_lead_id"]:
            raise refused(f"events.{place}.into_lead_id", "must be another lead than lead_id")
    times = _times(sent, rules, now)
    return [_event(_canonical(event, rules), time) for event, time in zip(sent, times, strict=True)]


def _times(sent: Sequence[Sent], rules: Rules, now: int) -> list[int]:
    """When each event happened, in microseconds since 1970 UTC, and 0 where it says no time; all are checked."""
    records: list[Sent] = []
    places: dict[str, list[int]] = defaultdict(list)
    happened: dict[str, Sent] = {}
    for place, event in enumerate(sent):
        if event["type"] == "lead":
            own = {"lead_id": event["lead_id"], "created_at": event["created_at"]}
            records.append({**event.get("attributes", {}), **own})
            places["leads"].append(place)
        elif (table := TABLES.get(event["type"])) is not None:
            about = happened.setdefault(event["lead_id"], {each: [] for each in TABLES.values()})
            about[table].append((place, {name: value for name, value in event.items() if name not in OWN}))
    found = [0] * len(sent)
    # One table of leads may name each but once.
    for few in _each_once(records, places["leads"]):
        tables = check_records([record for _, record in few], rules, now)
        for (place, _), moment in zip(few, tables.leads.created.tolist(), strict=True):
            found[place] = moment
    if happened:
        _fill(found, happened, rules, now)
    return found


def _fill(found: list[int], happened: dict[str, Sent], rules: Rules, now: int) -> None:
    records = [
        {"lead_id": lead_id, "created_at": LONG_AGO}
        | {table: [row for _, row in rows] for table, rows in about.items()}
        for lead_id, about in happened.items()
    ]
    tables = check_records(records, rules, now)
    for name, table in (("transitions", tables.transitions), ("touches", tables.touches)):
        places = [place for about in happened.values() for place, _ in about[name]]
        for place, moment in zip(places, table.known.tolist(), strict=True):
            found[place] = moment
    for attribute, changes in tables.changes.items():
        places = [
            place for about in happened.values() for place, row in about["changes"] if row["attribute"] == attribute
        ]
        for place, moment in zip(places, changes.known.tolist(), strict=True):
            found[place] = moment


def _each_once(records: Sequence[Sent], places: Sequence[int]) -> list[list[tuple[int, Sent]]]:
    """The records in as many lists as it takes for no list to name a lead twice; mostly one."""
    lists: list[list[tuple[int, Sent]]] = []
    times_named: dict[str, int] = defaultdict(int)
    for place, record in zip(places, records, strict=True):
        number = times_named[record["lead_id"]]
        times_named[record["lead_id"]] += 1
        if number == len(lists):
            lists.append([])
        lists[number].append((place, record))
    return lists


def _canonical(sent: Sent, rules: Rules) -> Sent:
    """An event with each value as an import of the same row stores it."""
    if sent["type"] == "lead":
        return sent | {"attributes": rules.canonical("leads", sent.get("attributes", {}))}
    table = TABLES.get(sent["type"])
    return sent if table is None else rules.canonical(table, sent)


def _event(sent: Sent, time: int) -> Event:
    own = {name: value for name, value in sent.items() if name not in {"type", "occurred_at", "created_at"}}
    match sent["type"]:
        case "lead":
            return Lead(created_at=time, **own)
        case "transition":
            return Transition(occurred_at=time, **own)
        case "touch":
            return Touch(occurred_at=time, **own)
        case "change":
            return Change(occurred_at=time, **({"value": None} | own))
        case "retraction":
            return Retraction(**own)
        case _:
            return Merge(**own)
