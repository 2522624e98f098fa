"""What callers ask and send. The rules of the data are those of a data set folder; `leadscore.history` checks them.

The parts of a body are typed dictionaries: what was sent goes on to be checked as it is, and never through objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NotRequired

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, with_config
from typing_extensions import TypedDict

MOST_LEADS, MOST_EVENTS, MOST_ROWS = 1_000, 10_000, 1_000
# A NUL is no text to PostgreSQL.
NO_NUL = r"^[^\x00]*$"
WRITTEN = "ISO 8601 with a time zone, such as 2025-03-04T09:00:00Z"

if TYPE_CHECKING:
    from pydantic.config import JsonDict

# Fields that are not known here are refused, not ignored; true is no number, and a number no text.
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Text = Annotated[str, Field(max_length=500, pattern=NO_NUL)]
Name = Annotated[str, Field(min_length=1, max_length=500, pattern=NO_NUL)]
LeadId = Annotated[Name, Field(description="Name of the lead in the CRM.")]
Time = Annotated[str, Field(min_length=1, max_length=64, pattern=NO_NUL, description=f"{WRITTEN}.")]
EventId = Annotated[
    Name,
    Field(
        description="Name of the event in the CRM, of no other event of any type: with it a repeat is harmless, and "
        "other contents replace what is stored."
    ),
]


def _whole(number: object) -> object:
    """A whole number as an integer: in JSON, 2.0 is one."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


Version = Annotated[
    int,
    Field(
        ge=0,
        le=2**53 - 1,  # the largest that every JSON parser keeps
        description="Number of these contents of the `event_id`: contents of a lower one than that stored replace "
        "nothing.",
    ),
    BeforeValidator(_whole),
]
RecordedAt = Annotated[
    Time | None,
    Field(
        description="When the CRM knew of it, for events of the past that were not sent then; by default now. Neither "
        "after now nor before it took place. The key needs the scope `backfill`."
    ),
]
Number = int | float
# Of a category true is the text "true"; of a number it is refused where it is read.
Value = bool | Number | Text | None
Attributes = Annotated[
    dict[Name, Value], Field(max_length=500, description="Those that `funnel.toml` declares fixed at creation.")
]
Direction = Annotated[Text | None, Field(description="inbound or outbound")]
By = Annotated[Text | None, Field(description="Who on our side.")]


@with_config(STRICT)
class TransitionSent(TypedDict):
    """A lead entering a stage."""

    stage: Name
    occurred_at: Time
    recorded_at: NotRequired[Time | None]
    reason: NotRequired[Text | None]
    event_id: NotRequired[EventId | None]


@with_config(STRICT)
class TouchSent(TypedDict):
    """One interaction."""

    kind: Name
    occurred_at: Time
    recorded_at: NotRequired[Time | None]
    direction: NotRequired[Direction]
    by: NotRequired[By]
    value: NotRequired[Number | None]
    event_id: NotRequired[EventId | None]


@with_config(STRICT)
class ChangeSent(TypedDict):
    """An attribute taking a value."""

    attribute: Name
    value: NotRequired[Value]
    occurred_at: Time
    recorded_at: NotRequired[Time | None]
    event_id: NotRequired[EventId | None]


@with_config(STRICT)
class LeadSent(TypedDict):
    """A lead with its whole history."""

    lead_id: LeadId
    created_at: Time
    recorded_at: NotRequired[Time | None]
    attributes: NotRequired[Attributes]
    do_not_score: NotRequired[bool]
    transitions: NotRequired[list[TransitionSent]]
    touches: NotRequired[list[TouchSent]]
    changes: NotRequired[list[ChangeSent]]


SCORES_EXAMPLE: JsonDict = {
    "as_of": "2025-03-04T09:00:00Z",
    "leads": [
        {
            "lead_id": "L1000003",
            "created_at": "2025-01-10T09:00:00Z",
            "attributes": {"source": "webinar", "industry": "software", "country": "DE", "employees": 120},
            "transitions": [{"stage": "mql", "occurred_at": "2025-01-20T10:00:00Z"}],
            "touches": [
                {"kind": "email_open", "occurred_at": "2025-02-27T08:12:00Z", "direction": "inbound"},
                {"kind": "call", "occurred_at": "2025-03-03T14:30:00Z", "direction": "outbound", "value": 12},
            ],
            "changes": [{"attribute": "owner", "value": "ann", "occurred_at": "2025-01-10T09:00:00Z"}],
        }
    ],
}


class ScoresAsked(BaseModel):
    """Leads to be scored; nothing of them is stored."""

    model_config = ConfigDict(**STRICT, json_schema_extra={"examples": [SCORES_EXAMPLE]})

    leads: Annotated[list[LeadSent], Field(min_length=1, max_length=MOST_LEADS)]
    as_of: Time | None = Field(default=None, description=f"{WRITTEN}; by default the time of the request.")
    reasons: bool = Field(default=False, description="Whether to say why.")


@with_config(STRICT)
class LeadEvent(TypedDict):
    """A lead that is new or has changed; of a known one the attributes named are changed, the others stay."""

    type: Literal["lead"]
    lead_id: LeadId
    created_at: Time
    recorded_at: NotRequired[RecordedAt]
    attributes: NotRequired[Attributes]
    do_not_score: NotRequired[bool]


@with_config(STRICT)
class TransitionEvent(TypedDict):
    """A lead entered a stage."""

    type: Literal["transition"]
    lead_id: LeadId
    stage: Name
    occurred_at: Time
    recorded_at: NotRequired[RecordedAt]
    reason: NotRequired[Text | None]
    event_id: NotRequired[EventId | None]
    version: NotRequired[Version | None]


@with_config(STRICT)
class TouchEvent(TypedDict):
    """One interaction took place."""

    type: Literal["touch"]
    lead_id: LeadId
    kind: Name
    occurred_at: Time
    recorded_at: NotRequired[RecordedAt]
    direction: NotRequired[Direction]
    by: NotRequired[By]
    value: NotRequired[Number | None]
    event_id: NotRequired[EventId | None]
    version: NotRequired[Version | None]


@with_config(STRICT)
class ChangeEvent(TypedDict):
    """An attribute that `funnel.toml` declares to change took a value."""

    type: Literal["change"]
    lead_id: LeadId
    attribute: Name
    value: NotRequired[Value]
    occurred_at: Time
    recorded_at: NotRequired[RecordedAt]
    event_id: NotRequired[EventId | None]
    version: NotRequired[Version | None]


@with_config(STRICT)
class RetractionEvent(TypedDict):
    """An event that was sent with an `event_id` did not take place."""

    type: Literal["retraction"]
    event_id: EventId


@with_config(STRICT)
class MergeEvent(TypedDict):
    """Two leads are one: `lead_id` goes, `into_lead_id` stays."""

    type: Literal["merge"]
    lead_id: LeadId
    into_lead_id: LeadId


EventSent = Annotated[
    LeadEvent | TransitionEvent | TouchEvent | ChangeEvent | RetractionEvent | MergeEvent, Discriminator("type")
]

EVENTS_EXAMPLE: JsonDict = {
    "events": [
        {
            "type": "lead",
            "lead_id": "L1000003",
            "created_at": "2025-01-10T09:00:00Z",
            "attributes": {"source": "webinar", "industry": "software", "country": "DE", "employees": 120},
        },
        {"type": "transition", "lead_id": "L1000003", "stage": "mql", "occurred_at": "2025-01-20T10:00:00Z"},
        {
            "type": "touch",
            "event_id": "crm-4711",
            "lead_id": "L1000003",
            "kind": "call",
            "occurred_at": "2025-03-03T14:30:00Z",
            "direction": "outbound",
            "value": 12,
        },
    ]
}


class EventsSent(BaseModel):
    """What happened: it is stored, and the leads that it is about are scored again."""

    model_config = ConfigDict(**STRICT, json_schema_extra={"examples": [EVENTS_EXAMPLE]})

    events: Annotated[list[EventSent], Field(min_length=1, max_length=MOST_EVENTS)]


class Objection(BaseModel):
    """Whether a lead objects to being profiled."""

    model_config = STRICT

    do_not_score: bool = Field(default=True, description="false takes the objection back.")


Filter = Annotated[str | None, Field(max_length=500, pattern=NO_NUL)]


class ListAsked(BaseModel):
    """Which page of the list."""

    model_config = ConfigDict(extra="forbid")

    list: Literal["handoff", "win"] | None = Field(
        default=None, description="Leads before the handoff, or those past it; by default both."
    )
    stage: Filter = None
    owner: Filter = None
    source: Filter = None
    minimum: float = Field(default=0.0, ge=0, le=1, description="The least probability that its list is in order of.")
    limit: int = Field(default=50, ge=1, le=MOST_ROWS)
    cursor: str | None = Field(default=None, max_length=500, description="`next` of the page before.")
