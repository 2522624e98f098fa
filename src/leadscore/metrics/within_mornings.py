"""How well a score orders the leads of one morning and current stage, which is what a list is for.

Over all mornings together a score looks better than a list is: the base rate of a stage that moved from month to month
tells the months apart, and no two leads of one morning.

The worked example: on one morning ann, bob, cy and dan are MQLs with scores .4, .3, .2 and .3. Of them ann and bob
reached SQL. All that did not rank below ann, so she counts 1; below bob ranks one of two, and one ties, so he counts
.75. Order is their mean, .875. Had ann been listed on two mornings, each would count as much as bob's one.

Each morning counts alike, because any weight by lead tells young leads from old ones: were the mornings of a lead to
share one weight, leads that reached a stage would seem younger than the others of their mornings even where age says
nothing, and a score by age would seem to rank. How far an order is known goes by leads, which the bootstrap draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from scipy.stats import norm

from leadscore.history.line import DAY
from leadscore.metrics.resampling import Interval, Resamples

if TYPE_CHECKING:
    from leadscore.history.line import Bools, Float64s, Int64s
    from leadscore.metrics.judged import Outcomes

# Leads of one morning are compared if there are so many pairs of one that reached and one that did not; else those of
# its week, else those of four weeks.
ENOUGH_PAIRS = 200
SPANS = (1, 7 * DAY, 28 * DAY)
# A score ranks if this one-sided bound of its order lies above a half.
BOUND = 0.99


class Order(NamedTuple):
    """How well a score orders leads.

    Attributes
    ----------
    interval : Interval
        Chance that a lead that reached ranks above one of the same morning and current stage that did not, ties half.
        NaN where there are no two such leads.
    least, most : float
        One-sided 99 % bounds.
    n_reached, n_not_reached : int
        Leads compared, of either outcome.
    """

    interval: Interval
    least: float
    most: float
    n_reached: int
    n_not_reached: int


@dataclass(frozen=True, slots=True)
class WithinMornings:
    """Examples that reached beside those of the same morning and current stage that did not.

    Attributes
    ----------
    leads : Resamples
        Whose examples they are.
    reached : ndarray of bool, shape (n_examples,)
    spans : tuple of _Span
        The examples compared within a morning, those within a week, and those within four weeks.
    compared : ndarray of bool, shape (n_examples,)
        The examples that reached and have others to be compared with.
    """

    leads: Resamples
    reached: Bools
    spans: tuple[_Span, ...]
    compared: Bools

    @classmethod
    def of(cls, known: Outcomes, resamples: int) -> Self:
        """Compare known outcomes by their probabilities."""
        reached = known.outcome == 1
        spans, left = [], reached.copy()
        for microseconds in SPANS:
            keys = (known.as_of // microseconds, known.stage, known.place)
            group = np.unique(np.column_stack(keys), axis=0, return_inverse=True)[1].ravel()
            n, n_reached = np.bincount(group), np.bincount(group, reached)
            enough = (n_reached * (n - n_reached))[group] >= (1 if microseconds == SPANS[-1] else ENOUGH_PAIRS)
            spans.append(_Span.of(group, known.probability, left & enough))
            left &= ~enough
        leads = Resamples.of(known.lead, resamples)
        compared = reached & ~left
        return cls(leads, reached, tuple(spans), compared)

    def order(self) -> Order:
        """How well the score orders them, with bounds by bootstrap over leads."""
        compared_with = np.concatenate([span.compared_with(self.reached) for span in self.spans])
        counts = [len(np.unique(self.leads.place[rows])) for rows in (np.flatnonzero(self.compared), compared_with)]
        [interval] = self.leads.intervals(lambda drawn: np.array([self.value(drawn)]))
        deviation = (interval.high - interval.low) / (2 * norm.isf((1 - 0.95) / 2))
        width = float(norm.isf(1 - BOUND)) * deviation
        least, most = (np.clip(interval.value + side * width, 0.0, 1.0) for side in (-1, 1))
        return Order(interval, float(least), float(most), *counts)

    def value(self, drawn: Float64s) -> float:
        """How well the score orders them, by how often each lead counts, shape (n_leads,)."""
        weight = drawn.take(self.leads.place)
        total = above = 0.0
        for span in self.spans:
            below = span.below(np.where(self.reached, 0.0, weight))
            counts = weight[span.rows]
            known = ~np.isnan(below)
            total += float(counts[known].sum())
            above += float((counts * below)[known].sum())
        return above / total if total else float("nan")


class _Span(NamedTuple):
    """Examples that reached, and where those that they are compared with stand in order of (group, score).

    Attributes
    ----------
    order : ndarray of int64, shape (n_in_groups,)
        The examples of the groups that any of them is in, in order of (group, score).
    rows : ndarray of int64, shape (n_compared,)
        The examples that reached.
    first, lower, upper, last : ndarray of int64, shape (n_compared,)
        Places in that order: where the group begins, where those with the same score begin and end, where the group
        ends.
    """

    order: Int64s
    rows: Int64s
    first: Int64s
    lower: Int64s
    upper: Int64s
    last: Int64s

    @classmethod
    def of(cls, group: Int64s, score: Float64s, chosen: Bools) -> Self:
        """Prepare to compare the chosen examples, which reached, with those of their groups."""
        rows = np.flatnonzero(chosen)
        has_chosen = np.zeros(group.max(initial=-1) + 1, np.bool_)
        has_chosen[group[rows]] = True
        inside = np.flatnonzero(has_chosen[group])
        order = inside[np.lexsort((score[inside], group[inside]))]
        new_group = np.append(True, np.diff(group[order]) != 0)[: len(order)]
        new_score = new_group | np.append(True, np.diff(score[order]) != 0)[: len(order)]
        place = np.empty(len(group), np.int64)
        place[order] = np.arange(len(order))
        first, last = _runs(new_group, place[rows])
        lower, upper = _runs(new_score, place[rows])
        return cls(order, rows, first, lower, upper, last)

    def below(self, weight: Float64s) -> Float64s:
        """Share of the weight in its group that ranks below each row, ties half; NaN where there is none."""
        sums = np.concatenate(([0.0], np.cumsum(weight[self.order])))
        total = sums[self.last] - sums[self.first]
        below = (sums[self.lower] + sums[self.upper]) / 2 - sums[self.first]
        share: Float64s = np.divide(below, total, out=np.full(len(total), np.nan), where=total > 0)
        return share

    def compared_with(self, reached: Bools) -> Int64s:
        """The examples that did not reach."""
        return self.order[~reached[self.order]]


def _runs(begins: Bools, places: Int64s) -> tuple[Int64s, Int64s]:
    """Begin and end of the run that each place is in, of runs that begin where it says so."""
    starts = np.flatnonzero(begins)
    run = np.cumsum(begins)[places] - 1
    return starts[run], np.append(starts[1:], len(begins))[run]
