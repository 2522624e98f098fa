"""Events that come in by the API: stored durably, each once, whatever is sent again."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadscore.store.dialect import lock_corrections, new_of, rows_among
from leadscore.store.erasure import erased_of
from leadscore.store.event_keys import key_of_id, key_of_row, keys_of_id
from leadscore.store.events import Change, Lead, Merge, Outcome, Retraction, Touch, Transition
from leadscore.store.merging import merge, written
from leadscore.store.schema import EVENTS, leads, merged, retracted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from leadscore.store.events import Event, Happened

_TABLES: dict[type[Happened], str] = {Transition: "transitions", Touch: "touches", Change: "changes"}
_TAKE_BACK = tuple(
    sa.delete(table)
    .where(table.c.event_key.in_(sa.bindparam("keys", expanding=True)))
    .returning(table.c.event_key, table.c.lead)
    for table in EVENTS.values()
)
_CHANGE_LEAD = (
    sa.update(leads)
    .where(leads.c.lead == sa.bindparam("row"))
    .values(attributes=sa.bindparam("said"), do_not_score=sa.bindparam("objects"))
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of some events.

    Attributes
    ----------
    outcomes : tuple of Outcome
        One per event, in their order.
    touched : tuple of str
        Leads whose history is another now, by the id that stands for them, in the order first named.
    objecting : tuple of str
        Those of them that must not be scored.
    by_event : tuple of set of str
        Which leads each event has touched.
    """

    outcomes: tuple[Outcome, ...]
    touched: tuple[str, ...]
    objecting: tuple[str, ...]
    by_event: tuple[set[str], ...]


def accept(
    connection: sa.Connection, events: Sequence[Event], *, received_at: int, requests: Sequence[int] | None = None
) -> Accepted:
    """Store events; what is of an unknown or erased lead is not stored, and said so.

    They are taken in an order of their own, whatever order they came in: retractions, leads, merges, then the rest.
    An event that names a lead which was merged is one of the lead that stayed. On PostgreSQL the leads stay locked
    until the end of the transaction.

    Parameters
    ----------
    connection : Connection
        Of `leadscore.store.transaction`; nothing is stored unless that ends well.
    events : sequence of Event
        Checked by the rules of the funnel.
    received_at : int
        When they came, in microseconds since 1970 UTC: nothing of them was known before.
    requests : sequence of int, optional
        The request that each event came with, where several are stored together; by default it is one. The n-th
        identical row of one request is the n-th touch, of another it is a repeat.
    """
    return _Arrivals(connection, events, received_at, requests or [0] * len(events)).accepted()


@dataclass(slots=True)
class _Arrivals:
    """Events on their way into the store, and what became of them so far."""

    connection: sa.Connection
    events: Sequence[Event]
    at: int
    requests: Sequence[int]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    into: dict[str, str] = field(default_factory=dict)  # which lead an id that went stands for
    erased: set[str] = field(default_factory=set)
    rows: dict[str, sa.Row[Any]] = field(default_factory=dict)  # the leads that are there, by lead_id
    touched: dict[int, set[int]] = field(default_factory=dict)  # leads, by the place of the event

    def accepted(self) -> Accepted:
        corrects = any(isinstance(each, Retraction | Merge) for each in self.events)
        lock_corrections(self.connection, alone=corrects)
        self._retract()
        named = list(dict.fromkeys(name for each in self.events for name in _names(each)))
        went = rows_among(self.connection, merged.c.lead_id, named)
        self.into = {row.lead_id: row.into_lead_id for row in went}
        self.erased = erased_of(self.connection, [*named, *self.into.values()])
        new = self._new_leads()
        stand = [self.into.get(name, name) for name in named]
        found = rows_among(self.connection, leads.c.lead_id, stand, lock=True)
        self.rows = {row.lead_id: row for row in found}
        self._changed_leads(new)
        self._merge()
        self._happened()
        touched = self._touched_rows(named)
        objecting = tuple(row.lead_id for row in touched if row.do_not_score)
        name = {row.lead: row.lead_id for row in touched}
        places = range(len(self.events))
        return Accepted(
            tuple(self.outcomes[place] for place in places),
            tuple(row.lead_id for row in touched),
            objecting,
            tuple({name[lead] for lead in self.touched.get(place, ()) if lead in name} for place in places),
        )

    def _of(self, *kinds: type[Any]) -> list[tuple[int, Any]]:
        return [(place, each) for place, each in enumerate(self.events) if isinstance(each, kinds)]

    def _retract(self) -> None:
        """Take events back."""
        keys = {place: keys_of_id(each.event_id) for place, each in self._of(Retraction)}
        if not keys:
            return
        rows = [{"event_key": key, "at": self.at} for key in sorted({key for three in keys.values() for key in three})]
        new = new_of(self.connection, retracted.c.event_key, rows)
        gone: dict[bytes, int] = {}
        for statement in _TAKE_BACK:
            found = self.connection.execute(statement, {"keys": [row["event_key"] for row in rows]})
            gone |= {key: lead for key, lead in found}  # noqa: C416 - rows are not pairs to mypy
        for place, three in keys.items():
            self.outcomes[place] = Outcome.NEW if new & set(three) else Outcome.REPEAT
            new -= set(three)
            self.touched[place] = {gone.pop(key) for key in three if key in gone}

    def _new_leads(self) -> set[str]:
        """Leads that were not there. In order of lead_id, so that two requests do not wait for each other."""
        first: dict[str, Lead] = {}
        for place, lead in self._of(Lead):
            if lead.lead_id in self.erased:
                self.outcomes[place] = Outcome.ERASED
            elif lead.lead_id not in self.into:
                first.setdefault(lead.lead_id, lead)
        rows = [
            {
                "lead_id": lead.lead_id,
                "created_at": lead.created_at,
                "recorded_at": self.at,
                "attributes": written(lead.attributes),
                "do_not_score": lead.do_not_score,
            }
            for _, lead in sorted(first.items())
        ]
        return new_of(self.connection, leads.c.lead_id, rows)

    def _changed_leads(self, new: set[str]) -> None:
        state = {name: (json.loads(row.attributes), row.do_not_score) for name, row in self.rows.items()}
        before = dict(state)
        unsaid = set(new)
        for place, lead in self._of(Lead):
            if place in self.outcomes:
                continue
            name = self.into.get(lead.lead_id, lead.lead_id)
            attributes, objects = state[name]
            # The id that went speaks for attributes that the one that stayed has already.
            said = lead.attributes if name == lead.lead_id else {}
            state[name] = (attributes | said, objects or lead.do_not_score)
            same = state[name] == (attributes, objects)
            self.outcomes[place] = Outcome.NEW if name in unsaid else Outcome.REPEAT if same else Outcome.CHANGED
            unsaid.discard(name)
            if self.outcomes[place] is not Outcome.REPEAT:
                self.touched[place] = {self.rows[name].lead}
        changed = [name for name in state if state[name] != before[name]]
        rows = [
            {"row": self.rows[name].lead, "said": written(state[name][0]), "objects": state[name][1]}
            for name in sorted(changed)
        ]
        if rows:
            self.connection.execute(_CHANGE_LEAD, rows)

    def _merge(self) -> None:
        for place, said in self._of(Merge):
            if self.erased & {said.lead_id, said.into_lead_id}:
                self.outcomes[place] = Outcome.ERASED
                continue
            self.outcomes[place] = merge(self.connection, said, self.into, at=self.at)
            if self.outcomes[place] is Outcome.NEW:
                self.touched[place] = {self.rows[self.into[said.lead_id]].lead}

    def _happened(self) -> None:
        rows: dict[str, dict[bytes, dict[str, Any]]] = {table: {} for table in EVENTS}
        at_key: dict[bytes, list[int]] = {}
        for place, event, key in self._keyed():
            row = self.rows.get(self.into.get(event.lead_id, event.lead_id))
            if event.lead_id in self.erased:
                self.outcomes[place] = Outcome.ERASED
            elif row is None:
                self.outcomes[place] = Outcome.UNKNOWN
            else:
                at_key.setdefault(key, []).append(place)
                own = {"lead": row.lead, "event_key": key, "recorded_at": self.at}
                rows[_TABLES[type(event)]].setdefault(key, own | _values(event))
        gone = {row.event_key for row in rows_among(self.connection, retracted.c.event_key, list(at_key))}
        for table, keyed in rows.items():
            # In order of the key, so that two requests with the same events do not wait for each other.
            kept = [keyed[key] for key in sorted(keyed.keys() - gone)]
            new = new_of(self.connection, EVENTS[table].c.event_key, kept)
            self.touched |= {at_key[key][0]: {keyed[key]["lead"]} for key in new}
            for key in keyed:
                first = Outcome.NEW if key in new else Outcome.RETRACTED if key in gone else Outcome.REPEAT
                again = Outcome.REPEAT if first is Outcome.NEW else first
                self.outcomes |= dict.fromkeys(at_key[key], again) | {at_key[key][0]: first}

    def _keyed(self) -> Iterable[tuple[int, Happened, bytes]]:
        before: Counter[tuple[Any, ...]] = Counter()
        for place, event in self._of(*_TABLES):
            table = _TABLES[type(event)]
            if event.event_id is not None:
                yield place, event, key_of_id(table, event.event_id)
                continue
            row = (event.lead_id, *_values(event).values())
            nth = self.requests[place], table, row
            yield place, event, key_of_row(table, row, before[nth])
            before[nth] += 1

    def _touched_rows(self, named: Sequence[str]) -> list[sa.Row[Any]]:
        """The leads whose history is another now, in the order first named."""
        numbers = sorted({lead for touched in self.touched.values() for lead in touched})
        rows = {row.lead_id: row for row in rows_among(self.connection, leads.c.lead, numbers)}
        order = dict.fromkeys([*(self.into.get(name, name) for name in named), *rows])
        return [rows[name] for name in order if name in rows]


def _names(event: Event) -> tuple[str, ...]:
    if isinstance(event, Retraction):
        return ()
    return (event.lead_id, event.into_lead_id) if isinstance(event, Merge) else (event.lead_id,)


def _values(event: Happened) -> dict[str, Any]:
    """The columns of an event, as they are stored; `leadscore.store.rows` has the same ones in the same order."""
    match event:
        case Transition():
            return {"occurred_at": event.occurred_at, "stage": event.stage, "reason": event.reason}
        case Touch():
            value = None if event.value is None else float(event.value)
            own = {"kind": event.kind, "direction": event.direction, "by": event.by, "value": value}
            return {"occurred_at": event.occurred_at, **own}
        case Change():
            said = event.value if isinstance(event.value, str | None) else repr(float(event.value))
            return {"occurred_at": event.occurred_at, "attribute": event.attribute, "value": said}
