"""Learning from a history, and judging the recipe on time that it has not seen."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.errors import TrainingError
from leadscore.examples import judging_examples, known_by, learning_examples
from leadscore.history import DAY
from leadscore.labels import reached
from leadscore.metrics import Judged
from leadscore.model import FunnelModel

if TYPE_CHECKING:
    from leadscore.examples import Examples
    from leadscore.history import History
    from leadscore.history.line import Float32s

log = logging.getLogger(__name__)

# Share of the time with known outcomes that is kept for judging.
JUDGED_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Backtest:
    """The recipe, learnt from what was known at ``cut`` and judged on the mornings at and after it.

    Attributes
    ----------
    cut : int
        Microseconds since 1970 UTC.
    model : FunnelModel
        Learnt from examples whose label had ended by ``cut``.
    judged : Judged
        Its probabilities for all leads open on each of a series of mornings, beside what happened.
    """

    cut: int
    model: FunnelModel
    judged: Judged


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training run gives: the model to serve, and how good its recipe is.

    Attributes
    ----------
    model : FunnelModel
        Learnt from every ripe example.
    n_examples : int
        How many those are.
    backtest : Backtest
        The same recipe judged on later time.
    """

    model: FunnelModel
    n_examples: int
    backtest: Backtest


def train(history: History, n_jobs: int) -> Trained:
    """Judge the recipe on later time, then learn from everything that is ripe.

    Raises
    ------
    TrainingError
        The history is too short to learn from one part and judge on a later one.
    """
    examples = learning_examples(history)
    past = backtest(history, default_cut(history), n_jobs, examples)
    outcome = reached(history, examples.lead, examples.as_of)
    model = _fitted(history, examples, outcome, n_jobs)
    n_ripe = int(np.count_nonzero(~np.isnan(outcome).all(axis=1)))
    log.info("learnt from %d ripe examples of %d leads", n_ripe, len(np.unique(examples.lead)))
    return Trained(model, n_ripe, past)


def backtest(history: History, cut: int, n_jobs: int, examples: Examples | None = None) -> Backtest:
    """Learn from examples whose label ends by ``cut``; judge on mornings at or after it.

    A lead may be on both sides; no label interval is: learnt are ``as_of + horizon <= cut``, judged
    ``as_of >= cut``, per stage with its own horizon.

    Raises
    ------
    TrainingError
        Nothing is ripe on one side of the cut.
    """
    learnt = learn_until(history, cut, n_jobs, examples)
    judged = judge(history, learnt, judging_examples(history, cut))
    if np.isnan(judged.outcome).all():
        raise TrainingError("no outcome is known on any morning after the cut: the history is too short to judge on")
    return Backtest(cut, learnt, judged)


def learn_until(history: History, cut: int, n_jobs: int, examples: Examples | None = None) -> FunnelModel:
    """A model that has learnt from labels that ended by ``cut``, and from nothing else.

    Raises
    ------
    TrainingError
        No label had ended.
    """
    examples = learning_examples(history) if examples is None else examples
    examples = examples.of(examples.as_of <= cut)
    outcome = known_by(reached(history, examples.lead, examples.as_of), examples.as_of, history.funnel, cut)
    log.info("learning from %d examples known by the cut", np.count_nonzero(~np.isnan(outcome).all(axis=1)))
    return _fitted(history, examples, outcome, n_jobs)


def _fitted(history: History, examples: Examples, outcome: Float32s, n_jobs: int) -> FunnelModel:
    snapshot = history.at(examples.lead, examples.as_of)
    weight = examples.weights(history.funnel.examples.first_weight)
    return FunnelModel(history.funnel, n_jobs).fit(snapshot, outcome, weight, examples.on_morning)


def judge(history: History, model: FunnelModel, examples: Examples) -> Judged:
    """Probabilities of a model beside what happened; the examples must lie at or after its ``trained_until_``."""
    if len(examples) and examples.as_of.min() < model.trained_until_:
        raise TrainingError("the model has learnt from outcomes after some of the moments that it would be judged on")
    snapshot = history.at(examples.lead, examples.as_of)
    return Judged(
        funnel=history.funnel,
        lead=examples.lead,
        as_of=examples.as_of,
        stage=snapshot.steps.stage,
        outcome=reached(history, examples.lead, examples.as_of),
        probability=model.predict_proba(snapshot),
        base=model.base_rate_.predict_proba(snapshot),
    )


def default_cut(history: History) -> int:
    """The cut that leaves a quarter of the time with known outcomes for judging.

    Raises
    ------
    TrainingError
        The history is not longer than two of the longest horizon.
    """
    horizon = max(history.funnel.horizons) * DAY
    first = int(history.known.min()) if len(history) else history.known_until
    ripe_time = history.known_until - horizon - first
    if ripe_time <= horizon:
        raise TrainingError(
            f"the history spans {(history.known_until - first) / DAY:.0f} days; to learn and to judge it must span "
            f"more than twice the longest horizon_days ({max(history.funnel.horizons)})"
        )
    return history.known_until - horizon - int(JUDGED_SHARE * ripe_time)
