"""What becomes of events that are sent, given what is stored: decided here, written by `leadscore.store.accepting`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from leadscore.store.events import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

# Contents that no feature is made of: an edit of these does not change when the event became known.
_NOT_SCORED = frozenset({"reason"})
# Follows from how the time was written: rows stored before it was noted are the same events.
_DERIVED = frozenset({"whole_day"})


@dataclass(frozen=True, slots=True)
class SentEvent:
    """A transition, touch or change of a lead that is in the store.

    Attributes
    ----------
    index : int
        Position among the events that came in together.
    key : bytes
        Of `leadscore.store.event_keys`.
    other_keys : tuple of bytes
        Keys that its ``event_id`` has in the other tables; empty where it has none.
    lead : int
        Number of the lead in the store.
    received_at : int
        When the request came, in microseconds since 1970 UTC.
    recorded_at : int, optional
        When it became known, where the caller stated it.
    contents : dict
        Its own columns, normalised.
    """

    index: int
    table: str
    key: bytes
    other_keys: tuple[bytes, ...]
    lead: int
    received_at: int
    recorded_at: int | None
    version: int | None
    contents: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A row of a table of events, without its key."""

    table: str
    lead: int
    recorded_at: int
    contents: dict[str, Any]
    version: int | None = None
    corrected_at: int | None = None
    backfilled: bool = False


@dataclass(frozen=True, slots=True)
class EventPlan:
    """What is to be written, and what each event is answered.

    Attributes
    ----------
    outcomes : dict of int to Outcome
        By the index of the event.
    conflicts : dict of int to str
        The field that contradicts what is stored, ``lead_id`` or ``type``, of each event that is in conflict.
    new, replaced : dict of bytes to StoredEvent
        Rows to insert and to update, by key.
    """

    outcomes: dict[int, Outcome]
    conflicts: dict[int, str]
    new: dict[bytes, StoredEvent]
    replaced: dict[bytes, StoredEvent]


def plan_events(sent: Sequence[SentEvent], stored: Mapping[bytes, StoredEvent], gone: Set[bytes]) -> EventPlan:
    """Decide on events one after the other, so that events sent together fare as if sent in turn.

    Parameters
    ----------
    stored : mapping
        The rows of the keys of the events, and of their other keys, as far as there are any.
    gone : set of bytes
        Keys of events that were taken back.
    """
    rows = dict(stored)
    plan = EventPlan({}, {}, {}, {})
    for event in sent:
        before = rows.get(event.key)
        if event.key in gone:
            plan.outcomes[event.index] = Outcome.RETRACTED
        elif (field := _conflict(event, before, rows)) is not None:
            plan.outcomes[event.index], plan.conflicts[event.index] = Outcome.CONFLICT, field
        elif before is None:
            plan.outcomes[event.index], rows[event.key] = Outcome.NEW, _first(event)
        else:
            plan.outcomes[event.index], rows[event.key] = _again(event, before)
    plan.new.update({key: row for key, row in rows.items() if key not in stored})
    plan.replaced.update({key: rows[key] for key, row in stored.items() if rows[key] is not row})
    return plan


def _conflict(event: SentEvent, before: StoredEvent | None, rows: Mapping[bytes, StoredEvent]) -> str | None:
    if before is not None:
        return None if before.lead == event.lead else "lead_id"
    return "type" if any(key in rows for key in event.other_keys) else None


def _first(event: SentEvent) -> StoredEvent:
    stated = event.recorded_at is not None
    recorded_at = event.received_at if event.recorded_at is None else event.recorded_at
    return StoredEvent(event.table, event.lead, recorded_at, event.contents, event.version, backfilled=stated)


def _again(event: SentEvent, before: StoredEvent) -> tuple[Outcome, StoredEvent]:
    """The outcome of an event that is known, and its row."""
    if event.version is not None and before.version is not None and event.version < before.version:
        return Outcome.REPEAT, before
    changed = _differ(event, before, _DERIVED)
    recorded_at, backfilled = _known_since(event, before)
    after = replace(
        before,
        recorded_at=recorded_at,
        contents=event.contents,
        version=before.version if event.version is None else event.version,
        corrected_at=event.received_at if changed else before.corrected_at,
        backfilled=backfilled,
    )
    if after == before:
        return Outcome.REPEAT, before
    return Outcome.CHANGED if changed or recorded_at != before.recorded_at else Outcome.REPEAT, after


def _known_since(event: SentEvent, before: StoredEvent) -> tuple[int, bool]:
    """``recorded_at`` and ``backfilled`` of an event that is sent again.

    A touch that is corrected did take place when it became known; a new stage or value was not known before.
    """
    if event.recorded_at is not None:
        return event.recorded_at, before.backfilled or event.recorded_at != before.recorded_at
    if not _differ(event, before, _DERIVED | _NOT_SCORED):
        return before.recorded_at, before.backfilled
    if event.table == "touches":
        # An import notes the later of both times: a touch typed for next year would stay unknown until then.
        return min(before.recorded_at, event.received_at), before.backfilled
    return event.received_at, False


def _differ(event: SentEvent, before: StoredEvent, ignored: Set[str]) -> bool:
    return any(value != before.contents[name] for name, value in event.contents.items() if name not in ignored)
