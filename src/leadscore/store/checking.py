"""All tables of a data set folder checked, and left where they are: they are read again when they are stored."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from leadscore.config import TABLES
from leadscore.errors import ConfigError, DataError, Problem
from leadscore.history.late_start import late_start
from leadscore.history.reading import Rules
from leadscore.history.reading.canonical import as_text
from leadscore.history.reading.check import check_changes, check_leads, check_touches, check_transitions, odd_times
from leadscore.history.reading.delivered import check_delivered_once
from leadscore.history.reading.faults import Faults
from leadscore.history.reading.future import far_ahead
from leadscore.history.reading.parts import whole
from leadscore.history.reading.quarantine import set_aside
from leadscore.history.reading.source import ArrowSource, open_source
from leadscore.history.tables import TransitionTable
from leadscore.history.zone import micros

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from leadscore.config import Funnel, TableName
    from leadscore.history.line import Bools
    from leadscore.history.reading.check import Checked
    from leadscore.history.reading.rules import LeadIds
    from leadscore.history.reading.source import Source
    from leadscore.history.tables import LeadTable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """A table of a folder.

    Attributes
    ----------
    table : str
        Its name.
    source : Source
        The file, or what the query gave.
    columns : dict of str to str
        The source's name of each of our columns that is stored.
    kept : ndarray of bool, shape (n_rows,)
        The rows to be stored: those that break no rule, of attributes that are declared.
    rules : Rules
        How to read them.
    dropped : int
        How many rows repeat an event, or were replaced by a row that was recorded later.
    """

    table: TableName
    source: Source
    columns: dict[str, str]
    kept: Bools
    rules: Rules
    dropped: int = 0

    @property
    def path(self) -> Path | None:
        """Its file, if it is one."""
        return None if isinstance(self.source, ArrowSource) else self.source.path

    def chunks(self, wanted: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Its columns under our names, all of them or those ``wanted``."""
        columns = {ours: theirs for ours, theirs in self.columns.items() if wanted is None or ours in wanted}
        for chunk in self.source.chunks(list(dict.fromkeys(columns.values()))):
            yield pa.table({ours: chunk[theirs] for ours, theirs in columns.items()})


def check_folder(
    folder: Path, funnel: Funnel, *, known_until: datetime | None, quarantine: bool
) -> tuple[dict[TableName, CheckedTable], int]:
    """The tables of a data set folder, in their order, and the end of its recorded history.

    Parameters
    ----------
    known_until, quarantine
        As of `leadscore.history.read_history`.

    Raises
    ------
    ConfigError, DataError
        As `leadscore.history.read_history`.
    """
    until = known_until or funnel.time.known_until
    if until is None or until.tzinfo is None:
        raise ConfigError("time.known_until: needs a time with a time zone: set it to when the data was exported")
    rules = Rules.of(funnel)
    problems: list[Problem] = []
    warnings: list[str] = []
    aside: dict[TableName, tuple[Source, Faults]] = {}
    found: dict[TableName, CheckedTable] = {}
    ids: LeadIds | None = None
    checked: Checked[Any]
    leads: LeadTable | None = None
    whole_tables = True
    for table in TABLES:
        if table == "changes" and not rules.changing:
            continue
        try:
            source = open_source(table, folder, funnel)
            if source is None:
                fix = f"Add it, or say in [tables.{table}] where it is"
                raise DataError((Problem(table, "", "table is missing", fix),))
            if table == "leads":
                checked, ids = check_leads(source, rules)
                leads = checked.rows
            else:
                checked = _check(table, source, rules, ids)
                check_delivered_once(source, rules, checked, funnel)
            found[table], faults = _kept(source, rules, checked)
            warnings += (*checked.warnings, *odd_times({table: checked}, rules))
            warnings += _far_ahead(table, checked, ids, micros(until), rules)
            if isinstance(checked.rows, TransitionTable) and leads is not None:
                warnings += late_start(leads, checked.rows, funnel.time)
                # A million leads are let go before the touches are read.
                leads = None
        except DataError as error:
            problems += error.problems
            whole_tables = False
            continue
        problems += faults.problems()
        whole_tables &= not faults.whole
        aside[table] = (source, faults)
    if problems and not (quarantine and whole_tables and found["leads"].kept.any()):
        raise DataError(tuple(problems))
    if quarantine:
        set_aside(folder, aside)
    for warning in warnings:
        log.warning("%s", warning)
    return found, micros(until)


def _far_ahead(
    table: TableName, checked: Checked[Any], ids: LeadIds | None, until: int, rules: Rules
) -> tuple[str, ...]:
    if checked.rows is None or ids is None:
        return ()
    return far_ahead(table, checked.rows, ids.good, until, rules.future)


def _check(table: TableName, source: Source, rules: Rules, ids: LeadIds | None) -> Checked[Any]:
    match table:
        case "transitions":
            return check_transitions(source, rules, ids)
        case "touches":
            return check_touches(source, rules, ids)
        case _:
            return check_changes(source, rules, ids)


def _kept(source: Source, rules: Rules, checked: Checked[Any]) -> tuple[CheckedTable, Faults]:
    """What is needed to store a table; the values that the check read are let go."""
    table, faults = source.table, checked.faults
    columns = rules.columns(source, Faults(table))
    reason = source.renamed.get("reason", "reason")
    if table == "transitions" and reason in source.columns:
        columns["reason"] = reason
    found = CheckedTable(table, source, columns, faults.kept(checked.n_rows), rules, len(checked.dropped))
    found.kept[checked.dropped] = False
    if table == "changes" and not faults.whole:
        declared = pa.array(list(rules.changing), pa.string())
        named = [np.empty(0, np.bool_)]
        for chunk in found.chunks(["attribute"]):
            among = pa.compute.is_in(as_text(whole(chunk["attribute"])), value_set=declared)
            named.append(among.to_numpy(zero_copy_only=False))
        found.kept[:] &= np.concatenate(named)
    return found, faults
