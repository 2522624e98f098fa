"""Times far ahead in a data set are counted in a warning and have no effect; so is what callers back-filled."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from leadscore.funnel import open_leads
from leadscore.history import read_history
from leadscore.store import Lead, Touch, ingest, read_store
from tests.stores import NOON, opened, send

if TYPE_CHECKING:
    from pathlib import Path

FUNNEL = """
preset = "b2b"
[time]
known_until = 2024-06-01T00:00:00Z
[changes]
categories = ["owner"]
"""
FILES = {
    "leads": "lead_id,created_at\nA,2024-03-01T09:00:00Z\nB,2024-03-01T09:00:00Z\n",
    "transitions": "lead_id,stage,occurred_at\nA,mql,2024-03-04T09:00:00Z\nA,lost,2036-01-01T09:00:00Z\n",
    "touches": "lead_id,kind,occurred_at\nA,call,2026-06-01T00:00:00Z\nB,call,2026-06-01T00:00:01Z\n",
    "changes": "lead_id,attribute,value,occurred_at\nA,owner,ann,2025-03-04T09:00:00Z\n",
}
WARNED = (
    "transitions: 1 row of 1 lead (A) lies more than 730 days after the end of the recorded history, the latest on "
    "2036-01-01; without effect until their time comes. Correct the time, or widen [time] future_days",
    "touches: 1 row of 1 lead (B) lies more than 730 days after the end of the recorded history, the latest on "
    "2026-06-01; without effect until their time comes. Correct the time, or widen [time] future_days",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / f"{name}.csv").write_text(text)
    (tmp_path / "funnel.toml").write_text(FUNNEL)
    return tmp_path


def test_a_folder_and_a_store_warn_of_times_far_ahead(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    history = read_history(folder)

    assert history.warnings == WARNED
    assert open_leads(history, history.known_until).steps.stage.tolist() == [1, 0]
    with opened(f"sqlite:///{folder / 'store.db'}") as store, caplog.at_level(logging.WARNING):
        caplog.clear()
        ingest(store, folder, received_at=NOON)
        assert tuple(each.message for each in caplog.records) == WARNED
        assert read_store(store).warnings == WARNED


def test_the_setting_says_how_far(folder: Path) -> None:
    (folder / "funnel.toml").write_text(FUNNEL.replace("[changes]", "future_days = 3650\n[changes]"))
    assert [each.partition(":")[0] for each in read_history(folder).warnings] == ["transitions"]


def test_a_store_says_what_was_backfilled(folder: Path) -> None:
    for name in ("transitions", "touches"):
        (folder / f"{name}.csv").write_text(FILES[name].splitlines()[0] + "\n")
    with opened(f"sqlite:///{folder / 'store.db'}") as store:
        ingest(store, folder, received_at=NOON)
        send(store, Touch("A", "call", NOON))
        assert read_store(store).warnings == ()
        send(
            store, Lead("C", NOON - 2, recorded_at=NOON - 1), *[Touch("C", "call", NOON - 2, recorded_at=NOON - 1)] * 2
        )

        (warning,) = read_store(store).warnings
        assert warning.startswith("back-filled by the API: 1 leads, 2 touches;")
