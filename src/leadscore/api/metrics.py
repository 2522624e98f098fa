"""What Prometheus is told."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from starlette.types import Scope

REQUESTS = Counter("leadscore_requests", "Requests answered.", ("method", "route", "status"))
SECONDS = Histogram(
    "leadscore_request_seconds",
    "Time to answer.",
    ("route",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30),
)
LEADS = Counter("leadscore_leads_scored", "Leads scored by requests.", ("route",))
EVENTS = Counter("leadscore_events", "Events accepted.", ("outcome",))
FLAGGED = Counter("leadscore_events_flagged", "Events stored that something is to be known of.", ("flag",))
VERSION = Gauge("leadscore_model_version", "Version of the model in service.", multiprocess_mode="livemostrecent")
METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}


def count_request(scope: Scope, status: int, seconds: float) -> None:
    """Count a request by the template of its route: a path holds what callers chose, and there is no end of those."""
    route = getattr(scope.get("route"), "path", "none")
    method = scope["method"] if scope["method"] in METHODS else "other"
    requests, times = _counters(method, route, status)
    requests.inc()
    times.observe(seconds)


# Finding the counters of some labels takes longer than counting.
@cache
def _counters(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(method, route, str(status)), SECONDS.labels(route)
