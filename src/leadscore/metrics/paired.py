"""Two ways to score the same examples, held against each other: by how much one is better, with its interval."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from leadscore.metrics.probabilities import log_losses
from leadscore.metrics.resampling import Resamples
from leadscore.metrics.within_mornings import WithinMornings

if TYPE_CHECKING:
    from leadscore.history.line import Bools, Float64s, Int64s
    from leadscore.metrics.judged import Judged
    from leadscore.metrics.resampling import Interval


def loss_differences(judged: Judged, ours: Float64s, theirs: Float64s) -> tuple[Int64s, Float64s]:
    """Example and difference in log loss, ours less theirs, of every known (example, stage to reach).

    Parameters
    ----------
    ours, theirs : ndarray of float64, shape (n_examples, n_later_stages)
        Probabilities.
    """
    known = ~np.isnan(judged.outcome)
    outcome = judged.outcome[known].astype(np.float64)
    return np.nonzero(known)[0], log_losses(outcome, ours[known]) - log_losses(outcome, theirs[known])


def loss_difference(judged: Judged, ours: Float64s, theirs: Float64s) -> Interval:
    """Mean of `loss_differences`."""
    row, difference = loss_differences(judged, ours, theirs)
    return Resamples.of(judged.lead[row], judged.funnel.judging.resamples).mean(difference)


def order_difference(judged: Judged, ours: Float64s, theirs: Float64s) -> Interval:
    """How much better our probabilities order the leads of one morning and current stage than theirs do."""
    of_ours, of_theirs = (
        WithinMornings.of(replace(judged, probability=each).pooled(), judged.funnel.judging.resamples)
        for each in (ours, theirs)
    )
    return of_ours.leads.intervals(lambda drawn: np.array([of_ours.value(drawn) - of_theirs.value(drawn)]))[0]


def precision_difference(judged: Judged, ours: Bools, theirs: Bools) -> Interval:
    """Share that reached the handoff among our contacts, less that among theirs.

    Parameters
    ----------
    ours, theirs : ndarray of bool, shape (n_examples,)
        The examples contacted, ``rows`` of `leadscore.metrics.worked`.
    """
    place = judged.funnel.stages.index(judged.funnel.funnel.handoff[1]) - 1
    reached = np.nan_to_num(judged.outcome[:, place]).astype(np.float64)
    leads = Resamples.of(judged.lead, judged.funnel.judging.resamples)
    sums = leads.by_lead(np.column_stack((ours, ours * reached, theirs, theirs * reached)).astype(np.float64))

    def difference(drawn: Float64s) -> Float64s:
        contacts, found, their_contacts, they_found = drawn @ sums
        both = contacts and their_contacts
        return np.array([found / contacts - they_found / their_contacts if both else np.nan])

    return leads.intervals(difference)[0]
