"""The versions in the registry, and which of them is in service.

The champions before the present one stand, oldest first, in a tag of the registered model. An alias is on one
version at most, so there is never a second champion.
"""

from __future__ import annotations

import fcntl
import json
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING

import mlflow
from mlflow.exceptions import MlflowException

from leadscore.errors import NoChampionError, RegistryError
from leadscore.model import load_model
from leadscore.registry.connection import connected, model_name, where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow.entities.model_registry import RegisteredModel

    from leadscore.gate import Verdict
    from leadscore.model import FunnelModel

CHAMPION, FORMER = "champion", "former_champions"
GATE, FORCED = "leadscore.gate", "leadscore.forced"
LEAKS, RECALIBRATED_FROM = "leadscore.leaks", "leadscore.recalibrated_from"
DRIFT = "leadscore.drift"
REMEMBERED = 1_000
# MLflow refuses longer tags of a version.
LONGEST_TAG = 5_000


@dataclass(frozen=True, slots=True)
class Handover:
    """The champion's version, and the one in service before it; None where there was none."""

    version: int
    former: int | None


@dataclass(frozen=True, slots=True)
class Contenders:
    """A candidate and the champion that it would replace.

    Attributes
    ----------
    version, champion_version : int
        Of the registered model; the latter None where there is no champion.
    candidate, champion : FunnelModel
        Loaded; the latter None where there is no champion.
    leaks : str
        The leak alarms of the run that the candidate's trees are of.
    """

    version: int
    candidate: FunnelModel
    champion_version: int | None
    champion: FunnelModel | None
    leaks: str = ""


def contenders(version: int | None = None, n_jobs: int = 1) -> Contenders:
    """The newest version, or the one that is named, and the champion.

    Raises
    ------
    RegistryError
        There is no such version, or it is the champion already.
    ModelError
        One of their folders is damaged.
    """
    with connected() as client:
        registered = trained_model(client)
        chosen, champion = _chosen(_versions(client), version), champion_of(registered)
        if chosen == champion:
            raise RegistryError(
                f"{model_name()} version {chosen} is the champion already; train another, "
                "or name one: make promote VERSION=1"
            )
        return Contenders(
            chosen,
            _loaded(chosen, n_jobs),
            champion,
            None if champion is None else _loaded(champion, n_jobs),
            _leaks(client, chosen),
        )


def promote(contest: Contenders, verdict: Verdict | None, forced: str | None = None) -> Handover:
    """Make a candidate the champion, if the gate let it pass or somebody says why it goes in all the same.

    What the gate said, and the reason of whoever forced it, stand in tags of the version, whether it went in or not.

    Parameters
    ----------
    verdict : Verdict, optional
        Of the gate; None where there was no champion to compare with.
    forced : str, optional
        Why a candidate that the gate held back goes into service all the same.

    Raises
    ------
    ValueError
        There is a champion, and no verdict.
    RegistryError
        The gate held it back and nobody forced it, or another champion went into service in between.
    """
    if verdict is None and contest.champion is not None:
        raise ValueError("there is a champion: the candidate must be compared with it")
    with connected() as client:
        if verdict is not None:
            _tag(client, contest.version, GATE, f"{verdict.decision}\n{verdict}")
        if verdict is not None and not verdict.passed:
            if not forced:
                raise RegistryError(
                    f"{model_name()} version {contest.version} is {verdict.decision}; "
                    f"version {contest.champion_version} stays in service:\n{verdict}\n"
                    'to put it into service all the same, say why: make promote FORCE="reason"'
                )
            _tag(client, contest.version, FORCED, forced)
        with _one_at_a_time():
            registered = trained_model(client)
            if champion_of(registered) != contest.champion_version:
                raise RegistryError(
                    f"version {champion_of(registered)} of {model_name()} went into service in the meantime; "
                    "compare with it: run make promote again"
                )
            if contest.champion_version is not None:
                # Before the alias moves: if this ends in between, the champion is also its own former one, which
                # rollback passes over.
                _remember(client, [*_former(registered), contest.champion_version])
            client.set_registered_model_alias(model_name(), CHAMPION, str(contest.version))
    return Handover(contest.version, contest.champion_version)


def rollback() -> Handover:
    """Make the former champion the champion again; called once more, the one before it.

    Raises
    ------
    RegistryError
        No champion before the present one is left.
    """
    with connected() as client, _one_at_a_time():
        registered = trained_model(client)
        present, left = champion_of(registered), set(_versions(client))
        former = [each for each in _former(registered) if each in left]
        while former and former[-1] == present:
            former.pop()
        if not former:
            raise RegistryError(
                f"nothing to roll back to: no champion stood before version {present or 'none'} of {model_name()}; "
                "to choose another version, name it: make promote VERSION=1"
            )
        version = former.pop()
        client.set_registered_model_alias(model_name(), CHAMPION, str(version))
        _remember(client, former)
    return Handover(version, present)


def load_champion(n_jobs: int = 1) -> tuple[FunnelModel, int]:
    """The model in service and its version.

    Raises
    ------
    RegistryError
        Nothing was trained, or there is no champion.
    ModelError
        The champion's folder is damaged.
    """
    with connected() as client:
        version = champion_of(trained_model(client))
        if version is None:
            raise NoChampionError(f"{model_name()} has no champion; choose one: make promote VERSION=1")
        return _loaded(version, n_jobs), version


def _loaded(version: int, n_jobs: int) -> FunnelModel:
    with TemporaryDirectory() as folder:
        return load_model(download(version, Path(folder)), n_jobs)


def download(version: int, into: Path) -> Path:
    """Copy a version's folder, and say where below ``into`` it is; call it while `connected`."""
    local = mlflow.artifacts.download_artifacts(f"models:/{model_name()}/{version}", dst_path=str(into))
    flavour = mlflow.models.Model.load(local).flavors[mlflow.pyfunc.FLAVOR_NAME]
    return Path(local) / str(flavour[mlflow.pyfunc.DATA])


def _leaks(client: mlflow.MlflowClient, version: int) -> str:
    """What was suspected when the trees of a version were learnt; of a recalibrated one, those of its origin."""
    found = client.get_model_version(model_name(), str(version))
    while RECALIBRATED_FROM in found.tags:
        try:
            found = client.get_model_version(model_name(), found.tags[RECALIBRATED_FROM])
        except MlflowException:
            # The origin was deleted, and its run may be, too.
            return ""
    return str(client.get_run(found.run_id).data.tags.get(LEAKS, "")) if found.run_id else ""


def _tag(client: mlflow.MlflowClient, version: int, name: str, text: str) -> None:
    client.set_model_version_tag(model_name(), str(version), name, text[:LONGEST_TAG])


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Nobody else on this machine moves the alias meanwhile: looking and moving are two calls to MLflow."""
    with (Path(gettempdir()) / f"leadscore-{getuser()}-{model_name()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def registered_model(client: mlflow.MlflowClient) -> RegisteredModel | None:
    """The registered model; None where nothing was trained."""
    try:
        return client.get_registered_model(model_name())
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def champion_of(registered: RegisteredModel | None) -> int | None:
    """Version of the champion; None where there is none."""
    version = registered.aliases.get(CHAMPION) if registered else None
    return None if version is None else int(version)


def trained_model(client: mlflow.MlflowClient) -> RegisteredModel:
    """The registered model; an error where nothing was trained."""
    registered = registered_model(client)
    if registered is None:
        raise NoChampionError(f"no model called {model_name()} in {where()}; train one: make train DATA=<folder>")
    return registered


def _versions(client: mlflow.MlflowClient) -> list[int]:
    found, token = [], None
    while token != "":
        page = client.search_model_versions(f"name = '{model_name()}'", page_token=token)
        found += [int(each.version) for each in page]
        token = page.token or ""
    return sorted(found)


def _chosen(versions: list[int], version: int | None) -> int:
    if not versions:
        raise NoChampionError(f"{model_name()} has no version; train one: make train DATA=<folder>")
    if version is not None and version not in versions:
        raise RegistryError(f"{model_name()} has no version {version}; it has {', '.join(map(str, versions))}")
    return versions[-1] if version is None else version


def _former(registered: RegisteredModel) -> list[int]:
    return list(json.loads(registered.tags.get(FORMER, "[]")))


def _remember(client: mlflow.MlflowClient, former: list[int]) -> None:
    client.set_registered_model_tag(model_name(), FORMER, json.dumps(former[-REMEMBERED:]))
