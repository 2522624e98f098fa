"""The list of open leads, likeliest first."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from leadscore.api.answers import LeadsAnswer
from leadscore.api.bodies import ListAsked  # noqa: TC001 - FastAPI reads it
from leadscore.api.callers import Guarded, needs
from leadscore.api.cursors import cursor, place_of
from leadscore.api.documents import REFUSED, Answers, refusal
from leadscore.api.json import JSON
from leadscore.api.problems import ProblemError, not_now
from leadscore.api.service import Service, service_of
from leadscore.api.telling import kept_told, warning_header
from leadscore.api.times import HOUR, written
from leadscore.scoring import probability_columns
from leadscore.store import After, Wanted, list_page, published_run, reading, run_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import sqlalchemy as sa

    from leadscore.model import FunnelModel
    from leadscore.registry import Served
    from leadscore.store import Store

router = APIRouter(route_class=Guarded)
CSV = "text/csv"
CSV_ROWS = 2_000
# What a spreadsheet would take for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
GONE: Answers = {410: refusal("The list that the cursor is of is no longer kept: begin again.")}
ANSWERS: Answers = {
    200: {"content": {CSV: {"schema": {"type": "string"}}}, "description": "A page, or the whole list as CSV."}
}


@dataclass(frozen=True, slots=True)
class Page:
    """The page that one request asks for.

    Attributes
    ----------
    run : int, optional
        Of which list; by default the one in force.
    stale_before : int
        Scores as of an earlier moment are stale.
    """

    model: FunnelModel
    run: int | None
    wanted: Wanted
    limit: int
    after: After | None
    list: str | None
    stale_before: int


@router.get("/v1/leads", openapi_extra=needs("read"), response_model=LeadsAnswer, responses=ANSWERS | REFUSED | GONE)
async def list_leads(
    asked: Annotated[ListAsked, Query()],
    request: Request,
) -> JSON | StreamingResponse:
    """Open leads, likeliest first: those before the handoff by its probability, then those past it by the win's.

    With `Accept: text/csv` the whole list is sent; text that a spreadsheet would take for a formula begins with a
    single quote there.
    """
    service = service_of(request)
    served = service.served()
    wanted = Wanted(owner=asked.owner, stage=asked.stage, source=asked.source, minimum=asked.minimum)
    if CSV in request.headers.get("accept", "").lower():
        run = await run_in_threadpool(_in_force, service.store)
        rows = _csv(service, served, run.run, wanted, asked.list)
        headers = warning_header(served.model)
        return StreamingResponse(rows, headers=headers, media_type=f"{CSV}; charset=utf-8; header=present")
    number, after = (None, None) if asked.cursor is None else place_of(asked.cursor)
    page = Page(served.model, number, wanted, asked.limit, after, asked.list, stale_before(service))
    if wanted.passes_over_others:
        return await run_in_threadpool(_alone, service.store, page)
    return await service.listing.ask(page)


def _in_force(store: Store) -> sa.Row[Any]:
    with reading(store) as connection:
        return _run(connection, None)


def read_together(store: Store, asked: Sequence[Page]) -> list[JSON | Exception]:
    """The pages that some requests ask for, of one state of the database.

    Raises
    ------
    StoreError
        The database cannot be read.
    """
    with reading(store) as connection:
        # Nearly all ask for the list in force, and in one state of the database there is one.
        runs = cache(partial(_run, connection))
        return [_read(connection, page, runs) for page in asked]


def _alone(store: Store, page: Page) -> JSON:
    """A page that may take long, for which no other should wait."""
    (read,) = read_together(store, [page])
    if isinstance(read, Exception):
        raise read
    return read


def _read(connection: sa.Connection, page: Page, runs: Callable[[int | None], sa.Row[Any]]) -> JSON | Exception:
    try:
        run = runs(page.run)
    except ProblemError as problem:
        return problem
    found = list_page(connection, run.run, page.wanted, limit=page.limit, after=page.after, of=page.list)
    return JSON(_told(found, run, page))


def stale_before(service: Service) -> int:
    """Scores as of an earlier moment are stale."""
    return service.now() - int(service.settings.stale_hours * HOUR)


def _told(found: Sequence[Any], run: Any, page: Page) -> dict[str, Any]:
    last = found[-1] if len(found) == page.limit else None
    return {
        "run": {
            "run": run.run,
            "as_of": written(run.as_of),
            "published_at": written(run.published_at),
            "model_version": run.model_version,
            "leads": run.leads,
        },
        "leads": [kept_told(row, page.model, page.stale_before) for row in found],
        "warnings": page.model.doubts_,
        "next": None if last is None else cursor(run.run, After(last.list, last.key, last.lead)),
    }


def _run(connection: sa.Connection, asked: int | None) -> sa.Row[Any]:
    if asked is None:
        run = published_run(connection)
        if run is None:
            raise not_now("no list has been published yet")
    else:
        run = run_of(connection, asked)
        if run is None:
            raise ProblemError(HTTPStatus.GONE, "the list that the cursor is of is no longer kept: begin again")
    return run


def _csv(service: Service, served: Served, run: int, wanted: Wanted, of: str | None) -> Iterator[str]:
    """The whole list; each piece is read in a transaction of its own, so that a slow caller holds nothing up."""
    probabilities = probability_columns(served.model.funnel)
    first = ["list", "rank", "probability", "lead_id", "stage", "owner", "source", "grade"]
    own = [*first, *probabilities, "flags", "as_of", "scored_at", "model_version"]
    yield _lines([own])
    after: After | None = None
    stale = stale_before(service)
    while True:
        with reading(service.store) as connection:
            found = list_page(connection, run, wanted, limit=CSV_ROWS, after=after, of=of)
        yield _lines([_cells(row, kept_told(row, served.model, stale), len(probabilities)) for row in found])
        if len(found) < CSV_ROWS:
            return
        after = After(found[-1].list, found[-1].key, found[-1].lead)


def _cells(row: Any, told: dict[str, Any], n_later: int) -> list[Any]:
    ahead = [each["probability"] for each in told["probabilities"]]
    text = [safe(each or "") for each in (row.lead_id, row.stage, row.owner, row.source)]
    return [
        told["list"],
        told["rank"],
        told["probability"],
        *text,
        told["grade"],
        *[None] * (n_later - len(ahead)),
        *ahead,
        " ".join(told["flags"]),
        told["as_of"],
        told["scored_at"],
        told["model_version"],
    ]


def safe(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _lines(rows: Sequence[Sequence[Any]]) -> str:
    written_ = io.StringIO()
    csv.writer(written_, lineterminator="\r\n").writerows(rows)
    return written_.getvalue()
