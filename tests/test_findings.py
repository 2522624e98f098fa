"""What judging shows is said: no signal, a leak, and nothing where there is nothing to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from benchmarks.companies import LEAK, company, shuffled
from leadscore import backtest as judging
from leadscore.backtest import backtest, default_cuts, learn_until
from leadscore.findings import findings, no_signal
from leadscore.funnel import open_leads
from leadscore.history import History, read_history

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.findings import Findings

pytestmark = pytest.mark.integration

LEADS = 1_000


def found(history: History) -> Findings:
    return findings(history, backtest(history, default_cuts(history)[:1], n_jobs=2), n_jobs=2)


def test_a_column_that_was_filled_in_afterwards_is_named(tmp_path: Path) -> None:
    leaks = found(company(tmp_path / "company", LEADS, seed=1, leak=True)).leaks

    assert {each.column for each in leaks} == {LEAK}
    assert "check that it is known at the time" in str(leaks[0])
    assert leaks[0].auc > 0.85


def test_outcomes_that_depend_on_nothing_have_no_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = company(tmp_path / "company", LEADS, seed=1)
    monkeypatch.setattr(judging, "reached", shuffled)

    shown = found(history)

    assert shown.no_signal == history.funnel.later_stages
    assert not shown.leaks
    assert len(shown.warnings) == len(shown.no_signal)


def test_a_company_whose_records_are_in_order_has_neither(tmp_path: Path) -> None:
    shown = found(company(tmp_path / "company", LEADS, seed=1))

    # So few leads are won that the win may show nothing yet.
    assert set(shown.no_signal) <= {"won"}
    assert not shown.leaks


def test_signal_needs_an_interval_above_zero() -> None:
    table = pd.DataFrame(
        {
            "stage": ["mql", "sal", "sql", "won"],
            "current": ["all"] * 4,
            "n": [10, 10, 10, 0],
            "log_loss_gain_low": [0.01, 0.0, np.nan, np.nan],
        }
    )

    assert no_signal(table) == ("sal", "sql")


def test_a_stage_without_signal_is_served_the_base_rate_of_the_current_stage(small: Path) -> None:
    history = read_history(small)
    model = learn_until(history, history.known_until, n_jobs=1)
    everyone = open_leads(history, history.known_until)

    served = model.serving_base_rates(["mql"])

    rates = model.base_rate_.predict_proba(everyone)
    ours, before = served.predict_proba(everyone), model.predict_proba(everyone)
    np.testing.assert_array_equal(ours[:, 0], rates[:, 0])
    assert not np.array_equal(before[:, 0], rates[:, 0], equal_nan=True)
    assert [stage.no_signal for stage in served.stages_] == [True, False, False, False, False]
    assert not any(stage.no_signal for stage in model.stages_)
