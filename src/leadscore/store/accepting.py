"""Events that come in by the API: stored durably, each once, whatever is sent again."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadscore.store.dialect import lock_corrections, new_of, rows_among
from leadscore.store.erasure import erased_of
from leadscore.store.event_keys import key_of_id, key_of_row, keys_of_id
from leadscore.store.event_plan import SentEvent, plan_events
from leadscore.store.event_rows import insert_events, known_events, update_events
from leadscore.store.events import Change, Lead, Merge, Outcome, Retraction, Touch, Transition
from leadscore.store.merging import merge, written
from leadscore.store.schema import EVENTS, leads, merged, retracted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from leadscore.store.events import Event, Happened

_TABLES: dict[type[Happened], str] = {Transition: "transitions", Touch: "touches", Change: "changes"}
_TAKE_BACK = tuple(
    sa.delete(table)
    .where(table.c.event_key.in_(sa.bindparam("keys", expanding=True)))
    .returning(table.c.event_key, table.c.lead)
    for table in EVENTS.values()
)
_UPDATE_LEAD = sa.update(leads).where(leads.c.lead == sa.bindparam("of_lead"))


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
    conflicts : dict of int to str
        By the position of each event in conflict, the field that contradicts what is stored: ``lead_id`` or ``type``.
    """

    outcomes: tuple[Outcome, ...]
    touched: tuple[str, ...]
    objecting: tuple[str, ...]
    by_event: tuple[set[str], ...]
    conflicts: dict[int, str]


@dataclass(frozen=True, slots=True)
class _Sent:
    """An event, its position, the request that it came with, and when that came."""

    index: int
    event: Any
    request: int
    at: int


@dataclass(frozen=True, slots=True)
class _Leads:
    """The leads that events name.

    Attributes
    ----------
    into : dict of str to str
        Which lead an id that was merged away stands for.
    erased : set of str
        Ids that must not come back.
    rows : dict of str to Row
        The leads that are there, by the id that stands for them; locked.
    new : set of str
        Those that were inserted just now.
    """

    into: dict[str, str]
    erased: set[str]
    rows: dict[str, sa.Row[Any]]
    new: set[str]

    def row(self, lead_id: str) -> sa.Row[Any] | None:
        """The lead that an id stands for; None where there is none."""
        return self.rows.get(self.into.get(lead_id, lead_id))


@dataclass(frozen=True, slots=True)
class _Results:
    """Outcomes, and the numbers of the leads that were touched, by the index of the event."""

    outcomes: dict[int, Outcome]
    touched: dict[int, set[int]]

    def add(self, other: _Results) -> None:
        self.outcomes.update(other.outcomes)
        self.touched.update(other.touched)


def accept(
    connection: sa.Connection,
    events: Sequence[Event],
    *,
    received_at: int | Sequence[int],
    requests: Sequence[int] | None = None,
) -> Accepted:
    """Store events; what is of an unknown or erased lead, or contradicts what is stored, is not stored.

    They are taken in an order of their own, whatever order they came in: retractions, leads, merges, then the rest.
    An event that names a lead which was merged is one of the lead that stayed. One whose ``event_id`` is known
    replaces the contents of that event, where it is of the same lead and type. On PostgreSQL the leads stay locked
    until the end of the transaction.

    Parameters
    ----------
    connection : Connection
        Of `leadscore.store.transaction`; nothing is stored unless that ends well.
    events : sequence of Event
        Checked by the rules of the funnel.
    received_at : int or sequence of int
        When each request came, in microseconds since 1970 UTC; one where it is one request. Nothing of its events was
        known before, unless they state it.
    requests : sequence of int, optional
        The request that each event came with, where several are stored together; by default it is one. The n-th
        identical row of one request is the n-th touch, of another it is a repeat.
    """
    times = [received_at] if isinstance(received_at, int) else received_at
    numbers = requests or [0] * len(events)
    sent = [
        _Sent(index, event, number, times[number])
        for index, (event, number) in enumerate(zip(events, numbers, strict=True))
    ]
    lock_corrections(connection, alone=bool(_of(sent, Retraction, Merge)))
    results = _retract(connection, _of(sent, Retraction))
    known = _resolve(connection, sent)
    results.add(_update_leads(connection, _of(sent, Lead), known))
    results.add(_merge(connection, _of(sent, Merge), known))
    happened, conflicts = _store_events(connection, _of(sent, *_TABLES), known)
    results.add(happened)
    return _accepted(connection, sent, known, results, conflicts)


def _of(sent: Sequence[_Sent], *kinds: type[Any]) -> list[_Sent]:
    return [each for each in sent if isinstance(each.event, kinds)]


def _retract(connection: sa.Connection, sent: Sequence[_Sent]) -> _Results:
    """Take events back, and keep them away."""
    results = _Results({}, {})
    keys = {each.index: keys_of_id(each.event.event_id) for each in sent}
    at = {key: each.at for each in reversed(sent) for key in keys[each.index]}
    rows = [{"event_key": key, "at": at[key]} for key in sorted(at)]
    new = new_of(connection, retracted.c.event_key, rows)
    gone: dict[bytes, int] = {}
    for statement in _TAKE_BACK if rows else ():
        found = connection.execute(statement, {"keys": [row["event_key"] for row in rows]})
        gone |= {key: lead for key, lead in found}  # noqa: C416 - rows are not pairs to mypy
    for index, three in keys.items():
        results.outcomes[index] = Outcome.NEW if new & set(three) else Outcome.REPEAT
        new -= set(three)
        results.touched[index] = {gone.pop(key) for key in three if key in gone}
    return results


def _resolve(connection: sa.Connection, sent: Sequence[_Sent]) -> _Leads:
    """Which lead each id stands for; new ones are inserted, and all of them locked."""
    named = list(dict.fromkeys(name for each in sent for name in _names(each.event)))
    into = {row.lead_id: row.into_lead_id for row in rows_among(connection, merged.c.lead_id, named)}
    erased = erased_of(connection, [*named, *into.values()])
    first: dict[str, _Sent] = {}
    for each in _of(sent, Lead):
        if each.event.lead_id not in erased and each.event.lead_id not in into:
            first.setdefault(each.event.lead_id, each)
    # In order of lead_id, so that two requests do not wait for each other.
    new = new_of(connection, leads.c.lead_id, [_new_lead(each) for _, each in sorted(first.items())])
    stand = [into.get(name, name) for name in named]
    found = rows_among(connection, leads.c.lead_id, stand, lock=True)
    return _Leads(into, erased, {row.lead_id: row for row in found}, new)


def _names(event: Event) -> tuple[str, ...]:
    if isinstance(event, Retraction):
        return ()
    return (event.lead_id, event.into_lead_id) if isinstance(event, Merge) else (event.lead_id,)


def _new_lead(sent: _Sent) -> dict[str, Any]:
    lead: Lead = sent.event
    return {
        "lead_id": lead.lead_id,
        "created_at": lead.created_at,
        "recorded_at": sent.at if lead.recorded_at is None else lead.recorded_at,
        "attributes": written(lead.attributes),
        "do_not_score": lead.do_not_score,
        "backfilled": lead.recorded_at is not None,
    }


@dataclass(frozen=True, slots=True)
class _LeadState:
    """What events may change of a lead."""

    attributes: dict[str, Any]
    do_not_score: bool
    recorded_at: int
    backfilled: bool

    @classmethod
    def from_row(cls, row: sa.Row[Any]) -> _LeadState:
        return cls(json.loads(row.attributes), row.do_not_score, row.recorded_at, row.backfilled)

    def after(self, lead: Lead, *, merged_away: bool) -> _LeadState:
        """The state after an event; an id that went speaks only for attributes that the one that stayed has."""
        objects = self.do_not_score or lead.do_not_score
        if merged_away:
            return replace(self, do_not_score=objects)
        after = replace(self, attributes=self.attributes | lead.attributes, do_not_score=objects)
        if lead.recorded_at in {None, self.recorded_at}:
            return after
        return replace(after, recorded_at=lead.recorded_at, backfilled=True)


def _update_leads(connection: sa.Connection, sent: Sequence[_Sent], known: _Leads) -> _Results:
    """Change leads by what events say of them."""
    results, unnamed = _Results({}, {}), set(known.new)
    if not sent:
        return results
    before = {name: _LeadState.from_row(row) for name, row in known.rows.items()}
    state = dict(before)
    for each in sent:
        lead: Lead = each.event
        if lead.lead_id in known.erased:
            results.outcomes[each.index] = Outcome.ERASED
            continue
        name = known.into.get(lead.lead_id, lead.lead_id)
        after = state[name].after(lead, merged_away=name != lead.lead_id)
        outcome = Outcome.NEW if name in unnamed else Outcome.REPEAT if after == state[name] else Outcome.CHANGED
        unnamed.discard(name)
        state[name], results.outcomes[each.index] = after, outcome
        if outcome is not Outcome.REPEAT:
            results.touched[each.index] = {known.rows[name].lead}
    changed = {known.rows[name].lead: state[name] for name in sorted(state) if state[name] != before[name]}
    if changed:
        connection.execute(_UPDATE_LEAD, [_lead_columns(lead, each) for lead, each in changed.items()])
    return results


def _lead_columns(lead: int, state: _LeadState) -> dict[str, Any]:
    return {
        "of_lead": lead,
        "attributes": written(state.attributes),
        "do_not_score": state.do_not_score,
        "recorded_at": state.recorded_at,
        "backfilled": state.backfilled,
    }


def _merge(connection: sa.Connection, sent: Sequence[_Sent], known: _Leads) -> _Results:
    """Make one lead of two; from now on ids in ``known`` stand for the lead that stays."""
    results = _Results({}, {})
    for each in sent:
        two: Merge = each.event
        if known.erased & {two.lead_id, two.into_lead_id}:
            results.outcomes[each.index] = Outcome.ERASED
            continue
        results.outcomes[each.index] = merge(connection, two, known.into, at=each.at)
        if results.outcomes[each.index] is Outcome.NEW:
            results.touched[each.index] = {known.rows[known.into[two.lead_id]].lead}
    return results


def _store_events(connection: sa.Connection, sent: Sequence[_Sent], known: _Leads) -> tuple[_Results, dict[int, str]]:
    """Store transitions, touches and changes: resolve their leads, plan what to write, write it."""
    results, conflicts = _Results({}, {}), dict[int, str]()
    pending = []
    for each, key, other_keys in _keyed(sent):
        row = known.row(each.event.lead_id)
        if each.event.lead_id in known.erased:
            results.outcomes[each.index] = Outcome.ERASED
        elif row is None:
            results.outcomes[each.index] = Outcome.UNKNOWN
        else:
            pending.append(_as_sent(each, key, other_keys, row.lead))
    while pending:
        stored, gone = known_events(connection, pending)
        plan = plan_events(pending, stored, gone)
        lost = plan.new.keys() - insert_events(connection, plan.new)
        update_events(connection, plan.replaced)
        # Another request has stored these a moment ago, of another lead: what it has stored can be read now.
        done = [event for event in pending if event.key not in lost]
        results.outcomes.update({event.index: plan.outcomes[event.index] for event in done})
        conflicts |= {event.index: plan.conflicts[event.index] for event in done if event.index in plan.conflicts}
        pending = [event for event in pending if event.key in lost]
        results.touched.update(
            {
                event.index: {event.lead}
                for event in done
                if plan.outcomes[event.index] in {Outcome.NEW, Outcome.CHANGED}
            }
        )
    return results, conflicts


def _keyed(sent: Sequence[_Sent]) -> Iterator[tuple[_Sent, bytes, tuple[bytes, ...]]]:
    """Each event with its key, and the keys that its ``event_id`` has in the other tables."""
    before: Counter[tuple[Any, ...]] = Counter()
    for each in sent:
        event: Happened = each.event
        table = _TABLES[type(event)]
        if event.event_id is not None:
            others = (key_of_id(other, event.event_id) for other in EVENTS if other != table)
            yield each, key_of_id(table, event.event_id), tuple(others)
            continue
        row = (event.lead_id, *_values(event).values())
        nth = each.request, table, row
        yield each, key_of_row(table, row, before[nth]), ()
        before[nth] += 1


def _as_sent(sent: _Sent, key: bytes, other_keys: tuple[bytes, ...], lead: int) -> SentEvent:
    event: Happened = sent.event
    contents = _values(event)
    if isinstance(event, Transition):
        contents["whole_day"] = event.whole_day
    return SentEvent(
        index=sent.index,
        table=_TABLES[type(event)],
        key=key,
        other_keys=other_keys,
        lead=lead,
        received_at=sent.at,
        recorded_at=event.recorded_at,
        version=event.version,
        contents=contents,
    )


def _values(event: Happened) -> dict[str, Any]:
    """What the key of an event without an id is made of; `leadscore.store.rows` has the same in the same order."""
    match event:
        case Transition():
            return {"occurred_at": event.occurred_at, "stage": event.stage, "reason": event.reason}
        case Touch():
            value = None if event.value is None else float(event.value)
            own = {"kind": event.kind, "direction": event.direction, "by": event.by, "value": value}
            return {"occurred_at": event.occurred_at, **own}
        case Change():
            value_ = event.value if isinstance(event.value, str | None) else repr(float(event.value))
            return {"occurred_at": event.occurred_at, "attribute": event.attribute, "value": value_}


def _accepted(
    connection: sa.Connection,
    sent: Sequence[_Sent],
    known: _Leads,
    results: _Results,
    conflicts: Mapping[int, str],
) -> Accepted:
    numbers = sorted({lead for touched in results.touched.values() for lead in touched})
    rows = {row.lead_id: row for row in rows_among(connection, leads.c.lead, numbers)}
    named = (name for each in sent for name in _names(each.event))
    order = [name for name in dict.fromkeys([*(known.into.get(name, name) for name in named), *rows]) if name in rows]
    lead_ids = {row.lead: row.lead_id for row in rows.values()}
    touched = (results.touched.get(each.index, ()) for each in sent)
    return Accepted(
        outcomes=tuple(results.outcomes[each.index] for each in sent),
        touched=tuple(order),
        objecting=tuple(name for name in order if rows[name].do_not_score),
        by_event=tuple({lead_ids[lead] for lead in some if lead in lead_ids} for some in touched),
        conflicts=dict(conflicts),
    )
