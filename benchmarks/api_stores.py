"""Databases of a million leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from leadscore.funnel import open_leads
from leadscore.history import read_history
from leadscore.store import ScoredLeads, begin_run, ingest, open_store, publish, stage, transaction
from leadscore.store.connection import is_postgresql
from leadscore.store.schema import EVENTS, leads, metadata

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history.line import Int64s
    from leadscore.store import Store

EVENT_ID_BYTES = 16


def filled(url: str, folder: Path, received_at: int) -> Store:
    """A store with a data set folder in it."""
    store = open_store(url)
    ingest(store, folder, received_at=received_at)
    return store


def million_listed(url: str, n_leads: int, as_of: int) -> None:
    """Publish a list of so many leads, without histories, spread over owners, stages and sources."""
    store = open_store(url)
    numbers = _more_leads(store, n_leads, as_of)
    rng = np.random.default_rng(1)
    key = rng.beta(1, 12, n_leads)
    before = rng.random(n_leads) < 0.9
    stages = np.where(before, np.array(["lead", "mql", "sal"], object)[rng.integers(0, 3, n_leads)], "opportunity")
    text = np.array([f"[null,null,{each!r},{each / 2!r},{each / 4!r}]" for each in key.tolist()], object)
    ranks = np.empty(n_leads, np.int64)
    ranks[np.lexsort((numbers, -key, ~before))] = np.arange(n_leads) + 1
    listed = ScoredLeads(
        lead=numbers,
        as_of=np.full(n_leads, as_of),
        stage=stages,
        probabilities=text,
        flags=np.full(n_leads, "[]", object),
        of_list=np.where(before, "handoff", "win").astype(object),
        rank=ranks,
        key=key,
        owner=np.array([f"owner {each}" for each in range(200)], object)[rng.integers(0, 200, n_leads)],
        source=np.array(["event", "search_ads", "webinar"], object)[rng.integers(0, 3, n_leads)],
        grade=np.array(list("ABCD"), object)[rng.integers(0, 4, n_leads)],
        scored_at=as_of,
        model_version="1",
    )
    with begin_run(store, as_of=as_of, model_version="1", at=as_of) as run:
        stage(store, run, listed)
        publish(store, run, at=as_of)
    _analyzed(store)
    store.close()


def _more_leads(store: Store, n_leads: int, at: int) -> Int64s:
    rows = ({"lead_id": f"X{number:07}", "created_at": at, "recorded_at": at} for number in range(n_leads))
    same = {"attributes": "{}", "do_not_score": False}
    with transaction(store) as connection:
        for few in _some(list(rows), 50_000):
            connection.execute(sa.insert(leads), [row | same for row in few])
        query = sa.select(leads.c.lead).where(leads.c.lead_id.like("X%")).order_by(leads.c.lead)
        return np.array(connection.execute(query).scalars().all(), np.int64)


def open_leads_multiplied(url: str, folder: Path, as_of: int, n_leads: int) -> int:
    """Fill an SQLite store with the open leads of a data set folder, again and again under other names; how many."""
    history = read_history(folder)
    is_open = history.ids[open_leads(history, as_of).lead]
    store = filled(url, folder, as_of)
    copies = -(-n_leads // len(is_open))
    with transaction(store) as connection:
        connection.exec_driver_sql("CREATE TEMPORARY TABLE kept (lead_id TEXT PRIMARY KEY)").close()
        connection.exec_driver_sql("INSERT INTO kept VALUES (?)", [(each,) for each in is_open.tolist()])
        others = "SELECT lead FROM leads WHERE lead_id NOT IN (SELECT lead_id FROM kept)"
        for table in (*EVENTS, "leads"):
            connection.exec_driver_sql(f"DELETE FROM {table} WHERE lead IN ({others})")
        step = int(connection.exec_driver_sql("SELECT max(lead) FROM leads").scalar_one())
        indexes = _indexes_dropped(connection)
        for table in ("leads", *EVENTS):
            _copy(connection, table, step, copies)
        for each in indexes:
            connection.exec_driver_sql(each)
    store.close()
    return copies * len(is_open)


def _indexes_dropped(connection: sa.Connection) -> list[str]:
    """Drop the indexes of events, which are quicker made anew; the statements that do so."""
    made = []
    for table in EVENTS:
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
        for name, statement in connection.exec_driver_sql(query, (table,)).all():
            connection.exec_driver_sql(f"DROP INDEX {name}")
            made.append(statement)
    return made


def _copy(connection: sa.Connection, table: str, step: int, copies: int) -> None:
    """All rows again for other leads; ``event_key`` is random, as hashes are."""
    columns = [column.name for column in metadata.tables[table].c if column.name != "id"]
    new = {"lead": "lead + n * ?1", "lead_id": "lead_id || '-' || n", "event_key": f"randomblob({EVENT_ID_BYTES})"}
    chosen = ", ".join(new.get(name, f'"{name}"') for name in columns)
    named = ", ".join(f'"{name}"' for name in columns)
    numbers = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?2)"
    rows = f"SELECT {chosen} FROM numbers, (SELECT * FROM {table} WHERE lead <= ?1)"
    connection.exec_driver_sql(f"INSERT INTO {table} ({named}) {numbers} {rows}", (step, copies - 1))


def _some(rows: list[dict[str, Any]], size: int) -> list[list[dict[str, Any]]]:
    return [rows[begin : begin + size] for begin in range(0, len(rows), size)]


def _analyzed(store: Store) -> None:
    with transaction(store) as connection:
        connection.execute(sa.text("ANALYZE listed" if is_postgresql(store) else "PRAGMA optimize"))
