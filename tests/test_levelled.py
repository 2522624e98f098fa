"""The loss after the level is fitted anew: against a search of its own, and whatever the level was."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit

from leadscore.backtest import learn_until
from leadscore.config import LightGBMSettings
from leadscore.model import StageModel, fit_calibration, learning
from leadscore.model.levelled import FLATTEST, LevelledLoss
from leadscore.model.lightgbm_fit import data_set, grow, tree_settings
from leadscore.model.stage import is_at_bound
from leadscore.recalibration.fit import _calibrated

if TYPE_CHECKING:
    from leadscore.history import History


def best(margin: np.ndarray, outcome: np.ndarray, weight: np.ndarray) -> float:
    """Sum of the losses at the best level, by a search that knows no derivative."""

    def loss(level: float) -> float:
        return -float(np.sum(weight * (outcome * (margin + level) + log_expit(-margin - level))))

    return float(minimize_scalar(loss, bounds=(-200, 200), method="bounded", options={"xatol": 1e-10}).fun)


def flattened(margin: np.ndarray, outcome: np.ndarray, weight: np.ndarray, groups: list[np.ndarray]) -> float:
    """Sum of the losses at the best level of each group and the best line of all, at most as steep as it is."""

    def loss(slope: float) -> float:
        return sum(best(slope * margin[rows], outcome[rows], weight[rows]) for rows in groups)

    found = minimize_scalar(loss, bounds=(FLATTEST, 1), method="bounded", options={"xatol": 1e-7})
    return min(float(found.fun), loss(1.0), loss(FLATTEST))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(-20, 20), st.floats(0.01, 8), st.floats(-1.5, 1.5))
def test_the_loss_is_that_of_the_best_level_and_line(seed: int, level: float, scale: float, signal: float) -> None:
    rng = np.random.default_rng(seed)
    true = rng.normal(size=600)
    outcome = (rng.random(600) < expit(signal * true + rng.normal())).astype(np.float32)
    outcome[:6] = 0, 0, 0, 1, 1, 1
    margin, weight, place = scale * true + level, rng.choice([1.0, 5.0], 600), np.arange(600) % 3

    found = LevelledLoss(place, outcome, weight)(margin)

    groups = [place == each for each in range(3)]
    expected = flattened(margin, outcome, weight, groups) / weight.sum()
    assert found == pytest.approx(expected, rel=1e-6)
    # Whatever the base rate that the trees have learnt.
    assert LevelledLoss(place, outcome, weight)(margin + 3) == pytest.approx(found, rel=1e-6)


def test_a_call_begins_where_the_last_ended_and_ends_at_the_same() -> None:
    rng = np.random.default_rng(1)
    margins = np.cumsum(rng.normal(size=(40, 500)) * 0.2, axis=0)
    outcome = (rng.random(500) < expit(margins[-1] - 2)).astype(np.float32)
    place, weight = np.zeros(500, np.int64), np.ones(500)
    warm = LevelledLoss(place, outcome, weight)

    for margin in margins:
        assert warm(margin) == pytest.approx(LevelledLoss(place, outcome, weight)(margin), abs=1e-12)


def test_as_many_trees_are_grown_whatever_the_base_rate_of_the_later_block() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(4_000, 3)).astype(np.float32)
    outcome = (rng.random(4_000) < expit(X[:, 0] - 2)).astype(np.float32)
    earlier, later = np.arange(2_000), np.arange(2_000, 4_000)
    settings = tree_settings(LightGBMSettings())
    rounds = []
    for shift in (0.0, -3.0, 3.0):
        binned = data_set(X, outcome, settings)
        blocks = [binned.subset(rows.tolist()).construct() for rows in (earlier, later)]
        for block, rows, level in zip(blocks, (earlier, later), (-2.0, -2.0 + shift), strict=True):
            block.set_label(outcome[rows]).set_init_score(np.full(len(rows), level))
        loss = LevelledLoss(np.zeros(2_000, np.int64), outcome[later], np.ones(2_000))
        rounds.append(grow(settings, blocks[0], 400, later=blocks[1], loss=loss, patience=40).best_iteration)

    assert rounds[0] > 20
    assert rounds == [rounds[0]] * 3


def test_log_odds_that_spread_too_far_are_as_good_as_right_ones_and_small_ones_are_not() -> None:
    rng = np.random.default_rng(6)
    margin = rng.normal(size=4_000)
    outcome = (rng.random(4_000) < expit(margin - 1)).astype(np.float32)
    place, weight = np.zeros(4_000, np.int64), np.ones(4_000)

    right, far, small = (LevelledLoss(place, outcome, weight)(times * margin) for times in (1.0, 5.0, 0.2))

    assert far == pytest.approx(right, abs=2e-3)
    assert small > right + 0.02


@pytest.mark.parametrize(("sign", "at_bound"), [(1.0, False), (-1.0, True), (1e3, True)])
def test_a_slope_at_its_bound_is_none(sign: float, at_bound: bool) -> None:  # noqa: FBT001
    rng = np.random.default_rng(4)
    margin = rng.normal(size=2_000)
    outcome = (rng.random(2_000) < expit(sign * margin)).astype(np.float32)

    slope, _ = fit_calibration(margin, outcome)

    assert is_at_bound(slope) == at_bound


def test_recalibration_refuses_a_slope_at_its_bound() -> None:
    rng = np.random.default_rng(5)
    margin = rng.normal(size=2_000)
    outcome = (rng.random(2_000) < expit(1 - margin)).astype(np.float64)
    before = StageModel(None, slope=1.2)

    after = _calibrated(before, margin, outcome, both=True)

    assert after.slope == 1.2
    assert expit(after.slope * margin + after.intercept).mean() == pytest.approx(outcome.mean())


def test_learning_refuses_a_slope_at_its_bound(small_history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    funnel = small_history.funnel
    few = funnel.model_copy(update={"lightgbm": funnel.lightgbm.model_copy(update={"min_outcome_leads": 10})})
    asked: list[float] = []

    def at_bound(*_: object) -> tuple[float, float]:
        asked.append(np.exp(-3))
        return asked[-1], 0.0

    losses = count(0, -1)  # whatever is compared later is better: each calibration is kept
    monkeypatch.setattr(learning, "fit_calibration", at_bound)
    monkeypatch.setattr(learning, "margin_loss", lambda *_: next(losses))

    model = learn_until(replace(small_history, funnel=few), small_history.known_until, n_jobs=1)

    assert asked
    assert {stage.slope for stage in model.stages_} == {1.0}
    assert any(stage.intercept for stage in model.stages_)
