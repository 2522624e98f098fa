"""The store as a History, for training and for batches."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import sqlalchemy as sa

from leadscore.errors import SHOWN, DataError, Problem
from leadscore.history import DAY, Rules, build_history, log_warnings
from leadscore.history.cores import on_all_cores
from leadscore.history.late_start import late_start
from leadscore.history.reading.canonical import cell_text
from leadscore.history.reading.check import corrected_late
from leadscore.history.reading.columns import encoded
from leadscore.history.reading.faults import Effect, incomplete_leads
from leadscore.history.reading.future import all_far_ahead
from leadscore.history.reading.parts import Part, joined, whole
from leadscore.history.tables import STAYS, ChangeTable, Coded, LeadTable, Tables, TouchTable, TransitionTable
from leadscore.store.arrow import row_reader, store_reader
from leadscore.store.connection import reading
from leadscore.store.dialect import rows_among
from leadscore.store.schema import EVENTS, changes, leads, touches, transitions
from leadscore.store.settings import stored_funnel, stored_known_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from leadscore.config import Attributes, Funnel
    from leadscore.history import History
    from leadscore.history.line import Float64s, Int64s
    from leadscore.history.reading.columns import Values
    from leadscore.store.arrow import Query
    from leadscore.store.connection import Store

_DIRECTION = sa.case({"inbound": 1, "outbound": 2}, value=touches.c.direction, else_=0)


def read_store(
    store: Store,
    *,
    funnel: Funnel | None = None,
    known_until: int | None = None,
    lead_ids: Sequence[str] | None = None,
) -> History:
    """The recorded history of all leads in the store, as a data set folder with the same rows gives it.

    Leads with ``do_not_score`` are left out, and counted.

    Parameters
    ----------
    funnel : Funnel, optional
        The settings to read it with; by default those of the last import.
    known_until : int, optional
        The end of the recorded history, in microseconds since 1970 UTC; by default the latest that an import said.
    lead_ids : sequence of str, optional
        Some ten thousand leads at most; by default all. Those that are not there are left out.

    Raises
    ------
    DataError
        What is stored breaks a rule of the funnel, such as a stage that it no longer has.
    StoreError
        The database cannot be used, or nobody said what a default is of.
    """
    with reading(store) as connection:
        chosen = stored_funnel(connection) if funnel is None else funnel
        until = stored_known_until(connection) if known_until is None else known_until
        if lead_ids is not None:
            some = [row.lead for row in rows_among(connection, leads.c.lead_id, list(dict.fromkeys(lead_ids)))]
            tables, _ = _tables(row_reader(connection), some, until, chosen, connection.dialect.name)
            return build_history(tables, chosen)
    tables, _ = _read_all(store, chosen, until)
    return _built(tables, chosen)


def read_numbered(store: Store, funnel: Funnel, known_until: int) -> tuple[History, Int64s]:
    """The recorded history of all leads as `read_store`, and the number of each in the store, shape (n_leads,)."""
    tables, number = _read_all(store, funnel, known_until)
    ids = pa.array(tables.leads.ids, pa.large_string())
    history = _built(tables, funnel)
    return history, number[pc.index_in(pa.array(history.ids, pa.large_string()), ids).to_numpy()]


def _built(tables: Tables, funnel: Funnel) -> History:
    history = build_history(tables, funnel)
    log_warnings(history.warnings)
    return history


def _read_all(store: Store, funnel: Funnel, known_until: int) -> tuple[Tables, Int64s]:
    with store_reader(store) as query:
        tables, number = _tables(query, None, known_until, funnel, store.engine.dialect.name)
        warnings = (
            *_incomplete(tables.leads),
            *_corrected(query),
            *late_start(tables.leads, tables.transitions, funnel.time),
            *all_far_ahead(tables, Rules.of(funnel).future),
            *_backfilled(query),
        )
        return replace(tables, warnings=warnings), number


def _backfilled(query: Query) -> tuple[str, ...]:
    """A warning where API callers stated when rows became known."""
    counted: list[sa.Select[Any]] = [
        sa.select(sa.literal_column(f"'{table.name}'").label("name"), sa.func.count().label("n_rows"))
        .select_from(table)
        # As the index has it: SQLAlchemy would compare it with 1, and SQLite would read the whole table.
        .where(sa.text("backfilled"))
        for table in (leads, *EVENTS.values())
    ]
    rows = _table(chain.from_iterable(query(sa.select(sa.union_all(*counted).subquery()))))
    counts = dict(zip(rows["name"].to_pylist(), rows["n_rows"].to_pylist(), strict=True))
    found = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    if not found:
        return ()
    return (
        f"back-filled by the API: {found}; when they became known is what callers with the scope backfill stated, and "
        "was not observed. If it is wrong, models learn from the future",
    )


def _tables(query: Query, some: list[int] | None, until: int, funnel: Funnel, dialect: str) -> tuple[Tables, Int64s]:
    """The tables of all leads, or of those with ``some`` numbers; and the numbers."""
    rules = Rules.of(funnel)
    table, number = _leads(query, some, rules, funnel.attributes)
    place = np.full(int(number.max(initial=0)) + 1, -1, np.int64)
    place[number] = np.arange(len(number))
    tables = Tables(
        leads=table,
        transitions=_transitions(query, some, place, rules),
        touches=_touches(query, some, place, dialect),
        changes=_changes(query, some, place, rules),
        known_until=until,
    )
    return tables, number


def _corrected(query: Query) -> Iterator[str]:
    """A sentence for each table whose past is read otherwise than it was known."""
    for name, table in EVENTS.items():
        late = sa.select(sa.func.count().label("late")).where(table.c.corrected_at > _known(table.c) + DAY)
        count = int(sum(_ints(batch, "late").sum() for piece in query(late) for batch in piece))
        if count:
            yield corrected_late(name, count)


def _incomplete(table: LeadTable) -> tuple[str, ...]:
    """A warning where transitions of leads were set aside when they were imported."""
    if table.incomplete is None:
        return ()
    at = np.flatnonzero(table.incomplete)
    return (str(incomplete_leads(sorted(table.ids[at])[: SHOWN + 1], len(at))),)


def _leads(query: Query, some: list[int] | None, rules: Rules, declared: Attributes) -> tuple[LeadTable, Int64s]:
    """The leads, and the number of each."""
    columns = [leads.c[name] for name in ("lead", "lead_id", "created_at", "recorded_at", "attributes")]
    flags = (sa.case((leads.c[name], 1), else_=0).label(name) for name in ("do_not_score", "incomplete"))
    gone_at = sa.func.coalesce(leads.c.gone_at, STAYS).label("gone_at")
    rows = _table(chain.from_iterable(query(_of(sa.select(*columns, *flags, gone_at), leads.c.lead, some))))
    gone = _ints(rows, "gone_at")
    said = _said(rows.get("attributes", pa.array([], pa.string())).to_pylist(), declared)
    readers = rules.readers["leads"]
    values: dict[str, Values] = {name: _read("leads", readers[name], name, said[name]) for name in rules.attributes}
    created = _ints(rows, "created_at")
    table = LeadTable(
        ids=np.array(rows["lead_id"].to_pylist() if "lead_id" in rows else [], object),
        created=created,
        known=np.maximum(created, _ints(rows, "recorded_at")),
        do_not_score=_ints(rows, "do_not_score") == 1,
        numbers={name: column for name, column in values.items() if not isinstance(column, Coded)},
        categories={name: column for name, column in values.items() if isinstance(column, Coded)},
        gone=None if (gone == STAYS).all() else gone,
        incomplete=incomplete if (incomplete := _ints(rows, "incomplete") == 1).any() else None,
    )
    return table, _ints(rows, "lead")


def _said(written: list[str], declared: Attributes) -> dict[str, pa.Array]:
    """The attributes of the leads, of which each has an object in JSON."""
    kinds = dict.fromkeys(declared.numbers, pa.float64()) | dict.fromkeys(declared.categories, pa.string())
    options = pa.json.ParseOptions(explicit_schema=pa.schema(list(kinds.items())), unexpected_field_behavior="ignore")
    try:
        rows = pa.json.read_json(pa.BufferReader("\n".join(written).encode()), parse_options=options)
    except pa.ArrowInvalid:  # there is no lead, or a number where another has a text
        objects = [json.loads(each) for each in written]
        return {name: _mixed([each.get(name) for each in objects]) for name in kinds}
    return {name: whole(rows[name]) for name in kinds}


def _mixed(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([cell_text(each) for each in values], pa.string())


def _transitions(query: Query, some: list[int] | None, place: Int64s, rules: Rules) -> TransitionTable:
    stage = rules.readers["transitions"]["stage"]
    columns = transitions.c
    whole_day = sa.case((columns.whole_day, 1), else_=0).label("whole_day")
    wanted = sa.select(
        columns.lead, columns.occurred_at, columns.recorded_at, _known(columns), columns.stage, whole_day
    )
    found = _parts(
        query(_of(wanted, columns.lead, some), columns.id),
        place,
        lambda batch: {
            "occurred": _ints(batch, "occurred_at"),
            "stage": _read("transitions", stage, "stage", batch["stage"]),
            "recorded": _ints(batch, "recorded_at"),
            "whole_day": _ints(batch, "whole_day") == 1,
        },
    )
    if "whole_day" in found and not found["whole_day"].any():
        del found["whole_day"]
    nothing: dict[str, Any] = {"occurred": np.empty(0, np.int64), "stage": np.empty(0, np.int8)}
    return TransitionTable(**nothing | found)


def _touches(query: Query, some: list[int] | None, place: Int64s, dialect: str) -> TouchTable:
    columns = touches.c
    none: sa.ColumnElement[float] = sa.literal_column("'Infinity'::float8" if dialect == "postgresql" else "9e999")
    wanted = sa.select(
        columns.lead,
        _known(columns),
        columns.kind,
        _DIRECTION.label("direction"),
        sa.func.coalesce(columns.by, "").label("by"),
        sa.func.coalesce(columns.value, none).label("value"),
    )
    found = _parts(
        query(_of(wanted, columns.lead, some), columns.id),
        place,
        lambda batch: {
            "kind": encoded(batch["kind"]),
            "direction": batch["direction"].to_numpy().astype(np.int8),
            "by": encoded(batch["by"]),
            "value": _finite(batch["value"].to_numpy()),
        },
    )
    # A column that nobody fills needs no memory.
    if "direction" in found and not found["direction"].any():
        del found["direction"]
    if "by" in found and not found["by"].names:
        del found["by"]
    if "value" in found and np.isnan(found["value"]).all():
        del found["value"]
    return TouchTable(**{"kind": Coded(np.empty(0, np.int32), ())} | found)


def _changes(query: Query, some: list[int] | None, place: Int64s, rules: Rules) -> dict[str, ChangeTable]:
    columns = changes.c
    value = sa.func.coalesce(columns.value, "").label("value")
    wanted = sa.select(columns.lead, columns.occurred_at, columns.recorded_at, _known(columns), value)
    tables = {}
    for name, reader in rules.changing.items():
        found = _parts(
            query(_of(wanted.where(columns.attribute == name), columns.lead, some), columns.id),
            place,
            lambda batch, reader=reader: {  # type: ignore[misc]
                "occurred": _ints(batch, "occurred_at"),
                "value": _read("changes", reader, "value", batch["value"]),
                "recorded": _ints(batch, "recorded_at"),
            },
        )
        nothing = {
            "occurred": np.empty(0, np.int64),
            "value": _read("changes", reader, "value", pa.array([], pa.string())),
        }
        tables[name] = ChangeTable(**nothing | found)
    return tables


def _known(columns: Any) -> sa.ColumnElement[int]:
    """When we knew of an event: the later of its two times."""
    return sa.case((columns.recorded_at > columns.occurred_at, columns.recorded_at), else_=columns.occurred_at).label(
        "known"
    )


def _of(query: sa.Select[Any], lead: sa.Column[int], some: list[int] | None) -> sa.Select[Any]:
    return query if some is None else query.where(lead.in_(some))


def _table(batches: Iterable[pa.RecordBatch]) -> dict[str, pa.Array]:
    some = [batch for batch in batches if len(batch)]
    rows = pa.Table.from_batches(some) if some else pa.table({})
    return {name: whole(rows[name]) for name in rows.column_names}


def _parts(
    pieces: Sequence[Iterable[pa.RecordBatch]], place: Int64s, read: Callable[[pa.RecordBatch], dict[str, Values]]
) -> dict[str, Any]:
    """Columns of a table of events: ``lead`` and ``known``, and those that ``read`` gives."""

    def part(batch: pa.RecordBatch) -> Part:
        # A view of one column would keep all of the batch.
        known = _ints(batch, "known").copy()
        return Part(len(batch), {"lead": place[_ints(batch, "lead")], "known": known, **read(batch)})

    def all_of(piece: Iterable[pa.RecordBatch]) -> list[Part]:
        return [part(batch) for batch in piece if len(batch)]

    # Each piece has a reader of its own, who waits for whoever does not listen.
    parts = list(chain.from_iterable(on_all_cores(all_of, pieces)))
    nothing: dict[str, Any] = {"lead": np.empty(0, np.int64), "known": np.empty(0, np.int64)}
    return joined(parts) if parts else nothing


def _ints(rows: Any, name: str) -> Int64s:
    try:
        column = rows[name]
    except KeyError:
        return np.empty(0, np.int64)
    found: Int64s = column.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    return found


def _finite(values: Float64s) -> Float64s:
    return np.where(np.isinf(values), np.nan, values)


def _read(table: str, reader: Any, name: str, column: pa.Array) -> Values:
    said = reader(name, column)
    if faults := [fault for fault in said.faults if len(fault.rows) and fault.effect != Effect.NOTHING]:
        fix = "Change the funnel back, or correct what is stored"
        raise DataError((Problem(table, name, f"{faults[0].rule.must} in the store", fix, len(faults[0].rows)),))
    values: Values = said.values
    return values
