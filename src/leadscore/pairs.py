"""What is served for each pair of current stage and stage to reach: order and level are judged apart.

A list is worked from the top, so trees are served where they order the leads of a morning better than chance, however
wrong their level is: a level can be put right. Where they do not, the base rate is served, however right the level is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from leadscore.examples import judging_examples, known_by, sampled
from leadscore.history import DAY
from leadscore.labels import reached
from leadscore.metrics import ALL, Resamples, WithinMornings, log_losses
from leadscore.metrics.probabilities import LEAST
from leadscore.model.pair import LEVEL_CORRECTED, LEVEL_ONLY, RANKS, UNKNOWN, Pair
from leadscore.model.stage import fit_calibration, fit_intercept

if TYPE_CHECKING:
    import pandas as pd

    from leadscore.backtest import Backtest
    from leadscore.history import History
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s
    from leadscore.metrics import Judged
    from leadscore.model import FunnelModel

log = logging.getLogger(__name__)

CHANCE = 0.5
# Nothing is said against an order that may lie so far above chance.
KNOWN_WITHIN = 0.1
# The latest mornings are those of so many days, or of as many as it takes to see enough outcomes; so many days apart.
LATEST_DAYS, EVERY_DAYS = (28, 56, 112, 224), 14
# Chance of a correction anywhere, though every level is right.
FALSE_ALARM = 0.01
# Examples that levels are taken from, at most about.
MOST_EXAMPLES = 50_000

Pairs = list[tuple[Pair, ...]]


def judged_pairs(past: Backtest, table: pd.DataFrame) -> Pairs:
    """What each pair is served by the order of the trees on later mornings.

    Parameters
    ----------
    table : DataFrame
        `leadscore.metrics.figures` of the backtest.

    Returns
    -------
    list of tuple of Pair
        For each later stage one for each current stage before it.
    """
    stages = past.judged.funnel.later_stages
    return [_pairs_of(past, table[table["stage"] == name], place) for place, name in enumerate(stages)]


def _pairs_of(past: Backtest, table: pd.DataFrame, place: int) -> tuple[Pair, ...]:
    """The pairs of one stage to reach."""
    least = past.judged.funnel.lightgbm.min_outcome_leads
    with_trees = _by_trees(past, place)
    judged = past.judged.of(with_trees)
    rows = {str(row["current"]): row for row in table.to_dict("records")}

    def order(current: int | None) -> Pair:
        row = rows[ALL if current is None else past.judged.funnel.stages[current]]
        if with_trees.all() and not np.isnan(row.get("order_least", np.nan)):
            found = [row[each] for each in ("order", "order_least", "order_most", "order_reached", "order_not_reached")]
        else:
            within = WithinMornings.of(judged.reaching(place, current), judged.funnel.judging.resamples).order()
            found = [within.interval.value, *within[1:]]
        value, low, high, n_reached, n_not = found
        unknown = Pair(UNKNOWN, trees=False, order=value, order_least=low, order_most=high)
        return _by_order(replace(unknown, n_reached=int(n_reached), n_not_reached=int(n_not)), least)

    whole = order(None)
    pairs = [order(current) for current in range(place + 1)]
    if whole.state == RANKS:
        pairs = [replace(pair, trees=True) if pair.state == UNKNOWN else pair for pair in pairs]
    return tuple(_with_line(pair, judged, place, current) if pair.trees else pair for current, pair in enumerate(pairs))


def _by_trees(past: Backtest, place: int) -> Bools:
    """Which examples were judged by trees: earlier models may have had too few outcomes."""
    with_trees = np.array([not model.stages_[place].fallback for model in past.models])
    found: Bools = with_trees[np.array(past.cuts).searchsorted(past.judged.as_of, side="right") - 1]
    return found


def _by_order(pair: Pair, least: int) -> Pair:
    """What its order says of a pair."""
    if not min(pair.n_reached, pair.n_not_reached) >= least:
        return pair
    if pair.order_least > CHANCE:
        return replace(pair, state=RANKS, trees=True)
    return replace(pair, state=LEVEL_ONLY) if pair.order_most <= CHANCE + KNOWN_WITHIN else pair


def _with_line(pair: Pair, judged: Judged, place: int, current: int) -> Pair:
    """The pair with a flatter line of its log odds where the trees are so sure that base rates are clearly better."""
    known = judged.reaching(place, current)
    losses = [log_losses(known.outcome, each) for each in (known.probability, known.base)]
    leads = Resamples.of(known.lead, judged.funnel.judging.resamples)
    if not len(known) or not leads.mean(losses[1] - losses[0]).clearly_below():
        return pair
    slope, intercept = fit_calibration(_log_odds(known.probability), known.outcome)
    return replace(pair, slope=slope, intercept=intercept) if slope < 1 else pair


def _log_odds(probability: Float64s) -> Float64s:
    found: Float64s = logit(np.clip(probability, LEAST, 1 - LEAST))
    return found


def as_served(past: Backtest, pairs: Pairs) -> Backtest:
    """A backtest with the probabilities that would have been served: base rates where trees are not, and slopes.

    Levels are as the models of the cuts had them.
    """
    judged = past.judged
    probability = judged.probability.copy()
    for place, each in enumerate(pairs):
        for current, pair in enumerate(each):
            rows = judged.stage == current
            if not pair.trees:
                probability[rows, place] = judged.base[rows, place]
            elif pair.slope != 1:
                probability[rows, place] = expit(pair.slope * _log_odds(probability[rows, place]) + pair.intercept)
    return replace(past, judged=replace(judged, probability=probability))


@dataclass(frozen=True, slots=True)
class _Level:
    """What a model predicts on average on the latest mornings of a pair, and the share that reached."""

    predicted: float
    observed: float
    off: float
    clear: bool


@dataclass(frozen=True, slots=True)
class _Latest:
    """The leads open on mornings whose outcomes have lately become known, and what a model says of them."""

    model: FunnelModel
    lead: Int64s
    stage: Int64s
    outcome: Float32s
    log_odds: Float64s
    days_ago: Float64s

    @classmethod
    def of(cls, history: History, model: FunnelModel, until: int) -> Self:
        """Those before a moment; ``days_ago`` counts, for each stage, from the last whose outcome was known by then."""
        horizons = np.array(history.funnel.horizons) * DAY
        examples = judging_examples(history, until - int(horizons.max()) - LATEST_DAYS[-1] * DAY, EVERY_DAYS)
        examples = sampled(history, examples.of(examples.as_of <= until - horizons.min()), MOST_EXAMPLES)
        outcome = known_by(reached(history, examples.lead, examples.as_of), examples.as_of, history.funnel, until)
        days_ago = (until - horizons - examples.as_of[:, None]) / DAY
        known = np.any(~np.isnan(outcome) & (days_ago < LATEST_DAYS[-1]), axis=1)
        examples, outcome, days_ago = examples.of(known), outcome[known], days_ago[known]
        snapshot = history.at(examples.lead, examples.as_of)
        predicted = _log_odds(model.predict_proba(snapshot))
        return cls(model, examples.lead, snapshot.steps.stage, outcome, predicted, days_ago)

    def level(self, place: int, current: int, limit: float) -> _Level | None:
        """What was predicted and observed for a pair on the latest mornings; None where outcomes are too few."""
        known = (self.stage == current) & ~np.isnan(self.outcome[:, place])
        for days in LATEST_DAYS:
            rows = np.flatnonzero(known & (self.days_ago[:, place] < days))
            if self._enough(self.lead[rows], self.outcome[rows, place]):
                return _level(self.lead[rows], self.log_odds[rows, place], self.outcome[rows, place], limit)
        return None

    def _enough(self, lead: Int64s, outcome: Float32s) -> bool:
        leads = [len(np.unique(lead[outcome == value])) for value in (0, 1)]
        return min(leads) >= self.model.funnel.lightgbm.min_outcome_leads


def _level(lead: Int64s, log_odds: Float64s, outcome: Float32s, limit: float) -> _Level:
    observed, predicted = outcome.astype(np.float64), expit(log_odds)
    # A lead stands in several mornings: what its examples are off by is one error.
    per_lead = np.bincount(np.unique(lead, return_inverse=True)[1], predicted - observed)
    clear = abs(float(per_lead.sum())) > limit * float(np.sqrt(np.sum(per_lead**2)))
    return _Level(float(predicted.mean()), float(observed.mean()), fit_intercept(log_odds, observed), clear)


def _levels(history: History, model: FunnelModel, until: int) -> dict[tuple[int, int], _Level]:
    """The level of each pair (place, current) on the latest mornings known by a moment, where outcomes are enough."""
    pairs = [(place, current) for place in range(len(model.stages_)) for current in range(place + 1)]
    limit = float(norm.isf(FALSE_ALARM / (2 * len(pairs))))
    latest = _Latest.of(history, model, until)
    levels = ((pair, latest.level(*pair, limit)) for pair in pairs)
    return {pair: level for pair, level in levels if level is not None}


def level_corrected(
    history: History, model: FunnelModel, until: int, only: set[tuple[int, int]] | None = None
) -> FunnelModel:
    """The model with its level put right on the latest mornings whose outcomes were known by a moment.

    Parameters
    ----------
    only : set of (int, int), optional
        Pairs (stage to reach, current stage) to correct, whether they are clearly off or not; by default those that
        clearly are.
    """
    levels = _levels(history, model, until)
    pairs = [list(each) for each in model.pairs()]
    for (place, current), level in levels.items():
        if level.clear if only is None else (place, current) in only:
            pairs[place][current] = _with_level(pairs[place][current], level)
    return model.serving([tuple(each) for each in pairs])


def _with_level(pair: Pair, level: _Level) -> Pair:
    state = LEVEL_CORRECTED if pair.state == RANKS else pair.state
    return replace(pair, state=state, level=level.off, predicted=level.predicted, observed=level.observed)


def corrections(model: FunnelModel) -> set[tuple[int, int]]:
    """The pairs (stage to reach, current stage) whose level was put right."""
    return {
        (place, current)
        for place, pairs in enumerate(model.pairs())
        for current, pair in enumerate(pairs)
        if pair.level
    }


def helped_before(history: History, past: Backtest, pairs: Pairs) -> set[tuple[int, int]]:
    """Pairs of which corrections in the past, if any would have been made at the cuts, made later outcomes likelier."""
    judged, ends = past.judged, (*past.cuts[1:], history.known_until + 1)
    gain = np.zeros((len(pairs), len(pairs)))
    for model, cut, end in zip(past.models, past.cuts, ends, strict=True):
        served = model.serving(pairs)
        corrected = level_corrected(history, served, cut)
        moved = corrections(corrected)
        if not moved:
            continue
        rows = (judged.as_of >= cut) & (judged.as_of < end) & ~np.isnan(judged.outcome).all(axis=1)
        snapshot = history.at(judged.lead[rows], judged.as_of[rows])
        before, after = (each.predict_proba(snapshot) for each in (served, corrected))
        for place, current in moved:
            known = (judged.stage[rows] == current) & ~np.isnan(judged.outcome[rows, place])
            outcome = judged.outcome[rows][known, place].astype(np.float64)
            losses = [log_losses(outcome, each[known, place]).sum() for each in (before, after)]
            gain[place, current] += losses[0] - losses[1]
    return {(place, current) for place, current in np.argwhere(gain >= 0).tolist()}


def served_pairs(history: History, past: Backtest, model: FunnelModel, pairs: Pairs) -> FunnelModel:
    """The model to serve: of each pair what its order allows, at a level that is right on the latest mornings.

    A level is put right where it is clearly wrong, and where to do the same at the cuts of the backtest would not have
    made the outcomes of the mornings after less likely: a level that swings with the season is better left.
    """
    served = model.serving(pairs)
    corrected = level_corrected(history, served, history.known_until)
    moved = corrections(corrected)
    if moved:
        moved &= helped_before(history, past, pairs)
        corrected = level_corrected(history, served, history.known_until, moved) if moved else served
    for place, current in sorted(moved):
        log.info("%s from %s: level corrected", model.funnel.later_stages[place], model.funnel.stages[current])
    return corrected
