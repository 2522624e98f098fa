"""Leads that are open, week by week, and the touches that they get: rates per open lead, so that growth is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from pandas.util import hash_array

from leadscore.backtest import OWNER
from leadscore.drift.entering import common_values
from leadscore.drift.series import Series
from leadscore.drift.statistic import Statistic
from leadscore.examples import mornings
from leadscore.funnel import open_stays
from leadscore.history import DAY

if TYPE_CHECKING:
    from leadscore.drift.windows import Windows
    from leadscore.history import History
    from leadscore.history.line import Bools, Float64s, Int64s

WEEK_DAYS = 7
# Days in stage from which on the next band begins: leads are compared with leads of the same stage and band.
BANDS = (7, 30, 90)
# Where leads would be seen on more mornings than this together, leads are sampled.
MOST_ROWS = 300_000
# As if each stage and band had so many more lead-weeks at the rate of all.
PRIOR = 20.0


@dataclass(frozen=True, slots=True)
class OpenLeads:
    """Every lead that is open, on one morning of each week.

    Attributes
    ----------
    lead, as_of : ndarray of int64, shape (n_rows,)
        In this order.
    stage, group : ndarray of int64, shape (n_rows,)
        Its current stage, and a number for stage and days in it together.
    n_groups : int
    """

    lead: Int64s
    as_of: Int64s
    stage: Int64s
    group: Int64s
    n_groups: int

    def __len__(self) -> int:
        return len(self.lead)

    @classmethod
    def since(cls, history: History, begin: int) -> Self:
        """Of the mornings from ``begin`` on, for all leads or a sample of them."""
        moments = mornings(history, WEEK_DAYS)
        moments = moments[moments >= begin]
        stays = open_stays(history)
        if history.incomplete is not None:
            stays = stays.of(~history.incomplete[stays.lead])
        first = moments.searchsorted(stays.begin)
        n = moments.searchsorted(stays.end) - first
        share = MOST_ROWS / max(int(n.sum()), 1)
        if share < 1:
            kept = (hash_array(history.ids) < np.uint64(share * 2**64))[stays.lead]
            stays, first, n = stays.of(kept), first[kept], n[kept]
        at = np.repeat(first - np.cumsum(n) + n, n) + np.arange(n.sum())
        lead, as_of, stage = np.repeat(stays.lead, n), moments[at], np.repeat(stays.stage, n)
        band = np.searchsorted(np.array(BANDS) * DAY, as_of - np.repeat(stays.begin, n), side="right")
        order = np.lexsort((as_of, lead))
        group = stage * (len(BANDS) + 1) + band
        n_groups = (len(history.funnel.stages) - 1) * (len(BANDS) + 1)
        return cls(lead[order], as_of[order], stage[order], group[order], n_groups)

    def of(self, rows: Int64s | Bools) -> OpenLeads:
        """Some of the rows."""
        return OpenLeads(self.lead[rows], self.as_of[rows], self.stage[rows], self.group[rows], self.n_groups)

    def row_of(self, lead: Int64s, moment: Int64s, *, before: bool = False) -> Int64s:
        """The row of each lead on the first morning at or after a moment, -1 where it is not open then, or a week on.

        Parameters
        ----------
        before : bool, default False
            The last morning before the moment instead.
        """
        moments = np.unique(self.as_of)
        if not len(moments):
            return np.full(len(lead), -1)
        at = moments.searchsorted(moment) - before
        apart = np.abs(moments.take(at, mode="clip") - moment)
        near = (at >= 0) & (at < len(moments)) & (apart < WEEK_DAYS * DAY)
        keys = self.lead * len(moments) + moments.searchsorted(self.as_of)
        wanted = lead * len(moments) + at
        row = keys.searchsorted(wanted)
        found = near & (keys.take(row, mode="clip") == wanted)
        return np.where(found, row, -1)


def touch_volumes(history: History, rows: OpenLeads, windows: Windows, past: Bools, late: Bools) -> list[Statistic]:
    """Touches per open lead and week: of each kind, and of the leads of each value of each category."""
    window = windows.index(rows.as_of)
    line = history.touches
    row = rows.row_of(line.lead, line.known)
    kept = row >= 0
    row, kind = row[kept], line.kind[kept].astype(np.int64)
    inside = window[row] >= 0
    row, kind = row[inside], kind[inside]
    cell = np.where(window >= 0, window * rows.n_groups + rows.group, -1)
    weeks = _table(cell, np.zeros(len(rows), np.int64), 1, windows, rows)[0]
    found = []
    kinds = history.vocabulary.kinds
    counts = _table(cell[row], kind, len(kinds), windows, rows)
    for name, count in zip(kinds, counts, strict=True):
        if count.any():
            of = f"touches of kind {name} per open lead and week"
            found.append(Statistic("volume", f"touches {name}", of, *_rates(count, weeks, past)))
    for name in (each for each in history.funnel.attributes.known_in_time.categories if each != OWNER):
        code, values = history.categories[name][rows.lead].astype(np.int64), history.vocabulary.categories[name]
        in_past = (window >= 0) & past[window]
        share = float(np.mean((window >= 0) & late[window]) / max(float(np.mean(in_past)), 1e-9))
        of_value = _table(cell, code, len(values), windows, rows)
        touches = _table(cell[row], code[row], len(values), windows, rows)
        for at in common_values(values, code[in_past], share):
            if touches[at].any():
                of = f"touches per week and open lead with {name} = {values[at]}"
                subject = f"touches, {name} = {values[at]}"
                found.append(Statistic("volume", subject, of, *_rates(touches[at], of_value[at], past)))
    return found


def moves(history: History, rows: OpenLeads, windows: Windows, past: Bools) -> list[Statistic]:
    """Moves from each open stage to each later one, and to lost, per open lead and week."""
    window = windows.index(rows.as_of)
    line, names = history.steps, (*history.funnel.stages, "lost")
    row = rows.row_of(line.lead, line.known, before=True)
    stage = line.stage.astype(np.int64)
    kept = (row >= 0) & (window[row] >= 0) & (stage > rows.stage[row])
    row, stage = row[kept], stage[kept]
    cell = np.where(window >= 0, window * rows.n_groups + rows.group, -1)
    found = []
    for current in range(len(history.funnel.stages) - 1):
        here = np.where(rows.stage == current, cell, -1)
        weeks = _table(here, np.zeros(len(rows), np.int64), 1, windows, rows)[0]
        counts = _table(here[row], stage, len(names), windows, rows)
        for name, count in zip(names[current + 1 :], counts[current + 1 :], strict=True):
            if count.any():
                of = f"moves from {names[current]} to {name} per open lead and week"
                found.append(Statistic("level", f"{names[current]} to {name}", of, *_rates(count, weeks, past)))
    return found


def _table(cell: Int64s, code: Int64s, n_codes: int, windows: Windows, rows: OpenLeads) -> Float64s:
    """Counts, of shape (n_codes, n_windows, n_groups); cell -1 is left out."""
    n_cells = len(windows) * rows.n_groups
    inside = cell >= 0
    counts = np.bincount(code[inside] * n_cells + cell[inside], minlength=n_codes * n_cells)
    return counts.reshape(n_codes, len(windows), rows.n_groups).astype(np.float64)


def _rates(count: Float64s, weeks: Float64s, past: Bools) -> tuple[Series, bool, bool, Float64s]:
    """A series beside what is usual for leads of these stages and days in stage, and the weeks that it is of."""
    expected = weeks @ usual_rates(count[past].sum(axis=0), weeks[past].sum(axis=0))
    return Series("rate", count.sum(axis=1), expected), False, False, weeks.sum(axis=1)


def usual_rates(count: Float64s, n: Float64s) -> Float64s:
    """The rate of each group, shrunk towards that of all; shape (n_groups,)."""
    whole = count.sum() / max(n.sum(), 1.0)
    rates: Float64s = (count + PRIOR * whole) / (n + PRIOR)
    return rates
