"""Histories of a few leads, as records."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from leadscore.store.dialect import among
from leadscore.store.schema import EVENTS, leads

if TYPE_CHECKING:
    from collections.abc import Sequence

Record = dict[str, Any]
# Neither features nor labels are made of these.
_OWN = ("id", "lead", "event_key", "version", "corrected_at", "backfilled")


def records_of(connection: sa.Connection, lead_ids: Sequence[str]) -> list[Record]:
    """The whole history of some leads, in four statements for any number of them.

    Returns
    -------
    list of dict
        In the order asked for, each lead once, without those that are not there: ``lead`` (its number in the
        store), ``lead_id``, ``created_at``, ``recorded_at``, ``do_not_score``, ``gone_at``, ``incomplete``,
        ``attributes`` (a dict), and
        ``transitions``, ``touches`` and ``changes``, each a list of dicts in order of ``occurred_at``, with
        ``recorded_at``. All times are int microseconds since 1970 UTC; what was known when is the later of the two.
        Values of changes are text, of numbers as Python writes a float.
    """
    asked = list(dict.fromkeys(lead_ids))
    of_leads, of_events = _queries(connection.dialect.name)
    found = {row["lead"]: _record(row) for row in connection.execute(of_leads, {"ids": asked}).mappings()}
    if found:
        for table, query in of_events.items():
            for row in connection.execute(query, {"rows": list(found)}).mappings():
                event = dict(row)
                found[event.pop("lead")][table].append(event)
    by_id = {record["lead_id"]: record for record in found.values()}
    return [by_id[lead_id] for lead_id in asked if lead_id in by_id]


def _record(row: sa.RowMapping) -> Record:
    return dict(row) | {"attributes": json.loads(row["attributes"])} | {table: [] for table in EVENTS}


@cache
def _queries(dialect: str) -> tuple[sa.Select[Any], dict[str, sa.Select[Any]]]:
    events = {
        name: sa.select(table.c.lead, *(column for column in table.c if column.name not in _OWN))
        .where(among(table.c.lead, "rows", dialect))
        .order_by(table.c.occurred_at, table.c.id)
        for name, table in EVENTS.items()
    }
    columns = [column for column in leads.c if column.name not in {"backfilled"}]
    return sa.select(*columns).where(among(leads.c.lead_id, "ids", dialect)), events
