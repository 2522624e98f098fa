"""A candidate goes into service only if it is not worse than the champion from now on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.stats import norm

from leadscore import backtest
from leadscore.backtest import default_cuts, learn, learn_until
from leadscore.config import parse_funnel
from leadscore.drift import LOOK, Drift, Finding, OnlyLearnt
from leadscore.errors import ModelError
from leadscore.examples import judging_examples, known_by, learning_examples
from leadscore.gate import Evidence, Rule, Verdict, as_read_by, compare, comparison, rules, segments
from leadscore.gate.recipe import Recipe
from leadscore.gate.short_horizons import Shares, longest_enough
from leadscore.history import DAY, History, read_history
from leadscore.labels import parts_of, reached, reached_within
from leadscore.model.learning import Learning
from leadscore.model.stage import Mix
from tests.hand import history_of
from tests.served import serving_base_rates

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from leadscore.history.line import Bools
    from leadscore.metrics import Judged
    from leadscore.model import FunnelModel

pytestmark = pytest.mark.integration

FUNNEL = """
[funnel]
stages = ["lead", "won"]
lost = ["lost"]
handoff = ["lead", "won"]
[horizon_days]
won = 28
[attributes]
numbers = ["employees"]
[judging]
cuts = 2
resamples = 50
[lightgbm]
rounds = 20
max_rounds = 40
"""
BEGIN, DAYS = datetime(2023, 1, 1, tzinfo=UTC), 500


def company(n_leads: int = 2_000, seed: int = 1, chance: tuple[float, float] = (0.1, 0.5)) -> History:
    """Leads of one kind are won within four weeks more often than those of the other; the rest are lost."""
    rng = np.random.default_rng(seed)
    leads: dict[str, str] = {}
    moves: list[tuple[str, ...]] = []
    sizes: dict[str, Any] = {}
    for number, day in enumerate(np.sort(rng.uniform(0, DAYS, n_leads))):
        lead, created, large = f"L{number:05}", BEGIN + timedelta(days=float(day)), rng.random() < 0.5
        leads[lead], sizes[lead] = f"{created:%Y-%m-%d %H:%M}", {"employees": int(rng.integers(1, 500) + 500 * large)}
        stage, days = ("won", 28) if rng.random() < chance[int(large)] else ("lost", 40)
        moves.append((lead, stage, f"{created + timedelta(days=rng.uniform(0, days)):%Y-%m-%d %H:%M}"))
    end = f"{BEGIN + timedelta(days=DAYS):%Y-%m-%d %H:%M}"
    return history_of(leads, moves, known_until=end, funnel=parse_funnel(FUNNEL), **sizes)


@pytest.fixture(scope="module")
def simple() -> History:
    return company()


@pytest.fixture(scope="module")
def history(small: Path) -> History:
    return read_history(small)


@pytest.fixture(scope="module")
def champion(history: History) -> FunnelModel:
    """Learnt before the first morning on which candidates are judged."""
    return learn_until(history, default_cuts(history)[0], n_jobs=1)


def changed(model: FunnelModel, slope: float = 1.0, intercept: float = 0.0) -> FunnelModel:
    """The model with other calibrations: the order stays, the probabilities do not."""
    other = serving_base_rates(model, ())
    other.stages_ = tuple(
        replace(stage, slope=stage.slope * slope, intercept=stage.intercept + intercept) for stage in model.stages_
    )
    return other


def upside_down(history: History, cut: int) -> FunnelModel:
    """The likeliest last: learnt from leads that reached as if they had not."""
    examples = learning_examples(history)
    examples = examples.of(examples.as_of <= cut)
    outcome = known_by(reached(history, examples.lead, examples.as_of), examples.as_of, history.funnel, cut)
    return learn(history, examples, np.float32(1) - outcome, n_jobs=1)


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
    assert [each.name for each in verdict.evidence] == ["later mornings"]


def test_a_candidate_that_is_far_too_sure_is_held_back_and_the_rules_are_named(
    history: History, champion: FunnelModel
) -> None:
    verdict = compare(history, changed(champion, intercept=2.0), champion, n_jobs=1)

    assert not verdict.passed
    assert not rule(verdict, "log loss").kept
    assert not rule(verdict, "level").kept
    assert rule(verdict, "level").found.startswith(
        "said on average by the candidate and by the champion: clearly wrong"
    )
    assert rule(verdict, "capacity precision").kept  # the order is the same
    assert "+0.0000 (+0.0000 to +0.0000)" in rule(verdict, "order").found
    assert "BROKEN: log loss" in str(verdict)


def test_a_level_that_chance_explains_or_that_the_champion_has_too_is_no_reason(
    history: History, champion: FunnelModel
) -> None:
    far = changed(champion, intercept=2.0)

    for little in (-0.4, -0.05, 0.05):
        assert rule(compare(history, changed(champion, intercept=little), champion, n_jobs=1), "level").kept
    assert rule(compare(history, far, changed(champion, intercept=2.5), n_jobs=1), "level").kept


def test_a_candidate_that_finds_fewer_at_capacity_is_held_back(history: History, champion: FunnelModel) -> None:
    few = with_settings(history, "owner", {"capacity": 1})

    verdict = compare(few, upside_down(history, default_cuts(history)[0]), champion, n_jobs=1)

    assert not rule(verdict, "capacity precision").kept
    assert not rule(verdict, "order").kept
    assert not rule(verdict, "ranks").kept


def test_a_better_candidate_passes(history: History, champion: FunnelModel) -> None:
    assert compare(history, champion, changed(champion, intercept=2.0), n_jobs=1).passed


def test_the_margin_is_how_much_worse_a_candidate_may_be(history: History, champion: FunnelModel) -> None:
    generous = with_settings(history, "gate", {"margin": 1.0})
    worse = changed(champion, intercept=0.5)

    assert not rule(compare(history, worse, champion, n_jobs=1), "log loss").kept
    assert rule(compare(generous, worse, champion, n_jobs=1), "log loss").kept


def test_with_too_few_later_mornings_both_recipes_are_learnt_again_as_old_as_the_models_are(
    simple: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer, older = (learn_until(simple, simple.known_until - days * DAY, n_jobs=1) for days in (0, 60))
    judged: list[tuple[FunnelModel, int]] = []

    def noted(history: History, model: FunnelModel, examples: Any) -> Judged:
        judged.append((model, int(examples.as_of.min())))
        return backtest.judge(history, model, examples)

    monkeypatch.setattr(comparison, "judge", noted)
    verdict = compare(simple, newer, older, n_jobs=1)

    assert [(each.name, each.enough) for each in verdict.evidence] == [("later mornings", False), ("replay", True)]
    assert "the candidate's 0 days old and the champion's 60 days old" in verdict.evidence[1].judged
    cuts = default_cuts(simple)
    assert len(judged) == 2 * len(cuts)
    for cut, ours, theirs in zip(cuts, judged[::2], judged[1::2], strict=True):
        assert cut - 3 * DAY < ours[0].trained_until_ <= cut <= ours[1] == theirs[1]
        assert cut - 63 * DAY < theirs[0].trained_until_ <= cut - 60 * DAY


@pytest.mark.parametrize("days", [(0, 60), (60, 0)])
def test_where_nothing_changes_neither_the_newer_nor_the_older_is_held_back(
    simple: History, days: tuple[int, int]
) -> None:
    candidate, champion = (learn_until(simple, simple.known_until - each * DAY, n_jobs=1) for each in days)

    assert compare(simple, candidate, champion, n_jobs=1).passed


def test_twins_of_equal_recipes_of_the_same_age_are_learnt_once(
    simple: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, again = (learn_until(simple, simple.known_until, n_jobs=1) for _ in range(2))
    calls = []

    def twin(_: Recipe, moment: int) -> FunnelModel:
        calls.append(moment)
        return learn_until(simple, moment, n_jobs=1)

    monkeypatch.setattr(Recipe, "twin", twin)

    verdict = compare(simple, model, again, n_jobs=1)

    assert calls == list(default_cuts(simple))
    assert "+0.0000 (+0.0000 to +0.0000)" in rule(verdict, "log loss").found


def test_a_twin_follows_the_recipe_of_its_model_not_that_of_the_data_set(
    simple: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else a regression would count for all, where there is one tree that says nothing.
    monkeypatch.setattr(Learning, "_mix", lambda *_: Mix())
    trees = with_settings(simple, "lightgbm", {"rounds": 1, "max_rounds": 1, "learning_rate": 1e-6})
    weak = learn_until(trees, simple.known_until, n_jobs=1)

    verdict = compare(simple, weak, learn_until(simple, simple.known_until, n_jobs=1), n_jobs=1)

    assert verdict.decision == "held back"
    assert not rule(verdict, "log loss").kept
    assert not rule(verdict, "logistic regression").kept


def test_on_later_mornings_outcomes_of_less_than_the_horizon_count_as_soon_as_they_are_known(simple: History) -> None:
    model = learn_until(simple, simple.known_until - 45 * DAY, n_jobs=1)
    good = compare(simple, model, changed(model, intercept=2.0), n_jobs=1)
    bad = compare(simple, changed(model, intercept=2.0), model, n_jobs=1)

    for verdict in (good, bad):
        [evidence] = verdict.evidence
        assert evidence.name == "later mornings"
        assert evidence.judged.endswith("reached within 14 of 28 days")
        assert min(evidence.n_reached, evidence.n_not_reached) >= 40
    assert good.passed
    assert bad.decision == "held back"
    assert not rule(bad, "log loss").kept


def test_the_level_of_shorter_outcomes_is_judged_by_the_share_of_them(simple: History) -> None:
    since = simple.known_until - 45 * DAY
    examples = judging_examples(simple, since)
    days, outcome, enough = longest_enough(simple, examples)
    assert (days, enough.tolist()) == ([14], [True])

    shares = Shares.learnt(simple, since, days)
    model = learn_until(simple, since, n_jobs=1)
    probability = model.predict_proba(simple.at(examples.lead, examples.as_of))[:, 0]
    known = ~np.isnan(outcome[:, 0])

    assert 0.5 < shares.value[0, 0] < 0.85
    assert np.std(shares.drawn[:, 0, 0]) > 0
    assert np.mean(probability[known] * shares.value[0, 0]) == pytest.approx(np.mean(outcome[known]), abs=0.04)


def test_all_leads_of_a_morning_count_and_never_the_decided_ones_only(simple: History) -> None:
    examples = judging_examples(simple, simple.known_until - 60 * DAY)

    outcome = reached_within(simple, examples.lead, examples.as_of, [7])

    over = examples.as_of + 7 * DAY <= simple.known_until
    assert_array_equal(np.isnan(outcome[:, 0]), ~over)
    still_open = np.isnan(reached(simple, examples.lead, examples.as_of)[:, 0]) & over
    assert np.count_nonzero(still_open) > 100
    assert {0.0, 1.0} == set(outcome[still_open, 0].tolist())


@pytest.mark.parametrize(
    ("horizon", "parts"), [(90, [90, 45, 22, 7]), (28, [28, 14, 7]), (10, [10, 7]), (7, [7]), (3, [3])]
)
def test_horizons_are_looked_at_in_parts_of_a_week_or_more(horizon: int, parts: list[int]) -> None:
    assert parts_of(horizon) == parts


def test_with_too_little_of_both_nothing_can_be_compared_and_the_day_is_said() -> None:
    few = company(n_leads=300)
    newer, older = (learn_until(few, few.known_until - days * DAY, n_jobs=1) for days in (0, 60))

    verdict = compare(few, newer, older, n_jobs=1)

    assert verdict.decision == "not comparable"
    assert not verdict.passed
    assert not any(each.enough for each in verdict.evidence)
    assert verdict.enough_on > "2024-06-01"
    assert f"enough from {verdict.enough_on} on" in str(verdict)


def test_a_leak_alarm_or_a_slope_at_its_bound_holds_any_candidate_back(simple: History) -> None:
    model = learn_until(simple, simple.known_until - 60 * DAY, n_jobs=1)
    steep = changed(model)
    steep.stages_ = tuple(replace(each, slope=float(np.exp(-3))) for each in model.stages_)

    leaking = compare(simple, model, model, n_jobs=1, leaks="leak? won from lead: AUC 0.985")
    flat = compare(simple, steep, model, n_jobs=1)

    assert [each.name for each in leaking.rules if not each.kept] == ["leaks"]
    assert "AUC 0.985" in rule(leaking, "leaks").found
    assert rule(flat, "calibration slope").found == "at its bound for won"
    assert not rule(flat, "calibration slope").kept


def test_what_orders_leads_wrongly_passes_against_no_champion(simple: History) -> None:
    wrong = upside_down(simple, simple.known_until - 120 * DAY)

    verdict = compare(simple, wrong, wrong, n_jobs=1)

    assert {each.name for each in verdict.rules if not each.kept} == {"ranks", "base rate", "logistic regression"}


def test_what_nothing_is_enough_for_is_held_back_where_a_rule_is_broken() -> None:
    few = Evidence("replay", "both", "won", 39, 1_000)
    enough = replace(few, n_reached=40)
    kept, broken = (Rule("leaks", each, "found") for each in (True, False))

    assert Verdict((few,), (kept,)).decision == "not comparable"
    assert Verdict((few,), (broken,)).decision == "held back"
    assert Verdict((few, enough), (kept,)).decision == "passed"
    assert Verdict((enough,), (kept, broken)).decision == "held back"


def test_a_segment_that_suffers_holds_the_candidate_back_though_the_whole_does_not(
    history: History, champion: FunnelModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = backtest.judge
    largest = []

    def spoilt_in_one_segment(*arguments: Any) -> Any:
        found = judged(*arguments)
        if arguments[1] is champion:
            return found
        name, rows = max(sources(history, found), key=lambda each: np.count_nonzero(each[1]))
        largest.append(name)
        spoilt = found.probability.copy()
        spoilt[rows] = np.clip(spoilt[rows] * 5, 0, 0.9)
        return replace(found, probability=spoilt)

    monkeypatch.setattr(comparison, "judge", spoilt_in_one_segment)
    verdict = compare(history, serving_base_rates(champion, ()), champion, n_jobs=1)

    assert not rule(verdict, "segments").kept
    assert largest[0] in rule(verdict, "segments").found


def test_chance_alone_rarely_makes_a_segment_look_worse() -> None:
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(200):
        z = [rules._z(rng.normal(size=100)) for _ in range(30)]
        alarms += max(z) > norm.isf(rules.FALSE_ALARM / 30)

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
    other = serving_base_rates(champion, ())
    if settings is None:
        update: Any = {stage: days + 1 for stage, days in champion.funnel.horizon_days.items()}
    else:
        update = getattr(champion.funnel, section).model_copy(update=settings)
    other.funnel = champion.funnel.model_copy(update={section: update})

    with pytest.raises(ModelError, match=told):
        as_read_by(history, other)


def test_no_model_is_judged_on_mornings_before_its_labels_ended(history: History, champion: FunnelModel) -> None:
    late = serving_base_rates(champion, ())
    late.trained_until_ = champion.trained_until_ + 30 * DAY

    [evidence] = compare(history, late, champion, n_jobs=1).evidence

    assert f"on mornings since {comparison.day(late.trained_until_)}" in evidence.judged


@pytest.mark.parametrize(("by_later_mornings", "kept"), [(True, True), (False, False)])
def test_broken_data_that_last_count_where_nothing_else_decides(*, by_later_mornings: bool, kept: bool) -> None:
    stopped = Finding("volume", "touches call", 0.5, 0.0, -9.0, 1e-9, "touches of kind call: 0, before 0.5", LOOK)
    lasting, nothing = Drift((stopped,), 5), Drift((), 5)

    rule = rules.of_the_inputs(OnlyLearnt(nothing, lasting), by_later_mornings=by_later_mornings)
    ended = rules.of_the_inputs(OnlyLearnt(lasting, nothing), by_later_mornings=by_later_mornings)

    assert (rule.name, rule.kept) == ("inputs", kept)
    assert not ended.kept
    assert "in what only the candidate learnt from: touches of kind call" in ended.found
    assert rules.of_the_inputs(None, by_later_mornings=False).kept


def test_candidate_that_learnt_from_a_broken_month_is_held_back(
    monkeypatch: pytest.MonkeyPatch, simple: History
) -> None:
    old, candidate = (learn_until(simple, simple.known_until - days * DAY, n_jobs=1) for days in (150, 90))
    moved = Finding("level", "lead to won", 0.1, 0.5, 9.0, 1e-9, "moves from lead to won: 0.5, before 0.1")
    looked_at = []

    def broken(*asked: object) -> OnlyLearnt:
        looked_at.append(asked)
        return OnlyLearnt(Drift((moved,), 5), Drift((), 5))

    monkeypatch.setattr(import_module("leadscore.gate.compare"), "only_learnt", broken)

    verdict = compare(simple, candidate, old, n_jobs=1)

    assert looked_at == [(simple, old.trained_until_, candidate.trained_until_)]
    assert [rule.name for rule in verdict.rules if not rule.kept] == ["inputs"]
    assert verdict.decision == "held back"


def test_a_champion_with_a_leak_alarm_is_no_yardstick(simple: History) -> None:
    candidate = learn_until(simple, simple.known_until - 45 * DAY, n_jobs=1)
    better = changed(candidate)
    worse = changed(candidate, intercept=2.0)
    assert compare(simple, worse, better, n_jobs=1).decision == "held back"
    better.doubts_ = ("leak? won from qualified: order .99 on later mornings",)

    verdict = compare(simple, worse, better, n_jobs=1)

    names = [each.name for each in verdict.rules]
    assert rule(verdict, "champion").kept
    assert not {"log loss", "level", "order", "capacity precision", "segments"} & set(names)
    assert {"base rate", "logistic regression", "inputs", "leaks"} <= set(names)
    better.doubts_ = ("on later mornings the base rate is clearly better in log loss",)
    assert "level" in [each.name for each in compare(simple, worse, better, n_jobs=1).rules]
