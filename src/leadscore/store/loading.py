"""Many rows into one table: new ones are inserted, known ones take the contents and the dates of the export.

Into an empty table of SQLite rows go one by one in one statement. Otherwise they are staged first, on PostgreSQL by
COPY, so that they can be compared with what is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadscore.history import DAY
from leadscore.store.dialect import insert
from leadscore.store.schema import Number, leads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Rows = list[tuple[Any, ...]]

# The keys of twenty million events are spread over their whole index: it must fit, or each row costs a read.
CACHE_MB = 1_024
KEYS = ("lead_id", "event_key")
# When we knew of a row, as an export says it; all else of a row are its contents.
DATES = ("recorded_at", "whole_day")


@dataclass(frozen=True, slots=True)
class Export:
    """What is known of all rows of an export.

    Attributes
    ----------
    known_until : int
        The end of its recorded history, in microseconds since 1970 UTC.
    received_at : int
        The moment of the import.
    outdated : bool
        Whether an export of later history was stored before: what that said of a row stands.
    """

    known_until: int
    received_at: int
    outdated: bool = False


@dataclass(slots=True)
class Stored:
    """What became of the rows that were to be stored.

    Attributes
    ----------
    before : int
        Rows that the table had.
    known : int
        Rows of the export that it had already, whatever their contents.
    new, changed, redated : int
        Rows inserted; with other contents than before; with the same contents and other dates.
    outdated : int
        Rows that would have changed, or have other dates, were the export not older than what is stored.
    late : int
        Events of those changed whose dates say that they were known more than a day before the import.
    staged : Table, optional
        The rows of the export, where the table had any. Whoever asked for it drops it.
    """

    before: int
    known: int = 0
    new: int = 0
    changed: int = 0
    redated: int = 0
    outdated: int = 0
    late: int = 0
    staged: sa.Table | None = None


def load(
    connection: sa.Connection, table: sa.Table, columns: Sequence[str], slices: Iterable[Rows], export: Export
) -> Stored:
    """Insert the rows that are not there, and replace those that are there with other contents or dates.

    Parameters
    ----------
    columns : sequence of str
        The columns that the rows have values of; the others take their defaults.
    slices : iterable of list of tuple
        Values of ``columns``, in their order, each key once. Consumed one slice at a time, and must not ask the
        database meanwhile.
    """
    stored = Stored(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA cache_size = {-1024 * CACHE_MB}").close()
        if not stored.before:
            stored.new = _inserted(connection, insert(table, "sqlite").on_conflict_do_nothing(), columns, slices)
            return stored
    staged = _staged(table, columns)
    staged.create(connection)
    if connection.dialect.name == "postgresql":
        _copied(connection, staged, slices)
    else:
        _inserted(connection, insert(staged, "sqlite"), columns, slices)
    if stored.before:
        _compare(connection, table, staged, export, stored)
    if export.outdated:
        stored.outdated, stored.changed, stored.redated, stored.late = stored.changed + stored.redated, 0, 0, 0
    statement = _merge(table, staged, export, connection.dialect.name)
    stored.new = connection.execute(statement).rowcount - stored.changed - stored.redated
    if stored.before:
        stored.staged = staged
    else:
        staged.drop(connection)
    return stored


def _inserted(connection: sa.Connection, into: Any, columns: Sequence[str], slices: Iterable[Rows]) -> int:
    values = into.values({name: sa.bindparam(name) for name in columns})
    statement = str(values.compile(dialect=connection.dialect))
    return sum(connection.exec_driver_sql(statement, rows).rowcount for rows in slices if rows)


def _copied(connection: sa.Connection, staged: sa.Table, slices: Iterable[Rows]) -> None:
    types = [column.type.compile(connection.dialect) for column in staged.columns]
    names = ", ".join(f'"{column.name}"' for column in staged.columns)
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {staged.name} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types([each.lower() for each in types])
        for rows in slices:
            for row in rows:
                copy.write_row(row)


def _compare(connection: sa.Connection, table: sa.Table, staged: sa.Table, export: Export, stored: Stored) -> None:
    """Count what the export changes."""
    key = _key(table)
    contents, dates = _differences(table, staged.c, staged.c.keys(), export)
    count = sa.func.count()
    counted = [count, count.filter(contents), count.filter(sa.not_(contents), dates)]
    if table is not leads:
        known = sa.case((staged.c.recorded_at > staged.c.occurred_at, staged.c.recorded_at), else_=staged.c.occurred_at)
        counted.append(count.filter(contents, known < export.received_at - DAY))
    found = connection.execute(sa.select(*counted).join_from(staged, table, staged.c[key] == table.c[key])).one()
    stored.known, stored.changed, stored.redated, stored.late = (*found, 0)[:4]


def _merge(table: sa.Table, staged: sa.Table, export: Export, dialect: str) -> Any:
    # Events of one lead lie side by side, where one that is scored finds them.
    rows = sa.select(*staged.c).where(sa.true()).order_by(staged.c.lead_id if table is leads else staged.c.lead)
    names = staged.c.keys()
    statement = insert(table, dialect).from_select(names, rows)
    new = statement.excluded
    contents, dates = _differences(table, new, names, export)
    values: dict[str, Any] = {name: new[name] for name in names if name not in KEYS} | {"backfilled": sa.false()}
    if table is leads:
        # An import takes no objection back.
        values["do_not_score"] = sa.or_(leads.c.do_not_score, new.do_not_score)
        values["gone_at"] = sa.case((_returns(export), sa.null()), else_=leads.c.gone_at)
    else:
        values["corrected_at"] = sa.case((contents, export.received_at), else_=table.c.corrected_at)
    key = [table.c[_key(table)]]
    if export.outdated:
        merged = statement.on_conflict_do_nothing(index_elements=key)
    else:
        merged = statement.on_conflict_do_update(index_elements=key, set_=values, where=sa.or_(contents, dates))
    return merged.execution_options(preserve_rowcount=True)


def _differences(
    table: sa.Table, new: Any, names: Sequence[str], export: Export
) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """Whether a row of the export has other contents than the one that is there, and whether it has other dates."""
    differs = {name: table.c[name].is_distinct_from(new[name]) for name in names if name not in KEYS}
    dates = [differs.pop(name) for name in DATES if name in differs]
    if table is leads:
        differs["do_not_score"] = sa.and_(new.do_not_score, sa.not_(leads.c.do_not_score))
        differs["gone_at"] = _returns(export)
    return sa.or_(*differs.values()), sa.or_(*dates)


def _returns(export: Export) -> sa.ColumnElement[bool]:
    """Whether a lead that had left the CRM is back."""
    return sa.func.coalesce(leads.c.gone_at <= export.known_until, sa.false())


def _key(table: sa.Table) -> str:
    return "lead_id" if table is leads else "event_key"


def _staged(table: sa.Table, columns: Sequence[str]) -> sa.Table:
    copies = [
        sa.Column(name, sa.BigInteger if table.c[name].type is Number else table.c[name].type) for name in columns
    ]
    return sa.Table("staged", sa.MetaData(), *copies, prefixes=["TEMPORARY"], postgresql_on_commit="DROP")
