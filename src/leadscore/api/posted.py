"""Bodies in JSON, read and checked in one pass.

FastAPI makes objects of all that is sent, and looks for what else an endpoint may depend on, before it checks them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_type_hints

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from leadscore.api.callers import Guarded
from leadscore.api.json import MEDIA_TYPE
from leadscore.api.problems import no_json, of_validation, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastapi import Response
    from starlette.types import Receive, Scope, Send


class Posted(Guarded):
    """A guarded route whose endpoint takes a body, annotated as ``sent``, and the request."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        answer = self.get_route_handler()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            response = await answer(Request(scope, receive, send))
            await response(scope, receive, send)

        # FastAPI's own keeps stacks of what an endpoint depends on, and handles errors twice.
        self.app = app

    def unguarded(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request that is let in."""
        read = TypeAdapter(get_type_hints(self.endpoint)["sent"]).validate_json
        endpoint = self.endpoint

        async def answer(request: Request) -> Response:
            body = await _body(request)
            try:
                sent = read(body)
            except ValidationError as error:
                raise of_validation(error.errors(include_url=False, include_input=False), "body") from None
            answered: Response = await endpoint(sent, request)
            return answered

        return answer


async def _body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MEDIA_TYPE and not (kind.startswith("application/") and kind.endswith("+json")):
        raise refused("Content-Type", f"must be {MEDIA_TYPE}")
    try:
        body = await request.body()
    except ClientDisconnect:
        # Nobody reads the answer.
        raise no_json() from None
    if not body:
        raise refused("body", "is required")
    return body
