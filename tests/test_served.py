"""Local copies of champions, from a real registry: kept whole, used when it is away, and not too many of them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from leadscore.errors import ModelError, RegistryError
from leadscore.registry import champion_version, fetch_champion, last_served
from leadscore.registry.connection import connected
from leadscore.registry.served import COPIES_KEPT

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history import History
    from leadscore.model import FunnelModel

NAME = "leadscore"


@pytest.fixture
def copies(registry: Path) -> Path:
    """An empty folder for copies, in a working directory whose registry the test may spoil."""
    return registry / "served"


def more_versions(count: int) -> None:
    with connected() as client:
        source = client.get_model_version(NAME, "1")
        for _ in range(count):
            client.create_model_version(NAME, str(source.source), source.run_id)


def test_the_copy_of_the_champion_says_what_the_model_says(
    copies: Path, small_model: FunnelModel, small_history: History
) -> None:
    served = fetch_champion(champion_version(), copies)

    history = small_history
    everyone = history.at(np.arange(len(history)), np.full(len(history), history.known_until))
    assert served.version == 1
    assert served.about["note"] == "a test"
    assert np.array_equal(served.model.predict_proba(everyone), small_model.predict_proba(everyone), equal_nan=True)


def test_the_last_copy_is_there_when_the_registry_is_gone(copies: Path) -> None:
    assert last_served(copies) is None
    fetch_champion(1, copies)
    (copies.parent / "models" / "mlflow.db").unlink()

    again = last_served(copies)
    assert again is not None
    assert again.version == 1


def test_a_copy_that_is_whole_is_not_fetched_again(copies: Path) -> None:
    fetch_champion(1, copies)
    before = {path: path.stat().st_mtime_ns for path in (copies / "1").iterdir()}

    fetch_champion(1, copies)

    assert {path: path.stat().st_mtime_ns for path in (copies / "1").iterdir()} == before
    assert {path.name for path in copies.iterdir()} == {"1", "last"}


def test_a_damaged_copy_is_an_error_and_leaves_what_was_served_last(copies: Path) -> None:
    fetch_champion(1, copies)
    more_versions(1)
    shutil.copytree(copies / "1", copies / "2")
    (copies / "2" / "trees_1.txt").write_text("no trees")

    with pytest.raises(ModelError, match=r"trees_1\.txt"):
        fetch_champion(2, copies)
    again = last_served(copies)
    assert again is not None
    assert again.version == 1


def test_a_version_that_cannot_be_had_leaves_nothing_behind(copies: Path) -> None:
    with pytest.raises(RegistryError, match="MLflow refuses"):
        fetch_champion(9, copies)

    assert list(copies.iterdir()) == []


def test_a_few_copies_are_kept_and_the_last_one_always(copies: Path) -> None:
    more_versions(COPIES_KEPT + 1)
    for version in (*range(1, COPIES_KEPT + 3), 1):
        fetch_champion(version, copies)

    kept = {path.name for path in copies.iterdir()} - {"last"}
    assert len(kept) <= COPIES_KEPT + 1
    assert "1" in kept
    assert (copies / "last").read_text() == "1"


def test_without_a_champion_there_is_no_version(store: Path) -> None:
    with pytest.raises(RegistryError, match="train one"):
        champion_version()
