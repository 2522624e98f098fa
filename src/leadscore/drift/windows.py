"""Stretches of time of one length, in which the same statistics are taken.

The worked example: the history is known until 2025-07-01. The latest window is the 28 days (2025-06-03, 2025-07-01],
the one before it (2025-05-06, 2025-06-03]. Outcomes of sql, with its horizon of 45 days, are known for mornings until
2025-05-17: their latest window is (2025-04-19, 2025-05-17].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from leadscore.history import DAY

if TYPE_CHECKING:
    from leadscore.history import History
    from leadscore.history.line import Bools, Int64s

WINDOW_DAYS = 28
# Windows are longer where so few leads come in that one would hold fewer than this on average.
LEADS_PER_WINDOW = 40
# Nothing is said without so many windows before; three years of four weeks are enough to know what is usual.
LEAST_PAST, MOST_PAST = 6, 39


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows ``(edges[i], edges[i + 1]]``, the latest last.

    Attributes
    ----------
    edges : ndarray of int64, shape (n_windows + 1,)
        Microseconds since 1970 UTC.
    """

    edges: Int64s

    def __len__(self) -> int:
        return len(self.edges) - 1

    @classmethod
    def until(cls, history: History, end: int, days: int) -> Self:
        """As many windows of so many days as the history has up to ``end``, at most `MOST_PAST` and one."""
        n = min(max(end - first_known(history), 0) // (days * DAY), MOST_PAST + 1)
        return cls(end - days * DAY * np.arange(n, -1, -1, dtype=np.int64))

    def index(self, moment: Int64s) -> Int64s:
        """The window of each moment, -1 where it lies in none."""
        found = self.edges.searchsorted(moment, side="left") - 1
        return np.where(found < len(self), found, -1)

    def last(self, n: int) -> Bools:
        """Which windows are the last ``n``."""
        return np.arange(len(self)) >= len(self) - n


def first_known(history: History) -> int:
    """From when on leads and their stages are known; the end where there is no lead."""
    first = int(history.known.min()) if len(history) else history.known_until
    return max(first, history.begins)


def window_days(history: History) -> int:
    """Length of a window, in days: `WINDOW_DAYS`, or a multiple where few leads come in."""
    span = (history.known_until - first_known(history)) / (WINDOW_DAYS * DAY)
    per_window = len(history) / max(span, 1.0)
    return WINDOW_DAYS * max(1, int(np.ceil(LEADS_PER_WINDOW / max(per_window, 1.0))))
