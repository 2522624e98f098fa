"""What every request meets first: an id, a limit of time, and the books that are kept of it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING

from leadscore.api import problems
from leadscore.api.metrics import count_request
from leadscore.api.wire import MOST_HEADER_BYTES, headers_too_large

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from leadscore.api.settings import ServiceSettings

log = logging.getLogger(__name__)


class Edge:
    """ASGI middleware: no request goes around it, and every answer leaves through it.

    Parameters
    ----------
    app : ASGI application
    settings : ServiceSettings
        The longest time of a request, and its largest body.
    seconds : callable
        A clock that never goes back.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, seconds: Callable[[], float]) -> None:
        self.app = app
        self.settings = settings
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await _Exchange(self, scope, receive, send).run()


class _Exchange:
    """One request and its answer."""

    def __init__(self, edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
        self.edge, self.scope, self._receive, self._send = edge, scope, receive, send
        self.request_id = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = self.request_id
        self.status = 0
        self.length = 0

    async def run(self) -> None:
        begin = self.edge.seconds()
        try:
            async with asyncio.timeout(self.edge.settings.request_seconds):
                await self._answered()
        except TimeoutError:
            await self._refused(problems.not_now("the request took too long"))
        finally:
            count_request(self.scope, self.status, self.edge.seconds() - begin)

    async def _answered(self) -> None:
        try:
            await self.edge.app(self.scope, self._limited(), self.send)
        except problems.ProblemError as problem:
            await self._refused(problem)
        except Exception:  # the last resort: nothing internal reaches the caller, all of it the log
            log.exception("request %s failed", self.request_id)
            await self._refused(problems.ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "the request failed"))

    def _limited(self) -> Receive:
        """The body, where neither it nor what comes before it is too large; without a length it is counted."""
        size, length = len(self.scope["raw_path"]) + len(self.scope["query_string"]), None
        for name, value in self.scope["headers"]:
            size += len(name) + len(value)
            if name == b"content-length":
                length = int(value)
        if size > MOST_HEADER_BYTES:
            raise headers_too_large()
        if length is None:
            return self._counted
        self._count(length)
        return self._receive

    async def _counted(self) -> Message:
        message = await self._receive()
        self._count(len(message.get("body", b"")))
        return message

    def _count(self, length: int) -> None:
        self.length += length
        most = self.edge.settings.max_body_bytes
        if self.length > most:
            raise problems.ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {most} bytes")

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self.request_id.encode())]
        await self._send(message)

    async def _refused(self, problem: problems.ProblemError) -> None:
        # An answer that has begun can only be broken off.
        if not self.status:
            await problems.answer(problem, self.request_id)(self.scope, self._receive, self.send)
