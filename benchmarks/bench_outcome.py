"""BPI Challenge 2012 by the published protocol of outcome-oriented predictive process monitoring.

Our features and our trees in the protocol of `benchmarks.outcome_log`, whose figures are no honest ones: its prefixes
run past the outcome, and its leads are chosen by how they ended. `benchmarks.bench_bpic2012` is the honest one.
Prints a table and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmarks.outcome_features import features_of
from benchmarks.outcome_log import (
    MOST_EVENTS,
    OUTCOMES,
    before_outcome,
    check_genuine,
    longest_prefix,
    read_log,
    split,
    splits_inside,
)
from leadscore.config import LightGBMSettings
from leadscore.metrics import Ordering, auc
from leadscore.model.lightgbm_fit import data_set, grow, tree_settings

if TYPE_CHECKING:
    import lightgbm as lgb

    from benchmarks.outcome_log import Log, Split
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s

log = logging.getLogger("outcome")

# Chosen inside the training time, by `splits_inside`: see --inside.
TREES = LightGBMSettings(
    rounds=240,
    learning_rate=0.05,
    num_leaves=8,
    min_data_in_leaf=100,
    lambda_l2=10,
    feature_fraction=0.3,
    bagging_fraction=0.5,
    max_bin=63,
)
# Probabilities are means over trees of these seeds.
SEEDS = (1, 2, 3)
# The best published figures, of all settings of the paper (weighted AUC).
PUBLISHED = {"accepted": 0.678, "declined": 0.566, "cancelled": 0.709}


def weighted_auc(outcome: Float64s, probability: Float64s, length: Int64s) -> float:
    """Mean of the AUCs of each prefix length, weighted by its prefixes; 0 for a length with a single outcome."""
    aucs, n_prefixes = [], []
    for each in np.unique(length):
        here = length == each
        alone = _auc(outcome[here], probability[here])
        aucs.append(0.0 if np.isnan(alone) else alone)
        n_prefixes.append(np.count_nonzero(here))
    return float(np.average(aucs, weights=n_prefixes))


def _auc(outcome: Float64s, probability: Float64s) -> float:
    return auc(*Ordering.of(outcome, probability).counts())


def lead_weights(lead: Int64s) -> Float64s:
    """Weights of examples that make each lead count the same, 1 on average; shape (n_examples,)."""
    n_prefixes = np.bincount(lead)
    return len(lead) / np.count_nonzero(n_prefixes) / n_prefixes[lead]


def judge(log: Log, parts: Split, n_jobs: int) -> dict[str, dict[str, float]]:
    """Figures of each task on the test prefixes, after learning from the others."""
    short = log.place < MOST_EVENTS
    train, test = parts.train & short, parts.test & short
    seen = features_of(log, train, train | test)
    learnt = train[train | test]
    binned = data_set(
        seen.X[learnt],
        np.zeros(np.count_nonzero(learnt), np.float32),
        tree_settings(TREES) | {"num_threads": n_jobs},
        categories=seen.categories,
        weight=lead_weights(log.lead[train]),
    )
    figures = {}
    for code, name in enumerate(OUTCOMES):
        outcome = (log.outcome[log.lead] == code).astype(np.float64)
        probability = _probability(binned.set_label(outcome[train]), seen.X[~learnt], n_jobs)
        figures[name] = _figures(log, test, outcome, probability, longest_prefix(log, code))
    return figures


def _probability(binned: lgb.Dataset, unseen: Float32s, n_jobs: int) -> Float64s:
    settings = [tree_settings(TREES.model_copy(update={"seed": seed})) | {"num_threads": n_jobs} for seed in SEEDS]
    given = [grow(each, binned, TREES.rounds).predict(unseen, num_threads=n_jobs) for each in settings]
    mean: Float64s = np.mean(given, axis=0)
    return mean


def _figures(log: Log, test: Bools, outcome: Float64s, probability: Float64s, longest: int) -> dict[str, float]:
    place = log.place[test]
    kept = place < longest
    happened, said, length = outcome[test][kept], probability[kept], place[kept] + 1
    undecided = before_outcome(log)[test][kept]
    return {
        "auc_weighted": weighted_auc(happened, said, length),
        "auc_pooled": _auc(happened, said),
        "brier": float(np.mean((said - happened) ** 2)),
        "auc_pooled_before_outcome": _auc(happened[undecided], said[undecided]),
    }


def table(figures: dict[str, dict[str, float]]) -> pd.DataFrame:
    """A row per task, with the best published figure."""
    return pd.DataFrame(
        [{"task": name, **of_task, "published_weighted": PUBLISHED[name]} for name, of_task in figures.items()]
    )


def mean_of(judged: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Means over several splits."""
    return {
        name: {figure: float(np.mean([each[name][figure] for each in judged])) for figure in judged[0][name]}
        for name in judged[0]
    }


def main() -> None:
    """Read the arguments, check the log, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="with events.parquet and cases.parquet of the log")
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--inside", action="store_true", help="judge inside the training time, without the test")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    events = read_log(arguments.folder)
    parts = split(events)
    check_genuine(events, parts)
    log.info("the log and the protocol give every published check value")
    splits = splits_inside(events, parts) if arguments.inside else [parts]
    figures = mean_of([judge(events, each, arguments.n_jobs) for each in splits])
    print(table(figures).to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
