"""The baselines on the very examples that the model is judged on, learnt at the same cuts from the same past."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit

from leadscore.backtest import side_by_side
from leadscore.baselines import Logistic, MostRecentlyTouched, NaiveBayes, OldestFirst
from leadscore.errors import TrainingError
from leadscore.examples import known_by, settings_to_learn
from leadscore.history import DAY
from leadscore.labels import reached
from leadscore.metrics import (
    Interval,
    Ordering,
    auc,
    calibration_error,
    log_loss,
    loss_difference,
    precision_difference,
    worked,
)
from leadscore.model import fit_calibration

if TYPE_CHECKING:
    from leadscore.backtest import Backtest
    from leadscore.examples import Examples
    from leadscore.history import History, Snapshot
    from leadscore.history.line import Bools, Float32s, Float64s
    from leadscore.metrics import Judged, Worked

log = logging.getLogger(__name__)

BASE_RATE, NAIVE_BAYES, LOGISTIC = "base rate", "naive Bayes (Odoo)", "logistic regression"
RECENT, OLDEST = "most recently touched", "oldest first"
# Share of the past that naive Bayes learns from before what it says is turned into probabilities on the rest.
LEARNT_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Scores:
    """What one way to score gives the examples judged.

    Attributes
    ----------
    name : str
    probability : ndarray of float64, shape (n_examples, n_later_stages), optional
        None for an order without probabilities.
    order : ndarray of float64, shape (n_examples,)
        The list of the handoff is worked in this order, highest first.
    """

    name: str
    probability: Float64s | None
    order: Float64s


@dataclass(frozen=True, slots=True)
class Peer:
    """A baseline held against the model.

    Attributes
    ----------
    name : str
    log_loss, calibration_error : float
        Over every stage; NaN for an order without probabilities.
    auc : float
        Of reaching the handoff, within every current stage before it.
    handoff : Worked
        The handoff's list worked in its order.
    loss_gain : Interval
        Its log loss less the model's: above zero the model is better.
    precision_gain : Interval
        The model's precision at capacity less its own: above zero the model is better.
    """

    name: str
    log_loss: float
    calibration_error: float
    auc: float
    handoff: Worked
    loss_gain: Interval
    precision_gain: Interval


def peers(history: History, past: Backtest, n_jobs: int) -> tuple[Peer, ...]:
    """Every baseline on the examples of a backtest; one that cannot learn is left out, and the log says so."""
    judged = past.judged
    place = history.funnel.stages.index(history.funnel.funnel.handoff[1]) - 1
    ours = worked(judged, judged.probability[:, place])
    return tuple(_held_against(judged, ours, scores, place) for scores in scores_of(history, past, n_jobs))


def scores_of(history: History, past: Backtest, n_jobs: int) -> list[Scores]:
    """What each baseline gives the examples judged, learnt at the cut before each."""
    judged = past.judged
    place = history.funnel.stages.index(history.funnel.funnel.handoff[1]) - 1
    shape = judged.probability.shape
    logistic, bayes, won = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(len(judged))
    recent, oldest = np.zeros(len(judged)), np.zeros(len(judged))

    def at(cut: int, end: int) -> bool:
        rows = (judged.as_of >= cut) & (judged.as_of < end)
        seen = history.at(judged.lead[rows], judged.as_of[rows])
        logistic[rows] = logistic_until(history, past.examples, cut, 1).predict_proba(seen)
        recent[rows], oldest[rows] = (each.decision_function(seen) for each in (MostRecentlyTouched(), OldestFirst()))
        try:
            won[rows], bayes[rows] = _bayes(history, past.examples, cut, seen)
        except TrainingError as error:
            log.warning("%s is left out: %s", NAIVE_BAYES, error)
            return False
        return True

    with side_by_side(n_jobs) as pool:
        closed = all(list(pool.map(at, past.cuts, (*past.cuts[1:], history.known_until + 1))))
    found = [Scores(BASE_RATE, judged.base, judged.base[:, place])]
    found += [Scores(NAIVE_BAYES, bayes, won)] if closed else []
    found += [Scores(LOGISTIC, logistic, logistic[:, place])]
    return [*found, Scores(RECENT, None, recent), Scores(OLDEST, None, oldest)]


def logistic_until(history: History, examples: Examples, cut: int, n_jobs: int) -> Logistic:
    """A logistic regression that has learnt from those of the examples whose label had ended by ``cut``."""
    examples, outcome = _known_by(history, examples, cut)
    weight = examples.weights(history.funnel.examples.first_weight)
    snapshot = history.at(examples.lead, examples.as_of)
    funnel = settings_to_learn(history, examples)
    return Logistic(funnel, n_jobs=n_jobs).fit(snapshot, outcome, weight, examples.on_morning)


def _known_by(history: History, examples: Examples, cut: int) -> tuple[Examples, Float32s]:
    examples = examples.of(examples.as_of <= cut)
    outcome = reached(history, examples.lead, examples.as_of)
    return examples, known_by(outcome, examples.as_of, history.funnel, cut)


def _bayes(history: History, examples: Examples, cut: int, seen: Snapshot) -> tuple[Float64s, Float64s]:
    """Probability of the win as naive Bayes states it, and probabilities of each stage within its horizon.

    It states no horizon, so log odds of each stage are a line of its own log odds, fitted on past mornings later than
    what it had learnt from by then.
    """
    examples, outcome = _known_by(history, examples, cut)
    first = int(examples.as_of.min()) if len(examples) else cut
    earlier = first + int(LEARNT_SHARE * (cut - max(history.funnel.horizons) * DAY - first))
    before = NaiveBayes().fit(history, earlier)
    later = (examples.as_of >= earlier) & examples.on_morning
    odds = logit(before.won_probability(history.at(examples.lead[later], examples.as_of[later])))
    won = NaiveBayes().fit(history, cut).won_probability(seen)
    probability = np.full((len(seen), outcome.shape[1]), np.nan)
    stage = seen.steps.stage
    for place, column in enumerate(outcome[later].T):
        known = ~np.isnan(column)
        ahead = stage <= place
        if len(np.unique(column[known])) == 2:
            slope, intercept = fit_calibration(odds[known], column[known])
            probability[ahead, place] = expit(slope * logit(won[ahead]) + intercept)
        elif known.any():
            probability[ahead, place] = column[known].mean()
    return won, probability


def _held_against(judged: Judged, ours: Worked, scores: Scores, place: int) -> Peer:
    handoff = worked(judged, scores.order, judged.funnel.judging.resamples)
    listed = judged.reaching(place)
    known = ~np.isnan(judged.outcome[:, place])
    probability = scores.probability
    comparable = probability is not None and not np.isnan(probability[~np.isnan(judged.outcome)]).any()
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    outcome, said = _pooled(judged, probability) if probability is not None and comparable else (np.empty(0),) * 2
    return Peer(
        name=scores.name,
        log_loss=log_loss(outcome, said),
        calibration_error=calibration_error(outcome, said),
        auc=auc(*Ordering.of(listed.outcome, scores.order[known]).counts()),
        handoff=handoff,
        loss_gain=loss_difference(judged, probability, judged.probability)
        if probability is not None and comparable
        else nothing,
        precision_gain=precision_difference(judged, ours.rows, handoff.rows),
    )


def _pooled(judged: Judged, probability: Float64s) -> tuple[Float64s, Float64s]:
    known: Bools = ~np.isnan(judged.outcome)
    return judged.outcome[known].astype(np.float64), probability[known]
