"""BPI Challenge 2012 by an honest protocol: who is approved within 30 days of entering a stage.

Learnt from what was known on 2012-01-10, judged on the first entries into each stage from then on that are ripe
by the end of the log. The same model and baselines also order the list of the handoff, on every morning of that time,
for as many contacts as `funnel.toml` says. Prints tables and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leadscore.backtest import Backtest, judge, learn_until
from leadscore.examples import Examples, judging_examples, known_by, learning_examples
from leadscore.funnel import open_stays
from leadscore.history import History, read_history
from leadscore.history.zone import micros
from leadscore.labels import reached
from leadscore.metrics import Ordering, Resamples, auc, calibration_error, log_loss, log_losses, worked
from leadscore.peers import peers, scores_of

if TYPE_CHECKING:
    from leadscore.metrics import Judged, Worked

RESAMPLES = 1_000
# Capacity is leads in a day: a list that is worked on fewer mornings would leave days without contacts.
MORNINGS_EVERY_DAYS = 1
CUT = micros(datetime(2012, 1, 10, tzinfo=UTC))
# Floors of the AUC on these very entries: one quick fixed setting of LightGBM.
FLOORS = {
    "A_PARTLYSUBMITTED": 0.637,
    "A_PREACCEPTED": 0.591,
    "A_ACCEPTED": 0.567,
    "O_SENT": 0.561,
    "O_SENT_BACK": 0.601,
}


def first_entries(history: History) -> Examples:
    """The moment at which each lead first stood in each stage."""
    stays = open_stays(history)
    order = np.lexsort((stays.begin, stays.stage, stays.lead))
    lead, stage = stays.lead[order], stays.stage[order]
    first = order[np.append(True, (lead[1:] != lead[:-1]) | (stage[1:] != stage[:-1]))]
    first.sort()
    return Examples(stays.lead[first], stays.begin[first], np.zeros(len(first), np.bool_))


def judged_entries(history: History, n_jobs: int) -> tuple[Backtest, pd.DataFrame]:
    """The model on the entries at and after the cut, and base rates of the entries that had ended by it."""
    examples = learning_examples(history)
    entries = first_entries(history)
    past = entries.of(entries.as_of <= CUT)
    known = known_by(reached(history, past.lead, past.as_of), past.as_of, history.funnel, CUT)[:, -1]
    stage = history.at(past.lead, past.as_of).steps.stage
    base = pd.DataFrame({"stage": stage, "approved": known}).dropna().groupby("stage")["approved"].mean()
    model = learn_until(history, CUT, n_jobs, examples)
    judged = judge(history, model, entries.of(entries.as_of >= CUT))
    return Backtest((CUT,), (model,), judged, examples), base.to_frame()


def table(judged: Judged, base: pd.DataFrame) -> pd.DataFrame:
    """A row per stage entered, and one over all."""
    ripe = ~np.isnan(judged.outcome[:, -1])
    outcome, probability = judged.outcome[ripe, -1].astype(np.float64), judged.probability[ripe, -1]
    stage = judged.stage[ripe]
    rate = base["approved"].reindex(stage).to_numpy()
    rows = [
        {"stage": name, **_row(outcome[here], probability[here], rate[here]), "auc_floor": FLOORS[name]}
        for code, name in enumerate(judged.funnel.stages[:-1])
        if (here := stage == code).any()
    ]
    everyone = {"stage": "all", **_row(outcome, probability, rate), "auc": float(np.mean([row["auc"] for row in rows]))}
    return pd.DataFrame([*rows, everyone])


def against_baselines(history: History, past: Backtest, n_jobs: int) -> pd.DataFrame:
    """Log loss and calibration error of the win over all entries: of the model, and of each baseline."""
    judged = past.judged
    ripe = ~np.isnan(judged.outcome[:, -1])
    outcome, lead = judged.outcome[ripe, -1].astype(np.float64), judged.lead[ripe]
    ours = judged.probability[ripe, -1]
    rows = [{"by": "model", "log_loss": log_loss(outcome, ours), "calibration_error": calibration_error(outcome, ours)}]
    for scores in scores_of(history, past, n_jobs):
        if scores.probability is not None:
            theirs = scores.probability[ripe, -1]
            gain = log_losses(outcome, theirs) - log_losses(outcome, ours)
            better = Resamples.of(lead, RESAMPLES).mean(gain)
            rows.append(
                {
                    "by": scores.name,
                    "log_loss": log_loss(outcome, theirs),
                    "calibration_error": calibration_error(outcome, theirs),
                    "model_better_by": better.value,
                    "low": better.low,
                    "high": better.high,
                }
            )
    return pd.DataFrame(rows)


def on_mornings(history: History, past: Backtest) -> Backtest:
    """The same model on all leads open on each morning at and after the cut."""
    (cut,), (model,) = past.cuts, past.models
    judged = judge(history, model, judging_examples(history, cut, MORNINGS_EVERY_DAYS))
    judging = history.funnel.judging.model_copy(update={"resamples": RESAMPLES})
    return replace(past, judged=replace(judged, funnel=history.funnel.model_copy(update={"judging": judging})))


def at_capacity(history: History, past: Backtest, n_jobs: int) -> pd.DataFrame:
    """Precision at capacity on the list of the handoff: in order of the model, and of each baseline.

    Parameters
    ----------
    past : Backtest
        What `on_mornings` gives.
    """
    judged = past.judged
    place = history.funnel.stages.index(history.funnel.funnel.handoff[1]) - 1
    ours = worked(judged, judged.probability[:, place], RESAMPLES)
    theirs = [
        {
            "by": peer.name,
            **_contacts(peer.handoff),
            "model_better_by": peer.precision_gain.value,
            "low": peer.precision_gain.low,
            "high": peer.precision_gain.high,
        }
        for peer in peers(history, past, n_jobs)
    ]
    return pd.DataFrame([{"by": "model", **_contacts(ours)}, *theirs])


def _contacts(handoff: Worked) -> dict[str, float]:
    return {
        "contacts": handoff.contacts,
        "precision": handoff.precision.value,
        "precision_low": handoff.precision.low,
        "precision_high": handoff.precision.high,
        "found": handoff.recall.value,
    }


def _row(
    outcome: np.typing.NDArray[np.float64],
    probability: np.typing.NDArray[np.float64],
    rate: np.typing.NDArray[np.float64],
) -> dict[str, float]:
    return {
        "n": len(outcome),
        "base_rate": float(outcome.mean()),
        "auc": auc(*Ordering.of(outcome, probability).counts()),
        "log_loss": log_loss(outcome, probability),
        "base_log_loss": log_loss(outcome, rate),
        "mean_score": float(probability.mean()),
    }


def main() -> None:
    """Read the arguments, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what data/bpic2012/prepare.py has written")
    parser.add_argument("--n-jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    history = read_history(arguments.folder)
    past, base = judged_entries(history, arguments.n_jobs)
    figures, baselines = table(past.judged, base), against_baselines(history, past, arguments.n_jobs)
    lists = at_capacity(history, on_mornings(history, past), arguments.n_jobs)
    print(figures.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    print("In the row of all, auc is the mean over the stages.")
    for each in (baselines, lists):
        print(each.to_string(index=False, float_format=lambda value: f"{value:.4f}", na_rep=""))
    handoff = history.funnel.funnel.handoff[1]
    print(
        f"The lower table: {history.funnel.owner.capacity} contacts each morning among the leads before {handoff}; "
        f"precision is the share that reached it within {history.funnel.horizon_days[handoff]} days."
    )
    stages = figures.drop(columns="auc_floor").set_index("stage").to_dict("index")
    # JSON knows no NaN.
    told, worked_lists = (
        json.loads(each.set_index("by").to_json(orient="index", double_precision=15)) for each in (baselines, lists)
    )
    print(json.dumps({"stages": stages, "baselines": told, "at_capacity": worked_lists}))


if __name__ == "__main__":
    main()
