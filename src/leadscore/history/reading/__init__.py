"""From a data set folder, or tables in memory, to checked tables."""

from leadscore.history.reading.read import check_tables, read_tables
from leadscore.history.reading.rules import Rules

__all__ = ["Rules", "check_tables", "read_tables"]
