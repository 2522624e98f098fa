"""From a data set folder, or tables in memory, to checked `Tables`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from leadscore.config import TABLES
from leadscore.errors import ConfigError, DataError, Problem
from leadscore.history.late_start import late_start
from leadscore.history.reading.check import check_changes, check_leads, check_touches, check_transitions, odd_times
from leadscore.history.reading.delivered import check_delivered_once
from leadscore.history.reading.future import all_far_ahead
from leadscore.history.reading.quarantine import set_aside
from leadscore.history.reading.rules import REQUIRED, Rules
from leadscore.history.reading.source import ArrowSource, open_source
from leadscore.history.tables import Tables
from leadscore.history.zone import micros

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from leadscore.config import Funnel, TableName
    from leadscore.history.reading.check import Checked
    from leadscore.history.reading.rules import LeadIds
    from leadscore.history.reading.source import Source

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
    known_until : datetime with time zone, optional
        The end of the recorded history, where the export says it; it overrides ``[time] known_until``.
    quarantine : bool
        Set bad rows aside in ``quarantine/<table>.csv`` of the folder, with the rows of leads that were set
        aside, and go on with the rest. What is wrong with a table as a whole is an error all the same.

    Raises
    ------
    ConfigError
        The end of the history is said nowhere, or ``[source] url`` cannot be used.
    DataError
        There is no such folder, or tables break rules; it names every rule broken in every table.
    """
    until = _until(known_until or funnel.time.known_until)
    if not folder.is_dir():
        fix = "A data set is a folder with funnel.toml and its tables"
        raise DataError((Problem(str(folder), "", "must be a folder", fix),))
    reading = Reading(Rules.of(funnel), until)
    for table in TABLES:
        if table == "changes" and not reading.rules.changing:
            if any((folder / f"changes.{suffix}").is_file() for suffix in ("csv", "parquet")):
                log.info("not used: changes, because [changes] declares no attribute")
            continue
        try:
            source = open_source(table, folder, funnel)
            if source is None:
                reading.problems[table] = (_missing(table, funnel),)
            else:
                reading.check(table, source)
                if table != "leads":
                    check_delivered_once(source, reading.rules, reading.checked[table], funnel)
        except DataError as error:
            reading.problems[table] = error.problems
    tables = reading.tables(quarantine=quarantine)
    late = late_start(tables.leads, tables.transitions, funnel.time)
    tables = replace(tables, warnings=(*tables.warnings, *late))
    if quarantine:
        set_aside(folder, {table: (reading.sources[table], each.faults) for table, each in reading.checked.items()})
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
            rows = pa.table({name: pa.array([], pa.string()) for name in REQUIRED[table]})
        if rows is None:
            reading.problems[table] = (_missing(table, funnel),)
        else:
            reading.check(table, ArrowSource(table, rows))
    return reading.tables(quarantine=False)


def _until(moment: datetime | None) -> int:
    if moment is None:
        raise ConfigError(
            "time.known_until: is not set; the end of the recorded history is never guessed: set it to when the data"
            " was exported, such as 2024-03-04T09:00:00Z, or hand it over"
        )
    if moment.tzinfo is None:
        raise ConfigError("known_until: needs a time zone: write 2024-03-04T09:00:00Z")
    return micros(moment)


def _missing(table: TableName, funnel: Funnel) -> Problem:
    settings = funnel.tables.get(table)
    names = settings.file if settings and settings.file else f"{table}.parquet or {table}.csv"
    return Problem(
        table, "", f"table is missing, there is no {names}", f"Add it, or say in [tables.{table}] where it is"
    )


@dataclass(slots=True)
class Reading:
    """What is known of the tables so far."""

    rules: Rules
    until: int
    sources: dict[TableName, Source] = field(default_factory=dict)
    checked: dict[TableName, Checked[Any]] = field(default_factory=dict)
    problems: dict[TableName, tuple[Problem, ...]] = field(default_factory=dict)
    ids: LeadIds | None = None

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

    def tables(self, *, quarantine: bool) -> Tables:
        """All tables; or one error with all that is wrong with them."""
        found = {table: each.faults.problems() for table, each in self.checked.items()} | self.problems
        problems = tuple(problem for table in TABLES for problem in found.get(table, ()))
        whole = any(self.problems.values()) or any(each.faults.whole for each in self.checked.values())
        rows: dict[str, Any] = {table: each.rows for table, each in self.checked.items()}
        if problems and (whole or not quarantine or not len(rows["leads"].ids)):
            raise DataError(problems)
        tables = Tables(**({"changes": {}} | rows), known_until=self.until)
        of_tables = (warning for each in self.checked.values() for warning in each.warnings)
        far_ahead = all_far_ahead(tables, self.rules.future)
        return replace(tables, warnings=(*of_tables, *odd_times(self.checked, self.rules), *far_ahead))

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
