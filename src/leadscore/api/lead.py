"""One lead: its score and why, its erasure, and its objection."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.routing import APIRoute
from starlette.convertors import Convertor, register_url_convertor

from leadscore.api.answers import ErasedAnswer, LeadAnswer, ObjectionAnswer, PredictiveScore
from leadscore.api.bodies import NO_NUL, Objection
from leadscore.api.callers import Guarded, needs
from leadscore.api.documents import REFUSED, Answers, refusal
from leadscore.api.json import JSON
from leadscore.api.leads import stale_before
from leadscore.api.problems import ProblemError
from leadscore.api.service import Service, service_of
from leadscore.api.standing import Standing, standing_of
from leadscore.api.telling import changes_told, every_score, warning_header
from leadscore.api.times import written
from leadscore.publishing import rescore
from leadscore.store import erase, object_to_scoring, transaction


class _Text(Convertor[str]):
    """Any text at all: Starlette's own ``path`` ends at a line break."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _Text())
router = APIRouter(route_class=Guarded)
# A name may hold a slash, so the addresses that go on after it stand first.
LeadIdInPath = Annotated[str, Path(min_length=1, max_length=500, pattern=NO_NUL)]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
UNKNOWN: Answers = {404: refusal("There is no such lead.")}
UNSCORED: Answers = {
    409: refusal("The lead is closed, objects to profiling or stands at no known stage: it has no score.")
}


async def _not_allowed(allowed: str) -> None:
    headers = {"Allow": allowed}
    raise ProblemError(HTTPStatus.METHOD_NOT_ALLOWED, f"only {allowed} is allowed here", headers=headers)


@router.get(
    "/v1/leads/{lead_id:text}/msdyn_predictivescore",
    openapi_extra=needs("read"),
    response_model=PredictiveScore,
    responses=REFUSED | UNKNOWN | UNSCORED,
)
def show_predictive_score(lead_id: LeadIdInPath, request: Request) -> JSON:
    """The score as Dynamics 365 takes it: the body of `POST msdyn_predictivescores`."""
    service = service_of(request)
    standing = _standing(service, lead_id)
    told = standing.told(stale_before(service))
    if told["grade"] is None:
        raise ProblemError(HTTPStatus.CONFLICT, "the lead is closed, objects to profiling, or stands at no known stage")
    return JSON(standing.for_dynamics(), headers=warning_header(standing.served.model))


@router.put(
    "/v1/leads/{lead_id:text}/do-not-score",
    openapi_extra=needs("write"),
    response_model=ObjectionAnswer,
    responses=REFUSED | UNKNOWN,
)
def object_to_profiling(lead_id: LeadIdInPath, request: Request, said: Objection | None = None) -> JSON:
    """Take a lead out of lists, scoring and the next training, or let it in again; no import undoes it."""
    service = service_of(request)
    objects = said is None or said.do_not_score
    served, now = service.champion.served, service.now()
    with transaction(service.store) as connection:
        if not object_to_scoring(connection, lead_id, objects, at=now):
            raise unknown()
        if not objects and served is not None:
            version = str(served.version)
            rescore(
                connection,
                served.model,
                served.rules,
                version,
                [lead_id],
                as_of=now,
                scored_at=now,
                stale_days=served.stale_days,
            )
    return JSON({"lead_id": lead_id, "do_not_score": objects})


for _address, _method in (("msdyn_predictivescore", "GET"), ("do-not-score", "PUT")):
    # Else another method would be one of the lead whose name goes on like this.
    router.add_api_route(
        f"/v1/leads/{{lead_id:text}}/{_address}",
        partial(_not_allowed, _method),
        methods=[each for each in METHODS if each != _method],
        include_in_schema=False,
        route_class_override=APIRoute,
        name=f"not allowed: {_address}",
    )


@router.get(
    "/v1/leads/{lead_id:text}", openapi_extra=needs("read"), response_model=LeadAnswer, responses=REFUSED | UNKNOWN
)
def show_lead(lead_id: LeadIdInPath, request: Request) -> JSON:
    """One lead: its score, the reasons each way, what moved it since the last score, and its trend."""
    service = service_of(request)
    standing = _standing(service, lead_id)
    return JSON(
        {
            "lead_id": standing.lead_id,
            "score": standing.told(stale_before(service)),
            "warnings": standing.served.model.doubts_,
            "trend": standing.trend(),
            "changed": changes_told(standing.changed()),
            "history": [
                {"stage": each.stage, "probabilities": standing.past_probabilities(each)}
                | every_score(each.as_of, each.scored_at, each.model_version)
                for each in standing.past
            ],
        }
    )


@router.delete("/v1/leads/{lead_id:text}", openapi_extra=needs("erase"), response_model=ErasedAnswer, responses=REFUSED)
def erase_lead(lead_id: LeadIdInPath, request: Request) -> JSON:
    """Erase a lead everywhere, and keep it away; a second call changes nothing and gives the same receipt."""
    service = service_of(request)
    with transaction(service.store) as connection:
        receipt = erase(connection, lead_id, at=service.now())
    return JSON({"receipt": receipt.number, "erased_at": written(receipt.at)})


def unknown() -> ProblemError:
    """There is no such lead."""
    return ProblemError(HTTPStatus.NOT_FOUND, "there is no such lead")


def _standing(service: Service, lead_id: str) -> Standing:
    standing = standing_of(service.store, service.served(), lead_id, service.now())
    if standing is None:
        raise unknown()
    return standing
