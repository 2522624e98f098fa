"""Scores of leads that are sent with their whole history; nothing of them is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from leadscore.api.answers import ScoresAnswer
from leadscore.api.attributes import unchanging, undeclared
from leadscore.api.bodies import LeadSent, ScoresAsked  # noqa: TC001 - FastAPI reads them
from leadscore.api.callers import needs
from leadscore.api.documents import REFUSED
from leadscore.api.json import JSON
from leadscore.api.metrics import LEADS
from leadscore.api.posted import Posted
from leadscore.api.problems import refused, refused_fields
from leadscore.api.service import service_of
from leadscore.api.telling import scores_told, why_told
from leadscore.api.times import moment
from leadscore.history import check_records, read_values
from leadscore.history.line import MINUTE
from leadscore.history.reading.likely_causes import are_unclear
from leadscore.scoring import CLOCK_SKEW, score_leads
from leadscore.store import asking, objecting_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leadscore.history import Rules
    from leadscore.registry import Served
    from leadscore.scoring import Scores
    from leadscore.store import Store

    Record = dict[str, Any]
    Told = list[dict[str, Any]]

router = APIRouter(route_class=Posted)
# No more leads are scored at once; a request with more is worked on beside the others.
LEADS_TOGETHER = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """The leads of one request."""

    records: Sequence[Record]
    as_of: int
    now: int
    served: Served
    reasons: bool

    @property
    def latest(self) -> int:
        """The latest moment at which an event may become known."""
        return max(self.as_of, self.now) + self.served.rules.future

    def told(self, scores: Scores, why: Sequence[dict[str, Any] | None]) -> Told | Exception:
        """Their scores, and why, in the order of the records; or what is wrong with them."""
        if len(scores.not_known_yet):
            return refused_fields([self._not_known_yet(row) for row in scores.not_known_yet.tolist()])
        return scores_told(scores, self.served, self.as_of, self.now, why)

    def _not_known_yet(self, row: int) -> tuple[str, str]:
        reader, sent = self.served.rules.readers["leads"]["created_at"], [self.records[row]["created_at"]]
        created: Any = read_values(reader, "created_at", sent).values
        field = "created_at" if created[0] > self.as_of + CLOCK_SKEW else "recorded_at"
        return f"leads.{row}.{field}", f"must not lie more than {CLOCK_SKEW // MINUTE} minutes after as_of"

    def alone(self) -> Told | Exception:
        """Their scores, or what is wrong with them."""
        try:
            as_of = np.full(len(self.records), self.as_of)
            latest = np.full(len(self.records), self.latest)
            scores = score_leads(
                self.served.model,
                self.records,
                as_of,
                self.served.rules,
                latest=latest,
                stale_days=self.served.stale_days,
            )
            return self.told(scores, why_told(scores, self.served.model, asked=self.reasons))
        except Exception as error:  # noqa: BLE001 - it is this request's own
            return error


@router.post("/v1/scores", openapi_extra=needs("score"), response_model=ScoresAnswer, responses=REFUSED)
async def score(sent: ScoresAsked, request: Request) -> JSON:
    """Score leads sent with their whole history, likeliest first."""
    service = service_of(request)
    served, now = service.served(), service.now()
    _check(sent.leads, served.rules, service.settings.max_history)
    as_of = now if sent.as_of is None else moment(sent.as_of, "as_of")
    asked = Asked([_record(lead) for lead in sent.leads], as_of, now, served, sent.reasons)
    if len(asked.records) > LEADS_TOGETHER:
        told = await run_in_threadpool(_apart, service.store, asked)
    else:
        # Reasons take longer: who does not ask for them does not wait for them.
        told = await (service.explaining if asked.reasons else service.scoring).ask(asked)
    LEADS.labels("/v1/scores").inc(len(asked.records))
    return JSON({"scores": told, "warnings": served.model.doubts_})


def _apart(store: Store, asked: Asked) -> Told:
    (told,) = score_together(store, [asked])
    if isinstance(told, Exception):
        raise told
    return told


def score_together(store: Store, asked: Sequence[Asked]) -> list[Told | Exception]:
    """Scores of the leads of some requests. A lead in a crowd gets the scores that it gets alone, bit for bit.

    Raises
    ------
    StoreError
        It cannot be known who objects.
    """
    with asking(store) as connection:
        objecting = objecting_of(connection, [record["lead_id"] for each in asked for record in each.records])
    for each in asked:
        for record in each.records:
            if record["lead_id"] in objecting:
                record["do_not_score"] = True
    return [told for crowd in _crowds(asked) for told in _scored(crowd)]


def _crowds(asked: Sequence[Asked]) -> Iterator[list[Asked]]:
    """Requests for one model that all ask why or do not, no more than a few leads at once."""
    crowd: list[Asked] = []
    n_leads = 0
    for each in asked:
        many = n_leads + len(each.records) > LEADS_TOGETHER
        if crowd and (many or each.served is not crowd[0].served or each.reasons is not crowd[0].reasons):
            yield crowd
            crowd, n_leads = [], 0
        crowd.append(each)
        n_leads += len(each.records)
    yield crowd


def _scored(crowd: Sequence[Asked]) -> list[Told | Exception]:
    if len(crowd) == 1:
        return [crowd[0].alone()]
    # Two requests may be about the same lead: here each is another.
    records = [
        record | {"lead_id": f"{number}:{record['lead_id']}"}
        for number, each in enumerate(crowd)
        for record in each.records
    ]
    sizes = [len(each.records) for each in crowd]
    as_of = np.repeat([each.as_of for each in crowd], sizes)
    latest = np.repeat([each.latest for each in crowd], sizes)
    served = crowd[0].served
    try:
        scores = score_leads(served.model, records, as_of, served.rules, latest=latest, stale_days=served.stale_days)
        why = why_told(scores, crowd[0].served.model, asked=crowd[0].reasons)
    except Exception:  # noqa: BLE001 - whose fault it was shows when each is alone
        return [each.alone() for each in crowd]
    begins = np.cumsum([0, *sizes]).tolist()
    return [
        each.told(scores.part(begin, [record["lead_id"] for record in each.records]), why[begin:end])
        for each, begin, end in zip(crowd, begins, begins[1:], strict=False)
    ]


def _record(lead: LeadSent) -> Record:
    """As `leadscore.history.check_records` takes it: attributes beside the other columns, which they cannot hide."""
    return {**lead.get("attributes", {}), **lead}


def _check(leads: list[LeadSent], rules: Rules, most_history: int) -> None:
    """Refuse what the rules of a data set cannot know: leads sent twice, and histories without end."""
    if len({lead["lead_id"] for lead in leads}) < len(leads):
        raise refused("leads.lead_id", "must be sent once")
    if are_unclear([lead["lead_id"] for lead in leads]):
        # Refused here, because leads of several requests that are scored together have other ids.
        check_records([_record(lead) for lead in leads], rules, known_until=0)
    if broken := [each for row, lead in enumerate(leads) for each in _broken(row, lead, rules, most_history)]:
        raise refused_fields(broken)


def _broken(row: int, lead: LeadSent, rules: Rules, most_history: int) -> Iterator[tuple[str, str]]:
    """Fields of a lead that break a rule, and the rule."""
    for name in lead.get("attributes", ()):
        if rule := undeclared(name, rules):
            yield f"leads.{row}.attributes.{name}", rule
    for number, change in enumerate(lead.get("changes", ())):
        if rule := unchanging(change["attribute"], rules):
            yield f"leads.{row}.changes.{number}.attribute", rule
    history = (lead.get("transitions", ()), lead.get("touches", ()), lead.get("changes", ()))
    if sum(map(len, history)) > most_history:
        yield f"leads.{row}", f"must have at most {most_history} transitions, touches and changes"
