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
from leadscore.history.reading.canonical import as_text, ids_as_text
from leadscore.history.reading.faults import Fault, Faults, Rule
from leadscore.history.reading.likely_causes import look_alikes
from leadscore.history.reading.parts import Part, joined, part_of, rows_of, whole
from leadscore.history.reading.repeats import NO_ROWS, different_leads, settle_events
from leadscore.history.reading.rules import LeadIds, Rules
from leadscore.history.reading.source import ArrowSource, Source, picked
from leadscore.history.reading.text import CsvSource
from leadscore.history.reading.times import MOSTLY, NO_TIME, TimesOfDay
from leadscore.history.tables import ChangeTable, Coded, LeadTable, TouchTable, TransitionTable, recorded_apart
from leadscore.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from leadscore.config import TableName
    from leadscore.history.line import Bools, Float64s, Int64s, UInt64s
    from leadscore.history.reading.columns import ColumnReader, Values
    from leadscore.history.reading.repeats import Settled

SAME_LEAD = Rule("must not repeat with different contents", "Leave one row per lead; dated values belong in changes")
SAME_EVENT = Rule(
    "must not repeat with different contents",
    "Give each event an event_id of its own, export it once, or add recorded_at: the row recorded last counts",
)
LOOK_ALIKE = "must not be the id of another lead but for invisible characters, outer spaces or the Unicode form"
NO_HASHES = np.empty(0, np.uint64)
# Fewer times than this may all be midnight by chance, or by hand.
LEAST_MIDNIGHTS = 20

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
    corrected : int
        Events of which a row that was recorded later has replaced others.
    dropped : ndarray of int64
        Rows of the source that stand for no event of their own: repeats, and those that were replaced.
    unused : tuple of str
        Columns that were not read.
    times : dict of str to TimesOfDay
        By column of times.
    unnamed : list of ndarray of bool
        Of each table of events in ``rows`` which rows have no ``event_id``; empty where none has one.
    warnings : list of str
        What is odd about the rows and was read all the same.
    incomplete : ndarray of int64
        Of ``transitions``: rows of the `LeadTable` of which a transition was set aside, ascending.
    """

    rows: Built | None
    faults: Faults
    n_rows: int = 0
    repeats: int = 0
    ignored: int = 0
    unused: tuple[str, ...] = ()
    times: dict[str, TimesOfDay] = field(default_factory=dict)
    corrected: int = 0
    dropped: Int64s = field(default_factory=lambda: NO_ROWS)
    unnamed: list[Bools] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    incomplete: Int64s = field(default_factory=lambda: NO_ROWS)

    def saw(self, part: Part) -> None:
        """Add the times of one more part."""
        for name, times in part.times.items():
            self.times[name] = times.plus(self.times.get(name, TimesOfDay()))

    def n_leads(self) -> int:
        """How many leads have a row that broke no rule."""
        leads = [np.arange(len(each.ids)) if isinstance(each, LeadTable) else each.lead for each in self.tables()]
        return int(np.count_nonzero(np.bincount(np.concatenate([NO_ROWS, *leads]))))

    def later(self, until: int) -> int:
        """How many rows became known only after ``until``."""
        return sum(int(np.count_nonzero(each.known > until)) for each in self.tables())

    def tables(self) -> list[LeadTable | TransitionTable | TouchTable | ChangeTable]:
        """The rows as one table or, of changes, one per attribute."""
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
        faults.whole.append(_no_row(source))
        return checked, None
    part = part_of(rows, rules.of_table("leads"))
    checked.saw(part)
    ids = ids_as_text(whole(rows["lead_id"]))
    different, repeat = different_leads(ids, rows)
    for fault in part.faults:
        faults.add(fault)
    faults.add(Fault("lead_id", SAME_LEAD, different, leads=_first(ids, different)))
    faults.add(_look_alikes(ids))
    _add_ragged(faults, source, columns)
    kept = faults.kept(len(rows)) & ~repeat
    leads = _lead_ids(ids, kept, faults, _ragged_leads(source, columns["lead_id"]))
    if not faults.whole:
        timed = _timed(replace(part, faults=()))
        values = joined([Part(len(rows), {name: rows_of(each, kept) for name, each in timed.values.items()})])
        checked.rows = _lead_table(leads, values)
        checked.dropped = np.flatnonzero(repeat & faults.kept(len(rows)))
        checked.repeats = len(checked.dropped)
    return checked, leads


def _no_row(source: Source) -> Problem:
    if not (isinstance(source, CsvSource) and source.ragged):
        return Problem("leads", "", "must have a row", "Export the leads")
    rule = f"must have a row of {len(source.columns)} values, one per column"
    n_rows = len(source.ragged)
    fix = f"Each of its {n_rows:,} rows has more or fewer: does each end in a comma that the header lacks?"
    return Problem("leads", "", rule, fix)


def _look_alikes(ids: pa.Array) -> Fault:
    rows, pairs = look_alikes(ids)
    fix = f"{'; '.join(pairs[:SHOWN])} look the same: export one row per lead, and give it one id in all tables"
    return Fault("lead_id", Rule(LOOK_ALIKE, fix), rows, leads=_first(ids, rows))


def _lead_ids(ids: pa.Array, kept: Bools, faults: Faults, ragged: Sequence[str | None]) -> LeadIds:
    if kept.all() and not ragged:
        return LeadIds(ids)
    refused = pa.concat_arrays([ids.take(pa.array(faults.rows())), pa.array(ragged, pa.string())])
    return LeadIds(ids.filter(pa.array(kept)), refused.drop_null().unique())


def check_transitions(source: Source, rules: Rules, leads: LeadIds | None) -> Checked[TransitionTable]:
    """Check ``transitions``; rows of one ``event_id`` are one transition."""

    def finished(chunk: pa.Table, part: Part) -> Part:
        if "occurred_at" in part.values:
            part.values["whole_day"] = rules.are_whole_days(whole(chunk["occurred_at"]))
        return _timed(part, keep_recorded=True)

    checked, values = _check_events(source, rules, leads, finished)
    if leads is not None:
        lead_id = source.renamed.get("lead_id", "lead_id")
        ragged = _ragged_leads(source, lead_id if lead_id in source.columns else None)
        checked.incomplete = _incomplete(leads, checked.faults, ragged)
    if not checked.faults.whole:
        whole_day = _array(values["whole_day"])
        checked.rows = TransitionTable(
            lead=_array(values["lead_id"]),
            occurred=_array(values["occurred_at"]),
            known=_array(values["recorded_at"]),
            stage=_array(values["stage"]),
            recorded=_recorded(values),
            whole_day=whole_day if whole_day.any() else None,
        )
    return cast("Checked[TransitionTable]", checked)


def _incomplete(leads: LeadIds, faults: Faults, ragged: Sequence[str | None]) -> Int64s:
    """Rows of the leads that are read and of which a transition is not."""
    of_ragged = pa.compute.index_in(pa.array(ragged, pa.string()), leads.good).drop_null().to_numpy()
    rows = np.unique(np.concatenate([NO_ROWS, *faults.leads_aside, of_ragged]))
    return rows[(rows >= 0) & (rows < len(leads.good))]


def check_touches(source: Source, rules: Rules, leads: LeadIds | None) -> Checked[TouchTable]:
    """Check ``touches``; rows of one ``event_id`` are one touch."""

    def finished(_: pa.Table, part: Part) -> Part:
        part = _timed(part)
        part.values.pop("occurred_at", None)
        return part

    checked, values = _check_events(source, rules, leads, finished)
    if not checked.faults.whole:
        checked.rows = TouchTable(
            lead=_array(values["lead_id"]),
            known=_array(values["recorded_at"]),
            kind=_coded(values["kind"]),
            direction=_array(values["direction"]) if "direction" in values else None,
            by=_coded(values["by"]) if "by" in values else None,
            value=_array(values["value"]) if "value" in values else None,
        )
    return cast("Checked[TouchTable]", checked)


def _check_events(
    source: Source, rules: Rules, leads: LeadIds | None, finished: Callable[[pa.Table, Part], Part]
) -> tuple[Checked[Any], dict[str, Values]]:
    """What became of a table of events, and the values of the rows that stay.

    Parameters
    ----------
    finished : callable
        Of a chunk and the part that was read of it, to the part with the values that are needed.
    """
    faults = Faults(source.table)
    columns = rules.columns(source, faults)
    readers = rules.of_table(source.table, leads)
    checked = Checked[Any](None, faults, unused=_unused(source, columns))
    values, kept = _stream(source, columns, lambda chunk: finished(chunk, part_of(chunk, readers)), checked)
    if "event_id" in values and not faults.whole:
        rows = np.flatnonzero(kept)
        hashes = _array(values.pop("event_id"))
        stay = _settle(checked, source, columns, settle_events(source, columns, readers, rows, hashes), rows)
        checked.unnamed = _unnamed([hashes[stay]])
        values = _that_stay(values, stay)
    return checked, values


def _settle(checked: Checked[Any], source: Source, columns: Mapping[str, str], settled: Settled, rows: Int64s) -> Bools:
    """Which of ``rows`` stay, of each event one; what became of the others is noted."""
    table = source.table
    checked.dropped, checked.corrected = settled.dropped, settled.corrected
    checked.repeats = settled.repeats
    if len(at := settled.undecided):
        owners = as_text(whole(picked(source, [columns["lead_id"]], at[: 1_000 * SHOWN])[columns["lead_id"]]))
        checked.faults.add(Fault("event_id", SAME_EVENT, at, leads=tuple(owners.unique()[: SHOWN + 1].to_pylist())))
    if settled.late:
        checked.warnings.append(corrected_late(table, settled.late))
    if not len(settled.dropped) and not len(at):
        return np.ones(len(rows), np.bool_)
    return ~(np.isin(rows, settled.dropped) | np.isin(rows, at))


def _that_stay(values: dict[str, Values], stay: Bools) -> dict[str, Values]:
    """Values of some rows; names of categories are those that occur among them."""
    if stay.all():
        return values
    return joined([Part(len(stay), {name: rows_of(column, stay) for name, column in values.items()})])


def _unnamed(hashes: list[UInt64s]) -> list[Bools]:
    return [each == 0 for each in hashes] if any(each.any() for each in hashes) else []


def corrected_late(table: str, n_events: int) -> str:
    """The sentence about events that were corrected more than a day after they were known."""
    events = f"{n_events:,} event{'s were' if n_events != 1 else ' was'}"
    return f"{table}: {events} corrected more than a day after being known: the past is read as corrected"


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
            if "event_id" in columns:
                part.values["row"] = rows + checked.n_rows
            parts[name].append(_timed(part, keep_recorded=True))
            checked.saw(part)
            checked.ignored -= len(rows)
            for fault in part.faults:
                faults.add(replace(fault, rows=rows[fault.rows]), checked.n_rows)
        checked.n_rows += len(chunk)
    _add_ragged(faults, source, columns)
    if not faults.whole:
        values = {name: joined(each) for name, each in parts.items()}
        if "event_id" in columns:
            _settle_changes(checked, source, rules, readers | {"attribute": attribute}, values)
        checked.rows = {name: _change_table(each) for name, each in values.items()}
    return checked


def _settle_changes(
    checked: Checked[Any],
    source: Source,
    rules: Rules,
    readers: Mapping[str, ColumnReader],
    values: dict[str, dict[str, Values]],
) -> None:
    """Leave one row of each event in ``values``, whatever attributes its rows are of."""
    columns = rules.columns(source, Faults("changes"))
    rows = {name: _array(each.pop("row")) for name, each in values.items()}
    hashes = {name: _array(each.pop("event_id")) for name, each in values.items()}
    every, hashed = np.concatenate([NO_ROWS, *rows.values()]), np.concatenate([NO_HASHES, *hashes.values()])
    order = np.argsort(every)
    settled = settle_events(source, columns, readers, every[order], hashed[order], changing=rules.changing)
    stay = np.empty(len(every), np.bool_)
    stay[order] = _settle(checked, source, columns, settled, every[order])
    begin = 0
    for name, each in values.items():
        of_name = stay[begin : begin + len(rows[name])]
        begin += len(rows[name])
        hashes[name] = hashes[name][of_name]
        values[name] = _that_stay(each, of_name)
    checked.unnamed = _unnamed(list(hashes.values()))


def _change_table(values: Mapping[str, Values]) -> ChangeTable:
    return ChangeTable(
        lead=_array(values["lead_id"]),
        occurred=_array(values["occurred_at"]),
        known=_array(values["recorded_at"]),
        value=cast("Float64s | Coded", values["value"]),
        recorded=_recorded(values),
    )


def _recorded(values: Mapping[str, Values]) -> Int64s | None:
    if "recorded" not in values:
        return None
    return recorded_apart(_array(values["occurred_at"]), _array(values["recorded"]))


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
    source: Source, columns: Mapping[str, str], read: Callable[[pa.Table], Part], checked: Checked[Any]
) -> tuple[dict[str, Values], Bools]:
    """Values of the rows that have no fault, and which of the source's rows those are."""
    parts = []
    for part in on_all_cores(read, _chunks(source, columns)):
        for fault in part.faults:
            checked.faults.add(fault, checked.n_rows)
        checked.faults.leads_aside.append(part.leads_aside)
        checked.saw(part)
        parts.append(part)
        checked.n_rows += part.n_rows
    _add_ragged(checked.faults, source, columns)
    return joined(parts) if parts else {}, checked.faults.kept(checked.n_rows)


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


def _timed(part: Part, *, keep_recorded: bool = False) -> Part:
    """Rows of a part that have no fault; ``recorded_at`` becomes when they were known.

    With ``keep_recorded`` what it was stays as ``recorded``: ``occurred_at`` where it was missing.
    """
    values = part.values
    happened = values.get("created_at", values.get("occurred_at"))
    if happened is not None:
        occurred, recorded = _array(happened), _array(values.get("recorded_at", happened))
        if keep_recorded and "recorded_at" in values:
            values["recorded"] = np.where(recorded == NO_TIME, occurred, recorded)
        values["recorded_at"] = np.maximum(occurred, recorded)
    return part.kept()


def odd_times(checked: Mapping[TableName, Checked[Any]], rules: Rules) -> tuple[str, ...]:
    """A sentence for each column of times whose days are doubtful."""
    return tuple(
        sentence
        for table, each in checked.items()
        for name, times in each.times.items()
        if (sentence := _odd_times(f"{table}.{name}", times, whole_days=f"{table}.{name}" in rules.whole_days))
    )


def _odd_times(column: str, times: TimesOfDay, *, whole_days: bool) -> str | None:
    if whole_days and 0 < times.n_midnight < times.n_times:
        return (
            f"{column}: {times.n_midnight:,} whole days are written as 00:00, {times.n_times - times.n_midnight:,} as "
            "another time of day: the former are the day as written, the latter the day in [time] timezone. Export "
            "them as dates."
        )
    if not whole_days and times.n_midnight >= max(LEAST_MIDNIGHTS, MOSTLY * times.n_times):
        all_are = times.n_midnight == times.n_times
        which = "every time is" if all_are else f"{times.n_midnight:,} of {times.n_times:,} times are"
        return (
            f"{column}: {which} midnight, so they seem to be days, of which each would be known as it begins. "
            f'If they are, add "{column}" to [time] whole_days.'
        )
    return None


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
