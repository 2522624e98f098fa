"""The published protocol and the funnel of Olist: what is learnt from, what is judged, and that neither sees ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from benchmarks.bench_olist import BEGIN, WEEK, Entries, first_entries, judged_entries, no_signal, with_intervals
from benchmarks.bench_outcome import lead_weights, weighted_auc
from benchmarks.outcome_features import features_of
from benchmarks.outcome_log import (
    CHECK_VALUES,
    before_outcome,
    check_genuine,
    log_of,
    longest_prefix,
    measured,
    read_log,
    split,
    splits_inside,
)
from data.olist.prepare import prepare
from leadscore.errors import DataError
from leadscore.history import read_history
from tests.conftest import REAL_DATA

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.outcome_log import Log

    Event = tuple[str, str, str]  # activity, time, who

pytestmark = pytest.mark.integration

ENDS = ("O_ACCEPTED", "O_DECLINED", "O_CANCELLED")


def log_from(leads: dict[str, list[Event]]) -> Log:
    """A log of leads by name, each with its events in order."""
    rows = [
        (lead, place, who or None, "COMPLETE", name, pd.Timestamp(when, tz="UTC"))
        for lead, events in leads.items()
        for place, (name, when, who) in enumerate(events)
    ]
    columns = ["case:concept:name", "_event_idx", "org:resource", "lifecycle:transition", "concept:name"]
    events = pd.DataFrame(rows, columns=[*columns, "time:timestamp"])
    # As if it came from another tool: the order of the rows means nothing.
    events = events.sample(frac=1, random_state=1)
    amounts = [1_000 * (number + 1) for number in range(len(leads))]
    return log_of(events, pd.DataFrame({"concept:name": list(leads), "AMOUNT_REQ": amounts}))


def plain_lead(day: int, end: str, n_events: int = 4) -> list[Event]:
    """Begins on a day of March at nine, an event an hour, and ends as said."""
    between: list[Event] = [
        ("W_Call" if hour % 2 else "O_SENT", f"2024-03-{day:02} {9 + hour:02}:00", f"agent {hour % 3}")
        for hour in range(1, n_events - 1)
    ]
    last: Event = (end, f"2024-03-{day:02} {8 + n_events:02}:00", "ann")
    return [("A_SUBMITTED", f"2024-03-{day:02} 09:00", ""), *between, last]


@pytest.fixture(scope="module")
def ten() -> Log:
    """Ten leads, one a day, the last in the alphabet first; two have an event when the last two have begun."""
    leads = {f"lead {9 - number}": plain_lead(number + 1, ENDS[number % 3]) for number in range(10)}
    for late in ("lead 7", "lead 3"):
        leads[late].append(("W_Call", "2024-03-09 09:00", "bob"))
    return log_from(leads)


def test_the_last_event_of_the_offers_decides_and_leads_without_one_are_left_out() -> None:
    log = log_from(
        {
            # The first offer was replaced by a second.
            "replaced": [("O_CANCELLED", "2024-03-02 09:00", ""), ("O_ACCEPTED", "2024-03-03 09:00", "")],
            "still open": [("O_DECLINED", "2024-03-01 09:00", ""), ("O_SENT", "2024-03-03 09:00", "")],
            "no offer": [("A_DECLINED", "2024-03-01 09:00", "")],
            "earlier": [("O_DECLINED", "2024-03-01 09:00", ""), ("A_DECLINED", "2024-03-01 10:00", "")],
        }
    )

    assert log.ids.tolist() == ["earlier", "replaced"]
    assert log.outcome.tolist() == [1, 0]
    assert log.amount.tolist() == [4_000, 1_000]


def test_no_lead_with_an_outcome_is_an_error() -> None:
    with pytest.raises(DataError, match="must end some lead's offers with one of O_ACCEPTED"):
        log_from({"open": [("O_SENT", "2024-03-01 09:00", "")]})


def test_the_resource_is_filled_forward_within_the_lead_only() -> None:
    log = log_from(
        {
            "first": [("A", "2024-03-01 09:00", "ann"), ("O_ACCEPTED", "2024-03-01 10:00", "")],
            "second": [("A", "2024-03-02 09:00", ""), ("O_ACCEPTED", "2024-03-02 10:00", "bob")],
        }
    )

    assert log.resource.tolist() == ["ann", "ann", None, "bob"]


def test_open_leads_are_of_the_whole_log_from_the_first_event_until_the_last() -> None:
    log = log_from(
        {
            "never decided": [("A", "2024-03-01 09:00", ""), ("A", "2024-03-01 11:00", "")],
            "decided": [
                ("A", "2024-03-01 09:00", ""),
                ("A", "2024-03-01 10:59", ""),
                ("A", "2024-03-01 11:00", ""),
                ("O_ACCEPTED", "2024-03-01 12:00", ""),
            ],
        }
    )

    assert log.n_open.tolist() == [2, 2, 1, 0]


def test_train_events_from_the_first_test_event_on_are_left_out(ten: Log) -> None:
    parts = split(ten)

    assert parts.n_train == 8
    assert np.unique(ten.lead[parts.test]).tolist() == [8, 9]
    assert ten.ids[8:].tolist() == ["lead 1", "lead 0"]
    # Eight leads of four events; two more events lie at the very moment of the first test event.
    assert np.count_nonzero(ten.lead < 8) == 34
    assert np.count_nonzero(parts.train) == 32
    assert ten.moment[parts.train].max() < parts.first_test == ten.moment[parts.test].min()


def test_splits_inside_the_training_time_see_neither_test_leads_nor_test_time(ten: Log) -> None:
    parts = split(ten)
    inside = splits_inside(ten, parts)

    assert [each.n_train for each in inside] == [4, 5, 6]
    for each in inside:
        used = each.train | each.test
        assert ten.lead[used].max() < parts.n_train
        assert ten.moment[used].max() < parts.first_test
        assert ten.moment[each.train].max() < ten.moment[each.test].min()


def test_no_prefix_is_longer_than_nine_tenths_of_the_leads_of_its_outcome() -> None:
    lengths = {"a": 3, "b": 4, "c": 5}
    log = log_from({name: plain_lead(1, "O_ACCEPTED", n) for name, n in lengths.items()})
    long = log_from({"a": [*plain_lead(1, "O_ACCEPTED"), *[("A", f"2024-04-{1 + n // 2:02}", "") for n in range(60)]]})

    assert longest_prefix(log, 0) == 5  # 4.8, rounded up
    assert longest_prefix(long, 0) == 40


def test_a_prefix_ends_between_two_events_of_one_moment() -> None:
    begin: Event = ("A_SUBMITTED", "2024-03-01 09:00", "")
    leads = {f"{n:02}": [begin, ("W_Call", begin[1], "ann"), ("O_ACCEPTED", begin[1], "ann")] for n in range(10)}
    log = log_from(leads)
    everything = np.ones(len(log.lead), np.bool_)
    touches = features_of(log, everything, everything).X[:3]
    other = log_from({name: [*events[:2], ("W_Mail", begin[1], "bob"), events[2]] for name, events in leads.items()})
    first_two = features_of(other, other.place < 2, other.place < 2).X[:2]

    assert (np.diff(log.known[:3]) == 1).all()
    assert (log.moment[:3] == log.moment[0]).all()
    assert not np.array_equal(touches[0], touches[1], equal_nan=True)
    assert not np.array_equal(touches[1], touches[2], equal_nan=True)
    assert np.array_equal(first_two, features_of(log, log.place < 2, log.place < 2).X[:2], equal_nan=True)


def test_features_of_a_prefix_do_not_move_when_what_follows_is_rewritten() -> None:
    leads = {f"lead {n:02}": plain_lead(n + 1, ENDS[n % 3], 6) for n in range(12)}
    # Ends at the same time as before, so that as many leads are open.
    rewritten = {
        name: [*events[:3], ("W_Other", events[3][1], "zoe"), ("W_Call", events[4][1], "zoe"), events[5]]
        for name, events in leads.items()
    }
    log, other = log_from(leads), log_from(rewritten)
    past = log.place < 3

    assert not np.array_equal(log.activity, other.activity)
    X = features_of(log, past, past)
    assert np.array_equal(X.X, features_of(other, past, past).X, equal_nan=True)
    everything = np.ones(len(log.lead), np.bool_)
    alone = features_of(log, past, everything & (log.lead == 4))
    crowd = features_of(log, past, everything)
    assert np.array_equal(alone.X, crowd.X[log.lead == 4], equal_nan=True)


def test_what_is_at_or_past_the_outcome_under_any_of_its_names_is_not_before_it() -> None:
    log = log_from(
        {
            "a": [
                ("A", "2024-03-01 09:00", ""),
                ("W_Call", "2024-03-01 11:59:58.999", ""),
                ("A_APPROVED", "2024-03-01 11:59:59.998", ""),
                ("O_ACCEPTED", "2024-03-01 12:00", ""),
                ("W_Call", "2024-03-01 13:00", ""),
            ]
        }
    )

    assert before_outcome(log).tolist() == [True, True, False, False, False]


def test_the_weighted_auc_is_a_mean_over_lengths_and_a_single_outcome_counts_nothing() -> None:
    length = np.array([1, 1, 1, 2, 2, 3])
    outcome = np.array([1.0, 0, 0, 1, 0, 1])
    probability = np.array([0.5, 0.4, 0.6, 0.9, 0.1, 0.3])

    # One of two pairs in order at length 1, the only one at length 2, none at length 3.
    assert weighted_auc(outcome, probability, length) == pytest.approx((3 * 0.5 + 2 * 1 + 1 * 0) / 6)


def test_each_lead_weighs_the_same() -> None:
    weights = lead_weights(np.array([0, 0, 0, 2]))

    assert weights.tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])


def test_another_log_is_refused_with_what_differs(ten: Log) -> None:
    with pytest.raises(DataError, match=r"must give labelled leads = 4685, and gives 10") as refused:
        check_genuine(ten, split(ten))

    assert len(refused.value.problems) == len(CHECK_VALUES)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"events\.parquet: must be in"):
        read_log(tmp_path)


@pytest.mark.real_data
def test_the_genuine_log_gives_the_published_check_values() -> None:
    log = read_log(REAL_DATA / "bpic2012")

    assert measured(log, split(log)) == CHECK_VALUES
    check_genuine(log, split(log))


def write_olist(folder: Path, n_leads: int = 500) -> Path:
    """Made-up leads from December 2017 to May 2018; those of one origin sign far more often."""
    rng = np.random.default_rng(1)
    contact = pd.Timestamp("2017-12-01") + pd.to_timedelta(rng.integers(0, 159, n_leads), "D")
    good = rng.random(n_leads) < 0.5
    won = np.flatnonzero(rng.random(n_leads) < np.where(good, 0.7, 0.1))
    ids = np.array([f"lead {number:03}" for number in range(n_leads)], object)
    origin = np.where(good, "search", "social")
    leads = pd.DataFrame({"mql_id": ids, "first_contact_date": contact, "landing_page_id": "a", "origin": origin})
    signed = contact[won] + pd.to_timedelta(rng.integers(30, 80 * 24, len(won)), "h")
    leads.to_parquet(folder / "marketing_qualified_leads.parquet")
    deals = pd.DataFrame({"mql_id": ids[won], "won_date": signed, "business_segment": "pets"})
    deals.to_parquet(folder / "closed_deals.parquet")
    return folder


@pytest.fixture(scope="module")
def olist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("olist")
    prepare(write_olist(folder), folder / "prepared")
    return folder / "prepared"


def test_leads_of_2017_and_what_is_known_of_winners_only_are_left_out(olist: Path) -> None:
    leads, transitions = (pd.read_parquet(olist / f"{name}.parquet") for name in ("leads", "transitions"))

    assert leads["created_at"].min() >= pd.Timestamp("2018-01-01")
    assert 300 < len(leads) < 500
    assert list(leads) == ["lead_id", "created_at", "origin", "landing_page"]
    assert list(transitions) == ["lead_id", "stage", "occurred_at"]
    assert set(transitions["lead_id"]) <= set(leads["lead_id"])


def test_each_lead_of_may_is_judged_once_and_by_the_past(olist: Path, tmp_path: Path) -> None:
    history = read_history(olist)
    judged = judged_entries(history, BEGIN, 1)

    assert len(np.unique(judged.lead)) == len(judged.lead)
    assert history.known[judged.lead].min() >= BEGIN
    assert set(judged.lead) <= set(first_entries(history).lead)
    # Deals after the first week has begun are the future of what was learnt for it.
    for name in ("leads", "touches"):
        pd.read_parquet(olist / f"{name}.parquet").to_parquet(tmp_path / f"{name}.parquet")
    deals = pd.read_parquet(olist / "transitions.parquet")
    deals[deals["occurred_at"] < pd.Timestamp("2018-05-01")].to_parquet(tmp_path / "transitions.parquet")
    (tmp_path / "funnel.toml").write_text((olist / "funnel.toml").read_text())
    without = judged_entries(read_history(tmp_path), BEGIN, 1)
    first_week = history.known[judged.lead] < BEGIN + WEEK
    assert first_week.any()
    assert np.array_equal(judged.probability[first_week], without.probability[: first_week.sum()])
    assert np.array_equal(judged.base[first_week], without.base[: first_week.sum()])
    assert judged.outcome[first_week].any()
    assert not without.outcome.any()


def entries(signal: float, n: int = 400) -> Entries:
    rng = np.random.default_rng(2)
    probability = np.clip(0.3 + signal * rng.standard_normal(n), 0.02, 0.9)
    outcome = (rng.random(n) < (probability if signal else np.full(n, 0.3))).astype(np.float64)
    said = probability if signal else np.clip(0.3 + 0.1 * rng.standard_normal(n), 0.02, 0.9)
    return Entries(np.arange(n), outcome, said, np.full(n, 0.3))


def test_intervals_hold_their_figure_and_come_out_the_same_each_time() -> None:
    figures = with_intervals(entries(0.2), 200)

    assert all(each.low < each.value < each.high for each in figures.values())
    assert figures == with_intervals(entries(0.2), 200)
    assert not no_signal(figures)


def test_noise_is_no_signal() -> None:
    figures = with_intervals(entries(0.0), 200)

    assert figures["auc"].low < 0.5 < figures["auc"].high
    assert no_signal(figures)
