"""The figures of a judged model as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leadscore.metrics.ordering import Ordering, auc, average_precision, gains
from leadscore.metrics.probabilities import Tenths, calibration_line, log_losses
from leadscore.metrics.resampling import Resamples
from leadscore.metrics.within_mornings import WithinMornings

if TYPE_CHECKING:
    from collections.abc import Collection

    from leadscore.history.line import Float64s
    from leadscore.metrics.judged import Judged, Outcomes

ALL = "all"
ORDER = "order"
TOP_SHARES = (0.05, 0.10, 0.20)
# In the order in which `_figures` computes them.
FIGURES = (
    "base_rate",
    "mean_score",
    "log_loss",
    "base_log_loss",
    "log_loss_gain",
    "brier",
    "base_brier",
    "brier_skill",
    "auc",
    "average_precision",
    "calibration_error",
    *(f"lift_at_{share:.0%}".rstrip("%") for share in TOP_SHARES),
    *(f"found_at_{share:.0%}".rstrip("%") for share in TOP_SHARES),
)


def figures(judged: Judged, resamples: int = 0, stages: Collection[str] | None = None) -> pd.DataFrame:
    """Figures per stage to reach: over all leads that had not passed it, and per current stage.

    Parameters
    ----------
    resamples : int
        Bootstrap resamples of leads for the intervals; without any there are none.
    stages : collection of str, optional
        The stages to reach; all by default.

    Returns
    -------
    DataFrame
        Columns ``stage`` (to reach), ``current`` (`ALL` or a stage), ``n`` examples, ``leads``,
        ``calibration_slope``, ``calibration_intercept`` and `FIGURES`: ``base_rate`` (observed share),
        ``mean_score``, ``log_loss``, ``base_log_loss``, ``log_loss_gain`` (of the base rate less the model's),
        ``brier``, ``base_brier``, ``brier_skill``, ``auc``, ``average_precision``, ``calibration_error``,
        ``lift_at_10`` (observed share in the likeliest tenth over that of all), ``found_at_10`` (share found
        there of those that reached) and ``order`` (`WithinMornings`), with ``order_reached`` and
        ``order_not_reached`` leads compared; with intervals also ``<figure>_low`` and ``<figure>_high``, and of the
        order the one-sided 99 % bounds ``order_least`` and ``order_most``. NaN where a figure does not exist, such as
        the AUC of a single outcome.
    """
    rows = []
    for place, name in enumerate(judged.funnel.later_stages):
        if stages is not None and name not in stages:
            continue
        rows.append({"stage": name, "current": ALL, **_row(judged.reaching(place), resamples)})
        for current, current_name in enumerate(judged.funnel.stages[: place + 1]):
            rows.append({"stage": name, "current": current_name, **_row(judged.reaching(place, current), resamples)})
    return pd.DataFrame(rows)


def overall(judged: Judged, resamples: int = 0) -> dict[str, float]:
    """Figures over every known (example, stage to reach) together, under the names of `figures`."""
    return _row(judged.pooled(), resamples)


def _row(known: Outcomes, resamples: int) -> dict[str, float]:
    leads = Resamples.of(known.lead, resamples)
    row: dict[str, float] = {"n": len(known), "leads": leads.n_leads}
    if not len(known):
        return row
    slope, intercept = calibration_line(known.outcome, known.probability)
    row |= {"calibration_slope": slope, "calibration_intercept": intercept}
    for name, interval in zip(FIGURES, leads.intervals(_Weighted(known, leads)), strict=True):
        row[name] = interval.value
        if resamples:
            row |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    order = WithinMornings.of(known, resamples).order()
    row |= {
        ORDER: order.interval.value,
        f"{ORDER}_reached": order.n_reached,
        f"{ORDER}_not_reached": order.n_not_reached,
    }
    if resamples:
        row |= {f"{ORDER}_low": order.interval.low, f"{ORDER}_high": order.interval.high}
        row |= {f"{ORDER}_least": order.least, f"{ORDER}_most": order.most}
    return row


class _Weighted:
    """`FIGURES` of some outcomes, by how often each lead counts; what does not depend on that is computed once."""

    def __init__(self, known: Outcomes, leads: Resamples) -> None:
        self._place = leads.place
        self._ordering = Ordering.of(known.outcome, known.probability)
        per_example = (
            np.ones(len(known)),
            known.outcome,
            known.probability,
            log_losses(known.outcome, known.probability),
            log_losses(known.outcome, known.base),
            (known.probability - known.outcome) ** 2,
            (known.base - known.outcome) ** 2,
        )
        tenths = Tenths.of(known.probability)
        self._sums = leads.by_lead(np.column_stack(per_example))
        self._off = leads.by_lead(tenths.columns(known.probability - known.outcome))

    def __call__(self, drawn: Float64s) -> Float64s:
        n, *sums = drawn @ self._sums
        share, score, loss, base_loss, brier, base_brier = np.array(sums) / n
        counts = self._ordering.counts(drawn.take(self._place))
        worked, found = gains(*counts)
        found_at = np.interp(TOP_SHARES, worked, found)
        return np.array(
            [
                share,
                score,
                loss,
                base_loss,
                base_loss - loss,
                brier,
                base_brier,
                1 - brier / base_brier if base_brier else np.nan,
                auc(*counts),
                average_precision(*counts),
                np.abs(drawn @ self._off).sum() / n,
                *(found_at / TOP_SHARES),
                *found_at,
            ]
        )
