"""The reasons for a probability, from exact contributions of the trees and of what is mixed with them.

LightGBM gives the contribution of each column to the margin (Lundberg, Erion, Lee, Consistent individualized feature
attribution for tree ensembles, 2018, section 3); they and the trees' expected value sum to it. Columns that say much
the same are one topic, whose contributions are added up.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from math import fsum
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit

from leadscore.explain.base_rates import base_rate_notes
from leadscore.explain.grounds import Grounds, Row
from leadscore.features import matrix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leadscore.explain.wording import Words
    from leadscore.features import Column
    from leadscore.history import Snapshot
    from leadscore.history.line import Float32s, Float64s, Int64s
    from leadscore.model import FunnelModel

# Each way.
MOST_REASONS = 5
# In log odds; a probability of a half moves by half a percentage point.
LEAST = 0.02
# A topic may be said by a column that contributes at least this share of what its largest one does.
SHARE_OF_LARGEST = 0.5
# A number that differs less than this from the typical one, as a share of the larger, is as good as typical.
NEAR = 0.1
# Contributions of one booster from several threads at once are wrong.
_CONTRIBUTING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason for a probability.

    Attributes
    ----------
    topic : str
        What it is about: that of its columns in the catalogue.
    column : str
        The column that the sentence is about.
    sentence : str
        The observed value, and what is typical of the leads at the same stage.
    contribution : float
        Of all columns of the topic, in log odds; positive speaks for the lead.
    observed, typical : float
        Value of the column, a code for a category; NaN where there is none.
    """

    topic: str
    column: str
    sentence: str
    contribution: float
    observed: float
    typical: float


@dataclass(frozen=True)
class Reasons:
    """Why one lead has its probability of reaching one stage.

    ``base``, the contributions of all reasons and ``everything_else`` sum to ``margin``.

    Attributes
    ----------
    stage : str
        The stage to reach.
    probability : float
        As served; NaN where the stage is already passed or the lead is closed.
    base : float
        Where every lead starts, in log odds.
    towards, against : tuple of Reason
        Up to `MOST_REASONS` each way, largest first; none where the base rate is served.
    everything_else : float
        What all topics contribute that are no reason.
    margin : float
        Log odds of the stage's own trees; NaN where the probability is.
    bounded : bool
        Whether the probability is lower than the margin says, because that of an earlier stage with no shorter a
        horizon is.
    fallback : bool
        Whether the base rate is served, so that there are no reasons.
    note : str
        What the base rate is of, where it is served; else empty.
    row : Row, optional
        What the reasons were drawn from; None where there are none.
    """

    stage: str
    probability: float
    base: float
    towards: tuple[Reason, ...]
    against: tuple[Reason, ...]
    everything_else: float
    margin: float
    bounded: bool
    fallback: bool
    note: str = ""
    row: Row | None = field(default=None, repr=False, compare=False)


def explain(model: FunnelModel, snapshot: Snapshot, place: int) -> list[Reasons]:
    """Reasons for the probability of each lead to reach one stage.

    Parameters
    ----------
    place : int
        Place of the stage among ``model.funnel.later_stages``.

    Raises
    ------
    ModelError
        The leads are of another funnel than the model.
    """
    probability = model.predict_proba(snapshot)[:, place]
    name, learnt = model.funnel.later_stages[place], model.stages_[place]
    by_trees = learnt.serves_trees(snapshot.steps.stage, place)
    reasons = [_without(name, float(each)) for each in probability]
    if not by_trees.all():
        rest = np.flatnonzero(~by_trees)
        for row, note in zip(rest, base_rate_notes(model, snapshot[rest], place), strict=True):
            reasons[row] = _without(name, float(probability[row]), note)
    rows = np.flatnonzero(by_trees)
    if len(rows):
        grounds = Grounds(model, place, model.columns_)
        coded = snapshot[rows].coded(model.vocabulary_)
        X = matrix(model.features_, coded, model.n_jobs)
        for row, each in zip(rows, _explained(grounds, X, coded.steps.stage, probability[rows]), strict=True):
            reasons[row] = each
    return reasons


def _without(name: str, probability: float, note: str = "") -> Reasons:
    """No reasons: the stage is passed or, with a note, its base rate is served."""
    margin = float(logit(probability))
    return Reasons(name, probability, margin, (), (), 0.0, margin, bounded=False, fallback=bool(note), note=note)


def _explained(grounds: Grounds, X: Float32s, stage: Int64s, probability: Float64s) -> Iterator[Reasons]:
    base, contribution, margin = contributions(grounds.model, grounds.place, X, stage)
    topics = grounds.by_topic(contribution)
    candidates = _candidates(grounds, X, stage, contribution, topics)
    lowered = probability < expit(margin)
    for lead in range(len(X)):
        row = Row(grounds, int(stage[lead]), X[lead], contribution[lead])
        towards, against, rest = _chosen(row, topics[lead], candidates[lead])
        yield Reasons(
            stage=grounds.model.funnel.later_stages[grounds.place],
            probability=float(probability[lead]),
            base=float(base[lead]),
            towards=towards,
            against=against,
            everything_else=rest,
            margin=float(margin[lead]),
            bounded=bool(lowered[lead]),
            fallback=False,
            row=row,
        )


def contributions(model: FunnelModel, place: int, X: Float32s, stage: Int64s) -> tuple[Float64s, Float64s, Float64s]:
    """Where each lead starts, what each column adds to that, and where it ends; calibrated log odds.

    Shapes: (n_leads,), (n_leads, n_columns) and (n_leads,). Leads in one current stage start from the same.
    """
    learnt = model.stages_[place]
    if learnt.booster is None:
        raise ValueError("there are no trees to explain")
    with _CONTRIBUTING:
        raw = np.asarray(learnt.booster.predict(X, pred_contrib=True, num_threads=model.n_jobs), np.float64)
    base, added = raw[:, -1], raw[:, :-1]
    if model.linear_ is not None and learnt.mix.weight != 1:
        of_linear, by_linear = model.linear_.contributions(X, place, added.shape[1])
        base, added = learnt.mix.of(base, np.full(len(X), of_linear)), learnt.mix.of(added, by_linear)
    # Of the margin itself rather than the sum of the contributions, so that the sum can be checked.
    margin = learnt.log_odds(model.margin(place, X), stage)
    return learnt.log_odds(base, stage), learnt.slopes(stage)[:, None] * added, margin


def _candidates(
    grounds: Grounds, X: Float32s, stage: Int64s, contribution: Float64s, topics: Float64s
) -> list[dict[int, list[int]]]:
    """Per lead and topic, the columns that may say it: largest first, but none that adds far less than the largest."""
    share = contribution * np.sign(topics)[:, grounds.topic_of]
    least = SHARE_OF_LARGEST * grounds.by_topic(share, np.maximum)[:, grounds.topic_of]
    lead, column = np.nonzero(grounds.sayable(X, stage, contribution) & (share >= least) & (share > 0))
    order = np.lexsort((column, -share[lead, column], lead))
    candidates: list[dict[int, list[int]]] = [{} for _ in X]
    for row, place in zip(lead[order].tolist(), column[order].tolist(), strict=True):
        candidates[row].setdefault(int(grounds.topic_of[place]), []).append(place)
    return candidates


def _chosen(
    row: Row, topics: Float64s, candidates: dict[int, list[int]]
) -> tuple[tuple[Reason, ...], tuple[Reason, ...], float]:
    """Reasons for, reasons against, and what all other topics contribute."""
    ways: dict[bool, list[Reason]] = {True: [], False: []}
    said: set[tuple[str, float]] = set()
    rest = []
    # A stable sort: equal contributions are in order of the catalogue.
    for topic in np.argsort(-np.abs(topics), kind="stable").tolist():
        contribution = float(topics[topic])
        way = ways[contribution > 0]
        reason = None
        if abs(contribution) >= LEAST and len(way) < MOST_REASONS:
            reason = _reason(row, contribution, candidates.get(topic, []), said)
        if reason is None:
            rest.append(contribution)
        else:
            way.append(reason)
    return tuple(ways[True]), tuple(ways[False]), fsum(rest)


def _reason(row: Row, contribution: float, candidates: list[int], said: set[tuple[str, float]]) -> Reason | None:
    """The reason that a topic gives, by the first of its candidates that says something new; None without one.

    ``said`` holds what the reasons before have said, and is added to.
    """
    grounds = row.grounds
    for place in candidates:
        column, words = grounds.columns[place], grounds.words[place]
        observed, typical = float(row.value[place]), grounds.typical[row.current][place]
        if words is None or _as_typical(column, words, observed, typical):
            continue
        # The last touch and the last inbound touch may be the same, and so may the touches of a window.
        fact = (words.aspect, observed)
        if words.aspect and fact in said:
            continue
        said.add(fact)
        sentence = words.full(observed) if column.name == "stage" else words.sentence(observed, typical)
        return Reason(column.topic, column.name, sentence, contribution, observed, typical)
    return None


def _as_typical(column: Column, words: Words, observed: float, typical: float) -> bool:
    """Whether a number is nearly the typical one, or reads like it."""
    if column.names or column.name == "stage":
        return False
    near = abs(observed - typical) < NEAR * max(abs(observed), abs(typical))
    return near or words.short(observed) == words.short(typical)
