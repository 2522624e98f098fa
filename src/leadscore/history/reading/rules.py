"""The rules of each table: which columns it has, and how each is read.

Made once per funnel, for tables of any size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from leadscore.errors import ConfigError, Problem
from leadscore.history.line import DAY
from leadscore.history.reading import columns as read
from leadscore.history.reading.faults import did_you_mean
from leadscore.history.reading.times import DATE_LENGTH, Clock, are_dates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.config import Attributes, Funnel, TableName, Times
    from leadscore.history.line import Bools
    from leadscore.history.reading.columns import ColumnReader, Reader
    from leadscore.history.reading.faults import Faults
    from leadscore.history.reading.source import Source

REQUIRED: dict[TableName, tuple[str, ...]] = {
    "leads": ("lead_id", "created_at"),
    "transitions": ("lead_id", "stage", "occurred_at"),
    "touches": ("lead_id", "kind", "occurred_at"),
    "changes": ("lead_id", "attribute", "value", "occurred_at"),
}
OPTIONAL: dict[TableName, tuple[str, ...]] = {
    "leads": ("recorded_at", "do_not_score"),
    "transitions": ("recorded_at", "event_id"),
    "touches": ("recorded_at", "direction", "by", "value", "event_id"),
    "changes": ("recorded_at", "event_id"),
}
# Columns that the data set folder has a place for and that no feature may be made of.
NOTED: dict[TableName, tuple[str, ...]] = {
    "leads": ("owner", "amount", "cost"),
    "transitions": ("reason",),
    "touches": (),
    "changes": (),
}


@dataclass(frozen=True, slots=True)
class LeadIds:
    """The leads that rows of other tables may belong to, in order of the `LeadTable`, and those refused."""

    good: pa.Array
    refused: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))


@dataclass(frozen=True, slots=True)
class Rules:
    """What the tables of one funnel are checked against.

    Attributes
    ----------
    attributes : tuple of str
        Columns of ``leads`` that the funnel declares.
    readers : dict of table name to dict of column to Reader
        How to read each column but ``lead_id``, and ``value`` of ``changes``.
    changing : dict of str to Reader
        How to read the values of each attribute that the funnel declares to change.
    future : int
        How far a time may lie ahead, in microseconds.
    whole_days : frozenset of str
        Columns, as ``table.column``, whose times the funnel declares to mean a day.
    """

    attributes: tuple[str, ...]
    readers: dict[TableName, dict[str, Reader]]
    changing: dict[str, Reader]
    future: int
    whole_days: frozenset[str] = frozenset()

    @classmethod
    def of(cls, funnel: Funnel) -> Rules:
        """Rules of a funnel.

        Raises
        ------
        ConfigError
            A column that means something of its own is declared as an attribute.
        """
        fixed = _attributes(funnel.attributes)
        if taken := fixed.keys() & {*REQUIRED["leads"], *OPTIONAL["leads"]}:
            raise ConfigError(f"attributes: {', '.join(sorted(taken))} cannot be declared, leadscore reads it as it is")
        own: dict[TableName, dict[str, Reader]] = {
            "leads": {"do_not_score": read.boolean(), **fixed},
            "transitions": {"stage": read.stage(funnel), "event_id": read.event_key()},
            "touches": {
                "kind": read.category(required=True),
                "direction": read.direction(),
                "by": read.category(),
                "value": read.number(read.LARGEST_VALUE),
                "event_id": read.event_key(),
            },
            "changes": {"attribute": read.category(required=True), "event_id": read.event_key()},
        }
        readers = {table: _times(table, funnel.time) | columns for table, columns in own.items()}
        whole_days = frozenset(funnel.time.whole_days)
        return cls(tuple(fixed), readers, _attributes(funnel.changes), funnel.time.future_days * DAY, whole_days)

    def of_table(self, table: TableName, leads: LeadIds | None = None) -> dict[str, ColumnReader]:
        """How to read each column of a table whose rows belong to ``leads``."""
        lead_id = read.lead_row(leads.good, leads.refused) if leads else read.lead_id()
        return {"lead_id": lead_id, **self.readers[table]}

    def are_whole_days(self, occurred_at: pa.Array) -> Bools:
        """Of which transitions only the day is known, shape (n_transitions,)."""
        if "transitions.occurred_at" in self.whole_days:
            return np.ones(len(occurred_at), np.bool_)
        return are_dates(occurred_at)

    def are_plain_whole_days(self, occurred_at: Sequence[Any]) -> list[bool]:
        """As `are_whole_days`, of a few values that are text or `datetime`."""
        if "transitions.occurred_at" in self.whole_days:
            return [True] * len(occurred_at)
        return [type(each) is str and len(each) == DATE_LENGTH for each in occurred_at]

    def columns(self, source: Source, faults: Faults) -> dict[str, str]:
        """The source's name of each of our columns that it has; what is missing is a problem of the table."""
        table, present, renamed = source.table, source.columns, source.renamed
        needed = (*REQUIRED[table], *(self.attributes if table == "leads" else ()))
        ours = (*needed, *OPTIONAL[table])
        twice = (
            sorted({name for name in present if present.count(name) > 1}) if len(set(present)) < len(present) else []
        )
        faults.whole += [
            Problem(table, name, "must be the name of one column, not of two", "Rename one") for name in twice
        ]
        for name in renamed.keys() - {*ours, *NOTED[table]}:
            fix = f"Take it out of [tables.{table}] columns; leadscore reads {', '.join(ours)}"
            faults.whole.append(Problem(table, name, "must be a column that leadscore reads", _meant(name, ours, fix)))
        for name in ours:
            theirs = renamed.get(name, name)
            if theirs not in present and (name in needed or name in renamed):
                called = f", named {theirs!r} in [tables.{table}] columns" if theirs != name else ""
                fix = _meant(theirs, present, f"Add it, or say in [tables.{table}] columns how the source names it")
                faults.whole.append(Problem(table, name, f"column is missing{called}", fix))
        return {} if twice else {name: theirs for name in ours if (theirs := renamed.get(name, name)) in present}


def _times(table: TableName, times: Times) -> dict[str, Reader]:
    clock = Clock.of(times)
    happened = "created_at" if table == "leads" else "occurred_at"
    return {
        name: read.moments(
            clock, times.years, whole_days=f"{table}.{name}" in times.whole_days, required=name == happened
        )
        for name in (happened, "recorded_at")
    }


def _attributes(declared: Attributes) -> dict[str, Reader]:
    numbers = {name: read.number(read.LARGEST_ATTRIBUTE) for name in declared.numbers}
    return numbers | {name: read.category() for name in declared.categories}


def _meant(name: str, names: tuple[str, ...], otherwise: str) -> str:
    close = did_you_mean(name, names)
    return (f"Did you mean {close!r}? " if close else "") + otherwise
