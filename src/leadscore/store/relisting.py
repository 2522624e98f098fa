"""Scores of leads that are scored anew between two batches, and the history of scores."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from leadscore.store.dialect import among, insert
from leadscore.store.schema import listed, runs, scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from leadscore.store.scored import ScoredLeads

# The number of the lock that whoever scores leads anew shares, and the beginning of a batch has alone.
RUNS = int.from_bytes(b"leadruns")
STAGING, PUBLISHED, OLD, PAST = "staging", "published", "old", "past"
SCORE = ("as_of", "scored_at", "model_version", "stage", "probabilities", "flags")

_OPEN_RUNS = sa.select(runs.c.run, runs.c.state, runs.c.as_of).where(runs.c.state.in_((STAGING, PUBLISHED)))
_SHARE_RUNS = sa.select(sa.func.pg_advisory_xact_lock_shared(RUNS))
_KEEP = sa.insert(scores)


@dataclass(frozen=True, slots=True)
class Runs:
    """The lists that a score has to go to; None where there is none.

    Attributes
    ----------
    published : int, optional
        The list in force.
    staging : int, optional
        The one in the making.
    as_of : int
        The latest moment that one of them is of, in microseconds since 1970 UTC; 0 where there is none.
    """

    published: int | None
    staging: int | None
    as_of: int


@dataclass(frozen=True, slots=True)
class PastScore:
    """One score of a lead's history.

    Attributes
    ----------
    as_of, scored_at : int
        Microseconds since 1970 UTC.
    model_version, stage : str
    probabilities : tuple of float or None
        In order of later stages; None for those passed.
    flags : tuple of str
    """

    as_of: int
    scored_at: int
    model_version: str
    stage: str
    probabilities: tuple[float | None, ...]
    flags: tuple[str, ...]


def open_runs(connection: sa.Connection) -> Runs:
    """The lists that leads which are scored anew in this transaction have to go to."""
    if connection.dialect.name == "postgresql":
        connection.execute(_SHARE_RUNS)
    found = connection.execute(_OPEN_RUNS).all()
    of_state = {each.state: each.run for each in found}
    return Runs(of_state.get(PUBLISHED), of_state.get(STAGING), max((each.as_of for each in found), default=0))


def relist(
    connection: sa.Connection, to: Runs, scored: ScoredLeads, before: Mapping[int, sa.RowMapping] | None = None
) -> None:
    """Put scores of leads that are scored anew in the place of those in the lists; ranks stay.

    What they replace in the list in force goes to the history of scores, unless it is of a later moment: nobody can
    know that yet. A score that is of an earlier moment than a list replaces nothing and goes to the history itself, as
    does every score while there is no list.

    Parameters
    ----------
    connection : Connection
        Of `leadscore.store.transaction`, in which the leads are locked: their history was changed in it.
    to : Runs
        Of `open_runs` in the same transaction.
    scored : ScoredLeads
        Of leads that are in the store and do not object.
    before : mapping of int to RowMapping, optional
        Of `listed_scores` for these leads, where they were read before.
    """
    new = scored.rows()
    if not new:
        return
    dialect = connection.dialect.name
    if before is None:
        before = listed_scores(connection, to, [row["lead"] for row in new])
    past = [_past(row, before.get(row["lead"]), to) for row in new]
    if kept := [row for row in past if row is not None]:
        connection.execute(_KEEP, kept)
    current = [row for row in new if row["as_of"] >= to.as_of]
    for run in (to.published, to.staging):
        if run is not None and current:
            connection.execute(_relisted(dialect), [row | {"run": run} for row in current])


def listed_scores(connection: sa.Connection, to: Runs, numbers: Sequence[int]) -> dict[int, sa.RowMapping]:
    """The scores of some leads in the list in force, by the lead's number in the store."""
    if to.published is None:
        return {}
    wanted = {"run": to.published, "leads": list(numbers)}
    found = connection.execute(rows_of_run(connection.dialect.name), wanted)
    return {row["lead"]: row for row in found.mappings()}


def unlist(connection: sa.Connection, numbers: Sequence[int]) -> None:
    """Take leads off all lists."""
    if numbers:
        connection.execute(_unlisted(connection.dialect.name), {"leads": list(numbers)})


def score_history(connection: sa.Connection, lead: int, *, since: int = 0) -> list[PastScore]:
    """Scores of a lead that are of ``since`` or later, oldest first, each once.

    Parameters
    ----------
    lead : int
        Its number in the store.
    since : int
        Microseconds since 1970 UTC.
    """
    found = connection.execute(_HISTORY, {"lead": lead, "since": since})
    return [
        PastScore(as_of, scored_at, version, stage, tuple(json.loads(probabilities)), tuple(json.loads(flags)))
        for as_of, scored_at, version, stage, probabilities, flags in found.tuples()
    ]


def _past(new: dict[str, Any], before: sa.RowMapping | None, to: Runs) -> dict[str, Any] | None:
    """What goes to the history: the score replaced, or the new one where it is listed nowhere."""
    if to.published is None or new["as_of"] < to.as_of:
        return {name: new[name] for name in ("lead", *SCORE)}
    if before is None or before["as_of"] > new["as_of"]:
        return None
    return {name: before[name] for name in ("lead", *SCORE)}


def some_of_run(dialect: str) -> sa.ColumnElement[bool]:
    """Rows of ``leads`` in ``run``, two parameters."""
    return sa.and_(listed.c.run == sa.bindparam("run"), among(listed.c.lead, "leads", dialect))


@cache
def rows_of_run(dialect: str) -> Any:
    """A query of the scores of ``leads`` in ``run``, two parameters."""
    return sa.select(listed.c.lead, *(listed.c[name] for name in SCORE)).where(some_of_run(dialect))


@cache
def _relisted(dialect: str) -> sa.TextClause:
    statement = insert(listed, dialect).values({column.name: sa.bindparam(column.name) for column in listed.c})
    said = statement.excluded
    new = {column.name: said[column.name] for column in listed.c if column.name not in {"rank", "lead", "run"}}
    statement = statement.on_conflict_do_update(index_elements=[listed.c.lead, listed.c.run], set_=new)
    # As text: what is to be done about a conflict SQLAlchemy compiles anew each time, as slow as a lead is scored.
    plain = postgresql if dialect == "postgresql" else sqlite
    return sa.text(str(statement.compile(dialect=plain.dialect(paramstyle="named"))))


@cache
def _unlisted(dialect: str) -> Any:
    return sa.delete(listed).where(among(listed.c.lead, "leads", dialect))


def _history() -> Any:
    of_lead: sa.BindParameter[int] = sa.bindparam("lead")
    since: sa.BindParameter[int] = sa.bindparam("since")
    parts = [
        sa.select(*(table.c[name] for name in SCORE)).where(table.c.lead == of_lead, table.c.as_of >= since)
        for table in (scores, listed)
    ]
    # Lists that were never published were never anybody's score.
    was = sa.select(runs.c.run).where(runs.c.state.in_((PUBLISHED, OLD, PAST)))
    both = sa.union(parts[0], parts[1].where(listed.c.run.in_(was)))
    return both.order_by("as_of", "scored_at")


_HISTORY = _history()
