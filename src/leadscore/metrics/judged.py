"""How good probabilities are, on examples whose outcome is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

if TYPE_CHECKING:
    from leadscore.config import Funnel
    from leadscore.history.line import Bools, Float32s, Float64s, Int64s

ALL = "all"
TOP_SHARE = 0.1
# A probability of 0 or 1 that is wrong would make the log loss infinite.
LEAST = 1e-9


@dataclass(frozen=True, slots=True)
class Judged:
    """Probabilities beside what happened, on examples that were not learnt from.

    Attributes
    ----------
    funnel : Funnel
        The settings.
    lead, as_of, stage : ndarray of int64, shape (n_examples,)
        The examples, and the current stage of each.
    outcome : ndarray of float32, shape (n_examples, n_later_stages)
        1 reached, 0 not, NaN passed or not ripe.
    probability, base : ndarray of float64, shape (n_examples, n_later_stages)
        Of the model, and of the base rates.
    """

    funnel: Funnel
    lead: Int64s
    as_of: Int64s
    stage: Int64s
    outcome: Float32s
    probability: Float64s
    base: Float64s

    def pooled(self, rows: Bools | None = None) -> tuple[Float64s, Float64s, Float64s]:
        """Outcome, probability and base rate of every known (example, stage to reach), each of shape (n,)."""
        known = ~np.isnan(self.outcome)
        if rows is not None:
            known &= rows[:, None]
        return self.outcome[known].astype(np.float64), self.probability[known], self.base[known]


def figures(judged: Judged) -> pd.DataFrame:
    """Figures per stage to reach: over all leads that had not passed it, and per current stage.

    Returns
    -------
    DataFrame
        Columns ``stage`` (to reach), ``current`` (`ALL` or a stage), ``n`` examples, ``leads``, ``base_rate``
        (observed share), ``mean_score``, ``log_loss``, ``base_log_loss``, ``brier``, ``base_brier``, ``auc``,
        ``average_precision``, ``lift_at_10`` (observed share in the likeliest tenth over that of all). NaN where
        a figure does not exist, such as the AUC of a single outcome.
    """
    rows = []
    for place, name in enumerate(judged.funnel.later_stages):
        known = ~np.isnan(judged.outcome[:, place])
        rows.append({"stage": name, "current": ALL, **_figures(judged, known, place)})
        for current, current_name in enumerate(judged.funnel.stages[: place + 1]):
            here = known & (judged.stage == current)
            rows.append({"stage": name, "current": current_name, **_figures(judged, here, place)})
    return pd.DataFrame(rows)


def _figures(judged: Judged, rows: Bools, place: int) -> dict[str, float]:
    outcome = judged.outcome[rows, place].astype(np.float64)
    probability, base = judged.probability[rows, place], judged.base[rows, place]
    if not len(outcome):
        return {"n": 0, "leads": 0}
    return {
        "n": len(outcome),
        "leads": len(np.unique(judged.lead[rows])),
        "base_rate": float(outcome.mean()),
        "mean_score": float(probability.mean()),
        "log_loss": log_loss(outcome, probability),
        "base_log_loss": log_loss(outcome, base),
        "brier": float(np.mean((probability - outcome) ** 2)),
        "base_brier": float(np.mean((base - outcome) ** 2)),
        "auc": auc(outcome, probability),
        "average_precision": average_precision(outcome, probability),
        "lift_at_10": lift(outcome, probability, TOP_SHARE),
    }


def log_loss(outcome: Float64s, probability: Float64s) -> float:
    """Mean of -log of the probability given to what happened, in nats; NaN without examples."""
    if not len(outcome):
        return float("nan")
    likely = np.where(outcome == 1, probability, 1 - probability)
    return float(-np.mean(np.log(np.clip(likely, LEAST, None))))


def auc(outcome: Float64s, probability: Float64s) -> float:
    """Chance that one that reached stands above one that did not, ties half; NaN with a single outcome."""
    return float(roc_auc_score(outcome, probability)) if 0 < outcome.sum() < len(outcome) else float("nan")


def average_precision(outcome: Float64s, probability: Float64s) -> float:
    """Mean precision over the leads that reached, likeliest first; NaN where none reached."""
    return float(average_precision_score(outcome, probability)) if outcome.any() else float("nan")


def lift(outcome: Float64s, probability: Float64s, share: float) -> float:
    """Observed share among the likeliest ``share`` of examples, over that of all; NaN where none reached."""
    if not outcome.any():
        return float("nan")
    top = np.argsort(-probability, kind="stable")[: max(1, round(share * len(outcome)))]
    return float(outcome[top].mean() / outcome.mean())


def overall(judged: Judged) -> dict[str, float]:
    """Figures over every known (example, stage to reach) together."""
    outcome, probability, base = judged.pooled()
    return {
        "log_loss": log_loss(outcome, probability),
        "base_log_loss": log_loss(outcome, base),
        "mean_score": float(probability.mean()) if len(outcome) else float("nan"),
        "observed": float(outcome.mean()) if len(outcome) else float("nan"),
    }
