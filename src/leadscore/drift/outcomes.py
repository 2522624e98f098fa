"""Outcomes, window by window: what makes leads go on, how many do, and how well a model knew both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from scipy.special import ndtr
from scipy.stats import norm

from leadscore.drift.open_leads import usual_rates
from leadscore.drift.result import RETRAIN, Finding
from leadscore.drift.windows import LEAST_PAST, Windows
from leadscore.history import DAY
from leadscore.labels import reached
from leadscore.metrics import WithinMornings

if TYPE_CHECKING:
    from leadscore.drift.open_leads import OpenLeads
    from leadscore.history import History
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s
    from leadscore.metrics import Judged
    from leadscore.metrics.judged import Outcomes as Known

# The latest outcomes are those of at least so many leads of either kind; up to so many where they can be had.
LEAST_LEADS, ENOUGH_LEADS = 40, 100
# Levels change by this share from window to window in any company, even if few windows show less.
LEVEL_NOISE = 0.08
# Order changes by this much in any company.
ORDER_NOISE = 0.01
RESAMPLES = 100
HALF = float(norm.isf(0.025))


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Each lead once per stage and window, on one of its mornings, and what it reached.

    Attributes
    ----------
    history : History
    rows : OpenLeads
        The leads on these mornings.
    outcome : ndarray of float32, shape (n_rows, n_later_stages)
        As `leadscore.labels.reached`.
    days : int
        Length of a window.
    """

    history: History
    rows: OpenLeads
    outcome: Float32s
    days: int

    @classmethod
    def of(cls, history: History, rows: OpenLeads, days: int) -> Self:
        """One morning of each lead, stage and window, drawn at random but the same every time."""
        ripe = rows.of(rows.as_of <= history.known_until - min(history.funnel.horizons) * DAY)
        window = (history.known_until - ripe.as_of) // (days * DAY)
        shuffled = np.random.default_rng(1).permutation(len(ripe))
        keys = (ripe.lead * len(history.funnel.stages) + ripe.stage) * (window.max(initial=0) + 1) + window
        kept = ripe.of(np.sort(shuffled[np.unique(keys[shuffled], return_index=True)[1]]))
        return cls(history, kept, reached(history, kept.lead, kept.as_of), days)

    def windows(self, place: int) -> Windows:
        """Windows of mornings whose outcomes are known for a stage to reach."""
        end = self.history.known_until - self.history.funnel.horizons[place] * DAY
        return Windows.until(self.history, end, self.days)

    def n_late(self, place: int, enough_leads: int = ENOUGH_LEADS) -> int:
        """How many of the last windows hold enough leads of either outcome; 0 where too few do, or too few are left."""
        window, known = self._known(place)
        windows = self.windows(place)
        for enough in (enough_leads, LEAST_LEADS):
            for n in range(1, len(windows) - LEAST_PAST + 1):
                late = known & (window >= len(windows) - n)
                leads = [len(np.unique(self.rows.lead[late & (self.outcome[:, place] == each)])) for each in (0, 1)]
                if min(leads) >= enough:
                    return n
        return 0

    def _known(self, place: int) -> tuple[Int64s, Bools]:
        window = self.windows(place).index(self.rows.as_of)
        return window, (window >= 0) & ~np.isnan(self.outcome[:, place])

    def rates(self, place: int, until: int) -> Rates:
        """How many reached a stage, window by window, beside what is usual in the windows until a moment."""
        window, known = self._known(place)
        windows = self.windows(place)
        n_groups = self.rows.n_groups
        cell = (window * n_groups + self.rows.group)[known]
        n, x = (
            np.bincount(cell, weight, len(windows) * n_groups).reshape(-1, n_groups)
            for weight in (np.ones(len(cell)), self.outcome[known, place].astype(np.float64))
        )
        past = windows.edges[1:] <= until
        usual = usual_rates(x[past].sum(axis=0), n[past].sum(axis=0))
        return Rates(x.sum(axis=1), n @ usual, n.sum(axis=1), past)

    def rows_per_lead(self, place: int, n_late: int) -> float:
        """How many times as large the variance of the last windows is because leads are in several of them."""
        window, known = self._known(place)
        late = known & (window >= len(self.windows(place)) - n_late)
        n = np.unique(self.rows.lead[late], return_counts=True)[1]
        return float((n**2).sum() / max(n.sum(), 1))


class Rates(NamedTuple):
    """How many leads reached a stage in each window.

    Attributes
    ----------
    observed, expected, n : ndarray of float64, shape (n_windows,)
        Leads that did; that would have as usual, of these stages and days in stage; and leads in all.
    past : ndarray of bool, shape (n_windows,)
        The windows that are what is usual.
    """

    observed: Float64s
    expected: Float64s
    n: Float64s
    past: Bools

    @property
    def n_past(self) -> int:
        """Windows of the past with any lead to come."""
        return int(np.count_nonzero(self.past & (self.expected > 0)))

    @property
    def usual(self) -> float:
        """The share that reached the stage in the past."""
        return float(self.observed[self.past].sum() / max(self.n[self.past].sum(), 1.0))

    def noise(self) -> float:
        """Variance, from window to window, of the log of what was observed over what is usual.

        Beyond chance, and beyond a straight line: a level that rises all the time makes a model wrong.
        """
        kept = self.past & (self.expected > 0)
        observed, expected = self.observed[kept], self.expected[kept]
        line = np.column_stack((np.ones(len(observed)), np.arange(len(observed)) - len(observed) / 2))
        weight = np.sqrt(expected)
        ratio = observed / expected - 1
        fitted = line @ np.linalg.lstsq(line * weight[:, None], ratio * weight, rcond=None)[0]
        beyond = (expected * (ratio - fitted) ** 2).sum() * len(observed) / max(len(observed) - 2, 1)
        return max(float((beyond - len(observed) * (1 - self.usual)) / expected.sum()), LEVEL_NOISE**2)


def orders(judged: Judged, outcomes: Outcomes) -> list[Finding]:
    """For each stage to reach, how the leads of one morning were put in order lately, beside the mornings before."""
    found = []
    for place, stage in enumerate(judged.funnel.later_stages):
        late = _late(judged, outcomes.windows(place), outcomes.n_late(place))
        now, before = (judged.of(rows).reaching(place) for rows in (late, ~late))
        if min(_fewest_leads(each) for each in (now, before)) < LEAST_LEADS:
            continue
        orders = [WithinMornings.of(each, RESAMPLES).order().interval for each in (now, before)]
        deviations = [(each.high - each.low) / (2 * HALF) for each in orders]
        z = (orders[0].value - orders[1].value) / float(np.sqrt(np.square([*deviations, ORDER_NOISE]).sum()))
        words = (
            f"{stage}: of two leads of one morning and stage, one of which got there, the model put the right one "
            f"first {orders[0].value:.0%} of the time, before {orders[1].value:.0%}"
        )
        # An order that became better is nothing to speak of.
        found.append(Finding("order", stage, orders[1].value, orders[0].value, z, float(ndtr(z)), words, RETRAIN))
    return [each for each in found if not np.isnan(each.z)]


def _late(judged: Judged, windows: Windows, n_late: int) -> Bools:
    window = windows.index(judged.as_of)
    late: Bools = (window >= 0) & (window >= len(windows) - n_late)
    return late


def _fewest_leads(known: Known) -> int:
    return min(len(np.unique(known.lead[known.outcome == each])) for each in (0, 1))
