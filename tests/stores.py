"""A fresh database of each kind, and what is stored in it, row by row."""

from __future__ import annotations

import shutil
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadscore.store import accept, open_store, reading, transaction
from leadscore.store.connection import POSTGRESQL
from leadscore.store.schema import metadata
from tests.postgres import server_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from leadscore.store import Accepted, Event, Store

KINDS = ("sqlite", "postgresql")
NOON = 1_709_553_600_000_000  # 2024-03-04 12:00 UTC


@contextmanager
def fresh_url(kind: str, folder: Path, like: str | None = None) -> Iterator[str]:
    """The URL of a database that nothing is in, or what is in the one ``like``, which nobody uses now."""
    if kind == "sqlite":
        if like is not None:
            shutil.copy(str(sa.make_url(like).database), folder / "store.db")
        yield f"sqlite:///{folder / 'store.db'}"
        return
    url = sa.make_url(server_url()).set(drivername=POSTGRESQL)
    name = f"test_{uuid.uuid4().hex}"
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        template = "template0" if like is None else sa.make_url(like).database
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def opened(url: str) -> Iterator[Store]:
    """A store, and no connection left behind."""
    store = open_store(url)
    try:
        yield store
    finally:
        store.close()


def contents(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, in an order of their own; without numbers that say only who came first."""
    with reading(store) as connection:
        return {
            table.name: sorted(
                map(
                    tuple,
                    connection.execute(sa.select(*(each for each in table.c if each.name not in {"id", "lead"}))),
                ),
                key=repr,
            )
            for table in metadata.sorted_tables
        }


def counts(store: Store) -> dict[str, int]:
    """Rows of each table that has any, but for the store's settings."""
    return {table: len(rows) for table, rows in contents(store).items() if rows and table != "settings"}


def send(store: Store, *events: Event, at: int = NOON) -> Accepted:
    """Events that come in together."""
    with transaction(store) as connection:
        return accept(connection, list(events), received_at=at)


def outcomes(store: Store, *events: Event, at: int = NOON) -> Sequence[str]:
    """What became of events that come in together."""
    return [str(each) for each in send(store, *events, at=at).outcomes]
