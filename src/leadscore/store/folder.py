"""A data set folder into the store: repeatable, resumable, each file wholly or not at all."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from leadscore.config import FILE, TABLES, read_funnel
from leadscore.history.reading.columns import ids_as_text
from leadscore.history.reading.parts import whole
from leadscore.progress import progress
from leadscore.store.checking import check_folder
from leadscore.store.connection import transaction
from leadscore.store.dialect import lock_corrections
from leadscore.store.erasure import all_erased
from leadscore.store.incomplete import mark_incomplete
from leadscore.store.loading import load
from leadscore.store.rows import EVENT_COLUMNS, LEAD_COLUMNS, Keys, alike, columns_of, lead_rows
from leadscore.store.schema import EVENTS, imports, leads, merged, retracted
from leadscore.store.settings import save_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from leadscore.config import Funnel, TableName
    from leadscore.history.line import UInt64s
    from leadscore.store.checking import CheckedTable
    from leadscore.store.connection import Store

log = logging.getLogger(__name__)

# Rows that are in memory as Python's tuples at a time.
SLICE = 1 << 17
BLOCK = 1 << 22

_DONE = sa.select(sa.literal(1)).where(
    imports.c.source == sa.bindparam("source"), imports.c.table_name == sa.bindparam("name")
)
_COUNT = sa.select(sa.func.count()).select_from(leads)
_NUMBERS = sa.select(leads.c.lead_id, leads.c.lead)
_MERGED = sa.select(merged.c.lead_id, merged.c.into_lead_id)
_RETRACTED = sa.select(retracted.c.event_key)


@dataclass(slots=True)
class Loaded:
    """What became of the rows of one table.

    Attributes
    ----------
    rows : int
        Rows that broke no rule.
    new, changed, repeated : int
        Stored; of leads that are known with other contents; known already.
    erased, merged, retracted : int
        Left out, because the lead was erased, the lead itself was merged into another (events of it are stored as
        the other's), or the event was taken back.
    unchanged : bool
        The file was imported before, and not read again.
    """

    rows: int = 0
    new: int = 0
    changed: int = 0
    repeated: int = 0
    erased: int = 0
    merged: int = 0
    retracted: int = 0
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of each table of a folder."""

    tables: dict[TableName, Loaded] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(f"{table}: {_words(loaded)}" for table, loaded in self.tables.items())


def ingest(
    store: Store, folder: Path, *, received_at: int, known_until: datetime | None = None, quarantine: bool = False
) -> Ingested:
    """Store a data set folder.

    All tables are checked before the first is stored. Each is stored in one transaction, so that a crash leaves
    whole files; to go on, call this again. A file that was imported before, with the same settings, is not read
    again; of one that has grown only what is new is stored. On SQLite nobody else writes while a file is stored.

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

    Raises
    ------
    ConfigError, DataError
        As `leadscore.history.read_history`; nothing is stored.
    StoreError
        The database cannot be used.
    """
    funnel = read_funnel(folder / FILE)
    checked, until = check_folder(folder, funnel, known_until=known_until, quarantine=quarantine)
    result = Ingested()
    for table in TABLES:
        if table in checked:
            result.tables[table] = _import(store, checked.pop(table), funnel, received_at)
    with transaction(store) as connection:
        save_settings(connection, funnel, until)
    return result


def _import(store: Store, checked: CheckedTable, funnel: Funnel, received_at: int) -> Loaded:
    table, source = checked.table, _fingerprint(checked, funnel)
    with transaction(store) as connection:
        # Whom this import knows must stay until its end.
        lock_corrections(connection, alone=False)
        if source is not None and connection.execute(_DONE, {"source": source, "name": table}).first():
            return Loaded(unchanged=True)
        loaded = Loaded(rows=int(np.count_nonzero(checked.kept)))
        if table == "leads":
            _load_leads(connection, checked, loaded)
        else:
            _load_events(connection, checked, loaded)
        if table == "transitions":
            mark_incomplete(connection, checked.leads, checked.incomplete)
        if source is not None:
            row = {"source": source, "table_name": table, "rows": loaded.rows, "finished_at": received_at}
            connection.execute(sa.insert(imports), row)
    log.info("stored %s: %s", table, _words(loaded))
    return loaded


def _load_leads(connection: sa.Connection, checked: CheckedTable, loaded: Loaded) -> None:
    went = set(connection.execute(sa.select(merged.c.lead_id)).scalars())
    erased_among = all_erased(connection)

    def slices() -> Iterator[list[tuple[Any, ...]]]:
        for rows in _slices(checked):
            columns = columns_of("leads", rows, checked.rules)
            erased = erased_among(columns.lead_id)
            loaded.erased += sum(each in erased for each in columns.lead_id)
            loaded.merged += sum(each in went for each in columns.lead_id)
            yield lead_rows(columns, erased | went)

    before = connection.execute(_COUNT).scalar_one()
    stored = load(connection, leads, LEAD_COLUMNS, slices())
    loaded.new = connection.execute(_COUNT).scalar_one() - before
    loaded.changed = stored - loaded.new
    loaded.repeated = loaded.rows - stored - loaded.erased - loaded.merged


def _load_events(connection: sa.Connection, checked: CheckedTable, loaded: Loaded) -> None:
    table = EVENTS[checked.table]
    numbers: dict[str, int] = {lead_id: lead for lead_id, lead in connection.execute(_NUMBERS)}  # noqa: C416
    went: dict[str, int] = {lead_id: numbers[into] for lead_id, into in connection.execute(_MERGED)}
    numbers |= went
    gone = set(connection.execute(_RETRACTED).scalars())
    keys = Keys(checked.table, _twice(checked))

    def slices() -> Iterator[list[tuple[Any, ...]]]:
        for rows in _slices(checked):
            columns = columns_of(checked.table, rows, checked.rules)
            lead = [numbers.get(each) for each in columns.lead_id]
            key = keys.of(columns)
            happened, *own = columns.own.values()
            events = list(zip(lead, key, happened, columns.known, *own, strict=True))
            loaded.erased += lead.count(None)
            stay = [event for event in events if event[0] is not None and event[1] not in gone]
            loaded.retracted += len(events) - lead.count(None) - len(stay)
            loaded.merged += sum(each in went for each in columns.lead_id) if went else 0
            # Events of one lead lie side by side, and its index grows where it was read a moment ago.
            stay.sort(key=itemgetter(0))
            yield stay

    loaded.new = load(connection, table, EVENT_COLUMNS[checked.table], slices())
    loaded.repeated = loaded.rows - loaded.new - loaded.erased - loaded.retracted


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


def _twice(checked: CheckedTable) -> UInt64s:
    """What `alike` gives for more than one event of a table."""
    clock = checked.rules.readers[checked.table]["occurred_at"]
    found = [np.empty(0, np.uint64)]
    for chunk in checked.chunks(["lead_id", "occurred_at"]):
        moments: Any = clock("occurred_at", whole(chunk["occurred_at"])).values
        found.append(alike(ids_as_text(whole(chunk["lead_id"])), moments))
    hashed = np.sort(np.concatenate(found))
    return np.unique(hashed[1:][hashed[1:] == hashed[:-1]])


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


def _words(loaded: Loaded) -> str:
    if loaded.unchanged:
        return "imported before, nothing to do"
    counts = {name: getattr(loaded, name) for name in ("changed", "repeated", "erased", "merged", "retracted")}
    return ", ".join([f"{loaded.new:,} new", *(f"{count:,} {name}" for name, count in counts.items() if count)])
