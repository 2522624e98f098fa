"""The list of BPI 2012 worked up to capacity: which mornings, whose contacts, and by how much the model is better."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from benchmarks import bench_bpic2012
from benchmarks.bench_bpic2012 import CUT, at_capacity, judged_entries, main, on_mornings
from data.bpic2012.prepare import HERE
from leadscore.config import read_funnel
from leadscore.history import History, read_history
from leadscore.history.zone import micros
from leadscore.metrics import worked
from leadscore.peers import LOGISTIC, NAIVE_BAYES, OLDEST, peers
from tests.conftest import REAL_DATA

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.backtest import Backtest

pytestmark = pytest.mark.integration

QUICK = "\n[lightgbm]\nrounds = 10\nmax_rounds = 20\nearly_stopping_rounds = 5\n"
ZONE = ZoneInfo("Europe/Amsterdam")
BEGIN, END = date(2011, 10, 1), date(2012, 3, 5)
# Whole horizons of 30 days lie before 2012-03-14 15:04 UTC for mornings up to 2012-02-13.
FIRST, LAST, MORNINGS = date(2012, 1, 10), date(2012, 2, 13), 35


def write_two_a_day(folder: Path) -> Path:
    """Two leads a day, pre-accepted at noon: the large one is accepted three days later, the small one cancelled.

    On even days the large one comes first in the order of the leads, on odd days the small one.
    """
    leads, transitions = [], []
    for day in (BEGIN + timedelta(days=number) for number in range((END - BEGIN).days)):
        for place in (0, 1):
            large = place == day.day % 2
            lead, noon = f"{day} {place}", datetime(day.year, day.month, day.day, 12, tzinfo=ZONE)
            amount = (20_000 if large else 5_000) + 100 * day.day
            leads.append((lead, noon - timedelta(hours=1), amount))
            after = {3: "A_ACCEPTED", 5: "O_SENT", 6: "A_APPROVED"} if large else {3: "A_CANCELLED"}
            steps = {0: "A_PREACCEPTED", **after}
            transitions += [(lead, stage, noon + timedelta(days=days)) for days, stage in steps.items()]
    pd.DataFrame(leads, columns=["lead_id", "created_at", "amount_requested"]).to_parquet(folder / "leads.parquet")
    columns = ["lead_id", "stage", "occurred_at"]
    pd.DataFrame(transitions, columns=columns).to_parquet(folder / "transitions.parquet")
    calls = pd.DataFrame({"lead_id": [leads[0][0]], "kind": ["W_Call.START"], "occurred_at": [leads[0][1]]})
    calls.to_parquet(folder / "touches.parquet")
    settings = (HERE / "funnel.toml").read_text()
    assert "capacity = 20" in settings
    (folder / "funnel.toml").write_text(settings.replace("capacity = 20", "capacity = 1") + QUICK)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_a_day(tmp_path_factory.mktemp("bpic2012"))


@pytest.fixture(scope="module")
def history(folder: Path) -> History:
    return read_history(folder)


@pytest.fixture(scope="module")
def entries(history: History) -> Backtest:
    return judged_entries(history, 1)[0]


@pytest.fixture(scope="module")
def mornings(history: History, entries: Backtest) -> Backtest:
    return on_mornings(history, entries)


@pytest.fixture(scope="module")
def lists(history: History, mornings: Backtest) -> pd.DataFrame:
    return at_capacity(history, mornings, 1).set_index("by")


def test_the_same_model_is_judged_on_every_morning_from_the_cut_on(
    history: History, entries: Backtest, mornings: Backtest
) -> None:
    last = date(2012, 3, 7)  # Leads come until 2012-03-04, and stay on the list until they end or the log does.
    days = [FIRST + timedelta(days=number) for number in range((last - FIRST).days + 1)]
    at_eight = [micros(datetime(day.year, day.month, day.day, 8, tzinfo=ZONE)) for day in days]
    as_of = mornings.judged.as_of

    assert np.unique(as_of[mornings.judged.stage == 1]).tolist() == at_eight
    assert as_of.min() >= CUT
    assert mornings.cuts == entries.cuts == (CUT,)
    assert mornings.models == entries.models
    said = entries.models[0].predict_proba(history.at(mornings.judged.lead, as_of))
    assert np.array_equal(mornings.judged.probability, said, equal_nan=True)
    assert mornings.examples is entries.examples


def test_a_contact_goes_to_one_lead_a_morning_and_counts_if_it_is_accepted(lists: pd.DataFrame) -> None:
    # The model sees that large leads are accepted. Naive Bayes sees the stage alone: on each morning the first lead
    # of three days ago stands on top, which is a large one on even days.
    even = sum((FIRST + timedelta(days=number - 3)).day % 2 == 0 for number in range(MORNINGS))

    assert (FIRST + timedelta(days=MORNINGS - 1)) == LAST
    assert lists["contacts"].tolist() == [MORNINGS] * len(lists)
    assert lists.loc["model", "precision"] == 1
    assert lists.loc[[NAIVE_BAYES, OLDEST], "precision"].tolist() == pytest.approx([even / MORNINGS] * 2)
    assert lists.loc[NAIVE_BAYES, "model_better_by"] == pytest.approx(1 - even / MORNINGS)


def test_what_the_model_gains_has_a_paired_interval_of_a_thousand_resamples(
    history: History, mornings: Backtest, lists: pd.DataFrame
) -> None:
    gain = lists.loc[NAIVE_BAYES]
    judged = mornings.judged
    theirs = {peer.name: peer.handoff.rows for peer in peers(history, mornings, 1)}[NAIVE_BAYES]
    ours = worked(judged, judged.probability[:, 1]).rows

    assert judged.funnel.judging.resamples == bench_bpic2012.RESAMPLES == 1_000
    assert 0 < gain["low"] < gain["model_better_by"] < gain["high"] < 1
    # Paired: the contacts of both are of the same leads drawn.
    outcome = np.nan_to_num(judged.outcome[:, 1])
    assert gain["model_better_by"] == pytest.approx(outcome[ours].mean() - outcome[theirs].mean())
    assert lists.index[lists["model_better_by"].isna()].tolist() == ["model"]


def test_the_last_line_holds_what_the_tables_say(
    folder: Path, lists: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_bpic2012", str(folder), "--n-jobs", "1"])

    main()

    *tables, last = capsys.readouterr().out.splitlines()
    told = json.loads(last)
    assert list(told) == ["stages", "baselines", "at_capacity"]
    assert list(told["baselines"]["model"]) == ["log_loss", "calibration_error", "model_better_by", "low", "high"]
    assert list(told["at_capacity"]) == list(lists.index)
    assert told["at_capacity"]["model"]["model_better_by"] is None
    for name in (NAIVE_BAYES, LOGISTIC):
        assert told["at_capacity"][name] == pytest.approx(lists.loc[name].to_dict())
    assert tables[-1].startswith("The lower table: 1 contacts each morning among the leads before A_ACCEPTED")


@pytest.mark.real_data
def test_the_capacity_is_what_a_person_worked_a_day_before_the_cut() -> None:
    events = pd.read_parquet(REAL_DATA / "bpic2012" / "events.parquet")
    begun = events["concept:name"].str.startswith("W_") & (events["lifecycle:transition"] == "START")
    events = events[begun & (events["time:timestamp"] <= pd.Timestamp(CUT, unit="us", tz="UTC"))]
    day = events["time:timestamp"].dt.tz_convert(ZONE).dt.date

    worked_a_day = events.groupby([day, "org:resource"])["case:concept:name"].nunique().mean()

    assert round(worked_a_day) == read_funnel(HERE / "funnel.toml").owner.capacity
