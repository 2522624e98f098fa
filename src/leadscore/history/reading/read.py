"""From a data set folder, or tables in memory, to checked `Tables`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from leadscore.config import TABLES, in_zone
from leadscore.errors import SHOWN, ConfigError, DataError, Problem
from leadscore.history.late_start import late_start
from leadscore.history.reading.check import check_changes, check_leads, check_touches, check_transitions, odd_times
from leadscore.history.reading.delivered import check_delivered_once
from leadscore.history.reading.faults import incomplete_leads
from leadscore.history.reading.future import far_ahead
from leadscore.history.reading.quarantine import set_aside
from leadscore.history.reading.rules import REQUIRED, Rules
from leadscore.history.reading.source import ArrowSource, open_source
from leadscore.history.tables import Tables
from leadscore.history.zone import micros

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from leadscore.config import Funnel, TableName, Times
    from leadscore.history.line import Int64s
    from leadscore.history.reading.check import Checked
    from leadscore.history.reading.rules import LeadIds
    from leadscore.history.reading.source import Source
    from leadscore.history.tables import LeadTable

EVENT = "no feature is made of them"
WHY: dict[TableName, str] = {
    "leads": "[attributes] does not declare them fixed at creation, so they may be the lead's future",
    "transitions": EVENT,
    "touches": EVENT,
    "changes": EVENT,
}

log = logging.getLogger(__name__)


def read_tables(
    folder: Path, funnel: Funnel, *, known_until: datetime | None = None, quarantine: bool = False
) -> Tables:
    """Read and check the tables of a data set folder.

    Parameters
    ----------
    folder : Path
        Holds ``leads``, ``transitions``, ``touches`` and, where attributes that change are declared, ``changes``,
        each as ``.parquet`` or ``.csv``, unless ``[tables]`` names another file or a query.
    funnel : Funnel
        Its settings.
    known_until : datetime, optional
        The end of the recorded history, where the export says it; it overrides ``[time] known_until``. Without an
        offset it is local time of ``[time] timezone``.
    quarantine : bool
        Go on without what is bad. A value that may be missing is then read as missing: an attribute, and of touches
        the value and the direction. Other bad values cost their row: what can't be read of ``recorded_at`` or
        ``do_not_score`` could otherwise show the future, or score a lead that objects. All these rows are written
        to ``quarantine/<table>.csv`` of the folder, with the rows of leads that were set aside. Leads of which a
        transition was set aside are marked ``incomplete``. What is wrong with a table as a whole is an error all
        the same.

    Raises
    ------
    ConfigError
        The end of the history is said nowhere, or ``[source] url`` cannot be used.
    DataError
        There is no such folder, or tables break rules; it names every rule broken in every table.
    """
    reading = Reading(Rules.of(funnel), end_of_history(known_until, funnel.time))
    for _ in reading.check_folder(folder, funnel):
        pass
    tables = reading.tables(quarantine=quarantine)
    if quarantine:
        reading.set_aside(folder)
    reading.report()
    return tables


def check_tables(
    raw: Mapping[TableName, pa.Table], funnel: Funnel, known_until_us: int, *, rules: Rules | None = None
) -> Tables:
    """Check tables in memory by the rules of a data set folder.

    Parameters
    ----------
    raw : mapping of table name to pyarrow.Table
        Columns under our names. A table other than ``leads`` that is not there, or has neither rows nor
        columns, is empty.
    known_until_us : int
        The end of the recorded history, in microseconds since 1970 UTC.
    rules : Rules, optional
        ``Rules.of(funnel)``, where the same funnel is checked often.

    Raises
    ------
    DataError
        As `read_tables`.
    """
    reading = Reading(rules or Rules.of(funnel), known_until_us)
    for table in TABLES:
        if table == "changes" and not reading.rules.changing:
            continue
        rows = raw.get(table)
        if table != "leads" and (rows is None or (not rows.num_rows and not rows.num_columns)):
            rows = _no_rows(table)
        if rows is None:
            reading.problems[table] = (_missing(table),)
        else:
            reading.check(table, ArrowSource(table, rows))
    return reading.tables(quarantine=False)


def end_of_history(stated: datetime | None, time: Times) -> int:
    """The end of the recorded history, in microseconds since 1970 UTC.

    Parameters
    ----------
    stated : datetime, optional
        By the export; overrides ``[time] known_until``. Without an offset it is local time of ``[time] timezone``.

    Raises
    ------
    ConfigError
        It is stated nowhere, or it has no offset and no zone is set.
    """
    moment = stated or time.known_until
    if moment is None:
        raise ConfigError(
            "time.known_until: is not set; the end of the recorded history is never guessed: set it to when the data"
            " was exported, such as 2024-03-04T09:00:00Z, or hand it over"
        )
    try:
        return micros(in_zone(moment, time.timezone))
    except ValueError as error:
        raise ConfigError(f"known_until: {error}") from None


def _missing(table: TableName) -> Problem:
    rule = f"table is missing, there is no {table}.parquet or {table}.csv"
    return Problem(table, "", rule, f"Add it, or say in [tables.{table}] where it is")


def _no_rows(table: TableName) -> pa.Table:
    return pa.table({name: pa.array([], pa.string()) for name in REQUIRED[table]})


@dataclass(slots=True)
class Reading:
    """What is known of the tables so far."""

    rules: Rules
    until: int
    sources: dict[TableName, Source] = field(default_factory=dict)
    checked: dict[TableName, Checked[Any]] = field(default_factory=dict)
    problems: dict[TableName, tuple[Problem, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    ids: LeadIds | None = None
    leads: LeadTable | None = None

    def check(self, table: TableName, source: Source) -> None:
        """Check one more table; ``leads`` first."""
        self.sources[table] = source
        match table:
            case "leads":
                self.checked[table], self.ids = check_leads(source, self.rules)
            case "transitions":
                self.checked[table] = check_transitions(source, self.rules, self.ids)
            case "touches":
                self.checked[table] = check_touches(source, self.rules, self.ids)
            case "changes":
                self.checked[table] = check_changes(source, self.rules, self.ids)
        rows = self.checked[table].rows
        if rows is not None and self.ids is not None:
            self.notes += far_ahead(table, rows, self.ids.good, self.until, self.rules.future)

    def check_folder(self, folder: Path, funnel: Funnel) -> Iterator[tuple[Source, Checked[Any]]]:
        """Check the tables of a folder, one after another; what cannot be read is a problem.

        Raises
        ------
        DataError
            There is no such folder.
        """
        if not folder.is_dir():
            fix = "A data set is a folder with funnel.toml and its tables"
            raise DataError((Problem(str(folder), "", "must be a folder", fix),))
        for table in TABLES:
            if table == "changes" and not self.rules.changing:
                if any((folder / f"changes.{suffix}").is_file() for suffix in ("csv", "parquet")):
                    log.info("not used: changes, because [changes] declares no attribute")
                continue
            try:
                self._check_one(table, folder, funnel)
            except DataError as error:
                self.problems[table] = error.problems
            else:
                if table in self.checked:
                    yield self.sources[table], self.checked[table]

    def _check_one(self, table: TableName, folder: Path, funnel: Funnel) -> None:
        source = open_source(table, folder, funnel)
        if source is None and table == "touches":
            self.notes.append("touches: there is no touches.parquet or touches.csv, so no lead has touches")
            source = ArrowSource(table, _no_rows(table))
        if source is None:
            self.problems[table] = (_missing(table),)
            return
        self.check(table, source)
        if table != "leads":
            check_delivered_once(source, self.rules, self.checked[table], funnel)
        self._note_late_start(table, funnel)

    def _note_late_start(self, table: TableName, funnel: Funnel) -> None:
        rows = self.checked[table].rows
        if table == "leads":
            self.leads = rows
        elif table == "transitions":
            if self.leads is not None and rows is not None:
                self.notes += late_start(self.leads, rows, funnel.time)
            # A million leads are let go before the touches are read.
            self.leads = None

    def tables(self, *, quarantine: bool) -> Tables:
        """All tables; or one error with all that is wrong with them."""
        self.check_all(quarantine=quarantine)
        rows: dict[str, Any] = {table: each.rows for table, each in self.checked.items()}
        if len(incomplete := self.incomplete()):
            marks = np.zeros(len(rows["leads"].ids), np.bool_)
            marks[incomplete] = True
            rows["leads"] = replace(rows["leads"], incomplete=marks)
        return Tables(**({"changes": {}} | rows), known_until=self.until, warnings=self.warnings())

    def check_all(self, *, quarantine: bool) -> None:
        """Raise one error with all that is wrong with the tables, unless quarantine can go on without it."""
        found = {table: each.faults.problems() for table, each in self.checked.items()} | self.problems
        problems = _by_cause([problem for table in TABLES for problem in found.get(table, ())])
        whole = any(self.problems.values()) or any(each.faults.whole for each in self.checked.values())
        if problems and (whole or not quarantine or self.ids is None or not len(self.ids.good)):
            raise DataError(problems)

    def incomplete(self) -> Int64s:
        """Rows of the leads of which a transition was set aside, ascending."""
        return self.checked["transitions"].incomplete

    def warnings(self) -> tuple[str, ...]:
        """What is odd about the tables, or wrong with them, and was dealt with: a sentence each."""
        found = [str(problem) for each in self.checked.values() for problem in each.faults.warnings()]
        found += [warning for each in self.checked.values() for warning in each.warnings]
        found += odd_times(self.checked, self.rules)
        if self.ids is not None and len(incomplete := self.incomplete()):
            ids = self.ids.good.take(pa.array(incomplete[: SHOWN + 1])).to_pylist()
            found.append(str(incomplete_leads(ids, len(incomplete))))
        return (*self.notes, *found)

    def set_aside(self, folder: Path) -> None:
        """Write the rows that were set aside to their files."""
        set_aside(folder, {table: (self.sources[table], each.faults) for table, each in self.checked.items()})

    def report(self) -> None:
        """One log line per table, and one per thing that was left out."""
        for table, each in self.checked.items():
            log.info("read %s: %s rows, %s leads", table, f"{each.n_rows:,}", f"{each.n_leads():,}")
            if each.repeats:
                log.info("%s: %s rows repeat another and count once", table, f"{each.repeats:,}")
            if each.corrected:
                log.info("%s: of %s events the row recorded last replaces others", table, f"{each.corrected:,}")
            if each.ignored:
                log.info(
                    "changes: %s rows not used, of attributes that [changes] does not declare",
                    f"{each.ignored:,}",
                )
            if later := each.later(self.until):
                log.info("%s: %s rows become known only after the end of the history", table, f"{later:,}")
            if each.unused:
                log.info("%s: columns not used: %s; %s", table, ", ".join(each.unused), WHY[table])


def _by_cause(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """The problems, those of whole tables that have the same cause as one."""
    of_cause: dict[Problem, list[Problem]] = {}
    for problem in problems:
        # A cause of its own where it is about rows, or about one column.
        cause = problem if problem.rows or problem.column else replace(problem, table="")
        of_cause.setdefault(cause, []).append(problem)
    return tuple(replace(each[0], table=", ".join(one.table for one in each)) for each in of_cause.values())
