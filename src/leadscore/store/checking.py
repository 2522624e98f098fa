"""All tables of a data set folder checked, and left where they are: they are read again when they are stored."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from leadscore.history import log_warnings
from leadscore.history.reading import Rules, end_of_history
from leadscore.history.reading.canonical import as_text
from leadscore.history.reading.faults import Faults
from leadscore.history.reading.parts import whole
from leadscore.history.reading.read import Reading
from leadscore.history.reading.source import ArrowSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from leadscore.config import Funnel, TableName
    from leadscore.history.line import Bools
    from leadscore.history.reading.check import Checked
    from leadscore.history.reading.source import Source


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
        Rows that stand for no event of their own: repeats, and those that another row replaced.
    leads : Array of string, shape (n_leads,)
        Of ``transitions``: the leads of the folder.
    incomplete : ndarray of bool, shape (n_leads,)
        Which of these have a transition that was set aside.
    """

    table: TableName
    source: Source
    columns: dict[str, str]
    kept: Bools
    rules: Rules
    dropped: int = 0
    leads: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    incomplete: Bools = field(default_factory=lambda: np.empty(0, np.bool_))

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
    reading = Reading(Rules.of(funnel), end_of_history(known_until, funnel.time))
    found: dict[TableName, CheckedTable] = {}
    for source, checked in reading.check_folder(folder, funnel):
        found[source.table] = _kept(source, reading.rules, checked)
        # The values are read again when they are stored.
        checked.rows = None
    reading.check_all(quarantine=quarantine)
    if quarantine:
        reading.set_aside(folder)
    log_warnings(reading.warnings())
    if reading.ids is not None:
        incomplete = np.zeros(len(reading.ids.good), np.bool_)
        incomplete[reading.incomplete()] = True
        found["transitions"] = replace(found["transitions"], leads=reading.ids.good, incomplete=incomplete)
    return found, reading.until


def _kept(source: Source, rules: Rules, checked: Checked[Any]) -> CheckedTable:
    """What is needed to store a table."""
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
    return found
