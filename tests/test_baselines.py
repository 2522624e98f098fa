"""What the model must beat: Odoo's published figures, base rates, regressions and orders by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from leadscore.baselines import BaseRate, Logistic, MostRecentlyTouched, NaiveBayes, OldestFirst
from leadscore.baselines.encoding import Encoding
from leadscore.baselines.frequencies import NONE, Counters, LeadValues, learn
from leadscore.errors import TrainingError
from leadscore.examples import learning_examples
from leadscore.features import catalogue, columns_of
from leadscore.funnel import open_leads
from leadscore.history import DAY, MISSING, History, build_history, read_history
from leadscore.labels import reached
from tests.hand import at, history_of, short_funnel
from tests.lines import FUNNEL, each_table, random_tables, taken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.config import Funnel
    from leadscore.examples import Examples
    from leadscore.history import Snapshot
    from leadscore.history.line import Float32s, Float64s

pytestmark = pytest.mark.integration

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
NEW, QUALIFIED, PROPOSAL, WON = range(4)
BE, FR, UNSEEN = range(3)
N_STAGES = 4
# How many leads, in which stage they were lost (or won), of which country: benchmarks.md, section 1.4.
CLOSED = ((4, WON, BE), (2, WON, FR), (6, NEW, FR), (3, QUALIFIED, FR), (2, QUALIFIED, BE), (1, PROPOSAL, BE))


def leads(rows: Sequence[tuple[int, ...]], team: Sequence[int] | None = None) -> LeadValues:
    """Leads by (stage, country)."""
    stage, country = np.array(rows, np.int64).reshape(-1, 2).T
    return LeadValues(stage, np.full(len(stage), NONE) if team is None else np.array(team), {"country": country})


def percent(closed: LeadValues, asked: LeadValues) -> list[float]:
    return list(learn(closed, closed.stage == WON, N_STAGES).percent(asked))


EVERYONE = leads([(stage, country) for n, stage, country in CLOSED for _ in range(n)])


@pytest.mark.parametrize(
    ("country", "expected"),
    [
        (BE, [56.75, 72.24, 93.52]),
        (FR, [18.63, 31.23, 71.58]),
        (NONE, [33.52, 50.00, 84.72]),
        (UNSEEN, [33.52, 50.00, 84.72]),
    ],
    ids=["BE", "FR", "empty", "unseen"],
)
def test_naive_bayes_gives_the_published_table(country: int, expected: list[float]) -> None:
    assert percent(EVERYONE, leads([(stage, country) for stage in (NEW, QUALIFIED, PROPOSAL)])) == expected


def test_one_won_lead_is_enough_and_none_is_not() -> None:
    asked = leads([(NEW, NONE), (PROPOSAL, NONE)])

    assert percent(leads([(WON, NONE)]), asked) == [91.67, 91.67]
    assert np.isnan(percent(leads([]), asked)).all()


def test_a_lead_in_the_won_stage_is_at_100_one_without_a_stage_at_0() -> None:
    assert percent(EVERYONE, leads([(WON, FR), (NONE, BE)])) == [100, 0]
    assert percent(leads([]), leads([(WON, FR), (NONE, BE)])) == [100, 0]


def test_a_probability_is_never_0_or_100() -> None:
    many = leads([(WON, BE)] * 30_000 + [(NEW, FR)] * 30_000)

    assert percent(many, leads([(NEW, BE), (NEW, FR)])) == [99.99, 0.01]


def test_a_stage_that_no_closed_lead_reached_says_nothing() -> None:
    """All were lost in New, so that the later stages have no row."""
    lost = leads([(NEW, NONE)] * 3)

    assert percent(lost, leads([(NEW, NONE), (PROPOSAL, NONE)])) == [round(100 * 0.1 / 3.2, 2)] * 2


def test_all_teams_together_are_the_sum_of_their_stored_counters() -> None:
    """Team 0 won 2 leads, team 1 lost 3 in New, and 1 lead of no team was lost there."""
    closed = leads([(WON, BE)] * 2 + [(NEW, FR)] * 3 + [(NEW, FR)], team=[0, 0, 1, 1, 1, NONE])
    asked = leads([(NEW, NONE)] * 4, team=[0, 1, NONE, 7])
    of_all = round(100 * (2.1 + 0.1 + 0.1) / (2.1 + 0.1 + 0.1 + 0.1 + 3.1 + 1.1), 2)

    assert percent(closed, asked) == [round(100 * 2.1 / 2.2, 2), round(100 * 0.1 / 3.2, 2), of_all, of_all]


def test_a_value_unseen_in_the_team_says_nothing_though_others_had_it() -> None:
    closed = leads([(WON, BE), (NEW, BE), (NEW, FR)], team=[0, 0, 1])
    asked = leads([(NEW, FR), (NEW, NONE)], team=[0, 0])

    assert percent(closed, asked) == [50.0, 50.0]
    assert percent(closed, leads([(NEW, FR)])) != [50.0]


def test_a_team_without_counters_between_others_is_served_those_of_all() -> None:
    closed = leads([(WON, BE), (NEW, BE), (NEW, FR)], team=[0, 2, 2])

    assert percent(closed, leads([(NEW, BE)], team=[1])) == percent(closed, leads([(NEW, BE)]))


def test_counters_of_zero_say_nothing() -> None:
    zero_lost = Counters(won=np.array([[3.1, 2.1]]), lost=np.array([[0.0, 0.0]]))
    no_first_stage = Counters(won=np.array([[0.0, 2.1]]), lost=np.array([[0.0, 1.1]]))

    assert zero_lost.log_ratios().tolist() == [[0, 0, 0]]
    assert np.isnan(zero_lost.stage_log_odds()).all()
    assert np.isnan(no_first_stage.stage_log_odds()).all()


def tagged(n_leads: Sequence[tuple[int, int, tuple[int, ...]]]) -> LeadValues:
    """Leads by (how many, stage, tags)."""
    rows = [(stage, tags) for n, stage, tags in n_leads for _ in range(n)]
    pairs = [(lead, tag) for lead, (_, tags) in enumerate(rows) for tag in tags]
    lead, tag = np.array(pairs, np.int64).reshape(-1, 2).T
    stages = np.array([stage for stage, _ in rows])
    return LeadValues(stages, np.full(len(rows), NONE), {}, lead, tag)


def test_tags_add_up_and_their_shares_are_of_tags_not_of_leads() -> None:
    """30 won with tags 0 and 1, 20 won with 0, 40 lost with 1, 10 lost without."""
    closed = tagged([(30, WON, (0, 1)), (20, WON, (0,)), (40, NEW, (1,)), (10, NEW, ())])
    prior = 50.1 / 50.1
    tag_0 = (50.1 / (50.1 + 30.1)) / (0.1 / (0.1 + 40.1))
    tag_1 = (30.1 / (50.1 + 30.1)) / (40.1 / (0.1 + 40.1))
    expected = [prior, prior * tag_1, prior * tag_0 * tag_1]

    asked = tagged([(1, NEW, ()), (1, NEW, (1,)), (1, NEW, (0, 1))])
    assert percent(closed, asked) == [round(100 * odds / (1 + odds), 2) for odds in expected]


@pytest.mark.parametrize(("n", "counts"), [(49, False), (50, True)])
def test_a_tag_of_fewer_than_50_leads_is_left_out_of_shares_too(n: int, *, counts: bool) -> None:
    """Tag 0 on 60 won and 60 lost, tag 1 on n lost."""
    closed = tagged([(60, WON, (0,)), (60, NEW, (0,)), (n, NEW, (1,))])
    prior = 60.1 / (60.1 + n)
    ratio = (60.1 / 60.2) / (60.1 / (60.1 + n + 0.1)) if counts else 1.0
    odds = prior * ratio

    assert percent(closed, tagged([(1, NEW, (0,))])) == [round(100 * odds / (1 + odds), 2)]
    assert (percent(closed, tagged([(1, NEW, (1,))])) == percent(closed, tagged([(1, NEW, ())]))) is not counts


def test_naive_bayes_learns_from_closed_leads_with_the_stage_they_left() -> None:
    """A is won, B lost in sql, C lost and reopened, D lost after the cut, E open; F is recorded after the cut."""
    country = dict(zip("ABCDEF", ("BE", "FR", "BE", "BE", "BE", "FR"), strict=True))
    recorded = dict.fromkeys("ABCDE", "2024-03-01 09:00Z") | {"F": "2024-04-02 09:00Z"}
    extra: dict[str, Any] = {lead: {"country": country[lead], "recorded_at": recorded[lead]} for lead in "ABCDEF"}
    history = history_of(
        dict.fromkeys("ABCDEF", "2024-03-01 09:00"),
        [
            ("A", "opportunity", "2024-03-02 09:00"),
            ("A", "won", "2024-03-03 09:00"),
            ("B", "mql", "2024-03-02 09:00"),
            # Both known at the same moment.
            ("B", "sql", "2024-03-04 08:00", "2024-03-06 09:00"),
            ("B", "lost", "2024-03-05 09:00", "2024-03-06 09:00"),
            ("C", "lost", "2024-03-02 09:00"),
            ("C", "mql", "2024-03-04 09:00"),
            ("D", "lost", "2024-04-01 09:00:00.000001"),
            ("F", "lost", "2024-03-03 09:00"),
        ],
        funnel=short_funnel('[attributes]\ncategories = ["country"]'),
        **extra,
    )
    fitted = NaiveBayes().fit(history, at("2024-04-01 09:00"))

    assert (fitted.n_won_, fitted.n_lost_) == (1, 1)
    # B counts as lost in lead, mql, sal and sql, and no later.
    odds = np.array([1.0, 1.0, 1.0, 1.0, 11.0])
    assert fitted.log_odds_.stage[-1, :5] == pytest.approx(np.log(odds))
    # E and C in BE, at odds of (1.1 / 1.2) / (0.1 / 1.2); then the closed.
    asked = history.at([4, 2, 0, 1], [at("2024-04-01 09:00")] * 4)
    assert fitted.won_probability(asked) == pytest.approx([0.9167, 0.9167, 1, 0])


def test_naive_bayes_takes_the_values_known_just_before_the_closing() -> None:
    history = build_history(random_tables(seed=5, n_leads=400), FUNNEL)
    steps, lead, win = history.steps, history.steps.lead, len(FUNNEL.stages) - 1
    cut = int(steps.known.max())
    fitted = NaiveBayes().fit(history, cut)
    last = np.append(lead[1:] != lead[:-1], True) & (steps.stage >= win) & (history.known[lead] <= cut)
    owner = history.at(lead[last], steps.known[last] - 1).category("owner")
    won, names = steps.stage[last] == win, history.vocabulary.categories["owner"]
    counts = np.array([[np.sum(won & (owner == code)), np.sum(~won & (owner == code))] for code in range(2)]) + 0.1

    # Some owners change at the moment of the closing, and some leads have none, which is no value.
    assert (history.at(lead[last], steps.known[last]).category("owner") != owner).any()
    assert (owner == names.index(MISSING)).sum() > 10
    assert (fitted.n_won_, fitted.n_lost_) == (won.sum(), (~won).sum())
    expected = np.log(counts / counts.sum(axis=0)) @ [1, -1]
    assert fitted.log_odds_.fields["owner"][-1] == pytest.approx([*expected, 0])


def test_naive_bayes_does_not_move_when_the_future_is_unknown() -> None:
    tables = random_tables(seed=3, n_leads=200)
    cut = int(np.quantile(tables.transitions.known, 0.6))
    cut_short = each_table(tables, lambda table, _: taken(table, np.flatnonzero(table.known <= cut)))
    whole, past = build_history(tables, FUNNEL), build_history(cut_short, FUNNEL)
    fitted, fitted_on_past = (NaiveBayes().fit(history, cut) for history in (whole, past))
    lead = np.flatnonzero(whole.known <= cut)
    seen = whole.at(lead, np.full(len(lead), cut))

    assert fitted.n_won_ + fitted.n_lost_ > 40
    assert np.array_equal(fitted.won_probability(seen), fitted_on_past.won_probability(seen))


def test_codes_of_another_vocabulary_mean_the_same() -> None:
    history = build_history(random_tables(seed=3, n_leads=200), FUNNEL)
    words = history.vocabulary
    turned = replace(words, categories={name: names[::-1] for name, names in words.categories.items()})
    seen = history.at(np.arange(len(history)), np.full(len(history), history.known_until))
    fitted = NaiveBayes().fit(history, history.known_until)

    assert np.array_equal(fitted.won_probability(seen), fitted.won_probability(seen.coded(turned)))


def test_naive_bayes_needs_a_closed_lead() -> None:
    history = history_of({"A": "2024-03-01 09:00"}, [("A", "won", "2024-03-04 09:00")])

    with pytest.raises(TrainingError, match="no lead is won or lost"):
        NaiveBayes().fit(history, at("2024-03-04 08:59"))
    assert NaiveBayes().fit(history, at("2024-03-04 09:00")).n_won_ == 1


@pytest.fixture(scope="module")
def sample() -> History:
    return read_history(SAMPLE)


def test_naive_bayes_tells_won_from_lost_on_the_sample(sample: History) -> None:
    cut = sample.known_until - 270 * DAY
    judged = open_leads(sample, cut)
    end = sample.at(judged.lead, np.full(len(judged), sample.known_until)).steps.stage
    closed = end >= 5
    probability = NaiveBayes().fit(sample, cut).won_probability(judged)

    assert closed.sum() > 100
    assert roc_auc_score(end[closed] == 5, probability[closed]) > 0.6
    assert np.unique(probability).size > 50


def test_orders_put_the_last_touched_and_the_oldest_first() -> None:
    """A and B were never touched, B is newer; D was touched after C, and again after the moment."""
    history = history_of(
        {"A": "2024-01-01 09:00", "B": "2024-02-01 09:00", "C": "2023-01-01 09:00", "D": "2022-01-01 09:00"},
        touches=[
            ("C", "call", "2024-03-02 09:00"),
            ("D", "call", "2024-03-02 09:00:00.000001"),
            ("C", "call", "2024-03-05 09:00"),
        ],
    )
    seen = history.at(np.arange(4), [at("2024-03-04 09:00")] * 4)

    assert _order(MostRecentlyTouched(), seen) == "DCBA"
    assert _order(OldestFirst(), seen) == "DCAB"


def _order(order: MostRecentlyTouched | OldestFirst, seen: Snapshot) -> str:
    return "".join("ABCD"[place] for place in np.argsort(-order.fit(seen).decision_function(seen), kind="stable"))


def test_orders_without_touches_or_leads() -> None:
    history = history_of({"A": "2024-01-01 09:00"})

    assert len(MostRecentlyTouched().decision_function(history.at([], []))) == 0
    assert MostRecentlyTouched().decision_function(history.at([0], [at("2024-01-02 09:00")]))[0] < -50_000


def test_base_rates_are_shares_by_stage_shrunk_towards_that_of_all() -> None:
    history = history_of(
        dict.fromkeys("ABCD", "2024-03-01 09:00"), [("C", "mql", "2024-03-02 09:00"), ("D", "mql", "2024-03-02 09:00")]
    )
    seen = history.at(np.arange(4), [at("2024-03-04 09:00")] * 4)
    outcome = np.full((4, 5), np.nan, np.float32)
    outcome[:, 1] = [1, 0, 0, 0]
    rates = BaseRate().fit(seen, outcome).predict_proba(seen)

    assert rates[:, 1] == pytest.approx([(1 + 10 / 4) / 12] * 2 + [(10 / 4) / 12] * 2)
    assert np.isnan(np.delete(rates, 1, axis=1)).all()


def spread(days_in_stage: Sequence[int], reached: Sequence[float], n: int) -> tuple[Snapshot, Float32s]:
    """``n`` leads in the first stage for each of some numbers of days, and of each the share that reached mql."""
    now = datetime(2024, 3, 1, 9, tzinfo=UTC)
    created = {
        f"{day:03}-{lead:03}": f"{now - timedelta(days=day):%Y-%m-%d %H:%M}"
        for day in days_in_stage
        for lead in range(n)
    }
    history = history_of(created)
    outcome = np.full((len(created), 5), np.nan, np.float32)
    outcome[:, 0] = np.concatenate([np.arange(n) < share * n for share in reached])
    return history.at(np.arange(len(created)), [at("2024-03-01 09:00")] * len(created)), outcome


def test_base_rates_go_by_days_in_stage() -> None:
    seen, outcome = spread([0, 10, 400], [0.5, 0.2, 0.0], 100)

    base = BaseRate().fit(seen, outcome)
    rate = base.predict_proba(seen)[:, 0]

    assert base.band_days_.tolist() == [1.0, 16.0]
    assert len(set(rate.tolist())) == 3
    assert rate[[0, 100, 200]] == pytest.approx([0.5, 0.2, 0.0], abs=0.05)
    assert rate.mean() == pytest.approx(outcome[:, 0].mean(), abs=0.01)


def test_bands_need_leads_and_not_rows() -> None:
    seen, outcome = spread([0, 400], [0.5, 0.0], 19)
    rows = np.repeat(np.arange(38), 50)

    base = BaseRate().fit(seen[rows], outcome[rows])

    assert base.band_days_.tolist() == []
    assert len(set(base.predict_proba(seen)[:, 0].tolist())) == 1


def test_a_thin_band_is_shrunk_by_its_leads_whatever_their_rows() -> None:
    seen, outcome = spread([0, 400], [0.5, 0.0], 20)

    once, often = (
        BaseRate().fit(seen[rows], outcome[rows]).band_rates_[0, :, 0]
        for rows in (np.arange(40), np.repeat(np.arange(40), 50))
    )

    assert once == pytest.approx(often)
    assert 0.0 < once[1] < 0.15


def test_bands_of_a_stage_with_few_leads_lean_on_those_of_all_stages() -> None:
    seen, outcome = spread([0, 400], [0.5, 0.0], 200)

    rates = BaseRate().fit(seen, outcome).band_rates_

    # Nobody was seen at the second stage: it has the rate of all, and in the old band far less of that.
    assert rates[1, 1, 0] < 0.2 * rates[1, 0, 0]


def encoded(X: Float32s, n_codes: Sequence[int]) -> tuple[Encoding, Float32s]:
    encoding = Encoding.learnt(X, n_codes)
    out = np.full((len(X), encoding.width), np.nan, np.float32)
    encoding.encode(X, out)
    return encoding, out


def test_numbers_are_standardised_with_nan_as_the_median_and_an_indicator() -> None:
    X = np.array([[1, 7, 0], [2, 7, 0], [np.nan, 7, 0], [3, 7, 0]], np.float32)
    _, out = encoded(X, [0, 0, 0])

    # Columns that tell nothing are left out.
    assert out[:, 0] == pytest.approx(np.array([-1, 0, 0, 1]) * np.sqrt(2))
    assert out[:, 1].tolist() == [0, 0, 1, 0]
    assert out.shape == (4, 2)


def test_skewed_numbers_are_taken_as_signed_logarithms() -> None:
    rng = np.random.default_rng(1)
    amount = np.expm1(np.abs(rng.normal(5, 2, 5_000)))
    X = np.column_stack((amount, -amount, rng.normal(2_000, 9, 5_000))).astype(np.float32)
    encoding, out = encoded(X, [0, 0, 0])

    assert encoding.logged.tolist() == [True, True, False]
    logs = np.log1p(amount)
    assert out[:, 0] == pytest.approx((logs - logs.mean()) / logs.std(), abs=1e-3)
    assert out[:, 1] == pytest.approx(-out[:, 0], abs=1e-3)
    assert out.mean(axis=0) == pytest.approx(0, abs=1e-3)
    assert out.std(axis=0) == pytest.approx(1, abs=1e-3)


def test_categories_are_one_hot_and_equal_gaps_are_told_once() -> None:
    nan = np.nan
    X = np.array([[0, nan, nan, 1, nan], [2, 5, 6, 0, nan], [1, 8, 2, 2, nan]], np.float32)
    _, out = encoded(X, [3, 0, 0, 4, 0])

    # Two numbers, their gap, three codes, four codes; nothing of a column without a value.
    assert out.shape == (3, 2 + 1 + 3 + 4)
    assert out[:, 2].tolist() == [1, 0, 0]
    assert out[:, 3:6].tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert out[:, 6:].tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]


def test_nan_in_a_column_without_gaps_at_training_is_the_median() -> None:
    encoding, _ = encoded(np.array([[1], [2], [6]], np.float32), [0])
    out = np.empty((1, 1), np.float32)
    encoding.encode(np.array([[np.nan]], np.float32), out)

    assert out[0, 0] == pytest.approx((2 - 3) / np.std([1, 2, 6]))


@pytest.fixture(scope="module")
def examples(sample: History) -> Examples:
    every = learning_examples(sample)
    return every.of((every.lead % 4 == 0) & (every.as_of < sample.known_until - 180 * DAY))


@pytest.fixture(scope="module")
def learnt(sample: History, examples: Examples) -> tuple[Logistic, Snapshot, Float32s]:
    seen = sample.at(examples.lead, examples.as_of)
    outcome = reached(sample, examples.lead, examples.as_of)
    weight = examples.weights(sample.funnel.examples.first_weight)
    return Logistic(sample.funnel).fit(seen, outcome, weight, examples.on_morning), seen, outcome


def test_logistic_beats_the_base_rate_on_later_mornings(
    learnt: tuple[Logistic, Snapshot, Float32s], sample: History
) -> None:
    later = open_leads(sample, sample.known_until - 91 * DAY)
    outcome = reached(sample, later.lead, later.as_of)
    probability, base = (each.predict_proba(later) for each in (learnt[0], learnt[0].base_rate_))

    for place in range(3):
        known = ~np.isnan(outcome[:, place])
        assert _log_loss(outcome[known, place], probability[known, place]) < 0.95 * _log_loss(
            outcome[known, place], base[known, place]
        )


def _log_loss(outcome: Float32s, probability: Float64s) -> float:
    return float(-np.mean(np.log(np.where(outcome == 1, probability, 1 - probability))))


def test_logistic_is_nan_for_stages_passed_and_for_closed_leads_only(
    learnt: tuple[Logistic, Snapshot, Float32s], sample: History
) -> None:
    everyone = sample.at(np.arange(len(sample)), np.full(len(sample), sample.known_until))
    probability, stage = learnt[0].predict_proba(everyone), everyone.steps.stage
    passed = np.arange(1, 6) <= stage[:, None]

    assert set(stage) == set(range(7))
    assert np.array_equal(np.isnan(probability), passed)
    assert np.nanmin(probability) > 0
    assert np.nanmax(probability) < 1


def test_weights_count(learnt: tuple[Logistic, Snapshot, Float32s]) -> None:
    """An intercept that is not penalised makes the weighted mean probability the weighted share."""
    model, seen, outcome = learnt
    weight = np.where(outcome[:, 0] == 1, 5.0, 1.0)
    only_mql = _with_least(model.funnel, _n_reached(seen, outcome)[0])
    probability = Logistic(only_mql).fit(seen, outcome, weight).predict_proba(seen)
    known = ~np.isnan(outcome[:, 0])

    for fitted, weights in ((probability, weight[known]), (model.predict_proba(seen), None)):
        share = np.average(outcome[known, 0], weights=weights)
        assert np.average(fitted[known, 0], weights=weights) == pytest.approx(share, abs=0.01)
    assert probability[known, 0].mean() > outcome[known, 0].mean() + 0.1


def _n_reached(seen: Snapshot, outcome: Float32s) -> list[int]:
    """Leads that reached each later stage."""
    return [len(np.unique(seen.lead[reached_ == 1])) for reached_ in outcome.T]


def test_logistic_says_where_it_did_not_converge(learnt: tuple[Logistic, Snapshot, Float32s]) -> None:
    model, seen, outcome = learnt
    hasty = Logistic(model.funnel, max_iter=1).fit(seen, outcome)

    assert model.converged_.all()
    assert not hasty.fallback_.all()
    assert np.array_equal(hasty.converged_, hasty.fallback_)


def test_logistic_serves_the_base_rate_where_outcomes_are_too_few(
    learnt: tuple[Logistic, Snapshot, Float32s],
) -> None:
    model, seen, outcome = learnt
    n_leads = _n_reached(seen, outcome)
    few = Logistic(_with_least(model.funnel, n_leads[2]), max_iter=1).fit(seen, outcome)
    more = Logistic(_with_least(model.funnel, n_leads[2] + 1), max_iter=1).fit(seen, outcome)

    assert n_leads[1] > n_leads[2] > n_leads[3]
    assert few.fallback_.tolist() == [False, False, False, True, True]
    assert more.fallback_.tolist() == [False, False, True, True, True]
    assert np.array_equal(few.predict_proba(seen)[:, 3:], few.base_rate_.predict_proba(seen)[:, 3:], equal_nan=True)


def _with_least(funnel: Funnel, min_outcome_leads: int) -> Funnel:
    trees = funnel.lightgbm.model_copy(update={"min_outcome_leads": min_outcome_leads})
    return funnel.model_copy(update={"lightgbm": trees})


def test_base_rates_of_logistic_are_those_of_mornings(
    learnt: tuple[Logistic, Snapshot, Float32s], examples: Examples
) -> None:
    model, seen, outcome = learnt
    ripe = ~np.isnan(outcome).all(axis=1)
    of_mornings, of_all = (
        BaseRate().fit(seen[np.flatnonzero(rows)], outcome[rows]).rates_ for rows in (ripe & examples.on_morning, ripe)
    )

    assert np.array_equal(model.base_rate_.rates_, of_mornings, equal_nan=True)
    assert not np.array_equal(of_all, of_mornings, equal_nan=True)


def test_logistic_takes_the_stage_as_a_category(learnt: tuple[Logistic, Snapshot, Float32s]) -> None:
    model, seen, _ = learnt
    columns = columns_of(catalogue(model.funnel, model.vocabulary_))
    stage = [column.name for column in columns].index("stage")

    assert (stage, 5) in model.encoding_.categories
    assert set(seen.steps.stage) == set(range(5))


def test_logistic_needs_a_ripe_example(sample: History) -> None:
    with pytest.raises(TrainingError, match="no example is ripe"):
        Logistic(sample.funnel).fit(sample.at([0], [0]), np.full((1, 5), np.nan, np.float32))


@pytest.mark.parametrize("estimator", [BaseRate(), NaiveBayes(), MostRecentlyTouched(), OldestFirst()])
def test_parameters_are_untouched(estimator: BaseRate) -> None:
    assert estimator.get_params() == clone(estimator).get_params() == {}


def test_learnt_state_ends_in_an_underscore(learnt: tuple[Logistic, Snapshot, Float32s], sample: History) -> None:
    model = learnt[0]

    assert set(clone(model).get_params()) == {"funnel", "C", "max_iter", "n_jobs"}
    for fitted in (model, NaiveBayes().fit(sample, sample.known_until)):
        assert all(name.endswith("_") for name in vars(fitted) if name not in fitted.get_params())
