"""A process that reads one SQLite file: queries come in, a line of JSON each, Arrow's streams go out.

Nothing here may open the file by Python's own sqlite3.
"""

from __future__ import annotations

import json
import os
import sys

# Its module dbapi would import pandas, which takes longer than most reads.
import adbc_driver_manager as adbc
import adbc_driver_sqlite
import pyarrow as pa

BUSY_MS = 60_000
# Of the file, read without copying.
MAPPED_BYTES = 1 << 40


def main() -> None:
    """Answer until there are no more queries; all answers are of one state of the file."""
    path, rows = sys.argv[1:]
    with (
        adbc_driver_sqlite.connect(path) as database,
        adbc.AdbcConnection(database) as connection,
        adbc.AdbcStatement(connection) as statement,
    ):
        connection.set_autocommit(False)
        for pragma in (f"busy_timeout = {BUSY_MS}", f"mmap_size = {MAPPED_BYTES}"):
            _answer(statement, f"PRAGMA {pragma}").read_all()
        statement.set_options(**{"adbc.sqlite.query.batch_rows": rows})
        for line in sys.stdin:
            found = _answer(statement, json.loads(line))
            with pa.ipc.new_stream(sys.stdout.buffer, found.schema) as stream:
                for batch in found:
                    stream.write_batch(batch)
            sys.stdout.buffer.flush()


def _answer(statement: adbc.AdbcStatement, query: str) -> pa.RecordBatchReader:
    statement.set_sql_query(query)
    handle, _ = statement.execute_query()
    return pa.RecordBatchReader.from_stream(handle)


if __name__ == "__main__":
    main()
    # All is closed and written: the rest is Python's own tidying up, which takes longer than most reads.
    os._exit(0)
