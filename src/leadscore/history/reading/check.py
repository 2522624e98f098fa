"""A source to its checked table, and what its rows break.

A table that lacks a column it needs is not built; its other columns are checked all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np
import pyarrow as pa

from leadscore.errors import SHOWN, Problem
from leadscore.history.cores import on_all_cores
from leadscore.history.reading.columns import as_text, ids_as_text
from leadscore.history.reading.faults import Fault, Faults, Rule
from leadscore.history.reading.parts import Part, joined, part_of, rows_of, whole
from leadscore.history.reading.repeats import different_leads, repeated_touches
from leadscore.history.reading.rules import LeadIds, Rules
from leadscore.history.reading.source import ArrowSource, Source, picked
from leadscore.history.reading.text import CsvSource
from leadscore.history.tables import ChangeTable, Coded, LeadTable, TouchTable, TransitionTable
from leadscore.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from leadscore.history.line import Bools, Float64s, Int64s
    from leadscore.history.reading.columns import ColumnReader, Values

SAME_LEAD = Rule("must not repeat with different contents", "Leave one row per lead; dated values belong in changes")
SAME_TOUCH = Rule(
    "must not repeat with different contents", "Give each touch an event_id of its own, or export it once"
)
NO_ROWS = np.empty(0, np.int64)

Built = TypeVar("Built", bound="LeadTable | TransitionTable | TouchTable | dict[str, ChangeTable]")


@dataclass(slots=True)
class Checked(Generic[Built]):
    """What became of one table.

    Attributes
    ----------
    rows : LeadTable, TransitionTable, TouchTable or dict of ChangeTable, optional
        The rows that break no rule, each once; None where a needed column is missing.
    faults : Faults
        What the other rows break.
    n_rows, repeats, ignored : int
        Rows of the source; rows that repeat another one and were collapsed into it; rows of
        undeclared attributes.
    unused : tuple of str
        Columns that were not read.
    incomplete : ndarray of int64
        Of ``transitions``: rows of the `LeadTable` of which a transition was set aside, ascending.
    """

    rows: Built | None
    faults: Faults
    n_rows: int = 0
    repeats: int = 0
    ignored: int = 0
    unused: tuple[str, ...] = ()
    incomplete: Int64s = field(default_factory=lambda: NO_ROWS)

    def n_leads(self) -> int:
        """How many leads have a row that broke no rule."""
        leads = [np.arange(len(each.ids)) if isinstance(each, LeadTable) else each.lead for each in self._tables()]
        return int(np.count_nonzero(np.bincount(np.concatenate([NO_ROWS, *leads]))))

    def later(self, until: int) -> int:
        """How many rows became known only after ``until``."""
        return sum(int(np.count_nonzero(each.known > until)) for each in self._tables())

    def _tables(self) -> list[LeadTable | TransitionTable | TouchTable | ChangeTable]:
        if self.rows is None:
            return []
        return list(self.rows.values()) if isinstance(self.rows, dict) else [self.rows]


def check_leads(source: Source, rules: Rules) -> tuple[Checked[LeadTable], LeadIds | None]:
    """Check ``leads``, and say which leads the rows of other tables may belong to."""
    faults = Faults("leads")
    columns = rules.columns(source, faults)
    if "lead_id" not in columns:
        return Checked(None, faults), None
    chunks = list(_chunks(source, columns))
    rows = chunks[0] if len(chunks) == 1 else pa.concat_tables(chunks).unify_dictionaries().combine_chunks()
    checked = Checked[LeadTable](None, faults, len(rows), unused=_unused(source, columns))
    if not len(rows):
        faults.whole.append(Problem("leads", "", "must have a row", "Export the leads"))
        return checked, None
    part = part_of(rows, rules.of_table("leads"))
    ids = ids_as_text(whole(rows["lead_id"]))
    different, repeat = different_leads(ids, rows)
    for fault in part.faults:
        faults.add(fault)
    faults.add(Fault("lead_id", SAME_LEAD, different, leads=_first(ids, different)))
    _add_ragged(faults, source, columns)
    kept = faults.kept(len(rows)) & ~repeat
    leads = _lead_ids(ids, kept, faults, _ragged_leads(source, columns["lead_id"]))
    if not faults.whole:
        timed = _timed(replace(part, faults=()))
        values = joined([Part(len(rows), {name: rows_of(each, kept) for name, each in timed.values.items()})])
        checked.rows = _lead_table(leads, values)
        checked.repeats = len(rows) - len(faults.rows()) - len(leads.good)
    return checked, leads


def _lead_ids(ids: pa.Array, kept: Bools, faults: Faults, ragged: Sequence[str | None]) -> LeadIds:
    if kept.all() and not ragged:
        return LeadIds(ids)
    refused = pa.concat_arrays([ids.take(pa.array(faults.rows())), pa.array(ragged, pa.string())])
    return LeadIds(ids.filter(pa.array(kept)), refused.drop_null().unique())


def check_transitions(source: Source, rules: Rules, leads: LeadIds | None) -> Checked[TransitionTable]:
    """Check ``transitions``."""
    faults = Faults("transitions")
    columns = rules.columns(source, faults)
    values, kept = _stream(source, columns, rules.of_table("transitions", leads), faults)
    checked = Checked[TransitionTable](None, faults, len(kept), unused=_unused(source, columns))
    if leads is not None:
        checked.incomplete = _incomplete(leads, faults, _ragged_leads(source, columns.get("lead_id")))
    if not faults.whole:
        checked.rows = TransitionTable(
            lead=_array(values["lead_id"]),
            occurred=_array(values["occurred_at"]),
            known=_array(values["recorded_at"]),
            stage=_array(values["stage"]),
        )
    return checked


def _incomplete(leads: LeadIds, faults: Faults, ragged: Sequence[str | None]) -> Int64s:
    """Rows of the leads that are read and of which a transition is not."""
    of_ragged = pa.compute.index_in(pa.array(ragged, pa.string()), leads.good).drop_null().to_numpy()
    rows = np.unique(np.concatenate([NO_ROWS, *faults.leads_aside, of_ragged]))
    return rows[(rows >= 0) & (rows < len(leads.good))]


def check_touches(source: Source, rules: Rules, leads: LeadIds | None) -> Checked[TouchTable]:
    """Check ``touches``; repeats of one ``event_id`` are one touch."""
    faults = Faults("touches")
    columns = rules.columns(source, faults)
    values, kept = _stream(source, columns, rules.of_table("touches", leads), faults, unneeded=("occurred_at",))
    checked = Checked[TouchTable](None, faults, len(kept), unused=_unused(source, columns))
    if "event_id" in values and "lead_id" in values:
        checked.repeats = _collapse_repeats(source, columns, values, kept, faults)
    if not faults.whole:
        checked.rows = TouchTable(
            lead=_array(values["lead_id"]),
            known=_array(values["recorded_at"]),
            kind=_coded(values["kind"]),
            direction=_array(values["direction"]) if "direction" in values else None,
            by=_coded(values["by"]) if "by" in values else None,
            value=_array(values["value"]) if "value" in values else None,
        )
    return checked


def _collapse_repeats(
    source: Source, columns: Mapping[str, str], values: dict[str, Values], kept: Bools, faults: Faults
) -> int:
    """Take repeats of events out of ``values``, and say how many were the same as another."""

    def event_ids(some: Int64s) -> pa.Array:
        return whole(picked(source, [columns["event_id"]], np.flatnonzero(kept)[some])[columns["event_id"]])

    different, repeat = repeated_touches(values, event_ids)
    if len(different):
        at = np.flatnonzero(kept)[different]
        owners = as_text(whole(picked(source, [columns["lead_id"]], at[: 1_000 * SHOWN])[columns["lead_id"]]))
        faults.add(Fault("event_id", SAME_TOUCH, at, leads=tuple(owners.unique()[: SHOWN + 1].to_pylist())))
    if len(different) or len(repeat):
        stay = np.ones(np.count_nonzero(kept), np.bool_)
        stay[different] = stay[repeat] = False
        values.update({name: rows_of(column, stay) for name, column in values.items()})
    return len(repeat)


def check_changes(source: Source, rules: Rules, leads: LeadIds | None) -> Checked[dict[str, ChangeTable]]:
    """Check ``changes``; rows of attributes that nobody declared are counted and left out."""
    faults = Faults("changes")
    columns = rules.columns(source, faults)
    readers = rules.of_table("changes", leads)
    attribute = readers.pop("attribute")
    declared = rules.changing
    checked = Checked[dict[str, ChangeTable]](None, faults, unused=_unused(source, columns))
    parts: dict[str, list[Part]] = {name: [] for name in declared}
    for chunk in _chunks(source, columns) if "attribute" in columns else ():
        named = part_of(chunk, {"attribute": attribute})
        checked.ignored += len(chunk) - sum(len(fault.rows) for fault in named.faults)
        for fault in named.faults:
            faults.add(fault, checked.n_rows)
        codes = _coded(named.values["attribute"])
        for name in declared:
            rows = np.flatnonzero(codes.codes == codes.names.index(name)) if name in codes.names else NO_ROWS
            part = part_of(chunk.take(pa.array(rows)), readers | {"value": declared[name]})
            parts[name].append(_timed(part))
            checked.ignored -= len(rows)
            for fault in part.faults:
                faults.add(replace(fault, rows=rows[fault.rows]), checked.n_rows)
        checked.n_rows += len(chunk)
    _add_ragged(faults, source, columns)
    if not faults.whole:
        checked.rows = {name: _change_table(joined(each)) for name, each in parts.items()}
    return checked


def _change_table(values: Mapping[str, Values]) -> ChangeTable:
    return ChangeTable(
        lead=_array(values["lead_id"]),
        occurred=_array(values["occurred_at"]),
        known=_array(values["recorded_at"]),
        value=cast("Float64s | Coded", values["value"]),
    )


def _lead_table(leads: LeadIds, values: dict[str, Values]) -> LeadTable:
    known, created = _array(values.pop("recorded_at")), _array(values.pop("created_at"))
    objects = values.pop("do_not_score", None)
    del values["lead_id"]
    return LeadTable(
        ids=leads.good.to_numpy(zero_copy_only=False),
        created=created,
        known=known,
        do_not_score=np.zeros(len(known), np.bool_) if objects is None else _array(objects).astype(np.bool_),
        numbers={name: column for name, column in values.items() if not isinstance(column, Coded)},
        categories={name: column for name, column in values.items() if isinstance(column, Coded)},
    )


def _stream(
    source: Source,
    columns: Mapping[str, str],
    readers: Mapping[str, ColumnReader],
    faults: Faults,
    *,
    unneeded: Sequence[str] = (),
) -> tuple[dict[str, Values], Bools]:
    """Values of the rows that have no fault, and which of the source's rows those are."""
    parts, n_rows = [], 0
    for part in on_all_cores(lambda chunk: _timed(part_of(chunk, readers)), _chunks(source, columns)):
        for fault in part.faults:
            faults.add(fault, n_rows)
        faults.leads_aside.append(part.leads_aside)
        for name in unneeded:
            part.values.pop(name, None)
        parts.append(part)
        n_rows += part.n_rows
    _add_ragged(faults, source, columns)
    return joined(parts) if parts else {}, faults.kept(n_rows)


def _chunks(source: Source, columns: Mapping[str, str]) -> Iterator[pa.Table]:
    """Columns under our names; at least one chunk, so that a table without rows has columns."""
    if not columns:
        return
    n_chunks = 0
    with progress(f"reading {source.table}", "rows", hidden=isinstance(source, ArrowSource)) as bar:
        for chunk in source.chunks(list(dict.fromkeys(columns.values()))):
            yield pa.table({ours: chunk[theirs] for ours, theirs in columns.items()})
            n_chunks += 1
            bar.update(len(chunk))
    if not n_chunks:
        yield pa.table({name: pa.array([], pa.string()) for name in columns})


def _timed(part: Part) -> Part:
    """Rows of a part that have no fault; ``recorded_at`` becomes when they were known."""
    values = part.values
    happened = values.get("created_at", values.get("occurred_at"))
    if happened is not None:
        recorded = values.get("recorded_at", happened)
        values["recorded_at"] = np.maximum(_array(happened), _array(recorded))
    return part.kept()


def _add_ragged(faults: Faults, source: Source, columns: Mapping[str, str]) -> None:
    if isinstance(source, CsvSource) and source.ragged:
        rows = len(source.ragged)
        leads = [lead for lead in _ragged_leads(source, columns.get("lead_id"))[: 10 * SHOWN] if lead]
        faults.ragged = Problem(
            table=faults.table,
            column="",
            rule=f"must have {len(source.columns)} values, one per column",
            fix=f"See row {source.ragged[0].row + 1} below the header; put values with commas in quotes",
            rows=rows,
            leads=tuple(dict.fromkeys(leads))[: SHOWN + 1],
        )


def _ragged_leads(source: Source, lead_id: str | None) -> list[str | None]:
    if not isinstance(source, CsvSource) or lead_id is None:
        return []
    at = source.columns.index(lead_id)
    return [ragged.values(len(source.columns))[at] for ragged in source.ragged]


def _unused(source: Source, columns: Mapping[str, str]) -> tuple[str, ...]:
    used = set(columns.values())
    return tuple(name for name in source.columns if name not in used)


def _first(ids: pa.Array, rows: Int64s) -> tuple[str, ...]:
    return tuple(ids.take(pa.array(rows)).unique()[: SHOWN + 1].to_pylist()) if len(rows) else ()


def _array(values: Values) -> npt.NDArray[Any]:
    return cast("npt.NDArray[Any]", values)


def _coded(values: Values) -> Coded:
    return cast("Coded", values)
