"""Chunks of a data set folder's tables, as rows of the store's."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from leadscore.history.reading.canonical import ids_as_text
from leadscore.history.reading.columns import DIRECTION_NAMES, encoded
from leadscore.history.reading.lookup import FACTOR, HALF, hashes
from leadscore.history.reading.parts import part_of, whole
from leadscore.history.reading.times import NO_TIME
from leadscore.history.tables import Coded
from leadscore.store.event_keys import key_of_id, key_of_row
from leadscore.store.merging import written

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from leadscore.config import TableName
    from leadscore.history.line import UInt64s
    from leadscore.history.reading import Rules
    from leadscore.history.reading.columns import Values

LEAD_COLUMNS = ("lead_id", "created_at", "recorded_at", "attributes", "do_not_score")
_EVENT = ("lead", "event_key", "occurred_at", "recorded_at")
EVENT_COLUMNS: dict[TableName, tuple[str, ...]] = {
    "transitions": (*_EVENT, "stage", "reason", "whole_day"),
    "touches": (*_EVENT, "kind", "direction", "by", "value"),
    "changes": (*_EVENT, "attribute", "value"),
}


@dataclass(frozen=True, slots=True)
class Columns:
    """What a chunk says, one list per column.

    Attributes
    ----------
    lead_id : list of str
        As it was sent.
    own : dict of str to list
        ``occurred_at`` and the columns of the table's own, in the order of the event's key. Of ``leads``:
        ``created_at``, ``do_not_score`` and the attributes.
    recorded : list of int
        When it was recorded: ``occurred_at`` or ``created_at`` where that is missing.
    event_id : list of str or None
        None where the table has none.
    whole_day : list of bool
        Of transitions: whether only the day is known.
    """

    lead_id: list[str]
    own: dict[str, list[Any]]
    recorded: list[int]
    event_id: list[str | None] | None = None
    whole_day: list[bool] = field(default_factory=list)


def alike(lead_ids: pa.Array, occurred: npt.NDArray[np.int64]) -> UInt64s:
    """A number for each event, the same for events of one lead at one moment; shape (n,)."""
    mixed = (hashes(lead_ids) ^ occurred.astype(np.uint64)) * FACTOR
    return mixed ^ (mixed >> HALF)


def columns_of(table: TableName, rows: pa.Table, rules: Rules) -> Columns:
    """Read rows that break no rule, as the checks do.

    Parameters
    ----------
    rows : pyarrow.Table
        Columns under our names.
    """
    # The stage stays as it is written: the funnel's code would make one of all names that mean lost.
    as_written = {"lead_id", "event_id", "stage"}
    readers = {name: read for name, read in rules.of_table(table).items() if name not in as_written}
    values = part_of(rows, readers).values
    happened = cast("npt.NDArray[np.int64]", values.pop("created_at" if table == "leads" else "occurred_at"))
    stated = cast("npt.NDArray[np.int64]", values.pop("recorded_at", happened))
    recorded = np.where(stated == NO_TIME, happened, stated).tolist()
    ids = cast("list[str]", ids_as_text(whole(rows["lead_id"])).to_pylist())
    if table == "leads":
        own = {"created_at": happened.tolist(), "do_not_score": _flags(values, len(ids))}
        return Columns(ids, own | {name: _listed(column) for name, column in values.items()}, recorded)
    own = {"occurred_at": happened.tolist()} | _own(table, rows, values, rules)
    event_id = ids_as_text(whole(rows["event_id"])).to_pylist() if "event_id" in rows.column_names else None
    days = rules.are_whole_days(whole(rows["occurred_at"])).tolist() if table == "transitions" else []
    return Columns(ids, own, recorded, event_id, days)


def _flags(values: dict[str, Values], n_rows: int) -> list[bool]:
    said = values.pop("do_not_score", None)
    return [False] * n_rows if said is None else cast("npt.NDArray[Any]", said).astype(np.bool_).tolist()


def _own(table: TableName, rows: pa.Table, values: dict[str, Values], rules: Rules) -> dict[str, list[Any]]:
    match table:
        case "transitions":
            return {"stage": _text(rows, "stage"), "reason": _text(rows, "reason")}
        case "touches":
            return _touch(rows, values)
        case _:
            return {"attribute": _listed(values["attribute"]), "value": _changed(rows, values["attribute"], rules)}


def _touch(rows: pa.Table, values: dict[str, Values]) -> dict[str, list[Any]]:
    nothing: list[Any] = [None] * len(rows)
    direction = values.get("direction")
    return {
        "kind": _listed(values["kind"]),
        "direction": nothing if direction is None else _named(cast("npt.NDArray[Any]", direction), DIRECTION_NAMES),
        "by": _listed(values["by"]) if "by" in values else nothing,
        "value": _listed(values["value"]) if "value" in values else nothing,
    }


def _changed(rows: pa.Table, attribute: Values, rules: Rules) -> list[str | None]:
    """Values as text: numbers as Python writes a float, so that one number is one text."""
    said = np.full(len(rows), None, object)
    coded = cast("Coded", attribute)
    for code, name in enumerate(coded.names):
        of_name = np.flatnonzero(coded.codes == code)
        if not len(of_name):  # a name of rows that were left out
            continue
        values = rules.changing[name]("value", whole(rows["value"].take(pa.array(of_name)))).values
        numbers = not isinstance(values, Coded)
        said[of_name] = [repr(each) if numbers and each is not None else each for each in _listed(values)]
    return said.tolist()


def _text(rows: pa.Table, name: str) -> list[str | None]:
    if name not in rows.column_names:
        return [None] * len(rows)
    return _listed(encoded(whole(rows[name])))


def _listed(values: Values) -> list[Any]:
    if isinstance(values, Coded):
        return _named(values.codes, (*values.names, None))
    return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124 - NaN is not itself


def _named(codes: npt.NDArray[Any], names: Sequence[str | None]) -> list[Any]:
    named: list[Any] = np.array(names, object)[codes].tolist()
    return named


def lead_rows(columns: Columns, absent: set[str]) -> list[tuple[Any, ...]]:
    """Rows of ``leads`` but for the ids ``absent``: values of `LEAD_COLUMNS`."""
    own = dict(columns.own)
    created, objects = own.pop("created_at"), own.pop("do_not_score")
    attributes = (written(dict(zip(own, values, strict=True))) for values in zip(*own.values(), strict=True))
    said = attributes if own else ("{}" for _ in created)
    rows = zip(columns.lead_id, created, columns.recorded, said, objects, strict=True)
    return [row for row in rows if row[0] not in absent]


@dataclass(slots=True)
class Keys:
    """Keys of the events of one file.

    Identical rows are numbered in the order in which they were recorded, whatever their order in the file.

    Attributes
    ----------
    twice : ndarray of uint64
        What `alike` gives for more than one row: only of those rows it is counted how many came before.
    """

    table: TableName
    twice: UInt64s
    _known: dict[tuple[Any, ...], list[int]] = field(default_factory=dict)
    _before: Counter[tuple[Any, ...]] = field(default_factory=Counter)

    def note_known(self, columns: Columns) -> None:
        """Note when rows without an ``event_id`` were known, of rows that may be identical; before the first key."""
        event_id = columns.event_id or [None] * len(columns.lead_id)
        for row, known, named in zip(_rows(columns), columns.recorded, event_id, strict=True):
            if not named:
                insort(self._known.setdefault(row, []), known)

    def of(self, columns: Columns) -> list[bytes]:
        """The key of each event of the next chunk."""
        table, event_id = self.table, columns.event_id
        moments = np.array(columns.own["occurred_at"], np.int64)
        hashed = alike(pa.array(columns.lead_id, pa.string()), moments)
        # Those alone may be identical to another.
        many = np.isin(hashed, self.twice).tolist()
        rows = zip(_rows(columns), columns.recorded, many, strict=True)
        if event_id is None:
            return [key_of_row(table, row, self._number(row, known) if each else 0) for row, known, each in rows]
        return [
            key_of_id(table, said) if said else key_of_row(table, row, self._number(row, known) if each else 0)
            for (row, known, each), said in zip(rows, event_id, strict=True)
        ]

    def _number(self, row: tuple[Any, ...], known: int) -> int:
        earlier = bisect_left(self._known.get(row, ()), known)
        before = self._before[row, known]
        self._before[row, known] += 1
        return earlier + before


def _rows(columns: Columns) -> Iterator[tuple[Any, ...]]:
    return zip(columns.lead_id, *columns.own.values(), strict=True)
