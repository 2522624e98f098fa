"""A second export after a first: the store is as the export says, and what it no longer has is counted or taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from numpy.testing import assert_array_equal

from leadscore.features import catalogue, matrix
from leadscore.funnel import open_leads
from leadscore.history import read_history
from leadscore.store import ingest, read_store
from tests.exports import Crm
from tests.stores import NOON, fresh_url, opened

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history import History
    from leadscore.store import Store


def assert_lists_equal(store: Store, folder: Path) -> None:
    """The open leads of a store are those of a folder, and a model would see the same bits."""
    read, stored = read_history(folder), read_store(store)
    assert stored.known_until == read.known_until
    # The store knows every name of the export, and those of leads that are gone.
    for columns in zip(seen(stored), seen(read.coded(stored.vocabulary)), strict=True):
        assert_array_equal(*columns)


def seen(history: History) -> tuple[object, ...]:
    listed = open_leads(history, history.known_until)
    return history.ids[listed.lead], listed.steps.stage, matrix(catalogue(history.funnel, history.vocabulary), listed)


def follow(store: Store, folder: Path, seed: int) -> None:
    crm = Crm(seed)
    for number in range(3):
        crm.write(folder)
        ingest(store, folder, received_at=NOON + number, whole=True, confirm=True)
        assert_lists_equal(store, folder)
        crm.move_on()


@pytest.mark.parametrize("seed", range(4))
def test_store_equals_latest_export(database: Store, tmp_path: Path, seed: int) -> None:
    follow(database, tmp_path / "set", seed)


@pytest.mark.slow
def test_store_equals_latest_of_200_exports(migrated_url: str, tmp_path: Path) -> None:
    kind = migrated_url.partition(":")[0].partition("+")[0]
    for seed in range(200):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with fresh_url(kind, folder, migrated_url) as url, opened(url) as store:
            follow(store, folder / "set", seed)
