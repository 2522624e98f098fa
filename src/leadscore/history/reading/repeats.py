"""Rows that stand in a table twice: the same contents are one row.

Of events with different contents the row that was recorded last stays; where none was, and for leads, they are a fault.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from leadscore.history.line import DAY
from leadscore.history.reading.canonical import ids_as_text
from leadscore.history.reading.columns import encoded
from leadscore.history.reading.parts import joined, part_of, whole
from leadscore.history.reading.times import NO_TIME
from leadscore.history.tables import Coded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from leadscore.history.line import Bools, Int64s, UInt64s
    from leadscore.history.reading.columns import ColumnReader, Reader, Values
    from leadscore.history.reading.parts import Part
    from leadscore.history.reading.source import Source

NO_ROWS = np.empty(0, np.int64)


def different_leads(ids: pa.Array, rows: pa.Table) -> tuple[Int64s, Bools]:
    """Rows whose lead also stands elsewhere with other contents, and which rows repeat an earlier one.

    Contents are the columns that are used; values that are one category are the same.
    """
    repeat = np.zeros(len(ids), np.bool_)
    if len(ids) < 2:
        return np.empty(0, np.int64), repeat
    codes = ids.dictionary_encode()
    if len(codes.dictionary) + ids.null_count == len(ids):
        return np.empty(0, np.int64), repeat
    lead = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    again = (np.bincount(lead + 1)[lead + 1] > 1) & (lead >= 0)
    at = np.flatnonzero(again)
    some = rows.take(pa.array(at))
    contents = [
        encoded(whole(column)).codes
        for name, column in zip(rows.column_names, some.columns, strict=True)
        if name != "lead_id"
    ]
    differs, later = _compared(lead[at], contents)
    repeat[at[later]] = True
    return at[differs], repeat


@dataclass(frozen=True, slots=True)
class Settled:
    """What becomes of rows whose ``event_id`` another row has too.

    Attributes
    ----------
    dropped : ndarray of int64, ascending
        Rows that repeat another row of their event, or that one which was recorded later has replaced.
    undecided : ndarray of int64, ascending
        Rows of events with different contents of which none was recorded last.
    repeats : int
        Rows dropped of events that have the same contents everywhere.
    corrected, late : int
        Events with different contents of which the row recorded last stays; and those of them where that was more
        than a day after the event was first known.
    """

    dropped: Int64s
    undecided: Int64s
    repeats: int = 0
    corrected: int = 0
    late: int = 0


def settle_events(
    source: Source,
    columns: Mapping[str, str],
    readers: Mapping[str, ColumnReader],
    rows: Int64s,
    hashes: UInt64s,
    *,
    changing: Mapping[str, Reader] | None = None,
) -> Settled:
    """Which rows of a table stay, of each event one.

    Parameters
    ----------
    readers : mapping of column to ColumnReader
        How to read what is compared: all of a row but ``recorded_at``.
    rows : ndarray of int64, shape (n,), ascending
        Rows of the source that break no rule.
    hashes : ndarray of uint64, shape (n,)
        Hash of each row's ``event_id``, 0 where there is none. Only rows whose hash occurs twice are read again, by
        their whole ids, so that no two events are ever taken for one.
    changing : mapping of attribute to Reader, optional
        How to read ``value`` of ``changes``.
    """
    ordered = np.sort(hashes)
    twice = np.unique(ordered[1:][(ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)])
    if not len(twice):
        return Settled(NO_ROWS, NO_ROWS)
    again = rows[np.isin(hashes, twice)]
    event, values = _read_again(source, columns, readers, again, changing or {})
    occurred = _plain(values["occurred_at"])
    recorded = _plain(values.pop("recorded_at")) if "recorded_at" in values else np.full(len(again), NO_TIME)
    settled = _settled(event, [_plain(each) for each in values.values()], occurred, recorded)
    return replace(settled, dropped=again[settled.dropped], undecided=again[settled.undecided])


def _read_again(
    source: Source,
    columns: Mapping[str, str],
    readers: Mapping[str, ColumnReader],
    rows: Int64s,
    changing: Mapping[str, Reader],
) -> tuple[Int64s, dict[str, Values]]:
    """A code for the ``event_id`` of some rows, and their other values."""
    readers = {name: read for name, read in readers.items() if name != "event_id"}
    event_ids: list[pa.Array] = []
    parts: list[Part] = []
    begin = 0
    for chunk in source.chunks(list(dict.fromkeys(columns.values()))):
        first, last = np.searchsorted(rows, (begin, begin + chunk.num_rows))
        some = pa.table({ours: chunk[theirs] for ours, theirs in columns.items()})
        some = some.take(pa.array(rows[first:last] - begin))
        begin += chunk.num_rows
        event_ids.append(ids_as_text(whole(some["event_id"])))
        part = part_of(some, readers)
        if changing:
            part.values.update(_values_of_changes(some, part.values["attribute"], changing))
        parts.append(part)
    return _codes(pa.concat_arrays(event_ids)), joined(parts)


def _values_of_changes(rows: pa.Table, attribute: Values, changing: Mapping[str, Reader]) -> dict[str, Values]:
    """The values of changes of several attributes: NaN where the value is a text, missing where it is a number."""
    number, text = np.full(len(rows), np.nan), np.full(len(rows), None, object)
    names = attribute.names if isinstance(attribute, Coded) else ()
    codes = _plain(attribute)
    for name in changing.keys() & set(names):
        at = np.flatnonzero(codes == names.index(name))
        read = changing[name]("value", whole(rows["value"].take(pa.array(at)))).values
        if isinstance(read, Coded):
            text[at] = np.array([*read.names, None], object)[read.codes]
        else:
            number[at] = read
    return {"number": number, "text": encoded(pa.array(text, pa.string()))}


def _settled(event: Int64s, contents: Sequence[npt.NDArray[Any]], occurred: Int64s, recorded: Int64s) -> Settled:
    # Stable, so that of rows recorded at one moment the first of the file comes first.
    order = np.lexsort((recorded, event))
    event, recorded = event[order], recorded[order]
    start = np.flatnonzero(np.concatenate(([True], event[1:] != event[:-1])))
    size = np.diff(np.append(start, len(event)))
    last = (start + size - 1).repeat(size)
    as_last = np.ones(len(event), np.bool_)
    for column in contents:
        as_last &= _same(column[order], column[order[last]])
    newest = recorded == recorded[last]
    same = np.logical_and.reduceat(as_last, start)
    # A row that does not say when it was recorded stands first: it may be the newest.
    dated = recorded[start] > NO_TIME
    corrected = ~same & dated & np.logical_and.reduceat(as_last | ~newest, start)
    stays = np.where(corrected, start + size - np.add.reduceat(newest, start, dtype=np.int64), start)
    first_known = np.minimum.reduceat(np.maximum(occurred[order], recorded), start)
    undecided = (~same & ~corrected).repeat(size)
    dropped = ~undecided
    dropped[stays] = False
    return Settled(
        dropped=np.sort(order[dropped]),
        undecided=np.sort(order[undecided]),
        repeats=int(np.sum(size[same] - 1)),
        corrected=int(np.count_nonzero(corrected)),
        late=int(np.count_nonzero(corrected & (recorded[stays] > first_known + DAY))),
    )


def _same(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> Bools:
    same: Bools = (one == other) | (_missing(one) & _missing(other))
    return same


def _compared(owner: Int64s, contents: Sequence[npt.NDArray[Any]]) -> tuple[Int64s, Int64s]:
    """Places whose owner has different contents, and places that repeat their owner's first."""
    _, first, inverse = np.unique(owner, return_index=True, return_inverse=True)
    same = np.ones(len(owner), np.bool_)
    for column in contents:
        same &= _same(column, column[first][inverse])
    differs = np.zeros(len(first), np.bool_)
    differs[inverse[~same]] = True
    repeats = np.arange(len(owner)) != first[inverse]
    return np.flatnonzero(differs[inverse]), np.flatnonzero(repeats & ~differs[inverse])


def _missing(column: npt.NDArray[Any]) -> Bools:
    return np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), np.bool_)


def _codes(text: pa.Array) -> Int64s:
    codes: Int64s = text.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _plain(values: Values) -> npt.NDArray[Any]:
    return values.codes if isinstance(values, Coded) else values
