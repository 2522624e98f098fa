"""Where each lead stood, and from when to when."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from leadscore.examples import learning_examples
from leadscore.funnel import NeverClosed, never_closed, not_listed, open_leads, open_stays
from leadscore.labels import reached
from tests.hand import at, history_of, short_funnel

if TYPE_CHECKING:
    from leadscore.config import Funnel
    from leadscore.history import History

MQL, SAL, SQL, OPPORTUNITY, WON, LOST = 1, 2, 3, 4, 5, 6


def stages(history: History, moments: list[str]) -> list[int]:
    found: list[int] = history.at([0] * len(moments), [at(each) for each in moments]).steps.stage.tolist()
    return found


def test_a_lead_without_a_transition_stands_in_the_first_stage_since_it_was_created() -> None:
    history = history_of({"A": "2024-03-01 09:00"})

    seen = history.at([0], [at("2024-03-04 09:00")])

    assert seen.steps.stage.tolist() == [0]
    assert seen.steps.days_in_stage.tolist() == [3.0]


def test_the_moment_of_entry_belongs_to_the_stage_entered() -> None:
    history = history_of({"A": "2024-03-01 09:00"}, [("A", "mql", "2024-03-04 09:00")])

    assert stages(history, ["2024-03-04 08:59:59.999999", "2024-03-04 09:00"]) == [0, MQL]


def test_an_old_transition_recorded_late_is_no_step() -> None:
    history = history_of(
        {"A": "2024-03-01 09:00"},
        [
            ("A", "mql", "2024-03-04 09:00"),
            ("A", "sql", "2024-03-06 09:00"),
            ("A", "sal", "2024-03-05 09:00", "2024-03-08 09:00"),
        ],
    )

    assert stages(history, ["2024-03-07 09:00", "2024-03-08 09:00"]) == [SQL, SQL]
    assert history.at([0], [at("2024-03-09 09:00")]).steps.steps_back().tolist() == [0]


def test_a_transition_counts_from_when_it_was_recorded_and_dates_from_when_it_occurred() -> None:
    history = history_of({"A": "2024-03-01 09:00"}, [("A", "mql", "2024-03-04 09:00", "2024-03-06 09:00")])

    assert stages(history, ["2024-03-05 09:00", "2024-03-06 09:00"]) == [0, MQL]
    assert history.at([0], [at("2024-03-06 09:00")]).steps.days_in_stage.tolist() == [2.0]


def test_of_two_transitions_at_the_same_moment_the_later_stage_is_current() -> None:
    both = [("A", "sql", "2024-03-04 09:00"), ("A", "mql", "2024-03-04 09:00")]

    assert stages(history_of({"A": "2024-03-01 09:00"}, both), ["2024-03-04 09:00"]) == [SQL]
    assert stages(history_of({"A": "2024-03-01 09:00"}, both[::-1]), ["2024-03-04 09:00"]) == [SQL]


def test_a_repeat_of_the_same_stage_is_no_entry() -> None:
    history = history_of(
        {"A": "2024-03-01 09:00"}, [("A", "mql", "2024-03-04 09:00"), ("A", "mql", "2024-03-06 09:00")]
    )

    assert history.at([0], [at("2024-03-07 09:00")]).steps.days_in_stage.tolist() == [3.0]
    assert len(history.steps) == 1


def test_steps_back_and_reopenings_are_counted_apart() -> None:
    history = history_of(
        {"A": "2024-03-01 09:00"},
        [
            ("A", "sql", "2024-03-02 09:00"),
            ("A", "mql", "2024-03-03 09:00"),
            ("A", "lost", "2024-03-04 09:00"),
            ("A", "mql", "2024-03-06 09:00"),
        ],
    )
    seen = history.at([0], [at("2024-03-07 09:00")])

    assert (seen.steps.steps_back().tolist(), seen.steps.reopenings().tolist()) == ([1], [1])
    # lead 1 day, mql 1 day and the day since the reopening, sql 1 day, lost 2 days
    assert seen.steps.days_spent().tolist() == [[1.0, 2.0, 0.0, 1.0, 0.0, 0.0, 2.0]]


def test_open_stays_end_where_the_next_begins_or_the_history_ends() -> None:
    history = history_of(
        {"A": "2024-03-01 09:00", "B": "2024-03-02 09:00"},
        [("A", "mql", "2024-03-04 09:00"), ("A", "won", "2024-03-06 09:00")],
        known_until="2024-03-10 09:00",
    )
    stays = open_stays(history)

    assert_array_equal(stays.lead, [0, 0, 1])
    assert_array_equal(stays.stage, [0, MQL, 0])
    assert_array_equal(stays.begin, [at("2024-03-01 09:00"), at("2024-03-04 09:00"), at("2024-03-02 09:00")])
    assert_array_equal(stays.end, [at("2024-03-04 09:00"), at("2024-03-06 09:00"), at("2024-03-10 09:00") + 1])


def test_a_step_older_than_the_lead_itself_is_where_the_lead_begins() -> None:
    history = history_of({"A": "2024-03-04 09:00"}, [("A", "mql", "2024-03-02 09:00")])
    stays = open_stays(history)

    assert stays.stage.tolist() == [MQL]
    assert stays.begin.tolist() == [at("2024-03-04 09:00")]


def test_won_and_lost_leads_and_leads_to_come_are_not_open() -> None:
    history = history_of(
        dict.fromkeys("ABC", "2024-03-01 09:00") | {"D": "2024-04-01 09:00"},
        [("A", "won", "2024-03-02 09:00"), ("B", "lost", "2024-03-02 09:00"), ("C", "sal", "2024-03-02 09:00")],
    )

    assert history.ids[open_leads(history, at("2024-03-05 09:00")).lead].tolist() == ["C"]


def slow_funnel() -> Funnel:
    return short_funnel("[funnel]\nlost_after_days = 10\n")


def test_a_lead_too_long_in_its_stage_is_lost_until_it_moves() -> None:
    history = history_of(
        {"A": "2024-03-01 09:00"},
        [("A", "mql", "2024-03-20 09:00")],
        known_until="2024-04-30 00:00",
        funnel=slow_funnel(),
    )
    moments = ["2024-03-11 09:00", "2024-03-11 09:00:00.000001", "2024-03-20 09:00", "2024-04-01 09:00"]

    stays = open_stays(history)

    assert stages(history, moments) == [0, LOST, MQL, LOST]
    assert [len(open_leads(history, at(moment))) for moment in moments] == [1, 0, 1, 0]
    assert_array_equal(stays.end, [at("2024-03-11 09:00") + 1, at("2024-03-30 09:00") + 1])


def test_no_example_of_a_lead_is_learnt_from_after_it_is_lost() -> None:
    leads, moves = {"A": "2024-03-01 09:00"}, [("A", "sql", "2024-03-12 09:00")]
    history = history_of(leads, moves, known_until="2024-06-30 00:00", funnel=slow_funnel())

    examples = learning_examples(history)
    as_of = np.array([at("2024-03-10 09:00"), at("2024-03-11 10:00")])

    assert examples.as_of.max() <= at("2024-03-22 09:00")
    assert len(examples) < len(learning_examples(history_of(leads, moves, known_until="2024-06-30 00:00")))
    # What it did afterwards is still what happened.
    assert reached(history, np.zeros(2, np.int64), as_of)[:, 2].tolist() == [1.0, pytest.approx(np.nan, nan_ok=True)]


def test_leads_not_listed_are_counted() -> None:
    leads = {"A": "2024-03-01 09:00", "B": "2024-03-20 09:00", "C": "2024-05-01 09:00", "D": "2024-05-02 09:00"}
    history = history_of(leads, funnel=slow_funnel())

    later, lost = not_listed(history, at("2024-03-21 09:00"))

    assert later.startswith("2 leads were created, or became known, after the moment of the list")
    assert lost.startswith("1 leads have been in their stage for more than lost_after_days = 10 days")
    assert not_listed(history_of(leads), at("2024-05-03 09:00")) == []


def test_leads_that_nobody_closes_are_counted() -> None:
    old = {f"A{n:02}": "2024-01-01 09:00" for n in range(50)}
    new = {f"B{n:02}": "2024-09-01 09:00" for n in range(60)}
    moves = [("A00", "mql", "2024-06-01 09:00"), *((lead, "lost", "2024-09-10 09:00") for lead in new)]
    left_open = history_of(old | new, moves, known_until="2024-09-30 00:00")
    closed = history_of(
        old | new, [*moves, *((lead, "lost", "2024-06-02 09:00") for lead in old)], known_until="2024-09-30 00:00"
    )

    found = never_closed(left_open)

    assert found == NeverClosed(days=30, n_leads=50, n_open=50, n_ever=50, n_moved=1)
    assert "of 50 leads that ever were, 1 moved afterwards" in str(found)
    assert "lost_after_days = 30" in str(found)
    assert never_closed(closed) is None
    assert never_closed(replace(left_open, funnel=slow_funnel())) is None


BEGINS = "[time]\nhistory_begins = 2024-03-10"
# A never moved, B and C moved after stages were recorded, C to where it stood; D is younger.
OLDER = history_of(
    dict.fromkeys("ABC", "2024-03-01 09:00") | {"D": "2024-03-10 09:00"},
    [("B", "sql", "2024-03-14 09:00"), ("C", "lead", "2024-03-15 09:00"), ("B", "mql", "2024-03-16 09:00")],
    known_until="2024-03-20 09:00",
    funnel=short_funnel(BEGINS),
)


def test_stays_before_history_begins_are_unknown() -> None:
    stays = open_stays(OLDER)

    assert stays.lead.tolist() == [1, 1, 2, 3]
    assert stays.stage.tolist() == [SQL, MQL, 0, 0]
    assert stays.begin.tolist() == [at(f"2024-03-{day} 09:00") for day in (14, 16, 15, 10)]


def test_leads_of_unknown_stage_are_not_listed() -> None:
    def listed(moment: str) -> list[str]:
        found: list[str] = OLDER.ids[open_leads(OLDER, at(moment)).lead].tolist()
        return found

    assert listed("2024-03-10 09:00") == ["D"]
    assert not_listed(OLDER, at("2024-03-10 09:00"))[0].startswith("3 leads created before history_begins")
    assert listed("2024-03-14 08:59:59.999999") == ["D"]
    assert listed("2024-03-14 09:00") == ["B", "D"]
    assert listed("2024-03-15 09:00") == ["B", "C", "D"]


def test_time_before_history_begins_is_spent_in_no_stage() -> None:
    steps = OLDER.at([1, 2, 3], [at("2024-03-17 09:00")] * 3).steps

    assert steps.days_in_stage.tolist() == [1.0, 2.0, 7.0]
    assert steps.days_spent()[:, [0, MQL, SQL]].tolist() == [[0.0, 1.0, 2.0], [2.0, 0.0, 0.0], [7.0, 0.0, 0.0]]
    assert steps.steps_back().tolist() == [1, 0, 0]
