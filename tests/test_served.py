"""Local copies of champions, from a real registry: kept whole, used when it is away, and not too many of them."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pytest

from leadscore.errors import ModelError, RegistryError
from leadscore.registry import ModelIdentity, champion_identity, fetch_champion, last_served
from leadscore.registry.connection import connected, experiment_id, registry_digest
from leadscore.registry.identity import identity_of, is_registered
from leadscore.registry.runs import log_model
from leadscore.registry.served import COPIES_KEPT, OTHER_MODELS_KEPT
from leadscore.registry.versions import CHAMPION
from tests.fixtures import enter

if TYPE_CHECKING:
    from threading import Barrier

    from leadscore.history import History
    from leadscore.model import FunnelModel

pytestmark = pytest.mark.integration

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


def identity(version: int) -> ModelIdentity:
    with connected() as client:
        return identity_of(client, version)


def register(model: FunnelModel, note: str, name: str = NAME) -> None:
    """Log and promote a model as version 1 of a registry, or a registered model, without any."""
    with connected() as client, mlflow.start_run(experiment_id=experiment_id(client)):
        log_model(model, {"note": note, "jitter": {}})
        client.set_registered_model_alias(name, CHAMPION, "1")


def folders(copies: Path) -> set[str]:
    """The copies of all registered models."""
    return {path.name for path in copies.glob("*/*") if path.is_dir()}


def only_copy(copies: Path) -> Path:
    (found,) = (path for path in copies.glob("*/*") if path.is_dir())
    return found


def test_the_copy_of_the_champion_says_what_the_model_says(
    copies: Path, small_model: FunnelModel, small_history: History
) -> None:
    served = fetch_champion(champion_identity(), copies)

    history = small_history
    everyone = history.at(np.arange(len(history)), np.full(len(history), history.known_until))
    assert served.version == 1
    assert served.about["note"] == "a test"
    assert np.array_equal(served.model.predict_proba(everyone), small_model.predict_proba(everyone), equal_nan=True)


def test_the_last_copy_is_there_when_the_registry_is_gone(copies: Path) -> None:
    assert last_served(copies) is None
    champion = champion_identity()
    fetch_champion(champion, copies)
    (copies.parent / "models" / "mlflow.db").unlink()

    again = last_served(copies)
    assert again is not None
    assert again.identity == champion


def test_a_copy_that_is_whole_is_not_fetched_again(copies: Path) -> None:
    champion = champion_identity()
    fetch_champion(champion, copies)
    before = {path: path.stat().st_mtime_ns for path in only_copy(copies).rglob("*")}

    fetch_champion(champion, copies)

    assert {path: path.stat().st_mtime_ns for path in only_copy(copies).rglob("*")} == before
    assert {path.name for path in only_copy(copies).parent.iterdir()} == {only_copy(copies).name, "last", "lock"}


@pytest.mark.parametrize("file", ["model/trees_1.txt", "model/model.json", "model/manifest.json", "identity.json"])
@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_damaged_copy_is_fetched_anew(copies: Path, caplog: pytest.LogCaptureFixture, file: str, damage: str) -> None:
    champion = champion_identity()
    fetch_champion(champion, copies)
    spoilt = only_copy(copies) / file
    whole = spoilt.read_bytes()
    spoilt.write_text("{}") if damage == "changed" else spoilt.unlink()

    with pytest.raises(ModelError, match=r"damaged|no model"):
        last_served(copies)
    with caplog.at_level(logging.WARNING):
        fetch_champion(champion, copies)

    assert "fetched anew" in caplog.text
    assert spoilt.read_bytes() == whole
    assert last_served(copies) is not None


def test_a_copy_with_another_model_in_it_is_fetched_anew(
    copies: Path, small_model: FunnelModel, caplog: pytest.LogCaptureFixture
) -> None:
    champion = champion_identity()
    fetch_champion(champion, copies)
    mine = only_copy(copies)
    with connected() as client, mlflow.start_run(experiment_id=experiment_id(client)):
        log_model(small_model, {"note": "another", "jitter": {}})
    fetch_champion(identity(2), copies)
    (other,) = (path for path in mine.parent.glob("2-*") if path.is_dir())
    # Whole in itself: only the noted checksum tells.
    shutil.rmtree(mine / "model")
    shutil.copytree(other / "model", mine / "model")
    assert fetch_champion(champion, copies).about["note"] == "a test"
    # Only the noted identity tells.
    shutil.rmtree(mine)
    shutil.copytree(other, mine)
    assert fetch_champion(champion, copies).about["note"] == "a test"
    assert caplog.text.count("fetched anew") == 2


def test_a_version_that_is_damaged_in_the_registry_leaves_what_was_served_last(
    copies: Path, small_model: FunnelModel
) -> None:
    fetch_champion(identity(1), copies)
    with connected() as client, mlflow.start_run(experiment_id=experiment_id(client)):
        log_model(small_model, {})
        source = client.get_model_version(NAME, "2").source
    next(Path(mlflow.artifacts.download_artifacts(source)).rglob("trees_1.txt")).write_text("no trees")

    with pytest.raises(ModelError, match=r"trees_1\.txt"):
        fetch_champion(identity(2), copies)
    again = last_served(copies)
    assert again is not None
    assert again.version == 1
    assert len(folders(copies)) == 1


def test_a_version_that_cannot_be_had_leaves_no_copy(copies: Path) -> None:
    gone = identity(1)
    with connected() as client:
        client.delete_registered_model_alias(NAME, CHAMPION)
        client.delete_model_version(NAME, "1")

    with pytest.raises(RegistryError, match="MLflow refuses"):
        fetch_champion(gone, copies)

    assert folders(copies) == set()
    assert not is_registered(gone)


def test_another_registered_model_has_copies_of_its_own(
    copies: Path, small_model: FunnelModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_champion(champion_identity(), copies)
    monkeypatch.setenv("LEADSCORE_MODEL", "other")
    assert last_served(copies) is None
    register(small_model, "another model", "other")

    assert fetch_champion(champion_identity(), copies).about["note"] == "another model"
    monkeypatch.setenv("LEADSCORE_MODEL", NAME)
    again = last_served(copies)
    assert again is not None
    assert again.about["note"] == "a test"


def test_version_1_of_a_new_registry_is_fetched(
    copies: Path, empty_store: Path, small_model: FunnelModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = champion_identity()
    fetch_champion(former, copies)
    new = tmp_path / "new"
    shutil.copytree(empty_store, new)
    enter(new, monkeypatch)
    assert last_served(copies) is None
    register(small_model, "of a new registry")

    served = fetch_champion(champion_identity(), copies)

    assert (served.version, served.about["note"]) == (1, "of a new registry")
    assert not is_registered(former)
    enter(copies.parent, monkeypatch)
    again = last_served(copies)
    assert again is not None
    assert again.identity == former


def test_credentials_in_the_address_of_the_registry_do_not_matter(
    copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_champion(champion_identity(), copies)
    told = (only_copy(copies) / "identity.json").read_text()
    digests = set()
    for address in ("http://ann:secret@mlflow:5000", "http://bob@mlflow:5000", "http://mlflow:5000"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        digests.add(registry_digest())

    assert len(digests) == 1
    assert str(copies.parent) not in json.loads(told)["identity"]["registry"]


def test_a_few_copies_are_kept_and_the_last_one_always(copies: Path) -> None:
    more_versions(COPIES_KEPT + 1)
    for version in (*range(1, COPIES_KEPT + 3), 1):
        fetch_champion(identity(version), copies)

    assert len(folders(copies)) <= COPIES_KEPT + 1
    again = last_served(copies)
    assert again is not None
    assert again.version == 1


def test_copies_of_a_few_registered_models_are_kept(copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected() as client:
        source = client.get_model_version(NAME, "1")
        for number in range(OTHER_MODELS_KEPT + 3):
            name = f"model {number}"
            client.create_registered_model(name)
            client.create_model_version(name, str(source.source), source.run_id)
            monkeypatch.setenv("LEADSCORE_MODEL", name)
            fetch_champion(identity(1), copies)

    assert len(list(copies.iterdir())) == OTHER_MODELS_KEPT + 1
    assert last_served(copies) is not None


def test_copies_of_an_earlier_layout_are_left_alone(copies: Path) -> None:
    champion = champion_identity()
    fetch_champion(champion, copies)
    earlier = copies / "1"
    shutil.copytree(only_copy(copies) / "model", earlier)
    shutil.rmtree(only_copy(copies).parent)
    (copies / "last").write_text("1")

    assert last_served(copies) is None
    assert fetch_champion(champion, copies).identity == champion
    assert earlier.is_dir()


def fetch_at_once(folder: Path, champion: ModelIdentity, start: Barrier) -> bool:
    start.wait()
    return fetch_champion(champion, folder / "served").identity == champion


def fetch_in_a_process(folder: Path, champion: ModelIdentity, start: Barrier) -> None:
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder.resolve() / 'models' / 'mlflow.db'}"
    assert fetch_at_once(folder, champion, start)


def damaged(copies: Path) -> ModelIdentity:
    """The champion, whose copy is damaged, beside what a killed process left."""
    champion = champion_identity()
    fetch_champion(champion, copies)
    (only_copy(copies) / "model" / "trees_1.txt").write_text("no trees")
    (only_copy(copies).parent / "fetching-killed").mkdir()
    return champion


def is_tidy(copies: Path) -> bool:
    return {path.name for path in only_copy(copies).parent.iterdir()} == {only_copy(copies).name, "last", "lock"}


def test_a_damaged_copy_is_fetched_once_by_many_threads(copies: Path, caplog: pytest.LogCaptureFixture) -> None:
    champion, start = damaged(copies), threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: fetch_at_once(copies.parent, champion, start), range(4)))

    assert done == [True] * 4
    assert caplog.text.count("fetched anew") == 1
    assert is_tidy(copies)
    assert last_served(copies) is not None


@pytest.mark.slow
def test_a_damaged_copy_is_fetched_by_two_processes(copies: Path) -> None:
    champion, context = damaged(copies), multiprocessing.get_context("forkserver")
    start = context.Barrier(2)
    processes = [context.Process(target=fetch_in_a_process, args=(copies.parent, champion, start)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)

    assert [process.exitcode for process in processes] == [0, 0]
    assert is_tidy(copies)
    assert last_served(copies) is not None


def test_without_a_champion_there_is_no_version(store: Path) -> None:
    with pytest.raises(RegistryError, match="train one"):
        champion_identity()
