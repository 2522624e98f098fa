"""Rows that stand in a table twice: the same contents are one row, different contents are a fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from leadscore.history.reading.canonical import as_text
from leadscore.history.reading.columns import encoded
from leadscore.history.reading.parts import whole
from leadscore.history.tables import Coded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from leadscore.history.line import Bools, Int64s
    from leadscore.history.reading.columns import Values


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


def repeated_touches(values: Mapping[str, Values], event_ids: Callable[[Int64s], pa.Array]) -> tuple[Int64s, Int64s]:
    """Rows whose event also stands elsewhere with other contents, and rows that repeat an earlier one.

    Parameters
    ----------
    values : dict of str to ndarray or Coded, shape (n_touches,)
        Under ``event_id`` a hash, 0 where there is none.
    event_ids : callable
        The ``event_id`` of some rows. Asked only where a hash occurs twice, so that no two events are ever
        taken for one.
    """
    nothing = np.empty(0, np.int64)
    key = _plain(values["event_id"])
    hashes = np.sort(key)
    twice = np.unique(hashes[1:][(hashes[1:] == hashes[:-1]) & (hashes[1:] != 0)])
    if not len(twice):
        return nothing, nothing
    rows = np.flatnonzero(np.isin(key, twice))
    contents = [_plain(column)[rows] for name, column in values.items() if name != "event_id"]
    differs, later = _compared(_codes(as_text(event_ids(rows))), contents)
    return rows[differs], rows[later]


def _compared(owner: Int64s, contents: Sequence[npt.NDArray[Any]]) -> tuple[Int64s, Int64s]:
    """Places whose owner has different contents, and places that repeat their owner's first."""
    _, first, inverse = np.unique(owner, return_index=True, return_inverse=True)
    same = np.ones(len(owner), np.bool_)
    for column in contents:
        same &= np.equal(column, column[first][inverse]) | (_missing(column) & _missing(column[first][inverse]))
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
