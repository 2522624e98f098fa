"""Errors as problem details (RFC 9457): terse, with the field, the rule and a request id, and nothing internal."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from leadscore.api.json import JSON
from leadscore.errors import DataError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI, Request

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SAID: dict[int, str] = {
    HTTPStatus.NOT_FOUND: "there is no such path",
    HTTPStatus.METHOD_NOT_ALLOWED: "this path has no such method",
}
# A caller is told of so many faults at most, and so much of each name.
MOST_FAULTS, LONGEST_TEXT = 20, 200


class ProblemError(HTTPException):
    """A request is refused.

    Parameters
    ----------
    status : int
        Of HTTP.
    detail : str
        What is wrong, for the caller.
    faults : sequence of mapping, optional
        Each with ``field`` and ``rule``.
    headers : mapping, optional
        Of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        faults: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.faults = faults


def refused(field: str, rule: str) -> ProblemError:
    """One field of a request breaks a rule."""
    return refused_fields([(field, rule)])


def refused_fields(broken: Sequence[tuple[str, str]], lead_ids: Sequence[str] = ()) -> ProblemError:
    """Fields of a request, the rule that each breaks, and where it is said the lead that each is of."""
    faults: list[dict[str, Any]]
    faults = [{"field": field[:LONGEST_TEXT], "rule": rule[:LONGEST_TEXT]} for field, rule in broken]
    for fault, lead_id in zip(faults, lead_ids, strict=False):
        fault["leads"] = [lead_id[:LONGEST_TEXT]]
    detail = f"{len(faults)} fields break rules"
    if len(faults) == 1:
        detail = f"{faults[0]['field']} {faults[0]['rule']}"
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail, faults)


def not_now(detail: str) -> ProblemError:
    """The service cannot answer at the moment, and says when to ask again."""
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)


def answer(problem: ProblemError, request_id: str) -> JSON:
    """The problem as an answer."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status_code).phrase,
        "status": int(problem.status_code),
        "detail": problem.detail,
        "request_id": request_id,
    }
    if problem.faults:
        content["errors"] = list(problem.faults[:MOST_FAULTS])
    return JSON(content, problem.status_code, problem.headers, MEDIA_TYPE)


def of_validation(errors: Sequence[Mapping[str, Any]], *where: str) -> ProblemError:
    """What pydantic found there, without the values that it was found in."""
    if any(each["type"] == "json_invalid" for each in errors):
        return no_json()
    faults = [
        {"field": ".".join(map(str, (*where, *each["loc"])))[:LONGEST_TEXT], "rule": str(each["msg"])[:LONGEST_TEXT]}
        for each in errors[:MOST_FAULTS]
    ]
    count = len(errors)
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{count} field{'s' * (count != 1)} cannot be used", faults)


def no_json() -> ProblemError:
    """The body cannot be read."""
    rule = "must be JSON in UTF-8, not too deep, without half a letter or a whole number of thousands of digits"
    return ProblemError(HTTPStatus.BAD_REQUEST, f"body {rule}", [{"field": "body", "rule": rule}])


def of_data(error: DataError) -> ProblemError:
    """What the rules of a data set found in leads that were sent."""
    faults = [
        {
            "field": path,
            "rule": each.rule[:LONGEST_TEXT],
            "rows": each.rows,
            "leads": [lead[:LONGEST_TEXT] for lead in each.leads[:MOST_FAULTS]],
        }
        for each in error.problems
        for path in each.paths or (f"{each.table}.{each.column}" if each.column else each.table,)
    ]
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "the leads break rules of the data", faults)


def install(app: FastAPI) -> None:
    """Answer every error of an app with problem details."""

    async def refused(request: Request, error: Exception) -> JSON:
        problem = _problem(error)
        # Whoever refuses a method on purpose knows better.
        if problem.status_code == HTTPStatus.METHOD_NOT_ALLOWED and problem is not error:
            problem.headers = {"Allow": _allowed(request)}
        return answer(problem, request.state.request_id)

    for kind in (ProblemError, RequestValidationError, DataError, StoreError, HTTPException):
        app.add_exception_handler(kind, refused)


def _allowed(request: Request) -> str:
    """The methods of a path; Starlette names those of its first route."""
    scope, routes = dict(request.scope), request.app.routes
    return ", ".join(
        method
        for method in METHODS
        if any(each.matches(scope | {"method": method})[0] is Match.FULL for each in routes)
    )


def _problem(error: Exception) -> ProblemError:
    match error:
        case ProblemError():
            return error
        case RequestValidationError():
            return of_validation(error.errors())
        case DataError():
            return of_data(error)
        case StoreError():
            log.warning("the database does not answer")
            return not_now("the database does not answer")
        case HTTPException(status_code=HTTPStatus.BAD_REQUEST):
            return no_json()
        case HTTPException():
            said = SAID.get(error.status_code, error.detail)
            return ProblemError(error.status_code, said, headers=error.headers)
        case _:
            raise error
