"""Chunks of a table, checked column by column on all cores and put together again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from leadscore.errors import SHOWN
from leadscore.history.reading.canonical import as_text
from leadscore.history.reading.faults import Effect
from leadscore.history.tables import Coded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leadscore.history.line import Bools, Int32s, Int64s
    from leadscore.history.reading.columns import ColumnReader, Values
    from leadscore.history.reading.faults import Fault
    from leadscore.history.reading.times import TimesOfDay


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a table, checked.

    Attributes
    ----------
    n_rows : int
        As many as were read.
    values : dict of str to ndarray or Coded
        By column, shape (n_rows,) or as many as were kept.
    faults : tuple of Fault
        What rows of this part break; their rows count from its first.
    times : dict of str to TimesOfDay
        By column of times.
    leads_aside : ndarray of int64
        Leads of the rows that were set aside, as ``lead_id`` reads them.
    """

    n_rows: int
    values: dict[str, Values]
    faults: tuple[Fault, ...] = ()
    times: dict[str, TimesOfDay] = field(default_factory=dict)
    leads_aside: Int64s = field(default_factory=lambda: np.empty(0, np.int64))

    def kept(self) -> Part:
        """The part without the rows that are set aside."""
        aside = [fault.rows for fault in self.faults if fault.effect == Effect.ROW]
        if not aside:
            return self
        kept = np.ones(self.n_rows, np.bool_)
        kept[np.concatenate(aside)] = False
        lead = self.values.get("lead_id")
        return replace(
            self,
            values={name: rows_of(values, kept) for name, values in self.values.items()},
            leads_aside=np.unique(lead[~kept]) if isinstance(lead, np.ndarray) else self.leads_aside,
        )


def part_of(chunk: pa.Table, readers: Mapping[str, ColumnReader]) -> Part:
    """Read and check each column of a chunk that has a reader."""
    values: dict[str, Values] = {}
    times: dict[str, TimesOfDay] = {}
    faults: list[Fault] = []
    present = set(chunk.column_names)
    for name, read in readers.items():
        if name in present:
            column = read(name, whole(chunk[name]))
            values[name] = column.values
            if column.times is not None:
                times[name] = column.times
            faults += [fault for fault in column.faults if len(fault.rows)]
    if faults and "lead_id" in present:
        faults = [replace(fault, leads=_leads(chunk["lead_id"], fault)) for fault in faults]
    return Part(chunk.num_rows, values, tuple(faults), times)


def _leads(ids: pa.ChunkedArray, fault: Fault) -> tuple[str, ...]:
    # A lead may have thousands of bad rows in a row; the first few leads are looked for among the first rows.
    named = as_text(whole(ids.take(pa.array(fault.rows[: 1_000 * SHOWN])))).unique().to_pylist()
    return tuple(lead for lead in named if lead)[: SHOWN + 1]


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    return (
        column.chunk(0)
        if column.num_chunks == 1
        else pa.concat_arrays(column.unify_dictionaries().chunks or [pa.array([], column.type)])
    )


def rows_of(values: Values, kept: Bools) -> Values:
    """The values of the rows that are kept."""
    return replace(values, codes=values.codes[kept]) if isinstance(values, Coded) else values[kept]


def joined(parts: list[Part]) -> dict[str, Values]:
    """The values of all parts, in order; names of categories sorted, and only those that occur."""
    names = list(parts[0].values)
    # Each part lets go of a column as it is joined: twenty million rows are held once.
    return {name: _join([part.values.pop(name) for part in parts]) for name in names}


def _join(pieces: list[Values]) -> Values:
    coded = [piece for piece in pieces if isinstance(piece, Coded)]
    if not coded:
        arrays = [piece for piece in pieces if not isinstance(piece, Coded)]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    names = sorted(set(chain.from_iterable(_used(piece) for piece in coded)))
    place = {name: code for code, name in enumerate(names)}
    codes = [_recoded(piece, place) for piece in coded]
    return Coded(codes[0] if len(codes) == 1 else np.concatenate(codes), tuple(names))


def _used(coded: Coded) -> list[str]:
    occurs = np.bincount(coded.codes + 1, minlength=len(coded.names) + 1)[1:]
    return [name for name, count in zip(coded.names, occurs.tolist(), strict=True) if count]


def _recoded(coded: Coded, place: Mapping[str, int]) -> Int32s:
    new = np.array([*(place.get(name, -1) for name in coded.names), -1], np.int32)
    return new[coded.codes]
