"""The same columns by DuckDB: a range join, counts per example and kind, and a pivot by filtered aggregates.

Fastest of what was tried (seconds for a million touches on a busy machine): this (7.5); the range join with 72
filtered aggregates at once (8.7); as-of joins on running counts by window functions (10.9, and most memory).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.funnel_of_touches import COUNTS, DAY, KINDS, WINDOWS_DAYS

if TYPE_CHECKING:
    from benchmarks.funnel_of_touches import Drawn
    from leadscore.history.line import Float32s

WITHIN = ", ".join(f"count(*) FILTER (as_of - known < {days * DAY}) AS n_{days}" for days in WINDOWS_DAYS)
COLUMNS = [
    *(f"coalesce(max(n_{days}) FILTER (kind = {code}), 0)::FLOAT AS {KINDS[code]}_{days}d" for code, days in COUNTS),
    *(
        f"(max(age) FILTER (kind = {code}) / {DAY}::DOUBLE)::FLOAT AS days_since_last_{name}"
        for code, name in enumerate(KINDS)
    ),
]
QUERY = f"""
    WITH per_kind AS (
        SELECT example, kind, min(as_of - known) AS age, {WITHIN}
        FROM examples LEFT JOIN touches ON touches.lead = examples.lead AND known <= as_of
        GROUP BY example, kind
    )
    SELECT {", ".join(COLUMNS)} FROM per_kind GROUP BY example ORDER BY example
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A database in memory with the tables ``touches`` and ``examples``."""

    database: duckdb.DuckDBPyConnection


def load(drawn: Drawn) -> Loaded:
    """DuckDB's own tables, of the smallest types that hold the values."""
    touches = pa.table({"lead": drawn.lead.astype(np.int32), "known": drawn.known, "kind": drawn.kind.astype(np.int8)})
    n = len(drawn.as_of)
    examples = pa.table(
        {"example": np.arange(n, dtype=np.int32), "lead": drawn.example_lead.astype(np.int32), "as_of": drawn.as_of}
    )
    database = duckdb.connect()
    for name, table in {"touches": touches, "examples": examples}.items():
        database.register(f"{name}_of_arrow", table)
        database.execute(f"CREATE TABLE {name} AS SELECT * FROM {name}_of_arrow")
        database.unregister(f"{name}_of_arrow")
    return Loaded(database)


def found(loaded: Loaded) -> pa.Table:
    """An Arrow table of the columns, one row per example."""
    return loaded.database.sql(QUERY).to_arrow_table()


def compared(columns: pa.Table) -> Float32s:
    """NaN where DuckDB has null."""
    X = np.empty((columns.num_rows, columns.num_columns), np.float32)
    for place, column in enumerate(columns.columns):
        X[:, place] = column.to_numpy()
    return X
