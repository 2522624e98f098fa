"""The service as an ASGI application."""

from __future__ import annotations

import gc
import time
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI

from leadscore.api import documents, events, health, lead, leads, model, problems, scores
from leadscore.api.callers import Callers
from leadscore.api.champion import Champion
from leadscore.api.crowd import Crowd
from leadscore.api.edge import Edge
from leadscore.api.metrics import VERSION
from leadscore.api.service import Service
from leadscore.api.settings import ServiceSettings
from leadscore.garbage import look_seldom
from leadscore.store import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from leadscore.registry import Served

# Requests that are worked on at once: the cost of each falls little beyond a few.
MOST_TOGETHER = 32


def _now() -> int:
    return time.time_ns() // 1_000


def create_app(
    settings: ServiceSettings | None = None,
    now: Callable[[], int] = _now,
    seconds: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """The service.

    Parameters
    ----------
    settings : ServiceSettings, optional
        Those of the environment by default.
    now, seconds : callable
        The only clocks: microseconds since 1970 UTC, and seconds that never go back.
    """
    settings = settings or ServiceSettings()

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        store = open_store()
        champion = Champion(settings.models, settings.champion_seconds, _told, settings.stale_model_days)
        app.state.service = Service(
            settings,
            store,
            champion,
            Callers(store, settings, seconds),
            scoring=Crowd(partial(scores.score_together, store), MOST_TOGETHER),
            explaining=Crowd(partial(scores.score_together, store), MOST_TOGETHER),
            storing=Crowd(partial(events.store_together, store), MOST_TOGETHER),
            listing=Crowd(partial(leads.read_together, store), MOST_TOGETHER),
            now=now,
        )
        champion.start()
        # What is there now stays: no collection needs to look at it again, which takes a fifth of a second.
        gc.collect()
        look_seldom()
        yield
        champion.stop()
        store.close()

    app = FastAPI(
        title="leadscore",
        version=version("leadscore"),
        description=documents.ABOUT,
        lifespan=life,
        openapi_url="/v1/openapi.json",
        docs_url="/v1/docs",
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # It would send callers to whatever host they name.
        redirect_slashes=False,
    )
    problems.install(app)
    for each in (scores, events, leads, lead, model, health):
        # Not included: FastAPI looks up what an included router adds with each request, and these add nothing.
        app.router.routes.extend(each.router.routes)
    documents.install(app)
    app.add_middleware(Edge, settings=settings, seconds=seconds)
    return app


def _told(served: Served) -> None:
    VERSION.set(served.version)
