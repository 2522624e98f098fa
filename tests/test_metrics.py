"""Figures of how good probabilities are, against sums done by hand, scikit-learn, and data made to be known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score, roc_auc_score

from leadscore.history import DAY
from leadscore.metrics import (
    ALL,
    Judged,
    Ordering,
    Resamples,
    auc,
    average_precision,
    calibration_error,
    figures,
    gains,
    jitter,
    log_loss,
    overall,
    worked,
)
from leadscore.metrics.probabilities import calibration_line
from tests.hand import short_funnel

if TYPE_CHECKING:
    import pandas as pd

    from leadscore.history.line import Float64s, Int64s

NAN = np.nan
HANDOFF = 2  # place of sql, to which the short funnel hands over


def judged(
    lead: list[int],
    probability: list[float],
    outcome: list[float],
    *,
    morning: list[int] | None = None,
    stage: int = 1,
    owner: list[int] | None = None,
    n_known: list[int] | None = None,
    capacity: int = 20,
) -> Judged:
    """Leads judged on reaching the second stage of the handoff; morning 0 is 1970-01-01."""
    funnel = short_funnel()
    funnel = funnel.model_copy(update={"owner": funnel.owner.model_copy(update={"capacity": capacity})})
    n, n_later = len(lead), len(funnel.later_stages)
    column = np.full((3, n, n_later), NAN)
    column[0, :, HANDOFF], column[1, :, HANDOFF], column[2, :, HANDOFF] = outcome, probability, 0.5
    return Judged(
        funnel=funnel,
        lead=np.array(lead),
        as_of=np.array(morning or range(n)) * DAY,
        stage=np.full(n, stage),
        owner=np.array(owner or [0] * n),
        n_known=np.array(n_known or [0] * n),
        outcome=column[0].astype(np.float32),
        probability=column[1],
        base=column[2],
    )


def test_log_loss_is_minus_the_log_of_what_happened() -> None:
    assert log_loss(np.array([1.0, 0.0]), np.array([0.8, 0.4])) == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)
    assert np.isfinite(log_loss(np.array([1.0]), np.array([0.0])))


def test_auc_counts_ties_half_and_is_nan_with_a_single_outcome() -> None:
    assert auc(*Ordering.of(np.array([1.0, 0, 0]), np.array([0.5, 0.5, 0.1])).counts()) == 0.75
    assert np.isnan(auc(*Ordering.of(np.ones(3), np.arange(3.0)).counts()))


@given(
    outcome=arrays(np.int64, 30, elements=st.integers(0, 1)),
    score=arrays(np.int64, 30, elements=st.integers(0, 6)),
    weight=arrays(np.int64, 30, elements=st.integers(0, 3)),
)
def test_weighted_orders_are_judged_as_scikit_learn_does(outcome: Int64s, score: Int64s, weight: Int64s) -> None:
    counts = Ordering.of(outcome.astype(np.float64), score / 10).counts(weight.astype(np.float64))

    if weight @ outcome and weight @ (1 - outcome):
        assert auc(*counts) == pytest.approx(roc_auc_score(outcome, score, sample_weight=weight))
        assert average_precision(*counts) == pytest.approx(
            average_precision_score(outcome, score, sample_weight=weight)
        )
    else:
        assert np.isnan(auc(*counts))


def test_gains_are_what_is_found_by_working_the_list_and_ties_are_worked_in_any_order() -> None:
    worked_, found = gains(*Ordering.of(np.array([1.0, 0, 1, 0]), np.array([0.9, 0.9, 0.5, 0.1])).counts())

    assert worked_.tolist() == [0, 0.5, 0.75, 1]
    assert found.tolist() == [0, 0.5, 1, 1]


def test_a_calibration_line_finds_the_line_that_made_the_outcomes() -> None:
    rng = np.random.default_rng(1)
    probability = rng.uniform(0.02, 0.6, 200_000)
    outcome = (rng.random(200_000) < expit(0.7 * logit(probability) - 0.3)).astype(np.float64)

    slope, intercept = calibration_line(outcome, probability)

    assert slope == pytest.approx(0.7, abs=0.02)
    assert intercept == pytest.approx(-0.3, abs=0.03)
    assert np.isnan(calibration_line(np.ones(3), np.full(3, 0.5))).all()


def test_the_calibration_error_is_how_far_tenths_are_off() -> None:
    probability = np.repeat([0.1, 0.3], 100)
    outcome = np.concatenate((np.repeat([1.0, 0], [20, 80]), np.repeat([1.0, 0], [20, 80])))

    assert calibration_error(outcome, probability) == pytest.approx(0.1)
    assert np.isnan(calibration_error(np.empty(0), np.empty(0)))


def test_figures_are_per_stage_to_reach_and_per_current_stage() -> None:
    some = judged([0, 0, 1, 2], [0.9, 0.2, 0.6, 0.7], [1, 0, 1, NAN])
    some.stage[0] = 0
    table = figures(some)

    def row(stage: str, current: str) -> pd.Series[float]:
        return table[(table["stage"] == stage) & (table["current"] == current)].iloc[0]

    assert [row("sql", ALL)[name] for name in ("n", "leads", "base_rate")] == [3, 2, pytest.approx(2 / 3)]
    assert [row("sql", "mql")[name] for name in ("n", "auc", "mean_score")] == [2, 1.0, pytest.approx(0.4)]
    assert row("won", ALL)["n"] == 0
    assert overall(some)["base_log_loss"] == pytest.approx(np.log(2))
    assert overall(some)["log_loss_gain"] == pytest.approx(np.log(2) - overall(some)["log_loss"])
    assert overall(some)["base_rate"] == pytest.approx(2 / 3)


def test_lift_and_share_found_are_of_the_likeliest() -> None:
    outcome = [1.0, 1] + [0.0] * 18
    row = overall(judged(list(range(20)), list(np.linspace(0.9, 0.1, 20)), outcome))

    assert (row["found_at_5"], row["found_at_10"], row["lift_at_10"]) == (0.5, 1.0, 10.0)


def test_intervals_cover_and_count_each_lead_once() -> None:
    rng = np.random.default_rng(2)
    truth, covered, widths = 0.3, 0, []
    for _ in range(200):
        # Each lead's outcome is seen on ten mornings: that is no more than seeing it once.
        outcome = np.repeat((rng.random(80) < truth).astype(np.float64), 10)
        mean = Resamples.of(np.repeat(np.arange(80), 10), 200).mean(outcome)
        covered += mean.low <= truth <= mean.high
        widths.append(mean.high - mean.low)

    assert covered / 200 == pytest.approx(0.95, abs=0.04)
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.sqrt(truth * (1 - truth) / 80), rel=0.05)


def test_the_gain_is_paired_so_that_luck_which_both_share_makes_it_no_wider() -> None:
    rng = np.random.default_rng(3)
    probability = rng.uniform(0.05, 0.95, 400)
    outcome = (rng.random(400) < probability).astype(np.float64)
    row = overall(judged(list(range(400)), list(probability), list(outcome)), resamples=300)

    assert row["log_loss_gain_low"] < row["log_loss_gain"] < row["log_loss_gain_high"]
    assert row["auc_low"] < row["auc"] < row["auc_high"]
    apart = (row["log_loss_high"] - row["log_loss_low"]) + (row["base_log_loss_high"] - row["base_log_loss_low"])
    assert row["log_loss_gain_high"] - row["log_loss_gain_low"] <= apart + 1e-9


def test_an_owner_contacts_the_top_of_the_list_and_nobody_twice_within_the_horizon() -> None:
    horizon = short_funnel().horizons[HANDOFF]
    # The docstring's example: lead 1 stands on top on both mornings, and again after the horizon.
    mornings = [0, 1, horizon, 0, 1, horizon]
    score = np.array([0.9, 0.9, 0.9, 0.5, 0.5, 0.5])
    some = judged([1, 1, 1, 2, 2, 2], list(score), [0, 0, 0, 1, 1, 0], morning=mornings, capacity=1)

    found = worked(some, score)

    assert found.rows.tolist() == [True, False, True, False, True, False]
    assert found.contacts == 3
    assert [found.precision.value, found.recall.value] == pytest.approx([1 / 3, 1.0])
    assert found.contacts_per_conversion == pytest.approx(3)


def test_each_owner_has_a_capacity_of_his_own() -> None:
    some = judged([1, 2, 3, 4], [0.9, 0.8, 0.3, 0.2], [1, 1, 0, 0], morning=[0] * 4, owner=[5, 5, 5, 6], capacity=1)

    assert worked(some, some.probability[:, HANDOFF]).rows.tolist() == [True, False, False, True]


def test_leads_past_the_handoff_and_unripe_ones_are_not_on_its_list() -> None:
    some = judged([1, 2, 3], [0.9, 0.8, 0.3], [NAN, 1, 0], morning=[0] * 3, capacity=1)

    found = worked(some, some.probability[:, HANDOFF], resamples=20)

    assert found.rows.tolist() == [False, True, False]
    assert found.precision.value == 1.0


def test_working_a_list_without_anybody_on_it_finds_nothing() -> None:
    found = worked(judged([], [], []), np.empty(0))

    assert found.contacts == 0
    assert np.isnan([found.precision.value, found.recall.value, found.contacts_per_conversion]).all()


def test_jitter_is_of_leads_to_which_nothing_happened() -> None:
    # Lead 1 moves by log odds of 1, lead 2 much more, but a touch came in; lead 3 is seen once.
    odds: Float64s = expit(np.array([0.0, 1.0, 0.0, 5.0, 0.0]))
    some = judged([1, 1, 2, 2, 3], list(odds), [0] * 5, n_known=[4, 4, 4, 5, 4])

    assert jitter(some)[HANDOFF] == pytest.approx(1.0)
    assert np.isnan(jitter(some)[HANDOFF + 1])


def test_examples_of_several_models_are_joined_in_order() -> None:
    first, second = judged([3, 1], [0.3, 0.1], [0, 1]), judged([1, 2], [0.4, 0.2], [1, 0], morning=[5, 6])

    joined = Judged.joined([first, second])

    assert joined.lead.tolist() == [1, 1, 2, 3]
    assert joined.probability[:, HANDOFF].tolist() == [0.1, 0.4, 0.2, 0.3]
    assert joined.of(joined.lead == 2).probability[:, HANDOFF].tolist() == [0.2]
