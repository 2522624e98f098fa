"""Events that callers send, each checked by the rules of its own table, and read as that table is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leadscore.api.attributes import unchanging, undeclared
from leadscore.api.problems import refused_fields
from leadscore.history import DAY, read_values
from leadscore.history.line import MINUTE
from leadscore.history.reading.canonical import cell_text
from leadscore.history.reading.columns import DIRECTION_NAMES
from leadscore.history.reading.faults import Effect
from leadscore.history.reading.times import NO_TIME
from leadscore.history.tables import Coded
from leadscore.scoring import CLOCK_SKEW
from leadscore.store import Change, Lead, Merge, Retraction, Touch, Transition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from leadscore.api.bodies import EventSent
    from leadscore.config import TableName
    from leadscore.history import Rules
    from leadscore.history.reading.columns import Reader
    from leadscore.history.reading.faults import Fault
    from leadscore.store import Event

    Sent = Mapping[str, Any]

# A bad value is shown so far.
SHOWN_CHARACTERS = 60
DATE_CHARACTERS = len("2024-03-04")


def parse_events(sent: Sequence[EventSent], rules: Rules, now: int) -> list[Event]:
    """The events as the store takes them, in their order.

    Parameters
    ----------
    now : int
        When the request came, in microseconds since 1970 UTC.

    Raises
    ------
    ProblemError
        422, where events break rules; each field and rule is named.
    """
    by_type: dict[str, dict[int, Sent]] = {}
    for index, event in enumerate(sent):
        by_type.setdefault(event["type"], {})[index] = event
    faults: list[tuple[int, str, str]] = []
    parsed: dict[int, Event] = {}
    for name, events in by_type.items():
        of_type = _OfType(list(events), list(events.values()), rules, now, faults)
        parsed |= zip(events, _PARSERS[name](of_type), strict=True)
    if faults:
        faults.sort()
        lead_ids = [by_type[sent[index]["type"]][index]["lead_id"] for index, _, _ in faults]
        raise refused_fields([(f"events.{index}.{field}", rule) for index, field, rule in faults], lead_ids)
    return [parsed[index] for index in range(len(sent))]


@dataclass(frozen=True, slots=True)
class _OfType:
    """The events of one type, their positions in the request, and the faults of all types."""

    indexes: list[int]
    sent: list[Sent]
    rules: Rules
    now: int
    faults: list[tuple[int, str, str]]

    def values(self, field: str) -> list[Any]:
        """A field of each event, None where missing."""
        return [event.get(field) for event in self.sent]

    def read(self, table: TableName, field: str) -> list[Any]:
        """A field of each event, read as the column of a table; None where it is missing or breaks a rule."""
        return self.read_some(self.rules.readers[table][field], field, self.values(field), self.indexes)

    def read_some(self, reader: Reader, field: str, values: list[Any], indexes: Sequence[int]) -> list[Any]:
        """Values of a field of some events, read by a reader."""
        if values.count(None) == len(values):
            return values
        column = read_values(reader, field, values)
        read = _listed(column.values)
        for fault in column.faults:
            if fault.effect == Effect.NOTHING:
                continue
            for row in fault.rows.tolist():
                self.faults.append((indexes[row], field, _rule(fault, values[row])))
                read[row] = None
        return read

    def refuse(self, field: str, rule: str, broken: Sequence[bool]) -> None:
        """Note a fault of each event that breaks a rule."""
        self.faults.extend((index, field, rule) for index, bad in zip(self.indexes, broken, strict=True) if bad)

    def times(self, table: TableName, field: str, ahead: int, rule: str) -> tuple[list[Any], list[Any]]:
        """When each event took place, no later than ``ahead`` after now, and when it was recorded, where stated."""
        happened, recorded = self.read(table, field), self.read(table, "recorded_at")
        self.refuse(field, rule, [each is not None and each > self.now + ahead for each in happened])
        if recorded.count(None) < len(recorded):
            self.refuse(
                "recorded_at", "must not lie after now", [each is not None and each > self.now for each in recorded]
            )
            pairs = zip(self.values(field), happened, recorded, strict=True)
            self.refuse("recorded_at", f"must not lie before {field}", [_is_before(*each) for each in pairs])
        return happened, recorded

    def event_times(self, table: TableName) -> tuple[list[Any], list[Any]]:
        """As `times`, of events that may be planned."""
        rule = f"must not lie more than {self.rules.future // DAY} days after now"
        return self.times(table, "occurred_at", self.rules.future, rule)


def _rule(fault: Fault, value: Any) -> str:
    """The rule that a value breaks, and what to do about it."""
    if not fault.shown:
        return f"{fault.rule.must}. {fault.rule.fix}"
    shown = (cell_text(value) or "")[:SHOWN_CHARACTERS]
    return f"{fault.rule.must}, not {shown!r}. {fault.rule.remedy((shown,))}"


def _listed(values: Any) -> list[Any]:
    """Python's own values; None where missing."""
    if isinstance(values, Coded):
        names = (*values.names, None)
        return [names[code] for code in values.codes.tolist()]
    return [None if value != value or value == NO_TIME else value for value in values.tolist()]  # noqa: PLR0124 - NaN


def _is_before(written: str, happened: int | None, recorded: int | None) -> bool:
    """Whether something was recorded before it took place; of a whole day, before that day."""
    if happened is None or recorded is None:
        return False
    return recorded < happened - (DAY if len(written) == DATE_CHARACTERS else 0)


def _leads(events: _OfType) -> list[Event]:
    rule = f"must not lie more than {CLOCK_SKEW // MINUTE} minutes after now"
    created, recorded = events.times("leads", "created_at", CLOCK_SKEW, rule)
    attributes = _attributes(events)
    return [
        Lead(event["lead_id"], created[row], attributes[row], event.get("do_not_score", False), recorded[row])
        for row, event in enumerate(events.sent)
    ]


def _attributes(events: _OfType) -> list[dict[str, Any]]:
    named: dict[str, list[int]] = {}
    for row, event in enumerate(events.sent):
        for name in event.get("attributes", ()):
            named.setdefault(name, []).append(row)
    found: list[dict[str, Any]] = [{} for _ in events.sent]
    for name, rows in named.items():
        field, indexes = f"attributes.{name}", [events.indexes[row] for row in rows]
        if rule := undeclared(name, events.rules):
            events.faults.extend((index, field, rule) for index in indexes)
            continue
        sent = [events.sent[row]["attributes"][name] for row in rows]
        read = events.read_some(events.rules.readers["leads"][name], field, sent, indexes)
        for row, value in zip(rows, read, strict=True):
            found[row][name] = value
    return found


def _transitions(events: _OfType) -> list[Event]:
    occurred, recorded = events.event_times("transitions")
    # Stored as it is written: the code would make one of all names that mean lost.
    events.read("transitions", "stage")
    whole_day = events.rules.are_plain_whole_days(events.values("occurred_at"))
    return [
        Transition(
            event["lead_id"],
            event["stage"],
            occurred[row],
            event.get("reason") or None,
            event.get("event_id"),
            recorded[row],
            event.get("version"),
            whole_day[row],
        )
        for row, event in enumerate(events.sent)
    ]


def _touches(events: _OfType) -> list[Event]:
    occurred, recorded = events.event_times("touches")
    kind, by, value = (events.read("touches", name) for name in ("kind", "by", "value"))
    direction = events.read("touches", "direction")
    return [
        Touch(
            event["lead_id"],
            kind[row],
            occurred[row],
            DIRECTION_NAMES[direction[row] or 0],
            by[row],
            value[row],
            event.get("event_id"),
            recorded[row],
            event.get("version"),
        )
        for row, event in enumerate(events.sent)
    ]


def _changes(events: _OfType) -> list[Event]:
    occurred, recorded = events.event_times("changes")
    attribute = events.read("changes", "attribute")
    value: list[Any] = [None] * len(attribute)
    for name in dict.fromkeys(attribute):
        rows = [row for row, each in enumerate(attribute) if each == name]
        indexes = [events.indexes[row] for row in rows]
        if rule := unchanging(name, events.rules):
            events.faults.extend((index, "attribute", rule) for index in indexes)
            continue
        sent = [events.sent[row].get("value") for row in rows]
        for row, each in zip(rows, events.read_some(events.rules.changing[name], "value", sent, indexes), strict=True):
            value[row] = each
    return [
        Change(
            event["lead_id"],
            attribute[row],
            value[row],
            occurred[row],
            event.get("event_id"),
            recorded[row],
            event.get("version"),
        )
        for row, event in enumerate(events.sent)
    ]


def _retractions(events: _OfType) -> list[Event]:
    return [Retraction(event["event_id"]) for event in events.sent]


def _merges(events: _OfType) -> list[Event]:
    same = [event["lead_id"] == event["into_lead_id"] for event in events.sent]
    events.refuse("into_lead_id", "must be another lead than lead_id", same)
    return [Merge(event["lead_id"], event["into_lead_id"]) for event in events.sent]


_PARSERS = {
    "lead": _leads,
    "transition": _transitions,
    "touch": _touches,
    "change": _changes,
    "retraction": _retractions,
    "merge": _merges,
}
