"""The published list, page by page.

A page begins where the last one ended, at a probability and a lead: rows that come and go in between move nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadscore.store.dialect import among
from leadscore.store.schema import leads, listed, published, runs

if TYPE_CHECKING:
    from collections.abc import Sequence

LISTS = ("handoff", "win")
FILTERS = ("owner", "stage", "source")

_SHOWN = (
    leads.c.lead_id,
    *(
        listed.c[name]
        for name in (
            "lead",
            "list",
            "rank",
            "key",
            "stage",
            "owner",
            "source",
            "grade",
            "probabilities",
            "flags",
            "as_of",
            "scored_at",
            "model_version",
        )
    ),
)
_PUBLISHED = sa.select(runs).join(published, published.c.run == runs.c.run)
_RUN = sa.select(runs).where(runs.c.run == sa.bindparam("run_"), runs.c.state.in_(("published", "old")))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows of a list.

    Attributes
    ----------
    owner, stage, source : str, optional
        What they must have.
    minimum : float
        The least probability that their list is in order of.
    """

    owner: str | None = None
    stage: str | None = None
    source: str | None = None
    minimum: float = 0.0

    @property
    def passes_over_others(self) -> bool:
        """Whether rows that are not wanted may have to be passed over, in the worst case the whole list."""
        return self.owner is None and (self.stage is not None or self.source is not None)

    def filters(self) -> dict[str, str]:
        """The columns that are filtered by, and their values."""
        return {name: value for name in FILTERS if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, slots=True)
class After:
    """The row that the last page ended with."""

    list: str
    key: float
    lead: int


def published_run(connection: sa.Connection) -> sa.Row[Any] | None:
    """The run whose list is shown; None before the first."""
    return connection.execute(_PUBLISHED).one_or_none()


def run_of(connection: sa.Connection, run: int) -> sa.Row[Any] | None:
    """A run whose list is or was shown; None where it was never, or is no longer kept."""
    return connection.execute(_RUN, {"run_": run}).one_or_none()


def listed_rows(connection: sa.Connection, lead_ids: Sequence[str]) -> dict[str, sa.Row[Any]]:
    """Rows of the published run by ``lead_id``; the list of one is empty where its lead was closed since."""
    found = connection.execute(_of_leads(connection.dialect.name), {"ids": list(lead_ids)})
    return {row.lead_id: row for row in found}


@cache
def _of_leads(dialect: str) -> sa.Select[Any]:
    query = sa.select(*_SHOWN).join(leads, leads.c.lead == listed.c.lead)
    return query.join(published, published.c.run == listed.c.run).where(among(leads.c.lead_id, "ids", dialect))


def list_page(
    connection: sa.Connection,
    run: int,
    wanted: Wanted,
    *,
    limit: int,
    after: After | None = None,
    of: str | None = None,
) -> Sequence[sa.Row[Any]]:
    """Up to ``limit`` rows of a run, likeliest first; those before the handoff come before those past it.

    Parameters
    ----------
    of : str, optional
        One of `LISTS`; by default both.
    """
    filters = wanted.filters()
    asked = {f"{name}_": value for name, value in filters.items()} | {"run_": run, "minimum_": wanted.minimum}
    found: list[sa.Row[Any]] = []
    for name in LISTS if of is None else (of,):
        if after is not None and LISTS.index(name) < LISTS.index(after.list):
            continue
        values = asked | {"list_": name}
        if after is not None and name == after.list:
            # Two searches: one for "less, or equal and later" would read all rows that are equal, every time.
            values |= {"key_": after.key, "lead_": after.lead}
            for search in ("tied", "below"):
                found += _more(connection, tuple(filters), search, values, limit - len(found))
        else:
            found += _more(connection, tuple(filters), "first", values, limit - len(found))
    return found


def _more(
    connection: sa.Connection, filters: tuple[str, ...], search: str, values: dict[str, Any], limit: int
) -> Sequence[sa.Row[Any]]:
    if limit <= 0:
        return ()
    return connection.execute(_query(filters, search), values | {"limit_": limit}).all()


@cache
def _query(filters: tuple[str, ...], search: str) -> sa.Select[Any]:
    columns = listed.c
    query = (
        sa.select(*_SHOWN)
        .join(leads, leads.c.lead == columns.lead)
        .where(columns.run == sa.bindparam("run_"), columns.list == sa.bindparam("list_"))
        .where(
            columns.key >= sa.bindparam("minimum_"), *(columns[name] == sa.bindparam(f"{name}_") for name in filters)
        )
    )
    match search:
        case "tied":
            query = query.where(columns.key == sa.bindparam("key_"), columns.lead > sa.bindparam("lead_"))
        case "below":
            query = query.where(columns.key < sa.bindparam("key_"))
    return query.order_by(columns.key.desc(), columns.lead).limit(sa.bindparam("limit_"))
