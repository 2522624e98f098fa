"""The recorded history of a funnel: read, checked, and sorted into lines of time.

Features are read from a `Snapshot`, which `History.at` alone gives out.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from leadscore.config import FILE, read_funnel
from leadscore.history.build import build_history
from leadscore.history.history import History
from leadscore.history.line import DAY, HOUR
from leadscore.history.reading import (
    Rules,
    check_latest,
    check_records,
    check_tables,
    end_of_history,
    read_tables,
    read_values,
)
from leadscore.history.snapshot import Snapshot
from leadscore.history.vocabulary import MISSING, OTHER, Vocabulary, canonical_names, kinds_of, names_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

log = logging.getLogger(__name__)

__all__ = [
    "DAY",
    "HOUR",
    "MISSING",
    "OTHER",
    "History",
    "Rules",
    "Snapshot",
    "Vocabulary",
    "build_history",
    "canonical_names",
    "check_latest",
    "check_records",
    "check_tables",
    "end_of_history",
    "kinds_of",
    "log_warnings",
    "names_of",
    "read_history",
    "read_tables",
    "read_values",
]


def read_history(folder: Path, known_until: datetime | None = None, *, quarantine: bool = False) -> History:
    """Read a data set folder: ``funnel.toml`` and its tables.

    Parameters
    ----------
    known_until : datetime, optional
        The end of the recorded history, where the export says it; overrides ``time.known_until``. Without an offset
        it is local time of ``time.timezone``.
    quarantine : bool, default False
        Go on without bad rows and values, as `read_tables` says.

    Raises
    ------
    ConfigError
        ``funnel.toml`` is missing or bad, or nobody says where the recorded history ends.
    DataError
        Tables break rules of the data set folder.
    """
    funnel = read_funnel(folder / FILE)
    history = build_history(read_tables(folder, funnel, known_until=known_until, quarantine=quarantine), funnel)
    log_warnings(history.warnings)
    return history


def log_warnings(warnings: Iterable[str]) -> None:
    """Log what is odd about data that was read all the same."""
    for warning in warnings:
        log.warning("%s", warning)
