"""What judging shows is said: no signal, a leak, and nothing where there is nothing to say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.companies import LEAK, company, shuffled
from leadscore import backtest as judging
from leadscore.backtest import backtest, default_cuts, learn_until
from leadscore.config import parse_funnel
from leadscore.findings import findings
from leadscore.funnel import open_leads
from leadscore.history import History, read_history
from tests.hand import history_of
from tests.served import serving_base_rates

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.findings import Findings

pytestmark = pytest.mark.integration

LEADS = 1_000
FEW_TREES = """
[judging]
cuts = 2
mornings_every_days = 14
resamples = 40

[lightgbm]
rounds = 20
max_rounds = 40
"""


def found(history: History) -> Findings:
    return findings(history, backtest(history, default_cuts(history)[:1], n_jobs=2), n_jobs=2)


def test_a_column_that_was_filled_in_afterwards_is_named(tmp_path: Path) -> None:
    leaks = found(company(tmp_path / "company", LEADS, seed=1, leak=True, settings=FEW_TREES)).leaks

    assert {str(each.source) for leak in leaks for each in leak.suspects} == {LEAK}
    assert f"Check that {LEAK} is known at the time" in str(leaks[0])
    assert leaks[0].suspects[0].before > leaks[0].suspects[0].without


def test_outcomes_that_depend_on_nothing_have_no_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = company(tmp_path / "company", LEADS, seed=1, settings=FEW_TREES)
    monkeypatch.setattr(judging, "reached", shuffled)

    shown = found(history)

    assert not any(pair.trees for pairs in shown.pairs for pair in pairs)
    assert shown.no_signal[:3] == history.funnel.later_stages[:3]
    assert not shown.leaks
    assert {why.stage for why in shown.withheld} == set(history.funnel.later_stages)


@pytest.mark.slow
def test_a_company_whose_records_are_in_order_has_neither(tmp_path: Path) -> None:
    shown = found(company(tmp_path / "company", LEADS, seed=1, settings=FEW_TREES))

    # So few leads are won that the win may show nothing yet.
    assert set(shown.no_signal) <= {"won"}
    assert not shown.leaks


QUICK = """
preset = "b2b"
[attributes]
numbers = ["employees"]
[judging]
cuts = 1
resamples = 20
[lightgbm]
max_rounds = 30
"""


def never_closing() -> History:
    """Half of the leads become an MQL within ten days and are lost then; nobody closes the others."""
    rng, begin = np.random.default_rng(1), datetime(2023, 1, 1, tzinfo=UTC)
    created = {f"L{n:03}": begin + timedelta(days=float(day)) for n, day in enumerate(rng.uniform(0, 500, 600))}
    mql = {lead: when + timedelta(days=float(rng.uniform(0, 10))) for lead, when in list(created.items())[::2]}
    moves = [(lead, "mql", f"{when:%Y-%m-%d %H:%M}") for lead, when in mql.items()]
    moves += [(lead, "lost", f"{when + timedelta(days=5):%Y-%m-%d %H:%M}") for lead, when in mql.items()]
    leads = {lead: f"{when:%Y-%m-%d %H:%M}" for lead, when in created.items()}
    sizes: dict[str, Any] = {lead: {"employees": int(rng.integers(1, 500))} for lead in leads}
    return history_of(leads, moves, known_until="2024-06-30 00:00", funnel=parse_funnel(QUICK), **sizes)


def test_leads_that_are_never_closed_are_no_leak() -> None:
    history = never_closing()
    past = backtest(history, default_cuts(history), n_jobs=1)

    shown = findings(history, past, n_jobs=1)

    mql = shown.figures[(shown.figures["stage"] == "mql") & (shown.figures["current"] == "lead")]
    assert mql["auc"].item() > 0.95
    assert not past.models[0].stages_[0].fallback
    assert shown.leaks == ()
    assert shown.never_closed is not None
    assert (shown.never_closed.days, shown.never_closed.n_moved) == (30, 0)
    assert any(warning.startswith("leads are not closed: ") for warning in shown.warnings)


def test_trees_that_no_cut_could_judge_are_not_served(small: Path) -> None:
    history = read_history(small)
    past = backtest(history, default_cuts(history)[:1], n_jobs=1)
    model = past.models[0]
    model.stages_ = (replace(model.stages_[0], booster=None), *model.stages_[1:])
    later = learn_until(history, history.known_until, n_jobs=1)

    found = findings(history, past, n_jobs=1)
    served = later.serving(found.pairs)
    shown = found.about(served)

    assert [pair.state for pair in found.pairs[0]] == ["unknown"]
    assert "mql" not in shown.no_signal
    assert served.stages_[0].serves_base_rate
    assert not later.stages_[0].serves_base_rate
    assert [str(why) for why in shown.withheld] == shown.warnings[: len(shown.withheld)]


def test_a_stage_without_signal_is_served_the_base_rate_of_the_current_stage(small: Path) -> None:
    history = read_history(small)
    model = learn_until(history, history.known_until, n_jobs=1)
    everyone = open_leads(history, history.known_until)

    served = serving_base_rates(model, ["mql"])

    rates = model.base_rate_.predict_proba(everyone)
    ours, before = served.predict_proba(everyone), model.predict_proba(everyone)
    np.testing.assert_array_equal(ours[:, 0], rates[:, 0])
    assert not np.array_equal(before[:, 0], rates[:, 0], equal_nan=True)
    assert [stage.no_signal for stage in served.stages_] == [True, False, False, False, False]
    assert not any(stage.no_signal for stage in model.stages_)
