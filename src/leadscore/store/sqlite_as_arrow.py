"""A process that reads one SQLite file: queries come in, a line of JSON each, Arrow's streams go out.

Nothing here may open the file by Python's own sqlite3.
"""

from __future__ import annotations

import json
import sys

import adbc_driver_sqlite.dbapi
import pyarrow as pa

BUSY_MS = 60_000
# Of the file, read without copying.
MAPPED_BYTES = 1 << 40


def main() -> None:
    """Answer until there are no more queries; all answers are of one state of the file."""
    path, rows = sys.argv[1:]
    with adbc_driver_sqlite.dbapi.connect(path) as connection, connection.cursor() as cursor:
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        cursor.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": rows})
        for line in sys.stdin:
            cursor.execute(json.loads(line))
            found = cursor.fetch_record_batch()
            with pa.ipc.new_stream(sys.stdout.buffer, found.schema) as stream:
                for batch in found:
                    stream.write_batch(batch)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
