"""A CRM that began to record stages long after its first leads is noticed, and no other."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from leadscore.config import parse_funnel, read_funnel
from leadscore.history import DAY, HOUR, read_history
from leadscore.history.late_start import LEAST_LEADS, late_start
from leadscore.history.reading.read import read_tables
from leadscore.history.tables import LeadTable, TransitionTable
from leadscore.simulate import simulate
from leadscore.store import ingest, read_store
from tests.conftest import REAL_DATA
from tests.hand import at

if TYPE_CHECKING:
    from leadscore.config import Times
    from leadscore.store import Store

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
SWITCHED_ON = "2024-03-01"
FUNNEL = 'preset = "b2b"\n[time]\nknown_until = 2024-09-01T00:00:00Z\n'
UTC = parse_funnel(FUNNEL).time


def company(
    n_leads: int = 2_000, lag_days: float = 20.0, share: float = 0.7, seed: int = 1
) -> tuple[LeadTable, TransitionTable]:
    """Leads of a year up to 2024-09-01, of which a share moves or is lost after some days; all is recorded."""
    rng = np.random.default_rng(seed)
    begin, end = at("2023-09-01 00:00"), at("2024-09-01 00:00")
    created = np.sort(rng.integers(begin, end, n_leads))
    occurred = created + (rng.exponential(lag_days, n_leads) * DAY).astype(np.int64)
    lead = np.flatnonzero((rng.random(n_leads) < share) & (occurred <= end))
    ids = np.array([f"L{number:05}" for number in range(n_leads)], object)
    leads = LeadTable(ids, created, created, np.zeros(n_leads, np.bool_))
    stage = rng.choice([1, 6], len(lead)).astype(np.int8)
    return leads, TransitionTable(lead, occurred[lead], occurred[lead], stage)


def since(moment: int, table: TransitionTable) -> TransitionTable:
    """What a CRM has that records transitions only from a moment on."""
    kept = table.occurred >= moment
    return TransitionTable(table.lead[kept], table.occurred[kept], table.known[kept], table.stage[kept])


def write(folder: Path, leads: LeadTable, transitions: TransitionTable, more: str = "") -> None:
    folder.mkdir()
    (folder / "funnel.toml").write_text(FUNNEL + more)
    names = np.array([*parse_funnel(FUNNEL).stages, "lost"], object)
    tables = {
        "leads": {"lead_id": leads.ids, "created_at": _written(leads.created)},
        "transitions": {
            "lead_id": leads.ids[transitions.lead],
            "stage": names[transitions.stage],
            "occurred_at": _written(transitions.occurred),
        },
        "touches": {"lead_id": ["L00000"], "kind": ["call"], "occurred_at": ["2024-03-01T09:00:00Z"]},
    }
    for name, columns in tables.items():
        pa.csv.write_csv(pa.table(columns), folder / f"{name}.csv")


def _written(moments: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str]:
    return [f"{moment}Z" for moment in np.datetime_as_string(moments.astype("M8[us]"))]


def test_the_day_from_which_stages_are_recorded_is_named() -> None:
    leads, transitions = company()
    recorded = since(at(f"{SWITCHED_ON} 00:00"), transitions)
    older = leads.created < at(f"{SWITCHED_ON} 00:00")
    moved = np.isin(np.arange(len(older)), recorded.lead)

    warning = late_start(leads, recorded, UTC)

    assert len(warning) == 1
    assert f"{np.count_nonzero(older & ~moved):,} of {np.count_nonzero(older):,} leads created before" in warning[0]
    assert warning[0].endswith(f"history_begins = {SWITCHED_ON}")


def test_the_order_of_rows_does_not_matter() -> None:
    leads, transitions = company()
    recorded = since(at(f"{SWITCHED_ON} 00:00"), transitions)
    rows = np.random.default_rng(2).permutation(len(recorded.lead))
    mixed = TransitionTable(*(getattr(recorded, name)[rows] for name in ("lead", "occurred", "known", "stage")))

    assert late_start(leads, mixed, UTC) == late_start(leads, recorded, UTC)


def test_a_few_rows_with_old_dates_hide_nothing() -> None:
    leads, transitions = company()
    recorded = since(at(f"{SWITCHED_ON} 00:00"), transitions)
    occurred = recorded.occurred.copy()
    occurred[:5] -= np.array([30, 60, 90, 4_000, 12_000]) * DAY

    warning = late_start(leads, replace(recorded, occurred=occurred), UTC)

    assert len(warning) == 1
    assert warning[0].endswith(f"history_begins = {SWITCHED_ON}")


def test_where_history_begins_is_set_nothing_is_said() -> None:
    leads, transitions = company()
    recorded = since(at(f"{SWITCHED_ON} 00:00"), transitions)

    assert late_start(leads, recorded, parse_funnel(f"{FUNNEL}history_begins = {SWITCHED_ON}").time) == ()


@pytest.mark.parametrize("n_leads", [150, 2_000])
@pytest.mark.parametrize(("lag_days", "share"), [(0.0, 1.0), (5.0, 0.1), (60.0, 0.5), (120.0, 0.9)])
def test_a_company_that_records_all_is_not_warned(n_leads: int, lag_days: float, share: float) -> None:
    warnings = [late_start(*company(n_leads, lag_days, share, seed), UTC) for seed in range(20)]

    assert warnings == [()] * 20


def whole_days(table: TransitionTable) -> TransitionTable:
    return replace(table, occurred=(table.occurred // DAY + 1) * DAY - 1)


def test_a_fixed_time_before_leads_move_is_no_late_start() -> None:
    leads, transitions = company(20_000, share=0.4)
    trial = replace(transitions, occurred=leads.created[transitions.lead] + 30 * DAY)

    assert late_start(leads, trial, UTC) == ()
    assert late_start(leads, whole_days(trial), UTC) == ()


def test_leads_imported_when_work_begins_are_no_late_start() -> None:
    leads, transitions = company(5_000, lag_days=1.0)
    imported = replace(leads, created=np.maximum(leads.created, at("2024-03-01 18:00")))
    moved = np.maximum(transitions.occurred, at("2024-03-04 09:00")) + np.arange(len(transitions.lead)) % 48 * HOUR

    assert late_start(imported, replace(transitions, occurred=moved), UTC) == ()


def test_a_few_leads_are_not_worth_a_warning() -> None:
    leads, transitions = company(LEAST_LEADS)

    assert late_start(leads, since(at(f"{SWITCHED_ON} 00:00"), transitions), UTC) == ()


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_the_day_is_one_of_the_funnels_zone(zone: str) -> None:
    times: Times = parse_funnel(f'{FUNNEL}timezone = "{zone}"\nhistory_begins = {SWITCHED_ON}').time
    assert isinstance(times.history_begins, datetime)
    leads, transitions = company(20_000)
    begins = int(times.history_begins.timestamp() * 1_000_000)

    warning = late_start(leads, since(begins, transitions), times.model_copy(update={"history_begins": None}))

    assert len(warning) == 1
    assert warning[0].endswith(f"history_begins = {SWITCHED_ON}")


def test_folder_ingest_and_store_warn_alike(database: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    leads, transitions = company(800)
    write(tmp_path / "crm", leads, since(at(f"{SWITCHED_ON} 00:00"), transitions))

    from_folder = read_history(tmp_path / "crm")
    assert caplog.text.count("have no transition") == 1
    ingest(database, tmp_path / "crm", received_at=at("2024-09-01 00:00"))
    assert caplog.text.count("have no transition") == 2
    from_store = read_store(database)

    assert len(from_folder.warnings) == 1
    assert from_store.warnings == from_folder.warnings
    assert from_folder.warnings[0].endswith(f"history_begins = {SWITCHED_ON}")


def test_the_setting_that_is_named_can_be_pasted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    leads, transitions = company(800)
    recorded = since(at(f"{SWITCHED_ON} 00:00"), transitions)
    write(tmp_path / "crm", leads, recorded)
    setting = read_history(tmp_path / "crm").warnings[0].rpartition(": ")[2]
    caplog.clear()
    write(tmp_path / "again", leads, recorded, setting)

    with caplog.at_level(logging.INFO):
        history = read_history(tmp_path / "again")

    assert history.warnings == ()
    assert history.begins == at(f"{SWITCHED_ON} 00:00")


def test_the_sample_is_not_warned_of() -> None:
    assert read_history(SAMPLE).warnings == ()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_simulated_companies_are_not_warned_of(seed: int, tmp_path: Path) -> None:
    simulate(tmp_path / "crm", leads=4_000, seed=seed, truth_from=None)

    assert read_tables(tmp_path / "crm", read_funnel(tmp_path / "crm" / "funnel.toml")).warnings == ()


@pytest.mark.real_data
@pytest.mark.parametrize(("first_day", "n_warnings"), [("2018-01-01", 0), ("2017-01-01", 1)])
def test_deals_that_olist_did_not_publish_are_noticed(first_day: str, n_warnings: int, tmp_path: Path) -> None:
    from data.olist import prepare  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "FIRST_DAY", first_day)
        prepare.prepare(REAL_DATA / "olist_funnel", tmp_path)

    warnings = read_history(tmp_path).warnings
    assert [each.endswith("history_begins = 2017-12-05") for each in warnings] == [True] * n_warnings
