"""What a request needs of the service: the model, the database, the callers, the clocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leadscore.api.problems import not_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import Request

    from leadscore.api.callers import Callers
    from leadscore.api.champion import Champion
    from leadscore.api.crowd import Crowd
    from leadscore.api.events import Arrived, Stored
    from leadscore.api.json import JSON
    from leadscore.api.leads import Page
    from leadscore.api.scores import Asked
    from leadscore.api.settings import ServiceSettings
    from leadscore.registry import Served
    from leadscore.store import Store


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of one worker.

    Attributes
    ----------
    settings : ServiceSettings
    store : Store
    champion : Champion
    callers : Callers
    scoring, explaining, storing, listing : Crowd
        Requests that are worked on together.
    now : callable
        Microseconds since 1970 UTC.
    """

    settings: ServiceSettings
    store: Store
    champion: Champion
    callers: Callers
    scoring: Crowd[Asked, list[dict[str, Any]]]
    explaining: Crowd[Asked, list[dict[str, Any]]]
    storing: Crowd[Arrived, Stored]
    listing: Crowd[Page, JSON]
    now: Callable[[], int]

    def served(self) -> Served:
        """The model in service.

        Raises
        ------
        ProblemError
            503, where there is none.
        """
        served = self.champion.served
        if served is None:
            raise not_now("no model is in service")
        return served


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service
