"""Histories small enough to check by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from leadscore.config import Funnel, TableName, parse_funnel
from leadscore.history import History, build_history, check_tables
from leadscore.history.zone import micros

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORT = """
preset = "b2b"
[horizon_days]
mql = 2
sal = 2
sql = 3
opportunity = 4
won = 10
[features]
min_category_leads = 1
"""


def at(text: str) -> int:
    """Microseconds since 1970 of a UTC time such as ``2024-03-04 09:00``."""
    return micros(datetime.fromisoformat(text).replace(tzinfo=UTC))


def short_funnel(more: str = "") -> Funnel:
    """The b2b funnel with horizons of days."""
    return parse_funnel(SHORT + more)


def history_of(
    leads: dict[str, str],
    transitions: Sequence[tuple[str, ...]] = (),
    touches: Sequence[tuple[str, ...]] = (),
    known_until: str = "2024-12-31 00:00",
    funnel: Funnel | None = None,
    **extra: dict[str, Any],
) -> History:
    """A history of leads by their creation; events are (lead, stage or kind, occurred[, recorded]), times in UTC."""
    rows = [{"lead_id": lead, "created_at": f"{when}Z", **extra.get(lead, {})} for lead, when in leads.items()]
    raw: dict[TableName, pa.Table] = {
        "leads": pa.Table.from_pylist(rows),
        "transitions": _events(transitions, "stage"),
        "touches": _events(touches, "kind"),
    }
    chosen = short_funnel() if funnel is None else funnel
    return build_history(check_tables(raw, chosen, at(known_until)), chosen)


def _events(rows: Sequence[tuple[str, ...]], what: str) -> pa.Table:
    names = ("lead_id", what, "occurred_at", "recorded_at")
    filled = [(*row[:2], f"{row[2]}Z", f"{row[3]}Z" if len(row) > 3 else None) for row in rows]
    columns = {name: [row[place] for row in filled] for place, name in enumerate(names)}
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
