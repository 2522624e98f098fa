"""Tables of the database as Arrow, several times quicker than row by row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Their modules dbapi would import pandas, and Polars where it is, which takes longer than most reads.
import adbc_driver_manager as adbc
import adbc_driver_postgresql
import pyarrow as pa
import sqlalchemy as sa

from leadscore.errors import StoreError
from leadscore.store.connection import asking, is_postgresql, reading, transaction
from leadscore.store.schema import EVENTS, touches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from leadscore.store.connection import Store

    Batches = Iterator[pa.RecordBatch]

    class Query(Protocol):
        """Asks the database."""

        def __call__(self, wanted: sa.Select[Any], key: sa.Column[int] | None = None, /) -> list[Batches]:
            """The rows of a query without parameters: one piece after another, to be read at the same time.

            There may be several pieces where there is a key, in whose order they are.
            """


ROWS = 1 << 16
# Up to so many events are read by row: it takes a quarter of a second to start and connect Arrow's drivers.
FEW_EVENTS = 10_000
READER = Path(__file__).with_name("sqlite_as_arrow.py")
# SQLite answers on one core; a store with more touches than this is read by several processes.
WORTH_READERS = 500_000
MOST_READERS = 4
PIPE_BYTES = 1 << 20
BEGIN = "SELECT count(*) AS tables FROM sqlite_master"

_TOUCHES = sa.select(sa.func.max(touches.c.id))


@contextmanager
def store_reader(store: Store) -> Iterator[Query]:
    """The quicker of `row_reader` and `arrow_reader` for all that a store holds.

    Raises
    ------
    StoreError
        The database cannot be reached.
    """
    with reading(store) as connection:
        last = [connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0 for table in EVENTS.values()]
        if sum(last) <= FEW_EVENTS:
            yield row_reader(connection)
            return
    with arrow_reader(store) as query:
        yield query


@contextmanager
def arrow_reader(store: Store) -> Iterator[Query]:
    """All queries see one state of the database.

    SQLite's driver takes the type of a column from its first rows, so that a query of it must never give null.

    Raises
    ------
    StoreError
        The database cannot be reached.
    """
    with _postgresql(store) if is_postgresql(store) else _sqlite(store) as readers:

        def query(wanted: sa.Select[Any], key: sa.Column[int] | None = None) -> list[Batches]:
            pieces = [wanted] if key is None or len(readers) == 1 else _pieces(store, wanted, key, len(readers))
            return [read(_written(piece, store)) for read, piece in zip(readers, pieces, strict=False)]

        yield query


def row_reader(connection: sa.Connection) -> Query:
    """As `arrow_reader`, of a connection that is open: quicker for a few rows."""

    def query(wanted: sa.Select[Any], _key: sa.Column[int] | None = None) -> list[Batches]:
        return [batches(wanted)]

    def batches(wanted: sa.Select[Any]) -> Batches:
        result = connection.execute(wanted)
        names = list(result.keys())
        for rows in result.partitions(ROWS):
            yield pa.record_batch([pa.array(values) for values in zip(*rows, strict=True)], names=names)

    return query


def _written(wanted: sa.Select[Any], store: Store) -> str:
    return str(wanted.compile(dialect=store.engine.dialect, compile_kwargs={"literal_binds": True}))


def _pieces(store: Store, wanted: sa.Select[Any], key: sa.Column[int], n_pieces: int) -> list[sa.Select[Any]]:
    """Queries that give the rows of one between them, in order of the key."""
    with asking(store) as connection:
        largest = connection.execute(sa.select(sa.func.max(key))).scalar() or 0
    edges = [largest * piece // n_pieces for piece in range(1, n_pieces)]
    found = []
    for begin, end in pairwise([None, *edges, None]):
        piece = wanted if begin is None else wanted.where(key > begin)
        found.append(piece if end is None else piece.where(key <= end))
    return found


@contextmanager
def _postgresql(store: Store) -> Iterator[list[Callable[[str], Batches]]]:
    plain = store.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        with adbc_driver_postgresql.connect(plain) as database, adbc.AdbcConnection(database) as connection:

            def batches(query: str) -> Batches:
                with adbc.AdbcStatement(connection) as statement:
                    statement.set_sql_query(query)
                    handle, _ = statement.execute_query()
                    yield from pa.RecordBatchReader.from_stream(handle)

            connection.set_autocommit(False)
            with adbc.AdbcStatement(connection) as statement:
                statement.set_sql_query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                statement.execute_update()
            yield [batches]
    except (adbc.Error, pa.ArrowException):
        # The driver's own words may hold the URL.
        raise StoreError(f"{store} cannot be read now") from None


@contextmanager
def _sqlite(store: Store) -> Iterator[list[Callable[[str], Batches]]]:
    with asking(store) as connection:
        n_touches = connection.execute(_TOUCHES).scalar() or 0
    n_readers = min(len(os.sched_getaffinity(0)), MOST_READERS) if n_touches > WORTH_READERS else 1
    with ExitStack() as stack:
        readers = [stack.enter_context(_reader(store)) for _ in range(n_readers)]
        yield readers if n_readers == 1 or _begun(store, readers) else readers[:1]


def _begun(store: Store, readers: list[Callable[[str], Batches]]) -> bool:
    """Begin to read one state with all readers, while nobody writes; false where somebody goes on writing for long."""
    try:
        with transaction(store):
            for read in readers:
                list(read(BEGIN))
    except StoreError:
        return False
    return True


@contextmanager
def _reader(store: Store) -> Iterator[Callable[[str], Batches]]:
    # In a process of its own: the driver brings its own SQLite, and two of them in one process undo each other's
    # locks (sqlite.org/howtocorrupt.html, section 2.2.1).
    # By its file, without its folder in the path: it starts several times quicker without the rest of leadscore.
    command = [sys.executable, "-P", str(READER), str(store.engine.url.database), str(ROWS)]
    with subprocess.Popen(  # noqa: S603 - our own
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pipesize=PIPE_BYTES
    ) as reader:
        asked, answered = reader.stdin, reader.stdout
        if asked is None or answered is None:
            raise StoreError(f"{store} cannot be read now")

        def batches(query: str) -> Batches:
            try:
                asked.write(f"{json.dumps(query)}\n".encode())
                asked.flush()
                with pa.ipc.open_stream(answered) as stream:
                    yield from stream
            except (pa.ArrowException, OSError):
                raise StoreError(f"{store} cannot be read now") from None

        try:
            yield batches
        except BaseException:
            reader.kill()
            raise
