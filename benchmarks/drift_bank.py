"""The bank's calls rolled month by month: trained on what was known at the beginning of each, judged on the month.

Bank marketing calls (Moro, Cortez, Rita, A data-driven approach to predict the success of bank telemarketing, Decision
Support Systems 62, 2014), in a data set folder with an invented call each hour. Nothing of it is in the repository.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from leadscore.backtest import backtest, default_cuts, judge, learn_until
from leadscore.drift import drift
from leadscore.examples import judging_examples, learning_examples
from leadscore.findings import findings
from leadscore.gate.comparison import day
from leadscore.history import DAY, read_history
from leadscore.labels import reached
from leadscore.metrics import Judged, Resamples, log_loss, log_losses, precision_difference, worked
from leadscore.pairs import served_pairs
from leadscore.peers import logistic_until

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.drift import Drift
    from leadscore.history import History
    from leadscore.history.line import Float64s
    from leadscore.model import FunnelModel

MONTHS, MONTH = 12, int(365.25 / 12 * DAY)
LATEST = 28 * DAY


@dataclass(frozen=True, slots=True)
class Month:
    """A model of what was known at the beginning of a month, on the leads of the month."""

    begin: int
    model: FunnelModel
    judged: Judged
    logistic: Float64s
    latest_rate: float
    drift: Drift

    def __str__(self) -> str:
        known = ~np.isnan(self.judged.outcome[:, -1])
        outcome, said, by_logistic = (
            each[known, -1].astype(np.float64) for each in (self.judged.outcome, self.judged.probability, self.logistic)
        )
        pair, stage = self.model.pairs()[-1][0], self.model.stages_[-1]
        losses = [log_loss(outcome, each) for each in (said, by_logistic)]
        rates = f"said {said.mean():.1%}, came {outcome.mean():.1%}, before {self.latest_rate:.1%}"
        return (
            f"{day(self.begin)}: log loss {losses[0]:.3f}, logistic regression {losses[1]:.3f}; {rates}; {pair.state}, "
            f"trees {stage.mix.weight:.0%}; {self.drift.advice}"
        )


def rolled(folder: Path, n_jobs: int) -> list[Month]:
    """The last twelve months whose outcomes are known."""
    history = read_history(folder)
    end = history.known_until - max(history.funnel.horizons) * DAY
    return [month(history, end - left * MONTH, n_jobs) for left in range(MONTHS, 0, -1)]


def month(history: History, begin: int, n_jobs: int) -> Month:
    """Train as of the beginning of a month as `make train` does, with one cut; judge each lead of it once."""
    then = replace(history, known_until=begin)
    past = backtest(then, default_cuts(then)[-1:], n_jobs)
    model = learn_until(then, begin, n_jobs)
    model = served_pairs(then, past, model, findings(then, past, n_jobs).pairs)
    examples = judging_examples(history, begin, every_days=1)
    examples = examples.of(examples.as_of < begin + MONTH)
    _, first = np.unique(examples.lead, return_index=True)
    is_first = np.zeros(len(examples), np.bool_)
    is_first[first] = True
    examples = examples.of(is_first & (history.known[examples.lead] >= begin - DAY))
    snapshot = history.at(examples.lead, examples.as_of)
    logistic = logistic_until(then, learning_examples(then), begin, n_jobs).predict_proba(snapshot)
    lately = judging_examples(then, begin - max(history.funnel.horizons) * DAY - LATEST, every_days=1)
    outcome = reached(then, lately.lead, lately.as_of)[:, -1]
    return Month(
        begin, model, judge(history, model, examples), logistic, float(np.nanmean(outcome)), drift(then, past.judged)
    )


def summary(months: list[Month]) -> dict[str, Any]:
    """All months together: log loss, precision at capacity and level, beside a logistic regression."""
    judged = Judged.joined([each.judged for each in months])
    order = np.lexsort(
        (np.concatenate([each.judged.as_of for each in months]), np.concatenate([each.judged.lead for each in months]))
    )
    logistic = np.concatenate([each.logistic for each in months])[order]
    known = ~np.isnan(judged.outcome[:, -1])
    outcome, ours, theirs = (
        each[known, -1].astype(np.float64) for each in (judged.outcome, judged.probability, logistic)
    )
    leads = Resamples.of(judged.lead[known], judged.funnel.judging.resamples)
    loss = leads.mean(log_losses(outcome, ours) - log_losses(outcome, theirs))
    capacity = precision_difference(
        judged, *(worked(judged, each[:, -1]).rows for each in (judged.probability, logistic))
    )
    return {
        "log_loss": round(log_loss(outcome, ours), 4),
        "logistic_log_loss": round(log_loss(outcome, theirs), 4),
        "log_loss_difference": [round(each, 4) for each in (loss.value, loss.low, loss.high)],
        "capacity_difference": round(capacity.value, 4),
        "capacity_low": round(capacity.low, 4),
        "capacity_high": round(capacity.high, 4),
        "said": round(float(ours.mean()), 4),
        "came": round(float(outcome.mean()), 4),
    }
