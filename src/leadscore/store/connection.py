"""Where the database is, its connections, and its errors as ours."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadscore.errors import StoreError
from leadscore.store.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_URL = "sqlite:///models/leadscore.db"
POSTGRESQL = "postgresql+psycopg"
# How long one waits for another to finish writing.
BUSY_SECONDS = 60
CONNECT_SECONDS = 10
WRITES, AUTOCOMMIT, UNCHECKED = "leadscore_writes", "leadscore_autocommit", "leadscore_unchecked"
# Full: what was committed survives a loss of power.
PRAGMAS = (
    f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)

_NOTHING = sa.text("SELECT 1")


@dataclass(frozen=True, slots=True)
class Store:
    """A database whose tables are those of `leadscore.store.schema`."""

    engine: sa.Engine

    def __str__(self) -> str:
        return _named(self.engine.url)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self.engine.dispose()


def open_store(url: str | None = None) -> Store:
    """The store, with its tables made or brought up to date; two services may open one at the same time.

    Parameters
    ----------
    url : str, optional
        SQLAlchemy URL of an SQLite file or a PostgreSQL database; by default that of ``LEADSCORE_DATABASE_URL``,
        and without that ``models/leadscore.db`` in the working directory.

    Raises
    ------
    StoreError
        The URL is none, the database cannot be reached, or its tables are of a later leadscore. The message holds
        no password.
    """
    where = _url(url or os.environ.get("LEADSCORE_DATABASE_URL") or DEFAULT_URL)
    store = Store(_engine(where))
    if not is_postgresql(store):
        try:
            Path(where.database or "").absolute().parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{store} cannot be opened: {error.strerror}") from None
    try:
        migrate(store.engine)
    except sa.exc.DBAPIError as error:
        store.close()
        raise StoreError(f"{store} cannot be opened: {_cause(error, where)}") from None
    except BaseException:
        store.close()
        raise
    return store


@contextmanager
def transaction(store: Store, *, checked: bool = True) -> Iterator[sa.Connection]:
    """A connection that writes: all of the block is stored at its end, or nothing where it raises.

    In SQLite it is the only one that writes from its begin on, so that it never finds what it read changed.

    Parameters
    ----------
    checked : bool
        Whether SQLite looks for what each new row refers to. Whoever has looked in the same transaction need not: it
        takes a quarter of the time of storing many rows.

    Raises
    ------
    StoreError
        The database cannot be reached, or another went on writing for a minute.
    """
    options = {WRITES: True} if checked or is_postgresql(store) else {WRITES: True, UNCHECKED: True}
    with _spoken(store), store.engine.connect().execution_options(**options) as connection:
        try:
            with connection.begin():
                yield connection
        finally:
            if UNCHECKED in options:
                _foreign_keys(connection, "ON")


@contextmanager
def reading(store: Store) -> Iterator[sa.Connection]:
    """A connection that sees one state of the database throughout the block, and changes nothing.

    Raises
    ------
    StoreError
        The database cannot be reached.
    """
    level: dict[str, Any] = {"isolation_level": "REPEATABLE READ"} if is_postgresql(store) else {}
    with _spoken(store), store.engine.connect().execution_options(**level) as connection, connection.begin():
        yield connection


@contextmanager
def asking(store: Store) -> Iterator[sa.Connection]:
    """A connection for questions that need not be of one state: no transaction, which costs more than a short answer.

    Raises
    ------
    StoreError
        The database cannot be reached.
    """
    level: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"} if is_postgresql(store) else {AUTOCOMMIT: True}
    with _spoken(store), store.engine.connect().execution_options(**level) as connection:
        yield connection


def answers(store: Store) -> None:
    """Ask the database for nothing.

    Raises
    ------
    StoreError
        It does not answer.
    """
    with asking(store) as connection:
        connection.execute(_NOTHING)


def is_postgresql(store: Store) -> bool:
    """Whether it is PostgreSQL, not SQLite."""
    return store.engine.dialect.name == "postgresql"


@contextmanager
def _spoken(store: Store) -> Iterator[None]:
    try:
        yield
    # Faults of the database only: a broken key or a wrong type is ours.
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
        cause = _cause(error, store.engine.url) if isinstance(error, sa.exc.DBAPIError) else "no connection is free"
        raise StoreError(f"{store} cannot be used now: {cause}") from error


def _url(text: str) -> sa.URL:
    advice = "write sqlite:///<file> or postgresql://<user>:<password>@<host>/<database>"
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise StoreError(f"LEADSCORE_DATABASE_URL is no URL of a database: {advice}") from None
    backend = url.get_backend_name()
    if backend == "postgres":
        backend = "postgresql"
    if backend not in {"sqlite", "postgresql"}:
        raise StoreError(f"LEADSCORE_DATABASE_URL names {backend}: {advice}")
    if backend == "sqlite" and url.database in {None, "", ":memory:"}:
        raise StoreError(f"LEADSCORE_DATABASE_URL names no file: {advice}")
    return url.set(drivername=POSTGRESQL) if backend == "postgresql" else url


def _engine(url: sa.URL) -> sa.Engine:
    # Parameters are what callers sent: they must not stand in errors.
    if url.get_backend_name() == "postgresql":
        query = {"connect_timeout": str(CONNECT_SECONDS)} | dict(url.query)
        return sa.create_engine(url.set(query=query), pool_pre_ping=True, pool_size=10, hide_parameters=True)
    engine = sa.create_engine(url, pool_size=10, hide_parameters=True)
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _: Any) -> None:
    # The driver's own begin would come only before the first write: a read before it would not be of this state.
    connection.isolation_level = None
    for pragma in PRAGMAS:
        connection.execute(pragma).close()


def _begin(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if UNCHECKED in options:
        _foreign_keys(connection, "OFF")
    if AUTOCOMMIT not in options:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if WRITES in options else "BEGIN")


def _foreign_keys(connection: sa.Connection, state: str) -> None:
    # To the driver itself: SQLite takes it between transactions only, and SQLAlchemy would begin one.
    driver: Any = connection.connection.driver_connection
    driver.execute(f"PRAGMA foreign_keys = {state}").close()


def _named(url: sa.URL) -> str:
    # Passwords stand in queries of URLs, too.
    return str(url.set(query={}).render_as_string(hide_password=True))


def _cause(error: sa.exc.DBAPIError, url: sa.URL) -> str:
    said = " ".join(str(error.orig).split())
    secrets = [str(url.password or ""), *map(str, url.query.values())]
    for each in filter(None, secrets):
        said = said.replace(each, "***")
    return said
