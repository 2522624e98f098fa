"""Leads sent with their whole history, as parsed JSON, to checked `Tables`.

Records that are written plainly, as nearly all are, are read without Arrow, because for one lead its fixed costs are
most of the work. All others become tables, and the rules of a data set folder are asked what is wrong with them.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from leadscore.errors import SHOWN, ConfigError, DataError, Problem
from leadscore.history.line import DAY
from leadscore.history.reading.future import FIX
from leadscore.history.reading.likely_causes import same_to_the_eye
from leadscore.history.reading.odd import EVENTS, given_values, read_as_tables, read_values, values_of
from leadscore.history.reading.plain import NotPlain, ids, texts
from leadscore.history.reading.times import NO_TIME
from leadscore.history.tables import ChangeTable, Coded, LeadTable, Tables, TouchTable, TransitionTable, recorded_apart

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from leadscore.config import TableName
    from leadscore.history.line import Int64s
    from leadscore.history.reading.columns import Reader
    from leadscore.history.reading.rules import Rules

    Row = Mapping[str, Any]


def check_records(records: Sequence[Mapping[str, Any]], rules: Rules, known_until: int) -> Tables:
    """Check leads sent with their whole history by the rules of a data set folder.

    The result is that of `check_tables` for the same contents. A column that may be missing is not there where no
    row has a value in it. What differs: a column of which no lead has a value is no error, its values are missing; an
    ``event_id`` names an event of its record, so that a lead is the same whichever leads are sent with it.

    Parameters
    ----------
    records : sequence of mapping
        One per lead: ``lead_id``, ``created_at``, ``recorded_at``, ``do_not_score``, the attributes that are fixed at
        creation, and lists of mappings ``transitions``, ``touches`` and ``changes``, each with the columns of its
        table but ``lead_id``. What is None or not there is missing. Times are text or `datetime`.
    known_until : int
        The end of the recorded history, in microseconds since 1970 UTC.

    Raises
    ------
    ConfigError
        A fixed attribute is named as one of the lists.
    DataError
        As `check_tables`; or a record is no mapping, a list no list of mappings, or text that UTF-8 cannot hold.
    """
    if taken := set(EVENTS).intersection(rules.attributes):
        raise ConfigError(f"attributes: {', '.join(sorted(taken))} cannot be sent, a record has its events there")
    try:
        return _plain(records, rules, known_until)
    except NotPlain:
        return read_as_tables(records, rules, known_until)


def _plain(records: Sequence[Row], rules: Rules, known_until: int) -> Tables:
    if not records or not _are_dicts(records):
        raise NotPlain
    return Tables(
        leads=_leads(records, rules),
        transitions=_transitions(*_events(records, "transitions"), rules),
        touches=_touches(*_events(records, "touches"), rules.readers["touches"]),
        changes=_changes(*_events(records, "changes"), rules) if rules.changing else {},
        known_until=known_until,
    )


def _are_dicts(rows: Sequence[Row]) -> bool:
    return set(map(type, rows)) <= {dict}


def _optional(rows: Sequence[Row], name: str, readers: Mapping[str, Reader]) -> Any:
    values = given_values(rows, name)
    return None if values is None else readers[name].plain(values)


def _recorded(rows: Sequence[Row], happened: Int64s, readers: Mapping[str, Reader]) -> Int64s | None:
    """``recorded_at``, or when it happened where that is missing; None where it is never another time."""
    recorded: Int64s | None = _optional(rows, "recorded_at", readers)
    return None if recorded is None else recorded_apart(happened, np.where(recorded == NO_TIME, happened, recorded))


def _known(happened: Int64s, recorded: Int64s | None) -> Int64s:
    return happened if recorded is None else np.maximum(happened, recorded)


def _events(records: Sequence[Row], table: TableName) -> tuple[list[Row], Int64s]:
    """Events of all leads, and the row of each one's lead."""
    sent = [[] if (each := record.get(table)) is None else each for record in records]
    if not set(map(type, sent)) <= {list}:
        raise NotPlain
    events = list(chain.from_iterable(sent))
    if not _are_dicts(events):
        raise NotPlain
    return events, np.arange(len(sent)).repeat([len(each) for each in sent])


def _leads(records: Sequence[Row], rules: Rules) -> LeadTable:
    readers = rules.readers["leads"]
    lead_ids = [text for text in ids(values_of(records, "lead_id")) if text]
    if len(set(lead_ids)) < len(records) or same_to_the_eye(lead_ids):
        raise NotPlain
    created = readers["created_at"].plain(values_of(records, "created_at"))
    objects = _optional(records, "do_not_score", readers)
    attributes = {name: readers[name].plain(values_of(records, name)) for name in rules.attributes}
    return LeadTable(
        ids=np.array(lead_ids, np.object_),
        created=created,
        known=_known(created, _recorded(records, created, readers)),
        do_not_score=np.zeros(len(lead_ids), np.bool_) if objects is None else objects.astype(np.bool_),
        numbers={name: column for name, column in attributes.items() if not isinstance(column, Coded)},
        categories={name: column for name, column in attributes.items() if isinstance(column, Coded)},
    )


def _transitions(events: list[Row], lead: Int64s, rules: Rules) -> TransitionTable:
    readers, written = rules.readers["transitions"], values_of(events, "occurred_at")
    occurred = readers["occurred_at"].plain(written)
    stage = readers["stage"].plain(values_of(events, "stage"))
    recorded = _recorded(events, occurred, readers)
    _optional(events, "event_id", readers)
    whole_day = rules.are_plain_whole_days(written)
    return TransitionTable(
        lead,
        occurred,
        _known(occurred, recorded),
        stage,
        recorded,
        np.array(whole_day, np.bool_) if any(whole_day) else None,
    )


def _touches(events: list[Row], lead: Int64s, readers: Mapping[str, Reader]) -> TouchTable:
    _optional(events, "event_id", readers)
    occurred = readers["occurred_at"].plain(values_of(events, "occurred_at"))
    return TouchTable(
        lead=lead,
        known=_known(occurred, _recorded(events, occurred, readers)),
        kind=readers["kind"].plain(values_of(events, "kind")),
        direction=_optional(events, "direction", readers),
        by=_optional(events, "by", readers),
        value=_optional(events, "value", readers),
    )


def _changes(events: list[Row], lead: Int64s, rules: Rules) -> dict[str, ChangeTable]:
    readers, rows = rules.readers["changes"], dict[str | None, list[int]]()
    _optional(events, "event_id", readers)
    for row, name in enumerate(texts(values_of(events, "attribute"))):
        rows.setdefault(name, []).append(row)
    if None in rows or "" in rows:
        raise NotPlain
    tables = {}
    for name, reader in rules.changing.items():
        at = rows.get(name, [])
        some = [events[row] for row in at]
        occurred = readers["occurred_at"].plain(values_of(some, "occurred_at"))
        value = reader.plain(values_of(some, "value"))
        recorded = _recorded(some, occurred, readers)
        tables[name] = ChangeTable(lead[at], occurred, _known(occurred, recorded), value, recorded)
    return tables


def check_latest(records: Sequence[Row], tables: Tables, rules: Rules, latest: Int64s) -> None:
    """Refuse records with an event that is known only after ``latest``.

    Parameters
    ----------
    records : sequence of mapping
        As of `check_records`, whose result are the ``tables``.
    latest : ndarray of int64, shape (n_leads,)
        Of each record, in microseconds since 1970 UTC.

    Raises
    ------
    DataError
        It names each event.
    """
    late = np.zeros(len(records), np.bool_)
    earliest = latest.min()
    happened: list[TransitionTable | TouchTable | ChangeTable] = [tables.transitions, tables.touches]
    for each in (*happened, *tables.changes.values()):
        if each.known.max(initial=earliest) > earliest:
            late[each.lead[each.known > latest[each.lead]]] = True
    if late.any():
        raise DataError(tuple(_problems(records, rules, latest, np.flatnonzero(late).tolist())))


def _problems(records: Sequence[Row], rules: Rules, latest: Int64s, late: Sequence[int]) -> Iterator[Problem]:
    days = rules.future // DAY
    for table in EVENTS:
        for name in ("occurred_at", "recorded_at"):
            places = {
                f"leads.{row}.{table}.{number}.{name}": str(records[row]["lead_id"])
                for row in late
                for number, event in enumerate(records[row].get(table) or ())
                if event.get(name) is not None
                and read_values(rules.readers[table][name], name, [event[name]]).values[0] > latest[row]  # type: ignore[index]
            }
            if places:
                rule = f"must not lie more than {days} days ahead"
                leads = tuple(dict.fromkeys(places.values()))[: SHOWN + 1]
                yield Problem(table, name, rule, FIX, len(places), leads, tuple(places))
