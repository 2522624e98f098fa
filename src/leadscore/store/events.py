"""What can be said to the store of leads and their events. Times are microseconds since 1970 UTC.

``recorded_at`` is given where a caller may state when an event became known; else that is when it was received.
``version`` is the sender's number of the contents of an event with an ``event_id``: an older one replaces nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Lead:
    """A lead that is new or has changed.

    Of a known lead the attributes named are changed, the others and its times stay. An objection to being scored
    is taken down; to take it back is up to `leadscore.store.object_to_scoring` alone.
    """

    lead_id: str
    created_at: int
    attributes: dict[str, float | str | None] = field(default_factory=dict)
    do_not_score: bool = False
    recorded_at: int | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """A lead entering a stage; ``whole_day`` where ``occurred_at`` is the end of a day of which no time is known."""

    lead_id: str
    stage: str
    occurred_at: int
    reason: str | None = None
    event_id: str | None = None
    recorded_at: int | None = None
    version: int | None = None
    whole_day: bool = False


@dataclass(frozen=True, slots=True)
class Touch:
    """One interaction; ``direction`` is inbound, outbound or None."""

    lead_id: str
    kind: str
    occurred_at: int
    direction: str | None = None
    by: str | None = None
    value: float | None = None
    event_id: str | None = None
    recorded_at: int | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A value that an attribute took."""

    lead_id: str
    attribute: str
    value: float | str | None
    occurred_at: int
    event_id: str | None = None
    recorded_at: int | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Retraction:
    """An event that is taken back, known or not."""

    event_id: str


@dataclass(frozen=True, slots=True)
class Merge:
    """Two leads that are one: ``lead_id`` goes, ``into_lead_id`` stays."""

    lead_id: str
    into_lead_id: str


Happened = Transition | Touch | Change
Event = Lead | Happened | Retraction | Merge


class Outcome(StrEnum):
    """What became of an event."""

    NEW = "new"
    CHANGED = "changed"
    REPEAT = "repeat"
    CONFLICT = "conflict"  # its event_id names an event of another lead, or of another type; not stored
    RETRACTED = "retracted"  # taken back before; it stays away
    ERASED = "erased"  # of an erased lead
    UNKNOWN = "unknown"  # of a lead that is not there
