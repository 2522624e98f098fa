"""Nothing that became known after ``as_of`` moves a feature; a label holds nothing known before it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from leadscore.examples import known_by
from leadscore.history import DAY, HOUR, build_history
from leadscore.history.tables import Coded, LeadTable, Tables, TouchTable, TransitionTable
from leadscore.history.zone import utc_offset
from leadscore.labels import reached
from tests.lines import (
    BEGIN,
    FUNNEL,
    KINDS,
    KNOWN_UNTIL,
    SPAN_DAYS,
    changes_of,
    column_names,
    each_table,
    examples_of,
    funnel_in,
    joined,
    matrix_of,
    positions,
    random_tables,
    taken,
    tiny_tables,
    touches_of,
    transitions_of,
)

if TYPE_CHECKING:
    from leadscore.history.line import Float32s, Int64s
    from tests.lines import Examples

CUTS = [BEGIN + days * DAY + past for days in (10, 30, 55, 90) for past in (0, HOUR)]
CALENDAR = FUNNEL.features.calendar
NOON = BEGIN + 30 * DAY + 3 * HOUR
LEAD, MQL, SQL, WON, LOST = range(5)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("cut", CUTS)
def test_features_do_not_move_when_the_future_is_rewritten(cut: int, seed: int) -> None:
    tables = random_tables(seed)
    examples = until(cut, tables, examples_of(tables, seed))

    X, rewritten = matrix_of(tables, examples), matrix_of(rewritten_after(tables, cut, seed), examples)

    assert len(X) > 50
    assert_same_bits(X, rewritten)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(tables=tiny_tables(), cut_days=st.integers(0, SPAN_DAYS), seed=st.integers(0, 99))
def test_features_of_tiny_lines_do_not_move_when_the_future_is_rewritten(
    tables: Tables, cut_days: int, seed: int
) -> None:
    cut = BEGIN + cut_days * DAY
    examples = until(cut, tables, examples_of(tables, seed))

    assert_same_bits(matrix_of(tables, examples), matrix_of(rewritten_after(tables, cut, seed), examples))


@pytest.mark.parametrize("cut", CUTS)
def test_outcomes_known_by_a_cut_do_not_move_when_the_future_is_rewritten(cut: int) -> None:
    tables = random_tables(3)
    examples = until(cut, tables, examples_of(tables, 3))

    before, after = (outcomes_known_by(cut, each, examples) for each in (tables, rewritten_after(tables, cut, 3)))

    assert np.isfinite(before).any()
    assert_array_equal(before, after)


def until(cut: int, tables: Tables, examples: Examples) -> Examples:
    """The examples of leads that were known, at moments up to the cut and on it."""
    known = examples[tables.leads.known[examples.lead] <= cut]
    return replace(known, as_of=np.where(known.as_of > cut, cut, known.as_of))


def outcomes_known_by(cut: int, tables: Tables, examples: Examples) -> Float32s:
    history = build_history(tables, FUNNEL)
    outcome = reached(history, positions(history, tables, examples.lead), examples.as_of)
    return known_by(outcome, examples.as_of, FUNNEL, cut)


def rewritten_after(tables: Tables, cut: int, seed: int) -> Tables:
    """Another future: what became known after the cut is removed or changed, and more is made up.

    What is made up may be said to have occurred long before the cut. Leads that were not known at the cut
    stay as rows, but everything about them is another; new leads come in between.
    """
    rng = np.random.default_rng(seed + 100)
    leads = other_leads(tables.leads, cut, rng)
    made_up = {"transitions": transitions_of, "touches": touches_of}

    def change(table: Any, name: str) -> Any:
        lead = rng.integers(0, len(leads.ids), 60)
        more = (
            made_up[name](rng, leads.created, lead, cut)
            if name in made_up
            else changes_of(rng, leads.created, lead, name, cut)
        )
        late = np.flatnonzero((table.known > cut) & (rng.random(len(table.known)) < 0.5))
        kept, moved = taken(table, np.flatnonzero(table.known <= cut)), taken(table, late)
        return joined(joined(kept, replace(moved, known=moved.known + DAY)), more)

    return each_table(replace(tables, leads=leads, known_until=tables.known_until + 9 * DAY), change)


def other_leads(leads: LeadTable, cut: int, rng: np.random.Generator) -> LeadTable:
    n, n_new = len(leads.ids), 5
    known = np.append(leads.known <= cut, np.zeros(n_new, np.bool_))
    rows = np.append(np.arange(n), rng.integers(0, n, n_new))
    source = leads.categories["source"]
    other = rng.integers(0, len(source.names), n + n_new).astype(np.int32)
    return LeadTable(
        ids=np.append(leads.ids, [f"lead {number:03} bis" for number in range(n_new)]).astype(object),
        created=np.where(known, leads.created[rows], cut + HOUR),
        known=np.where(known, leads.known[rows], cut + HOUR),
        do_not_score=known & leads.do_not_score[rows],
        numbers={"employees": np.where(known, leads.numbers["employees"][rows], 7.0)},
        categories={"source": replace(source, codes=np.where(known, source.codes[rows], other))},
    )


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("weeks", [-30, 1, 52])
def test_a_shift_by_whole_weeks_moves_nothing_but_the_calendar(weeks: int, zone: str) -> None:
    tables, funnel = random_tables(4), funnel_in(zone)
    examples, shift = examples_of(tables, 4), weeks * 7 * DAY
    moved = replace(examples, as_of=examples.as_of + shift)

    X, after = matrix_of(tables, examples, funnel), matrix_of(shifted(tables, shift), moved, funnel)

    names = column_names(funnel)
    other = [place for place, name in enumerate(names) if name not in CALENDAR]
    assert_same_bits(X[:, other], after[:, other])
    # Hour and weekday move only with the clocks.
    same_clock = utc_offset(examples.as_of, funnel.time.zone) == utc_offset(moved.as_of, funnel.time.zone)
    assert same_clock.any()
    assert zone != "UTC" or same_clock.all()
    of_the_week = [names.index("hour"), names.index("weekday")]
    assert_same_bits(X[same_clock][:, of_the_week], after[same_clock][:, of_the_week])


def shifted(tables: Tables, shift: int) -> Tables:
    leads = replace(tables.leads, created=tables.leads.created + shift, known=tables.leads.known + shift)

    def later(table: Any, _name: str) -> Any:
        occurred = {} if isinstance(table, TouchTable) else {"occurred": table.occurred + shift}
        return replace(table, known=table.known + shift, **occurred)

    return each_table(replace(tables, leads=leads, known_until=tables.known_until + shift), later)


@pytest.mark.parametrize(
    ("hours_before", "counted"),
    [(1, 1), (7 * 24 - 1, 1), (7 * 24, 0), (7 * 24 + 1, 0), (0, 1), (-1, 0)],
    ids=["recent", "just inside", "on the far edge", "too old", "at as_of", "future"],
)
def test_a_seven_day_window_is_half_open(hours_before: int, counted: int) -> None:
    tables = one_lead(touches=[NOON - hours_before * HOUR])

    assert value("call_7d", tables, NOON) == counted
    assert value("touch_7d", tables, NOON) == counted


@pytest.mark.parametrize(("as_of", "counted"), [(NOON - 1, 0), (NOON, 1), (NOON + 7 * DAY - 1, 1), (NOON + 7 * DAY, 0)])
def test_a_window_is_exact_to_the_microsecond(as_of: int, counted: int) -> None:
    assert value("call_7d", one_lead(touches=[NOON]), as_of) == counted


@pytest.mark.parametrize("years", [-300, -150, 150, 300])
def test_a_moment_centuries_away_sees_all_or_nothing_of_its_own_lead(years: int) -> None:
    tables = random_tables(1)
    lead = np.flatnonzero(~tables.leads.do_not_score)
    far = np.full(len(lead), NOON + years * 365 * DAY)

    X = matrix_of(tables, replace(of_the_lead(NOON), lead=lead, as_of=far))

    n_touches = np.bincount(tables.touches.lead, minlength=len(tables.leads.ids))[lead]
    assert_array_equal(X[:, column_names().index("touch_all")], n_touches * (years > 0))


def test_a_touch_counts_from_the_moment_it_was_recorded() -> None:
    # Nothing but the known time of a touch reaches the line: the later of occurred_at and recorded_at.
    tables = one_lead(touches=[NOON + 3 * DAY])

    assert np.isnan(value("days_since_last_call", tables, NOON + 2 * DAY))
    assert value("days_since_last_call", tables, NOON + 3 * DAY) == 0


@pytest.mark.parametrize(
    ("column", "wanted"),
    [("stage", SQL), ("steps_back", 0), ("days_in_stage", 10), ("days_as_mql", 0), ("days_as_lead", 0)],
)
def test_an_old_transition_recorded_late_is_no_step_back(column: str, wanted: float) -> None:
    on_time, late = (SQL, NOON, NOON), (MQL, NOON - 5 * DAY, NOON + 2 * DAY)

    assert value(column, one_lead([on_time, late]), NOON + 10 * DAY) == wanted


def test_a_transition_to_an_earlier_stage_is_a_step_back() -> None:
    tables = one_lead([(SQL, NOON, NOON), (MQL, NOON + DAY, NOON + DAY)])

    assert value("stage", tables, NOON + DAY) == MQL
    assert value("steps_back", tables, NOON + DAY - 1) == 0
    assert value("steps_back", tables, NOON + DAY) == 1


H = FUNNEL.horizon_days["mql"] * DAY
NO = float("nan")


@pytest.mark.parametrize(
    ("as_of", "outcome"),
    [
        (NOON - H - 1, 0.0),
        (NOON - H, 1.0),
        (NOON - 1, 1.0),
        (NOON, NO),
        (NOON + H, NO),
    ],
    ids=[
        "a microsecond too early",
        "on the far edge",
        "just before",
        "at the moment of entry: passed",
        "after",
    ],
)
def test_a_label_is_half_open(as_of: int, outcome: float) -> None:
    assert_array_equal(label(one_lead([(MQL, NOON, NOON)]), as_of), outcome)


def test_a_label_goes_by_known_time() -> None:
    # Recorded after the horizon though it occurred within it; recorded within it though it occurred before.
    recorded_late = one_lead([(MQL, NOON + DAY, NOON + H + 1)])
    occurred_before = one_lead([(MQL, NOON - DAY, NOON + DAY)])

    assert label(recorded_late, NOON) == 0
    assert label(occurred_before, NOON) == 1


@pytest.mark.parametrize("entered", [None, KNOWN_UNTIL], ids=["undecided", "already reached"])
@pytest.mark.parametrize(("after_ripe", "is_nan"), [(-1, 0), (0, 0), (1, 1)])
def test_an_unripe_example_has_no_outcome(after_ripe: int, is_nan: int, entered: int | None) -> None:
    steps = [] if entered is None else [(MQL, entered, entered)]

    assert np.isnan(label(one_lead(steps), KNOWN_UNTIL - H + after_ripe)) == is_nan


def test_a_lost_lead_has_no_outcome_until_it_comes_back() -> None:
    tables = one_lead([(LOST, NOON, NOON), (LEAD, NOON + DAY, NOON + DAY), (WON, NOON + 2 * DAY, NOON + 2 * DAY)])

    assert np.isnan(label(tables, NOON))
    assert label(tables, NOON + DAY) == 1


def one_lead(steps: list[tuple[int, int, int]] | None = None, touches: list[int] | None = None) -> Tables:
    """A lead created at noon with transitions (stage, occurred, known) and calls."""
    stage, occurred, known = np.array(steps or [], np.int64).reshape(-1, 3).T
    calls = np.array(touches or [], np.int64)
    none = np.zeros(1, np.int64)
    return Tables(
        LeadTable(
            np.array(["A"], object),
            none + NOON,
            none + NOON,
            none.astype(np.bool_),
            {"employees": np.ones(1)},
            {"source": Coded(none.astype(np.int32), ("web",))},
        ),
        TransitionTable(np.zeros_like(stage), occurred, known, stage.astype(np.int8)),
        TouchTable(np.zeros_like(calls), calls, Coded(np.zeros(len(calls), np.int32), KINDS)),
        random_tables(0, 1).changes,
        KNOWN_UNTIL,
    )


def value(column: str, tables: Tables, as_of: int) -> float:
    X = matrix_of(tables, of_the_lead(as_of))
    return float(X[0, column_names().index(column)])


def label(tables: Tables, as_of: int) -> float:
    history = build_history(tables, FUNNEL)
    return float(reached(history, np.zeros(1, np.int64), np.array([as_of], np.int64))[0, 0])


def of_the_lead(as_of: int) -> Examples:
    return replace(examples_of(random_tables(0, 1), 0), lead=np.zeros(1, np.int64), as_of=np.array([as_of]))


def assert_same_bits(X: Float32s, other: Float32s) -> None:
    assert_array_equal(bits(X), bits(other))


def bits(X: Float32s) -> Int64s:
    return np.ascontiguousarray(X).view(np.int32).astype(np.int64)
