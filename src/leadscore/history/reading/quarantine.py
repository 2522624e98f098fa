"""Rows that break a rule, in a file with the rules that they break."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv

from leadscore.history.reading.canonical import as_text
from leadscore.history.reading.faults import Effect
from leadscore.history.reading.parts import whole
from leadscore.history.reading.source import picked
from leadscore.history.reading.text import CsvSource

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from leadscore.config import TableName
    from leadscore.history.line import Int64s
    from leadscore.history.reading.faults import Faults
    from leadscore.history.reading.source import Source

FOLDER = "quarantine"

log = logging.getLogger(__name__)


def set_aside(folder: Path, tables: Mapping[TableName, tuple[Source, Faults]]) -> None:
    """Write ``quarantine/<table>.csv`` for each table with bad rows; what an earlier run wrote is removed.

    The columns are ``row`` (from 1, below the header), ``rule`` (all that the row breaks) and the source's own,
    as they were read. Each bad row stands there once, in order, also one that is not set aside because only values
    of it that may be missing are bad.
    """
    for table, (source, faults) in tables.items():
        path = folder / FOLDER / f"{table}.csv"
        path.unlink(missing_ok=True)
        rows = _bad_rows(source, faults)
        if not len(rows):
            continue
        path.parent.mkdir(exist_ok=True)
        pa.csv.write_csv(rows, path)
        aside = len(faults.rows()) + (faults.ragged.rows if faults.ragged else 0)
        if aside:
            log.warning("set aside %s rows of %s in %s", f"{aside:,}", table, path)
        if len(rows) > aside:
            log.warning("%s rows of %s have values read as missing, see %s", f"{len(rows) - aside:,}", table, path)


def _bad_rows(source: Source, faults: Faults) -> pa.Table:
    parts = []
    if len(rows := faults.rows(Effect.VALUE)):
        written = picked(source, source.columns, rows)
        values = [as_text(whole(column)) for column in written.columns]
        parts.append((source.row_numbers(rows), _reasons(faults, rows), values))
    if isinstance(source, CsvSource) and source.ragged and faults.ragged:
        numbers = np.array([ragged.row + 1 for ragged in source.ragged])
        written = zip(*(ragged.values(len(source.columns)) for ragged in source.ragged), strict=True)
        reasons = pa.array([faults.ragged.rule] * len(numbers), pa.string())
        parts.append((numbers, reasons, [pa.array(values, pa.string()) for values in written]))
    names = ["row", "rule", *source.columns]
    tables = [pa.table([pa.array(numbers), reasons, *values], names=names) for numbers, reasons, values in parts]
    if not tables:
        return pa.table({})
    # By position: the source may have a column named row, too.
    order = np.argsort(np.concatenate([numbers for numbers, _, _ in parts]))
    return pa.concat_tables(tables).take(pa.array(order))


def _reasons(faults: Faults, rows: Int64s) -> pa.Array:
    texts, code = [""], np.zeros(len(rows), np.int64)
    for fault in faults.each():
        if fault.effect < Effect.VALUE:
            continue
        reason = f"{fault.column}: {fault.rule.must}" + (", read as missing" if fault.effect == Effect.VALUE else "")
        broken = np.isin(rows, fault.rows)
        seen, code = np.unique(2 * code + broken, return_inverse=True)
        texts = ["; ".join(filter(None, (texts[each // 2], reason if each % 2 else ""))) for each in seen.tolist()]
    return pa.array(texts, pa.string()).take(pa.array(code))
