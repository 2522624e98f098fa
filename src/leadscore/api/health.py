"""Whether the service lives, whether it can score, and what it has counted."""

from __future__ import annotations

import os
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from pydantic import BaseModel, Field

from leadscore.api.json import JSON
from leadscore.api.service import service_of
from leadscore.api.settings import COUNTERS
from leadscore.errors import StoreError
from leadscore.model.staleness import stale_history
from leadscore.store import answers

if TYPE_CHECKING:
    from leadscore.registry import Served

router = APIRouter()
READY, NOT_READY = "ready", "not ready"


class Alive(BaseModel):
    """The service answers."""

    status: str


class Ready(BaseModel):
    """Whether the service can score, and why not."""

    status: str
    model_version: str | None
    model: str
    history: str | None = Field(description="`ok`, or how long ago the history ended that the model has learnt from.")
    database: str


@router.get("/healthz", response_model=Alive)
async def healthz() -> JSON:
    """Whether the service lives."""
    return JSON({"status": "alive"})


@router.get("/readyz", response_model=Ready, responses={503: {"model": Ready, "description": "It cannot score."}})
def readyz(request: Request) -> JSON:
    """Whether the service can score: a model is loaded, and the database answers."""
    service = service_of(request)
    served = service.champion.served
    database = "ok"
    try:
        answers(service.store)
    except StoreError:
        database = "does not answer"
    ready = served is not None and database == "ok"
    told: dict[str, Any] = {
        "status": READY if ready else NOT_READY,
        "model_version": None if served is None else str(served.version),
        "model": service.champion.trouble or "ok",
        "history": None if served is None else _history(served, service.now()),
        "database": database,
    }
    return JSON(told, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)


def _history(served: Served, now: int) -> str:
    return stale_history(served.model, now, served.stale_days) or "ok"


@router.get("/metrics", response_class=Response)
def metrics() -> Response:
    """What Prometheus reads."""
    registry: CollectorRegistry = REGISTRY
    if COUNTERS in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
