"""Figures of how good probabilities are, against sums done by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from leadscore.metrics import ALL, Judged, auc, figures, lift, log_loss, overall
from tests.hand import short_funnel

if TYPE_CHECKING:
    import pandas as pd

NAN = np.nan


def test_log_loss_is_minus_the_log_of_what_happened() -> None:
    assert log_loss(np.array([1.0, 0.0]), np.array([0.8, 0.4])) == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)
    assert np.isfinite(log_loss(np.array([1.0]), np.array([0.0])))


def test_auc_counts_ties_half_and_is_nan_with_a_single_outcome() -> None:
    assert auc(np.array([1.0, 0, 0]), np.array([0.5, 0.5, 0.1])) == 0.75
    assert np.isnan(auc(np.ones(3), np.arange(3.0)))


def test_lift_is_the_share_in_the_likeliest_over_that_of_all() -> None:
    outcome = np.array([1.0, 1, 0, 0, 0, 0, 0, 0, 0, 0])

    assert lift(outcome, np.linspace(1, 0, 10), 0.1) == pytest.approx(5.0)
    assert lift(outcome, np.linspace(0, 1, 10), 0.1) == 0.0


def test_figures_are_per_stage_to_reach_and_per_current_stage() -> None:
    outcome = np.full((4, 5), NAN, np.float32)
    outcome[:, 1] = [1, 0, 1, NAN]
    probability = np.full((4, 5), 0.5)
    probability[:, 1] = [0.9, 0.2, 0.6, 0.7]
    judged = Judged(
        funnel=short_funnel(),
        lead=np.array([0, 0, 1, 2]),
        as_of=np.arange(4),
        stage=np.array([0, 1, 1, 1]),
        outcome=outcome,
        probability=probability,
        base=np.full((4, 5), 0.5),
    )
    table = figures(judged)

    def row(stage: str, current: str) -> pd.Series[float]:
        return table[(table["stage"] == stage) & (table["current"] == current)].iloc[0]

    assert [row("sal", ALL)[name] for name in ("n", "leads", "base_rate")] == [3, 2, pytest.approx(2 / 3)]
    assert [row("sal", "mql")[name] for name in ("n", "auc", "mean_score")] == [2, 1.0, pytest.approx(0.4)]
    assert row("won", ALL)["n"] == 0
    assert overall(judged)["base_log_loss"] == pytest.approx(np.log(2))
    assert overall(judged)["observed"] == pytest.approx(2 / 3)
