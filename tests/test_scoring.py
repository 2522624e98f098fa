"""Lists of leads, and leads that are sent with their whole history."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from leadscore.errors import DataError, ModelError
from leadscore.explain import explain
from leadscore.history import read_history
from leadscore.scoring import HANDOFF, REASONS, WIN, category_of, probability_columns, rank, score_records
from tests.served import serving_base_rates

if TYPE_CHECKING:
    from leadscore.history import History
    from leadscore.model import FunnelModel

pytestmark = pytest.mark.integration

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
HOUR = 3_600_000_000


@pytest.fixture(scope="module")
def history(sample_history: History) -> History:
    return sample_history


@pytest.fixture(scope="module")
def model(sample_model: FunnelModel) -> FunnelModel:
    return sample_model


@pytest.fixture(scope="module")
def ranked(history: History, model: FunnelModel) -> pd.DataFrame:
    return rank(history, model)


def test_each_list_is_in_order_of_what_it_is_for(ranked: pd.DataFrame) -> None:
    before, past = ranked[ranked["list"] == HANDOFF], ranked[ranked["list"] == WIN]

    assert set(before["stage"]) == {"lead", "mql", "sal"}
    assert set(past["stage"]) == {"sql", "opportunity"}
    for listed, order in ((before, "sql_45d"), (past, "won_90d")):
        assert listed[order].is_monotonic_decreasing
        assert listed["rank"].tolist() == list(range(1, len(listed) + 1))
    assert ranked["list"].tolist() == [HANDOFF] * len(before) + [WIN] * len(past)


def test_equal_probabilities_are_in_order_of_lead_id(ranked: pd.DataFrame) -> None:
    for order, listed in (
        (column, ranked[ranked["list"] == which]) for which, column in ((HANDOFF, "sql_45d"), (WIN, "won_90d"))
    ):
        for _, tied in listed.groupby(order):
            assert tied["lead_id"].is_monotonic_increasing


def test_every_open_lead_is_listed_once_and_no_other(ranked: pd.DataFrame, history: History) -> None:
    raw = pd.read_csv(SAMPLE / "leads.csv", dtype=str)
    objecting = set(raw.loc[raw["do_not_score"] == "true", "lead_id"])
    now = history.at(np.arange(len(history)), np.full(len(history), history.known_until))

    assert len(objecting) > 10
    assert history.left_out == len(objecting)
    assert not objecting & set(ranked["lead_id"])
    assert ranked["lead_id"].is_unique
    assert set(ranked["lead_id"]) == set(history.ids[now.steps.stage < 5])


def test_a_lead_sent_with_its_history_gets_the_score_it_has_in_the_list(
    ranked: pd.DataFrame, history: History, model: FunnelModel
) -> None:
    wanted = ranked.sample(60, random_state=1).sort_index()
    scores = score_records(model, records_of(set(wanted["lead_id"]), "2025-07-01T08:00:00Z"))
    both = wanted.merge(scores, on="lead_id", suffixes=("", "_sent"))

    assert len(both) == 60
    assert both["stage"].tolist() == both["stage_sent"].tolist()
    for column in probability_columns(model.funnel):
        assert np.array_equal(both[column], both[f"{column}_sent"], equal_nan=True)


def test_a_lead_that_objects_is_answered_without_a_score(model: FunnelModel) -> None:
    records = records_of({"L6304346"}, "2025-07-01T08:00:00Z").assign(do_not_score="true")

    scores = score_records(model, records)
    assert scores["stage"].tolist() == [None]
    assert scores[probability_columns(model.funnel)].isna().all(axis=None)


@pytest.mark.parametrize(
    ("as_of", "message"), [("2025-07-01T08:00:00", "time zone"), ("soon", "must be a time"), (None, "as_of")]
)
def test_an_as_of_must_be_a_moment(model: FunnelModel, as_of: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        score_records(model, records_of({"L6304346"}, as_of))


def test_records_break_the_rules_of_the_data_set_folder(model: FunnelModel) -> None:
    records = records_of({"L6304346"}, "2025-07-01T08:00:00Z")
    misspelt = [{"stage": "mqll", "occurred_at": "2024-08-01T00:00:00Z"}]
    records = records.assign(transitions=pd.Series([misspelt], dtype=object))

    with pytest.raises(DataError, match="mqll"):
        score_records(model, records)


def test_a_list_says_owner_grade_and_flags(ranked: pd.DataFrame, model: FunnelModel, history: History) -> None:
    weak = rank(history, serving_base_rates(model, ["won"], unjudged=["sql"]))
    owners = history.at(np.arange(len(history)), np.full(len(history), history.known_until))
    owner = dict(zip(history.ids, category_of(owners, "owner"), strict=True))

    assert list(ranked)[:8] == ["list", "rank", "lead_id", "owner", "stage", "days_in_stage", "grade", "flags"]
    assert ranked["owner"].tolist() == [owner[lead] for lead in ranked["lead_id"]]
    assert ranked["grade"].isin(list("ABCD")).all()
    assert ranked.groupby("list")["grade"].apply(lambda grades: grades.is_monotonic_increasing).all()
    assert set(ranked["flags"]) == {""}
    flags = weak.groupby("stage")["flags"].unique().str[0].to_dict()
    assert flags["lead"] == flags["sal"] == "fallback;no_signal"
    assert flags["opportunity"] == flags["sql"] == "no_signal"


def test_the_top_of_each_list_has_reasons(history: History, model: FunnelModel) -> None:
    ranked = rank(history, serving_base_rates(model, ["won"]), reasons=5)

    said = ranked.groupby("list").head(5)
    assert ranked.drop(said.index)[list(REASONS)].isna().all(axis=None)
    assert said.loc[said["list"] == HANDOFF, list(REASONS)].notna().any(axis=1).all()
    assert said.loc[said["list"] == WIN, "reason_1"].str.startswith("base rate (no signal) of leads at ").all()
    best = said.iloc[0]
    snapshot = history.at(np.flatnonzero(history.ids == best["lead_id"]), [history.known_until])
    (explained,) = explain(model, snapshot, 2)
    sentences = [each.sentence for each in explained.towards[:2]]
    assert [each for each in best[["reason_1", "reason_2"]] if each is not None] == sentences
    assert not set(REASONS) & set(rank(history, model))


def records_of(lead_ids: set[str], as_of: str | None) -> pd.DataFrame:
    """Leads of the sample as the CRM would send them."""
    leads = pd.read_csv(SAMPLE / "leads.csv", dtype=str)
    leads = leads[leads["lead_id"].isin(lead_ids)].drop(columns=["cost"])
    for table in ("transitions", "touches", "changes"):
        events = pd.read_csv(SAMPLE / f"{table}.csv", dtype=str)
        sent = {lead: _rows(rows) for lead, rows in events[events["lead_id"].isin(lead_ids)].groupby("lead_id")}
        leads[table] = leads["lead_id"].map(lambda lead, sent=sent: sent.get(lead, []))
    return leads.assign(as_of=as_of).reset_index(drop=True)


def _rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): value for name, value in row.items() if isinstance(value, str)}
        for row in rows.drop(columns="lead_id").to_dict("records")
    ]


def test_a_lead_is_not_scored_before_it_was_known(model: FunnelModel) -> None:
    records = records_of({"L6304346", "L1000003"}, "2025-07-01T08:00:00Z")
    late = records.assign(created_at=["2025-07-01T08:04:00Z", *records["created_at"][1:]], recorded_at=None)
    assert score_records(model, late)["stage"].notna().all()

    early = records.assign(created_at=["2025-07-01T08:06:00Z", *records["created_at"][1:]])
    with pytest.raises(DataError, match=rf"created_at: .*\(1 row\); leads {records['lead_id'][0]}\."):
        score_records(model, early)


@pytest.mark.parametrize(("declared", "left"), [(', "country"]', "]"), ('["owner"]', "[]")])
def test_leads_of_another_funnel_are_refused_whatever_differs(
    model: FunnelModel, declared: str, left: str, tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    shutil.copytree(SAMPLE, folder)
    settings = (folder / "funnel.toml").read_text(encoding="utf-8")
    (folder / "funnel.toml").write_text(settings.replace(declared, left), encoding="utf-8")

    with pytest.raises(ModelError, match="of another funnel"):
        rank(read_history(folder), model)
