"""Which moments are learnt from and judged on."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadscore.backtest import JUDGED_SHARE, default_cuts, learn_until
from leadscore.examples import (
    Examples,
    judging_examples,
    known_by,
    learning_examples,
    mornings,
    settings_to_learn,
)
from leadscore.history import DAY, build_history, read_history
from leadscore.labels import reached
from tests.hand import at, history_of, short_funnel
from tests.lines import FUNNEL, random_tables

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history import History


def moments_of(examples: Examples, lead: int = 0) -> list[str]:
    return [str(np.datetime64(int(as_of), "us")) for as_of in examples.as_of[examples.lead == lead]]


def test_entries_a_widening_grid_and_mornings_are_learnt_from() -> None:
    history = history_of(
        {"A": "2024-03-01 09:00"},
        [("A", "mql", "2024-03-04 09:30")],
        known_until="2024-03-08 09:00",
        funnel=short_funnel("[examples]\ngrid_days = [1, 2, 4]\nmornings_every_days = 4"),
    )
    examples = learning_examples(history)

    assert moments_of(examples) == [
        "2024-03-01T09:00:00.000000",  # created
        "2024-03-02T08:00:00.000000",  # a morning
        "2024-03-02T09:00:00.000000",
        "2024-03-03T09:00:00.000000",
        "2024-03-04T09:30:00.000000",  # an MQL
        "2024-03-05T09:30:00.000000",
        "2024-03-06T08:00:00.000000",  # a morning
        "2024-03-06T09:30:00.000000",
    ]
    assert np.flatnonzero(examples.on_morning).tolist() == [1, 6]


def test_a_closed_lead_is_no_example() -> None:
    history = history_of({"A": "2024-03-01 09:00"}, [("A", "lost", "2024-03-02 10:00")])

    assert moments_of(learning_examples(history)) == ["2024-03-01T09:00:00.000000", "2024-03-02T09:00:00.000000"]


def test_unknown_stays_are_not_learnt_from_or_judged(caplog: pytest.LogCaptureFixture) -> None:
    history = history_of(
        {"A": "2024-03-01 09:00", "B": "2024-03-01 09:00"},
        [("A", "mql", "2024-03-08 09:00")],
        known_until="2024-03-09 09:00",
        funnel=short_funnel("[examples]\ngrid_days = [1]\n[time]\nhistory_begins = 2024-03-05"),
    )
    with caplog.at_level(logging.INFO):
        examples = learning_examples(history)

    assert moments_of(examples) == ["2024-03-08T09:00:00.000000", "2024-03-09T09:00:00.000000"]
    assert moments_of(examples, 1) == []
    assert judging_examples(history, at("2024-03-01 00:00"), every_days=1).lead.tolist() == [0]
    assert "2 leads created before history_begins" in caplog.text


def test_the_default_cuts_lie_after_history_begins() -> None:
    since = short_funnel("[time]\nhistory_begins = 2024-01-01")
    history = history_of({"A": "2014-01-01 00:00"}, known_until="2024-04-10 00:00", funnel=since)

    assert min(default_cuts(history)) > at("2024-01-01 00:00")


def test_mornings_are_in_local_time_on_both_sides_of_summer_time() -> None:
    berlin = short_funnel('[time]\ntimezone = "Europe/Berlin"')
    history = history_of({"A": "2024-03-29 00:00"}, known_until="2024-04-02 00:00", funnel=berlin)

    hours = mornings(history, 1) % DAY // 3_600_000_000

    # Summer time began on 2024-03-31: 08:00 is 07:00 UTC before and 06:00 UTC from then on.
    assert hours.tolist() == [7, 7, 6, 6]


def test_all_leads_open_on_a_morning_are_judged() -> None:
    history = history_of(
        {"A": "2024-03-01 09:00", "B": "2024-03-02 09:00", "C": "2024-03-01 09:00"},
        [("C", "lost", "2024-03-02 09:00")],
        known_until="2024-03-04 09:00",
    )
    judged = judging_examples(history, at("2024-03-02 00:00"), every_days=1)

    assert moments_of(judged, 0)[0] == "2024-03-02T08:00:00.000000"
    assert [len(moments_of(judged, lead)) for lead in range(3)] == [3, 2, 1]
    assert judged.on_morning.all()


def many_leads(
    n: int, every: int = 1, settings: str = "[examples]\nmax_examples = 2000\nmornings_every_days = 10"
) -> History:
    leads = {f"L{number:04d}": "2024-01-01 09:00" for number in range(0, n, every)}
    return history_of(leads, known_until="2024-04-01 09:00", funnel=short_funnel(settings))


def test_where_examples_would_be_too_many_all_leads_are_seen_at_fewer_moments(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        examples = learning_examples(many_leads(400))
    fewer = learning_examples(many_leads(400, every=2))

    entered = examples.as_of == examples.as_of.min()
    assert 1_900 < len(examples) < 2_100
    assert np.count_nonzero(entered) == 400
    assert np.unique(examples.lead[~entered]).size > 390
    assert "learning from 44 % of the moments after an entry" in caplog.text
    # The moments of a lead do not depend on who else is in the data, as long as the share is no smaller.
    theirs = {(2 * lead, as_of) for lead, as_of in zip(fewer.lead.tolist(), fewer.as_of.tolist(), strict=True)}
    ours = {(lead, as_of) for lead, as_of in zip(examples.lead.tolist(), examples.as_of.tolist(), strict=True)}
    assert {each for each in ours if each[0] % 2 == 0} <= theirs


def test_leads_are_sampled_where_even_their_entries_would_be_too_many(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        examples = learning_examples(many_leads(3_000))
    fewer = learning_examples(many_leads(3_000, every=2))

    kept, kept_of_fewer = set(np.unique(examples.lead)), {2 * lead for lead in np.unique(fewer.lead)}
    assert 1_800 < len(examples) < 2_200
    assert f"learning from {len(kept)} of 3000 leads" in caplog.text
    assert {lead for lead in kept if lead % 2 == 0} <= kept_of_fewer


def test_mornings_are_judged_farther_apart_where_they_would_be_too_many() -> None:
    def judged_by(most: int) -> History:
        found = many_leads(200, settings=f"[judging]\nmornings_every_days = 1\nmax_examples = {most}")
        month = dict.fromkeys(found.funnel.later_stages, 30)
        return replace(found, funnel=found.funnel.model_copy(update={"horizon_days": month}))

    all_of_them, capped, few = map(judged_by, (500_000, 6_100, 1_000))
    since = at("2024-01-02 00:00")

    whole, apart, farthest = (judging_examples(each, since) for each in (all_of_them, capped, few))

    assert len(whole) == 200 * len(np.unique(whole.as_of)) > 6_100
    assert set(np.diff(np.unique(apart.as_of))) == {3 * DAY}
    assert len(np.unique(apart.lead)) == 200
    # Of the longest horizon at least six mornings are left.
    assert set(np.diff(np.unique(farthest.as_of))) == {5 * DAY}
    assert len(judging_examples(few, since, every_days=1)) == len(whole)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.1, 0.9))
def test_no_label_interval_crosses_the_split(seed: int, share: float) -> None:
    history = build_history(random_tables(seed), FUNNEL)
    examples = learning_examples(history)
    cut = int(examples.as_of.min() + share * (examples.as_of.max() - examples.as_of.min()))
    outcome = reached(history, examples.lead, examples.as_of)

    learnt = known_by(outcome, examples.as_of, FUNNEL, cut)
    judged = judging_examples(history, cut)

    end = examples.as_of[:, None] + np.array(FUNNEL.horizons) * DAY
    assert not len(judged) or judged.as_of.min() >= cut
    assert (end[~np.isnan(learnt)] <= cut).all()
    # Nothing that had ended is left out, and nothing unripe is let in.
    assert np.array_equal(np.isnan(learnt), np.isnan(outcome) | (end > cut))
    assert (end[~np.isnan(outcome)] <= history.known_until).all()


def test_the_default_cuts_share_a_quarter_of_the_ripe_time_for_judging() -> None:
    history = history_of({"A": "2024-01-01 00:00"}, known_until="2024-04-10 00:00")

    ripe_days = 100 - 10
    judged_time = int(JUDGED_SHARE * ripe_days * DAY)
    end = at("2024-04-10 00:00") - 10 * DAY
    # Cuts are at least a week apart, so three of the four that are asked for.
    assert default_cuts(history) == tuple(end - judged_time * left // 3 for left in (3, 2, 1))


@pytest.mark.parametrize(
    ("times", "calendar"),
    [
        (("2024-03-{:02}", "2024-04-{:02}"), ("weekday",)),
        # A lead's creation by the minute and its stages by the day: most entries are at a day's end.
        (("2024-03-{:02} 09:00", "2024-04-{:02}"), ("weekday",)),
        (("2024-03-{:02} 09:00", "2024-04-{:02} 10:00"), ("hour", "weekday")),
    ],
)
def test_the_hour_is_no_feature_where_entries_are_whole_days(
    times: tuple[str, str], calendar: tuple[str, ...], tmp_path: Path
) -> None:
    created, entered = times
    (tmp_path / "funnel.toml").write_text(
        'preset = "b2b"\n[time]\nknown_until = 2024-12-31T00:00:00Z\ntimezone = "Europe/Berlin"\n'
    )
    leads = "".join(f"L{day},{created.format(day)}\n" for day in range(1, 29))
    moves = "".join(f"L{day},{stage},{entered.format(day)}\n" for day in range(1, 29) for stage in ("mql", "sal"))
    (tmp_path / "leads.csv").write_text("lead_id,created_at\n" + leads)
    (tmp_path / "transitions.csv").write_text("lead_id,stage,occurred_at\n" + moves)
    history = read_history(tmp_path)

    examples = learning_examples(history)
    model = learn_until(history, history.known_until, n_jobs=1, examples=examples)

    assert settings_to_learn(history, examples).features.calendar == calendar
    assert ("hour" in {column.name for column in model.columns_}) == ("hour" in calendar)
    # Once left out it stays so, and the other settings are those of the funnel.
    again = replace(history, funnel=model.funnel)
    assert settings_to_learn(again, examples) is model.funnel
    assert model.funnel.examples == history.funnel.examples
