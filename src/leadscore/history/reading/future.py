"""Times that lie far ahead, such as a meeting typed for 2036: warned of in a data set."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from leadscore.errors import SHOWN
from leadscore.history.line import DAY
from leadscore.history.tables import LeadTable
from leadscore.history.zone import EPOCH

if TYPE_CHECKING:
    import pyarrow as pa

    from leadscore.config import TableName
    from leadscore.history.line import Strings
    from leadscore.history.tables import ChangeTable, Tables, TouchTable, TransitionTable

    Rows = LeadTable | TransitionTable | TouchTable | dict[str, ChangeTable]

FIX = "Correct the time, or widen [time] future_days"


def far_ahead(table: TableName, rows: Rows, ids: Strings | pa.Array, until: int, future: int) -> tuple[str, ...]:
    """A warning where rows of a table become known more than ``future`` after the end of the recorded history.

    Parameters
    ----------
    ids : ndarray of str, or Array
        ``lead_id`` of each row of the `LeadTable`.
    until, future : int
        Microseconds.
    """
    found = [(each.known > until + future, each) for each in (rows.values() if isinstance(rows, dict) else (rows,))]
    n_rows = sum(int(np.count_nonzero(late)) for late, _ in found)
    if not n_rows:
        return ()
    leads = [np.flatnonzero(late) if isinstance(each, LeadTable) else each.lead[late] for late, each in found]
    latest = EPOCH + timedelta(microseconds=max(int(each.known[late].max()) for late, each in found if late.any()))
    some = np.unique(np.concatenate(leads))
    named = ", ".join(str(ids[lead]) for lead in some[:SHOWN].tolist()) + (", ..." if len(some) > SHOWN else "")
    return (
        f"{table}: {n_rows:,} row{'s' if n_rows > 1 else ''} of {len(some):,} lead{'s' if len(some) > 1 else ''} "
        f"({named}) lie{'s' if n_rows == 1 else ''} more than {future // DAY:,} days after the end of the recorded "
        f"history, the latest on {latest.date()}; without effect until their time comes. {FIX}",
    )


def all_far_ahead(tables: Tables, future: int) -> tuple[str, ...]:
    """The warnings of `far_ahead` for all tables."""
    rows: dict[TableName, Rows] = {
        "leads": tables.leads,
        "transitions": tables.transitions,
        "touches": tables.touches,
        "changes": tables.changes,
    }
    ids, until = tables.leads.ids, tables.known_until
    return tuple(each for table, some in rows.items() for each in far_ahead(table, some, ids, until, future))
