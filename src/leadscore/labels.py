"""What each lead reached after its ``as_of``: the only module that looks at the future.

The worked example: lead A becomes an MQL on 2024-03-04 09:00 and an SQL on 2024-03-06 09:00; the horizon of sql
is 2 days. At 2024-03-04 09:00 sql is reached, on the last moment of (as_of, as_of + 2 days]. At 2024-03-04
08:59:59.999999 it is not, and at 2024-03-06 09:00 it is passed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from leadscore.history import DAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.history import History
    from leadscore.history.line import Bools, Float32s, Int64s

# Outcomes are looked at within a whole horizon, or within these parts of it, but never within less than so many days.
PARTS, LEAST_DAYS = (1, 2, 4), 7


def reached(history: History, lead: Int64s, as_of: Int64s) -> Float32s:
    """Whether each lead reached each later stage within its horizon, shape (n_examples, n_later_stages).

    1 where the lead is known to enter that stage or a later one in ``(as_of, as_of + horizon]``, 0 where not,
    NaN where the stage is already passed or the example is not ripe for it: ``as_of + horizon`` lies after
    ``known_until``. A lead that is won or lost at ``as_of`` has no later stage.
    """
    steps, funnel = history.steps, history.funnel
    win, now = len(funnel.stages) - 1, steps.positions(lead, as_of)
    current = history.at(lead, as_of).steps.stage
    outcome = np.full((len(lead), win), np.nan, np.float32)
    after = {days: steps.positions(lead, as_of + days * DAY) for days in set(funnel.horizons)}
    for stage, days in enumerate(funnel.horizons, start=1):
        entered = np.concatenate(([0], np.cumsum((steps.stage >= stage) & (steps.stage <= win))))
        known = (current < stage) & ripe(as_of, days, history.known_until)
        outcome[known, stage - 1] = (entered[after[days]] > entered[now])[known]
    return outcome


def reached_within(history: History, lead: Int64s, as_of: Int64s, days: Sequence[int]) -> Float32s:
    """As `reached`, within other days for each stage to reach."""
    horizons = dict(zip(history.funnel.later_stages, days, strict=True))
    funnel = history.funnel.model_copy(update={"horizon_days": horizons})
    return reached(replace(history, funnel=funnel), lead, as_of)


def parts_of(horizon_days: int) -> list[int]:
    """The days within which outcomes may be looked at, longest first: the horizon, its parts, and at least a week."""
    least = min(LEAST_DAYS, horizon_days)
    return sorted({max(horizon_days // part, least) for part in PARTS} | {least}, reverse=True)


def ripe(as_of: Int64s, horizon_days: int, known_until: int) -> Bools:
    """Whether the whole horizon of each example lies in the recorded history, shape (n_examples,)."""
    return as_of + horizon_days * DAY <= known_until
