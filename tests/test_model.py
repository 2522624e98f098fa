"""The funnel's model: conventions of scikit-learn, blocks of time, calibration, storage."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from leadscore.errors import ModelError, TrainingError
from leadscore.history import DAY, History
from leadscore.labels import reached
from leadscore.model import FunnelModel, funnel_model, load_model, save_model
from leadscore.model.blocks import Blocks
from leadscore.model.grades import Grades
from leadscore.model.manifest import MANIFEST, write_manifest
from leadscore.model.stage import fit_calibration
from tests.served import serving_base_rates

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.examples import Examples


@pytest.fixture(scope="module")
def history(sample_history: History) -> History:
    return sample_history


@pytest.fixture(scope="module")
def examples(sample_examples: Examples) -> Examples:
    return sample_examples


@pytest.fixture(scope="module")
def model(sample_model: FunnelModel) -> FunnelModel:
    return sample_model


def test_parameters_are_untouched_and_learnt_state_ends_in_an_underscore(model: FunnelModel) -> None:
    assert set(model.get_params()) == {"funnel", "n_jobs"}
    assert clone(model).get_params()["funnel"] == model.funnel
    assert all(name.endswith("_") for name in vars(model) if name not in model.get_params())
    with pytest.raises(NotFittedError):
        clone(model).predict_proba(None)


def test_probabilities_are_nan_for_stages_already_passed_and_only_there(
    model: FunnelModel, history: History, examples: Examples
) -> None:
    snapshot = history.at(examples.lead, examples.as_of)[np.arange(0, len(examples), 7)]
    probability = model.predict_proba(snapshot)
    passed = np.arange(1, 6) <= snapshot.steps.stage[:, None]

    assert probability.shape == (len(snapshot), 5)
    assert np.array_equal(np.isnan(probability), passed)
    assert np.nanmin(probability) > 0
    assert np.nanmax(probability) < 1


def test_closed_leads_have_no_probability(model: FunnelModel, history: History) -> None:
    everyone = history.at(np.arange(len(history)), np.full(len(history), history.known_until))
    closed = np.flatnonzero(everyone.steps.stage >= 5)

    assert len(closed) > 100
    assert np.isnan(model.predict_proba(everyone[closed])).all()


def test_trees_of_all_stages_in_one_call_or_in_a_call_each_say_the_same_bits(
    model: FunnelModel, history: History, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = history.at(examples.lead[:500], examples.as_of[:500])
    in_one_call = model.predict_proba(snapshot)
    monkeypatch.setattr(funnel_model, "ROWS_APART", 1)

    np.testing.assert_array_equal(model.predict_proba(snapshot), in_one_call)


def test_a_later_stage_with_no_longer_a_horizon_is_never_likelier(model: FunnelModel) -> None:
    model_ = FunnelModel(model.funnel.model_copy(update={"horizon_days": dict.fromkeys(model.funnel.later_stages, 30)}))
    raw = np.array([[0.2, 0.3, 0.1, 0.15, 0.05], [np.nan, np.nan, 0.2, 0.4, 0.3]])

    assert np.array_equal(
        model_._ordered(raw.copy()),
        [[0.2, 0.2, 0.1, 0.1, 0.05], [np.nan, np.nan, 0.2, 0.2, 0.2]],
        equal_nan=True,
    )
    # With a longer horizon a later stage may be likelier.
    longer = FunnelModel(
        model.funnel.model_copy(
            update={"horizon_days": dict(zip(model.funnel.later_stages, (5, 10, 20, 30, 60), strict=True))}
        )
    )
    assert np.array_equal(longer._ordered(raw.copy()), raw, equal_nan=True)


@pytest.mark.integration
def test_too_few_outcomes_are_served_the_base_rate(history: History, examples: Examples) -> None:
    funnel = history.funnel.model_copy(
        update={
            "lightgbm": history.funnel.lightgbm.model_copy(
                update={"min_outcome_leads": 100, "rounds": 5, "max_rounds": 5}
            )
        }
    )
    outcome = reached(history, examples.lead, examples.as_of)
    snapshot = history.at(examples.lead, examples.as_of)
    model = FunnelModel(funnel).fit(snapshot, outcome, on_morning=examples.on_morning, with_reasons=False)
    won = model.stages_[-1]

    assert won.n_reached < 100
    assert won.fallback
    assert not model.stages_[0].fallback
    in_sql = snapshot[np.flatnonzero(snapshot.steps.stage == 3)]
    rates = model.base_rate_.predict_proba(in_sql)[:, -1]
    assert len(np.unique(rates)) == len(model.base_rate_.band_days_) + 1 > 3
    assert_array_equal(model.predict_proba(in_sql)[:, -1], rates)


def test_base_rates_keep_to_the_order_of_stages_in_each_band(history: History, model: FunnelModel) -> None:
    same = dict.fromkeys(model.funnel.later_stages, 30)
    served = serving_base_rates(model, model.funnel.later_stages)
    served.funnel = model.funnel.model_copy(update={"horizon_days": same})
    again = replace(history, funnel=served.funnel)
    everyone = again.at(np.arange(len(again)), np.full(len(again), again.known_until))

    probability = served.predict_proba(everyone)

    assert (np.nan_to_num(np.diff(probability)) <= 0).all()
    assert not (np.nan_to_num(np.diff(served.base_rate_.predict_proba(everyone))) <= 0).all()


def test_base_rates_of_one_lead_are_those_in_a_crowd(history: History, model: FunnelModel) -> None:
    served = serving_base_rates(model, model.funnel.later_stages)
    everyone = history.at(np.arange(0, len(history), 40), np.full(len(range(0, len(history), 40)), history.known_until))
    alone = np.concatenate([served.predict_proba(everyone[row : row + 1]) for row in range(len(everyone))])

    assert_array_equal(alone, served.predict_proba(everyone))


def test_a_model_without_bands_is_loaded_and_serves_the_rate_of_the_stage(
    model: FunnelModel, history: History, tmp_path: Path
) -> None:
    save_model(serving_base_rates(model, ["won"]), tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    described = json.loads(path.read_text())
    del described["base_rate_bands"]
    described["format"] = 3
    for stage in described["stages"]:
        del stage["pairs"]
        stage["no_signal"] = stage["stage"] == "won"
    path.write_text(json.dumps(described))
    (tmp_path / "model" / MANIFEST).unlink()
    write_manifest(tmp_path / "model")

    again = load_model(tmp_path / "model")

    everyone = history.at(np.arange(len(history)), np.full(len(history), history.known_until))
    stage = everyone.steps.stage
    won = again.predict_proba(everyone)[:, -1]
    assert_array_equal(won[stage < 5], again.base_rate_.rates_[stage[stage < 5], -1])


def test_nothing_ripe_is_an_error(history: History, examples: Examples) -> None:
    outcome = np.full((len(examples), 5), np.nan, np.float32)
    with pytest.raises(TrainingError, match="no example is ripe"):
        FunnelModel(history.funnel).fit(history.at(examples.lead, examples.as_of), outcome)


@pytest.mark.parametrize("horizons", [(10, 10), (10, 60), (120, 60)], ids=str)
def test_no_label_of_a_block_crosses_into_the_next_whatever_its_stage(horizons: tuple[int, int]) -> None:
    as_of = np.random.default_rng(1).integers(0, 400 * DAY, 5_000)
    outcome = np.ones((5_000, 2), np.float32)
    outcome[::3, 1] = np.nan
    begin = np.broadcast_to(as_of[:, None], outcome.shape)
    end = begin + np.array(horizons) * DAY

    blocks = Blocks.of(as_of, outcome, horizons)

    assert end[blocks.a].max() < begin[blocks.b].min()
    if blocks.c.any():
        assert end[blocks.b].max() < begin[blocks.c].min()
    assert blocks.c.any() == (400 - 2 * max(horizons) >= 400 / 3)
    assert not (blocks.a & blocks.b | blocks.b & blocks.c | blocks.a & blocks.c).any()
    assert not np.isnan(outcome[blocks.a | blocks.b | blocks.c]).any()


def test_calibration_recovers_a_known_slope_and_intercept() -> None:
    rng = np.random.default_rng(1)
    margin = rng.normal(size=200_000)
    outcome = (rng.random(200_000) < expit(0.7 * margin - 1.3)).astype(np.float32)

    assert fit_calibration(margin, outcome) == pytest.approx((0.7, -1.3), abs=0.02)
    # Margins that point the wrong way are flattened, never turned round.
    assert 0 < fit_calibration(-margin, outcome)[0] < 0.1


def test_grades_part_each_list_at_its_own_edges() -> None:
    key = np.concatenate((np.arange(1, 101) / 100, np.arange(1, 11) / 1000))
    before = np.arange(110) < 100

    grades = Grades.of(key, before)

    assert [np.count_nonzero(grades.grade(key, before)[before] == name) for name in "ABCD"] == [10, 20, 30, 40]
    assert [np.count_nonzero(grades.grade(key, before)[~before] == name) for name in "ABCD"] == [1, 2, 3, 4]
    # A list that nobody stood in has the edges of another model, or none at all.
    nobody = Grades.of(key[before], before[before])
    assert set(nobody.grade(key[~before], before[~before])) == {"D"}
    assert np.array_equal(nobody.or_else(grades).edges, grades.edges)


def test_a_lead_is_graded_by_what_its_list_is_ordered_by(model: FunnelModel, history: History) -> None:
    everyone = history.at(np.arange(len(history)), np.full(len(history), history.known_until))
    open_ = everyone[np.flatnonzero(everyone.steps.stage < 5)]

    probability = model.predict_proba(open_)
    key, before = model.keys(open_.steps.stage, probability)

    assert np.array_equal(before, open_.steps.stage < 3)
    assert np.array_equal(key, np.where(before, probability[:, 2], probability[:, 4]))
    for listed in (before, ~before):
        worst = [key[listed & (model.grades_.grade(key, before) == name)].min() for name in "ABCD"]
        assert worst == sorted(worst, reverse=True)


def test_a_saved_model_is_text_and_says_the_same(model: FunnelModel, history: History, tmp_path: Path) -> None:
    save_model(model, tmp_path / "model", {"note": "a test"})
    again = load_model(tmp_path / "model")
    snapshot = history.at(np.arange(len(history)), np.full(len(history), history.known_until))

    assert np.array_equal(again.predict_proba(snapshot), model.predict_proba(snapshot), equal_nan=True)
    assert np.array_equal(again.grades_.edges, model.grades_.edges)
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".txt", ".json"}
    assert json.loads((tmp_path / "model" / "model.json").read_text())["about"] == {"note": "a test"}


@pytest.mark.parametrize("harm", ["change", "delete", "add"])
def test_a_damaged_model_is_refused(model: FunnelModel, tmp_path: Path, harm: str) -> None:
    save_model(model, tmp_path / "model")
    trees = tmp_path / "model" / "trees_1.txt"
    match harm:
        case "change":
            trees.write_text(trees.read_text().replace("leaf_value=", "leaf_value=9 ", 1))
        case "delete":
            trees.unlink()
        case _:
            (tmp_path / "model" / "surprise.py").write_text("print('run me')")

    with pytest.raises(ModelError, match="surprise.py" if harm == "add" else "trees_1.txt"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("part", "value"), [("horizon_days", dict.fromkeys(("mql", "sal", "sql", "opportunity", "won"), 7)), ("time", None)]
)
def test_leads_of_another_funnel_are_refused(
    model: FunnelModel, history: History, part: str, value: dict[str, int] | None
) -> None:
    other = value or history.funnel.time.model_copy(update={"timezone": "Europe/Berlin"})
    foreign = replace(history, funnel=history.funnel.model_copy(update={part: other}))

    with pytest.raises(ModelError, match=f"another funnel: {part}"):
        model.predict_proba(foreign.at([0], [history.known_until]))


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model"):
        load_model(tmp_path)
