"""The order of a line of time: events sorted by (lead, known time), and which of them are news.

Sorting deals the rows, chunk by chunk, into blocks of leads and then sorts each block. A chunk and a block fit the
cache, and their columns travel with them, so that the time per row does not grow with the number of rows. Leads that
are one block need no dealing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from leadscore.history.cores import done, on_all_cores
from leadscore.history.line import LEADS_PER_KEY, TIME_BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.history.line import Bools, Int32s, Int64s

    Column = npt.NDArray[Any]

ROWS_PER_CHUNK = 1 << 18
# Block numbers have 16 bits, one of them for the leads left out.
MOST_BLOCKS = (1 << 16) - 1


def by_lead_and_time(
    lead: Int32s, known: Int64s, n_leads: int, columns: Sequence[Column]
) -> tuple[Int64s, Int64s, list[Column]]:
    """Columns of events in order of (lead, known time); equal ones in order of the columns, the first above all.

    That makes the result independent of the order of the input.

    Parameters
    ----------
    lead : ndarray of int32, shape (n_rows,)
        Events of lead -1 are left out.
    known : ndarray of int64, shape (n_rows,)
        Within 142 years.
    n_leads : int
    columns : sequence of ndarray, each of shape (n_rows,)
        What else is known of each event.

    Returns
    -------
    start : ndarray of int64, shape (n_leads + 1,)
        Events of lead ``i`` are the rows ``start[i]`` to ``start[i + 1]``.
    known : ndarray of int64, shape (n_events,)
    columns : list of ndarray, each of shape (n_events,)
    """
    n_blocks = -(-n_leads // LEADS_PER_KEY)
    if n_blocks > MOST_BLOCKS:
        raise ValueError(f"{n_leads} leads; one line holds at most {MOST_BLOCKS * LEADS_PER_KEY}")
    if not n_leads or not len(lead):
        return np.zeros(n_leads + 1, np.int64), known[:0], [column[:0] for column in columns]
    origin = int(known.min())
    if n_blocks == 1:
        return _one_block(lead, known, origin, n_leads, columns)
    start = np.zeros(n_leads + 1, np.int64)
    edges, key, dealt = _deal(lead, known, origin, n_blocks, columns)

    def sort(block: int) -> None:
        rows = slice(edges[block], edges[block + 1])
        first = block * LEADS_PER_KEY
        place = np.arange(min(LEADS_PER_KEY, n_leads - first))
        order = _order(key[rows], [column[rows] for column in dealt])
        if order is not None:
            for column in (key, *dealt):
                column[rows] = column[rows].take(order)
        start[first : first + len(place)] = edges[block] + key[rows].searchsorted(place << TIME_BITS)
        key[rows] &= (1 << TIME_BITS) - 1
        key[rows] += origin

    done(on_all_cores(sort, range(n_blocks)))
    n_events = start[n_leads] = edges[n_blocks]
    return start, key[:n_events], [column[:n_events] for column in dealt]


def _one_block(
    lead: Int32s, known: Int64s, origin: int, n_leads: int, columns: Sequence[Column]
) -> tuple[Int64s, Int64s, list[Column]]:
    if lead.min() < 0:
        kept = lead >= 0
        lead, known, columns = lead[kept], known[kept], [column[kept] for column in columns]
    # A lead alone is in order of time as it is.
    key = known if n_leads == 1 else (lead.astype(np.int64) << TIME_BITS) + (known - origin)
    rows, order = [known, *columns], _order(key, columns)
    known, *ordered = rows if order is None else [column[order] for column in rows]
    return starts(lead, n_leads), known, ordered


def _deal(
    lead: Int32s, known: Int64s, origin: int, n_blocks: int, columns: Sequence[Column]
) -> tuple[Int64s, Int64s, list[Column]]:
    """Rows dealt into blocks of leads: where each block begins, the sort keys, the columns.

    Rows of lead -1 come last.
    """
    block = np.floor_divide(lead, LEADS_PER_KEY, out=np.empty(len(lead), np.uint16), casting="unsafe")
    np.minimum(block, n_blocks, out=block)
    chunks = [slice(begin, begin + ROWS_PER_CHUNK) for begin in range(0, len(lead), ROWS_PER_CHUNK)]
    counts = np.array([np.bincount(block[rows], minlength=n_blocks + 1) for rows in chunks])
    edges = _before(counts.sum(axis=0))
    # Where the rows of each block begin, of each chunk: in the block, and in the chunk.
    in_block = edges[:-1] + np.cumsum(counts, axis=0) - counts
    in_chunk = np.cumsum(counts, axis=1) - counts
    key = np.empty(len(lead), np.int64)
    dealt = [np.empty_like(column) for column in columns]

    def deal(chunk: int) -> None:
        rows = chunks[chunk]
        order = np.argsort(block[rows], kind="stable")
        to = (in_block[chunk] - in_chunk[chunk]).repeat(counts[chunk])
        to += np.arange(len(order))
        keys = (lead[rows] % LEADS_PER_KEY).astype(np.int64)
        keys <<= TIME_BITS
        keys += known[rows]
        keys -= origin
        key[to] = keys.take(order)
        for into, column in zip(dealt, columns, strict=True):
            into[to] = column[rows].take(order)

    done(on_all_cores(deal, range(len(chunks))))
    return edges, key, dealt


def _order(key: Int64s, columns: Sequence[Column]) -> Int64s | None:
    """The order of rows by key and, where it is equal, by the columns; None where they stand in it."""
    if (key[1:] > key[:-1]).all():
        return None
    order = np.argsort(key)
    ordered = key.take(order)
    same = ordered[1:] == ordered[:-1]
    if columns and same.any():
        tied = np.flatnonzero(np.concatenate((same, [False])) | np.concatenate(([False], same)))
        equal = order[tied]
        order[tied] = equal[np.lexsort((*(column[equal] for column in reversed(columns)), ordered[tied]))]
    return order


def _before(counts: Int64s) -> Int64s:
    """Running totals before each count, and the total of all at the end."""
    before = np.zeros(len(counts) + 1, np.int64)
    counts.cumsum(out=before[1:])
    return before


def starts(lead: Int32s, n_leads: int) -> Int64s:
    """First row of each lead among sorted rows, and the end; shape (n_leads + 1,)."""
    return _before(np.bincount(lead, minlength=n_leads))


def lead_of(start: Int64s) -> Int32s:
    """Lead of each sorted row, the inverse of `starts`; shape (n_rows,)."""
    return np.arange(len(start) - 1, dtype=np.int32).repeat(start[1:] - start[:-1])


def newest_known(lead: Int32s, occurred: Int64s) -> Bools:
    """Which events, in the order they became known, are then the newest known of their lead; shape (n_events,).

    An old event recorded late is not. Of events that occurred at the same moment the later one in order is newer.
    """
    if ((occurred[1:] >= occurred[:-1]) | (lead[1:] != lead[:-1])).all():
        return np.ones(len(lead), np.bool_)
    order = np.lexsort((occurred, lead))
    same = (lead[order][1:] == lead[order][:-1]) & (occurred[order][1:] == occurred[order][:-1])
    age = np.empty(len(lead), np.int64)
    age[order] = np.cumsum(np.concatenate(([True], ~same)))
    # Ages grow from lead to lead, so a running maximum over all leads is one within each lead.
    newest: Bools = np.maximum.accumulate(age) == age
    return newest


def n_undecided(lead: Int32s, occurred: Int64s, recorded: Int64s, rank: npt.NDArray[np.generic]) -> int:
    """How many events nothing but their ``rank`` puts after the one before them.

    Rows are in order of (lead, known time, occurred, recorded, rank).
    """
    same = (lead[1:] == lead[:-1]) & (occurred[1:] == occurred[:-1]) & (recorded[1:] == recorded[:-1])
    return int(np.count_nonzero(same & (rank[1:] != rank[:-1])))
