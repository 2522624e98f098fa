"""The versions in the registry, and which of them is in service.

The champions before the present one stand, oldest first, in a tag of the registered model. An alias is on one
version at most, so there is never a second champion.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import mlflow
from mlflow.exceptions import MlflowException

from leadscore.errors import RegistryError
from leadscore.model import load_model
from leadscore.registry.connection import connected, model_name, where

if TYPE_CHECKING:
    from mlflow.entities.model_registry import RegisteredModel

    from leadscore.model import FunnelModel

CHAMPION, FORMER = "champion", "former_champions"
REMEMBERED = 1_000


@dataclass(frozen=True, slots=True)
class Handover:
    """The champion's version, and the one in service before it; None where there was none."""

    version: int
    former: int | None


def promote(version: int | None = None) -> Handover:
    """Make a version the champion: the newest, or the one that is named.

    Raises
    ------
    RegistryError
        There is no such version, or it is the champion already.
    """
    with connected() as client:
        registered = _trained(client)
        chosen, former = _chosen(_versions(client), version), champion_of(registered)
        if chosen == former:
            raise RegistryError(
                f"{model_name()} version {chosen} is the champion already; train another, "
                "or name one: make promote VERSION=1"
            )
        if former is not None:
            # Before the alias moves: if this ends in between, the champion is also its own former one, which
            # rollback passes over.
            _remember(client, [*_former(registered), former])
        client.set_registered_model_alias(model_name(), CHAMPION, str(chosen))
    return Handover(chosen, former)


def rollback() -> Handover:
    """Make the former champion the champion again; called once more, the one before it.

    Raises
    ------
    RegistryError
        No champion before the present one is left.
    """
    with connected() as client:
        registered = _trained(client)
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
    with connected() as client, TemporaryDirectory() as folder:
        version = champion_of(_trained(client))
        if version is None:
            raise RegistryError(f"{model_name()} has no champion; choose one: make promote VERSION=1")
        local = mlflow.artifacts.download_artifacts(f"models:/{model_name()}/{version}", dst_path=folder)
        flavour = mlflow.models.Model.load(local).flavors[mlflow.pyfunc.FLAVOR_NAME]
        return load_model(Path(local) / flavour[mlflow.pyfunc.DATA], n_jobs), version


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


def _trained(client: mlflow.MlflowClient) -> RegisteredModel:
    registered = registered_model(client)
    if registered is None:
        raise RegistryError(f"no model called {model_name()} in {where()}; train one: make train DATA=<folder>")
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
        raise RegistryError(f"{model_name()} has no version; train one: make train DATA=<folder>")
    if version is not None and version not in versions:
        raise RegistryError(f"{model_name()} has no version {version}; it has {', '.join(map(str, versions))}")
    return versions[-1] if version is None else version


def _former(registered: RegisteredModel) -> list[int]:
    return list(json.loads(registered.tags.get(FORMER, "[]")))


def _remember(client: mlflow.MlflowClient, former: list[int]) -> None:
    client.set_registered_model_tag(model_name(), FORMER, json.dumps(former[-REMEMBERED:]))
