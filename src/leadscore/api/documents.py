"""What the OpenAPI document says beside the endpoints' own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from leadscore.api.callers import BEARER
from leadscore.api.examples import EXAMPLES
from leadscore.api.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from fastapi import FastAPI

Answers = dict[int | str, dict[str, Any]]
SCHEMAS = "#/components/schemas/"
ABOUT = """How likely each lead is to reach each later stage of the funnel.

Whatever is refused is answered with problem details (RFC 9457) that name the field and the rule. Another path is
answered with 404, another method on a path with 405. Where a name stands twice in a JSON object, the last one counts.
"""


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    field: str
    rule: str
    rows: int | None = Field(default=None, description="How many break it.")
    leads: list[str] | None = Field(default=None, description="Which, the first few.")


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str = Field(description="Also in the log of the service.")
    errors: list[Fault] | None = None


def refusal(what: str) -> dict[str, Any]:
    """An answer with problem details, for the OpenAPI document."""
    return {"description": what, "content": {MEDIA_TYPE: {"schema": {"$ref": f"{SCHEMAS}{Problem.__name__}"}}}}


# Before any path is looked at.
UNREADABLE: Answers = {
    400: refusal("This is no HTTP request, or the body is no JSON."),
    408: refusal("The headers took too long."),
    413: refusal("The body is too large."),
    431: refusal("The address and the headers are too large."),
    503: refusal("Not now: no model, no database, or out of time; Retry-After says when to ask again."),
}
REFUSED: Answers = UNREADABLE | {
    401: refusal("No valid API key."),
    403: refusal("The API key lacks the scope."),
    422: refusal("A field or a rule of the data is broken."),
    429: refusal("Too many requests; Retry-After says when to ask again."),
}
RETRY_AFTER = {"description": "Seconds.", "required": True, "schema": {"type": "integer", "minimum": 1}}
REQUEST_ID = {"description": "Also in the log of the service.", "required": True, "schema": {"type": "string"}}


def install(app: FastAPI) -> None:
    """Let an app describe what is true of all its answers, with examples."""
    for route in app.routes:
        if isinstance(route, APIRoute):
            route.operation_id = route.name
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(described())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    schemas = document["components"]["schemas"]
    document["components"]["securitySchemes"] = {
        BEARER.scheme_name: BEARER.model.model_dump(mode="json", by_alias=True, exclude_none=True)
    }
    for model in (Fault, Problem):
        schemas[model.__name__] = model.model_json_schema(ref_template=f"{SCHEMAS}{{model}}")
        schemas[model.__name__].pop("$defs", None)
    for name, example in EXAMPLES.items():
        schemas[name]["examples"] = [example]
    for path in document["paths"].values():
        for operation in path.values():
            answers = operation["responses"]
            for status, answer in UNREADABLE.items():
                said = answers.setdefault(str(status), {"description": answer["description"]})
                said["content"] = said.get("content", {}) | answer["content"]
            operation["responses"] = {status: _with_headers(status, answers[status]) for status in sorted(answers)}
    return document


def _with_headers(status: str, answer: dict[str, Any]) -> dict[str, Any]:
    headers = {"X-Request-ID": REQUEST_ID}
    if status in {"429", "503"} and list(answer["content"]) == [MEDIA_TYPE]:
        headers["Retry-After"] = RETRY_AFTER
    return answer | {"headers": headers}
