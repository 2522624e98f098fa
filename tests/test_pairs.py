"""What each pair of current stage and stage to reach is served: order and level apart."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.special import expit, logit

from benchmarks.worlds import DAYS, World, company
from leadscore import training
from leadscore.backtest import Backtest, backtest, default_cuts, learn_until
from leadscore.explain import explain
from leadscore.findings import findings
from leadscore.funnel import open_leads
from leadscore.history import DAY
from leadscore.labels import reached
from leadscore.metrics import Judged, figures
from leadscore.model import load_model, save_model
from leadscore.model.flags import lead_flags
from leadscore.model.pair import LEVEL_CORRECTED, LEVEL_ONLY, RANKS, UNKNOWN, Pair
from leadscore.pairs import as_served, helped_before, judged_pairs, level_corrected, served_pairs

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history import History
    from leadscore.history.line import Float64s
    from leadscore.model import FunnelModel

# The funnel of the invented companies: lead, qualified, won.
QUALIFIED, WON = 0, 1
FROM_LEAD, FROM_QUALIFIED = 0, 1
GOOD = {
    "qualified_from_lead": (2_000, 0.3, 1.0),
    "won_from_lead": (500, 0.3, 1.0),
    "won_from_qualified": (500, 0.3, 1.0),
}


def judged(history: History, **cells: tuple[int, float, float]) -> Backtest:
    """A backtest of made up outcomes.

    Parameters
    ----------
    cells : (int, float, float)
        For each pair, such as ``won_from_lead``, how many leads, what share of them reached, and by how much the trees
        raise the log odds of those that did, with a standard deviation of 1.
    """
    random = np.random.default_rng(1)
    parts = []
    first = 0
    for name, (n, share, signal) in cells.items():
        place = {"qualified": QUALIFIED, "won": WON}[name.split("_")[0]]
        stage = {"lead": FROM_LEAD, "qualified": FROM_QUALIFIED}[name.split("_")[2]]
        outcome = np.full((n, 2), np.nan, np.float32)
        outcome[:, place] = random.random(n) < share
        odds = logit(share) + random.normal(size=n) + signal * np.nan_to_num(outcome[:, place])
        probability = np.full((n, 2), np.nan)
        probability[:, place] = expit(odds)
        base = np.where(np.isnan(probability), np.nan, share)
        lead, zeros = first + np.arange(n), np.zeros(n, np.int64)
        as_of = zeros + 7 * DAY * random.integers(0, 4, n)
        parts.append(Judged(history.funnel, lead, as_of, zeros + stage, zeros, zeros, outcome, probability, base))
        first += n
    model = SimpleNamespace(stages_=(SimpleNamespace(fallback=False),) * 2)
    return Backtest((0,), cast("Any", (model,)), Judged.joined(parts), cast("Any", None))


def states(past: Backtest) -> dict[str, tuple[str, bool]]:
    found = judged_pairs(past, figures(past.judged, past.judged.funnel.judging.resamples))
    names = ["qualified_from_lead", "won_from_lead", "won_from_qualified"]
    return {name: (pair.state, pair.trees) for name, pair in zip(names, [*found[QUALIFIED], *found[WON]], strict=True)}


@cache
def few_resamples() -> History:
    history = company(World(), 20, seed=1)
    judging = history.funnel.judging.model_copy(update={"resamples": 20})
    return replace(history, funnel=history.funnel.model_copy(update={"judging": judging}))


@pytest.fixture(scope="module")
def quiet() -> History:
    return company(World(), 1_000, seed=1)


@pytest.fixture(scope="module")
def quiet_model(quiet: History) -> FunnelModel:
    return learn_until(quiet, quiet.known_until, n_jobs=1)


def test_each_pair_is_judged_by_its_own_order(quiet: History) -> None:
    past = judged(
        quiet,
        qualified_from_lead=(2_000, 0.3, 1.0),
        won_from_lead=(2_000, 0.2, 1.0),
        won_from_qualified=(900, 0.5, 0.0),
    )

    found = states(past)

    assert found["qualified_from_lead"] == found["won_from_lead"] == (RANKS, True)
    assert found["won_from_qualified"] == (LEVEL_ONLY, False)


def test_where_outcomes_are_few_the_other_current_stages_decide(quiet: History) -> None:
    # 22 leads of either outcome; of 75 the order is not known to .1.
    few, wide = (45, 0.5, 0.1), (150, 0.5, 0.0)
    by_others = states(judged(quiet, qualified_from_lead=few, won_from_lead=(2_000, 0.2, 1.0), won_from_qualified=wide))
    by_none = states(judged(quiet, qualified_from_lead=few, won_from_lead=(2_000, 0.3, 0.0), won_from_qualified=few))

    assert by_others["won_from_qualified"] == (UNKNOWN, True)
    assert by_none["won_from_qualified"] == (UNKNOWN, False)
    assert by_others["qualified_from_lead"] == (UNKNOWN, False)


def test_a_level_that_is_wrong_says_nothing_of_the_order(quiet: History) -> None:
    past = judged(
        quiet, qualified_from_lead=(2_000, 0.3, 1.0), won_from_lead=(500, 0.3, 1.0), won_from_qualified=(500, 0.3, 1.0)
    )
    shifted = replace(past, judged=replace(past.judged, probability=expit(logit(past.judged.probability) - 3)))

    assert {state for state, _ in states(shifted).values()} == {RANKS}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-3, 3), st.floats(0.3, 3))
def test_states_do_not_depend_on_level_or_spread(seed: int, level: float, spread: float) -> None:
    random = np.random.default_rng(seed)
    history = company(World(), 20, seed=1)
    n = int(random.integers(60, 400))
    signal = float(random.random())
    past = judged(
        history, qualified_from_lead=(n, 0.4, signal), won_from_lead=(n, 0.3, 0.0), won_from_qualified=(n, 0.5, signal)
    )
    odds = spread * logit(past.judged.probability) + level
    moved = replace(past, judged=replace(past.judged, probability=expit(odds)))

    assert states(moved) == states(past)


def test_trees_that_are_far_too_sure_are_served_with_less_of_a_slope(quiet: History) -> None:
    past = judged(
        quiet, qualified_from_lead=(2_000, 0.3, 1.0), won_from_lead=(500, 0.3, 1.0), won_from_qualified=(500, 0.3, 1.0)
    )
    sure = replace(past, judged=replace(past.judged, probability=expit(4 * logit(past.judged.probability))))

    pairs = judged_pairs(sure, figures(sure.judged, 200))

    assert pairs[QUALIFIED][FROM_LEAD].slope == pytest.approx(0.25, abs=0.1)
    assert judged_pairs(past, figures(past.judged, 200))[QUALIFIED][FROM_LEAD].slope == 1
    known = ~np.isnan(past.judged.outcome)
    rows = past.judged.stage == FROM_LEAD
    predicted, observed = (
        as_served(sure, pairs).judged.probability[rows, QUALIFIED],
        past.judged.outcome[rows, QUALIFIED],
    )
    assert np.nanmean(predicted) == pytest.approx(np.nanmean(observed), abs=0.005)
    served = as_served(sure, pairs).judged.probability[known]
    assert_array_equal(np.argsort(served[:2_000]), np.argsort(sure.judged.probability[known][:2_000]))


def test_earlier_models_without_trees_are_not_judged(quiet: History) -> None:
    past = judged(
        quiet, qualified_from_lead=(2_000, 0.3, 1.0), won_from_lead=(500, 0.3, 1.0), won_from_qualified=(500, 0.3, 1.0)
    )
    without = SimpleNamespace(stages_=(SimpleNamespace(fallback=True), SimpleNamespace(fallback=False)))
    two = replace(past, cuts=(0, 14 * DAY), models=cast("Any", (without, past.models[0])))

    found = judged_pairs(two, figures(two.judged, 20))[QUALIFIED][FROM_LEAD]

    assert found.n_reached == len(
        np.unique(past.judged.lead[(past.judged.as_of >= 14 * DAY) & (past.judged.outcome[:, 0] == 1)])
    )


def test_a_pair_serves_trees_or_its_base_rate(quiet: History, quiet_model: FunnelModel) -> None:
    everyone = open_leads(quiet, quiet.known_until)
    stage = everyone.steps.stage
    served = quiet_model.serving([[Pair(RANKS)], [Pair(RANKS), Pair(LEVEL_ONLY, trees=False)]])

    ours, trees = served.predict_proba(everyone), quiet_model.predict_proba(everyone)

    assert_array_equal(ours[stage == FROM_LEAD], trees[stage == FROM_LEAD])
    assert_array_equal(ours[stage == FROM_QUALIFIED, WON], served.base_rates(everyone)[stage == FROM_QUALIFIED, WON])
    flags = lead_flags(served, everyone)
    assert {tuple(flags.of_lead(row)) for row in np.flatnonzero(stage == FROM_QUALIFIED).tolist()} == {("no_signal",)}
    assert {tuple(flags.of_lead(row)) for row in np.flatnonzero(stage == FROM_LEAD).tolist()} == {()}
    notes = [each.note for each in explain(served, everyone, WON)]
    assert all(
        note.startswith("base rate (no signal)") == (at == FROM_QUALIFIED)
        for note, at in zip(notes, stage, strict=True)
    )
    assert [str(why).partition(".")[0] for why in served.withheld()] == ["no signal: won from qualified"]


def test_corrections_move_log_odds_and_reasons_still_add_up(
    quiet: History, quiet_model: FunnelModel, tmp_path: Path
) -> None:
    everyone = open_leads(quiet, quiet.known_until)
    rows = everyone.steps.stage == FROM_QUALIFIED
    pair = Pair(LEVEL_CORRECTED, slope=0.5, intercept=0.4, level=0.3, predicted=0.1, observed=0.2)
    served = quiet_model.serving([[Pair(RANKS)], [Pair(RANKS), pair]])

    ours = served.predict_proba(everyone)

    before = logit(quiet_model.predict_proba(everyone)[rows, WON])
    np.testing.assert_allclose(logit(ours[rows, WON]), 0.5 * before + 0.7, rtol=1e-9)
    for each in explain(served, everyone, WON):
        added = sum(reason.contribution for reason in (*each.towards, *each.against))
        assert each.base + added + each.everything_else == pytest.approx(each.margin, abs=1e-6)
    save_model(served, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert repr(again.pairs()) == repr(served.pairs())
    assert_array_equal(again.predict_proba(everyone), ours)
    flags = lead_flags(served, everyone)
    assert flags.of_lead(int(np.flatnonzero(rows)[0])) == ["level_corrected"]


def test_a_base_rate_is_put_right_too(quiet: History, quiet_model: FunnelModel) -> None:
    everyone = open_leads(quiet, quiet.known_until)
    rows = everyone.steps.stage == FROM_QUALIFIED
    pair = Pair(LEVEL_ONLY, trees=False, level=0.7)
    served = quiet_model.serving([[], [Pair(), pair]])

    rates = quiet_model.base_rate_.predict_proba(everyone)[rows, WON]

    np.testing.assert_allclose(logit(served.predict_proba(everyone)[rows, WON]), logit(rates) + 0.7)
    reasons = explain(served, everyone, WON)[int(np.flatnonzero(rows)[0])]
    assert f"{reasons.probability:.1%}" in reasons.note


def predicted_and_observed(history: History, model: FunnelModel, days: float = 28) -> tuple[float, float]:
    """Mean probability and share, of leads qualified within 30 days, on the last mornings that are known."""
    as_of = history.known_until - int((30 + days / 2) * DAY)
    everyone = open_leads(history, as_of)
    lead = everyone.lead[everyone.steps.stage == FROM_LEAD]
    moment = np.full(len(lead), as_of)
    outcome: Float64s = reached(history, lead, moment)[:, QUALIFIED].astype(float)
    return float(model.predict_proba(history.at(lead, moment))[:, QUALIFIED].mean()), float(outcome.mean())


@pytest.fixture(scope="module")
def raised() -> tuple[History, Backtest]:
    """A company whose odds have trebled lately, and its backtest."""
    history = company(World(level=lambda when: 1.2 if when > DAYS - 140 else 0.0), 2_000, seed=2)
    return history, backtest(history, default_cuts(history)[:1], n_jobs=1)


def test_a_level_that_moved_lately_is_put_right(raised: tuple[History, Backtest]) -> None:
    history, past = raised
    model = learn_until(history, history.known_until, n_jobs=1)
    found = findings(history, past, n_jobs=1)

    served = served_pairs(history, past, model, found.pairs)

    pair = served.pairs()[QUALIFIED][FROM_LEAD]
    assert pair.state == LEVEL_CORRECTED
    assert pair.level > 0.2
    assert pair.predicted < pair.observed
    before, after = (predicted_and_observed(history, each) for each in (model, served))
    assert abs(after[0] - after[1]) < abs(before[0] - before[1])
    assert "level was corrected" in pair.describe(40)


def test_a_level_that_is_right_is_left(quiet: History, quiet_model: FunnelModel) -> None:
    assert level_corrected(quiet, quiet_model, quiet.known_until).pairs() == quiet_model.pairs()


def test_a_level_is_left_where_to_correct_it_would_have_harmed(raised: tuple[History, Backtest]) -> None:
    history, past = raised
    plain = [(Pair(RANKS),), (Pair(RANKS), Pair(RANKS))]
    # The cut lies before the odds rose: a level put down by then would have been wrong on the mornings after.
    low = past.models[0].serving(plain)
    low.stages_ = (replace(low.stages_[0], intercept=low.stages_[0].intercept + 1.2), *low.stages_[1:])

    helped = helped_before(history, replace(past, models=(low,)), plain)

    assert (QUALIFIED, FROM_LEAD) not in helped
    assert (QUALIFIED, FROM_LEAD) in helped_before(history, past, plain)


def test_grades_are_of_what_is_served(
    quiet: History, quiet_model: FunnelModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised_by = quiet_model.serving([[Pair(RANKS, level=1.0)], [Pair(RANKS), Pair(RANKS)]])
    monkeypatch.setattr(training, "served_pairs", lambda *_: raised_by)

    trained = training.train(quiet, n_jobs=1)

    before = quiet_model.grades_.edges[0]
    assert (trained.model.grades_.edges[0] > before).all()
