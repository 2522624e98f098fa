"""What a team finds that works so many leads a day from the top of its list.

The worked example: owner A can contact 1 lead a day; the horizon of the handoff is 14 days. On 2024-03-04 A's list
is lead 1, lead 2. A contacts lead 1 then, and on the next morning lead 2: lead 1 stands on top again, but counts as
contacted until 2024-03-18.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.history import DAY
from leadscore.metrics.resampling import Interval, Resamples

if TYPE_CHECKING:
    from leadscore.history.line import Bools, Float64s, Int64s
    from leadscore.metrics.judged import Judged


@dataclass(frozen=True, slots=True)
class Worked:
    """What working the handoff's list from the top gives.

    Attributes
    ----------
    rows : ndarray of bool, shape (n_examples,)
        The examples contacted.
    precision : Interval
        Share of the contacts that reached the handoff within its horizon.
    recall : Interval
        Share found of the leads (of an owner) that reached it within the horizon of any morning on the list.
    """

    rows: Bools
    precision: Interval
    recall: Interval

    @property
    def contacts(self) -> int:
        """How many contacts there were."""
        return int(np.count_nonzero(self.rows))

    @property
    def contacts_per_conversion(self) -> float:
        """Contacts for one that reached; NaN where none did."""
        return 1 / self.precision.value if self.precision.value > 0 else float("nan")


def worked(judged: Judged, score: Float64s, resamples: int = 0) -> Worked:
    """Work the list of the handoff in order of a score, on every morning, up to each owner's capacity.

    Parameters
    ----------
    score : ndarray of float64, shape (n_examples,)
        Highest first; equal ones in order of the lead.
    resamples : int
        For the intervals; the contacts stay the same in all.
    """
    funnel = judged.funnel
    place = funnel.stages.index(funnel.funnel.handoff[1]) - 1
    listed = (judged.stage <= place) & ~np.isnan(judged.outcome[:, place])
    pair = np.unique(np.column_stack((judged.lead, judged.owner)), axis=0, return_inverse=True)[1].reshape(-1)
    rows = _contacted(judged, listed, score, pair, funnel.horizons[place])
    outcome = np.where(listed, judged.outcome[:, place], 0).astype(np.float64)
    found, to_find = (_first_of(pair, listed & (outcome == 1) & kept) for kept in (rows, np.ones(len(rows), np.bool_)))

    leads = Resamples.of(judged.lead, resamples)
    is_found, is_to_find = np.zeros(len(judged)), np.zeros(len(judged))
    is_found[found], is_to_find[to_find] = 1, 1
    sums = leads.by_lead(np.column_stack((rows, rows * outcome, is_found, is_to_find)))

    def figures(drawn: Float64s) -> Float64s:
        contacts, reached, n_found, n_to_find = drawn @ sums
        return np.array([_share(reached, contacts), _share(n_found, n_to_find)])

    precision, recall = leads.intervals(figures)
    return Worked(rows, precision, recall)


def _contacted(judged: Judged, listed: Bools, score: Float64s, pair: Int64s, horizon_days: int) -> Bools:
    free_from = np.full(pair.max() + 1 if len(pair) else 0, np.iinfo(np.int64).min)
    contacted = np.zeros(len(judged), np.bool_)
    candidates = np.flatnonzero(listed)
    candidates = candidates[np.argsort(judged.as_of[candidates], kind="stable")]
    mornings = np.flatnonzero(np.diff(judged.as_of[candidates])) + 1
    for rows in np.split(candidates, mornings) if len(candidates) else ():
        as_of = judged.as_of[rows[0]]
        free = rows[free_from[pair[rows]] <= as_of]
        free = free[np.lexsort((judged.lead[free], -score[free], judged.owner[free]))]
        top = free[_place_within(judged.owner[free]) < judged.funnel.owner.capacity]
        contacted[top] = True
        free_from[pair[top]] = as_of + horizon_days * DAY
    return contacted


def _place_within(owner: Int64s) -> Int64s:
    """Place of each row among those of its owner, from 0; the rows are in order of the owner."""
    first = np.concatenate(([True], owner[1:] != owner[:-1]))[: len(owner)]
    place = np.arange(len(owner))
    return place - np.maximum.accumulate(np.where(first, place, 0))


def _first_of(pair: Int64s, rows: Bools) -> Int64s:
    """The first of the rows of each pair, so that a lead counts once."""
    kept = np.flatnonzero(rows)
    return kept[np.unique(pair[kept], return_index=True)[1]]


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
