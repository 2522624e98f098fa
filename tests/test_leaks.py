"""Every source of a leak is named, by its value or its missingness, and nothing where records are in order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.drift_leaks import DEMO, FUNNEL, LEAKS, NOTE, LeakWorld, company
from leadscore import leaks as leaks_package
from leadscore.backtest import backtest, default_cuts
from leadscore.config import parse_funnel
from leadscore.features import Column, catalogue, columns_of
from leadscore.findings import findings
from leadscore.funnel import never_closed
from leadscore.leaks import ColumnSource, Leak, Suspect
from leadscore.leaks import search as leak_search
from leadscore.leaks.cell import Cells, Ordered
from leadscore.leaks.leak import leaks_of
from leadscore.leaks.search import Alone
from leadscore.leaks.sources import is_known, own_columns, sources_of, without_touches
from leadscore.metrics.judged import Outcomes

if TYPE_CHECKING:
    from leadscore.findings import Findings
    from leadscore.history import History

pytestmark = pytest.mark.integration

LEADS = 1_500
QUICK = FUNNEL.replace("max_rounds = 60", "max_rounds = 30").replace("resamples = 100", "resamples = 40")
WON, QUALIFIED = ("won", "qualified"), ("qualified", "lead")


def of(world: LeakWorld, n_leads: int = LEADS) -> History:
    return company(world, n_leads, 1, QUICK)


def found(history: History) -> Findings:
    return findings(history, backtest(history, default_cuts(history)[:1], n_jobs=1), n_jobs=1)


def suspects(shown: Findings, stage: str, current: str) -> dict[str, Suspect]:
    """The suspects of one pair of stages, by name."""
    of_pair = [leak.suspects for leak in shown.leaks if (leak.stage, leak.current) == (stage, current)]
    return {str(each.source): each for each in of_pair[0]} if of_pair else {}


@pytest.fixture(scope="module")
def planted() -> Findings:
    return found(of(LEAKS["two planted"][0]))


def test_two_leaks_at_once_are_both_named(planted: Findings) -> None:
    by_name = suspects(planted, "qualified", "lead")

    assert set(by_name) == {NOTE, DEMO}
    assert not by_name[NOTE].by_missingness
    assert by_name[DEMO].by_missingness
    assert by_name[DEMO].known_of_reached
    first, second = next(leak.suspects for leak in planted.leaks if leak.stage == "qualified")
    assert first.before > first.without == second.before > second.without
    assert second.without < 0.9


def test_the_message_names_every_source_and_one_line_to_paste(planted: Findings) -> None:
    [said] = [str(leak) for leak in planted.leaks if leak.stage == "qualified"]

    assert said.startswith("leak? qualified from lead: order ")
    assert f"without {DEMO} (missing for those that did not reach qualified)" in said
    assert f"without {NOTE} (by its value)" in said
    late = {line for leak in planted.leaks for line in leak.remedies}
    assert len(late) == 1
    assert {f'"{NOTE}"', f'"{DEMO}"'} <= set(late.pop().partition("[")[2].partition("]")[0].split(", "))
    assert "%" not in said


def test_pasting_the_line_ends_the_alarm(planted: Findings) -> None:
    [line] = {line.removeprefix("set ").partition(" under")[0] for leak in planted.leaks for line in leak.remedies}
    history = company(LEAKS["two planted"][0], LEADS, 1, QUICK.replace("[attributes]\n", f"[attributes]\n{line}\n"))

    assert history.funnel.known_late == {NOTE, DEMO}
    assert found(history).leaks == ()


def test_leads_that_nobody_closes_are_no_leak() -> None:
    shown = found(of(LEAKS["zombies"][0]))

    assert shown.never_closed is not None
    assert "the search for leaks leaves them out" in str(shown.never_closed)
    assert (shown.figures["order"] > leak_search.TOO_GOOD).any()
    assert shown.leaks == ()


def test_a_leak_is_named_among_leads_that_nobody_closes() -> None:
    shown = found(of(LeakWorld(given_up=0.8, planted=(NOTE, DEMO))))

    assert shown.never_closed is not None
    assert set(suspects(shown, "qualified", "lead")) == {NOTE, DEMO}


def test_where_no_lead_is_ever_lost_touches_are_not_accused(monkeypatch: pytest.MonkeyPatch) -> None:
    # Even if the model were too good, and not because of the clock.
    monkeypatch.setattr(leak_search, "SUSPECT", 0.5)
    monkeypatch.setattr(leak_search, "TOO_GOOD", 0.6)
    monkeypatch.setattr(leak_search, "gives_most", lambda *_: False)

    shown = found(of(LeakWorld(given_up=1.0)))

    assert shown.never_closed is not None
    assert shown.leaks == ()


@pytest.mark.parametrize(("given_up", "with_touches"), [(0.3, True), (1.0, False)], ids=["some lost", "none lost"])
def test_what_is_searched_where_leads_are_not_closed(given_up: float, with_touches: bool) -> None:  # noqa: FBT001
    history = of(LeakWorld(given_up=given_up))
    closed = never_closed(history)
    past = backtest(history, default_cuts(history)[:1], n_jobs=1)

    cell = Cells.of(history, past, closed).cell(0, 0)

    assert cell is not None
    assert closed is not None
    assert cell.all_sources == with_touches
    assert any(source.is_touch for source in cell.sources) == with_touches
    for each in (cell.judged, cell.learnt):
        at_the_end = history.at(each.lead, np.full(len(each), history.known_until)).steps
        given_up_leads = (at_the_end.stage < 2) & (at_the_end.days_in_stage > closed.days)
        too_late = history.at(each.lead, each.as_of).steps.days_in_stage > closed.days
        assert not (given_up_leads if with_touches else too_late).any()


@pytest.mark.parametrize("most", [10_000, 500, 300])
def test_more_examples_are_thinned_by_morning(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    history = of(LeakWorld())
    past = backtest(history, default_cuts(history)[:1], n_jobs=1)
    whole = past.judged.reaching(0, 0)
    monkeypatch.setattr("leadscore.leaks.cell.MOST_EXAMPLES", most)

    cell = Cells.of(history, past, None).cell(0, 0)

    assert cell is not None
    assert set(cell.judged.as_of.tolist()) == set(np.unique(whole.as_of)[:: -(-len(whole) // most)].tolist())
    assert len(cell.learnt) <= most


def test_old_leads_that_are_not_found_to_be_never_closed_accuse_no_touches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadscore.findings.never_closed", lambda _: None)
    settings = QUICK.replace("[lightgbm]\n", "[lightgbm]\nmin_outcome_leads = 20\n")

    assert found(company(LeakWorld(given_up=0.8), LEADS, 1, settings)).leaks == ()


def test_an_honest_column_is_no_leak() -> None:
    shown = found(of(LEAKS["honest .80"][0]))

    assert shown.leaks == ()


def ordered(value: float) -> Ordered:
    """Of 1,000 leads that reached this share ranks above all of 1,000 others, and the rest below: its 99 % is .03."""
    reached, zeros = np.repeat([1.0, 0.0], 1_000), np.zeros(2_000, np.int64)
    score = np.where(reached == 1, np.where(np.arange(2_000) < 1_000 * value, 1.0, -1.0), 0.0)
    known = Outcomes(np.arange(2_000), zeros, zeros, zeros, outcome=reached, probability=score, base=score)
    return Ordered(known, 40)


@pytest.mark.parametrize(
    ("alone", "whole", "own", "is_suspect"),
    [
        (0.95, 0.95, 0.6, True),
        (0.90, 0.99, 0.6, True),
        (0.88, 0.99, 0.6, False),
        (0.86, 0.86, 0.6, False),
        (0.95, 0.95, 0.95, False),
        (0.95, 0.95, 0.947, False),
        (0.95, 0.95, 0.90, True),
    ],
    ids=["too good", "most", "a part", "bound below .85", "as the clock", "not clearly better", "clearly better"],
)
def test_limits_of_suspicion(alone: float, whole: float, own: float, is_suspect: bool) -> None:  # noqa: FBT001
    source = Alone(ColumnSource("a"), ordered(alone), known_of_reached=True, own=lambda: ordered(own))

    assert source.is_suspect(ordered(whole)) == is_suspect


def test_a_leaking_kind_of_touch_is_named_with_what_to_do() -> None:
    shown = found(of(LeakWorld(proposals=True)))

    assert set(suspects(shown, "qualified", "lead")) == {"touches of kind proposal"}
    [leak] = [each for each in shown.leaks if each.stage == "qualified"]
    assert leak.suspects[0].without < 0.9
    assert "give touches of kind proposal the recorded_at of the CRM, or leave them out" in str(leak)
    assert "known_late" not in str(leak)


def test_a_model_that_is_too_good_names_the_strongest_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of the two leaks together neither gives so much.
    monkeypatch.setattr(leak_search, "SHARE", 0.999)

    by_name = suspects(found(of(LEAKS["two planted"][0])), "qualified", "lead")

    strongest = next(iter(by_name.values()))
    assert strongest.source.name in {NOTE, DEMO}
    assert not strongest.explains
    assert strongest.how("qualified").startswith("the strongest source, with an order of .9")


def test_the_same_history_gives_the_same_leaks(planted: Findings) -> None:
    assert found(of(LEAKS["two planted"][0])).leaks == planted.leaks


def test_pairs_of_stages_with_a_credible_order_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[tuple[int, int]] = []
    monkeypatch.setattr(Cells, "cell", lambda _self, *pair: looked_at.append(pair))
    history = of(LeakWorld())
    past = backtest(history, default_cuts(history)[:1], n_jobs=1)
    shown = findings(history, past, n_jobs=1)
    table = shown.figures.assign(order=[0.9, 0.86, 0.9, 0.85, float("nan")])
    looked_at.clear()

    assert leaks_package.leaks(history, past, table, None, 1) == ()
    assert looked_at == [(0, 0)]


def test_columns_belong_to_sources() -> None:
    history = of(LeakWorld(proposals=True), 200)
    columns = columns_of(catalogue(history.funnel, history.vocabulary))

    sources = sources_of(columns)

    kinds = [ColumnSource(kind, is_touch=True) for kind in ("call", "proposal")]
    attributes = [ColumnSource(name) for name in ("employees", "fit", NOTE, DEMO, "source")]
    assert list(sources) == [*attributes, *kinds]
    assert [columns[each].name for each in sources[ColumnSource("fit")]] == ["fit", "fit_roundness"]
    of_call = {columns[each].name for each in sources[kinds[0]]}
    assert {"call_1d", "call_all", "days_since_last_call", "days_since_first_call"} <= of_call
    own = {columns[each].name for each in own_columns(columns)}
    assert {"stage", "days_in_stage", "days_since_created", "steps_back", "hour"} <= own
    rest = (
        {column.name for column in columns} - own - {columns[each].name for found in sources.values() for each in found}
    )
    assert {"touch_7d", "last_kind", "last_by", "value_all", "inbound_7d", "gap_mean"} <= rest


def test_what_is_known_of_a_source() -> None:
    names = ("a", "__other__", "__missing__")
    columns = (
        Column("size", "as in the source", "", "attribute size"),
        Column("size_roundness", "divisors", "", "attribute size"),
        Column("plan", "category", "", "attribute plan", names),
        Column("call_7d", "touches", "", "touches of kind call"),
        Column("call_all", "touches", "", "touches of kind call"),
    )
    X = np.array([[5, 1, 0, 0, 2], [np.nan, np.nan, 2, 0, 0], [0, 8, 1, 1, 1]], np.float32)

    known = {str(source): is_known(source, columns, at, X).tolist() for source, at in sources_of(columns).items()}

    assert known == {
        "size": [True, False, True],
        "plan": [True, False, True],
        "touches of kind call": [True, False, True],
    }


def test_touches_of_a_kind_are_taken_out_of_every_column() -> None:
    history = of(LeakWorld(proposals=True), 200)

    left = without_touches(history, [ColumnSource("proposal", is_touch=True), ColumnSource("fit")])

    assert set(left.touches.kind.tolist()) == {history.vocabulary.kinds.index("call")}
    assert without_touches(history, [ColumnSource("fit")]) is history


CHANGING = 'preset = "b2b"\n[attributes]\nnumbers = ["a", "b"]\nknown_late = ["a"]\n[changes]\ncategories = ["c"]\n'


@pytest.mark.parametrize(
    ("sources", "remedies"),
    [
        ([ColumnSource("b")], ['set known_late = ["a", "b"] under [attributes] of funnel.toml']),
        (
            [ColumnSource("c")],
            ['give its rows the recorded_at of the CRM, or set known_late = ["c"] under [changes]'],
        ),
        (
            [ColumnSource("call", is_touch=True)],
            ["give touches of kind call the recorded_at of the CRM, or leave them out of the touches table"],
        ),
    ],
    ids=["with those that are late already", "of changes", "a kind of touch"],
)
def test_remedies(sources: list[ColumnSource], remedies: list[str]) -> None:
    suspect = Suspect(sources[0], by_missingness=False, known_of_reached=True, alone=0.9, before=0.95, without=0.6)

    [leak] = leaks_of({WON: tuple(replace(suspect, source=each) for each in sources)}, parse_funnel(CHANGING))

    assert list(leak.remedies) == remedies


@pytest.mark.parametrize(
    ("source", "by_missingness", "known_of_reached", "how"),
    [
        (ColumnSource("a"), False, True, "by its value"),
        (ColumnSource("a"), True, True, "missing for those that did not reach won"),
        (ColumnSource("a"), True, False, "missing for those that reached won"),
        (ColumnSource("call", is_touch=True), False, True, "by their number and dates"),
        (ColumnSource("call", is_touch=True), True, True, "there are none for those that did not reach won"),
    ],
)
def test_how_a_source_tells(source: ColumnSource, by_missingness: bool, known_of_reached: bool, how: str) -> None:  # noqa: FBT001
    suspect = Suspect(source, by_missingness, known_of_reached, alone=0.96, before=0.97, without=0.62)

    assert suspect.how("won") == how
    said = str(Leak(*WON, (suspect,), ("do something",)))
    assert said.startswith(
        f"leak? won from qualified: order .97 on later mornings; .62 without {source} ({how}). Check"
    )
    assert said.endswith("If not, do something; then train again")
