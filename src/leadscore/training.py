"""Learning from a history: the recipe is judged on later time first, and what that finds goes into the model."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadscore.backtest import backtest, default_cuts, learn, side_by_side
from leadscore.drift import drift
from leadscore.examples import learning_examples
from leadscore.findings import findings
from leadscore.labels import reached
from leadscore.peers import peers

if TYPE_CHECKING:
    from leadscore.backtest import Backtest
    from leadscore.drift import Drift
    from leadscore.findings import Findings
    from leadscore.history import History
    from leadscore.model import FunnelModel
    from leadscore.peers import Peer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training run gives: the model to serve, and how good its recipe is.

    Attributes
    ----------
    model : FunnelModel
        Learnt from every ripe example. A stage without signal is served its base rate.
    n_examples : int
        How many those are.
    backtest : Backtest
        The same recipe judged on later time.
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
    model, found = found.serving(model)
    for warning in found.warnings:
        log.warning("%s", warning)
    moved = drift(history, past.judged)
    log.log(logging.WARNING if moved.findings else logging.INFO, "%s", moved)
    n_ripe = int(np.count_nonzero(~np.isnan(outcome).all(axis=1)))
    log.info("learnt from %d ripe examples of %d leads", n_ripe, len(np.unique(examples.lead)))
    return Trained(model, n_ripe, past, found, peers(history, past, n_jobs), moved)
