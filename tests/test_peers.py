"""The baselines on the very examples that the model is judged on, learnt from the same past."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from leadscore.backtest import Backtest, backtest, default_cuts
from leadscore.config import FILE, read_funnel
from leadscore.examples import mornings
from leadscore.history import History, build_history, read_history, read_tables
from leadscore.metrics import log_loss, overall
from leadscore.peers import BASE_RATE, LOGISTIC, NAIVE_BAYES, OLDEST, RECENT, peers, scores_of
from tests.lines import each_table, taken

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.peers import Peer, Scores

pytestmark = pytest.mark.integration

HANDOFF = 2


@pytest.fixture(scope="module")
def history(small: Path) -> History:
    return read_history(small)


@pytest.fixture(scope="module")
def past(history: History) -> Backtest:
    return backtest(history, default_cuts(history), n_jobs=1)


@pytest.fixture(scope="module")
def scores(history: History, past: Backtest) -> dict[str, Scores]:
    return {each.name: each for each in scores_of(history, past, n_jobs=1)}


@pytest.fixture(scope="module")
def found(history: History, past: Backtest) -> dict[str, Peer]:
    return {each.name: each for each in peers(history, past, n_jobs=1)}


def test_every_baseline_is_there_and_scores_every_example_judged(scores: dict[str, Scores], past: Backtest) -> None:
    assert list(scores) == [BASE_RATE, NAIVE_BAYES, LOGISTIC, RECENT, OLDEST]
    ahead = ~np.isnan(past.judged.probability)
    for each in scores.values():
        assert np.isfinite(each.order[past.judged.stage <= HANDOFF]).all(), each.name
        if each.probability is not None:
            assert np.array_equal(~np.isnan(each.probability), ahead), each.name
            assert (each.probability[ahead] > 0).all()
            assert (each.probability[ahead] < 1).all()


def test_figures_are_the_baselines_own_and_gains_are_the_models(
    found: dict[str, Peer], scores: dict[str, Scores], past: Backtest
) -> None:
    known = ~np.isnan(past.judged.outcome)
    outcome = past.judged.outcome[known].astype(np.float64)
    ours = overall(past.judged)

    assert found[BASE_RATE].log_loss == pytest.approx(ours["base_log_loss"])
    assert found[BASE_RATE].loss_gain.value == pytest.approx(ours["log_loss_gain"])
    for name in (NAIVE_BAYES, LOGISTIC):
        probability = scores[name].probability
        assert probability is not None
        assert found[name].log_loss == pytest.approx(log_loss(outcome, probability[known]))
        assert found[name].loss_gain.value == pytest.approx(found[name].log_loss - ours["log_loss"])


def test_an_order_without_probabilities_has_no_log_loss_but_a_precision(found: dict[str, Peer]) -> None:
    for name in (RECENT, OLDEST):
        assert np.isnan(found[name].log_loss)
        assert np.isnan(found[name].loss_gain.value)
        assert 0 <= found[name].handoff.precision.value <= 1
    assert found[OLDEST].auc < found[RECENT].auc


def test_naive_bayes_is_ordered_as_it_is_but_judged_by_probabilities_with_a_horizon(
    scores: dict[str, Scores], past: Backtest
) -> None:
    bayes = scores[NAIVE_BAYES]
    assert bayes.probability is not None
    stage = past.judged.stage
    listed = np.flatnonzero(stage <= HANDOFF)
    cut_of = np.searchsorted(past.cuts, past.judged.as_of, side="right")
    for cut in np.unique(cut_of):
        rows = listed[cut_of[listed] == cut]
        order = np.argsort(bayes.order[rows], kind="stable")
        assert (np.diff(bayes.probability[rows, HANDOFF][order]) >= 0).all()


def test_no_baseline_sees_what_came_after_the_cut(small: Path) -> None:
    funnel = read_funnel(small / FILE)
    tables = read_tables(small, funnel)
    history = build_history(tables, funnel)
    cut = int(mornings(history, funnel.judging.mornings_every_days)[-8])

    def at_the_cut(seen: History) -> dict[str, dict[str, np.typing.NDArray[np.float64]]]:
        past = backtest(seen, [cut], n_jobs=1)
        rows = past.judged.as_of == cut
        ids = seen.ids[past.judged.lead[rows]]
        found = {}
        for each in scores_of(seen, past, n_jobs=1):
            columns = [each.order[rows, None], *([] if each.probability is None else [each.probability[rows]])]
            found[each.name] = dict(zip(ids, np.hstack(columns), strict=True))
        return found

    rng = np.random.default_rng(3)

    def half_of_the_future(table: Any, _name: str) -> Any:
        return taken(table, np.flatnonzero((table.known <= cut) | (rng.random(len(table.known)) < 0.5)))

    before, after = at_the_cut(history), at_the_cut(build_history(each_table(tables, half_of_the_future), funnel))

    for name, rows in before.items():
        assert rows.keys() == after[name].keys()
        assert len(rows) > 50
        for lead_id, row in rows.items():
            np.testing.assert_array_equal(row, after[name][lead_id], err_msg=f"{name}, {lead_id}")
