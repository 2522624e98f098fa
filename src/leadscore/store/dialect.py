"""Statements that the two databases write differently."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from leadscore.store.schema import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# One number for all who correct what is stored: the first bytes of the name of this program.
CORRECTIONS = int.from_bytes(b"leadscor")

Insert = postgresql.Insert | sqlite.Insert


def insert(table: sa.Table, dialect: str) -> Insert:
    """An insert that can say what to do about a row that is there."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


@cache
def _insert_new(table: sa.Table, dialect: str) -> Insert:
    return insert(table, dialect).on_conflict_do_nothing()


@cache
def _insert_new_and_say(table: sa.Table, column: sa.Column[Any], dialect: str) -> sa.sql.dml.ReturningInsert[Any]:
    return _insert_new(table, dialect).returning(column)


@cache
def _upsert(table: sa.Table, dialect: str) -> Insert:
    statement = insert(table, dialect)
    key = table.primary_key.columns
    others = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in key}
    return statement.on_conflict_do_update(index_elements=list(key), set_=others)


def inserted(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows whose key is not there; the others stay as they are."""
    if rows:
        connection.execute(_insert_new(table, connection.dialect.name), rows)


def new_of(connection: sa.Connection, column: sa.Column[Any], rows: Sequence[Mapping[str, Any]]) -> set[Any]:
    """Insert rows as `inserted`, and say the value of ``column`` in those that were not there."""
    if not rows:
        return set()
    statement = _insert_new_and_say(column.table, column, connection.dialect.name)
    return set(connection.execute(statement, rows).scalars())


def upserted(connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> None:
    """Insert a row, or put it in the place of the one with its key."""
    connection.execute(_upsert(table, connection.dialect.name), row)


def among(column: sa.Column[Any], name: str, dialect: str) -> sa.ColumnElement[bool]:
    """Whether a column is among the values of one parameter, however many they are."""
    if dialect == "postgresql":
        return column == sa.any_(sa.bindparam(name, type_=postgresql.ARRAY(column.type)))
    each = sa.func.json_each(sa.bindparam(name, type_=sa.JSON)).table_valued("value")
    return column.in_(sa.select(each.c.value))


def keys_among(column: sa.Column[bytes], name: str, dialect: str) -> sa.ColumnElement[bool]:
    """Whether a key is among those of one parameter: a list for PostgreSQL, for SQLite one key behind the other."""
    if dialect == "postgresql":
        return column == sa.any_(sa.bindparam(name, type_=postgresql.ARRAY(sa.LargeBinary)))
    keys = sa.bindparam(name, type_=sa.LargeBinary)
    first: sa.Select[tuple[int]] = sa.select(sa.literal_column("1", sa.Integer).label("begin"))
    begins = first.cte(f"{name}_begins", recursive=True)
    following = begins.c.begin + KEY_BYTES
    begins = begins.union_all(sa.select(following).where(following < sa.func.length(keys)))
    return column.in_(sa.select(sa.func.substr(keys, begins.c.begin, KEY_BYTES)))


def rows_among(
    connection: sa.Connection, column: sa.Column[Any], values: Sequence[Any], *, lock: bool = False
) -> list[sa.Row[Any]]:
    """Rows whose ``column`` is one of up to some ten thousand values; with ``lock`` nobody else changes them."""
    if not values:
        return []
    return list(connection.execute(_select_among(column, lock=lock), {"values": values}))


@cache
def _select_among(column: sa.Column[Any], *, lock: bool) -> sa.Select[Any]:
    table = column.table
    some = sa.select(table).where(column.in_(sa.bindparam("values", expanding=True)))
    # In one order, so that two do not wait for each other; new events of the leads may be imported meanwhile.
    return some.order_by(*table.primary_key.columns).with_for_update(key_share=True) if lock else some


def lock_corrections(connection: sa.Connection, *, alone: bool) -> None:
    """Wait until nobody retracts, merges or erases; with ``alone`` until nobody stores anything either.

    Whoever stores an event must see that it was taken back a moment ago. In SQLite there is one writer anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK_ALONE if alone else _LOCK_SHARED)


_LOCK_ALONE = sa.select(sa.func.pg_advisory_xact_lock(CORRECTIONS))
_LOCK_SHARED = sa.select(sa.func.pg_advisory_xact_lock_shared(CORRECTIONS))
