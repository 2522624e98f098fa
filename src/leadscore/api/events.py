"""What happened to leads: stored durably, and the leads that it is about scored again, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from leadscore.api.answers import EventsAnswer
from leadscore.api.bodies import EventsSent  # noqa: TC001 - FastAPI reads it
from leadscore.api.callers import lacks, may, needs
from leadscore.api.documents import REFUSED
from leadscore.api.event_details import event_details
from leadscore.api.json import JSON
from leadscore.api.metrics import EVENTS, FLAGGED, LEADS
from leadscore.api.parse_events import parse_events
from leadscore.api.posted import Posted
from leadscore.api.service import service_of
from leadscore.api.telling import every_score, score_told, without_score
from leadscore.api.times import HOUR, written
from leadscore.errors import StoreError
from leadscore.publishing import rescore
from leadscore.store import accept, listed_rows, transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from leadscore.registry import Served
    from leadscore.store import Event, Outcome, Store

    Told = dict[str, Any]

router = APIRouter(route_class=Posted)
# Requests with more events are stored alone, so that few wait for them.
EVENTS_TOGETHER = 100
# The scope of keys that may state when an event became known.
BACKFILL = "backfill"


@dataclass(frozen=True, slots=True)
class Arrived:
    """The events of one request."""

    events: Sequence[Event]
    now: int
    served: Served


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of them, and the scores of the leads that they have touched.

    Attributes
    ----------
    conflicts : dict of int to str
        By the position of each event in conflict, the field that contradicts what is stored.
    warnings : tuple of str
        What is known against the model of the scores.
    """

    outcomes: Sequence[Outcome]
    conflicts: dict[int, str]
    scores: list[Told]
    warnings: tuple[str, ...]


@router.post("/v1/events", openapi_extra=needs("write"), response_model=EventsAnswer, responses=REFUSED)
async def send_events(sent: EventsSent, request: Request) -> JSON:
    """Store what happened to leads, and answer with their new scores.

    All of it is stored, or, where one event breaks a rule, nothing. It is known from the time of this request on,
    unless it states `recorded_at`.
    """
    service = service_of(request)
    served, now = service.served(), service.now()
    if not may(request, BACKFILL) and any(each.get("recorded_at") is not None for each in sent.events):
        raise lacks(BACKFILL, "recorded_at")
    if len(sent.events) > EVENTS_TOGETHER:
        events = await run_in_threadpool(parse_events, sent.events, served.rules, now)
        (stored,) = await run_in_threadpool(_stored, service.store, [Arrived(events, now, served)])
    else:
        events = parse_events(sent.events, served.rules, now)
        stored = await service.storing.ask(Arrived(events, now, served))
    for outcome in stored.outcomes:
        EVENTS.labels(str(outcome)).inc()
    LEADS.labels("/v1/events").inc(len(stored.scores))
    details = event_details(events, stored.outcomes, stored.conflicts, now - int(service.settings.late_hours * HOUR))
    for detail in details:
        for flag in detail["flags"]:
            FLAGGED.labels(flag).inc()
    outcomes = [str(each) for each in stored.outcomes]
    return JSON(
        {
            "received_at": written(now),
            "outcomes": outcomes,
            "details": details,
            "scores": stored.scores,
            "warnings": stored.warnings,
        }
    )


def store_together(store: Store, arrived: Sequence[Arrived]) -> Sequence[Stored | Exception]:
    """Store the events of some requests in one transaction, and score the leads that they have touched once.

    Raises
    ------
    StoreError
        The database cannot be reached; nothing is stored.
    """
    try:
        return _stored(store, arrived)
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - whose fault it was shows when each is alone
        return [error] if len(arrived) == 1 else [store_together(store, [each])[0] for each in arrived]


def _stored(store: Store, arrived: Sequence[Arrived]) -> list[Stored]:
    events = [event for each in arrived for event in each.events]
    requests = [number for number, each in enumerate(arrived) for _ in each.events]
    latest = arrived[-1]
    times = [each.now for each in arrived]
    with transaction(store) as connection:
        accepted = accept(connection, events, received_at=times, requests=requests)
        scores = _rescored(connection, latest.served, accepted.touched, max(times))
    found, begin = [], 0
    for each in arrived:
        end = begin + len(each.events)
        touched = dict.fromkeys(name for names in accepted.by_event[begin:end] for name in sorted(names))
        conflicts = {index - begin: field for index, field in accepted.conflicts.items() if begin <= index < end}
        told = [scores[name] for name in touched if name in scores]
        found.append(Stored(accepted.outcomes[begin:end], conflicts, told, latest.served.model.doubts_))
        begin = end
    return found


def _rescored(connection: sa.Connection, served: Served, lead_ids: tuple[str, ...], now: int) -> dict[str, Told]:
    version = str(served.version)
    found = rescore(
        connection,
        served.model,
        served.rules,
        version,
        lead_ids,
        as_of=now,
        scored_at=now,
        stale_days=served.stale_days,
    )
    if found is None:
        return {}
    scores = found.scores
    place = {row: number for number, row in enumerate(scores.scored.tolist())}
    listed = listed_rows(connection, lead_ids)
    told = {}
    for row, (lead_id, as_of) in enumerate(zip(scores.lead_id.tolist(), found.as_of.tolist(), strict=True)):
        every = every_score(as_of, now, version)
        if row not in place:
            told[lead_id] = without_score(scores, row) | every
            continue
        score = score_told(scores, served.model, place[row], every)
        rank = listed[lead_id].rank if lead_id in listed and not score["closed"] else None
        told[lead_id] = score | {"rank": rank}
    return told
