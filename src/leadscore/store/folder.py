"""A data set folder into the store: repeatable, resumable, each file wholly or not at all.

What the store has and an export of everything no longer has is counted, and taken out where that is wanted.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from leadscore.config import FILE, TABLES, read_funnel
from leadscore.errors import SHOWN, DataError, Problem
from leadscore.history.reading.canonical import ids_as_text
from leadscore.history.reading.parts import whole
from leadscore.progress import progress
from leadscore.store.checking import check_folder
from leadscore.store.connection import reading, transaction
from leadscore.store.dialect import lock_corrections
from leadscore.store.erasure import all_erased
from leadscore.store.incomplete import mark_incomplete
from leadscore.store.ingested import Ingested, Loaded, in_words
from leadscore.store.loading import Export, load
from leadscore.store.rows import EVENT_COLUMNS, LEAD_COLUMNS, Keys, alike, columns_of, lead_rows
from leadscore.store.schema import EVENTS, imports, leads, merged, retracted
from leadscore.store.settings import latest_known_until, save_settings
from leadscore.store.vanished import Share, find_absent, find_vanished, leave, refuse_many

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from leadscore.config import Funnel, TableName
    from leadscore.store.checking import CheckedTable
    from leadscore.store.connection import Store
    from leadscore.store.loading import Stored
    from leadscore.store.vanished import Absent

log = logging.getLogger(__name__)

# Rows that are in memory as Python's tuples at a time.
SLICE = 1 << 17
BLOCK = 1 << 22

_OLDER_AND_WHOLE = Problem(
    "leads",
    "",
    "must be of an export that ends no earlier than the latest that was stored, with WHOLE=1",
    "It would take out what the later export has. Nothing was stored. Leave WHOLE=1 out, or give the latest export",
)

_DONE = sa.select(sa.literal(1)).where(
    imports.c.source == sa.bindparam("source"), imports.c.table_name == sa.bindparam("name")
)
_NUMBERS = sa.select(leads.c.lead_id, leads.c.lead)
_MERGED = sa.select(merged.c.lead_id, merged.c.into_lead_id)
_RETRACTED = sa.select(retracted.c.event_key)


def ingest(
    store: Store,
    folder: Path,
    *,
    received_at: int,
    known_until: datetime | None = None,
    quarantine: bool = False,
    whole: bool = False,
    confirm: bool = False,
) -> Ingested:
    """Store a data set folder.

    All tables are checked before the first is stored. Each is stored in one transaction, so that a crash leaves
    whole files; to go on, call this again. A file that is the same as at its last import, with the same settings, is
    not read again; of one that has grown only what is new is stored. A row that is known with other contents or other
    dates takes those of the export, unless an export of later history was stored before. On SQLite nobody else writes
    while a file is stored.

    Parameters
    ----------
    received_at : int
        The moment of the import, in microseconds since 1970 UTC; noted beside each file.
    known_until : datetime, optional
        The end of the recorded history; overrides ``[time] known_until``, as of `leadscore.history.read_history`. The
        store keeps the latest that was said.
    quarantine : bool, default False
        Go on without bad rows and values, as `leadscore.history.read_tables` says. Leads of which a transition was
        set aside are marked incomplete; another import of the leads' transitions without that takes the mark away.
    whole : bool, default False
        The folder is an export of everything: rows that were known by the end of its history and that it does not
        have are deleted, and leads that it does not have leave the list at once. All tables are stored in one
        transaction, and files that were imported before are read again.
    confirm : bool, default False
        With ``whole``: take out more than 5 % of the rows of a table, too.

    Raises
    ------
    ConfigError, DataError
        As `leadscore.history.read_history`; or more than 5 % of the rows of a table would be taken out, or rows of a
        later export by an earlier one. Nothing is stored.
    StoreError
        The database cannot be used.
    """
    funnel = read_funnel(folder / FILE)
    checked, until = check_folder(folder, funnel, known_until=known_until, quarantine=quarantine)
    with reading(store) as connection:
        latest = latest_known_until(connection)
    outdated = latest is not None and until < latest
    if outdated and whole:
        raise DataError((_OLDER_AND_WHOLE,))
    if outdated:
        log.warning(
            "this export ends before the latest that was stored: rows that both have stay as they are; "
            "if the end stored is wrong, fill a new database"
        )
    export = Export(until, received_at, outdated=outdated)
    result = Ingested()
    with ExitStack() as stack:
        all_in_one = stack.enter_context(transaction(store)) if whole else None
        imports_of = _Imports(funnel, export, checked["leads"], whole=whole)
        for table in TABLES:
            if table in checked:
                with transaction(store) if all_in_one is None else nullcontext(all_in_one) as connection:
                    result.tables[table] = imports_of.store(connection, checked.pop(table))
        if whole and not confirm:
            refuse_many(imports_of.shares)
    for table, loaded in result.tables.items():
        log.info("stored %s: %s", table, in_words(loaded))
    with transaction(store) as connection:
        save_settings(connection, funnel, until)
    return result


@dataclass(slots=True)
class _Imports:
    """The import of one folder, table by table.

    Attributes
    ----------
    leads : CheckedTable
        The leads that the export has.
    whole : bool
        Whether what it does not have is taken out.
    shares : list of Share
        How much of each table that is.
    """

    funnel: Funnel
    export: Export
    leads: CheckedTable
    whole: bool
    shares: list[Share] = field(default_factory=list)
    _absent: Absent | None = None

    def store(self, connection: sa.Connection, checked: CheckedTable) -> Loaded:
        """Store one table."""
        table, source = checked.table, _fingerprint(checked, self.funnel)
        # Whom this import knows must stay until its end.
        lock_corrections(connection, alone=False)
        if table == "transitions":
            # Of a file that was stored before, too: its leads may only now have come.
            self._mark_incomplete(connection, checked)
        last = {"source": source, "name": table}
        if source is not None and not self.whole and connection.execute(_DONE, last).first():
            return Loaded(unchanged=True)
        loaded = Loaded(rows=int(np.count_nonzero(checked.kept)) + checked.dropped)
        if table == "leads":
            self._leads(connection, checked, loaded)
        else:
            self._events(connection, checked, loaded)
        # Of an earlier file the store may have rows no longer as they are there.
        connection.execute(sa.delete(imports).where(imports.c.table_name == table))
        if source is not None:
            row = {"source": source, "table_name": table, "rows": loaded.rows, "finished_at": self.export.received_at}
            connection.execute(sa.insert(imports), row)
        return loaded

    def _mark_incomplete(self, connection: sa.Connection, checked: CheckedTable) -> None:
        lead_ids, incomplete = checked.leads, checked.incomplete
        if self.export.outdated:  # it takes no mark away that a later export has set
            lead_ids, incomplete = lead_ids.filter(pa.array(incomplete)), incomplete[incomplete]
        mark_incomplete(connection, lead_ids, incomplete)

    def _leads(self, connection: sa.Connection, checked: CheckedTable, loaded: Loaded) -> None:
        stored = _load_leads(connection, checked, loaded, self.export)
        if stored.staged is None:
            return
        stored.staged.drop(connection)
        absent = self._absent_leads(connection)
        names = tuple(absent.vanished.values())[: SHOWN + 1]
        self._note(loaded, "leads", len(absent.vanished), names, stored.before)
        if self.whole:
            leave(connection, absent, self.export)

    def _events(self, connection: sa.Connection, checked: CheckedTable, loaded: Loaded) -> None:
        stored = _load_events(connection, checked, loaded, self.export)
        if stored.staged is None:
            return
        if stored.known < stored.before:
            declared = list(checked.rules.changing) if checked.table == "changes" else None
            absent = self._absent_leads(connection)
            table = EVENTS[checked.table]
            vanished = find_vanished(connection, table, stored.staged, absent, self.export, attributes=declared)
            self._note(loaded, checked.table, vanished.rows, vanished.leads, stored.before)
            if self.whole:
                vanished.delete(connection)
            vanished.found.drop(connection)
        stored.staged.drop(connection)

    def _absent_leads(self, connection: sa.Connection) -> Absent:
        if self._absent is None:
            self._absent = find_absent(connection, self.leads, self.export)
        return self._absent

    def _note(self, loaded: Loaded, table: TableName, rows: int, named: tuple[str, ...], before: int) -> None:
        loaded.vanished, loaded.vanished_leads, loaded.removed = rows, named, self.whole and rows > 0
        self.shares.append(Share(table, rows, before, named))


def _load_leads(connection: sa.Connection, checked: CheckedTable, loaded: Loaded, export: Export) -> Stored:
    went = set(connection.execute(sa.select(merged.c.lead_id)).scalars())
    erased_among = all_erased(connection)

    def slices() -> Iterator[list[tuple[Any, ...]]]:
        for rows in _slices(checked):
            columns = columns_of("leads", rows, checked.rules)
            erased = erased_among(columns.lead_id)
            loaded.erased += sum(each in erased for each in columns.lead_id)
            loaded.merged += sum(each in went for each in columns.lead_id)
            yield lead_rows(columns, erased | went)

    stored = load(connection, leads, LEAD_COLUMNS, slices(), export)
    loaded.new, loaded.changed, loaded.redated = stored.new, stored.changed, stored.redated
    loaded.outdated = stored.outdated
    known = loaded.rows - stored.new - stored.changed - stored.redated - stored.outdated
    loaded.repeated = known - loaded.erased - loaded.merged
    return stored


def _load_events(connection: sa.Connection, checked: CheckedTable, loaded: Loaded, export: Export) -> Stored:
    table = EVENTS[checked.table]
    numbers: dict[str, int] = {lead_id: lead for lead_id, lead in connection.execute(_NUMBERS)}  # noqa: C416
    went: dict[str, int] = {lead_id: numbers[into] for lead_id, into in connection.execute(_MERGED)}
    numbers |= went
    gone = set(connection.execute(_RETRACTED).scalars())
    keys = _keys(checked)

    def slices() -> Iterator[list[tuple[Any, ...]]]:
        for rows in _slices(checked):
            columns = columns_of(checked.table, rows, checked.rules)
            lead = [numbers.get(each) for each in columns.lead_id]
            key = keys.of(columns)
            happened, *own = columns.own.values()
            days = [columns.whole_day] if columns.whole_day else []
            events = list(zip(lead, key, happened, columns.recorded, *own, *days, strict=True))
            loaded.erased += lead.count(None)
            stay = [event for event in events if event[0] is not None and event[1] not in gone]
            loaded.retracted += len(events) - lead.count(None) - len(stay)
            loaded.merged += sum(each in went for each in columns.lead_id) if went else 0
            # Events of one lead lie side by side, and its index grows where it was read a moment ago.
            stay.sort(key=itemgetter(0))
            yield stay

    stored = load(connection, table, EVENT_COLUMNS[checked.table], slices(), export)
    loaded.new, loaded.corrected, loaded.late, loaded.redated = stored.new, stored.changed, stored.late, stored.redated
    loaded.outdated = stored.outdated
    known = loaded.rows - stored.new - stored.changed - stored.redated - stored.outdated
    loaded.repeated = known - loaded.erased - loaded.retracted
    return stored


def _slices(checked: CheckedTable) -> Iterator[pa.Table]:
    """Rows that broke no rule, some at a time, columns under our names."""
    begin = 0
    with progress(f"storing {checked.table}", "rows") as bar:
        for chunk in checked.chunks():
            kept = checked.kept[begin : begin + len(chunk)]
            rows = chunk if kept.all() else chunk.filter(pa.array(kept))
            begin += len(chunk)
            for first in range(0, len(rows), SLICE):
                yield rows.slice(first, SLICE)
                bar.update(min(SLICE, len(rows) - first))


def _keys(checked: CheckedTable) -> Keys:
    """The keys of a file, once it is known which of its rows may be identical and when those were recorded."""
    clock = checked.rules.readers[checked.table]["occurred_at"]
    found = [np.empty(0, np.uint64)]
    for chunk in checked.chunks(["lead_id", "occurred_at"]):
        moments: Any = clock("occurred_at", whole(chunk["occurred_at"])).values
        found.append(alike(ids_as_text(whole(chunk["lead_id"])), moments))
    hashed = np.concatenate(found)
    ordered = np.sort(hashed)
    keys = Keys(checked.table, np.unique(ordered[1:][ordered[1:] == ordered[:-1]]))
    # Without recorded_at identical rows were known at one moment.
    if len(keys.twice) and "recorded_at" in checked.columns:
        many, begin = np.isin(hashed, keys.twice) & checked.kept, 0
        for chunk in checked.chunks():
            some = many[begin : begin + len(chunk)]
            begin += len(chunk)
            if some.any():
                keys.note_known(columns_of(checked.table, chunk.filter(pa.array(some)), checked.rules))
    return keys


def _fingerprint(checked: CheckedTable, funnel: Funnel) -> bytes | None:
    """SHA-256 of a file and of the settings that it is read with; None where the table is no file."""
    if checked.path is None:
        return None
    settings = funnel.model_dump_json(include={"funnel", "time", "attributes", "changes", "tables"})
    digest = hashlib.sha256(settings.encode())
    digest.update(checked.kept.tobytes())
    with checked.path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.digest()
