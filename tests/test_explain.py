"""Reasons: they sum to the margin, say nothing that the data contradict, and read as a person would say them."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import logit

from leadscore.baselines import BaseRate
from leadscore.errors import ModelError
from leadscore.explain import Reason, Reasons, changes, explain
from leadscore.explain.grounds import Grounds
from leadscore.explain.reasons import LEAST, MOST_REASONS, _chosen
from leadscore.explain.wording import duration, noun_of, number, words_of
from leadscore.features import Column, columns_of, matrix
from leadscore.funnel import open_leads
from leadscore.history import DAY, MISSING, OTHER, History, Snapshot
from leadscore.labels import reached
from leadscore.model import FunnelModel, StageModel, load_model, save_model
from leadscore.model.typical import Typical
from tests.lines import column_names, features_of
from tests.served import serving_base_rates

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.examples import Examples
    from leadscore.history.line import Bools, Float32s

STAGES = ("lead", "mql", "sql", "won")
N_LATER = 5
WIN = N_LATER - 1
NAN = float("nan")


@pytest.fixture(scope="module")
def history(sample_history: History) -> History:
    return sample_history


@pytest.fixture(scope="module")
def examples(sample_examples: Examples) -> Examples:
    return sample_examples


@pytest.fixture(scope="module")
def model(sample_model: FunnelModel) -> FunnelModel:
    return sample_model


@pytest.fixture(scope="module")
def outcome(history: History, examples: Examples) -> Float32s:
    return reached(history, examples.lead, examples.as_of)


@pytest.fixture(scope="module")
def page(history: History) -> Snapshot:
    seen = open_leads(history, history.known_until)
    return seen[np.arange(0, len(seen), 8)]


@pytest.fixture(scope="module")
def explained(model: FunnelModel, page: Snapshot) -> list[list[Reasons]]:
    return [explain(model, page, place) for place in range(N_LATER)]


def reasons_of(each: Reasons) -> tuple[Reason, ...]:
    return (*each.towards, *each.against)


def all_reasons(explained: list[list[Reasons]]) -> list[tuple[Reasons, Reason]]:
    return [(each, reason) for stage in explained for each in stage for reason in reasons_of(each)]


def leaning(model: FunnelModel, sign: int) -> FunnelModel:
    """A model whose data say that whatever is speaks for the lead, or against it."""
    biased = copy(model)
    biased.typical_ = replace(model.typical_, direction=np.full_like(model.typical_.direction, sign))
    return biased


def test_base_reasons_and_everything_else_sum_to_the_margin(
    model: FunnelModel, page: Snapshot, explained: list[list[Reasons]]
) -> None:
    probability = model.predict_proba(page)
    for place, stage in enumerate(explained):
        for each, served in zip(stage, probability[:, place], strict=True):
            assert np.array_equal(each.probability, served, equal_nan=True)
            if each.row is None:
                assert np.isnan(served)
                continue
            total = each.base + sum(reason.contribution for reason in reasons_of(each)) + each.everything_else
            assert total == pytest.approx(each.margin, abs=1e-9)
            assert each.bounded or each.margin == pytest.approx(logit(served), abs=1e-9)
        assert len({each.base for each in stage if each.row is not None}) == 1


def test_reasons_are_few_large_and_in_order(explained: list[list[Reasons]]) -> None:
    counts = []
    for stage in explained:
        for each in stage:
            for way, sign in ((each.towards, 1), (each.against, -1)):
                sizes = [sign * reason.contribution for reason in way]
                assert sizes == sorted(sizes, reverse=True)
                assert all(size >= LEAST for size in sizes)
                assert len(way) <= MOST_REASONS
                counts.append(len(way))
            topics = [reason.topic for reason in reasons_of(each)]
            assert len(set(topics)) == len(topics)
    assert max(counts) == MOST_REASONS
    assert np.mean(counts) > 2


def test_no_reason_contradicts_the_data(
    model: FunnelModel, history: History, examples: Examples, outcome: Float32s, explained: list[list[Reasons]]
) -> None:
    learnt = ~np.isnan(outcome).all(axis=1) & examples.on_morning
    snapshot = history.at(examples.lead[learnt], examples.as_of[learnt]).coded(model.vocabulary_)
    X, y, stage = matrix(model.features_, snapshot), outcome[learnt], snapshot.steps.stage
    place_of = {column.name: place for place, column in enumerate(model.columns_)}

    @cache
    def middle(current: int, column: int) -> float:
        known = np.sort(X[(stage == current) & ~np.isnan(X[:, column]), column])
        return float(known[(len(known) - 1) // 2]) if len(known) else NAN

    checked = {}
    for each, reason in all_reasons(explained):
        assert each.row is not None
        sign = 1 if reason.contribution > 0 else -1
        column = place_of[reason.column]
        whose = (each.row.grounds.place, each.row.current, reason.column)
        side = np.sign(reason.observed - middle(each.row.current, column))
        # Each claim once: reasons of many leads say the same.
        claim = reason.observed if model.columns_[column].names else float(np.nan_to_num(side, nan=9))
        checked[(*whose, claim, np.isnan(reason.typical), sign)] = (whose, reason)
    for (place, current, name), reason in checked.values():
        column, known = place_of[name], ~np.isnan(y[:, place])
        if name == "stage":
            alike, among = stage == current, known
        else:
            alike, among = X[:, column] == np.float32(reason.observed), known & (stage == current)
            if not model.columns_[column].names:
                side = np.sign(reason.observed - middle(current, column))
                alike = np.sign(X[:, column] - middle(current, column)) == side
                alike = np.isnan(X[:, column]) if np.isnan(reason.observed) else alike
            if np.isnan(reason.typical) and not np.isnan(reason.observed):
                without = np.isnan(X[:, column])
                assert (share(y, place, among & without) - share(y, place, among & ~without)) * reason.contribution < 0
        assert (share(y, place, among & alike) - share(y, place, among & ~alike)) * reason.contribution > 0
    names = {name for (_, _, name), _ in checked.values()}
    assert {"stage", "source", "days_in_stage", "owner"} < names
    assert len(names) > 30


def share(y: Float32s, place: int, rows: Bools) -> float:
    """Share that reached a stage."""
    return float(y[rows, place].mean(dtype=np.float64))


def test_what_is_not_known_or_has_not_happened_is_never_a_merit(model: FunnelModel, page: Snapshot) -> None:
    columns = {column.name: column for column in model.columns_}
    missing = 0
    for sign in (1, -1):
        for _, reason in all_reasons([explain(leaning(model, sign), page, place) for place in range(N_LATER)]):
            column = columns[reason.column]
            unknown = np.isnan(reason.observed) or (column.names and column.names[int(reason.observed)] == MISSING)
            counted = column.unit == "touches" and column.name != "week_against_before"
            if unknown or (counted and reason.observed == 0):
                missing += 1
                assert reason.contribution < 0, reason.sentence
            assert "unknown" not in reason.sentence.split(";")[0] or reason.contribution < 0
    assert missing > 20


@pytest.mark.parametrize("sign", [1, -1])
def test_nothing_happened_speaks_only_against(model: FunnelModel, sign: int) -> None:
    grounds = Grounds(leaning(model, sign), WIN, model.columns_)
    nothing = np.zeros((1, len(grounds.columns)), np.float32)
    sayable = grounds.sayable(nothing, np.array([0]), np.full(nothing.shape, float(sign)))[0]
    said = {column.name: bool(each) for column, each in zip(grounds.columns, sayable, strict=True)}

    for name in ("demo_7d", "email_in_all", "inbound_30d", "touch_90d", "active_days_7d", "value_30d"):
        assert said[name] == (sign < 0)
    # A touch a moment ago is something.
    assert said["days_since_last_touch"]
    assert said["steps_back"]


def test_no_number_is_a_reason_for_being_typical(explained: list[list[Reasons]]) -> None:
    for each, reason in all_reasons(explained):
        assert each.row is not None
        column = each.row.grounds.columns[[one.name for one in each.row.grounds.columns].index(reason.column)]
        if not column.names and column.name != "stage":
            assert abs(reason.observed - reason.typical) > 0.09 * abs(reason.typical) or np.isnan(
                reason.observed - reason.typical
            )
        assert column.topic != "calendar"
        assert column.unit != "divisors"


def test_the_same_touches_are_one_reason(explained: list[list[Reasons]]) -> None:
    for stage in explained:
        for each in stage:
            since = [r.observed for r in reasons_of(each) if r.column.startswith("days_since_last_")]
            assert len(set(since)) == len(since)


def test_a_lead_alone_has_the_reasons_that_it_has_in_a_crowd(
    model: FunnelModel, page: Snapshot, explained: list[list[Reasons]]
) -> None:
    for place in (0, WIN):
        for lead in range(0, len(page), 20):
            assert repr(explain(model, page[np.array([lead])], place)) == repr([explained[place][lead]])


def test_equal_contributions_are_in_order_of_the_catalogue(model: FunnelModel, explained: list[list[Reasons]]) -> None:
    row = next(each.row for each in explained[WIN] if each.row is not None)
    grounds = row.grounds
    named = {topic: f"attribute {topic}" for topic in ("source", "industry", "country")}
    topics = np.array([0.5 if topic in named.values() else 0.0 for topic in grounds.topics])
    columns = [column.name for column in grounds.columns]
    candidates = {grounds.topics.index(topic): [columns.index(name)] for name, topic in named.items()}

    towards, against, rest = _chosen(row, topics, candidates)

    assert [reason.column for reason in towards] == ["source", "industry", "country"]
    assert (against, rest) == ((), 0.0)


def test_a_base_rate_has_no_reasons(model: FunnelModel, page: Snapshot) -> None:
    poor = copy(model)
    poor.stages_ = (*model.stages_[:-1], StageModel(None))
    without_signal = copy(model)
    without_signal = serving_base_rates(model, ["won"])
    for served in (poor, without_signal):
        for each in explain(served, page, WIN):
            assert each.fallback
            assert reasons_of(each) == ()
            assert each.base + each.everything_else == each.margin == pytest.approx(logit(each.probability))


def test_a_base_rate_says_what_it_is_of(model: FunnelModel, page: Snapshot) -> None:
    served = serving_base_rates(model, ["won"])
    served.base_rate_ = BaseRate.learnt(
        served.base_rate_.rates_,
        np.array([1.0, 16.0]),
        np.broadcast_to(np.array([0.25, 0.125, 0.0625])[None, :, None], (5, 3, 5)),
    )
    days, stage = page.steps.days_in_stage, page.steps.stage

    for each, spent, at in zip(explain(served, page, WIN), days, stage, strict=True):
        rate, band = [("25.0%", "less than a day"), ("12.5%", "1 to 16 days"), ("6.2%", "16 days or more")][
            int(np.searchsorted([1, 16], spent, side="right"))
        ]
        name = model.funnel.stages[at]
        assert each.note == f"base rate (no signal) of leads at {name} for {band}: {rate} reach won within 90 days"
    assert not any(each.note for each in explain(model, page, WIN))


def test_a_stage_already_passed_has_no_reasons(model: FunnelModel, history: History) -> None:
    everyone = history.at(np.arange(0, len(history), 50), np.full(len(range(0, len(history), 50)), history.known_until))
    ahead = everyone.steps.stage <= 1
    for each, expected in zip(explain(model, everyone, 1), ahead, strict=True):
        assert (each.row is not None) == (not np.isnan(each.probability)) == expected
        assert not each.fallback
        assert expected or reasons_of(each) == ()


def test_a_probability_bounded_by_an_earlier_stage_says_so(model: FunnelModel, history: History) -> None:
    same = history.funnel.model_copy(update={"horizon_days": dict.fromkeys(history.funnel.later_stages, 30)})
    ordered = copy(model)
    ordered.funnel = same.model_copy(update={"lightgbm": model.funnel.lightgbm})
    page = open_leads(replace(history, funnel=same), history.known_until)
    found = [each for each in explain(ordered, page, WIN) if each.row is not None]
    bounded = [each for each in found if each.bounded]

    assert 0 < len(bounded) < len(found)
    assert all(logit(each.probability) < each.margin for each in bounded)
    assert all(logit(each.probability) == pytest.approx(each.margin, abs=1e-9) for each in found if not each.bounded)
    for each in bounded:
        total = each.base + sum(reason.contribution for reason in reasons_of(each)) + each.everything_else
        assert total == pytest.approx(each.margin, abs=1e-9)


def test_typical_values_survive_saving_bit_for_bit(model: FunnelModel, page: Snapshot, tmp_path: Path) -> None:
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")

    for name in ("n_names", "value", "missing", "direction"):
        kept, learnt = getattr(again.typical_, name), getattr(model.typical_, name)
        assert kept.dtype == learnt.dtype
        assert kept.tobytes() == learnt.tobytes()
    assert repr(explain(again, page, WIN)) == repr(explain(model, page, WIN))


def test_typical_values_are_those_of_the_listed_examples_of_each_stage() -> None:
    columns = (
        Column("stage", "place in the funnel", "", "stage"),
        Column("calls", "touches", "", "calls"),
        Column("source", "category", "", "source", ("ads", "fair", MISSING)),
    )
    X = np.array(
        [[0, 1, 0], [0, 2, 1], [0, 4, 1], [0, 8, 0], [0, NAN, 1], [0, 99, 2], [1, 5, 2], [1, 7, 2]], np.float32
    )
    y = np.array([[0, 0], [0, 0], [1, 0], [1, NAN], [0, 0], [1, 1], [NAN, 1], [NAN, 0]], np.float32)
    listed = np.array([True] * 5 + [False] + [True] * 2)
    few = Typical.of(X, y, X[:, 0].astype(np.int64), listed, columns)
    X, y, listed = (np.repeat(each, 40, axis=0) for each in (X, y, listed))

    typical = Typical.of(X, y, X[:, 0].astype(np.int64), listed, columns)

    # The lower of two middle values: a count stays a count.
    assert typical.value.tolist() == [[0, 2, 1], [1, 5, 2]]
    assert typical.missing.tolist() == [[0, 0.2, 0], [0, 0, 0]]
    # Of mql: the stage itself (only lead was ever ahead of it), calls below, at, above, unknown; ads, fair, unknown.
    assert typical.direction[0, 0].tolist() == [0, 0, 0, 0, -1, -1, 1, -1, 1, -1, 0]
    # Of the second stage to reach: leads never did, those one stage on half the time.
    assert typical.direction[0, 1].tolist() == [-1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0]
    assert typical.direction[1, 1].tolist() == [1, 1, 1, 1, 0, 1, -1, 0, 0, 0, 0]
    # In five examples, ads and fairs may differ by chance.
    assert typical.direction[0, 0, 8:10].all()
    assert not few.direction[0, 0, 8:10].any()


def moved(each: Reasons, column: str, by: float, contribution: float, *, to: float | None = None) -> Reasons:
    """The reasons of the same lead after one column has changed."""
    assert each.row is not None
    place = [one.name for one in each.row.grounds.columns].index(column)
    value, contributions = each.row.value.copy(), each.row.contribution.copy()
    value[place] = value[place] + by if to is None else to
    contributions[place] += contribution
    return replace(each, row=replace(each.row, value=value, contribution=contributions))


def test_changes_say_what_happened_since_the_last_score(model: FunnelModel, page: Snapshot) -> None:
    before = explain(leaning(model, 1), page, WIN)[0]

    def said(*steps: tuple[str, float, float]) -> list[str]:
        after = before
        for column, by, contribution in steps:
            after = moved(after, column, by, contribution)
        return [change.sentence for change in changes(before, after)]

    assert said() == []
    assert said(("demo_all", 1, 0.2)) == ["1 demo since the last score"]
    assert said(("demo_all", 2, 0.2), ("email_in_all", 1, 0.5)) == [
        "1 inbound e-mail since the last score",
        "2 demos since the last score",
    ]
    # The count tells more than the window that moved the score most.
    assert said(("demo_7d", 1, 0.4), ("demo_all", 1, 0.1)) == ["1 demo since the last score"]
    assert said(("demo_all", 1, LEAST / 2)) == []
    assert said(("weekday", 1, 0.5)) == []
    # The data say that a rise speaks for the lead, so it did not lower the score.
    assert said(("demo_all", 1, -0.2)) == []


def test_what_got_unknown_raised_no_score(model: FunnelModel, page: Snapshot) -> None:
    before = next(each for each in explain(leaning(model, 1), page, WIN) if each.row and each.row.value[0] > 0)
    assert changes(before, moved(before, "employees", 0, 0.5, to=NAN)) == ()
    against = next(each for each in explain(leaning(model, -1), page, WIN) if each.row and each.row.value[0] > 0)
    sentences = [change.sentence for change in changes(against, moved(against, "employees", 0, -0.5, to=NAN))]
    assert len(sentences) == 1
    assert sentences[0].startswith("employees unknown; at the last score: ")


def test_real_changes_sum_to_what_moved(model: FunnelModel, history: History) -> None:
    early = open_leads(history, history.known_until - 14 * DAY)[slice(0, None, 10)]
    pairs = list(
        zip(
            explain(model, early, WIN), explain(model, history.at(early.lead, early.as_of + 14 * DAY), WIN), strict=True
        )
    )
    found = [(before, after, change) for before, after in pairs for change in changes(before, after)]
    assert len(found) > 50
    for before, after, change in found:
        assert before.row is not None
        assert after.row is not None
        of_topic = before.row.grounds.topic_of == before.row.grounds.topics.index(change.topic)
        difference = (after.row.contribution - before.row.contribution)[of_topic].sum()
        assert change.moved == pytest.approx(difference, abs=1e-9)
    moves = [change for _, _, change in found if change.column == "stage"]
    assert any(change.sentence == "moved from lead to mql since the last score" for change in moves)


def test_scores_of_two_models_are_not_compared(model: FunnelModel, page: Snapshot) -> None:
    one, other = (explain(each, page[np.array([0])], WIN)[0] for each in (model, copy(model)))
    with pytest.raises(ModelError, match="same model"):
        changes(one, other)
    assert changes(one, replace(one, row=None)) == ()


def spoken(name: str, observed: float, typical: float) -> str:
    columns = {column.name: column for column in columns_of(features_of())}
    words = words_of(columns[name], STAGES)
    assert words is not None
    return words.sentence(observed, typical)


@pytest.mark.parametrize(
    ("name", "observed", "typical", "sentence"),
    [
        ("call_7d", 2, 0, "2 calls in the last 7 days; typical at this stage: 0"),
        ("call_1d", 1, 0, "1 call in the last 24 hours; typical at this stage: 0"),
        ("email_30d", 0, 1_200, "no e-mail in the last 30 days; typical at this stage: 1,200"),
        ("visit_all", 3, 1, "3 visits so far; typical at this stage: 1"),
        ("__other___7d", 2, 0, "2 touches of rarer kinds in the last 7 days; typical at this stage: 0"),
        ("inbound_7d", 1, 4, "1 inbound touch in the last 7 days; typical at this stage: 4"),
        ("touch_all", 5, 4, "5 touches so far; typical at this stage: 4"),
        ("days_since_last_call", NAN, 9, "no call so far; typical at this stage: 9 days ago"),
        ("days_since_last_call", 3.2, NAN, "last call 3 days ago; typical at this stage: none so far"),
        ("days_since_first_form", 1, 0.1, "first form 1 day ago; typical at this stage: 2 hours ago"),
        ("active_days_7d", 4, 1, "touches on 4 different days in the last 7 days; typical at this stage: 1 day"),
        ("active_days_all", 0, 2, "no day with a touch so far; typical at this stage: 2 days"),
        ("value_30d", 12_500, 0, "value of the touches in the last 30 days: 12,500; typical at this stage: 0"),
        ("days_in_stage", 3.1, 20, "no change of stage for 3 days; typical at this stage: 20 days"),
        ("days_as_mql", 0, 5, "no time spent as mql; typical at this stage: 5 days"),
        ("days_as_lost", 2, 0, "2 days spent as lost; typical at this stage: none"),
        ("days_since_created", 0.01, 2, "created less than an hour ago; typical at this stage: 2 days ago"),
        ("steps_back", 1, 0, "went back a stage 1 time; typical at this stage: never"),
        ("reopenings", 2, 0, "was lost and came back 2 times; typical at this stage: never"),
        ("gap_mean", 3, NAN, "3 days between touches on average; typical at this stage: fewer than two touches"),
        ("gap_longest", 12, 5, "longest time without a touch: 12 days; typical at this stage: 5 days"),
        (
            "silence_in_gaps",
            3.04,
            1,
            "silent for 3 times its usual time between touches; typical at this stage: 1 times",
        ),
        (
            "week_against_before",
            2.333,
            -1,
            "touches in the last 7 days: 2.3 more than usual for this lead; typical at this stage: 1 fewer than usual",
        ),
        ("employees", 250, 40, "employees: 250; typical at this stage: 40"),
        ("employees", NAN, 40, "employees unknown; typical at this stage: 40"),
        ("source", 0, 1, "source is ads; most at this stage: fair"),
        ("source", 1, 1, "source is fair, as for most at this stage"),
        ("source", 2, 1, "source is another (rare) value; most at this stage: fair"),
        ("source", 3, 0, "source unknown; most at this stage: ads"),
        ("last_kind", 4, 0, "last touch: visit; most at this stage: call"),
        ("last_kind", 5, 0, "last touch: touch of a rarer kind; most at this stage: call"),
        ("last_kind", 6, 0, "no touch so far; most at this stage: call"),
        ("last_by", 0, 1, "last touched by ann; most at this stage: bob"),
    ],
)
def test_sentences_read_as_a_person_would_say_them(name: str, observed: float, typical: float, sentence: str) -> None:
    assert spoken(name, observed, typical) == sentence


def test_the_stage_is_named_with_its_place() -> None:
    words = words_of(Column("stage", "place in the funnel", "", "stage"), STAGES)
    assert words is not None
    assert words.full(2) == "stands at sql, stage 3 of 4"


def test_every_column_has_words_or_is_silent_on_purpose() -> None:
    columns = {column.name: column for column in columns_of(features_of())}
    silent = {name for name in column_names() if words_of(columns[name], STAGES) is None}
    assert silent == {"employees_roundness", "amount_roundness", "gap_deviation", "hour", "weekday", "month"}


@pytest.mark.parametrize(
    ("kind", "one", "many"),
    [
        ("email_in", "inbound e-mail", "inbound e-mails"),
        ("phone_call_out", "outbound phone call", "outbound phone calls"),
        ("opt_in", "opt in", "opt ins"),
        ("pricing_visit", "pricing visit", "pricing visits"),
        ("page_views", "page views", "page views"),
        ("reply", "reply", "replies"),
        ("search", "search", "searches"),
        ("in", "in", "ins"),
        (OTHER, "touch of a rarer kind", "touches of rarer kinds"),
    ],
)
def test_kinds_of_touch_are_nouns(kind: str, one: str, many: str) -> None:
    assert (noun_of(kind).one, noun_of(kind).many) == (one, many)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (12_500.0, "12,500"),
        (0.1 + 0.2, "0.3"),
        (9.99, "10"),
        (3.14159, "3.1"),
        (42.55, "42.5"),
        (1234.5, "1,234"),
        (-2.0, "-2"),
        (0.0123, "0.012"),
    ],
)
def test_numbers_have_as_many_digits_as_a_reader_wants(value: float, said: str) -> None:
    assert number(value) == said


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (0, "less than an hour"),
        (1 / 24, "1 hour"),
        (0.99, "1 day"),
        (0.9, "22 hours"),
        (1.4, "1 day"),
        (45.6, "46 days"),
        (2_000, "2,000 days"),
    ],
)
def test_times_have_one_unit(days: float, said: str) -> None:
    assert duration(days) == said
