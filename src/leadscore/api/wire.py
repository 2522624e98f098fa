"""HTTP as uvicorn reads it, with limits before there is a request: how large its headers may be, how long they take."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from leadscore.api.problems import ProblemError, answer

if TYPE_CHECKING:
    import asyncio

MOST_HEADER_BYTES = 32_768
HEADER_SECONDS = 10.0


def headers_too_large() -> ProblemError:
    """What comes before the body is too large."""
    detail = f"the address and the headers are larger than {MOST_HEADER_BYTES} bytes"
    return ProblemError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)


class Wire(HttpToolsProtocol):
    """One connection."""

    _unread = 0
    _reads_headers = True
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the headers of a request, but not for ever."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what has come, and refuse headers without end."""
        super().data_received(data)
        if not self._reads_headers:
            return
        self._unread += len(data)
        if self._unread > MOST_HEADER_BYTES:
            self._refuse(headers_too_large())
        elif self._patience is None:
            self._watch()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._reads_headers, self._unread = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its headers have come; the rest is up to `leadscore.api.edge`."""
        self._reads_headers = False
        self._rest()
        super().on_headers_complete()

    def _watch(self) -> None:
        too_slow = ProblemError(HTTPStatus.REQUEST_TIMEOUT, f"the headers took longer than {HEADER_SECONDS:g} seconds")
        self._patience = self.loop.call_later(HEADER_SECONDS, self._refuse, too_slow)

    def _rest(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - what it says is uvicorn's
        """Refuse what is no request."""
        self._refuse(ProblemError(HTTPStatus.BAD_REQUEST, "this is no HTTP request that can be read"))

    def _refuse(self, problem: ProblemError) -> None:
        self._rest()
        if self.transport.is_closing():
            return
        request_id = secrets.token_hex(8)
        said = answer(problem, request_id)
        headers = [*said.raw_headers, (b"x-request-id", request_id.encode()), (b"connection", b"close")]
        lines = [b"HTTP/1.1 %d %s" % (said.status_code, HTTPStatus(said.status_code).phrase.encode())]
        lines += [name + b": " + value for name, value in headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(said.body)]))
        self.transport.close()
