"""The marketing funnel of Olist by an honest protocol: which leads sign within 90 days of their first contact.

Judged on the first entry of each lead into the funnel from May 2018 on: the one moment at which every lead is seen,
and at which nothing is known but where it came from. Learnt anew at the beginning of each week from what was known
then, for the leads of that week. Intervals are by bootstrap over leads. Prints a table and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from leadscore.backtest import judge, learn_until
from leadscore.errors import DataError, Problem
from leadscore.examples import Examples, known_by
from leadscore.history import DAY, History, read_history
from leadscore.history.zone import micros
from leadscore.labels import reached
from leadscore.metrics import Ordering, Resamples, auc, log_losses

if TYPE_CHECKING:
    from leadscore.history.line import Float64s, Int64s
    from leadscore.metrics import Interval

# The last leads came at the end of May. Wins within 90 days of January's were known by then.
BEGIN = micros(datetime(2018, 5, 1, tzinfo=ZoneInfo("America/Sao_Paulo")))
WEEK = 7 * DAY
RESAMPLES = 1_000
FIGURES = ("won", "mean_score", "auc", "log_loss", "base_log_loss", "log_loss_gain")
# Chance alone.
NO_ORDER = 0.5


def first_entries(history: History) -> Examples:
    """The moment at which each lead was first known, of those that were in the first stage then."""
    lead = np.arange(len(history))
    in_first = history.at(lead, history.known).steps.stage == 0
    return Examples(lead[in_first], history.known[in_first], np.zeros(np.count_nonzero(in_first), np.bool_))


@dataclass(frozen=True, slots=True)
class Entries:
    """Ripe first entries, each judged by a model that had learnt before it; all of shape (n,).

    Attributes
    ----------
    lead : ndarray of int64
        Position in the history.
    outcome, probability, base : ndarray of float64
        Whether it was won within the horizon; how likely the model said that was; and the share won of the first
        entries whose outcome was known when the model was learnt.
    """

    lead: Int64s
    outcome: Float64s
    probability: Float64s
    base: Float64s


def judged_entries(history: History, begin: int, n_jobs: int) -> Entries:
    """First entries at and after ``begin``, judged week by week.

    Raises
    ------
    TrainingError
        No label had ended by ``begin``.
    DataError
        No first entry at or after it is ripe.
    """
    entries = first_entries(history)
    outcome = reached(history, entries.lead, entries.as_of)
    ripe = ~np.isnan(outcome[:, -1])
    weeks = []
    for cut in range(begin, int(entries.as_of[ripe].max(initial=0)) + 1, WEEK):
        judged = ripe & (entries.as_of >= cut) & (entries.as_of < cut + WEEK)
        base = float(np.nanmean(known_by(outcome, entries.as_of, history.funnel, cut)[:, -1]))
        weeks.append(_judged_week(history, cut, entries.of(judged), base, n_jobs))
    if not weeks:
        fix = "Use the whole marketing funnel of Olist, with its end in known_until."
        raise DataError((Problem("leads", "created_at", "must hold ripe leads of May 2018", fix),))
    return Entries(*(np.concatenate([getattr(week, each.name) for week in weeks]) for each in fields(Entries)))


def _judged_week(history: History, cut: int, entries: Examples, base: float, n_jobs: int) -> Entries:
    judged = judge(history, learn_until(history, cut, n_jobs), entries)
    won = judged.reaching(len(history.funnel.later_stages) - 1)
    return Entries(won.lead, won.outcome, won.probability, np.full(len(won), base))


def with_intervals(judged: Entries, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """`FIGURES` by name, each with its 95 % interval over leads drawn with replacement."""
    outcome, probability = judged.outcome, judged.probability
    leads, ordering = Resamples.of(judged.lead, resamples), Ordering.of(outcome, probability)
    losses, base_losses = log_losses(outcome, probability), log_losses(outcome, judged.base)
    sums = leads.by_lead(
        np.column_stack((np.ones(len(outcome)), outcome, probability, losses, base_losses, base_losses - losses))
    )

    def figures(drawn: Float64s) -> Float64s:
        n, *totals = drawn @ sums
        won, score, *loss = np.array(totals) / n
        return np.array([won, score, auc(*ordering.counts(drawn.take(leads.place))), *loss])

    return dict(zip(FIGURES, leads.intervals(figures), strict=True))


def no_signal(figures: dict[str, Interval]) -> bool:
    """Whether chance alone could have given the order, or the base rate the probabilities: an interval holds them."""
    return not (figures["auc"].low > NO_ORDER and figures["log_loss_gain"].low > 0)


def line_of(n: int, figures: dict[str, Interval]) -> dict[str, float | bool]:
    """What the line of JSON says."""
    return {
        "n": n,
        "auc": figures["auc"].value,
        "auc_low": figures["auc"].low,
        "auc_high": figures["auc"].high,
        "log_loss": figures["log_loss"].value,
        "base_log_loss": figures["base_log_loss"].value,
        "no_signal": no_signal(figures),
    }


def main() -> None:
    """Read the arguments, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what data/olist/prepare.py has written")
    parser.add_argument("--n-jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    judged = judged_entries(read_history(arguments.folder), BEGIN, arguments.n_jobs)
    figures = with_intervals(judged)
    rows = [{"figure": name, "value": each.value, "low": each.low, "high": each.high} for name, each in figures.items()]
    print(f"{len(judged.lead)} leads, each at its first entry; won within 90 days")
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    print(json.dumps(line_of(len(judged.lead), figures)))


if __name__ == "__main__":
    main()
