"""Whether a table of events was delivered several times, so that each of its rows stands there as often.

Rows that are identical are events of their own, and in ordinary data some are: two e-mails that were opened on one
day. But nearly all of them being there twice, or a multiple of it, is no accident.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from leadscore.errors import Problem
from leadscore.history.cores import on_all_cores
from leadscore.history.reading.canonical import as_text
from leadscore.history.reading.faults import Faults
from leadscore.history.reading.lookup import FACTOR, HALF, hashes
from leadscore.history.reading.parts import whole
from leadscore.history.reading.repeats import NO_ROWS
from leadscore.history.tables import Coded

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from leadscore.config import Funnel
    from leadscore.history.line import Bools, Int64s
    from leadscore.history.reading.check import Checked
    from leadscore.history.reading.rules import Rules
    from leadscore.history.reading.source import Source
    from leadscore.history.tables import ChangeTable, TouchTable, TransitionTable

    Events = TransitionTable | TouchTable | ChangeTable

# From so many different rows that repeat, of which so many share a divisor, it is an error; below, a warning.
MANY, SHARE = 100, 0.99
# Rows that are counted first; where fewer than this share of them repeat alike no others are.
SAMPLE, SUSPECT = 20_000, 0.95
# Nobody delivers a file more often.
MOST = 1_000
ROWS_AT_ONCE = 1 << 18


def check_delivered_once(source: Source, rules: Rules, checked: Checked[Any], funnel: Funnel) -> None:
    """Note a fault of the whole table, or a warning, where it seems to have been delivered several times.

    Rows with an ``event_id`` are each there once and do not count. Nothing is looked for where ``allow_repeats`` of
    the table is set.
    """
    table = source.table
    settings = funnel.tables.get(table)
    if (settings is not None and settings.allow_repeats) or not _suspect(checked):
        return
    counts = _counts_as_written(source, rules.columns(source, Faults(table)))
    repeating = int(np.count_nonzero(counts > 1))
    times = _divisor(counts, SHARE if repeating >= MANY else 1.0)
    if times == 1:
        return
    seems = (
        f"{repeating:,} of {len(counts):,} different rows stand {times} times, or a multiple of it; "
        f"the file seems to have been delivered {times} times"
    )
    fix = (
        "Export each row once, or give rows an event_id; where such rows are events of their own, set "
        f"[tables.{table}] allow_repeats = true"
    )
    if repeating >= MANY:
        checked.faults.whole.append(Problem(table, "", f"must not repeat all its rows: {seems}", fix))
    else:
        checked.warnings.append(f"{table}: {seems}. {fix}")


def _suspect(checked: Checked[Any]) -> bool:
    """Whether nearly all rows, or of many rows nearly all of a sample, repeat alike."""
    if checked.rows is None:
        return False
    events: Any = checked.tables()
    unnamed: list[Any] = [*checked.unnamed] or [None] * len(events)
    tables = [_columns(*each) for each in zip(events, unnamed, strict=True)]
    n_rows = sum(len(columns[0]) for columns in tables)
    if n_rows > SAMPLE:
        tables = [_sampled(columns, SAMPLE / n_rows) for columns in tables]
    counts = [np.empty(0, np.int64), *(_counts(columns) for columns in tables if len(columns[0]))]
    return _divisor(np.concatenate(counts), SUSPECT) > 1


def _counts_as_written(source: Source, columns: Mapping[str, str]) -> Int64s:
    """How often each different row of a table occurs; rows with an ``event_id`` are left out."""
    hashed = [np.empty(0, np.uint64)]
    for chunk in source.chunks(list(dict.fromkeys(columns.values()))):
        row = np.zeros(len(chunk), np.uint64)
        for name in columns.values():
            row = (row ^ hashes(as_text(whole(chunk[name])))) * FACTOR
            row ^= row >> HALF
        if "event_id" in columns:
            row = row[hashes(as_text(whole(chunk[columns["event_id"]]))) == 0]
        hashed.append(row)
    counts: Int64s = np.unique(np.concatenate(hashed), return_counts=True)[1]
    return counts


def _columns(events: Events, unnamed: Bools | None) -> list[npt.NDArray[Any]]:
    """All that is known of some events, the lead and the known time first."""
    columns = {each.name: getattr(events, each.name) for each in fields(events)}
    arrays = [
        each.codes if isinstance(each, Coded) else each
        for each in (columns.pop("lead"), columns.pop("known"), *columns.values())
        if each is not None
    ]
    return arrays if unnamed is None else [each[unnamed] for each in arrays]


def _sampled(columns: list[npt.NDArray[Any]], share: float) -> list[npt.NDArray[Any]]:
    """About a ``share`` of the rows; of identical rows all or none."""
    lead, known = columns[:2]
    most = np.uint64(share * 2.0**64)

    def chosen(begin: int) -> Int64s:
        rows = slice(begin, begin + ROWS_AT_ONCE)
        mixed = lead[rows].astype(np.uint64)
        mixed *= FACTOR
        mixed ^= known[rows].astype(np.uint64)
        mixed *= FACTOR
        return np.flatnonzero(mixed < most) + begin

    rows = np.concatenate([NO_ROWS, *on_all_cores(chosen, range(0, len(lead), ROWS_AT_ONCE))])
    return [column[rows] for column in columns]


def _counts(columns: list[npt.NDArray[Any]]) -> Int64s:
    """How often each different row occurs, one number per different row."""
    order = np.lexsort(columns)
    other = np.zeros(len(order) - 1, np.bool_)
    for column in columns:
        ordered = column[order]
        other |= (ordered[1:] != ordered[:-1]) & ~(_missing(ordered[1:]) & _missing(ordered[:-1]))
    start = np.flatnonzero(np.concatenate(([True], other)))
    return np.diff(np.append(start, len(order)))


def _missing(column: npt.NDArray[Any]) -> Bools:
    return np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), np.bool_)


def _divisor(counts: Int64s, share: float) -> int:
    """The largest number that divides at least this ``share`` of the counts; 1 where there are none."""
    if not len(counts):
        return 1
    values, often = np.unique(counts, return_counts=True)
    # What divides so many counts is not larger than they are.
    largest = int(np.quantile(counts, 1 - share, method="lower"))
    enough = share * len(counts)
    return next((d for d in range(min(largest, MOST), 1, -1) if often[values % d == 0].sum() >= enough), 1)
