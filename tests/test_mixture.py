"""Trees mixed with a logistic regression: chosen on later blocks, exact, and the same bits every way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit

from benchmarks.worlds import World, company
from leadscore.backtest import learn_until
from leadscore.examples import learning_examples
from leadscore.explain import explain
from leadscore.features import matrix
from leadscore.funnel import open_leads
from leadscore.model import load_model, save_model
from leadscore.model.learning import Learning, _Later
from leadscore.model.linear import _added_up
from leadscore.model.stage import Mix
from leadscore.peers import logistic_until

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history import History, Snapshot
    from leadscore.history.line import Float64s
    from leadscore.model import FunnelModel

QUALIFIED = 0
N = 4_000


@pytest.fixture(scope="module")
def history() -> History:
    return company(World(), 1_000, seed=3)


@pytest.fixture(scope="module")
def everyone(history: History) -> Snapshot:
    return open_leads(history, history.known_until)


def mixed(history: History, weight: float, until: int | None = None) -> FunnelModel:
    """A model of which the trees count so much in every stage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learning, "_mix", lambda *_: Mix(weight))
        # Calibrations need a regression of block A for this weight; here they are left out.
        patch.setattr(Learning, "_calibration", lambda *_: (1.0, 0.0))
        return learn_until(history, history.known_until if until is None else until, n_jobs=1)


@pytest.fixture(scope="module")
def half(history: History) -> FunnelModel:
    return mixed(history, 0.5)


def test_log_odds_are_between_those_of_trees_and_regression(
    history: History, everyone: Snapshot, half: FunnelModel
) -> None:
    trees, linear = mixed(history, 1.0), mixed(history, 0.0)

    of_trees, of_linear, ours = (logit(each.predict_proba(everyone)[:, QUALIFIED]) for each in (trees, linear, half))

    assert trees.linear_ is None
    assert np.nanstd(of_trees - of_linear) > 0.05
    assert_allclose(ours, (of_trees + of_linear) / 2, rtol=1e-9)


def test_the_regression_is_the_baseline(history: History, everyone: Snapshot) -> None:
    ours = mixed(history, 0.0).predict_proba(everyone)[:, QUALIFIED]
    baseline = logistic_until(history, learning_examples(history), history.known_until, n_jobs=1)

    assert_allclose(ours, baseline.predict_proba(everyone)[:, QUALIFIED], rtol=1e-4)


def test_a_lead_alone_has_the_bits_that_it_has_in_a_crowd(everyone: Snapshot, half: FunnelModel) -> None:
    crowd = half.predict_proba(everyone)

    for size in (1, 2, 31, 33, 64):
        parts = [half.predict_proba(everyone[begin : begin + size]) for begin in range(0, len(everyone), size)]
        assert_array_equal(np.concatenate(parts), crowd)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 80))
def test_terms_are_added_from_first_to_last(seed: int, n_columns: int, n_rows: int) -> None:
    random = np.random.default_rng(seed)
    columns, coef = random.normal(size=(n_columns, n_rows)), random.normal(size=n_columns)

    expected = []
    for row in columns.T.tolist():
        total = 0.3
        for value, weight in zip(row, coef.tolist(), strict=True):
            total += value * weight
        expected.append(total)

    assert _added_up(0.3, coef, columns).tolist() == expected


def test_reasons_add_up_to_the_margin(everyone: Snapshot, half: FunnelModel) -> None:
    for each in explain(half, everyone[np.flatnonzero(everyone.steps.stage == 0)], QUALIFIED):
        added = sum(reason.contribution for reason in (*each.towards, *each.against))
        assert each.base + added + each.everything_else == pytest.approx(each.margin, abs=1e-9)
        assert each.bounded or each.probability == pytest.approx(expit(each.margin), rel=1e-12)


def test_a_saved_model_gives_the_same_bits(everyone: Snapshot, half: FunnelModel, tmp_path: Path) -> None:
    save_model(half, tmp_path / "model")

    again = load_model(tmp_path / "model")

    assert_array_equal(again.predict_proba(everyone), half.predict_proba(everyone))
    assert again.stages_[QUALIFIED].mix.weight == 0.5
    X = matrix(half.features_, everyone.coded(half.vocabulary_))
    assert_array_equal(again.margin(QUALIFIED, X), half.margin(QUALIFIED, X))


def later(trees: float, linear: float, *, linear_on_c: float | None = None, decides: bool = True, n: int = N) -> _Later:
    """Two blocks whose margins know the outcome so well: standard deviations between those that reached and not."""
    random = np.random.default_rng(5)
    outcome = [(random.random(n) < 0.4).astype(np.float32) for _ in range(2)]

    def margin(block: int, signal: float) -> Float64s:
        return signal * outcome[block] + random.normal(size=n)

    on_c = linear if linear_on_c is None else linear_on_c
    found = _Later(
        np.ones(n, np.bool_), np.ones(n, np.bool_), outcome[0], outcome[1], margin(0, trees), margin(1, trees), decides
    )
    found.linear_b, found.linear_c = margin(0, linear), margin(1, on_c)
    return found


@pytest.mark.parametrize(("trees", "linear", "weights"), [(2.0, 0.0, {1.0}), (0.0, 2.0, {0.0}), (1.0, 1.0, {0.5})])
def test_the_better_counts_more(trees: float, linear: float, weights: set[float]) -> None:
    assert later(trees, linear).best(np.arange(N)).weight in weights


def test_a_mixture_that_the_deciding_block_does_not_like_is_left() -> None:
    found = later(0.5, 1.0, linear_on_c=-1.0).best(np.arange(N))

    assert found.weight == 1
    assert found.loss == found.loss_of_trees


def test_levels_and_spreads_do_not_matter() -> None:
    one, other = later(1.0, 1.0), later(1.0, 1.0)
    other.trees_b, other.trees_c = other.trees_b - 8, other.trees_c - 8

    assert one.best(np.arange(N)).weight == other.best(np.arange(N)).weight


def test_without_a_deciding_block_the_other_must_be_clear() -> None:
    few, many = (later(0.8, 1.0, decides=False, n=n) for n in (100, N))

    assert few.best(np.arange(100)).weight == 1
    assert many.best(np.arange(N)).weight < 1
    # Forty times the same examples of a lead are one.
    outcome, trees, linear = few.outcome_b.repeat(40), few.trees_b.repeat(40), few.linear_b.repeat(40)
    repeated = replace(few, outcome_b=outcome, trees_b=trees, linear_b=linear)
    assert repeated.best(np.repeat(np.arange(100), 40)).weight == 1
    assert repeated.best(np.arange(4_000)).weight < 1


def test_weights_are_found_once_and_taken_over_later(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Later, "best", lambda *_: Mix(0.25))
    first = learn_until(history, history.known_until, n_jobs=1)
    found = [stage.mix.weight for stage in first.stages_ if stage.rounds_found]
    assert found == [0.25] * len(found) != []
    monkeypatch.setattr(_Later, "best", lambda *_: pytest.fail("not to be asked"))

    again = learn_until(history, history.known_until, n_jobs=1, rounds_from=first)

    assert [stage.mix.weight for stage in again.stages_] == [stage.mix.weight for stage in first.stages_]


def test_where_trees_count_alone_no_regression_is_kept(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Later, "best", lambda *_: Mix())

    model = learn_until(history, history.known_until, n_jobs=1)

    assert model.linear_ is None
    assert {stage.mix.weight for stage in model.stages_} == {1.0}
