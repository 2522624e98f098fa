"""Many rows into one table: SQLite row by row in one statement, PostgreSQL by COPY."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadscore.store.dialect import insert
from leadscore.store.schema import Number, leads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Rows = list[tuple[Any, ...]]

# The keys of twenty million events are spread over their whole index: it must fit, or each row costs a read.
CACHE_MB = 1_024


def load(connection: sa.Connection, table: sa.Table, columns: Sequence[str], slices: Iterable[Rows]) -> int:
    """Insert the rows that are not there; how many were new or, of leads, new or changed.

    Parameters
    ----------
    columns : sequence of str
        The columns that the rows have values of; the others take their defaults.
    slices : iterable of list of tuple
        Values of ``columns``, in their order. Consumed one slice at a time, and must not ask the database meanwhile.
    """
    if connection.dialect.name == "postgresql":
        return _copied(connection, table, columns, slices)
    connection.exec_driver_sql(f"PRAGMA cache_size = {-1024 * CACHE_MB}").close()
    statement = str(_insert(table, columns, "sqlite").compile(dialect=connection.dialect))
    return sum(connection.exec_driver_sql(statement, rows).rowcount for rows in slices if rows)


def _insert(table: sa.Table, columns: Sequence[str], dialect: str, rows: sa.Select[Any] | None = None) -> Any:
    new = insert(table, dialect)
    filled = (
        new.values({name: sa.bindparam(name) for name in columns}) if rows is None else new.from_select(columns, rows)
    )
    if table is not leads:
        return filled.on_conflict_do_nothing()
    said, known = filled.excluded, leads.c
    differs = sa.or_(
        said.attributes != known.attributes,
        said.created_at != known.created_at,
        sa.and_(said.do_not_score, sa.not_(known.do_not_score)),
    )
    # An import takes no objection back, and what we knew of a lead we knew then.
    objects = sa.or_(known.do_not_score, said.do_not_score)
    new_values = {"attributes": said.attributes, "created_at": said.created_at, "do_not_score": objects}
    return filled.on_conflict_do_update(index_elements=[known.lead_id], set_=new_values, where=differs)


def _copied(connection: sa.Connection, table: sa.Table, columns: Sequence[str], slices: Iterable[Rows]) -> int:
    staged = _staged(table, columns)
    staged.create(connection)
    types = [column.type.compile(connection.dialect) for column in staged.columns]
    names = ", ".join(f'"{name}"' for name in columns)
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {staged.name} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types([each.lower() for each in types])
        for rows in slices:
            for row in rows:
                copy.write_row(row)
    found = sa.select(*staged.columns)
    if table is leads:
        found = found.distinct(staged.c.lead_id).order_by(staged.c.lead_id)
    else:
        # Events of one lead lie side by side, where one that is scored finds them.
        found = found.order_by(staged.c.lead)
    counted = _insert(table, columns, "postgresql", found).execution_options(preserve_rowcount=True)
    count: int = connection.execute(counted).rowcount
    staged.drop(connection)
    return count


def _staged(table: sa.Table, columns: Sequence[str]) -> sa.Table:
    copies = [
        sa.Column(name, sa.BigInteger if table.c[name].type is Number else table.c[name].type) for name in columns
    ]
    return sa.Table("staged", sa.MetaData(), *copies, prefixes=["TEMPORARY"], postgresql_on_commit="DROP")
