"""Learning from a history: the recipe is judged on later time first, and what that finds goes into the model."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.backtest import backtest, default_cuts, learn, side_by_side
from leadscore.drift import drift
from leadscore.examples import learning_examples
from leadscore.findings import findings
from leadscore.labels import reached
from leadscore.model.funnel_model import GRADED_EXAMPLES
from leadscore.model.stage import is_at_bound
from leadscore.pairs import CHANCE, as_served, served_pairs
from leadscore.peers import BASE_RATE, LOGISTIC, peers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.backtest import Backtest
    from leadscore.drift import Drift
    from leadscore.examples import Examples
    from leadscore.findings import Findings
    from leadscore.history import History
    from leadscore.model import FunnelModel
    from leadscore.model.grades import Grades
    from leadscore.peers import Peer

log = logging.getLogger(__name__)

# The baselines that no model may be clearly behind, as they are named in sentences.
WITH_ARTICLE = {BASE_RATE: "the base rate", LOGISTIC: "a logistic regression"}


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training run gives: the model to serve, and how good its recipe is.

    Attributes
    ----------
    model : FunnelModel
        Learnt from every ripe example. Trees are served where they order leads, at a level that was right lately.
    n_examples : int
        How many those are.
    backtest : Backtest
        The same recipe judged on later time, with the probabilities that it would have served.
    findings : Findings
        What that showed.
    peers : tuple of Peer
        The baselines on the same examples.
    drift : Drift
        What moved between the latest time and the time before.
    """

    model: FunnelModel
    n_examples: int
    backtest: Backtest
    findings: Findings
    peers: tuple[Peer, ...]
    drift: Drift


def train(history: History, n_jobs: int) -> Trained:
    """Judge the recipe on later time, then learn from everything that is ripe.

    Raises
    ------
    TrainingError
        The history is too short to learn from one part and judge on a later one.
    """
    examples, cuts = learning_examples(history), default_cuts(history)
    outcome = reached(history, examples.lead, examples.as_of)
    with side_by_side(n_jobs) as pool:
        learnt = pool.submit(learn, history, examples, outcome, 1)
        past = backtest(history, cuts, n_jobs, examples, pool)
        model = learnt.result()
    model.n_jobs = n_jobs
    found = findings(history, past, n_jobs)
    model = served_pairs(history, past, model, found.pairs)
    if any(pair.corrected or not pair.trees for pairs in model.pairs() for pair in pairs):
        model.grades_ = _graded(history, model, examples)
    found = found.about(model)
    moved = drift(history, past.judged)
    past = as_served(past, found.pairs)
    for warning in found.warnings:
        log.warning("%s", warning)
    log.log(logging.WARNING if moved.findings else logging.INFO, "%s", moved)
    baselines = peers(history, past, n_jobs)
    model.doubts_ = doubts(model, found, baselines)
    n_ripe = int(np.count_nonzero(~np.isnan(outcome).all(axis=1)))
    log.info("learnt from %d ripe examples of %d leads", n_ripe, len(np.unique(examples.lead)))
    return Trained(model, n_ripe, past, found, baselines, moved)


def _graded(history: History, model: FunnelModel, examples: Examples) -> Grades:
    """Grades by the probabilities that are served, of leads on past mornings."""
    listed = examples.of(examples.on_morning)
    rows = slice(None, None, max(1, len(listed) // GRADED_EXAMPLES))
    snapshot = history.at(listed.lead[rows], listed.as_of[rows])
    return model.graded(snapshot, model.predict_proba(snapshot)).or_else(model.grades_)


def doubts(model: FunnelModel, found: Findings, baselines: Sequence[Peer]) -> tuple[str, ...]:
    """What the gate would hold the model back for, whatever champion it were compared with; in sentences.

    The first champion goes into service without a gate, so whoever is served its probabilities is warned with these.
    """
    stages = zip(model.funnel.later_stages, model.stages_, strict=True)
    at_bound = [name for name, stage in stages if not stage.serves_base_rate and is_at_bound(stage.slope)]
    sentences = [f"the calibration of {name} stands at its bound, so no slope was found" for name in at_bound]
    overall = found.overall
    if model.boosters() and not overall.get("order_least", math.nan) > CHANCE:
        sentences.append(f"on later mornings it orders leads no better than chance (order {overall['order']:.3f})")
    for peer in baselines:
        gains = {"log loss": peer.loss_gain, "precision at capacity": peer.precision_gain}
        behind = [what for what, gain in gains.items() if gain.clearly_below()]
        if peer.name in WITH_ARTICLE and behind:
            sentences.append(f"on later mornings {WITH_ARTICLE[peer.name]} is clearly better in {' and '.join(behind)}")
    return (*(str(leak) for leak in found.leaks), *sentences)
