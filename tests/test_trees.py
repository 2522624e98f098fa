"""Trees grown for all stages together, narrowed to one: the same leaves, the same sums, contributions that add up."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest

from leadscore.model.trees import Narrowed, booster_of, narrowed, side_by_side, trees_of, with_counts

STAGE, CATEGORY, N_COLUMNS, N_PLACES = 0, 1, 4, 3
BIAS = -1.25


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """X: the stage, a category, a number that may be missing, a number."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(4_000, N_COLUMNS)).astype(np.float32)
    X[:, STAGE] = rng.integers(0, N_PLACES, len(X))
    X[:, CATEGORY] = rng.integers(0, 6, len(X))
    X[rng.random(len(X)) < 0.3, 2] = np.nan
    return X


def asked(X: np.ndarray, place: int) -> np.ndarray:
    """X of the leads before a stage, with the place of the stage and the steps ahead behind it."""
    ahead = X[X[:, STAGE] <= place]
    return np.column_stack((ahead, np.full(len(ahead), place), place + 1 - ahead[:, STAGE])).astype(np.float32)


@pytest.fixture(scope="module")
def together(rows: np.ndarray) -> lgb.Booster:
    X = np.vstack([asked(rows, place) for place in range(N_PLACES)])
    log_odds = np.nan_to_num(X[:, 2]) - X[:, -1] + 0.7 * X[:, 3] * (X[:, -2] == 1) + (X[:, CATEGORY] == 2) * X[:, -2]
    reached = np.random.default_rng(2).random(len(X)) < 1 / (1 + np.exp(-log_odds))
    settings = {"objective": "binary", "num_leaves": 9, "extra_trees": True, "num_threads": 1, "verbosity": -1}
    data = lgb.Dataset(X, reached, categorical_feature=[CATEGORY], init_score=np.zeros(len(X)))
    return lgb.train(settings | {"min_data_per_group": 5, "feature_fraction": 0.5}, data, 60)


def for_place(together: lgb.Booster, place: int, bias: float = BIAS) -> lgb.Booster:
    to = Narrowed(STAGE, N_COLUMNS, place)
    return booster_of(narrowed(trees_of(together.model_to_string()), to, bias), N_COLUMNS, together.model_to_string())


def test_the_trees_split_by_what_is_asked_by_categories_and_by_numbers_that_are_missing(together: lgb.Booster) -> None:
    used = together.feature_importance("split")

    assert (used > 0).all()


@pytest.mark.parametrize("place", range(N_PLACES))
def test_narrowed_trees_say_of_each_lead_what_all_of_them_say(
    together: lgb.Booster, rows: np.ndarray, place: int
) -> None:
    X = asked(rows, place)

    narrow = for_place(together, place)

    assert narrow.num_feature() == N_COLUMNS
    said = narrow.predict(X[:, :N_COLUMNS], raw_score=True, num_threads=1)
    all_of_them = np.asarray(together.predict(X, raw_score=True, num_threads=1))
    assert said == pytest.approx(all_of_them + BIAS, abs=1e-12)


@pytest.mark.parametrize("place", range(N_PLACES))
def test_no_split_is_left_that_all_leads_before_the_stage_take_alike(together: lgb.Booster, place: int) -> None:
    for tree in trees_of(for_place(together, place).model_to_string()):
        columns, thresholds = (tree[line].split() for line in ("split_feature", "threshold"))
        assert max(map(int, columns)) < N_COLUMNS
        by_stage = [float(each) for column, each in zip(columns, thresholds, strict=True) if int(column) == STAGE]
        assert all(0 <= each < place for each in by_stage)


def test_trees_that_are_left_with_one_leaf_are_added_to_the_others(together: lgb.Booster) -> None:
    # Nobody stands before the first stage: trees that only split by stages are constants there.
    assert for_place(together, 0).num_trees() < together.num_trees()


def test_trees_that_are_all_left_with_one_leaf_are_one_constant(rows: np.ndarray) -> None:
    steps = asked(rows, 2)[:, [5, 5, 5]]
    settings = {"objective": "binary", "num_leaves": 2, "num_threads": 1, "verbosity": -1}
    stumps = lgb.train(settings, lgb.Dataset(steps, steps[:, 0] > 1), 3)

    # Its second column says what is to be reached: always the first stage, one step ahead.
    alone = booster_of(
        narrowed(trees_of(stumps.model_to_string()), Narrowed(0, 1, 0), BIAS), 1, stumps.model_to_string()
    )

    assert alone.num_trees() == 1
    said = alone.predict(np.zeros((1, 1)), raw_score=True)
    one_step = np.asarray(stumps.predict(np.array([[0.0, 0.0, 1.0]]), raw_score=True))
    assert said == pytest.approx(one_step + BIAS)


@pytest.mark.parametrize("place", range(N_PLACES))
def test_contributions_are_measured_against_the_rows_given_and_add_up(
    together: lgb.Booster, rows: np.ndarray, place: int
) -> None:
    X = asked(rows, place)[:, :N_COLUMNS]

    counted = with_counts(for_place(together, place), X)

    margin = np.asarray(counted.predict(X, raw_score=True, num_threads=1))
    assert np.array_equal(margin, for_place(together, place).predict(X, raw_score=True, num_threads=1))
    contributions = np.asarray(counted.predict(X, pred_contrib=True, num_threads=1))
    assert contributions.sum(axis=1) == pytest.approx(margin, abs=1e-9)
    # A leaf that no row came to counts as one.
    assert contributions[0, -1] == pytest.approx(margin.mean(), abs=1e-3)


def test_text_of_another_version_is_refused(together: lgb.Booster) -> None:
    newer = together.model_to_string().replace("version=v4", "version=v5")

    with pytest.raises(ValueError, match="does not say version=v4"):
        trees_of(newer)


def test_boosters_side_by_side_give_the_bits_of_each(rows: np.ndarray) -> None:
    settings = {"objective": "binary", "num_threads": 1, "verbosity": -1}
    reached = rows[:, 3] + np.nan_to_num(rows[:, 2]) > 0
    boosters = [
        lgb.train(settings | {"num_leaves": leaves}, lgb.Dataset(rows, reached, categorical_feature=[CATEGORY]), rounds)
        for leaves, rounds in ((4, 7), (3, 1), (6, 12))
    ]

    sums = side_by_side(boosters, N_COLUMNS).predict(rows, raw_score=True, num_threads=1)

    for column, booster in zip(np.asarray(sums).T, boosters, strict=True):
        assert np.array_equal(column, booster.predict(rows, raw_score=True, num_threads=1))
