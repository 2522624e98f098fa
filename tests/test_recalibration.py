"""Calibration follows a base rate that has moved; trees, order and what is not known yet have no part in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.special import expit, logit

from leadscore.backtest import default_cuts, judge, learn_until
from leadscore.config import parse_funnel
from leadscore.drift import Drift
from leadscore.errors import ModelError
from leadscore.examples import judging_examples
from leadscore.gate import compare, recipe
from leadscore.history import DAY, build_history, read_tables
from leadscore.metrics import calibration_error
from leadscore.model import fit_intercept, load_model, save_model
from leadscore.model.storage import read_about
from leadscore.recalibration import Recalibrated, recalibrate
from leadscore.recalibration.recent import Recent
from leadscore.registry import contenders
from leadscore.registry.connection import connected
from leadscore.registry.recalibrated import log_recalibration
from tests.hand import at
from tests.served import serving_base_rates

if TYPE_CHECKING:
    from typing import Any

    from leadscore.history import History
    from leadscore.history.line import Float64s
    from leadscore.history.tables import Tables
    from leadscore.model import FunnelModel
    from leadscore.recalibration import Moved

pytestmark = pytest.mark.integration

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
QUICK = """
[horizon_days]
mql = 20
sal = 20
sql = 20
opportunity = 30
won = 40
[examples]
grid_days = [4, 32]
mornings_every_days = 30
[judging]
mornings_every_days = 9
resamples = 40
[features]
windows_days = [7, 30]
[lightgbm]
rounds = 20
max_rounds = 20
learning_rate = 0.2
min_outcome_leads = 15
"""
FUNNEL = parse_funnel((SAMPLE / "funnel.toml").read_text() + QUICK)
WON = len(FUNNEL.later_stages) - 1
# The trees learn from labels that ended by LEARNT; that is when the base rate moves. Calibration is fitted anew on
# labels that ended by NOW, and judged on the mornings from then on.
LEARNT, NOW = at("2024-10-01 08:00"), at("2025-03-01 08:00")


@pytest.fixture(scope="module")
def tables() -> Tables:
    return read_tables(SAMPLE, FUNNEL)


@pytest.fixture(scope="module")
def history(tables: Tables) -> History:
    return build_history(tables, FUNNEL)


@pytest.fixture(scope="module")
def model(history: History) -> FunnelModel:
    return learn_until(history, LEARNT, n_jobs=1)


@pytest.fixture(scope="module")
def moved_history(tables: Tables) -> History:
    """Half of the wins after LEARNT never happen."""
    return without_wins(tables, LEARNT)


@pytest.fixture(scope="module")
def usual(history: History, model: FunnelModel) -> Recalibrated:
    """Of the history as it is."""
    return recalibrate(history, model, n_jobs=1, until=NOW)


@pytest.fixture(scope="module")
def recalibrated(moved_history: History, model: FunnelModel) -> Recalibrated:
    return recalibrate(moved_history, model, n_jobs=1, until=NOW)


def without_wins(tables: Tables, since: int, until: int = 2**62, one_in: int = 2) -> History:
    """Without the wins that became known in (since, until], but for those of one in so many leads."""
    steps = tables.transitions
    gone = (steps.stage == WON + 1) & (steps.known > since) & (steps.known <= until) & (steps.lead % one_in > 0)
    columns: dict[str, Any] = {name: getattr(steps, name) for name in steps.__dataclass_fields__}
    kept: dict[str, Any] = {name: None if each is None else each[~gone] for name, each in columns.items()}
    return build_history(replace(tables, transitions=replace(steps, **kept)), FUNNEL)


def with_settings(model: FunnelModel, section: str, settings: dict[str, Any]) -> FunnelModel:
    other = serving_base_rates(model, [])
    changed = getattr(model.funnel, section).model_copy(update=settings)
    other.funnel = model.funnel.model_copy(update={section: changed})
    return other


def of_stage(found: Recalibrated, stage: str) -> Moved:
    return next(each for each in found.moved if each.stage == stage)


def errors(history: History, model: FunnelModel, since: int) -> list[float]:
    """Calibration error of each stage on the mornings from a moment on."""
    judged = judge(history, model, judging_examples(history, since))
    stages = (judged.reaching(place) for place in range(WON + 1))
    return [calibration_error(known.outcome, known.probability) for known in stages]


def everything(history: History, model: FunnelModel) -> Float64s:
    examples = judging_examples(history, NOW)
    return model.predict_proba(history.at(examples.lead, examples.as_of))


def same(one: Recalibrated, other: Recalibrated) -> bool:
    return [(each.slope, each.intercept) for each in one.moved] == [
        (each.slope, each.intercept) for each in other.moved
    ] and np.array_equal(one.model.base_rate_.rates_, other.model.base_rate_.rates_, equal_nan=True)


def test_when_half_of_the_wins_stay_away_calibration_on_still_later_mornings_is_better(
    moved_history: History, model: FunnelModel, recalibrated: Recalibrated
) -> None:
    before, after = errors(moved_history, model, NOW), errors(moved_history, recalibrated.model, NOW)
    won = recalibrated.moved[WON]

    assert after[WON] < 0.6 * before[WON]
    assert max(np.subtract(after, before)) < 0.002  # no stage pays for it
    assert won.fitted == "slope and intercept"
    assert abs(won.said[0] - won.observed) > 0.006
    assert won.said[1] == pytest.approx(won.observed, abs=0.002)


def test_recalibration_helps_against_the_slow_drift_of_the_invented_company_too(
    history: History, model: FunnelModel, usual: Recalibrated
) -> None:
    assert np.mean(errors(history, usual.model, NOW)) < 0.8 * np.mean(errors(history, model, NOW))


def test_the_order_within_a_stage_stays(moved_history: History, model: FunnelModel, recalibrated: Recalibrated) -> None:
    margin = np.linspace(-8, 3, 5_000)
    for old, new in zip(model.stages_, recalibrated.model.stages_, strict=True):
        assert new.booster is old.booster
        assert new.slope > 0
        assert (np.diff(expit(new.slope * margin + new.intercept)) > 0).all()
    before, after = (everything(moved_history, each)[:, WON] for each in (model, recalibrated.model))
    told = ~np.isnan(before)
    assert not np.array_equal(before[told], after[told])
    assert_array_equal(np.argsort(before[told], kind="stable"), np.argsort(after[told], kind="stable"))


def test_a_later_stage_with_no_longer_a_horizon_is_still_never_likelier(
    moved_history: History, recalibrated: Recalibrated
) -> None:
    model = serving_base_rates(recalibrated.model, [])
    model.stages_ = tuple(replace(each, intercept=place * 2.0) for place, each in enumerate(model.stages_))
    probability = everything(moved_history, model)

    both = ~np.isnan(probability[:, 0])
    assert (probability[both, 1] <= probability[both, 0]).all()
    assert (probability[both, 3] > probability[both, 0]).any()  # of a longer horizon


def test_a_recalibrated_model_is_saved_and_loaded_bit_for_bit(
    moved_history: History, recalibrated: Recalibrated, tmp_path: Path
) -> None:
    save_model(recalibrated.model, tmp_path / "model")
    again = load_model(tmp_path / "model")

    assert_array_equal(everything(moved_history, again), everything(moved_history, recalibrated.model))
    assert again.trained_until_ == recalibrated.model.trained_until_
    assert again.recalibrated_
    assert again.grown_until_ == recalibrated.model.grown_until_ < again.trained_until_


def test_trained_until_is_the_end_of_the_last_label_used(model: FunnelModel, recalibrated: Recalibrated) -> None:
    ends = [each.mornings[1] + days * DAY for each, days in zip(recalibrated.moved, FUNNEL.horizons, strict=True)]

    assert model.trained_until_ <= LEARNT
    assert recalibrated.model.trained_until_ == max(ends)
    assert NOW - 9 * DAY < recalibrated.model.trained_until_ <= NOW


def test_nothing_known_after_the_moment_is_looked_at(
    tables: Tables, model: FunnelModel, recalibrated: Recalibrated
) -> None:
    rewritten = recalibrate(without_wins(tables, LEARNT, NOW), model, n_jobs=1, until=NOW)
    without = recalibrate(without_wins(tables, LEARNT, NOW - 30 * DAY), model, n_jobs=1, until=NOW)

    assert same(rewritten, recalibrated)
    assert not same(without, recalibrated)


def test_mornings_that_the_trees_have_not_learnt_from_are_taken_where_they_are_enough(
    model: FunnelModel, recalibrated: Recalibrated
) -> None:
    assert all(each.unseen for each in recalibrated.moved)
    assert min(each.mornings[0] for each in recalibrated.moved) >= model.trained_until_


def test_on_mornings_that_the_trees_may_have_seen_only_the_intercept_is_fitted(moved_history: History) -> None:
    newer = learn_until(moved_history, NOW - 20 * DAY, n_jobs=1)
    newer.stages_ = tuple(replace(each, intercept=each.intercept + 1.0) for each in newer.stages_)

    found = recalibrate(moved_history, newer, n_jobs=1, until=NOW)

    assert {each.fitted for each in found.moved} == {"intercept"}
    assert not any(each.unseen for each in found.moved)
    assert [each.slope for each in found.model.stages_] == [each.slope for each in newer.stages_]
    assert all(each.said[1] == pytest.approx(each.observed, abs=1e-3) for each in found.moved)
    assert "the trees may have seen them" in str(found.moved[0])


def test_with_fewer_outcomes_only_the_intercept_is_fitted(moved_history: History, model: FunnelModel) -> None:
    demanding = with_settings(model, "lightgbm", {"min_outcome_leads": 100_000})

    found = recalibrate(moved_history, demanding, n_jobs=1, until=NOW)

    assert found.moved[WON].fitted == "intercept"
    assert found.moved[WON].unseen
    assert found.model.stages_[WON].slope == model.stages_[WON].slope


def test_with_hardly_any_outcome_nothing_is_fitted(tables: Tables, model: FunnelModel) -> None:
    hardly_any = without_wins(tables, at("2024-01-01 08:00"), one_in=40)

    found = recalibrate(hardly_any, model, n_jobs=1, until=NOW)

    assert found.moved[WON].fitted == "nothing"
    assert "fewer than 10 leads" in found.moved[WON].why
    assert found.model.stages_[WON] is model.stages_[WON]
    assert_array_equal(found.model.base_rate_.rates_[:, WON], model.base_rate_.rates_[:, WON])


def test_what_does_not_help_on_the_later_mornings_is_left_out(
    tables: Tables, model: FunnelModel, usual: Recalibrated
) -> None:
    right = serving_base_rates(model, [])
    right.stages_, right.base_rate_ = usual.model.stages_, usual.model.base_rate_
    # Most wins stay away, but only while the first calibration looks.
    passing = without_wins(tables, at("2024-10-16 08:00"), at("2024-12-22 08:00"), one_in=4)

    found = recalibrate(passing, right, n_jobs=1, until=NOW)

    assert found.moved[WON].observed < 0.8 * found.moved[WON].said[0]
    assert found.moved[WON].fitted == "nothing"
    assert "would not have helped" in found.moved[WON].why
    assert found.model.stages_[WON] is right.stages_[WON]
    assert_array_equal(found.model.base_rate_.rates_[:, WON], right.base_rate_.rates_[:, WON])


def test_no_label_of_the_first_calibration_ends_among_the_mornings_that_decide(
    moved_history: History, model: FunnelModel
) -> None:
    recent = Recent.of(moved_history, model, NOW, n_jobs=1)
    for place, days in enumerate(FUNNEL.horizons):
        window, as_of = recent.window(place), recent.examples.as_of
        assert as_of[window.early].max() + days * DAY < as_of[window.late].min()
        assert as_of[window.rows].max() + days * DAY <= NOW


def test_a_model_recalibrated_before_is_so_again_on_mornings_that_its_trees_have_not_learnt_from(
    moved_history: History, model: FunnelModel, recalibrated: Recalibrated
) -> None:
    again = recalibrate(moved_history, recalibrated.model, n_jobs=1, until=NOW + 10 * DAY)

    assert all(each.unseen for each in again.moved)
    assert again.model.grown_until_ == model.grown_until_
    assert again.model.trained_until_ > recalibrated.model.trained_until_


@pytest.mark.parametrize("without", ["signal", "trees"])
def test_where_base_rates_are_served_they_are_fitted_anew(
    moved_history: History, model: FunnelModel, without: str
) -> None:
    served = serving_base_rates(model, ["won"])
    if without == "trees":
        served.stages_ = (*model.stages_[:-1], replace(model.stages_[-1], booster=None))

    found = recalibrate(moved_history, served, n_jobs=1, until=NOW)

    assert found.moved[WON].fitted == "base rate"
    assert found.moved[WON].said[1] == pytest.approx(found.moved[WON].observed, abs=0.002)
    assert found.model.stages_[WON] is served.stages_[WON]
    assert errors(moved_history, found.model, NOW)[WON] < errors(moved_history, served, NOW)[WON]


def test_the_old_model_stays_as_it_was(moved_history: History, model: FunnelModel) -> None:
    before, rates, until = everything(moved_history, model), model.base_rate_.rates_.copy(), model.trained_until_

    recalibrate(moved_history, model, n_jobs=1, until=NOW)

    assert_array_equal(everything(moved_history, model), before)
    assert_array_equal(model.base_rate_.rates_, rates)
    assert model.trained_until_ == until


def test_leads_are_sampled_where_there_would_be_too_many_examples(moved_history: History, model: FunnelModel) -> None:
    settings = FUNNEL.examples.model_copy(update={"max_examples": 10_000})
    few = replace(moved_history, funnel=FUNNEL.model_copy(update={"examples": settings}))

    all_, some = (recalibrate(each, model, n_jobs=1, until=NOW).moved[0] for each in (moved_history, few))

    assert some.n_leads < 0.6 * all_.n_leads
    assert some.n_examples / some.n_leads == pytest.approx(all_.n_examples / all_.n_leads, rel=0.1)


def test_before_anything_is_ripe_nothing_is_fitted(history: History, model: FunnelModel) -> None:
    found = recalibrate(history, model, n_jobs=1, until=int(history.known.min()) + DAY)

    assert not found.changed
    assert found.model.trained_until_ == model.trained_until_
    assert_array_equal(everything(history, found.model), everything(history, model))
    assert str(found.moved[0]).startswith("mql: nothing fitted")


def test_leads_of_another_funnel_are_refused(history: History, model: FunnelModel) -> None:
    other = FUNNEL.model_copy(update={"horizon_days": dict.fromkeys(FUNNEL.later_stages, 7)})

    with pytest.raises(ModelError, match="another funnel: horizon_days"):
        recalibrate(replace(history, funnel=other), model, n_jobs=1, until=NOW)


def test_an_intercept_makes_the_mean_probability_the_share_that_reached() -> None:
    rng = np.random.default_rng(1)
    margin = rng.normal(-2, 1.5, 100_000)
    outcome = (rng.random(100_000) < expit(margin - 0.8)).astype(np.float64)

    found = fit_intercept(margin, outcome)

    assert found == pytest.approx(-0.8, abs=0.03)
    assert expit(margin + found).mean() == pytest.approx(outcome.mean(), abs=1e-9)
    assert fit_intercept(np.zeros(4), np.array([1.0, 0, 0, 0])) == pytest.approx(logit(0.25))
    with pytest.raises(ValueError, match="both outcomes"):
        fit_intercept(margin, np.zeros(100_000))


def test_what_moved_is_told_in_a_sentence(recalibrated: Recalibrated) -> None:
    told = str(of_stage(recalibrated, "won"))

    for part in (
        "won: slope and intercept fitted",
        "said ",
        "observed ",
        "unseen by the trees",
        "mornings from 2024-10-",
    ):
        assert part in told


@pytest.mark.usefixtures("store")
def test_a_recalibrated_model_is_a_candidate_that_names_its_origin(
    moved_history: History, recalibrated: Recalibrated, tmp_path: Path
) -> None:
    candidate = log_recalibration(recalibrated, Drift(), moved_history, "moved", source=7)

    with connected() as client:
        version = client.get_model_version("leadscore", str(candidate.version))
        run = client.get_run(candidate.run_id)
    assert version.tags["leadscore.recalibrated_from"] == "7"
    assert run.data.tags["leadscore.recalibrated_from"] == "7"
    assert run.data.metrics["won/said_after"] == recalibrated.moved[WON].said[1]
    assert not candidate.is_champion
    loaded = contenders().candidate
    assert_array_equal(everything(moved_history, loaded), everything(moved_history, recalibrated.model))
    about = read_about(next((tmp_path / "models" / "artifacts").glob("**/funnel_model")))
    assert about["recalibrated_from"] == 7
    assert about["drift"] == Drift().as_json()
    assert run.data.tags["leadscore.drift"] == str(Drift())
    assert json.loads(json.dumps(about["moved"]))[WON]["fitted"] == "slope and intercept"


def test_the_gate_lets_a_recalibration_pass_that_helps(moved_history: History, model: FunnelModel) -> None:
    candidate = recalibrate(moved_history, model, n_jobs=1).model
    assert model.trained_until_ <= default_cuts(moved_history)[0] < candidate.trained_until_

    verdict = compare(moved_history, candidate, model, n_jobs=1)

    assert verdict.passed, str(verdict)
    assert "old, recalibrated 0 days ago and the champion's" in verdict.evidence[-1].judged
    assert "log loss: -0.0" in str(verdict)


def test_the_gate_holds_a_recalibration_back_that_harms(
    history: History, model: FunnelModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def harming(*arguments: Any) -> Recalibrated:
        found = recalibrate(*arguments)
        found.model.stages_ = tuple(replace(each, intercept=each.intercept + 2) for each in found.model.stages_)
        return found

    candidate = recalibrate(history, model, n_jobs=1).model
    monkeypatch.setattr(recipe, "recalibrate", harming)

    assert not compare(history, candidate, model, n_jobs=1).passed


@pytest.mark.parametrize(
    "learnt", ["before the first morning judged", pytest.param("after it", marks=pytest.mark.slow)]
)
def test_the_trees_of_a_recalibrated_models_twin_are_those_of_its_origin(
    history: History, model: FunnelModel, monkeypatch: pytest.MonkeyPatch, learnt: str
) -> None:
    origin = model if learnt.startswith("before") else learn_until(history, NOW + 90 * DAY, n_jobs=1)
    candidate = recalibrate(history, origin, n_jobs=1).model
    monkeypatch.setattr(recipe, "recalibrate", lambda _history, twin, *_: Recalibrated(twin, ()))

    verdict = compare(history, candidate, origin, n_jobs=1)

    assert "recalibrated 0 days ago" in verdict.evidence[-1].judged
    assert "log loss: +0.0000 (+0.0000 to +0.0000)" in str(verdict)
