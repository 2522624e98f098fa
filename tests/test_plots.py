"""Pictures: the numbers in them, by hand, and that every kind of stage has one."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.text import Text
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binomtest

from leadscore.backtest import Backtest, backtest, default_cuts
from leadscore.history import History, read_history
from leadscore.model import FunnelModel
from leadscore.plots import calibration_groups, gains_curve, stage_figure

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from leadscore.metrics import Judged

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def history(small: Path) -> History:
    return read_history(small)


@pytest.fixture(scope="module")
def past(history: History) -> Backtest:
    return backtest(history, default_cuts(history)[:1], n_jobs=1)


def drawn(figure: Figure) -> list[str]:
    """Every text in a figure, once it is drawn."""
    figure.savefig(BytesIO(), format="png")
    return [part.get_text() for part in figure.findobj(match=Text)]


def test_gains_are_what_is_found_from_the_top() -> None:
    worked, found = gains_curve(np.array([0.0, 1, 0, 1]), np.array([0.1, 0.9, 0.5, 0.4]))

    assert_allclose(worked, [0, 25, 50, 75, 100])
    assert_allclose(found, [0, 50, 50, 100, 100])


def test_gains_of_equal_probabilities_are_a_straight_line() -> None:
    worked, found = gains_curve(np.array([1.0, 0, 0, 1]), np.full(4, 0.3))

    assert_array_equal(worked, [0, 100])
    assert_array_equal(found, [0, 100])


def test_calibration_counts_every_example() -> None:
    rng = np.random.default_rng(1)
    probability = rng.uniform(size=2_000)
    outcome = (rng.uniform(size=2_000) < probability).astype(float)

    groups = calibration_groups(outcome, probability, np.arange(2_000))

    assert_array_equal(groups[:, 4], np.full(10, 200))
    assert np.abs(groups[:, 0] - groups[:, 1]).max() < 0.1


def test_the_interval_is_wilsons_with_each_lead_counted_once() -> None:
    probability = np.repeat([0.1, 0.5], 40)
    outcome = np.repeat([0.0, 1, 0, 1], (36, 4, 20, 20))

    groups = calibration_groups(np.repeat(outcome, 3), np.repeat(probability, 3), np.repeat(np.arange(80), 3))

    wanted = [binomtest(reached, 40).proportion_ci(method="wilson") for reached in (4, 20)]
    assert_allclose(groups[:, 2:4], wanted)
    assert_allclose(groups[:, [0, 1, 4]], [[0.1, 0.1, 120], [0.5, 0.5, 120]])


def test_calibration_of_equal_probabilities_is_one_group() -> None:
    groups = calibration_groups(np.array([0.0, 1, 0, 0]), np.full(4, 0.25), np.arange(4))

    assert_allclose(groups[:, [0, 1, 4]], [[0.25, 0.25, 4]])


def test_a_picture_says_what_it_shows(past: Backtest) -> None:
    texts = drawn(stage_figure(past.judged, past.models[0], 2))

    known = int(np.count_nonzero(~np.isnan(past.judged.outcome[:, 2])))
    assert any(text.startswith(f"Reach sql within 45 days: judged on {known:,} rows") for text in texts)
    assert {"Calibration", "Gains", "mean probability given, %", "share of the trees' total gain, %"} <= set(texts)
    assert any(text.startswith("base rate observed: ") for text in texts)


def test_a_stage_without_a_known_outcome_has_a_picture(past: Backtest) -> None:
    nothing = replace(past.judged, outcome=np.full_like(past.judged.outcome, np.nan))

    texts = drawn(stage_figure(nothing, past.models[0], 0))

    assert "Reach mql within 30 days: not judged" in texts
    assert texts.count("no outcome known yet") == 2


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_stage_with_one_outcome_has_a_picture(past: Backtest, value: float) -> None:
    outcome = np.where(np.isnan(past.judged.outcome), np.nan, np.float32(value))
    same: Judged = replace(past.judged, outcome=outcome)

    texts = drawn(stage_figure(same, past.models[0], 4))

    assert ("none reached the stage" in texts) == (value == 0)


def test_a_stage_that_is_served_its_base_rate_says_so(history: History, past: Backtest) -> None:
    model = FunnelModel(history.funnel)
    model.stages_ = tuple(replace(stage, booster=None) for stage in past.models[0].stages_)

    assert "too few outcomes: base rate served" in drawn(stage_figure(past.judged, model, 1))
