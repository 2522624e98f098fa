"""Moments as they are sent and answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from leadscore.api.bodies import WRITTEN
from leadscore.api.problems import refused
from leadscore.history.line import HOUR
from leadscore.history.zone import EPOCH, micros

__all__ = ["HOUR", "moment", "written"]


def moment(text: str, field: str) -> int:
    """A time that was sent, in microseconds since 1970 UTC.

    Raises
    ------
    ProblemError
        422, where it is none or has no time zone.
    """
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            # In UTC, because the first and the last day there are may lie beyond them in another zone.
            return micros(found.astimezone(UTC))
    except (ValueError, OverflowError):
        pass
    raise refused(field, f"must be {WRITTEN}")


# Leads of one list are of one moment.
@lru_cache(1024)
def written(moment_us: int) -> str:
    """Microseconds since 1970 UTC as ISO 8601."""
    return (EPOCH + timedelta(microseconds=moment_us)).isoformat().replace("+00:00", "Z")
