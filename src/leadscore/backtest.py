"""The recipe judged on time that it has not seen: learnt at cuts in the past, judged on the mornings from there on."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from leadscore.errors import TrainingError
from leadscore.examples import judging_examples, known_by, learning_examples, sampled, settings_to_learn
from leadscore.history import DAY
from leadscore.labels import reached
from leadscore.metrics import Judged
from leadscore.model import FunnelModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor

    from leadscore.config import Funnel
    from leadscore.examples import Examples
    from leadscore.history import History, Snapshot
    from leadscore.history.line import Float32s, Int64s

log = logging.getLogger(__name__)

# Share of the time with known outcomes that is kept for judging.
JUDGED_SHARE = 0.25
LEAST_BETWEEN_CUTS = 7 * DAY
# The category that says who works a lead.
OWNER = "owner"


@dataclass(frozen=True, slots=True)
class Backtest:
    """The recipe, learnt from what was known at each of several cuts and judged on the mornings from there on.

    Attributes
    ----------
    cuts : tuple of int
        Microseconds since 1970 UTC, ascending.
    models : tuple of FunnelModel
        One per cut; each learnt from examples whose label had ended by its cut.
    judged : Judged
        All leads open on each of a series of mornings: the probabilities that the model of the latest cut gave,
        beside what happened.
    examples : Examples
        What the models had to learn from, each up to its cut.
    """

    cuts: tuple[int, ...]
    models: tuple[FunnelModel, ...]
    judged: Judged
    examples: Examples


def _with_capacity(funnel: Funnel, share: float) -> Funnel:
    """The settings for a sample of the leads, which so much of the capacity is for."""
    capacity = max(1, round(share * funnel.owner.capacity))
    return funnel.model_copy(update={"owner": funnel.owner.model_copy(update={"capacity": capacity})})


@contextmanager
def side_by_side(n_jobs: int) -> Iterator[Executor]:
    """Threads for fits that take one each: several threads of one fit wait for each other time and again."""
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(n_jobs) as pool:
        yield pool


def backtest(
    history: History,
    cuts: Sequence[int],
    n_jobs: int,
    examples: Examples | None = None,
    pool: Executor | None = None,
) -> Backtest:
    """Learn, for each cut, from examples whose label ends by it; judge on the mornings from it to the next cut.

    A lead may be on both sides; no label interval is: learnt are ``as_of + horizon <= cut``, judged
    ``as_of >= cut``, per stage with its own horizon.

    Parameters
    ----------
    pool : Executor, optional
        Of `side_by_side`, shared with other fits; by default ``n_jobs`` threads of its own.

    Raises
    ------
    TrainingError
        Nothing is ripe on one side of a cut.
    """
    if pool is None:
        with side_by_side(n_jobs) as own:
            return backtest(history, cuts, n_jobs, examples, own)
    examples = learning_examples(history) if examples is None else examples
    to_judge = judging_examples(history, cuts[0])
    share = min(1.0, history.funnel.judging.max_examples / max(len(to_judge), 1))
    to_judge = sampled(history, to_judge, history.funnel.judging.max_examples)

    def at(cut: int, end: int, first: FunnelModel | None = None) -> tuple[FunnelModel, Judged]:
        model = learn_until(history, cut, 1, examples, with_reasons=False, rounds_from=first)
        return model, judge(history, model, to_judge.of((to_judge.as_of >= cut) & (to_judge.as_of < end)))

    spans = list(zip(cuts, (*cuts[1:], history.known_until + 1), strict=True))
    # As many trees as at the first cut: to find their number anew at each takes longer and changes little.
    first = pool.submit(at, *spans[0]).result()
    later = [pool.submit(at, *span, first[0]) for span in spans[1:]]
    models, parts = zip(first, *(each.result() for each in later), strict=True)
    judged = Judged.joined(parts)
    if share < 1:
        log.info("judged on the examples of %.0f %% of the leads, and so much of the capacity", 100 * share)
        judged = replace(judged, funnel=_with_capacity(judged.funnel, share))
    if np.isnan(judged.outcome).all():
        raise TrainingError("no outcome is known on any morning after the cut: the history is too short to judge on")
    return Backtest(tuple(cuts), models, judged, examples)


def learn_until(
    history: History,
    cut: int,
    n_jobs: int,
    examples: Examples | None = None,
    *,
    with_reasons: bool = True,
    rounds_from: FunnelModel | None = None,
) -> FunnelModel:
    """A model that has learnt from labels that ended by ``cut``, and from nothing else.

    Parameters
    ----------
    with_reasons, rounds_from
        As for `FunnelModel.fit`.

    Raises
    ------
    TrainingError
        No label had ended.
    """
    examples = learning_examples(history) if examples is None else examples
    examples = examples.of(examples.as_of <= cut)
    outcome = known_by(reached(history, examples.lead, examples.as_of), examples.as_of, history.funnel, cut)
    log.info("learning from %d examples known by the cut", np.count_nonzero(~np.isnan(outcome).all(axis=1)))
    return learn(history, examples, outcome, n_jobs, with_reasons=with_reasons, rounds_from=rounds_from)


def learn(
    history: History,
    examples: Examples,
    outcome: Float32s,
    n_jobs: int,
    *,
    with_reasons: bool = True,
    rounds_from: FunnelModel | None = None,
) -> FunnelModel:
    """A model that has learnt the outcomes of examples, those that are not NaN."""
    snapshot = history.at(examples.lead, examples.as_of)
    weight = examples.weights(history.funnel.examples.first_weight)
    model = FunnelModel(settings_to_learn(history, examples), n_jobs)
    return model.fit(snapshot, outcome, weight, examples.on_morning, with_reasons=with_reasons, rounds_from=rounds_from)


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
        owner=_owner(snapshot),
        n_known=snapshot.n_known(),
        outcome=reached(history, examples.lead, examples.as_of),
        probability=model.predict_proba(snapshot),
        base=model.base_rate_.predict_proba(snapshot),
    )


def _owner(snapshot: Snapshot) -> Int64s:
    owned = OWNER in snapshot.vocabulary.categories
    return snapshot.category(OWNER).astype(np.int64) if owned else np.zeros(len(snapshot), np.int64)


def default_cuts(history: History) -> tuple[int, ...]:
    """Cuts at equal distances in the last quarter of the time with known outcomes.

    Raises
    ------
    TrainingError
        The history is not longer than two of the longest horizon.
    """
    horizon = max(history.funnel.horizons) * DAY
    first = max(int(history.known.min()), history.begins) if len(history) else history.known_until
    ripe_time = history.known_until - horizon - first
    if ripe_time <= horizon:
        if first >= history.known_until or not len(history):
            raise TrainingError(
                "no lead was known by the end of the recorded history, or none after history_begins: check known_until "
                "and history_begins in [time]"
            )
        raise TrainingError(
            f"the history spans {(history.known_until - first) / DAY:.0f} days; to learn and to judge it must span "
            f"more than twice the longest horizon_days ({max(history.funnel.horizons)})"
        )
    judged_time = int(JUDGED_SHARE * ripe_time)
    n = max(1, min(history.funnel.judging.cuts, judged_time // LEAST_BETWEEN_CUTS))
    return tuple(history.known_until - horizon - judged_time * left // n for left in range(n, 0, -1))
