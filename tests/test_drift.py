"""What moved is said, what moves all the time is not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.drift_worlds import USUAL, WORLDS
from benchmarks.worlds import DAYS, World, company, day
from leadscore.drift import GO_ON, LOOK, RECALIBRATE, RETRAIN, Drift, Finding, drift, only_learnt
from leadscore.drift.open_leads import OpenLeads, touch_volumes
from leadscore.drift.result import drift_among
from leadscore.drift.series import Series
from leadscore.drift.windows import Windows
from leadscore.examples import judging_examples
from leadscore.history import DAY
from leadscore.labels import reached
from leadscore.metrics import Judged
from tests.hand import at, history_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.drift import Advice
    from leadscore.drift.result import What
    from leadscore.history import History
    from leadscore.history.line import Float64s

LEADS = 2_000
QUIET = ["growing by half a year on year", "seasonal", "nothing"]
LATE = 15


@pytest.fixture(scope="module")
def quiet() -> History:
    return company(WORLDS["nothing"].world, LEADS, seed=1)


def judged_by_rates(history: History, times: float = 1.0) -> Judged:
    """Predictions on the mornings of the last 200 days: the rate of each current stage, times a factor."""
    examples = judging_examples(history, history.known_until - 200 * DAY)
    outcome = reached(history, examples.lead, examples.as_of)
    stage = history.at(examples.lead, examples.as_of).steps.stage
    rates = np.full((2, 2), np.nan)
    for current, place in ((0, 0), (0, 1), (1, 1)):
        rates[current, place] = np.nanmean(outcome[stage == current, place])
    said = rates[stage] * times
    zeros = np.zeros(len(stage), np.int64)
    return Judged(history.funnel, examples.lead, examples.as_of, stage, zeros, zeros, outcome, said, said)


def moved(history: History) -> Drift:
    return drift(history, judged_by_rates(history))


def kinds(found: Drift) -> set[str]:
    return {each.what for each in found.findings}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("world", QUIET)
def test_nothing_is_said_where_nothing_moves(world: str, seed: int) -> None:
    found = moved(company(WORLDS[world].world, LEADS, seed))

    assert (str(found), found.advice) == ("no drift found", GO_ON)
    assert found.n_tests > 15


@pytest.mark.parametrize(
    ("world", "what", "subject", "advice"),
    [
        ("a feature's meaning turned", "meaning", "one standard deviation more of employees", RETRAIN),
        ("a source that dies", "categories", "source = webinar", LOOK),
        ("touches that stop", "volume", "touches call", LOOK),
    ],
)
def test_what_moved_is_named(world: str, what: str, subject: str, advice: str) -> None:
    found = moved(company(WORLDS[world].world, 3_000, seed=1))

    assert (what, subject) in {(each.what, each.subject) for each in found.findings}
    assert found.advice == advice


def test_level_is_predicted_beside_observed(quiet: History) -> None:
    found = drift(quiet, judged_by_rates(quiet, times=0.4))

    assert kinds(found) == {"level"}
    assert found.advice == RECALIBRATE
    level = found.findings[0]
    assert level.before == pytest.approx(0.4 * level.now, rel=0.25)
    assert f"predicted {level.before:.1%} on average, observed {level.now:.1%}" in str(level)


def test_slow_rise_is_a_level() -> None:
    rising = company(World(level=lambda when: -1.5 + 3 * when / DAYS), 3_000, seed=1)
    judged = judged_by_rates(rising, times=0.85)

    assert {each.what for each in drift(rising, judged).findings} == {"level"}
    # Predictions that keep up are no reason to recalibrate.
    late = judged.of(judged.as_of > rising.known_until - 120 * DAY)
    ahead = replace(late, probability=np.minimum(1.6 * late.probability, 1.0))
    assert not [each for each in drift(rising, ahead).findings if "lag behind" in str(each)]


def test_order_that_is_lost_is_said(quiet: History) -> None:
    judged = judged_by_rates(quiet)
    rng = np.random.default_rng(1)
    noise = rng.random(judged.probability.shape) / 100
    known = np.nan_to_num(judged.outcome)
    late = judged.as_of > quiet.known_until - 100 * DAY
    told = judged.probability * np.where(late[:, None], 1, 0.5 + known) + noise - noise.mean()

    found = drift(quiet, replace(judged, probability=np.clip(told, 0.001, 1)))

    assert {each.subject for each in found.findings if each.what == "order"} >= {"qualified"}
    assert found.advice == RETRAIN


def test_attribute_that_goes_missing_is_said(quiet: History) -> None:
    late = quiet.known > quiet.known_until - LATE * DAY
    numbers = {"employees": np.where(late, np.nan, quiet.numbers["employees"])}

    found = moved(replace(quiet, numbers=numbers))

    assert kinds(found) == {"missingness"}
    assert found.advice == LOOK
    assert "new leads without employees" in str(found)


def test_numbers_that_shift_are_said_and_need_no_action(quiet: History) -> None:
    late = quiet.known > quiet.known_until - 28 * DAY
    numbers = {"employees": np.where(late, 3, 1) * quiet.numbers["employees"]}

    found = moved(replace(quiet, numbers=numbers))

    assert kinds(found) == {"features"}
    assert (found.advice, found.to_do[:10]) == (GO_ON, "What moved")


def test_new_value_asks_for_training() -> None:
    fairs = company(World(fairs=lambda when: 0.5 if when > DAYS - 28 else 0.0), LEADS, seed=1)

    found = moved(fairs)

    assert "values of source never seen before, such as fair" in str(found)
    assert found.advice == RETRAIN


def test_short_history_is_too_short_to_tell() -> None:
    history = history_of({"A": "2024-03-04 09:00"}, known_until="2024-05-01 00:00")

    found = drift(history, empty(history))

    assert str(found) == "drift: the history is too short to tell"
    assert found.advice == GO_ON


def empty(history: History) -> Judged:
    none, wide = np.zeros(0, np.int64), np.zeros((0, len(history.funnel.later_stages)))
    return Judged(history.funnel, none, none, none, none, none, wide.astype(np.float32), wide, wide)


def finding(what: What = "volume", p: float = 1e-9, advice: Advice = GO_ON) -> Finding:
    return Finding(what, what, 0.1, 0.2, 5.0, p, f"{what} moved", advice)


@pytest.mark.parametrize(
    ("asked", "advice"),
    [
        ([], GO_ON),
        ([GO_ON], GO_ON),
        ([RECALIBRATE, GO_ON], RECALIBRATE),
        ([RECALIBRATE, RETRAIN], RETRAIN),
        ([RECALIBRATE, LOOK, RETRAIN], LOOK),
    ],
)
def test_most_urgent_advice_wins(asked: list[Advice], advice: Advice) -> None:
    found = drift_among([finding(advice=each) for each in asked])

    assert found.advice == advice
    assert [each.advice for each in found.findings][:1] in ([], [advice])
    assert found.as_json()["advice"] == advice


def test_many_tests_are_held_to_one_percent_together() -> None:
    columns = [finding("features", p=0.5) for _ in range(98)]

    # Inputs and level share 1 % alike.
    assert not drift_among([*columns, finding("features", p=0.02 / 99)]).findings
    assert drift_among([*columns, finding("features", p=0.009 / 99)]).findings
    assert drift_among([*columns, finding("level", p=0.004)]).findings
    assert not drift_among([*columns, finding("level", p=0.006)]).findings


def counted(x: Sequence[float], n: float, counted_as: str = "share") -> Series:
    values: Float64s = np.array(x, np.float64)
    return Series("share" if counted_as == "share" else "rate", values, np.full(len(values), n))


def test_what_varied_before_is_no_drift() -> None:
    late, past = np.arange(14) == 13, np.arange(14) < 13
    steady = counted([30] * 13 + [55], 100).change(late, past)
    seasonal = counted([15, 25, 40, 50, 55, 50, 40, 25, 15, 10, 15, 25, 40, 55], 100).change(late, past)

    assert steady is not None
    assert seasonal is not None
    assert steady.p < 1e-4
    assert seasonal.p > 0.05
    assert (steady.now, round(steady.before, 2)) == (0.55, 0.3)


def test_few_events_are_judged_by_their_deviance() -> None:
    late, past = np.arange(13) == 12, np.arange(13) < 12

    # 5 are usual and none came: that happens in one of 150 windows.
    rare = counted([5] * 12 + [0], 1, "rate").change(late, past)
    often = counted([50] * 12 + [0], 1, "rate").change(late, past)

    assert rare is not None
    assert often is not None
    assert 1e-4 < rare.p < 0.02
    assert often.p < 1e-9


def test_windows_hold_their_end_and_not_their_begin() -> None:
    history = history_of({"A": "2024-01-01 00:00"}, known_until="2024-07-01 00:00")
    windows = Windows.until(history, history.known_until, 28)

    moments = np.array(
        [at("2024-07-01 00:00"), at("2024-06-03 00:00"), at("2024-06-03 00:00") + 1, at("2023-01-01 00:00")]
    )
    assert len(windows) == 6
    assert windows.index(moments).tolist() == [5, 4, 5, -1]


CHAMPION, CANDIDATE = DAYS - 180, DAYS - 60


def ended(world: World, seed: int = 1) -> list[str]:
    learnt = only_learnt(company(world, 3_000, seed), day(CHAMPION), day(CANDIDATE))
    assert learnt is not None
    return [each.subject for each in learnt.ended.findings]


def test_month_that_ended_is_seen_by_who_learnt_from_it() -> None:
    def silent(when: float) -> dict[str, float]:
        return USUAL | {"call": 0.0} if CANDIDATE - 90 < when < CANDIDATE - 20 else USUAL

    assert "lead to qualified" in ended(World(bulk=lambda when: CANDIDATE - 50 < when < CANDIDATE - 20))
    assert "touches call" in ended(World(touches=silent))


@pytest.mark.parametrize(
    "world",
    [
        World(),
        World(level=lambda when: 1.5 if when > CANDIDATE - 60 else 0.0),
        World(level=lambda when: 0.5 * float(np.sin(2 * np.pi * when / 365))),
        World(fairs=lambda when: 0.5 if when > DAYS - 210 else 0.0),
    ],
    ids=["nothing", "level that lasts", "season", "source that lasts"],
)
def test_what_lasts_or_comes_back_is_no_broken_month(world: World) -> None:
    assert not ended(world)


def test_broken_data_that_last_are_apart() -> None:
    stopped = company(World(touches=lambda when: USUAL | {"call": 0.0} if when > CANDIDATE else USUAL), LEADS, seed=1)

    learnt = only_learnt(stopped, day(CHAMPION), day(CANDIDATE))

    assert learnt is not None
    assert not learnt.ended.findings
    assert only_learnt(stopped, day(CANDIDATE), day(CANDIDATE)) is None
    assert only_learnt(stopped, day(100), day(CANDIDATE)) is None


def test_touches_are_counted_per_open_lead() -> None:
    history = company(World(growth=6.0, touches=lambda _: USUAL), LEADS, seed=1)
    windows = Windows.until(history, history.known_until, 28)
    late = windows.last(1)
    rows = OpenLeads.since(history, int(windows.edges[0]))

    emails = next(
        each for each in touch_volumes(history, rows, windows, ~late, late) if each.subject == "touches email"
    )

    assert emails.series.x[-1] > 3 * emails.series.x[4]
    assert emails.series.x[4:] / emails.series.n[4:] == pytest.approx(1.0, abs=0.3)
