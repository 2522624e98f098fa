"""Who may call: keys with scopes, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from leadscore.api.problems import ProblemError
from leadscore.api.service import service_of
from leadscore.api.settings import is_loopback
from leadscore.store import SCOPES, asking, find_key, list_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Set

    from fastapi import Request, Response
    from starlette.datastructures import Headers

    from leadscore.api.settings import ServiceSettings
    from leadscore.store import Key, Store

# A key that was looked up is known for so long: a revoked one is refused after that at the latest.
KNOWN_SECONDS = 2.0
MOST_KNOWN = 10_000
# Whose rate those use up who have no key, or a wrong one; no id of a key is like these.
NOBODY, WRONG = "nobody", "wrong"
BEARER = HTTPBearer(auto_error=False, description="An API key, made by `make keys`.")


@dataclass
class _Bucket:
    left: float
    at: float


@dataclass
class Callers:
    """The keys that callers present, and what each has used of its rate.

    Attributes
    ----------
    store : Store
        Where the keys are.
    settings : ServiceSettings
        The rate.
    seconds : callable
        A clock that never goes back.
    """

    store: Store
    settings: ServiceSettings
    seconds: Callable[[], float]
    _known: dict[str, tuple[float, Key | None]] = field(default_factory=dict)
    _open: tuple[float, bool] = (float("-inf"), False)
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    async def check(self, presented: str | None, scope: str, *, at_home: bool) -> Set[str]:
        """The scopes of a caller, who has a key or, where no key was ever made, calls from this machine.

        Parameters
        ----------
        presented : str, optional
            The key.
        scope : str
            What it is needed for.
        at_home : bool
            Whether the caller is on this machine, presents nothing, and means this machine by what it calls.

        Raises
        ------
        ProblemError
            401 without a valid key, 403 where it lacks the scope, 429 beyond its rate.
        """
        if at_home and await self._nobody_needs_a_key():
            self._spend(NOBODY)
            return frozenset(SCOPES)
        key = None if presented is None else await self._find(presented)
        if key is None:
            self._spend(WRONG)
            headers = {"WWW-Authenticate": "Bearer"}
            raise ProblemError(HTTPStatus.UNAUTHORIZED, "a valid API key is needed", headers=headers)
        self._spend(key.id)
        if scope not in key.scopes:
            raise lacks(scope)
        return key.scopes

    async def _nobody_needs_a_key(self) -> bool:
        """Whether there are no keys; the service then listens on loopback only."""
        until, answer = self._open
        if self.seconds() >= until:
            answer = is_loopback(self.settings.host) and await run_in_threadpool(no_keys, self.store)
            self._open = self.seconds() + KNOWN_SECONDS, answer
        return answer

    async def _find(self, presented: str) -> Key | None:
        until, key = self._known.get(presented, (float("-inf"), None))
        if self.seconds() >= until:
            key = await run_in_threadpool(_found, self.store, presented)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[presented] = self.seconds() + KNOWN_SECONDS, key
        return key

    def _spend(self, name: str) -> None:
        rate, most = self.settings.max_per_second, self.settings.max_per_second * self.settings.burst_seconds
        now = self.seconds()
        bucket = self._buckets.setdefault(name, _Bucket(most, now))
        bucket.left = min(most, bucket.left + (now - bucket.at) * rate)
        bucket.at = now
        if bucket.left < 1:
            headers = {"Retry-After": "1"}
            raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, "too many requests", headers=headers)
        bucket.left -= 1


def lacks(scope: str, field: str | None = None) -> ProblemError:
    """A caller's key lacks a scope, which a field of the body may need."""
    needed = "" if field is None else f", which {field} needs"
    return ProblemError(HTTPStatus.FORBIDDEN, f"the API key lacks the scope {scope}{needed}")


def may(request: Request, scope: str) -> bool:
    """Whether the caller of a guarded route, who was let in, has another scope, too."""
    return scope in request.state.scopes


def no_keys(store: Store) -> bool:
    """Whether no key was ever made; where one was, revoking it opens nothing."""
    with asking(store) as connection:
        return not list_keys(connection)


def _found(store: Store, presented: str) -> Key | None:
    with asking(store) as connection:
        return find_key(connection, presented)


class Guarded(APIRoute):
    """A route that knows its caller before it reads a body: whoever may not call, costs next to nothing."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        (scheme,) = (self.openapi_extra or {})["security"]
        (scope,) = scheme[BEARER.scheme_name]
        answer = self.unguarded()

        async def checked(request: Request) -> Response:
            await _check(request, scope)
            return await answer(request)

        return checked

    def unguarded(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request that is let in."""
        return super().get_route_handler()


def needs(scope: str) -> dict[str, Any]:
    """What the OpenAPI document says of a guarded route, which is also what is checked: the scope of a key."""
    return {"security": [{BEARER.scheme_name: [scope]}]}


async def _check(request: Request, scope: str) -> None:
    presented = request.headers.getlist("authorization")
    # No caller sends two: somebody between us has added one, and which of them counts is anybody's guess.
    held = await BEARER(request) if len(presented) == 1 else None
    at_home = request.client is not None and is_loopback(request.client.host) and _names_loopback(request.headers)
    callers = service_of(request).callers
    presented_key = held.credentials if held else None
    request.state.scopes = await callers.check(presented_key, scope, at_home=at_home and not presented)


def _names_loopback(headers: Headers) -> bool:
    """Whether a caller means this machine: a page in a browser here, of a site whose name leads here, does not."""
    name, colon, port = headers.get("host", "").rpartition(":")
    host = name if colon and port.isdigit() else name + colon + port
    return is_loopback(host.strip("[]").lower())
