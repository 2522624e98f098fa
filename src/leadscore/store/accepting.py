"""Events that come in by the API: stored durably, each once, whatever is sent again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadscore.store.dialect import lock_corrections, new_of, rows_among
from leadscore.store.event_keys import key_of_id, key_of_row, keys_of_id
from leadscore.store.event_plan import SentEvent, plan_events
from leadscore.store.event_rows import insert_events, known_events, update_events
from leadscore.store.events import Change, Lead, Merge, Outcome, Retraction, Touch, Transition
from leadscore.store.merging import merge
from leadscore.store.named_leads import Results, Sent, names_of, of_types, resolve_leads, update_leads
from leadscore.store.schema import EVENTS, leads, retracted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from leadscore.store.events import Event, Happened
    from leadscore.store.named_leads import NamedLeads

_TABLES: dict[type[Happened], str] = {Transition: "transitions", Touch: "touches", Change: "changes"}
_TAKE_BACK = tuple(
    sa.delete(table)
    .where(table.c.event_key.in_(sa.bindparam("keys", expanding=True)))
    .returning(table.c.event_key, table.c.lead)
    for table in EVENTS.values()
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
    conflicts : dict of int to str
        By the position of each event in conflict, the field that contradicts what is stored: ``lead_id`` or ``type``.
    """

    outcomes: tuple[Outcome, ...]
    touched: tuple[str, ...]
    objecting: tuple[str, ...]
    by_event: tuple[set[str], ...]
    conflicts: dict[int, str]


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
        Sent(index, event, number, times[number])
        for index, (event, number) in enumerate(zip(events, numbers, strict=True))
    ]
    lock_corrections(connection, alone=bool(of_types(sent, Retraction, Merge)))
    results = _retract(connection, of_types(sent, Retraction))
    known = resolve_leads(connection, sent)
    results.add(update_leads(connection, of_types(sent, Lead), known))
    results.add(_merge(connection, of_types(sent, Merge), known))
    happened, conflicts = _store_events(connection, of_types(sent, *_TABLES), known)
    results.add(happened)
    return _accepted(connection, sent, known, results, conflicts)


def _retract(connection: sa.Connection, sent: Sequence[Sent]) -> Results:
    """Take events back, and keep them away."""
    results = Results({}, {})
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


def _merge(connection: sa.Connection, sent: Sequence[Sent], known: NamedLeads) -> Results:
    """Make one lead of two; from now on ids in ``known`` stand for the lead that stays."""
    results = Results({}, {})
    for each in sent:
        two: Merge = each.event
        if known.erased & {two.lead_id, two.into_lead_id}:
            results.outcomes[each.index] = Outcome.ERASED
            continue
        results.outcomes[each.index] = merge(connection, two, known.into, at=each.at)
        if results.outcomes[each.index] is Outcome.NEW:
            results.touched[each.index] = {known.rows[known.into[two.lead_id]].lead}
    return results


def _store_events(connection: sa.Connection, sent: Sequence[Sent], known: NamedLeads) -> tuple[Results, dict[int, str]]:
    """Store transitions, touches and changes: resolve their leads, plan what to write, write it."""
    results, conflicts = Results({}, {}), dict[int, str]()
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
        for event in pending:
            if event.key in lost:
                continue
            outcome = results.outcomes[event.index] = plan.outcomes[event.index]
            if outcome in {Outcome.NEW, Outcome.CHANGED}:
                results.touched[event.index] = {event.lead}
            if event.index in plan.conflicts:
                conflicts[event.index] = plan.conflicts[event.index]
        # Another request has stored these a moment ago, of another lead: what it has stored can be read now.
        pending = [event for event in pending if event.key in lost]
    return results, conflicts


def _keyed(sent: Sequence[Sent]) -> Iterator[tuple[Sent, bytes, tuple[bytes, ...]]]:
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


def _as_sent(sent: Sent, key: bytes, other_keys: tuple[bytes, ...], lead: int) -> SentEvent:
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
    sent: Sequence[Sent],
    known: NamedLeads,
    results: Results,
    conflicts: Mapping[int, str],
) -> Accepted:
    numbers = sorted({lead for touched in results.touched.values() for lead in touched})
    rows = {row.lead_id: row for row in rows_among(connection, leads.c.lead, numbers)}
    named = (name for each in sent for name in names_of(each.event))
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
