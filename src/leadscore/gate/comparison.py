"""Candidate and champion, or twins of theirs, on the same mornings, from which neither has learnt."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Self

import numpy as np

from leadscore.backtest import default_cuts, judge
from leadscore.errors import TrainingError
from leadscore.examples import judging_examples
from leadscore.gate.short_horizons import Shares, least_leads, longest_enough
from leadscore.gate.verdict import LEAST_LEADS, Evidence
from leadscore.history import DAY
from leadscore.history.zone import EPOCH
from leadscore.labels import LEAST_DAYS, reached_within
from leadscore.metrics import Judged, loss_differences
from leadscore.peers import logistic_until

if TYPE_CHECKING:
    from leadscore.gate.recipe import Recipe
    from leadscore.history import History
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s

log = logging.getLogger(__name__)

# How often both recipes are learnt again, at most.
MOST_CUTS = 3
LATER, REPLAY = "later mornings", "replay"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The two on the same examples.

    Attributes
    ----------
    evidence : Evidence
        What these are, and how many leads.
    ours, theirs : Judged
        The candidate and the champion. Stages without enough outcomes have none here.
    logistic : ndarray of float64, shape (n_examples, n_later_stages)
        Of a logistic regression that has learnt from what the candidate has.
    shares : Shares, optional
        Where outcomes are those within less than the horizon: what probabilities were multiplied by.
    """

    evidence: Evidence
    ours: Judged
    theirs: Judged
    logistic: Float64s
    shares: Shares | None = None

    def loss_deviation(self, theirs: Float64s) -> float:
        """Standard deviation of the difference in log loss that comes from not knowing the shares exactly."""
        if self.shares is None:
            return 0.0
        stage = self.ours.stage
        means = []
        for drawn in self.shares.drawn:
            factor = (drawn / self.shares.value)[stage]
            ours, other = (np.clip(each * factor, 0, 1) for each in (self.ours.probability, theirs))
            means.append(loss_differences(self.ours, ours, other)[1].mean())
        return float(np.std(means))

    def share_deviation(self, place: int) -> float:
        """Standard deviation of the shares of a stage to reach, relative to them."""
        if self.shares is None:
            return 0.0
        relative = (self.shares.drawn[:, :, place] / self.shares.value[:, place])[:, self.ours.stage]
        known = ~np.isnan(self.ours.outcome[:, place])
        return float(np.std(relative[:, known].mean(axis=1)))

    @classmethod
    def on_later_mornings(cls, history: History, candidate: Recipe, champion: Recipe) -> Self | Evidence:
        """The models as they are, on mornings after the last label of either; the evidence alone where it is little.

        Outcomes are those within the horizon of each stage where these are enough, else within half of it, a quarter
        or a week: all leads of a morning count as soon as that time is over, whatever they reached.
        """
        since = candidate.now
        examples = judging_examples(history, since)
        days, outcome, enough = longest_enough(history, examples)
        place = _handoff(history)
        within = f"reached within {days[place]} of {history.funnel.horizons[place]} days"
        evidence = _evidence(LATER, f"the models as they are, on mornings since {day(since)}, {within}", history)
        evidence = _counted(evidence, examples.lead, outcome[:, place])
        if not evidence.enough:
            return evidence
        outcome[:, ~enough] = np.nan
        known: Bools = np.any(~np.isnan(outcome), axis=1)
        examples, outcome = examples.of(known), outcome[known]
        shares = Shares.learnt(history, since, days)
        logistic = logistic_until(history, candidate.examples, candidate.model.grown_until_, candidate.n_jobs)
        factor = shares.value[history.at(examples.lead, examples.as_of).steps.stage]
        ours, theirs = (
            _within(judge(each.history, each.model, examples), outcome, factor) for each in (candidate, champion)
        )
        said = logistic.predict_proba(candidate.history.at(examples.lead, examples.as_of)) * factor
        return cls(evidence, ours, theirs, said, shares)

    @classmethod
    def by_replay(cls, history: History, candidate: Recipe, champion: Recipe) -> Self | Evidence:
        """Both recipes learnt again at cuts in the past, each as old there as its model is now."""
        cuts = default_cuts(history)[-MOST_CUTS:]
        to_judge = judging_examples(history, cuts[0])
        parts: list[tuple[Judged, Judged, Judged]] = []
        for cut, end in zip(cuts, (*cuts[1:], history.known_until + 1), strict=True):
            examples = to_judge.of((to_judge.as_of >= cut) & (to_judge.as_of < end))
            try:
                twin = candidate.twin(cut)
                other = twin if candidate.is_like(champion) else champion.twin(cut)
            except TrainingError as error:
                log.info("no replay at %s: %s", day(cut), error)
                continue
            logistic = logistic_until(history, candidate.examples, cut - candidate.age, candidate.n_jobs)
            said = logistic.predict_proba(candidate.history.at(examples.lead, examples.as_of))
            ours, theirs = judge(candidate.history, twin, examples), judge(champion.history, other, examples)
            parts.append((ours, theirs, replace(ours, probability=said)))
        how = f"both recipes learnt again at {len(parts)} of {len(cuts)} cuts since {day(cuts[0])}"
        ages = f"the candidate's {candidate} and the champion's {champion} there as now"
        evidence = _evidence(REPLAY, f"{how}, {ages}", history)
        if not parts:
            return evidence
        ours, theirs, by_logistic = (Judged.joined(each) for each in zip(*parts, strict=True))
        evidence = _counted(evidence, ours.lead, ours.outcome[:, _handoff(history)])
        return cls(evidence, ours, theirs, by_logistic.probability) if evidence.enough else evidence


def enough_on(history: History, since: int) -> str:
    """The day from which on mornings since a moment will be enough, if as many leads reach the handoff as lately."""
    place = _handoff(history)
    days = min(LEAST_DAYS, history.funnel.horizons[place])
    lately = judging_examples(history, history.known_until - 2 * history.funnel.horizons[place] * DAY)
    lately = lately.of(lately.as_of + days * DAY <= history.known_until)
    outcome = reached_within(
        history, lately.lead, lately.as_of, [min(LEAST_DAYS, each) for each in history.funnel.horizons]
    )
    n = least_leads(lately.lead, outcome[:, place]) if len(lately) else 0
    if not n:
        return ""
    span = max(int(lately.as_of.max() - lately.as_of.min()), DAY)
    return day(since + max(1, LEAST_LEADS / n) * span + days * DAY)


def day(moment: float) -> str:
    """The day of a moment in microseconds since 1970 UTC."""
    return str((EPOCH + timedelta(microseconds=int(moment))).date())


def _handoff(history: History) -> int:
    return history.funnel.stages.index(history.funnel.funnel.handoff[1]) - 1


def _evidence(name: str, judged: str, history: History) -> Evidence:
    return Evidence(name, judged, history.funnel.funnel.handoff[1], 0, 0)


def _counted(evidence: Evidence, lead: Int64s, outcome: Float32s) -> Evidence:
    n_reached, n_not = (len(np.unique(lead[outcome == value])) for value in (1, 0))
    return replace(evidence, n_reached=n_reached, n_not_reached=n_not)


def _within(judged: Judged, outcome: Float32s, factor: Float64s) -> Judged:
    """What is judged by other outcomes, and its probabilities of these."""
    return replace(judged, outcome=outcome, probability=judged.probability * factor, base=judged.base * factor)
