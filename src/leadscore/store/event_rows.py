"""Rows of the tables of events, by their keys: read in one statement, written in order of the key."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadscore.store.dialect import keys_among, new_of
from leadscore.store.event_plan import StoredEvent
from leadscore.store.schema import EVENTS, retracted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from leadscore.store.event_plan import SentEvent

# What an event states, beside whose it is and when it became known.
_CONTENTS = {
    "transitions": ("occurred_at", "stage", "reason", "whole_day"),
    "touches": ("occurred_at", "kind", "direction", "by", "value"),
    "changes": ("occurred_at", "attribute", "value"),
}
_MADE = ("lead", "recorded_at", "version", "corrected_at", "backfilled")
_UPDATES = {name: sa.update(table).where(table.c.event_key == sa.bindparam("of_key")) for name, table in EVENTS.items()}


def known_events(connection: sa.Connection, sent: Iterable[SentEvent]) -> tuple[dict[bytes, StoredEvent], set[bytes]]:
    """The rows that the keys of some events have, in any table, and those of the keys that were taken back."""
    keys: dict[str, list[bytes]] = {table: [] for table in (*EVENTS, retracted.name)}
    for event in sent:
        others = iter(event.other_keys)
        for table in EVENTS if event.other_keys else (event.table,):
            keys[table].append(event.key if table == event.table else next(others))
        keys[retracted.name].append(event.key)
    stored: dict[bytes, StoredEvent] = {}
    gone: set[bytes] = set()
    dialect = connection.dialect.name
    asked = {table: _asked(some, dialect) for table, some in keys.items()}
    for row in connection.execute(_known(dialect), asked).mappings():
        table, key = row["of_table"], row["event_key"]
        if table == retracted.name:
            gone.add(key)
            continue
        contents = {name: row[f"{table}_{name}"] for name in _CONTENTS[table]}
        stored[key] = StoredEvent(table, contents=contents, **{name: row[name] for name in _MADE})
    return stored, gone


def insert_events(connection: sa.Connection, rows: Mapping[bytes, StoredEvent]) -> set[bytes]:
    """Insert rows; the keys of those that were not there."""
    return {
        key
        for table, some in _by_table(rows).items()
        for key in new_of(
            connection, EVENTS[table].c.event_key, [_columns(row) | {"event_key": key} for key, row in some]
        )
    }


def update_events(connection: sa.Connection, rows: Mapping[bytes, StoredEvent]) -> None:
    """Replace the contents of rows that are there."""
    for table, some in _by_table(rows).items():
        connection.execute(_UPDATES[table], [_columns(row) | {"of_key": key} for key, row in some])


def _by_table(rows: Mapping[bytes, StoredEvent]) -> dict[str, list[tuple[bytes, StoredEvent]]]:
    # In one order of tables and keys, so that two requests with the same events do not wait for each other.
    found: dict[str, list[tuple[bytes, StoredEvent]]] = {}
    for table in EVENTS:
        if some := sorted((key for key, row in rows.items() if row.table == table)):
            found[table] = [(key, rows[key]) for key in some]
    return found


def _columns(row: StoredEvent) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _MADE} | row.contents


def _asked(keys: Sequence[bytes], dialect: str) -> Any:
    return list(keys) if dialect == "postgresql" else b"".join(keys)


@cache
def _known(dialect: str) -> Any:
    """A query of all rows of some keys; what a table has no column of is NULL."""
    tables = {**EVENTS, retracted.name: retracted}
    made = {name: EVENTS["touches"].c[name].type for name in _MADE}
    own = {f"{table}_{name}": EVENTS[table].c[name].type for table, names in _CONTENTS.items() for name in names}
    parts = []
    for name, table in tables.items():
        columns = {f"{name}_{column.name}": column for column in table.c} | {column.name: column for column in table.c}
        found = (
            columns[label].label(label) if label in columns else sa.cast(sa.null(), kind).label(label)
            for label, kind in (made | own).items()
        )
        of_table = sa.literal_column(f"'{name}'", sa.Text).label("of_table")
        among = keys_among(table.c.event_key, name, dialect)
        parts.append(sa.select(of_table, table.c.event_key, *found).where(among))
    return sa.union_all(*parts)
