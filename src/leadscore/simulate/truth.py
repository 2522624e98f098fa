"""The true probability of reaching each stage, given what was recorded: a forward filter, then the future.

On the morning of 2025-03-11 (day 435) everything that happened until 2025-03-10 is known, except the touches
that are not recorded yet: those of 03-10 are known if recorded at once, those of 03-09 if at most a day late,
those of 03-05 and before are all known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from leadscore.simulate import crm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from leadscore.simulate.chain import Leads, Moves, Touches
    from leadscore.simulate.crm import Floats, Int64s

    Stages = NDArray[np.int8]

NOT_CREATED = -1


@dataclass(frozen=True, slots=True)
class Belief:
    """What the recorded history says of the open leads on one morning.

    Attributes
    ----------
    day : int
        The morning is the one that begins this day.
    lead, stage : ndarray of int64, shape (n_open,)
        Position of the lead; its stage.
    interest : ndarray of float64, shape (n_open, n_interests)
        Probability of each interest.
    """

    day: int
    lead: Int64s
    stage: Int64s
    interest: Floats


def true_probabilities(leads: Leads, belief: Belief, horizons: Sequence[int] = crm.FUNNEL.horizons) -> Floats:
    """Probability that each open lead reaches each later stage, shape (n_open, n_stages - 2).

    NaN for stages already passed.
    """
    ahead = reach_probabilities(belief.day, tuple(horizons))[:, leads.quality[belief.lead], belief.stage]
    probabilities: Floats = np.einsum("tni,ni->nt", ahead, belief.interest)
    targets = np.arange(1, crm.WON + 1)
    return np.where(targets > belief.stage[:, None], probabilities, np.nan)


@lru_cache(maxsize=64)
def reach_probabilities(day: int, horizons: tuple[int, ...]) -> Floats:
    """Probability of reaching each later stage within its horizon, from each state on the morning of ``day``.

    Shape (n_later_stages, n_qualities, n_stages, n_interests). Backwards from the end of the horizon: what
    a state is worth on a morning is what the states that follow it are worth on the next; a state at or
    past the target is worth 1, on whatever day it is entered.
    """
    targets = [_reach_of(target, day, days) for target, days in enumerate(horizons, start=1)]
    return np.stack(targets)


def _reach_of(target: int, day: int, horizon_days: int) -> Floats:
    worth = np.zeros((len(crm.QUALITIES), len(crm.STAGES), len(crm.INTERESTS)))
    for later in reversed(range(day, day + horizon_days)):
        worth[:, target : crm.WON + 1] = 1
        after_touches = np.einsum("qsit,qti->qsi", crm.move_probabilities(later), worth)
        worth = after_touches @ crm.INTEREST_MOVES.T
    return worth


def beliefs(leads: Leads, moves: Moves, touches: Touches, mornings: Sequence[int]) -> Iterator[Belief]:
    """Belief of each morning: the forward filter over the hidden interest (Rabiner 1989, section III.A).

    Parameters
    ----------
    mornings : sequence of int
        Days, ascending. Leads created on an earlier day and open on that morning are in its belief.
    """
    stages = _stages_by_morning(leads, moves, max(mornings))
    interest = np.array([source.interest for source in crm.SOURCES])[leads.source]
    settled = 1  # the days before are in `interest`, with all their touches
    for morning in mornings:
        for day in range(settled, morning - crm.LATEST_DAYS):
            interest = _after(day, interest, leads, stages, _known(touches, day, crm.LATEST_DAYS + 1))
        settled = max(settled, morning - crm.LATEST_DAYS)
        recent = interest
        for day in range(settled, morning):
            recent = _after(day, recent, leads, stages, _known(touches, day, morning - day))
        stage = stages[morning]
        is_open = np.flatnonzero((stage != NOT_CREATED) & (stage < crm.WON))
        yield Belief(morning, is_open, stage[is_open].astype(np.int64), recent[is_open])


@dataclass(frozen=True, slots=True)
class _Known:
    """The touches of one day that are recorded by some morning, and the share of each kind that can be."""

    lead: Int64s
    kind: Int64s
    share: Floats


def _known(touches: Touches, day: int, days_ago: int) -> _Known:
    first, end = np.searchsorted(touches.day, [day, day + 1])
    recorded = first + np.flatnonzero(touches.late[first:end] < days_ago)
    return _Known(touches.lead[recorded], touches.kind[recorded], crm.LATE[:, :days_ago].sum(axis=1))


def _stages_by_morning(leads: Leads, moves: Moves, last: int) -> Stages:
    """Stage of each lead on the morning of each day, shape (last + 1, n_leads)."""
    stages = np.full((last + 1, len(leads)), NOT_CREATED, dtype=np.int8)
    limits = np.searchsorted(moves.day, np.arange(last + 1))
    for day in range(last):
        stages[day + 1] = stages[day]
        born = leads.created == day
        stages[day + 1, born] = leads.direct[born]
        today = slice(limits[day], limits[day + 1])
        stages[day + 1, moves.lead[today]] = moves.stage[today]
    return stages


def _after(day: int, interest: Floats, leads: Leads, stages: Stages, known: _Known) -> Floats:
    """Probability of each interest after a day, given that before it; shape (n_leads, n_interests)."""
    living = np.flatnonzero((stages[day] != NOT_CREATED) & (stages[day] != crm.WON))
    stage, next_stage = stages[day, living], stages[day + 1, living]
    # Recording keeps each touch by chance, so the recorded counts are Poisson too, at a share of the rate.
    # Factors that are the same for every interest cancel.
    expected = np.einsum("ksi,k->si", crm.touch_rates(day), known.share)
    seen = np.zeros_like(interest)
    np.add.at(seen, known.lead, _LOG_RATES[known.kind, stages[day, known.lead]])
    log_likelihood = seen[living] - expected[stage]
    log_likelihood -= log_likelihood.max(axis=1, keepdims=True)
    moved = crm.move_probabilities(day)[leads.quality[living], stage, :, next_stage]
    weight = (interest[living] @ crm.INTEREST_MOVES) * np.exp(log_likelihood) * moved
    after = interest.copy()
    after[living] = weight / weight.sum(axis=1, keepdims=True)
    return after


_LOG_RATES = np.log(crm.TOUCH_RATES, where=crm.TOUCH_RATES > 0, out=np.zeros_like(crm.TOUCH_RATES))
