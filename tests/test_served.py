"""Local copies of champions, from a real registry: kept whole, used when it is away, and not too many of them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from leadscore.backtest import learn_until
from leadscore.errors import ModelError, RegistryError
from leadscore.history import read_history
from leadscore.registry import champion_version, fetch_champion, last_served
from leadscore.registry.connection import connected, experiment_id
from leadscore.registry.runs import log_model
from leadscore.registry.served import COPIES_KEPT
from leadscore.registry.versions import CHAMPION
from tests.conftest import enter

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history import History
    from leadscore.model import FunnelModel

NAME = "leadscore"


@pytest.fixture(scope="module")
def history(small: Path) -> History:
    return read_history(small)


@pytest.fixture(scope="module")
def model(history: History) -> FunnelModel:
    return learn_until(history, history.known_until, n_jobs=1)


@pytest.fixture(scope="module")
def registered(model: FunnelModel, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a registry that holds one champion; not to be changed."""
    import mlflow  # noqa: PLC0415 - conftest sets its environment first

    folder = tmp_path_factory.mktemp("registered")
    shutil.copytree(empty_store, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        with connected() as client, mlflow.start_run(experiment_id=experiment_id(client)):
            log_model(model, {"note": "a test"})
            client.set_registered_model_alias(NAME, CHAMPION, "1")
    return folder


@pytest.fixture
def copies(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for copies, in a working directory whose registry the test may spoil."""
    (tmp_path / "models").mkdir()
    shutil.copy(registered / "models" / "mlflow.db", tmp_path / "models" / "mlflow.db")
    enter(tmp_path, monkeypatch)
    return tmp_path / "served"


def more_versions(count: int) -> None:
    with connected() as client:
        source = client.get_model_version(NAME, "1")
        for _ in range(count):
            client.create_model_version(NAME, str(source.source), source.run_id)


def test_the_copy_of_the_champion_says_what_the_model_says(copies: Path, model: FunnelModel, history: History) -> None:
    served = fetch_champion(champion_version(), copies)

    everyone = history.at(np.arange(len(history)), np.full(len(history), history.known_until))
    assert served.version == 1
    assert served.about == {"note": "a test"}
    assert np.array_equal(served.model.predict_proba(everyone), model.predict_proba(everyone), equal_nan=True)


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
