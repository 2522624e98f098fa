"""What is to be known of single events that were stored, or were not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leadscore.store import Lead, Merge, Outcome, Retraction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from leadscore.store import Event

    Detail = dict[str, Any]

DATED_LATE, BACKFILLED = "dated late", "backfilled"
STORED = frozenset({Outcome.NEW, Outcome.CHANGED})
OTHER = {"lead_id": "another lead", "type": "another type"}


def event_details(
    events: Sequence[Event], outcomes: Sequence[Outcome], conflicts: Mapping[int, str], late_before: int
) -> list[Detail]:
    """Details as `leadscore.api.answers.EventDetail` says, of those events that have any, in their order.

    Parameters
    ----------
    conflicts : mapping of int to str
        The field that contradicts what is stored, by the position of the event.
    late_before : int
        An event that took place earlier is dated late, in microseconds since 1970 UTC.
    """
    found = []
    for index, (event, outcome) in enumerate(zip(events, outcomes, strict=True)):
        if index in conflicts:
            found.append(_conflict(index, event, conflicts[index]))
        elif outcome in STORED and (detail := _flagged(index, event, outcome, late_before)) is not None:
            found.append(detail)
    return found


def _conflict(index: int, event: Any, field: str) -> Detail:
    message = f"event_id {event.event_id} is that of an event of {OTHER[field]}; not stored"
    return {"event": index, "flags": [], "field": field, "message": message}


def _flagged(index: int, event: Event, outcome: Outcome, late_before: int) -> Detail | None:
    if isinstance(event, Retraction | Merge):
        return None
    if event.recorded_at is not None:
        message = "stored with the recorded_at that was sent"
        return {"event": index, "flags": [BACKFILLED], "field": "recorded_at", "message": message}
    name = "created_at" if isinstance(event, Lead) else "occurred_at"
    # What is corrected keeps its place in time, or was not known before.
    if outcome is not Outcome.NEW or getattr(event, name) >= late_before:
        return None
    message = (
        "counts from now on: load the past with make ingest, or send its recorded_at with a key of the scope backfill"
    )
    return {"event": index, "flags": [DATED_LATE], "field": name, "message": message}
