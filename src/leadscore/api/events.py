"""What happened to leads: stored durably, and the leads that it is about scored again, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from leadscore.api.answers import EventsAnswer
from leadscore.api.bodies import EventsSent  # noqa: TC001 - FastAPI reads it
from leadscore.api.callers import needs
from leadscore.api.documents import REFUSED
from leadscore.api.json import JSON
from leadscore.api.metrics import EVENTS, LEADS
from leadscore.api.posted import Posted
from leadscore.api.service import service_of
from leadscore.api.telling import every_score, score_told, unplaced
from leadscore.api.times import written
from leadscore.api.understood import understood
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


@dataclass(frozen=True, slots=True)
class Arrived:
    """The events of one request."""

    events: Sequence[Event]
    now: int
    served: Served


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of them, and the scores of the leads that they have touched."""

    outcomes: Sequence[Outcome]
    scores: list[Told]


@router.post("/v1/events", openapi_extra=needs("write"), response_model=EventsAnswer, responses=REFUSED)
async def send_events(sent: EventsSent, request: Request) -> JSON:
    """Store what happened to leads, and answer with their new scores.

    All of it is stored, or, where one event breaks a rule, nothing. It is known from the time of this request on.
    """
    service = service_of(request)
    served, now = service.served(), service.now()
    if len(sent.events) > EVENTS_TOGETHER:
        events = await run_in_threadpool(understood, sent.events, served.rules, now)
        (stored,) = await run_in_threadpool(_stored, service.store, [Arrived(events, now, served)])
    else:
        stored = await service.storing.ask(Arrived(understood(sent.events, served.rules, now), now, served))
    for outcome in stored.outcomes:
        EVENTS.labels(str(outcome)).inc()
    LEADS.labels("/v1/events").inc(len(stored.scores))
    outcomes = [str(each) for each in stored.outcomes]
    return JSON({"received_at": written(now), "outcomes": outcomes, "scores": stored.scores})


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
    now = max(each.now for each in arrived)
    with transaction(store) as connection:
        accepted = accept(connection, events, received_at=now, requests=requests)
        scores = _rescored(connection, latest.served, accepted.touched, now)
    found, begin = [], 0
    for each in arrived:
        end = begin + len(each.events)
        touched = dict.fromkeys(name for names in accepted.by_event[begin:end] for name in sorted(names))
        found.append(Stored(accepted.outcomes[begin:end], [scores[name] for name in touched if name in scores]))
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
            told[lead_id] = unplaced(scores, row) | every
            continue
        score = score_told(scores, served.model, place[row], every, served.stale_from)
        rank = listed[lead_id].rank if lead_id in listed and not score["closed"] else None
        told[lead_id] = score | {"rank": rank}
    return told
