"""A candidate goes into service only if it is not worse than the champion on time that neither has seen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import norm

from leadscore import backtest, gate
from leadscore.backtest import default_cuts, learn_until
from leadscore.errors import ModelError
from leadscore.examples import judging_examples
from leadscore.gate import as_read_by, compare, segments
from leadscore.history import DAY, History, read_history

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from leadscore.gate import Rule, Verdict
    from leadscore.history.line import Bools
    from leadscore.metrics import Judged
    from leadscore.model import FunnelModel

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def history(small: Path) -> History:
    return read_history(small)


@pytest.fixture(scope="module")
def champion(history: History) -> FunnelModel:
    """Learnt before the first morning on which candidates are judged."""
    return learn_until(history, default_cuts(history)[0], n_jobs=1)


def changed(model: FunnelModel, slope: float = 1.0, intercept: float = 0.0) -> FunnelModel:
    """The model with other calibrations: the order stays, the probabilities do not."""
    other = model.serving_base_rates(())
    other.stages_ = tuple(
        replace(stage, slope=stage.slope * slope, intercept=stage.intercept + intercept) for stage in model.stages_
    )
    return other


def upside_down(model: FunnelModel) -> FunnelModel:
    """The likeliest last."""
    return changed(model, slope=-1.0, intercept=-6.0)


def rule(verdict: Verdict, name: str) -> Rule:
    return next(each for each in verdict.rules if each.name == name)


def with_settings(history: History, section: str, settings: Mapping[str, Any]) -> History:
    changed_section = getattr(history.funnel, section).model_copy(update=settings)
    return replace(history, funnel=history.funnel.model_copy(update={section: changed_section}))


def sources(history: History, judged: Judged) -> list[tuple[str, Bools]]:
    return [each for each in segments(history, judged) if each[0].startswith("source ")]


def test_a_model_is_no_worse_than_itself(history: History, champion: FunnelModel) -> None:
    verdict = compare(history, champion, champion, n_jobs=1)

    assert verdict.passed
    assert "+0.0000 (+0.0000 to +0.0000)" in rule(verdict, "log loss").found
    assert (verdict.candidate, verdict.champion) == ("as it is", "as it is")


def test_a_candidate_that_is_far_too_sure_is_held_back_and_the_rules_are_named(
    history: History, champion: FunnelModel
) -> None:
    verdict = compare(history, changed(champion, intercept=2.0), champion, n_jobs=1)

    assert not verdict.passed
    assert not rule(verdict, "log loss").kept
    assert not rule(verdict, "calibration").kept
    assert rule(verdict, "capacity precision").kept  # the order is the same
    assert "BROKEN: log loss" in str(verdict)


def test_a_candidate_that_finds_fewer_at_capacity_is_held_back(history: History, champion: FunnelModel) -> None:
    few = with_settings(history, "owner", {"capacity": 1})

    verdict = compare(few, upside_down(champion), champion, n_jobs=1)

    assert not rule(verdict, "capacity precision").kept


def test_a_better_candidate_passes(history: History, champion: FunnelModel) -> None:
    assert compare(history, champion, changed(champion, intercept=2.0), n_jobs=1).passed


def test_the_margin_is_how_much_worse_a_candidate_may_be(history: History, champion: FunnelModel) -> None:
    generous = with_settings(history, "gate", {"margin": 1.0})
    worse = changed(champion, intercept=0.3)

    assert not rule(compare(history, worse, champion, n_jobs=1), "log loss").kept
    assert rule(compare(generous, worse, champion, n_jobs=1), "log loss").kept


def test_for_a_model_that_learnt_from_the_mornings_stands_a_twin_that_did_not(
    history: History, champion: FunnelModel
) -> None:
    newer = learn_until(history, history.known_until, n_jobs=1)
    assert newer.trained_until_ > default_cuts(history)[0]

    verdict = compare(history, newer, champion, n_jobs=1)

    # The same recipe learnt from the same labels is the champion, bit for bit.
    assert "+0.0000 (+0.0000 to +0.0000)" in rule(verdict, "log loss").found
    assert (verdict.candidate, verdict.champion) == ("a twin learnt before the first morning judged", "as it is")


def test_a_twin_follows_the_recipe_of_its_model_not_that_of_the_data_set(
    history: History, champion: FunnelModel
) -> None:
    trees = with_settings(history, "lightgbm", {"rounds": 1, "max_rounds": 1, "learning_rate": 1e-6})
    weak = learn_until(trees, history.known_until, n_jobs=1)

    verdict = compare(history, weak, champion, n_jobs=1)

    assert not verdict.passed
    assert not rule(verdict, "log loss").kept


def test_a_segment_that_suffers_holds_the_candidate_back_though_the_whole_does_not(
    history: History, champion: FunnelModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = backtest.judge
    mornings = judging_examples(history, default_cuts(history)[0])

    def spoilt_in_one_segment(*arguments: Any) -> Any:
        found = judged(*arguments)
        if arguments[1] is champion:
            return found
        _, rows = max(sources(history, found), key=lambda each: np.count_nonzero(each[1]))
        spoilt = found.probability.copy()
        spoilt[rows] = np.clip(spoilt[rows] * 5, 0, 0.9)
        return replace(found, probability=spoilt)

    monkeypatch.setattr(gate, "judge", spoilt_in_one_segment)
    verdict = compare(history, champion.serving_base_rates(()), champion, n_jobs=1)

    assert not rule(verdict, "segments").kept
    largest, _ = max(sources(history, judged(history, champion, mornings)), key=lambda each: np.count_nonzero(each[1]))
    assert largest in rule(verdict, "segments").found


def test_chance_alone_rarely_makes_a_segment_look_worse() -> None:
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(200):
        z = [gate._z(rng.normal(size=100)) for _ in range(30)]
        alarms += max(z) > norm.isf(gate.FALSE_ALARM / 30)

    assert alarms / 200 < 0.12


@pytest.mark.parametrize(
    ("section", "settings", "told"),
    [
        ("horizon_days", None, "horizon_days"),
        ("time", {"timezone": "Asia/Tokyo"}, "time.timezone"),
        ("attributes", {"numbers": ("employees", "age")}, "does not declare: age"),
    ],
)
def test_models_of_another_funnel_are_refused(
    history: History, champion: FunnelModel, section: str, settings: dict[str, Any] | None, told: str
) -> None:
    other = champion.serving_base_rates(())
    if settings is None:
        update: Any = {stage: days + 1 for stage, days in champion.funnel.horizon_days.items()}
    else:
        update = getattr(champion.funnel, section).model_copy(update=settings)
    other.funnel = champion.funnel.model_copy(update={section: update})

    with pytest.raises(ModelError, match=told):
        as_read_by(history, other)


def test_no_model_is_judged_on_mornings_before_its_labels_ended(history: History, champion: FunnelModel) -> None:
    first = default_cuts(history)[0]
    assert champion.trained_until_ <= first
    late = champion.serving_base_rates(())
    late.trained_until_ = first + DAY

    assert compare(history, late, champion, n_jobs=1).candidate.startswith("a twin")
