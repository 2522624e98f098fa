"""Outcomes within less than the horizon, which are known sooner, and what probabilities become there.

The worked example: the horizon of sql is 30 days, and the history ends 10 days after the candidate's last label. Of
the leads that reached sql within 30 days of a past morning as an MQL, 40 % had done so within 7 days. So a lead with a
probability of .2 is expected to reach sql within 7 days with .08, and the mornings of the first 3 of the 10 days show
whether that is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from leadscore.examples import judging_examples, known_by
from leadscore.gate.verdict import LEAST_LEADS
from leadscore.labels import parts_of, reached, reached_within
from leadscore.metrics import Resamples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.examples import Examples
    from leadscore.history import History
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s

# From one past morning, of which shares are taken, to the next.
EVERY_DAYS = 14
# As if so many more leads of each current stage had the share of all.
PRIOR = 5.0


def longest_enough(history: History, examples: Examples) -> tuple[list[int], Float32s, Bools]:
    """For each stage to reach the longest part of its horizon with enough known outcomes, and these.

    Returns
    -------
    days : list of int
        The shortest part where none has enough.
    outcome : ndarray of float32, shape (n_examples, n_later_stages)
        Within these days; NaN where the stage is passed, or that is not known yet.
    enough : ndarray of bool, shape (n_later_stages,)
        Whether there are enough.
    """
    parts = [parts_of(days) for days in history.funnel.horizons]
    chosen, enough = [days[-1] for days in parts], np.zeros(len(parts), np.bool_)
    outcome = reached_within(history, examples.lead, examples.as_of, chosen)
    for rank in reversed(range(max(map(len, parts)))):
        days = [each[min(rank, len(each) - 1)] for each in parts]
        found = reached_within(history, examples.lead, examples.as_of, days)
        for place, column in enumerate(found.T):
            if least_leads(examples.lead, column) >= LEAST_LEADS:
                chosen[place], outcome[:, place], enough[place] = days[place], column, True
    return chosen, outcome, enough


def least_leads(lead: Int64s, outcome: Float32s) -> int:
    """Leads of the rarer outcome."""
    return min(len(np.unique(lead[outcome == value])) for value in (1, 0))


@dataclass(frozen=True, slots=True)
class Shares:
    """Of the leads that reached a stage within its horizon, the share that did so within less.

    Attributes
    ----------
    value : ndarray of float64, shape (n_stages - 1, n_later_stages)
        By current stage and stage to reach.
    drawn : ndarray of float64, shape (n_resamples, n_stages - 1, n_later_stages)
        The same of resampled leads: how far it is known.
    """

    value: Float64s
    drawn: Float64s

    @classmethod
    def learnt(cls, history: History, until: int, days: Sequence[int]) -> Self:
        """Shares among past mornings whose whole horizon had ended by ``until``."""
        funnel = history.funnel
        n_open = len(funnel.stages) - 1
        value = np.ones((n_open, n_open))
        drawn = np.ones((funnel.judging.resamples, n_open, n_open))
        if tuple(days) == funnel.horizons:
            return cls(value, drawn)
        examples = judging_examples(history, int(history.known.min()), EVERY_DAYS)
        whole = known_by(reached(history, examples.lead, examples.as_of), examples.as_of, funnel, until)
        soon = reached_within(history, examples.lead, examples.as_of, days)
        stage = history.at(examples.lead, examples.as_of).steps.stage
        for place in np.flatnonzero(np.array(days) < np.array(funnel.horizons)).tolist():
            rows = np.flatnonzero(whole[:, place] == 1)
            leads = Resamples.of(examples.lead[rows], funnel.judging.resamples)
            in_stage = stage[rows, None] == np.arange(n_open)
            sums = leads.by_lead(np.column_stack((in_stage, in_stage * soon[rows, place, None])).astype(np.float64))
            prior = days[place] / funnel.horizons[place]
            value[:, place] = _shares(sums.sum(axis=0), prior)
            for row, often in zip(drawn[:, :, place], leads.drawn(), strict=False):
                row[:] = _shares(often @ sums, prior)
        return cls(value, drawn)


def _shares(sums: Float64s, prior: float) -> Float64s:
    """Shares of the current stages from counts of examples and of those that were soon, shrunk towards that of all."""
    n, soon = np.split(sums, 2)
    whole = (soon.sum() + PRIOR * prior) / (n.sum() + PRIOR)
    shares: Float64s = (soon + PRIOR * whole) / (n + PRIOR)
    return shares
