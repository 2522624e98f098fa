"""What the store has and an export of everything no longer has.

Only rows that were known by the end of the export's history count: what came later it cannot have. Of a lead that
left the CRM the events stay, because its past still teaches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from leadscore.errors import SHOWN, DataError, Problem
from leadscore.history.reading.canonical import ids_as_text
from leadscore.history.reading.parts import whole
from leadscore.store.relisting import unlist
from leadscore.store.schema import Number, leads, merged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.config import TableName
    from leadscore.store.checking import CheckedTable
    from leadscore.store.loading import Export

_STORED = sa.select(leads.c.lead, leads.c.lead_id, leads.c.created_at, leads.c.recorded_at, leads.c.gone_at)
_MERGED = sa.select(merged.c.lead_id, merged.c.into_lead_id)
# More than this share of a table is taken out only on purpose: the export may not be of everything.
MOST_TAKEN_OUT = 0.05


@dataclass(frozen=True, slots=True)
class Share:
    """How many rows of a table an export no longer has, of how many that were stored before, and of which leads."""

    table: TableName
    rows: int
    stored: int
    leads: tuple[str, ...]


def refuse_many(shares: Sequence[Share]) -> None:
    """Refuse to take out a large share of any table.

    Raises
    ------
    DataError
        It would be more than 5 % of the stored rows.
    """
    fix = "Nothing was stored. Check that the export is of everything; to take them out all the same, add CONFIRM=1"
    problems = [
        Problem(
            each.table,
            "",
            f"must still have at least {1 - MOST_TAKEN_OUT:.0%} of the {each.stored:,} stored rows with WHOLE=1; "
            f"{each.rows / each.stored:.1%} are no longer in the export",
            fix,
            each.rows,
            each.leads,
        )
        for each in shares
        if each.rows > MOST_TAKEN_OUT * each.stored
    ]
    if problems:
        raise DataError(tuple(problems))


@dataclass(frozen=True, slots=True)
class Absent:
    """Leads of the store that an export does not have.

    Attributes
    ----------
    numbers : list of int
        All of them: also those that left before, and those that came after the export.
    vanished : dict of int to str
        By number the ``lead_id`` of those that are gone now, in its order.
    """

    numbers: list[int]
    vanished: dict[int, str]


def find_absent(connection: sa.Connection, checked: CheckedTable, export: Export) -> Absent:
    """The leads that the table ``leads`` of an export does not have.

    A lead that another was merged into is there where either is.
    """
    stored = connection.execute(_STORED).all()
    ids = _ids(checked)
    ids = pa.concat_arrays([ids, _stands_for(connection, ids)])
    there = pc.is_in(pa.array([row.lead_id for row in stored], pa.string()), value_set=ids)
    absent = [row for row, is_there in zip(stored, there.to_pylist(), strict=True) if not is_there]
    vanished = sorted(
        (row.lead_id, row.lead)
        for row in absent
        if row.gone_at is None and max(row.created_at, row.recorded_at) <= export.known_until
    )
    return Absent([row.lead for row in absent], {lead: lead_id for lead_id, lead in vanished})


def _ids(checked: CheckedTable) -> pa.Array:
    parts, begin = [pa.array([], pa.string())], 0
    for chunk in checked.chunks(["lead_id"]):
        kept = checked.kept[begin : begin + len(chunk)]
        begin += len(chunk)
        parts.append(ids_as_text(whole(chunk["lead_id"])).filter(pa.array(kept)))
    return pa.concat_arrays(parts)


def _stands_for(connection: sa.Connection, ids: pa.Array) -> pa.Array:
    went = connection.execute(_MERGED).all()
    there = pc.is_in(pa.array([row.lead_id for row in went], pa.string()), value_set=ids).to_pylist()
    return pa.array([row.into_lead_id for row, is_there in zip(went, there, strict=True) if is_there], pa.string())


def leave(connection: sa.Connection, absent: Absent, export: Export) -> None:
    """Take the leads that vanished off the lists, at once, and note that they are gone."""
    numbers = list(absent.vanished)
    if numbers:
        gone = sa.update(leads).where(leads.c.lead == sa.bindparam("row")).values(gone_at=export.known_until)
        connection.execute(gone, [{"row": number} for number in numbers])
        unlist(connection, numbers)


@dataclass(frozen=True, slots=True)
class VanishedEvents:
    """Events that an export no longer has.

    Attributes
    ----------
    rows : int
    leads : tuple of str
        The first few leads that they are of, in order.
    """

    table: sa.Table
    found: sa.Table
    rows: int
    leads: tuple[str, ...]

    def delete(self, connection: sa.Connection) -> None:
        """Delete them; they may return."""
        connection.execute(sa.delete(self.table).where(self.table.c.id.in_(sa.select(self.found.c.id))))


def find_vanished(
    connection: sa.Connection,
    table: sa.Table,
    staged: sa.Table,
    absent: Absent,
    export: Export,
    *,
    attributes: Sequence[str] | None = None,
) -> VanishedEvents:
    """Events of leads that an export has, which it does not have itself.

    Parameters
    ----------
    staged : Table
        The export's events.
    attributes : sequence of str, optional
        Of ``changes``: those that the export's funnel declares. It has no rows of others.
    """
    without = sa.Table("absent", sa.MetaData(), sa.Column("lead", Number, primary_key=True), prefixes=["TEMPORARY"])
    found = sa.Table(
        "vanished",
        sa.MetaData(),
        sa.Column("id", Number, primary_key=True, autoincrement=False),
        sa.Column("lead", Number),
        prefixes=["TEMPORARY"],
    )
    for each in (without, found):
        each.create(connection)
    if absent.numbers:
        connection.execute(sa.insert(without), [{"lead": number} for number in absent.numbers])
    # Outer joins: both databases make an index or a hash of what is staged.
    both = sa.outerjoin(table, staged, staged.c.event_key == table.c.event_key)
    wanted = (
        sa.select(table.c.id, table.c.lead)
        .select_from(sa.outerjoin(both, without, without.c.lead == table.c.lead))
        .where(staged.c.event_key.is_(None), without.c.lead.is_(None))
        .where(table.c.occurred_at <= export.known_until, table.c.recorded_at <= export.known_until)
    )
    if attributes is not None:
        wanted = wanted.where(table.c.attribute.in_(attributes))
    connection.execute(sa.insert(found).from_select(["id", "lead"], wanted))
    without.drop(connection)
    named = sa.select(leads.c.lead_id).where(leads.c.lead.in_(sa.select(found.c.lead))).order_by(leads.c.lead_id)
    rows = connection.execute(sa.select(sa.func.count()).select_from(found)).scalar_one()
    first = connection.execute(named.limit(SHOWN + 1)).scalars()
    return VanishedEvents(table, found, rows, tuple(first) if rows else ())
