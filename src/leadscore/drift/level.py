"""What a model predicted beside what was observed, up to the latest mornings.

Whether leads reached a stage within the whole horizon is known late. On the mornings since then a part of the horizon
is looked at, and probabilities are multiplied by the share of leads that used to reach the stage within it. The worked
example: the horizon of sql is 45 days, and the history ends on 2025-07-01. On the mornings until 2025-05-17 outcomes
within 45 days count, until 2025-06-09 those within 22 days, until 2025-06-20 those within 11, until 2025-06-24 those
within a week.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.stats import cauchy
from scipy.stats import t as student

from leadscore.drift.outcomes import ENOUGH_LEADS, LEAST_LEADS
from leadscore.drift.result import RECALIBRATE, Finding
from leadscore.drift.windows import LEAST_PAST
from leadscore.history import DAY
from leadscore.history.zone import EPOCH
from leadscore.labels import parts_of, reached_within
from leadscore.metrics import Resamples

if TYPE_CHECKING:
    from leadscore.drift.outcomes import Outcomes, Rates
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s
    from leadscore.metrics import Judged

# As if so many more leads of each current stage had reached a stage evenly over its horizon.
PRIOR = 5.0
# A model is behind a level that moved if it is off in the same direction by so many standard deviations.
BEHIND = 1.0


@dataclass(frozen=True, slots=True)
class _Predicted:
    """What was predicted of a stage to reach, and what was observed, on mornings up to the latest.

    Attributes
    ----------
    lead, as_of : ndarray of int64, shape (n,)
    predicted, observed : ndarray of float64, shape (n,)
        Probabilities and outcomes, both of a part of the horizon.
    share_noise : ndarray of float64, shape (n,)
        Relative variance of the share that the probability was multiplied by.
    """

    lead: Int64s
    as_of: Int64s
    predicted: Float64s
    observed: Float64s
    share_noise: Float64s

    @classmethod
    def read(cls, judged: Judged, outcomes: Outcomes, place: int) -> Self:
        """What was predicted on all mornings that are at least a week old."""
        history, horizon = outcomes.history, judged.funnel.horizons[place]
        observed = np.full(len(judged), np.nan)
        factor, share_noise = np.ones(len(judged)), np.zeros(len(judged))
        left = judged.stage <= place
        for days in parts_of(horizon):
            rows = np.flatnonzero(left & (judged.as_of + days * DAY <= history.known_until))
            left[rows] = False
            observed[rows] = _within(outcomes, judged.lead[rows], judged.as_of[rows], days)[:, place]
            if days < horizon:
                share, noise = _shares(outcomes, place, days)
                factor[rows], share_noise[rows] = share[judged.stage[rows]], noise[judged.stage[rows]]
        predicted = judged.probability[:, place] * factor
        known = ~np.isnan(observed) & ~np.isnan(predicted)
        return cls(judged.lead[known], judged.as_of[known], predicted[known], observed[known], share_noise[known])

    def of(self, rows: Bools) -> _Predicted:
        return _Predicted(
            self.lead[rows], self.as_of[rows], self.predicted[rows], self.observed[rows], self.share_noise[rows]
        )

    def fewest_leads(self) -> int:
        return min(len(np.unique(self.lead[self.observed == each])) for each in (0, 1))


def levels(judged: Judged, outcomes: Outcomes) -> list[Finding]:
    """For each stage to reach, whether its level moved.

    Predictions are compared with what was observed, on the latest mornings and on all that have predictions, because a
    model is behind on every morning where a level rises slowly. Where it seems to be behind, what was observed lately
    is also compared with what was usual before. ``p`` is that of all comparisons of all stages together, or that of the
    stage if it is higher: so of all levels together there is one test.
    """
    clearest, own, every = [], [], []
    for place in range(len(judged.funnel.later_stages)):
        predicted = _Predicted.read(judged, outcomes, place)
        beside = [_beside(outcomes, place, look) for look in _looks(predicted, outcomes)]
        moved = _moved(outcomes, place, [each.z for each in beside if each is not None])
        known = [each for each in (*beside, moved) if each is not None]
        if known:
            # A look that shows nothing counts as one.
            looks = [each.p for each in known] + [1.0] * (len(beside) + 1 - len(known))
            clearest.append(min(known, key=lambda each: each.p))
            own.append(together(looks))
            every += looks
    return [replace(each, p=max(p, together(every))) for each, p in zip(clearest, own, strict=True)]


def together(p: list[float]) -> float:
    """One chance of several that depend on each other: their Cauchy combination (Liu and Xie, 2020)."""
    return float(cauchy.sf(np.tan(np.pi * (0.5 - np.clip(p, 1e-15, 0.99))).mean()))


def _looks(predicted: _Predicted, outcomes: Outcomes) -> list[_Predicted]:
    """The last windows that hold enough leads of either outcome, and all mornings."""
    if not len(predicted.lead):
        return []
    span = outcomes.days * DAY
    ago = (predicted.as_of.max() - predicted.as_of) // span
    for enough in (ENOUGH_LEADS, LEAST_LEADS):
        for n in range(1, int(ago.max()) + 1):
            latest = predicted.of(ago < n)
            if latest.fewest_leads() >= enough:
                return [latest, predicted]
    return [predicted] if predicted.fewest_leads() >= LEAST_LEADS else []


def _beside(outcomes: Outcomes, place: int, known: _Predicted) -> Finding | None:
    """What was predicted beside what was observed; None without enough windows before."""
    stage = outcomes.history.funnel.later_stages[place]
    begin = int(known.as_of.min())
    rates = outcomes.rates(place, begin)
    off = Resamples.of(known.lead, 0).by_lead(known.observed - known.predicted)[:, 0]
    predicted, observed = float(known.predicted.sum()), float(known.observed.sum())
    root = float(off.sum() / np.sqrt((off**2).sum()))
    apart = float(np.log((observed + 0.5) / (predicted + 0.5)))
    if rates.n_past < LEAST_PAST or not root or not apart:
        return None
    # What was learnt from few, and the shares, are known no better.
    learnt = 1 / max(float(rates.observed[rates.past].sum()), 1.0)
    learnt += float((known.predicted * np.sqrt(known.share_noise)).sum() / predicted) ** 2
    z, p = _clear(apart, (apart / root) ** 2 + learnt, rates)
    before, now = predicted / len(known.lead), observed / len(known.lead)
    since = (EPOCH + timedelta(microseconds=begin)).date()
    words = f"{stage}: predicted {before:.1%} on average, observed {now:.1%}, on the mornings since {since}"
    return Finding("level", stage, before, now, z, p, words, RECALIBRATE)


def _moved(outcomes: Outcomes, place: int, behind: list[float]) -> Finding | None:
    """What was observed lately beside the earlier half of the time before.

    None if that is not known, or if the model is not behind.

    The earlier half, because what rises slowly is little above the mean of all that was observed before.
    """
    stage, windows, n_late = (
        outcomes.history.funnel.later_stages[place],
        outcomes.windows(place),
        outcomes.n_late(place),
    )
    if not n_late:
        return None
    n_before = len(windows) - n_late
    all_before = outcomes.rates(place, int(windows.edges[n_before]))
    rates = outcomes.rates(place, int(windows.edges[-(-n_before // 2)]))
    late = windows.last(n_late)
    observed, expected, n = (float(each[late].sum()) for each in (rates.observed, rates.expected, rates.n))
    if all_before.n_past < LEAST_PAST or not expected:
        return None
    apart = float(np.log((observed + 0.5) / (expected + 0.5)))
    per_lead = outcomes.rows_per_lead(place, n_late)
    sampling = per_lead * (1 - rates.usual) * (1 / expected + 1 / max(float(rates.observed[rates.past].sum()), 1.0))
    z, p = _clear(apart, sampling, all_before)
    if not any(each * np.sign(z) >= BEHIND for each in behind):
        return None
    before, now, stage = expected / n, observed / n, outcomes.history.funnel.later_stages[place]
    words = f"{stage}: {now:.1%} of leads reached it lately, {before:.1%} long before, and predictions lag behind"
    return Finding("level", stage, before, now, z, p, words, RECALIBRATE)


def _clear(apart: float, sampling: float, rates: Rates) -> tuple[float, float]:
    """``z`` and ``p`` of a difference in logs, by its variance by chance and what levels vary from window to window."""
    noise = rates.noise()
    z = apart / float(np.sqrt(sampling + noise))
    freedom = max(rates.n_past - 2, 1) * ((sampling + noise) / noise) ** 2
    return z, float(2 * student.sf(abs(z), freedom))


def _within(outcomes: Outcomes, lead: Int64s, as_of: Int64s, days: int) -> Float32s:
    """Whether each lead reached each stage within so many days, shape (n, n_later_stages)."""
    return reached_within(outcomes.history, lead, as_of, [days] * len(outcomes.history.funnel.later_stages))


def _shares(outcomes: Outcomes, place: int, days: int) -> tuple[Float64s, Float64s]:
    """By current stage, of those who reached a stage the share that did so within less, and its relative variance."""
    rows = np.flatnonzero(outcomes.outcome[:, place] == 1)
    soon = _within(outcomes, outcomes.rows.lead[rows], outcomes.rows.as_of[rows], days)[:, place]
    stage = outcomes.rows.stage[rows]
    n_stages = len(outcomes.history.funnel.stages) - 1
    n, x = (np.bincount(stage, weight, n_stages) for weight in (np.ones(len(rows)), soon.astype(np.float64)))
    prior = days / outcomes.history.funnel.horizons[place]
    whole = (x.sum() + PRIOR * prior) / (n.sum() + PRIOR)
    share = (x + PRIOR * whole) / (n + PRIOR)
    return share, (1 - share) / (share * (n + PRIOR))
