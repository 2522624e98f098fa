"""The list of scored leads: staged beside the one in force, then put in its place in one step.

A run is a whole list. Its rows are staged in small commits, which readers do not see; to publish it is one small
transaction. Leads that are scored anew meanwhile are written to the list in force and to the one in the making. What
a later list replaces goes to the history of scores.
"""

from __future__ import annotations

import json
import time
from collections import deque
from contextlib import contextmanager
from functools import cache
from itertools import repeat
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from leadscore.errors import StoreError
from leadscore.store.alone import one_batch
from leadscore.store.connection import is_postgresql, reading, transaction
from leadscore.store.dialect import among, insert, upserted
from leadscore.store.relisting import OLD, PAST, PUBLISHED, RUNS, SCORE, STAGING, rows_of_run, some_of_run
from leadscore.store.schema import leads, listed, published, runs, scores
from leadscore.store.scored import PER_LEAD, PER_RUN, as_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leadscore.history.line import Int64s
    from leadscore.store.connection import Store
    from leadscore.store.scored import ScoredLeads

    # Writes rows that are prepared; how many.
    Write = Callable[[sa.Connection], int]

# Rows in one statement. PostgreSQL's are locked in order, so that there it is also a transaction.
ROWS = 2_000
ROWS_POSTGRESQL = 5_000
# SQLite has one writer at a time, and who waits for it looks every tenth of a second: a transaction of ours goes on for
# so long, because each writes the pages of the indexes again, and then lets the others in.
HOLD_SECONDS = 0.75
PAUSE_SECONDS = 0.11
# For SQLite: the indexes of a million leads stay in memory, and their last pages, which each commit writes again, go
# from the log to the file only now and then.
PRAGMAS = (f"PRAGMA cache_size = {-512 * 1024}", "PRAGMA wal_autocheckpoint = 16000")
FAILED = "failed"

_HAS_ROWS = sa.exists().where(listed.c.run == runs.c.run)
_LEFT = sa.select(runs.c.run, runs.c.state).where(runs.c.state.in_((PAST, FAILED)), _HAS_ROWS).order_by(runs.c.run)
_COUNT = sa.update(runs).where(runs.c.run == sa.bindparam("of")).values(leads=runs.c.leads + sa.bindparam("more"))


# For SQLite. Nearly always none: to name those that are there takes longer than to find them.
_ASKED = sa.func.json_each(sa.bindparam("leads")).table_valued("value")
_LEFT_OUT = (
    sa.select(_ASKED.c.value)
    .outerjoin(leads, leads.c.lead == _ASKED.c.value)
    .where(leads.c.lead.is_(None) | leads.c.do_not_score | leads.c.gone_at.is_not(None))
)


@contextmanager
def begin_run(store: Store, *, as_of: int, model_version: str, at: int) -> Iterator[int]:
    """A new run, which nobody else can begin another beside for as long as the block lasts.

    What runs that broke off have left is deleted first.

    Raises
    ------
    StoreError
        Another batch is under way.
    """
    with one_batch(store):
        with transaction(store) as connection:
            if is_postgresql(store):
                # Whoever scores leads anew has either ended, and this batch reads it, or will see this run.
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(RUNS)))
            connection.execute(sa.update(runs).where(runs.c.state == STAGING).values(state=FAILED))
            new = {"as_of": as_of, "started_at": at, "model_version": model_version, "leads": 0, "state": STAGING}
            run = int(connection.execute(sa.insert(runs).values(new).returning(runs.c.run)).scalar_one())
        with reading(store) as connection:
            failed = [each.run for each in connection.execute(_LEFT) if each.state == FAILED]
        for each in failed:
            _clear(store, each, keep=False)
        yield run


def stage(store: Store, run: int, scored: ScoredLeads) -> int:
    """Add scores to a run that is not published yet; how many.

    In small commits, with time for other writers between them. Leads that were erased, left the CRM or object are left
    out. A lead that was scored anew since the run began keeps that score unless this one is of a later moment, and gets
    its rank from here.
    """
    order, n_rows, staged = scored.as_listed(), _rows_at_once(store), 0
    of_run = {"run": run, "scored_at": scored.scored_at, "model_version": scored.model_version}
    prepare = _copied if is_postgresql(store) else _inserted
    ahead = (prepare(scored, order[begin : begin + n_rows], of_run) for begin in range(0, len(order), n_rows))
    prepared: deque[Write] = deque()

    def prepare_some(until: float) -> None:
        while time.monotonic() < until and (write := next(ahead, None)) is not None:
            prepared.append(write)

    def some_more(connection: sa.Connection) -> bool:
        nonlocal staged
        write = prepared.popleft() if prepared else next(ahead, None)
        if write is None:
            return False
        added = write(connection)
        connection.execute(_COUNT, {"of": run, "more": added})
        staged += added
        return True

    _in_small_transactions(store, some_more, prepare_some)
    return staged


def publish(store: Store, run: int, *, at: int) -> None:
    """Make a run the list in force, in one step.

    Raises
    ------
    StoreError
        Another batch has taken it for broken off.
    """
    with transaction(store) as connection:
        for state, next_state in ((OLD, PAST), (PUBLISHED, OLD)):
            connection.execute(sa.update(runs).where(runs.c.state == state).values(state=next_state))
        done = {"state": PUBLISHED, "finished_at": at, "published_at": at}
        ready = sa.update(runs).where(runs.c.run == run, runs.c.state == STAGING).values(done)
        if connection.execute(ready.returning(runs.c.run)).first() is None:
            raise StoreError(f"run {run} is no longer being staged: another batch took it for broken off; score again")
        upserted(connection, published, {"one": 1, "run": run})


def sweep(store: Store, *, keep_from: int) -> None:
    """Move lists older than the former one to the history of scores, and delete what is older than ``keep_from``.

    In small commits; whatever breaks off, each row is in the list or in the history. The former list stays for those
    who are reading it page by page.
    """
    with reading(store) as connection:
        left = connection.execute(_LEFT).all()
    for each in left:
        _clear(store, each.run, keep=each.state == PAST)

    def some_more(connection: sa.Connection) -> bool:
        outdated = sa.select(scores.c.id).where(scores.c.as_of < keep_from).limit(_rows_at_once(store))
        return bool(connection.execute(sa.delete(scores).where(scores.c.id.in_(outdated))).rowcount)

    _in_small_transactions(store, some_more)


def _rows_at_once(store: Store) -> int:
    return ROWS_POSTGRESQL if is_postgresql(store) else ROWS


def _in_small_transactions(
    store: Store, some_more: Callable[[sa.Connection], bool], meanwhile: Callable[[float], None] | None = None
) -> None:
    """Work in small transactions, with time for others to write between them, until nothing is left to do.

    Parameters
    ----------
    some_more : callable
        Works on `_rows_at_once` rows; false where there were none.
    meanwhile : callable, optional
        What can be done while others write, until a moment of ``time.monotonic``.
    """
    more = True
    while more:
        # Leads are looked up anyhow, and nobody else writes meanwhile.
        with transaction(store, checked=False) as connection:
            if is_postgresql(store):
                more = some_more(connection)
                continue
            for pragma in PRAGMAS:
                connection.exec_driver_sql(pragma).close()
            until = time.monotonic() + HOLD_SECONDS
            more = some_more(connection)
            while more and time.monotonic() < until:
                more = some_more(connection)
        if more:
            until = time.monotonic() + PAUSE_SECONDS
            if meanwhile is not None:
                meanwhile(until)
            time.sleep(max(0.0, until - time.monotonic()))


def _inserted(scored: ScoredLeads, rows: Int64s, of_run: dict[str, Any]) -> Write:
    """For SQLite."""
    statement, names = _stage_rows()
    columns: dict[str, Any] = scored.columns(rows) | {name: repeat(value, len(rows)) for name, value in of_run.items()}
    values = list(zip(*(columns[name] for name in names), strict=True))

    def write(connection: sa.Connection) -> int:
        left_out = set(connection.execute(_LEFT_OUT, {"leads": json.dumps(columns["lead"])}).scalars())
        pairs = zip(columns["lead"], values, strict=True)
        kept = [row for lead, row in pairs if lead not in left_out] if left_out else values
        if kept:
            connection.exec_driver_sql(statement, kept)
        return len(kept)

    return write


def _copied(scored: ScoredLeads, rows: Int64s, of_run: dict[str, Any]) -> Write:
    """For PostgreSQL."""
    text = as_csv(scored, rows)

    def write(connection: sa.Connection) -> int:
        _COPIED.create(connection)
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy("COPY copied FROM STDIN (FORMAT CSV)") as copy:
            copy.write(text)
        added = connection.execute(_stage_copied(), of_run).rowcount
        _COPIED.drop(connection)
        return int(added)

    return write


def _clear(store: Store, run: int, *, keep: bool) -> None:
    """Delete the rows of a run, in small commits, or move them to the history of scores."""
    dialect = store.engine.dialect.name
    # In the order in which they lie side by side.
    some = sa.select(listed.c.lead).where(listed.c.run == run)
    some = some.order_by(listed.c.run, listed.c.list, listed.c.key.desc(), listed.c.lead).limit(_rows_at_once(store))

    def some_more(connection: sa.Connection) -> bool:
        wanted = {"run": run, "leads": connection.execute(some).scalars().all()}
        if not wanted["leads"]:
            return False
        if keep:
            # A lead that is being erased is waited for, and then it has no row to keep.
            connection.execute(_locked(dialect), wanted)
            connection.execute(_moved(dialect), wanted)
        connection.execute(_removed(dialect), wanted)
        return True

    _in_small_transactions(store, some_more)


def _staged_over(statement: Any) -> Any:
    """The rank is the batch's. Where both are of one moment, the score that is there knows what came meanwhile."""
    newer = statement.excluded.as_of > listed.c.as_of
    others = {
        name: sa.case((newer, statement.excluded[name]), else_=listed.c[name])
        for name in (*PER_LEAD, *PER_RUN)
        if name not in {"rank", "lead", "run"}
    }
    return statement.on_conflict_do_update(
        index_elements=[listed.c.lead, listed.c.run], set_={"rank": statement.excluded.rank} | others
    )


@cache
def _stage_rows() -> tuple[str, tuple[str, ...]]:
    """For SQLite, as its driver takes it without a word more per row: the statement, and the order of its values."""
    statement = insert(listed, "sqlite").values({column.name: sa.bindparam(column.name) for column in listed.c})
    compiled: Any = _staged_over(statement).compile(dialect=sqlite.dialect())
    return str(compiled), tuple(compiled.positiontup)


_COPIED = sa.Table(
    "copied",
    sa.MetaData(),
    *(sa.Column(name, sa.BigInteger if name == "lead" else listed.c[name].type) for name in PER_LEAD),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)


@cache
def _stage_copied() -> Any:
    same = [sa.bindparam(name, type_=listed.c[name].type).label(name) for name in PER_RUN]
    found = (
        sa.select(*_COPIED.c, *same)
        .join(leads, leads.c.lead == _COPIED.c.lead)
        .where(sa.not_(leads.c.do_not_score), leads.c.gone_at.is_(None))
        .order_by(_COPIED.c.lead)
        # Nobody erases them or notes an objection until these rows are there to be deleted.
        .with_for_update(read=True, of=leads)
    )
    statement = insert(listed, "postgresql").from_select([*PER_LEAD, *PER_RUN], found)
    return _staged_over(statement).execution_options(preserve_rowcount=True)


@cache
def _locked(dialect: str) -> Any:
    some = sa.select(leads.c.lead).where(among(leads.c.lead, "leads", dialect)).order_by(leads.c.lead)
    return some.with_for_update(read=True, key_share=True)


@cache
def _moved(dialect: str) -> Any:
    return sa.insert(scores).from_select(["lead", *SCORE], rows_of_run(dialect))


@cache
def _removed(dialect: str) -> Any:
    return sa.delete(listed).where(some_of_run(dialect))
