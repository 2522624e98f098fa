"""Order within mornings: against its definition, and what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadscore.history import DAY
from leadscore.metrics import WithinMornings
from leadscore.metrics import within_mornings as module
from leadscore.metrics.judged import Outcomes

Row = tuple[int, int, int, bool, float]  # lead, day, stage, reached, score


def known(rows: list[Row]) -> Outcomes:
    lead, day, stage, reached, score = (np.array([row[each] for row in rows]) for each in range(5))
    return Outcomes(
        lead=lead.astype(np.int64),
        as_of=day * DAY + 8 * 3_600_000_000,
        stage=stage.astype(np.int64),
        place=np.full(len(rows), 2),
        outcome=reached.astype(np.float64),
        probability=score.astype(np.float64),
        base=np.zeros(len(rows)),
    )


def by_definition(rows: list[Row], enough: int) -> float:
    found: list[float] = []
    for _, day, stage, reached, score in rows:
        if not reached:
            continue
        for days, least in ((1, enough), (7, enough), (28, 1)):
            group = [row for row in rows if row[1] // days == day // days and row[2] == stage]
            others = [row[4] for row in group if not row[3]]
            if (len(group) - len(others)) * len(others) >= least:
                found.append(sum((other < score) + (other == score) / 2 for other in others) / len(others))
                break
    return float(np.mean(found)) if found else float("nan")


rows = st.lists(
    st.tuples(
        st.integers(0, 6), st.integers(0, 60), st.integers(0, 1), st.booleans(), st.sampled_from([0.1, 0.2, 0.3, 0.4])
    ),
    min_size=1,
    max_size=40,
)


@settings(deadline=None, max_examples=150)
@given(rows, st.integers(1, 12))
def test_order_is_what_its_definition_says(rows: list[Row], enough: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ENOUGH_PAIRS", enough)
        order = WithinMornings.of(known(rows), 0).order()

    np.testing.assert_allclose(order.interval.value, by_definition(rows, enough), rtol=1e-12)


def test_the_worked_example() -> None:
    scores = {"ann": 0.4, "bob": 0.3, "cy": 0.2, "dan": 0.3}
    rows = [(number, 1, 1, number < 2, score) for number, score in enumerate(scores.values())]

    order = WithinMornings.of(known(rows), 50).order()

    assert order.interval.value == 0.875
    assert (order.n_reached, order.n_not_reached) == (2, 2)


def test_a_score_that_tells_months_apart_orders_no_list() -> None:
    """The rate moves from month to month, and the score is the rate: AUC is high, and no list is in any order."""
    rng = np.random.default_rng(1)
    rows: list[Row] = []
    for month in range(24):
        rate = 0.05 if month % 2 else 0.6
        rows += [(100 * month + lead, 28 * month + 3, 0, bool(rng.random() < rate), rate) for lead in range(100)]
    found = known(rows)
    judged_auc = float(np.mean(found.probability[found.outcome == 1] > found.probability.mean()))

    order = WithinMornings.of(found, 100).order()

    assert judged_auc > 0.85
    assert order.interval.value == 0.5


@pytest.mark.parametrize(("signal", "ranks"), [(0.0, False), (1.0, True)])
def test_the_bound_says_whether_a_score_ranks(signal: float, ranks: bool) -> None:  # noqa: FBT001
    rng = np.random.default_rng(2)
    score = rng.normal(size=3_000)
    reached = rng.random(3_000) < 1 / (1 + np.exp(2 - signal * score))
    rows = [(n // 3, 5 * (n % 60), 0, bool(reached[n]), float(score[n])) for n in range(3_000)]

    order = WithinMornings.of(known(rows), 200).order()

    assert (order.least > 0.5) == ranks
    assert order.least < order.interval.value < order.most


def test_age_does_not_rank_where_it_says_nothing() -> None:
    """Leads leave at a constant rate, and half of those that leave reach the stage, whatever their age."""
    rng = np.random.default_rng(3)
    rows: list[Row] = []
    for lead in range(3_000):
        created, stay, reaches = rng.uniform(0, 400), rng.exponential(15), bool(rng.random() < 0.5)
        mornings = range(int(created // 7 + 1) * 7, int(created + stay) + 1, 7)
        rows += [(lead, day, 0, reaches and created + stay - day < 30, day - created) for day in mornings]

    order = WithinMornings.of(known(rows), 100).order()

    assert order.interval.value == pytest.approx(0.5, abs=0.03)
    assert order.least < 0.5 < order.most


def test_nobody_to_compare_with_has_no_order() -> None:
    order = WithinMornings.of(known([(0, 1, 0, True, 0.5), (1, 2, 1, False, 0.5)]), 20).order()

    assert np.isnan(order.interval.value)
    assert order.n_reached == 0
