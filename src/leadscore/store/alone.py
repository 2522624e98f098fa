"""One batch at a time."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadscore.errors import StoreError
from leadscore.store.connection import is_postgresql, reading
from leadscore.store.relisting import STAGING
from leadscore.store.schema import runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leadscore.store.connection import Store

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The number of the lock that one batch at a time holds.
BATCH = int.from_bytes(b"leadbatc")

_SINCE = sa.select(runs.c.started_at).where(runs.c.state == STAGING)
_UNLOCK = f"SELECT pg_advisory_unlock({BATCH})"


@contextmanager
def one_batch(store: Store) -> Iterator[None]:
    """Nobody else is in such a block of the same database, on whatever machine.

    SQLite by a lock on a file beside the database's, PostgreSQL by an advisory lock of a connection of its own: both
    end with the process that holds them, however it ends.

    Raises
    ------
    StoreError
        Somebody is.
    """
    with (_connection_alone if is_postgresql(store) else _file_alone)(store) as got:
        if not got:
            with reading(store) as connection:
                since = connection.execute(_SINCE).scalars().first()
            began = "" if since is None else f" since {EPOCH + timedelta(microseconds=since):%Y-%m-%d %H:%M} UTC"
            raise StoreError(f"a run is being scored and published{began}: wait for its end, or end it")
        yield


@contextmanager
def _file_alone(store: Store) -> Iterator[bool]:
    # A file of its own: to close another handle of the database's would let go of SQLite's locks.
    path = f"{os.path.realpath(str(store.engine.url.database))}-batch"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        got = False
    else:
        got = True
    try:
        yield got
    finally:
        os.close(handle)


@contextmanager
def _connection_alone(store: Store) -> Iterator[bool]:
    with reading(store) as connection:
        got = bool(connection.execute(sa.select(sa.func.pg_try_advisory_lock(BATCH))).scalar_one())
        # Its state of the database must not be kept for as long as the batch takes.
        if (begun := connection.get_transaction()) is not None:
            begun.commit()
        driver: Any = connection.connection.driver_connection
        try:
            yield got
        finally:
            # The lock ends with the connection; at once, where that is still there.
            if got:
                with suppress(store.engine.dialect.loaded_dbapi.Error):
                    driver.execute(_UNLOCK)
            connection.invalidate()
