"""Sources of X that seem to know the outcome beforehand, because they were filled in after it."""

from leadscore.leaks.leak import ALARM, Leak, Suspect
from leadscore.leaks.search import leaks
from leadscore.leaks.sources import ColumnSource

__all__ = ["ALARM", "ColumnSource", "Leak", "Suspect", "leaks"]
