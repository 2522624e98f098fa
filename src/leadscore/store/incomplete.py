"""Leads of which a transition was set aside when it was imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from leadscore.store.schema import leads, merged

if TYPE_CHECKING:
    from leadscore.history.line import Bools

_MARKED = sa.select(leads.c.lead_id).where(leads.c.incomplete)
_MERGED = sa.select(merged.c.lead_id, merged.c.into_lead_id)
_MARK = sa.update(leads).where(leads.c.lead_id == sa.bindparam("which")).values(incomplete=sa.bindparam("now"))


def mark_incomplete(connection: sa.Connection, lead_ids: pa.Array, incomplete: Bools) -> None:
    """Mark leads as incomplete, and take the mark off the others of the same import.

    A lead that the import is not about keeps its mark: what is missing of it has not come.

    Parameters
    ----------
    lead_ids : Array of string, shape (n_leads,)
        The leads that the import is about.
    incomplete : ndarray of bool, shape (n_leads,)
        Which of them have a transition that was set aside.
    """
    stands = {lead_id: into for lead_id, into in connection.execute(_MERGED)}  # noqa: C416
    marks = {stands.get(each, each) for each in lead_ids.filter(pa.array(incomplete)).to_pylist()}
    before = connection.execute(_MARKED).scalars().all()
    imported = pc.is_in(pa.array(before, pa.string()), value_set=lead_ids).to_pylist()
    cleared = {each for each, is_in in zip(before, imported, strict=True) if is_in} - marks
    rows = [{"which": each, "now": each in marks} for each in sorted(marks.difference(before) | cleared)]
    if rows:
        connection.execute(_MARK, rows)
