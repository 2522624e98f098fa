"""From a data set folder, tables in memory, or records that were sent, to checked tables."""

from leadscore.history.reading.odd import read_values
from leadscore.history.reading.read import check_tables, end_of_history, read_tables
from leadscore.history.reading.records import check_latest, check_records
from leadscore.history.reading.rules import Rules

__all__ = [
    "Rules",
    "check_latest",
    "check_records",
    "check_tables",
    "end_of_history",
    "read_tables",
    "read_values",
]
