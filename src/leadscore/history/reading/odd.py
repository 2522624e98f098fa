"""Records that are not written plainly, as tables that the rules of a data set folder can judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from leadscore.config import TABLES
from leadscore.errors import SHOWN, DataError, Problem
from leadscore.history.reading.canonical import InexactIdError, cell_text, id_text, ids_as_text
from leadscore.history.reading.columns import ID_RULES, Read
from leadscore.history.reading.faults import Fault, Faults, Rule
from leadscore.history.reading.plain import NotPlain
from leadscore.history.reading.read import Reading
from leadscore.history.reading.rules import OPTIONAL, REQUIRED
from leadscore.history.reading.source import ArrowSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.config import TableName
    from leadscore.history.reading.columns import Reader
    from leadscore.history.reading.rules import Rules
    from leadscore.history.tables import Tables

    Row = Mapping[str, Any]

EVENTS: tuple[TableName, ...] = ("transitions", "touches", "changes")
IDS = frozenset({"lead_id", "event_id"})

OBJECT = Rule("must be objects", "Send an object with lead_id and created_at for each lead")
LIST = Rule("must be a list of objects", "Send a list for each lead, or leave it out where it is empty")
UTF8 = Rule("must be text that UTF-8 can hold", "Send whole letters, not one half of a surrogate pair")


def values_of(rows: Sequence[Row], name: str) -> list[Any]:
    """Values of a column, None where missing."""
    return [row.get(name) for row in rows]


def given_values(rows: Sequence[Row], name: str) -> list[Any] | None:
    """Values of a column; None instead where no row has one."""
    values = values_of(rows, name)
    return None if values.count(None) == len(values) else values


def read_as_tables(records: Sequence[Row], rules: Rules, known_until: int) -> Tables:
    """What `check_records` returns or raises, by way of Arrow tables."""
    _check_shape(records, rules)
    columns = {table: _columns(records, table, rules) for table in TABLES if table != "changes" or rules.changing}
    problems = [_not_utf8(table, name, each) for table, each in columns.items() for name in each if _bad(each[name])]
    problems += [problem for table, each in columns.items() for problem in _bad_ids(table, each)]
    if problems:
        raise DataError(tuple(problems))
    reading = Reading(rules, known_until)
    for table, each in columns.items():
        arrays = {name: _array(name, each[name]) for name in each}
        if "event_id" in arrays:
            arrays["event_id"] = _within_records(arrays["event_id"], records, table)
        reading.check(table, ArrowSource(table, pa.table(arrays)))
    # Warnings are about whole tables.
    return replace(reading.tables(quarantine=False), warnings=())


def _within_records(event_id: pa.Array, records: Sequence[Row], table: TableName) -> pa.Array:
    """Ids that differ from record to record: what is scored beside a lead must not change its score."""
    number = np.arange(len(records)).repeat([len(record.get(table) or ()) for record in records])
    text = ids_as_text(event_id)
    own = pc.binary_join_element_wise(pa.array(number).cast(pa.string()), text, ":")
    return pc.if_else(pc.equal(text, ""), None, own)


def _columns(records: Sequence[Row], table: TableName, rules: Rules) -> dict[str, list[Any]]:
    rows, needed = records, REQUIRED[table]
    if table == "leads":
        needed += rules.attributes
    else:
        rows = [{**event, "lead_id": lead.get("lead_id")} for lead in records for event in lead.get(table) or ()]
    given = {name: values for name in OPTIONAL[table] if (values := given_values(rows, name)) is not None}
    return {name: values_of(rows, name) for name in needed} | given


def _check_shape(records: Sequence[Row], rules: Rules) -> None:
    if n_bad := sum(not isinstance(record, Mapping) for record in records):
        raise DataError((Problem("leads", "", OBJECT.must, OBJECT.fix, n_bad),))
    problems = []
    for table in EVENTS if rules.changing else EVENTS[:-1]:
        bad = [record.get("lead_id") for record in records if not _is_list(record.get(table))]
        problems += [Problem(table, "", LIST.must, LIST.fix, len(bad), _named(bad))] if bad else []
    if problems:
        raise DataError(tuple(problems))


def _is_list(sent: Any) -> bool:
    return sent is None or (isinstance(sent, (list, tuple)) and all(isinstance(event, Mapping) for event in sent))


def _bad(values: list[Any]) -> list[int]:
    """Rows whose text is half a letter."""
    return [row for row, value in enumerate(values) if isinstance(value, str) and not _is_utf8(value)]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_utf8(table: TableName, name: str, columns: Mapping[str, list[Any]]) -> Problem:
    rows = _bad(columns[name])
    leads = _named([columns["lead_id"][row] for row in rows])
    return Problem(table, name, UTF8.must, UTF8.fix, len(rows), leads)


def _named(ids: list[Any]) -> tuple[str, ...]:
    """The first few leads, half letters in them escaped."""
    written = (str(lead_id).encode(errors="backslashreplace").decode() for lead_id in ids if lead_id)
    return tuple(dict.fromkeys(written))[: SHOWN + 1]


def _array(name: str, values: list[Any]) -> pa.Array:
    """A column of numbers or of text as it is, and any other as text, whatever stands beside a value."""
    if name in IDS:
        return pa.array([id_text(value) for value in values], pa.string())
    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) == 1 and kinds <= {str, int, float}:
        try:
            return pa.array(values)
        except (pa.ArrowException, OverflowError):  # a whole number that is too large for Arrow
            pass
    return pa.array([cell_text(value) for value in values], pa.string())


def _bad_ids(table: TableName, columns: Mapping[str, list[Any]]) -> tuple[Problem, ...]:
    """What is wrong with ids that no column of one type can hold."""
    faults = Faults(table)
    for name in {"lead_id" if table == "leads" else "event_id"} & columns.keys():
        for row, value in enumerate(columns[name]):
            try:
                id_text(value)
            except InexactIdError as error:
                named = _named([columns["lead_id"][row]])
                faults.add(Fault(name, ID_RULES[error.fault], np.array([row]), (str(value),), named))
    return faults.problems()


def read_values(reader: Reader, name: str, values: list[Any]) -> Read:
    """Values of one column as records hold them, and which of them break a rule."""
    try:
        return Read(reader.plain(values))
    except NotPlain:
        return reader(name, _array(name, values))
